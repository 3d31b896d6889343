from itertools import pairwise

import msgspec
import pytest

from skyloom.delivery.canary import Limits
from skyloom.delivery.release import POINTER, current, history, load, publish
from skyloom.delivery.rollout import Plan, begin, finish
from skyloom.delivery.routes import canary_share, champion_of, champion_only, route_for, with_canary
from skyloom.kernel.errors import Conflict, NotFound, Refused
from skyloom.kernel.expr import Expression
from skyloom.kernel.ids import digest
from skyloom.kernel.records.definitions import LabelDef, LoopDef, ModelDef, StageDef
from skyloom.kernel.records.release import Release, Rollout, SignedRelease
from skyloom.kernel.sticky import arm_of, bucket_of

MODEL = ModelDef(
    "m", "asks", (), LabelDef("ends", "id", Expression("col", value="y"), 9), "f", "", {}, (), "binary", LoopDef()
)
ROUTE = champion_only(MODEL, 1, "p1", "s")
FIRST = Release(1, 5, "first", "ann", {"m": ROUTE}, {}, {}, ())


class Store:
    """Objects in a dictionary."""

    def __init__(self):
        self.content, self.pointers = {}, {}

    def put(self, content):
        self.content[digest(content)] = content
        return digest(content)

    def get(self, name):
        if name not in self.content:
            raise NotFound(name)
        return self.content[name]

    def pointer(self, name):
        return self.pointers.get(name)

    def move(self, name, content, *, expect):
        if self.pointers.get(name) != expect:
            raise Conflict("moved")
        self.pointers[name] = content


class Key:
    """A key whose signature is a keyed digest."""

    def __init__(self, secret=b"k"):
        self.secret, self.key_id = secret, "key-1"

    def sign(self, content):
        return digest(self.secret + content).encode()

    def verify(self, key_id, content, signature):
        return key_id == self.key_id and signature == self.sign(content)


def test_what_was_published_is_what_is_obeyed():
    store, key = Store(), Key()
    assert current(store, key) is None
    name = publish(store, key, FIRST, None)
    assert current(store, key) == (name, FIRST)
    second = msgspec.structs.replace(FIRST, number=2, reason="again")
    later = publish(store, key, second, name.encode())
    assert current(store, key) == (later, second)
    assert load(store, key, name) == FIRST


def test_a_lost_race_changes_nothing():
    store, key = Store(), Key()
    name = publish(store, key, FIRST, None)
    with pytest.raises(Conflict):
        publish(store, key, msgspec.structs.replace(FIRST, number=2), None)
    assert current(store, key) == (name, FIRST)


@pytest.mark.parametrize("field", ["release", "signature", "key_id"])
def test_changed_bytes_are_refused(field):
    store, key = Store(), Key()
    name = publish(store, key, FIRST, None)
    signed = msgspec.json.decode(store.content[name], type=SignedRelease)
    value = getattr(signed, field)
    for position in range(0, len(value), 5):
        changed = value[:position] + ("~" if field == "key_id" else b"~") + value[position + 1 :]
        store.content[name] = msgspec.json.encode(msgspec.structs.replace(signed, **{field: changed}))
        with pytest.raises(Refused) as refused:
            current(store, key)
        assert refused.value.fix


def test_a_foreign_signature_and_nonsense_are_refused():
    store, key = Store(), Key()
    publish(store, Key(b"other"), FIRST, None)
    with pytest.raises(Refused, match="not signed"):
        current(store, key)
    for content in (b"no json", msgspec.json.encode(SignedRelease(b"{}", key.sign(b"{}"), "key-1"))):
        store.pointers[POINTER] = store.put(content).encode()
        with pytest.raises(Refused):
            current(store, key)


def test_a_rollout_asks_for_its_route_in_every_state():
    plan = Plan((StageDef("shadow", units=5), StageDef("canary", 2.5), StageDef("full")), Limits({}))
    shadow = begin(Rollout("ro", "m", 1, 2, "salt", "", 0, 0, 0), plan).rollout
    packages = {1: "p1", 2: "p2"}

    def arms(rollout):
        return [(arm.version, arm.package, arm.share, arm.role) for arm in route_for(rollout, plan, MODEL, packages).arms]

    assert arms(shadow) == [(1, "p1", 10_000, "champion"), (2, "p2", 0, "shadow")]
    canary = msgspec.structs.replace(shadow, state="canary", stage=1)
    assert arms(canary) == [(2, "p2", 250, "canary"), (1, "p1", 9_750, "champion"), (2, "p2", 0, "shadow")]
    assert arms(msgspec.structs.replace(canary, state="held")) == arms(canary)
    assert arms(finish(canary, "promoted", "")) == [(2, "p2", 10_000, "champion")]
    assert arms(finish(canary, "rolled_back", "")) == [(1, "p1", 10_000, "champion")]
    release = msgspec.structs.replace(FIRST, routes={"m": route_for(canary, plan, MODEL, packages)})
    assert canary_share(release, canary) == 250
    assert canary_share(FIRST, canary) == 0
    assert canary_share(release, msgspec.structs.replace(canary, challenger=3)) == 0


def test_a_ramp_only_adds_units_to_the_canary():
    def canaries(share):
        route = with_canary(ROUTE, 2, "p2", share, "salt")
        shares = [arm.share for arm in route.arms]
        return {unit for unit in map(str, range(3_000)) if route.arms[arm_of(bucket_of("salt", unit), shares)].version == 2}

    steps = [canaries(share) for share in (100, 500, 2_500, 5_000)]
    assert all(smaller < greater for smaller, greater in pairwise(steps))
    assert champion_of(with_canary(ROUTE, 2, "p2", 100, "salt")).version == 1


def test_the_history_goes_back_as_far_as_releases_are_stored_and_trusted():
    store, key = Store(), Key()
    assert list(history(store, key)) == []
    ids = []
    for number in (1, 2, 3, 4):
        before = ids[-1] if ids else ""
        made = msgspec.structs.replace(FIRST, number=number, before=before)
        ids.append(publish(store, key, made, before.encode() or None))
    assert [(id, release.number) for id, release in history(store, key)] == list(zip(ids[::-1], (4, 3, 2, 1), strict=True))
    del store.content[ids[0]]
    assert [release.number for _, release in history(store, key)] == [4, 3, 2]
    store.content[ids[1]] = store.content[ids[1]].replace(b"key-1", b"key-2")
    with pytest.raises(Refused, match="trusted"):
        list(history(store, key))
