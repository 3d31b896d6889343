"""Sees that certificates have changed on the disk, and takes those that are good."""

import asyncio
import logging
import os
import ssl
import time
from collections.abc import Callable
from typing import NoReturn

from prometheus_client import CollectorRegistry, Counter, Gauge

from skyloom.kernel.errors import Transient
from skyloom.serving.certificates import CertificateFiles, Pair, read_pair
from skyloom.serving.tls_context import ChangingContext, context_of, prove

_log = logging.getLogger("skyloom.serving")


_Stamp = tuple[tuple[int, int, int, int] | None, ...]


class CertificateWatch:
    """The pair that is served, in ``now``: replaced whole when the files hold another one that can be served.

    What is read while files are being changed may be half of one pair and half of another. So a change is looked at once
    nothing has moved from one look to the next, and what cannot be served leaves everything as it was. Not for several
    threads at once; ``now`` may be read by all. Contexts are asked for before the first look.
    """

    def __init__(self, files: CertificateFiles, registry: CollectorRegistry) -> None:
        """Reads and proves the files. Raises `UsageError` for what cannot be served."""
        self._files = files
        self._seen = self._stable = self._stamp()
        self.now, warnings = read_pair(files, time.time())
        prove(self.now)
        self._contexts: dict[str, ChangingContext] = {}
        """By what they speak."""
        for warning in warnings:
            _log.warning("%s", warning)
        self._told: tuple[Pair, str] | None = None
        self._reloads = Counter(
            "skyloom_certificate_reloads", "Changed certificates, by what became of them", ["outcome"], registry=registry
        )
        for outcome in ("loaded", "refused"):
            self._reloads.labels(outcome)
        expires = Gauge(
            "skyloom_certificate_expires_seconds", "How long the certificate that is served is valid", registry=registry
        )
        expires.set_function(lambda: self.now.expires_s - time.time())
        self._tell_expiry()

    def context(self, protocol: str) -> ssl.SSLContext:
        """Shows each new connection what is served at that moment; ``protocol`` is what it shall speak (ALPN)."""
        found = self._contexts[protocol] = ChangingContext(context_of(self.now, protocol))
        return found

    def look(self) -> Pair | None:
        """Look once; the new pair, if there is one since the last look."""
        self._tell_expiry()
        stamp = self._stamp()
        moved, self._seen = stamp != self._seen, stamp
        if moved or stamp == self._stable:
            return None
        try:
            fresh, warnings = read_pair(self._files, time.time())
            if fresh != self.now:
                prove(fresh)
            contexts = {protocol: context_of(fresh, protocol) for protocol in self._contexts}
        except (Transient, OSError) as error:
            _log.warning("changed certificates wait: %s", " ".join(str(error).split()))
            return None
        except Exception as error:  # noqa: BLE001  # the edge of a look: no file may end the process that serves
            self._stable = stamp
            self._reloads.labels("refused").inc()
            _log.error("changed certificates are refused, and those before them served on: %s", " ".join(str(error).split()))
            return None
        self._stable = stamp
        for warning in warnings:
            _log.warning("%s", warning)
        if fresh == self.now:
            return None
        self.now = fresh
        for protocol, context in contexts.items():
            self._contexts[protocol].newest = context
        self._reloads.labels("loaded").inc()
        _log.info("the certificate was changed for %s: valid until %s", ", ".join(fresh.names) or "nobody", _utc(fresh))
        return fresh

    async def follow(self, look_s: float, on_change: Callable[[], None]) -> NoReturn:
        """Look every ``look_s`` seconds; ``on_change`` is called when there is a new pair."""
        while True:
            await asyncio.sleep(look_s)
            if await asyncio.to_thread(self.look) is not None:
                on_change()

    def _stamp(self) -> _Stamp:
        """What changes when a file is written, moved or linked to another."""
        found: list[tuple[int, int, int, int] | None] = []
        for path in self._files.all:
            try:
                status = os.stat(path)
            except OSError:
                found.append(None)
            else:
                found.append((status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns))
        return tuple(found)

    def _tell_expiry(self) -> None:
        """Say once for each certificate that it ends soon, and once that it has ended."""
        now_s = time.time()
        word = "has expired" if now_s > self.now.expires_s else "expires soon" if self.now.is_ending(now_s) else ""
        if word and (self.now, word) != self._told:
            self._told = self.now, word
            _log.warning("the certificate %s: %s", word, _utc(self.now))


def _utc(pair: Pair) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(pair.expires_s))
