"""The one place that prints: for people (richly on a terminal, plainly elsewhere) or, with ``--json``, for programs."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol, TextIO

Cell = str | int | float | bool | None


class Progress(Protocol):
    """The progress of one long piece of work."""

    def advance(self, count: int = 1) -> None:
        """``count`` more are done."""
        ...


class Out:
    """Where a command says what it did.

    Tables, fields and lines are for people and say nothing in JSON mode; `document` is for programs and says nothing
    otherwise. Progress goes to stderr, and nowhere in JSON mode, where stderr is kept for an error in JSON.

    >>> out = Out()
    >>> out.table(["model", "version"], [["late_arrival", 2], ["churn", 11]])
    model         version
    late_arrival        2
    churn              11
    """

    def __init__(self, *, json: bool = False) -> None:
        self._json = json

    def line(self, text: str = "") -> None:
        """A line of text, seen at once: a pipe or a file would keep it back, and who waits for "ready" reads one."""
        if not self._json:
            print(text, flush=True)

    def fields(self, values: Mapping[str, Cell]) -> None:
        """Names and values, one pair a line."""
        width = max((len(name) for name in values), default=0)
        for name, value in values.items():
            self.line(f"{name:<{width}}  {shown(value)}")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]], title: str = "") -> None:
        """A table; columns of numbers are aligned to the right."""
        if self._json:
            return
        cells = [[shown(cell) for cell in row] for row in rows]
        numeric = [bool(rows) and all(_is_number(row[place]) for row in rows) for place in range(len(columns))]
        if _is_terminal(sys.stdout):
            _print_rich_table(columns, cells, numeric, title)
            return
        if title:
            print(title)
        for line in [list(columns), *cells]:
            print(_aligned(line, [list(columns), *cells], numeric))

    def document(self, value: object) -> None:
        """The command's result as one JSON document: to be called once. Structs, paths and NaN (null) are fine."""
        if self._json:
            import msgspec

            print(msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode(), flush=True)

    @contextlib.contextmanager
    def progress(self, label: str, total: int, *, done: int = 0, unit: str = "") -> Generator[Progress]:
        """Progress over ``total`` pieces, of which some are ``done``: a bar on a terminal, a line each tenth elsewhere.

        With a ``unit``, such as ``rows``, it tells how many a second and how long the others will take.
        """
        if self._json:
            yield _Counter(lambda count: None)
        elif _is_terminal(sys.stderr):
            with _rich_progress(label, total, done, unit) as progress:
                yield progress
        else:
            yield _Lines(label, total, done, unit)


def shown(value: Cell) -> str:
    """A value as people read it: four digits of a fraction, ``yes`` and ``no``, ``-`` for nothing.

    >>> shown(0.123456), shown(True), shown(None), shown(1234567)
    ('0.1235', 'yes', '-', '1,234,567')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else value


def moment(at_ms: int | None) -> str | None:
    """A moment (milliseconds since 1970) in UTC, ISO 8601, whole seconds.

    >>> moment(1364788800000)
    '2013-04-01T04:00:00Z'
    """
    if at_ms is None:
        return None
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms // 1000, UTC).isoformat().replace("+00:00", "Z")


def _is_number(value: Cell) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _aligned(cells: Sequence[str], lines: Sequence[Sequence[str]], numeric: Sequence[bool]) -> str:
    widths = [max(len(line[place]) for line in lines) for place in range(len(cells))]
    parts = [
        cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(cells, widths, numeric, strict=True)
    ]
    return "  ".join(parts).rstrip()


def _print_rich_table(columns: Sequence[str], rows: list[list[str]], numeric: list[bool], title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=Text(title) if title else None, title_justify="left")
    for column, right in zip(columns, numeric, strict=True):
        table.add_column(Text(column), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


@contextlib.contextmanager
def _rich_progress(label: str, total: int, done: int, unit: str) -> Generator[Progress]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress as Bar
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f} {unit}/s")

    columns = [*Bar.get_default_columns(), *([Rate()] if unit else [])]
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(label), total=total or None, completed=done)
        yield _Counter(lambda count: bar.advance(task, count))


class _Counter:
    """Hands each advance on."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance

    def advance(self, count: int = 1) -> None:
        self._advance(count)


class _Lines:
    """A line on stderr each tenth."""

    def __init__(self, label: str, total: int, done: int, unit: str) -> None:
        self._label, self._total, self._done, self._unit = label, total, done, unit
        self._known, self._begun = done, time.monotonic()

    def advance(self, count: int = 1) -> None:
        before, self._done = self._done, self._done + count
        if self._total and before * 10 // self._total < self._done * 10 // self._total:
            print(f"{self._label}: {self._done:,} of {self._total:,}{self._pace()}", file=sys.stderr, flush=True)

    def _pace(self) -> str:
        took = time.monotonic() - self._begun
        if not self._unit or took <= 0:
            return ""
        rate = (self._done - self._known) / took
        left = max(0, self._total - self._done) / rate
        return f", {rate:,.0f} {self._unit}/s" + (f", {_duration(left)} left" if left else "")


def _duration(seconds: float) -> str:
    """
    >>> _duration(0.2), _duration(75), _duration(7300)
    ('1 s', '1 min 15 s', '2 h 1 min')
    """
    whole = max(1, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{count} {unit}" for count, unit in parts if count)
