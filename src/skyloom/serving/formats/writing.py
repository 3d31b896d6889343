"""Predictions as answers: JSON, lines of JSON, CSV, Arrow or Parquet."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from skyloom.serving.formats import media as formats
from skyloom.serving.formats.media import Media
from skyloom.serving.predict import Prediction
from skyloom.serving.wire import Problem, Reply

SCORE = ("score",)

_OUTPUTS: dict[str, Callable[[Prediction], Any]] = {
    "score": lambda each: each.score,
    "label": lambda each: each.label,
    "receipt": lambda each: each.id,
    "version": lambda each: each.version,
}
OUTPUTS = tuple(_OUTPUTS)
"""What can be asked for each row."""

_TABLES = frozenset({formats.ARROW_STREAM, formats.ARROW_FILE, formats.PARQUET})

Shape = Callable[[list[Any]], Any]
"""What JSON is made of the values of all rows."""


def values_of(found: Sequence[Prediction], outputs: Sequence[str]) -> list[Any]:
    """For each prediction the one output asked for, or an object of several."""
    if len(outputs) == 1:
        return [_OUTPUTS[outputs[0]](each) for each in found]
    return [{name: _OUTPUTS[name](each) for name in outputs} for each in found]


def checked(outputs: Sequence[str]) -> tuple[str, ...]:
    """The outputs, each once. Raises `Problem` with 400 for one that there is not, or for none.

    >>> checked(["label", "score", "label"])
    ('label', 'score')
    """
    for name in outputs:
        if name not in _OUTPUTS:
            raise Problem(400, f"there is no output {name}; there are {', '.join(OUTPUTS)}")
    if not outputs:
        raise Problem(400, f"outputs: name some of {', '.join(OUTPUTS)}")
    return tuple(dict.fromkeys(outputs))


def outputs_for(media: Media, asked: Sequence[str] | None) -> tuple[str, ...]:
    """The outputs that an answer has: what its media type says (``text/csv; outputs=score+label``), else what the body
    asked for, else the score alone, and all of them in a table. Raises as `checked`."""
    named = media.parameters.get("outputs")
    if named is not None:
        return checked(named.split("+"))
    if asked is not None:
        return checked(asked)
    return OUTPUTS if media.type in _TABLES else SCORE


def receipt_header(found: Sequence[Prediction]) -> tuple[tuple[str, str], ...]:
    """The header with the receipt of one prediction alone."""
    return (("x-skyloom-receipt", found[0].id),) if len(found) == 1 else ()


def written(found: Sequence[Prediction], media: Media, outputs: Sequence[str], shape: Shape) -> Reply:
    """Predictions in the format that the caller wants; ``shape`` is the contract's own, of JSON.

    The parameter ``header=present`` of the media type gives CSV a line of names. The receipt of one prediction alone goes
    into a header.
    """
    headers = receipt_header(found)
    if media.type in _TABLES:
        from skyloom.serving.formats.written_tables import table_bytes

        return Reply(200, table_bytes(columns_of(found, outputs), media.type), media.type, headers)
    if media.type == formats.JSON:
        return Reply(200, msgspec.json.encode(shape(values_of(found, outputs))), formats.JSON, headers)
    if media.type == formats.LINES:
        return Reply(200, json_lines(found, outputs), formats.LINES, headers)
    lines = csv_lines(found, outputs, media.parameters.get("header") == "present")
    return Reply(200, lines, f"{formats.CSV}; charset=utf-8", headers)


def columns_of(found: Sequence[Prediction], outputs: Sequence[str]) -> dict[str, list[Any]]:
    """The outputs of predictions by column."""
    return {name: [_OUTPUTS[name](each) for each in found] for name in outputs}


def json_lines(found: Sequence[Prediction], outputs: Sequence[str]) -> bytes:
    """An object for each prediction, each on a line."""
    return b"".join(msgspec.json.encode({name: _OUTPUTS[name](each) for name in outputs}) + b"\n" for each in found)


def csv_lines(found: Sequence[Prediction], outputs: Sequence[str], header: bool) -> bytes:
    """A line for each prediction. No output needs quotes: numbers, true and false, ids."""
    lines = [",".join(outputs)] if header else []
    lines += [",".join(_cell(_OUTPUTS[name](each)) for name in outputs) for each in found]
    return "".join(f"{line}\n" for line in lines).encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
