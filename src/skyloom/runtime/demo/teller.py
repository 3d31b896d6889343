"""Tells a story in numbered steps, each with its figures and its duration."""

import textwrap
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import msgspec

_WIDTH = 110


class Step(msgspec.Struct):
    """One step as it was told: its figures in order, and how long it took."""

    number: int
    title: str
    figures: dict[str, str | int | float | bool | None]
    seconds: float = 0.0


class Teller:
    """Says what happens, through ``say`` (a line of text), and remembers it."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self.steps: list[Step] = []
        self._begun = self._step_begun = time.perf_counter()

    @contextmanager
    def step(self, title: str) -> Generator[Step]:
        """A step: its figures are told as they are set by `figure`, its duration at the end."""
        step = self.begin(title)
        yield step
        self.end(step)

    def begin(self, title: str) -> Step:
        """Begin a step that `end` ends."""
        step = Step(len(self.steps) + 1, title, {})
        self.steps.append(step)
        self._say(f"\n{step.number:>2}  {title}")
        self._step_begun = time.perf_counter()
        return step

    def end(self, step: Step, *, earlier: float = 0.0, later: float = 0.0) -> None:
        """End a step. ``earlier`` seconds of it were spent while the step before was open, ``later`` belong to the next."""
        step.seconds = max(0.0, time.perf_counter() - self._step_begun + earlier - later)
        self._say(f"    {'':<26}[{step.seconds:.1f} s; {self.elapsed:.1f} s in all]")

    def figure(self, step: Step, name: str, value: str | int | float | bool, note: str = "") -> None:
        """Tell one figure of a step."""
        step.figures[name] = value
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
        if isinstance(value, float):
            shown = f"{value:.4f}"
        first, *more = textwrap.wrap(f"{shown}{'  ' + note if note else ''}", _WIDTH - 30) or [""]
        self._say(f"    {name:<26}{first}")
        for line in more:
            self._say(f"{'':<30}{line}")

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A small table."""
        widths = [max(len(cell) for cell in column) for column in zip(columns, *rows, strict=True)]
        for row in (columns, *rows):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
            self._say(f"      {line.rstrip()}")

    def paragraph(self, text: str) -> None:
        """A sentence or two, in lines that fit a terminal."""
        for line in textwrap.wrap(text, _WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 12):
            self._say(line)

    @property
    def elapsed(self) -> float:
        """Seconds since the story began."""
        return time.perf_counter() - self._begun
