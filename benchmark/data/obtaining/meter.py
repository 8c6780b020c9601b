"""The progress of a long task: a bar on a terminal, a line every ten seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self

from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ...system.units import size_text

_LINE_SECONDS = 10.0
Say = Callable[[str], None]
"""Shows one line to the user."""


class Meter:
    """Counts `unit` up to `total` while its block runs."""

    def __init__(self, say: Say, title: str, total: int, unit: Literal["bytes", "files", "parts"]) -> None:
        self._say, self._title, self._total, self._unit = say, title, total, unit
        self._done, self._last = 0, time.monotonic()
        count = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
        columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
        self._bar = Progress(*columns, transient=True) if sys.stdout.isatty() else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
            self._bar.add_task(self._title, total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def reach(self, done: int) -> None:
        """`done` of the total are done."""
        self._done = done
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=done)
        elif time.monotonic() - self._last > _LINE_SECONDS:
            self._last = time.monotonic()
            numbers = f"{size_text(done)} of {size_text(self._total)}" if self._unit == "bytes" else ""
            self._say(f"{self._title}: {numbers or f'{done} of {self._total} {self._unit}'}")

    def advance(self, more: int = 1) -> None:
        """`more` than before are done."""
        self.reach(self._done + more)
