"""Progress of a run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from .units import in_bytes, in_time, scaled

if TYPE_CHECKING:
    from .cell import Cell, Training
    from .records import Outcome

_LINE_SECONDS = 10.0
_PACE_ROWS = 40
"""Rows of a training, of about 200, whose pace tells the time left: enough to even out validations."""


class Listener:
    """Hears of everything that happens in a run; prints plain lines."""

    def __init__(self) -> None:
        self._total = self._settled = 0
        self._last_line = 0.0
        self._recent = _Recent()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def say(self, text: str) -> None:
        """One line for the reader."""
        print(text, flush=True)

    def warn(self, text: str) -> None:
        """Something that costs no result."""
        self.say(f"warning: {text}")

    def planned(self, cells: Sequence[Cell], settled: Sequence[Outcome]) -> None:
        """The cells that will run, and those that need not."""
        self._total = len(cells)
        done = [outcome for outcome in settled if outcome.state == "done"]
        if done:
            self.say(f"{len(done)} cells are done and kept")
        for outcome in settled:
            if outcome.state != "done":
                self.say(f"{outcome.cell}: {outcome.state}: {outcome.message}")

    def event(self, training: Training, event: dict[str, Any]) -> None:
        """An event of the running job (see `worker.run_job`)."""
        event = self._completed(event)
        if event["kind"] == "started":
            self.say(f"[{self._settled + 1}/{self._total}] {training.base}")
        elif event["kind"] == "warning":
            self.warn(event["message"])
        elif event["kind"] in ("prepare", "progress", "upscale") and time.monotonic() - self._last_line > _LINE_SECONDS:
            self._last_line = time.monotonic()
            self.say(f"    {describe(event)}")

    def _completed(self, event: dict[str, Any]) -> dict[str, Any]:
        if event["kind"] == "started":
            self._recent = _Recent()
        return self._recent.complete(event)

    def settled(self, outcome: Outcome) -> None:
        """A cell has its record."""
        self._settled += 1
        self.say(f"    {outcome.cell.label}: {outcome.state}  {figures(outcome)}")


class _Recent:
    """What a single event of a training lacks: the last validation, and the time left at its recent pace."""

    def __init__(self) -> None:
        self._val_psnr: float | None = None
        self._rows: deque[tuple[int, float]] = deque(maxlen=_PACE_ROWS)

    def complete(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event with `val_psnr` (dB) and `left` (s), where they are known.

        The pace is that of this process, validations included: `seconds` of a training that was resumed holds those
        of another process too, whose speed may have been another.
        """
        if event["kind"] != "progress":
            return event
        known: dict[str, Any] = {}
        self._val_psnr = event.get("val_psnr", self._val_psnr)
        if self._val_psnr is not None:
            known["val_psnr"] = self._val_psnr
        if event["steps"] and "seconds" in event:
            self._rows.append((event["step"], event["seconds"]))
            (first, then), (last, now) = self._rows[0], self._rows[-1]
            if last > first:
                known["left"] = (now - then) / (last - first) * (event["steps"] - last)
        return {**event, **known}


class _Description(TextColumn):
    """The one column that gives way where a line is longer than the terminal is wide."""

    def __init__(self) -> None:
        super().__init__("{task.description}", table_column=Column())

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


class _Bars(Progress):
    """Bars with a line of figures below them."""

    figures = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.figures:
            yield Text(f"  {self.figures}", no_wrap=True, overflow="ellipsis")


class LiveListener(Listener):
    """The same on a terminal: bars for all cells and for the running one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        columns = (_Description(), BarColumn(bar_width=16), TextColumn("{task.fields[note]}"))
        self._progress = _Bars(*columns, console=console)
        self._cells = self._running = TaskID(0)

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def planned(self, cells: Sequence[Cell], settled: Sequence[Outcome]) -> None:
        super().planned(cells, settled)
        if cells:
            self._progress.start()
            self._cells = self._progress.add_task("all cells", total=len(cells), note=f"0/{len(cells)}")

    def event(self, training: Training, event: dict[str, Any]) -> None:
        event = self._completed(event)
        self._progress.figures = ""
        if event["kind"] == "started":
            self._running = self._progress.add_task(str(training.base), total=None, note="")
        elif event["kind"] == "progress":
            self._progress.figures = "  ".join(_readings(event))
            self._advance(event["step"], event["steps"], _position(event))
        elif event["kind"] == "upscale":
            self._advance(event["subject"], event["subjects"], describe(event))
        elif event["kind"] == "prepare":
            self._advance(event["done"], event["total"], describe(event))
        elif event["kind"] == "warning":
            self.warn(event["message"])
        elif event["kind"] == "ended":
            self._progress.remove_task(self._running)

    def _advance(self, done: int, total: int, note: str) -> None:
        self._progress.update(self._running, completed=done, total=total or None, note=note)

    def settled(self, outcome: Outcome) -> None:
        self._settled += 1
        self.say(f"{outcome.cell}: {outcome.state}  {figures(outcome)}")
        self._progress.update(self._cells, completed=self._settled, note=f"{self._settled}/{self._total}")


def default_listener() -> Listener:
    """Bars on a terminal, lines in a pipe."""
    console = Console(stderr=False)
    return LiveListener(console) if sys.stdout.isatty() else Listener()


def describe(event: dict[str, Any]) -> str:
    """An event in words, e.g. 'step 200/1000  loss 0.0123  val PSNR 31.20 dB  1.2 M LR px/s  1.9 GB  3 min left'.

    A training's event is one that was completed; what it does not hold is left out.
    """
    if event["kind"] == "prepare":
        return f"preparing the {event['fold']} fold: {event['done']}/{event['total']} volumes"
    if event["kind"] == "upscale":
        return f"{event['label']}: test subject {event['subject']}/{event['subjects']}"
    return "  ".join([_position(event), *_readings(event)])


def _position(event: dict[str, Any]) -> str:
    """'step 200/1000', with the number of steps skipped where there are some."""
    of = f"/{event['steps']}" if event["steps"] else ""
    skipped = f" ({event['skipped']:.0f} skipped)" if event.get("skipped") else ""
    return f"step {event['step']}{of}{skipped}"


def _readings(event: dict[str, Any]) -> list[str]:
    """The figures of a training's event that are known; at most 74 characters with two spaces between."""
    parts = []
    if "loss" in event:
        parts.append(f"loss {event['loss']:.3g}")
    if "val_psnr" in event:
        parts.append(f"val PSNR {event['val_psnr']:.2f} dB")
    if "pixels_per_second" in event:
        parts.append(" ".join(part for part in (*scaled(event["pixels_per_second"]), "LR px/s") if part))
    if "memory_bytes" in event:
        parts.append(in_bytes(event["memory_bytes"]))
    if "left" in event:
        parts.append(f"{in_time(event['left'])} left")
    return parts


def figures(outcome: Outcome) -> str:
    """A cell's mean metrics, or why it has none."""
    if outcome.metrics is None:
        return outcome.message
    return "  ".join(f"{name} {value:.4f}" for name, value in outcome.metrics.items())
