"""Tensors and packed bodies: what goes in comes out, and nothing else goes in."""

import gzip
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.serving.compression import packed, unpack
from skyloom.serving.tensors import DTYPES, INTEGERS, from_json, from_raw, to_raw
from skyloom.serving.wire import Problem, Reply

CODES = {"INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q"}


def limits(datatype: str) -> tuple[int, int]:
    bits = int(datatype.lstrip("UINT"))
    return (0, 2**bits - 1) if datatype.startswith("U") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


@settings(deadline=None)
@given(st.data(), st.sampled_from(sorted(CODES)))
def test_whole_numbers_are_the_same_in_json_and_raw(data: st.DataObject, datatype: str) -> None:
    low, high = limits(datatype)
    values = data.draw(st.lists(st.integers(low, high)))
    raw = struct.pack(f"<{len(values)}{CODES[datatype]}", *values)
    for tensor in (from_raw("a", datatype, (len(values),), raw), from_json("a", datatype, (len(values),), values)):
        assert tensor.column() == values
        assert to_raw(tensor.values) == raw


@settings(deadline=None)
@given(st.sampled_from([("FP16", "e", 16), ("FP32", "f", 32), ("FP64", "d", 64)]), st.data())
def test_floats_are_the_same_in_json_and_raw_and_nan_is_missing(kind: tuple[str, str, int], data: st.DataObject) -> None:
    datatype, code, width = kind
    finite = st.floats(width=width, allow_nan=False, allow_infinity=False)  # type: ignore[call-overload]
    values = data.draw(st.lists(st.none() | finite))
    raw = struct.pack(f"<{len(values)}{code}", *(float("nan") if value is None else value for value in values))
    for tensor in (from_raw("a", datatype, (len(values),), raw), from_json("a", datatype, (len(values),), values)):
        assert tensor.column() == values


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=5)))
def test_texts_survive_raw(texts: list[str]) -> None:
    raw = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
    assert to_raw(texts) == raw
    assert from_raw("a", "BYTES", (len(texts),), raw).column() == texts


@settings(deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_nested_is_flat(shape: list[int]) -> None:
    array = np.arange(int(np.prod(shape)), dtype=np.int32).reshape(shape)
    nested, flat = array.tolist(), array.ravel().tolist()
    assert from_json("a", "INT32", tuple(shape), flat).column() == flat
    if array.size:
        assert from_json("a", "INT32", tuple(shape), nested).column() == flat


def test_whole_floats_are_whole_numbers_and_truths() -> None:
    assert from_json("a", "BOOL", (4,), [1.0, 0, None, True]).column() == [True, False, None, True]
    assert from_json("a", "INT64", (3,), [1_364_800_000_000.0, None, -2]).column() == [1_364_800_000_000, None, -2]


def test_bfloat16_are_the_upper_halves() -> None:
    raw = b"".join(struct.pack("<f", value)[2:] for value in (1.0, -2.5, float("nan")))
    assert from_raw("a", "BF16", (3,), raw).column() == [1.0, -2.5, None]


def test_a_float_is_rounded_to_its_datatype() -> None:
    assert from_json("a", "FP32", (1,), [0.1]).column() == [float(np.float32(0.1))]


JSON = [
    ("FP32", (1,), ["1.5"]),
    ("FP32", (1,), [True]),
    ("FP32", (1,), [1e39]),
    ("INT8", (1,), [128]),
    ("INT8", (1,), [2**70]),
    ("INT8", (2,), [None, 128]),
    ("INT64", (1,), [1.5]),
    ("BOOL", (1,), [2]),
    ("BOOL", (1,), [0.5]),
    ("INT64", (1,), [float("inf")]),
    ("BYTES", (1,), [1]),
    ("FP8", (1,), [1.0]),
    ("FP32", (-1,), []),
    ("FP32", (2, 2), [[1.0, 2.0], [3.0]]),
    ("FP32", (2, 2), [[1.0, 2.0], 3.0]),
    ("FP32", (2, 2), [[1.0, 2.0, 3.0], [4.0]]),
    ("FP32", (2,), [[1.0], [2.0]]),
    ("FP32", (10**9, 10**9), [1.0]),
]


@pytest.mark.parametrize(("datatype", "shape", "data"), JSON)
def test_bad_json_is_refused(datatype: str, shape: tuple[int, ...], data: list[object]) -> None:
    with pytest.raises(Problem, match=r"^a: ") as problem:
        from_json("a", datatype, shape, data)
    assert problem.value.status == 400


RAW = [
    ("FP32", (2,), b"1234567"),
    ("BOOL", (1,), b"\x02"),
    ("BYTES", (1,), b"\x02\0\0\0a"),
    ("BYTES", (1,), b"\x02\0\0"),
    ("BYTES", (1,), b"\xff\xff\xff\xffab"),
    ("BYTES", (2,), b"\x01\0\0\0a"),
    ("BYTES", (1,), b"\x01\0\0\0\xff"),
    ("BF16", (1,), b"\0\0\0\0"),
]


@pytest.mark.parametrize(("datatype", "shape", "raw"), RAW)
def test_bad_raw_is_refused(datatype: str, shape: tuple[int, ...], raw: bytes) -> None:
    with pytest.raises(Problem, match=r"^a: "):
        from_raw("a", datatype, shape, raw)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate"]))
def test_packed_bodies_are_unpacked(body: bytes, encoding: str) -> None:
    sent = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    assert unpack(sent, encoding, 200) == unpack(body, "", 0) == body
    answer = packed(Reply(200, body * 50), encoding)
    if len(body) * 50 >= 1024:
        assert unpack(answer.body, dict(answer.headers)["content-encoding"], 10_000) == body * 50


def test_deflate_without_a_head_is_known_too() -> None:
    packing = zlib.compressobj(wbits=-15)
    assert unpack(packing.compress(b"abc") + packing.flush(), "deflate", 3) == b"abc"


@pytest.mark.parametrize(
    ("body", "encoding", "status"),
    [
        (gzip.compress(b"0" * 10**7, mtime=0), "gzip", 413),
        (zlib.compress(b"0" * 10**7), "deflate", 413),
        (gzip.compress(b"abc", mtime=0)[:-4], "gzip", 400),
        (gzip.compress(b"abc", mtime=0) * 2, "gzip", 400),
        (gzip.compress(b"abc", mtime=0) + b"more", "gzip", 400),
        (b"{}", "gzip", 400),
        (b"\xff\xff", "deflate", 400),
        (b"", "gzip", 400),
        (b"{}", "br", 415),
        (b"{}", "gzip, gzip", 415),
    ],
)
def test_damage_and_bombs_are_refused(body: bytes, encoding: str, status: int) -> None:
    with pytest.raises(Problem) as problem:
        unpack(body, encoding, 1_000)
    assert problem.value.status == status


def test_answers_are_packed_only_as_accepted() -> None:
    answer = Reply(200, b"0" * 5_000)
    for accepted in ("", "br", "gzip;q=0", "identity"):
        assert packed(answer, accepted) is answer
    assert packed(Reply(200, b"0"), "gzip").headers == ()
    assert dict(packed(answer, "br, gzip;q=0.5").headers) == {"content-encoding": "gzip"}


def test_every_datatype_of_the_protocol_is_known() -> None:
    assert set(DTYPES) == {*INTEGERS, "FP16", "FP32", "FP64", "BF16", "BOOL"}
