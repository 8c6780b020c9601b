"""Progress of a run: a live display on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, assert_never

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from ..system.units import duration_text, figure_text, size_text, with_prefix
from .events import Ended, Event, Prepared, Progressed, Recorded, Started, Upscaled, Warned
from .pace import RecentPace, RunPace

if TYPE_CHECKING:
    from ..planning.cells import Cell, Training
    from .outcomes import Outcome

_LINE_SECONDS = 10.0


class Listener:
    """Is told everything that happens in a run; prints plain lines."""

    def __init__(self) -> None:
        self._total = self._good = self._bad = 0
        self._pace = RunPace({})
        self._running: dict[Cell, RecentPace] = {}
        """The plain cell of each training that runs."""
        self._last_lines: dict[Cell, float] = {}

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

    def planned(self, cells: Sequence[Cell], settled: Sequence[Outcome], costs: Mapping[Cell, float]) -> None:
        """The cells that will run, those that need not, and the cost of each training by its plain cell."""
        self._total, self._pace = len(cells), RunPace(costs)
        done = [outcome for outcome in settled if outcome.state == "done"]
        if done:
            self.say(f"{len(done)} cells are done and kept")
        for outcome in settled:
            if outcome.state != "done":
                self.say(f"{outcome.cell}: {outcome.state}: {outcome.message}")

    def event(self, training: Training, event: Event) -> None:
        """An event of a training that runs."""
        self._follow(training, event)
        match event:
            case Started():
                number = self._good + self._bad + len(self._running)
                note = self._note(", ", "failed", "left")
                self.say(f"[{number}/{self._total}] {_placed(training, event)}{f'  ({note})' if note else ''}")
            case Warned():
                self.warn(f"{self._name(training)}{event.message}")
            case Prepared() | Progressed() | Upscaled():
                text = self._progress_text(training, event)
                if time.monotonic() - self._last_lines.get(training.base, 0.0) > _LINE_SECONDS:
                    self._last_lines[training.base] = time.monotonic()
                    self.say(f"    {text}")
            case Ended(state="held"):
                self.say(f"    {event.message}; it is left for later")
            case Recorded() | Ended():
                pass
            case _:
                assert_never(event)

    def settled(self, outcome: Outcome) -> None:
        """A cell has its record, or is left."""
        self._count(outcome)
        name = str(outcome.cell) if len(self._running) > 1 else outcome.cell.label
        self.say(f"    {name}: {outcome.state}  {figures(outcome)}")

    def _follow(self, training: Training, event: Event) -> None:
        """Keep what later lines need."""
        self._pace.follow(training, event)
        if isinstance(event, Started):
            self._running[training.base] = RecentPace()
        elif isinstance(event, Ended):
            self._pace.end(training)
            self._running.pop(training.base, None)

    def _count(self, outcome: Outcome) -> None:
        self._good, self._bad = self._good + outcome.good, self._bad + (not outcome.good)

    def _note(self, separator: str, *parts: str) -> str:
        """What is known of the whole run, of: cells done, failed (and the like), to do; time left."""
        seconds = self._pace.seconds_left
        texts = {
            "done": f"{self._good} done",
            "failed": f"{self._bad} failed" if self._bad else "",
            "to do": f"{self._total - self._good - self._bad} to do",
            "left": f"{duration_text(seconds)} left" if seconds is not None else "",
        }
        return separator.join(texts[part] for part in parts if texts[part])

    def _name(self, training: Training) -> str:
        """'poan T1 x2 bicubic seed 0: ' where several trainings run, else ''."""
        return f"{training.base}: " if len(self._running) > 1 else ""

    def _progress_text(self, training: Training, event: Prepared | Progressed | Upscaled) -> str:
        if not isinstance(event, Progressed):
            return f"{self._name(training)}{describe(event)}"
        pace = self._running.setdefault(training.base, RecentPace())
        return self._name(training) + "  ".join([position(event), *readings(*pace.complete(event))])


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
    """The same on a terminal: a bar for all cells and one for each that runs."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        columns = (_TaskColumn(), BarColumn(bar_width=16), TextColumn("{task.fields[note]}"))
        self._progress = _Bars(*columns, console=console)
        self._all: TaskID | None = None
        self._bars: dict[Cell, TaskID] = {}

    def __exit__(self, *_: Any) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        self._progress.console.print(text, highlight=False, markup=False)

    def planned(self, cells: Sequence[Cell], settled: Sequence[Outcome], costs: Mapping[Cell, float]) -> None:
        super().planned(cells, settled, costs)
        if cells:
            self._progress.start()
            self._all = self._progress.add_task("all cells", total=len(cells), note="")
            self._show_all()

    def event(self, training: Training, event: Event) -> None:
        self._follow(training, event)
        self._progress.figures = ""
        match event:
            case Started():
                self._bars[training.base] = self._progress.add_task(_placed(training, event), total=None, note="")
            case Progressed():
                figures, note = readings(*self._running[training.base].complete(event)), position(event)
                if len(self._running) == 1:
                    self._progress.figures = "  ".join(figures)
                elif figures and figures[-1].endswith(" left"):
                    note = f"{note}  {figures[-1]}"
                self._advance(training, event.step, event.steps, note)
            case Upscaled():
                self._advance(training, event.subject, event.subjects, describe(event))
            case Prepared():
                self._advance(training, event.done, event.total, describe(event))
            case Warned():
                self.warn(f"{self._name(training)}{event.message}")
            case Recorded():
                pass
            case Ended():
                self._progress.remove_task(self._bars.pop(training.base))
                if event.state == "held":
                    self.say(f"{event.message}; it is left for later")
            case _:
                assert_never(event)
        self._show_all()

    def _advance(self, training: Training, done: int, total: int, note: str) -> None:
        self._progress.update(self._bars[training.base], completed=done, total=total or None, note=note)

    def _show_all(self) -> None:
        if self._all is not None:
            note = self._note("  ", "done", "failed", "to do", "left")
            self._progress.update(self._all, completed=self._good + self._bad, note=note)

    def settled(self, outcome: Outcome) -> None:
        self._count(outcome)
        self.say(f"{outcome.cell}: {outcome.state}  {figures(outcome)}")
        self._show_all()


def _placed(training: Training, event: Started) -> str:
    """'edsr T1 x2 bicubic seed 0', with the machine where that need not be this one."""
    return f"{training.base} on {event.place}" if event.place else str(training.base)


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
