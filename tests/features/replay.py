"""A history played through the stream and through the training set, with the answers of both beside the oracle's."""

import itertools
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from tests.features import oracle
from tests.features.histories import GROUPS, SCHEMA, SOURCE, History, log_batch
from tests.features.memory import MemoryOnline

from skyloom.features.offline import pit
from skyloom.features.online.building import begin, buildings
from skyloom.features.online.fold import SourceFold
from skyloom.features.online.lookup import OnlineFeatures
from skyloom.features.spaces import progress_space, tiles_space, unpack
from skyloom.ingest.codec import decode, event_schema
from skyloom.kernel.errors import DataError
from skyloom.kernel.records.definitions import FeatureGroupDef
from skyloom.ports.online import OnlineStore

ENTITIES: dict[tuple[str, ...], tuple[tuple[Any, ...], ...]] = {
    ("who",): (("UA",), ("",), ("DL \u00e9",), ("never",), (None,)),
    ("desk",): ((7,), (-1,), (3,), (None,)),
    ("who", "desk"): (("UA", 7), ("UA", -1), ("", 7), ("never", 7), ("UA", None), (None, 7)),
}
TYPES = {"who": pa.string(), "desk": pa.int64()}
Values = list[float | None]


class Served(NamedTuple):
    """An answer of the online store: ``values`` are ``None`` when it refused."""

    group: FeatureGroupDef
    entity: tuple[Any, ...]
    t: int
    as_of: int
    values: Values | None


class Played(NamedTuple):
    """The store, the first copies, and what was served on the way."""

    store: OnlineStore
    fresh: pa.Table
    served: list[Served]


def parts(history: History, cuts: list[int]) -> list[pa.Table]:
    """The events of the history as tables; a cut ends a table before the batch of that index."""
    edges = sorted({0, *(cut for cut in cuts if cut < len(history.batches)), len(history.batches)})
    pairs = itertools.pairwise(edges)
    return [decode([log_batch(batch) for batch in history.batches[a:b]], SCHEMA) for a, b in pairs]


def play(history: History, cuts: list[int], store: OnlineStore | None = None, *, live: bool = False) -> Played:
    """Fold part after part, each by a worker that knows only the store, and ask after each.

    The questions are the history's, or with ``live`` the first and the last moment before the next part is folded.
    """
    store = MemoryOnline() if store is None else store
    fresh, served = [event_schema(SCHEMA).empty_table()], list[Served]()
    tables = parts(history, cuts)
    moments = [_folded_at(part) for part in tables]
    for part, now, after in zip(tables, moments, [*moments[1:], moments[-1] + 1], strict=True):
        with store.write() as writer:
            fresh.append(SourceFold(SOURCE, GROUPS).fold(writer, part, last_offset(part) + 1, now).fresh)
        served += ask(store, [t for t in (now, after - 1) if now <= t < after] if live else history.questions)
    return Played(store, pa.concat_tables(fresh), served)


def _folded_at(part: pa.Table) -> int:
    return int(part.column("_appended").cast(pa.int64())[-1].as_py())


def build(writer: Any, folding: SourceFold, group: FeatureGroupDef, history: pa.Table) -> None:
    """A group built at once from all first copies that came in until now."""
    begin(writer, group, [folding.part])
    building = buildings(writer, [group])[tiles_space(group)]
    folding.advance(writer, building, history, building.state.barrier)


def last_offset(events: pa.Table) -> int:
    return int(events.column("_offset")[-1].as_py())


def ask(store: OnlineStore, questions: list[int]) -> list[Served]:
    """Every question about every entity."""
    lookup = OnlineFeatures(store, {group.name: group for group in GROUPS})
    return [_ask(lookup, group, entity, t) for t in questions for group in GROUPS for entity in ENTITIES[group.by]]


def _ask(lookup: OnlineFeatures, group: FeatureGroupDef, entity: tuple[Any, ...], t: int) -> Served:
    try:
        snapshot = lookup.read([(group.name, entity)], t)
    except DataError:
        as_of = lookup.read([(group.name, (None,))], t).as_of[SOURCE.name]
        return Served(group, entity, t, as_of, None)
    return Served(group, entity, t, snapshot.as_of[SOURCE.name], list(snapshot.values[0]))


def joined(fresh: pa.Table, served: list[Served], order: Any, orders: list[int]) -> list[Values]:
    """The same questions asked of the training set."""
    answers: list[Values] = [[] for _ in served]
    for group in GROUPS:
        mine = [index for index, answer in enumerate(served) if answer.group is group]
        entities = [
            pa.chunked_array([[served[index].entity[part] for index in mine]], TYPES[column])
            for part, column in enumerate(group.by)
        ]
        t = np.array([served[index].t for index in mine], np.int64)
        asked = pit.Asked(entities, t, np.array([orders[index] for index in mine], np.int64))
        table = pit.join(group, SOURCE, fresh, order, asked)
        for index, row in zip(mine, table.tolist(), strict=True):
            answers[index] = [None if value != value else value for value in row]
    return answers


def joined_by_offset(played: Played) -> list[Values]:
    """What the training set holds for all that was served, of the events with the offsets that were visible then."""
    order = pit.by_offset(played.fresh)
    return joined(played.fresh, played.served, order, [answer.as_of for answer in played.served])


def joined_by_time(played: Played) -> list[Values]:
    """The same, of what was visible by time."""
    order = pit.by_time(played.fresh, SOURCE, [progress(played.store)])
    return joined(played.fresh, played.served, order, [served.t for served in played.served])


def differences(history: History, cuts: list[int], played: Played | None = None, by_offset: Any = None) -> list[Any]:
    """Where stream, training set (`joined_by_offset`) and oracle do not agree on what was visible by offset."""
    played = play(history, cuts) if played is None else played
    answers = joined_by_offset(played) if by_offset is None else by_offset
    return [line for served, values in zip(played.served, answers, strict=True) if (line := _judge(history, served, values))]


def _judge(history: History, served: Served, values: Values) -> Any:
    events = [event for event in oracle.first_copies(history.events, "id") if event.offset < served.as_of]
    expected = oracle.features(served.group, events, served.entity, served.t)
    refuse = oracle.refused(served.group, events, served.entity, served.t)
    online = served.values if served.values is not None or not refuse else expected
    right = online == expected == values and (served.values is None) is refuse
    return None if right else (served, values, expected)


def differences_by_time(history: History, played: Played, by_time: Any = None) -> list[Any]:
    """Where training set (`joined_by_time`) and oracle do not agree on what was visible by time."""
    log = progress(played.store)
    entries = list(zip(log.times.tolist(), log.offsets.tolist(), strict=True))
    events = oracle.first_copies(history.events, "id")

    def visible(event: oracle.Happened, t: int) -> bool:
        if event.imported:
            return event.effective + SOURCE.delay_ms < t
        return any(event.offset < offset and moment <= t for moment, offset in entries)

    answers = joined_by_time(played) if by_time is None else by_time
    expected = [
        oracle.features(served.group, [event for event in events if visible(event, served.t)], served.entity, served.t)
        for served in played.served
    ]
    return [line for line in zip(played.served, answers, expected, strict=True) if line[1] != line[2]]


def progress(store: OnlineStore) -> pit.Progress:
    with store.read() as view:
        entries = [(unpack(value), unpack(key)) for key, value in view.scan(progress_space(SOURCE.name))]
    table = np.array(entries, np.int64).reshape(-1, 2)
    return pit.Progress(table[:, 0].copy(), table[:, 1].copy())
