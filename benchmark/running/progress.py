"""Progress of a run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, assert_never

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from ..system.units import duration_text, figure_text, size_text, with_prefix
from .events import Ended, Event, Prepared, Progressed, Recorded, Started, Upscaled, Warned

if TYPE_CHECKING:
    from ..planning.cells import Training
    from .outcomes import LabelledCell, Outcome

_LINE_SECONDS = 10.0
_PACE_ROWS = 40
"""Rows of a training, of about 200, whose pace tells the time left: enough to even out validations."""


class Listener:
    """Is told everything that happens in a run; prints plain lines."""

    def __init__(self) -> None:
        self._total = self._settled = 0
        self._last_line = 0.0
        self._pace = RecentPace()

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

    def planned(self, cells: Sequence[LabelledCell], settled: Sequence[Outcome]) -> None:
        """The cells that will run, and those that need not."""
        self._total = len(cells)
        done = [outcome for outcome in settled if outcome.state == "done"]
        if done:
            self.say(f"{len(done)} cells are done and kept")
        for outcome in settled:
            if outcome.state != "done":
                self.say(f"{outcome.cell}: {outcome.state}: {outcome.message}")

    def event(self, training: Training, event: Event) -> None:
        """An event of the running training."""
        match event:
            case Started():
                self._pace = RecentPace()
                self.say(f"[{self._settled + 1}/{self._total}] {training.base}")
            case Warned():
                self.warn(event.message)
            case Prepared() | Progressed() | Upscaled():
                text = self._progress_text(event)
                if time.monotonic() - self._last_line > _LINE_SECONDS:
                    self._last_line = time.monotonic()
                    self.say(f"    {text}")
            case Ended(state="held"):
                self.say(f"    {event.message}; it is left for later")
            case Recorded() | Ended():
                pass
            case _:
                assert_never(event)

    def _progress_text(self, event: Prepared | Progressed | Upscaled) -> str:
        if not isinstance(event, Progressed):
            return describe(event)
        return "  ".join([position(event), *readings(*self._pace.complete(event))])

    def settled(self, outcome: Outcome) -> None:
        """A cell has its record."""
        self._settled += 1
        self.say(f"    {outcome.cell.label}: {outcome.state}  {figures(outcome)}")


class RecentPace:
    """What a single event of a training lacks: the last validation, and the time left at the recent pace."""

    def __init__(self) -> None:
        self._val_psnr: float | None = None
        self._rows: deque[tuple[int, float]] = deque(maxlen=_PACE_ROWS)

    def complete(self, event: Progressed) -> tuple[Progressed, float | None]:
        """The event with the last `val_psnr`, and the seconds left, where they are known.

        The pace is that of this process, validations included. `seconds` of a resumed training also counts those of
        an earlier process, which may have been faster or slower.
        """
        self._val_psnr = event.val_psnr if event.val_psnr is not None else self._val_psnr
        seconds_left = None
        if event.steps and event.seconds is not None:
            self._rows.append((event.step, event.seconds))
            (first_step, start), (last_step, end) = self._rows[0], self._rows[-1]
            if last_step > first_step:
                seconds_left = (end - start) / (last_step - first_step) * (event.steps - last_step)
        return event.model_copy(update={"val_psnr": self._val_psnr}), seconds_left


class _TaskColumn(TextColumn):
    """The column that is cut where a line is longer than the terminal is wide."""

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
        columns = (_TaskColumn(), BarColumn(bar_width=16), TextColumn("{task.fields[note]}"))
        self._progress = _Bars(*columns, console=console)
        self._cells = self._running = TaskID(0)

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def planned(self, cells: Sequence[LabelledCell], settled: Sequence[Outcome]) -> None:
        super().planned(cells, settled)
        if cells:
            self._progress.start()
            self._cells = self._progress.add_task("all cells", total=len(cells), note=f"0/{len(cells)}")

    def event(self, training: Training, event: Event) -> None:
        self._progress.figures = ""
        match event:
            case Started():
                self._pace = RecentPace()
                self._running = self._progress.add_task(str(training.base), total=None, note="")
            case Progressed():
                self._progress.figures = "  ".join(readings(*self._pace.complete(event)))
                self._advance(event.step, event.steps, position(event))
            case Upscaled():
                self._advance(event.subject, event.subjects, describe(event))
            case Prepared():
                self._advance(event.done, event.total, describe(event))
            case Warned():
                self.warn(event.message)
            case Recorded():
                pass
            case Ended():
                self._progress.remove_task(self._running)
                if event.state == "held":
                    self.say(f"{event.message}; it is left for later")
            case _:
                assert_never(event)

    def _advance(self, done: int, total: int, note: str) -> None:
        self._progress.update(self._running, completed=done, total=total or None, note=note)

    def settled(self, outcome: Outcome) -> None:
        self._settled += 1
        self.say(f"{outcome.cell}: {outcome.state}  {figures(outcome)}")
        self._progress.update(self._cells, completed=self._settled, note=f"{self._settled}/{self._total}")


def describe(event: Prepared | Upscaled) -> str:
    """What a job is doing, e.g. 'bicubic: test subject 3/12'."""
    if isinstance(event, Prepared):
        return f"preparing the {event.fold} fold: {event.done}/{event.total} volumes"
    return f"{event.label}: test subject {event.subject}/{event.subjects}"


def position(event: Progressed) -> str:
    """'step 200/1000', with the number of steps skipped where there are some."""
    total = f"/{event.steps}" if event.steps else ""
    skipped = f" ({event.skipped:.0f} skipped)" if event.skipped else ""
    return f"step {event.step}{total}{skipped}"


def readings(event: Progressed, seconds_left: float | None) -> list[str]:
    """The figures of a training that are known, e.g. 'loss 0.0123', 'val PSNR 31.20 dB', '1.2 M LR px/s', '1.9 GB'.

    At most 74 characters with two spaces between.
    """
    parts = []
    if event.loss is not None:
        parts.append(f"loss {event.loss:.3g}")
    if event.val_psnr is not None:
        parts.append(f"val PSNR {event.val_psnr:.2f} dB")
    if event.pixels_per_second is not None:
        parts.append(" ".join(part for part in (*with_prefix(event.pixels_per_second), "LR px/s") if part))
    if event.memory_bytes is not None:
        parts.append(size_text(event.memory_bytes))
    if seconds_left is not None:
        parts.append(f"{duration_text(seconds_left)} left")
    return parts


def figures(outcome: Outcome) -> str:
    """A cell's mean metrics, or why it has none."""
    if outcome.metrics is None:
        return outcome.message
    return "  ".join(f"{name} {figure_text(value)}" for name, value in outcome.metrics.items())
