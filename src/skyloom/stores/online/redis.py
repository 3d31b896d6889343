"""The online store in Redis or Valkey: one primary, with or without replicas.

A transaction is collected here and applied there by one script, under a fence: every commit has a name, and a script that
was begun at another commit than the present one writes nothing. So a writer that stood still, lost its connection, or
talks to a server that was emptied or taken over by a replica, is refused and learns of it. That there is one writer at a
time needs no more than that; the *turn* is a courtesy, so that writers wait instead of failing.

What is promised: each call of a view is one moment of everything, also across spaces and entities. Two calls of one
view are two moments. A server that restarts has what its persistence gives back, cut at the end of some transaction
(append-only file: scripts are in it whole); a replica that takes over likewise; without persistence it is empty, without
positions too, and whoever folds the log begins anew. ``durable`` makes no difference: how often the server goes to its
disk is its own setting.
"""

from collections.abc import Generator
from contextlib import contextmanager
from functools import cached_property
from threading import Lock, get_ident
from typing import TYPE_CHECKING

from skyloom.kernel.errors import UsageError
from skyloom.ports.online import OnlineReader, OnlineStore, OnlineWriter
from skyloom.stores.online.redis_layout import Layout
from skyloom.stores.online.redis_server import Address, check_server
from skyloom.stores.online.redis_turn import Turn
from skyloom.stores.online.redis_view import RedisView
from skyloom.stores.online.redis_writer import RedisWriter


class RedisOnline:
    """An online store at ``url``: ``redis://HOST:PORT/DB?prefix=NAME``, connected when first used.

    A ``prompt`` one is for who may not wait: it gives the server a quarter of a second, and hears a refusal at once.
    With ``expire``, entities that were not written for as long as their features look back are forgotten; only for events
    whose times follow the machine's clock. A turn ends by itself after ``lease_ms``. Raises `Transient` when the server does
    not answer, `DeclarationError` when it is of no use for this.
    """

    steady = False

    def __init__(self, url: str, *, expire: bool = False, lease_ms: int = 10_000, prompt: bool = False) -> None:
        self._address, self._prompt = Address(url), prompt
        self._layout = Layout(self._address.prefix)
        self._expire, self._lease_ms = expire, lease_ms
        self._writing, self._writer_thread = Lock(), 0
        self._closed = False

    @cached_property
    def _view(self) -> RedisView:
        client = self._address.client(prompt=self._prompt)
        check_server(client, self._address)
        return RedisView(client, self._address, self._layout)

    @cached_property
    def _turn(self) -> Turn:
        return Turn(self._open().client, self._address, self._layout, self._lease_ms)

    def _open(self) -> RedisView:
        if self._closed:
            raise UsageError(f"{self._address} was closed", fix="open it again")
        return self._view

    def read(self) -> "_Read":
        """A view, each call of which is one moment."""
        return _Read(self._open())

    @contextmanager
    def write(self, *, durable: bool = True) -> Generator[OnlineWriter]:
        """A transaction: committed when the block ends, undone when it raises. Raises `Conflict` at its end when somebody
        else has committed, or the server was emptied, since it began; then nothing was written. After a `Transient` at
        its end only the store knows whether it was: read the positions again."""
        with self._alone(), self._turn.taken() as began:
            writer = RedisWriter(self._open(), self._layout)
            yield writer
            self._turn.commit(began, writer.steps(expire=self._expire))

    @contextmanager
    def _alone(self) -> Generator[None]:
        """One writer of this process at a time."""
        if self._writer_thread == get_ident():
            raise UsageError("a write transaction inside another of the same thread", fix="end the outer one first")
        with self._writing:
            self._writer_thread = get_ident()
            try:
                yield
            finally:
                self._writer_thread = 0

    def drop(self, space: str) -> None:
        """Forget a space and everything in it."""
        with self._alone(), self._turn.taken() as began:
            self._turn.commit(began, self._open().dropping(space))

    def close(self) -> None:
        """Let go of the connections."""
        self._closed = True
        turn: Turn | None = self.__dict__.pop("_turn", None)
        view: RedisView | None = self.__dict__.pop("_view", None)
        if turn is not None:
            turn.close()
        if view is not None:
            view.client.close()


class _Read:
    """The view of a `RedisOnline`, for a ``with`` block. Nothing to let go: a call takes a connection and gives it back."""

    __slots__ = ("_view",)

    def __init__(self, view: RedisView) -> None:
        self._view = view

    def __enter__(self) -> OnlineReader:
        return self._view

    def __exit__(self, *_: object) -> None:
        return


if TYPE_CHECKING:
    _store: OnlineStore = RedisOnline("redis://")
