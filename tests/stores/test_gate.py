"""Who is alone behind a gate is alone, whoever comes and goes meanwhile."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from skyloom.kernel.errors import Transient
from skyloom.stores.gate import Gate

THREADS, TURNS = 6, 300


def test_nobody_is_inside_with_one_who_is_alone():
    gate, inside, alone, wrong = Gate(), set[int](), set[int](), list[str]()

    def come_and_go(me: int) -> None:
        for turn in range(TURNS):
            if (turn + me) % 5 == 0:
                with gate.alone():
                    alone.add(me)
                    if inside or alone != {me}:
                        wrong.append(f"{me} is alone with {inside} and {alone}")
                    alone.remove(me)
                continue
            gate.enter()
            inside.add(me)
            gate.enter()  # it never waits for itself
            if alone:
                wrong.append(f"{me} is inside with {alone}")
            gate.leave()
            inside.remove(me)
            gate.leave()

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(come_and_go, range(THREADS)))
    assert wrong == []


def test_one_who_is_inside_cannot_be_alone_and_one_who_waits_too_long_gives_up():
    gate, entered, leaves = Gate(patience_s=0.05), Event(), Event()
    gate.enter()
    with pytest.raises(Transient, match="inside a transaction"), gate.alone():
        pass
    gate.leave()

    def stay(enter: Callable[[], None]) -> None:
        enter()
        entered.set()
        leaves.wait()
        gate.leave()

    with ThreadPoolExecutor(1) as threads:
        staying = threads.submit(stay, gate.enter)
        entered.wait()
        with pytest.raises(Transient, match="transactions stay open"), gate.alone():
            pass
        leaves.set()
        staying.result()
    with gate.alone():
        pass
