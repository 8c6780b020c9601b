"""Progress of a run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

if TYPE_CHECKING:
    from .cell import Cell, Training
    from .records import Outcome

_LINE_SECONDS = 10.0


class Listener:
    """Hears of everything that happens in a run; prints plain lines."""

    def __init__(self) -> None:
        self._total = self._settled = 0
        self._last_line = 0.0
        self._val_psnr: float | None = None

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
        event = self._with_val_psnr(event)
        if event["kind"] == "started":
            self.say(f"[{self._settled + 1}/{self._total}] {training.base}")
        elif event["kind"] == "warning":
            self.warn(event["message"])
        elif event["kind"] in ("prepare", "progress", "upscale") and time.monotonic() - self._last_line > _LINE_SECONDS:
            self._last_line = time.monotonic()
            self.say(f"    {describe(event)}")

    def _with_val_psnr(self, event: dict[str, Any]) -> dict[str, Any]:
        """The event with the last validation's PSNR, which not every step has."""
        self._val_psnr = None if event["kind"] == "started" else event.get("val_psnr", self._val_psnr)
        return {**event, "val_psnr": self._val_psnr}

    def settled(self, outcome: Outcome) -> None:
        """A cell has its record."""
        self._settled += 1
        self.say(f"    {outcome.cell.label}: {outcome.state}  {figures(outcome)}")


class LiveListener(Listener):
    """The same on a terminal: bars for all cells and for the running one."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), TextColumn("{task.fields[note]}"))
        self._progress = Progress(*columns, console=console)
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
        event = self._with_val_psnr(event)
        if event["kind"] == "started":
            self._running = self._progress.add_task(str(training.base), total=None, note="")
        elif event["kind"] == "progress":
            done, total = event["step"], event["steps"] or None
            self._progress.update(self._running, completed=done, total=total, note=describe(event))
        elif event["kind"] == "upscale":
            done, total = event["subject"], event["subjects"]
            self._progress.update(self._running, completed=done, total=total, note=describe(event))
        elif event["kind"] == "prepare":
            self._progress.update(self._running, completed=event["done"], total=event["total"], note=describe(event))
        elif event["kind"] == "warning":
            self.warn(event["message"])
        elif event["kind"] == "ended":
            self._progress.remove_task(self._running)

    def settled(self, outcome: Outcome) -> None:
        self._settled += 1
        self.say(f"{outcome.cell}: {outcome.state}  {figures(outcome)}")
        self._progress.update(self._cells, completed=self._settled, note=f"{self._settled}/{self._total}")


def default_listener() -> Listener:
    """Bars on a terminal, lines in a pipe."""
    console = Console(stderr=False)
    return LiveListener(console) if sys.stdout.isatty() else Listener()


def describe(event: dict[str, Any]) -> str:
    """An event in words, e.g. 'step 200/1000  loss 0.0123  val PSNR 31.20 dB'."""
    if event["kind"] == "prepare":
        return f"preparing the {event['fold']} fold: {event['done']}/{event['total']} volumes"
    if event["kind"] == "upscale":
        return f"{event['label']}: test subject {event['subject']}/{event['subjects']}"
    parts = [f"step {event['step']}" + (f"/{event['steps']}" if event["steps"] else "")]
    if "loss" in event:
        parts.append(f"loss {event['loss']:.5f}")
    if event.get("val_psnr") is not None:
        parts.append(f"val PSNR {event['val_psnr']:.2f} dB")
    if event.get("skipped"):
        parts.append(f"{event['skipped']:.0f} steps skipped")
    if event.get("seconds") and event["steps"]:
        left = event["seconds"] / event["step"] * (event["steps"] - event["step"])
        parts.append(f"{left:.0f} s left")
    return "  ".join(parts)


def figures(outcome: Outcome) -> str:
    """A cell's mean metrics, or why it has none."""
    if outcome.metrics is None:
        return outcome.message
    return "  ".join(f"{name} {value:.4f}" for name, value in outcome.metrics.items())
