"""Features folded into a Redis: the same bytes and the same values as anywhere else, whatever dies meanwhile."""

import signal
import subprocess
import sys
from contextlib import closing

from hypothesis import HealthCheck, given, settings
from tests.features.histories import GROUPS, SCHEMA, SOURCE, History, histories, log_batch
from tests.features.memory import MemoryOnline
from tests.features.replay import ask, differences, last_offset, play
from tests.features.test_crash import ROOT, contents, history
from tests.features.test_zero_skew import CUTS

from skyloom.features.online.fold import SourceFold
from skyloom.ingest.codec import decode
from skyloom.kernel.errors import Conflict
from skyloom.stores.online.redis import RedisOnline


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories(), CUTS)
def test_a_redis_holds_the_same_bytes_and_serves_the_same_values(redis_server, history: History, cuts: list[int]) -> None:
    redis_server.flush()
    with closing(RedisOnline(redis_server.url, expire=True)) as store:
        played = play(history, cuts, store)
        assert differences(history, cuts, played) == []
        assert contents(store) == contents(play(history, cuts).store)


def work(store, on_commit=lambda end: None):
    """Fold what is not folded yet, from where the store stands; a transaction that was refused is begun again."""
    folding, batches = SourceFold(SOURCE, GROUPS), [decode([log_batch(batch)], SCHEMA) for batch in history().batches]
    done = 0
    while done < last_offset(batches[-1]) + 1:
        try:
            with store.write(durable=False) as writer:
                done = folding.position(writer)
                part = next((batch for batch in batches if last_offset(batch) >= done), None)
                if part is not None:
                    done = last_offset(part) + 1
                    folding.fold(writer, part, done, part.column("_appended")[-1].value)
        except Conflict:
            done = 0
            continue
        on_commit(done)


def without_faults():
    store = MemoryOnline()
    work(store)
    return contents(store), ask(store, history().questions)


def test_workers_that_are_killed_and_workers_side_by_side_end_up_with_the_same_bytes(redis_server):
    redis_server.flush()
    for commits in (1, 11):
        worker = begin_worker(redis_server.url, 10_000)
        for _ in range(commits):
            assert worker.stdout.readline()
        worker.kill()
        worker.communicate()
        assert worker.returncode == -signal.SIGKILL
    both = [begin_worker(redis_server.url, 1) for _ in range(2)]  # two own the partition, with turns that protect nobody
    assert [worker.communicate()[1] for worker in both] == ["", ""]
    assert [worker.returncode for worker in both] == [0, 0]
    with closing(RedisOnline(redis_server.url)) as store:
        assert (contents(store), ask(store, history().questions)) == without_faults()


def begin_worker(url, lease_ms):
    """A process that works to the end, and tells of every commit."""
    words = [sys.executable, "-m", "tests.features.test_redis", url, str(lease_ms)]
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_redis_that_restarts_empty_is_built_again_to_the_same_bytes(new_redis):
    server = new_redis()
    with closing(RedisOnline(server.url)) as store:
        ends = []

        def on_commit(end):
            ends.append(end)
            if len(ends) in (7, 30):
                server.restart_empty()

        work(store, on_commit)
        assert ends[7] < ends[6]
        assert (contents(store), ask(store, history().questions)) == without_faults()


if __name__ == "__main__":
    with closing(RedisOnline(sys.argv[1], lease_ms=int(sys.argv[2]))) as own:
        work(own, lambda end: print(end, flush=True))  # noqa: T201
