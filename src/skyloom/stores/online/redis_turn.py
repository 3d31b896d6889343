"""Whose turn it is to write to a Redis, and the fence that holds whether or not turns are kept."""

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from uuid import uuid4

from skyloom.kernel.errors import Conflict, SkyloomError, Transient
from skyloom.stores.online.redis_layout import Layout
from skyloom.stores.online.redis_scripts import BEGIN, COMMIT, END
from skyloom.stores.online.redis_server import Address, answering
from skyloom.stores.online.redis_view import Step

_PATIENCE_S = 60.0
_ASK_S = 0.01


class Turn:
    """The turns of one process, one thread of it at a time."""

    def __init__(self, client: Any, address: Address, layout: Layout, lease_ms: int) -> None:
        self._client, self._address, self._lease_ms = client, address, lease_ms
        self._keys = [layout.turn, layout.commit]
        self._begin, self._end, self._commit = (client.register_script(script) for script in (BEGIN, END, COMMIT))
        self._token = b""

    @cached_property
    def holder(self) -> Any:
        """A client whose one connection lives as long as this process: while it is there, we are."""
        return self._address.client(alone=True)

    def close(self) -> None:
        """Let go of the connection, if there ever was one."""
        holder: Any = self.__dict__.pop("holder", None)
        if holder is not None:
            holder.close()

    @contextmanager
    def taken(self) -> Generator[bytes]:
        """Our turn, waited for; gives the commit that stands. Raises `Transient` when it does not come within a minute."""
        with answering(self._address):
            self._token = b"%d:%s" % (self.holder.client_id(), uuid4().hex.encode())
        began = self._wait()
        try:
            yield began
        except BaseException:
            self._give_back()
            raise

    def commit(self, began: bytes, steps: Sequence[Step]) -> None:
        """Apply steps if ``began`` is still the last commit, and end the turn. Raises `Conflict` if it is not."""
        if not steps:
            self._give_back()
            return
        number = int(began.partition(b":")[0] or b"0") + 1
        ours = b"%d:%s" % (number, uuid4().hex.encode())
        words: list[bytes | str | int] = [self._token, began, ours]
        for _, command, keep, arguments in steps:
            words += (command, keep, len(arguments))
            words += arguments
        with answering(self._address):
            written = self._commit([*self._keys, *(key for key, *_ in steps)], words)
        if not written:
            raise Conflict(
                f"{self._address}: somebody else has written since this transaction began, or the server was emptied",
                tried=f"a commit after {began.decode() or 'none'}; nothing of it was written",
                fix="read again what stands in the store; if two workers own this project, end one",
            )

    def _wait(self) -> bytes:
        deadline = time.monotonic() + _PATIENCE_S
        pause = 0.0005
        while time.monotonic() < deadline:
            with answering(self._address):
                holder, began = self._begin(self._keys, [self._token, self._lease_ms])
                if holder == self._token:
                    return began
                if pause > _ASK_S and not self._client.execute_command("CLIENT LIST", "ID", holder.partition(b":")[0]):
                    self._end(self._keys[:1], [holder])  # who has no connection any more will not end its turn
                    continue
            time.sleep(pause)
            pause = min(2 * pause, 2 * _ASK_S)
        raise Transient(
            f"{self._address}: others have been writing for a minute", tried="waited for our turn", fix="try again"
        )

    def _give_back(self) -> None:
        try:
            with answering(self._address):
                self._end(self._keys[:1], [self._token])
        except SkyloomError:
            return  # the lease ends it
