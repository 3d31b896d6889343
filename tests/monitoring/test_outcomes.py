from hypothesis import given, settings
from hypothesis import strategies as st

from skyloom.kernel.expr import Expression
from skyloom.kernel.records.definitions import LabelDef, LoopDef, ModelDef
from skyloom.kernel.records.prediction import Receipt
from skyloom.monitoring.outcomes import (
    JoinCounts,
    join_labels,
    join_predictions,
    outcomes_end,
    read_counts,
    read_outcomes,
    read_position,
    sweep_expired,
    write_position,
)

WITHIN = 100
MODEL = ModelDef(
    "m", "asks", (), LabelDef("ends", "id", Expression("col", value="y"), WITHIN), "f", "", {}, (), "binary", LoopDef()
)


class Memory:
    """An online writer in a dictionary."""

    def __init__(self):
        self.spaces = {}

    def get(self, space, key):
        return self.spaces.get(space, {}).get(key)

    def put(self, space, key, value):
        assert 1 <= len(key) <= 511
        self.spaces.setdefault(space, {})[key] = value

    def delete(self, space, key):
        self.spaces.get(space, {}).pop(key, None)

    def scan(self, space, prefix=b"", start=b""):
        for key, value in sorted(self.spaces.get(space, {}).items()):
            if key.startswith(prefix) and key >= start:
                yield key, value


def receipt(number, key, at_ms, arm="champion"):
    return Receipt(f"r{number}", "m", 1, "rel", arm, key, key, at_ms, at_ms, (), {}, {}, 0.25 + number / 1000, 1.5)


def labelled(writer):
    return [o for o in read_outcomes(writer, "m", 0, 10_000) if o.kind == "labelled"]


def test_a_prediction_is_an_outcome_at_once_and_again_with_its_label():
    writer = Memory()
    join_predictions(writer, MODEL, [receipt(1, "a", 10), receipt(2, "a", 11, "shadow")])
    assert [o.kind for o in read_outcomes(writer, "m", 0)] == ["served", "served"]
    join_labels(writer, MODEL, [("a", 1.0, 60), ("a", 0.0, 61)])
    outcomes = read_outcomes(writer, "m", 2)
    assert [(o.kind, o.receipt, o.arm, o.label, o.labelled_ms, o.release) for o in outcomes] == [
        ("labelled", "r1", "champion", 1.0, 60, "rel"),
        ("labelled", "r2", "shadow", 1.0, 60, "rel"),
    ]
    assert outcomes_end(writer, "m") == 4
    assert read_counts(writer, "m") == JoinCounts(served=2, labelled=2, repeated=1)
    assert read_counts(writer, "m").coverage == 1.0


def test_a_label_too_late_is_no_label():
    writer = Memory()
    join_predictions(writer, MODEL, [receipt(1, "a", 0), receipt(2, "b", 0)])
    join_labels(writer, MODEL, [("a", 1.0, WITHIN), ("b", 1.0, WITHIN + 1)])
    assert [o.receipt for o in labelled(writer)] == ["r1"]
    assert read_counts(writer, "m") == JoinCounts(served=2, labelled=1, expired=1, late=1)
    assert read_counts(writer, "m").coverage == 0.5


def test_what_waits_too_long_is_forgotten_and_counted():
    writer = Memory()
    join_predictions(writer, MODEL, [receipt(1, "a", 0), receipt(2, "a", 50), receipt(3, "b", 60)])
    join_labels(writer, MODEL, [("elsewhere", 1.0, 20)])
    assert sweep_expired(writer, MODEL, WITHIN) == JoinCounts()
    assert sweep_expired(writer, MODEL, WITHIN + 1).expired == 1
    join_labels(writer, MODEL, [("a", 1.0, 130)])
    assert [o.receipt for o in labelled(writer)] == ["r2"]
    assert sweep_expired(writer, MODEL, 10_000).expired == 1
    kept = {space for space, rows in writer.spaces.items() if rows}
    assert kept == {"outcomes/m", "positions", "join/m/counts"}


def test_a_sweep_goes_on_where_the_last_one_stopped():
    writer = Memory()
    join_predictions(writer, MODEL, [receipt(n, f"k{n}", n) for n in range(10)])
    swept = [sweep_expired(writer, MODEL, 10_000, most=4).expired for _ in range(4)]
    assert swept == [4, 4, 2, 0]


def test_keys_of_any_length_are_joined():
    writer = Memory()
    keys = ["", "é" * 5_000, "x" * 400, "x" * 401]
    join_predictions(writer, MODEL, [receipt(n, key, 0) for n, key in enumerate(keys)])
    join_labels(writer, MODEL, [(key, 1.0, 1) for key in keys])
    assert len(labelled(writer)) == len(keys)


def test_positions_are_numbers_by_name():
    writer = Memory()
    assert read_position(writer, "predictions/m") == 0
    write_position(writer, "predictions/m", 7)
    assert read_position(writer, "predictions/m") == 7


keys = st.sampled_from("abcd")
asks = st.lists(st.tuples(keys, st.integers(0, 200)), max_size=12)
ends = st.lists(st.tuples(keys, st.sampled_from([0.0, 1.0]), st.integers(0, 400)), max_size=12)


@given(asks, ends, st.randoms(use_true_random=False))
@settings(max_examples=80, deadline=None)
def test_any_interleaving_joins_what_a_plain_join_does(asks, ends, random):
    """The oracle: for each prediction the first label of its key, if it came in time."""
    first = {}
    for key, value, at in ends:
        first.setdefault(key, (value, at))
    expected = {(f"r{n}", *first[key]) for n, (key, at) in enumerate(asks) if key in first and first[key][1] - at <= WITHIN}
    steps = [("ask", receipt(n, key, at)) for n, (key, at) in enumerate(asks)]
    for row in ends:
        steps.insert(random.randint(0, len(steps)), ("end", row))
    rest = iter(ends)
    steps = [(kind, next(rest) if kind == "end" else each) for kind, each in steps]
    writer = Memory()
    for kind, each in steps:
        join_predictions(writer, MODEL, [each]) if kind == "ask" else join_labels(writer, MODEL, [each])
    found = {(o.receipt, o.label, o.labelled_ms) for o in labelled(writer)}
    assert found == expected
    assert len(labelled(writer)) == len(expected)
    numbers = [key for key, _ in writer.scan("outcomes/m")]
    assert numbers == [n.to_bytes(8, "big") for n in range(outcomes_end(writer, "m"))]
    assert read_counts(writer, "m").served == len(asks)
