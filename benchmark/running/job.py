"""A training to run, as it is handed to a process; and the same in that process, which holds its folder."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..planning.cells import Cell, Training
from ..store.locks import HeldFolder, Hold
from ..store.results import Store
from .events import Event, Progressed, Warned
from .settings import RunSettings


@dataclass(frozen=True)
class Job:
    """One training to run. Picklable. Which of its cells need a record is decided again under the lock."""

    training: Training
    settings: RunSettings
    patient: bool = False
    """Wait for a lease that shows no sign of life until it may be taken over."""
    wait: float = 0.0
    """Seconds to wait for another process that works on the training, whatever it is."""

    @property
    def store(self) -> Store:
        return Store(self.settings.results)

    def folder(self, cell: Cell) -> Path:
        """Where a cell's files go; the fit's lie with the plain cell."""
        return self.training.folder(self.store, cell)


@dataclass(frozen=True)
class HeldJob:
    """A job in its process, which holds the training's folder and reports to its driver."""

    job: Job
    hold: Hold
    send: Callable[[Event], None]
    """Sends an event to the driver."""
    stopping: Callable[[], bool]
    """Whether the driver wants the job to stop."""

    @property
    def training(self) -> Training:
        return self.job.training

    @property
    def settings(self) -> RunSettings:
        return self.job.settings

    def folder(self, cell: Cell) -> HeldFolder:
        """`Job.folder`, to be written into."""
        return self.hold.folder(self.job.folder(cell))

    def warn(self, message: str) -> None:
        """Report something that costs no result."""
        self.send(Warned(message=message))


@dataclass
class JobRun:
    """What a method sees of its job while it fits (`method.Run`): reports go to the driver as events."""

    send: Callable[[Event], None]
    stopping: Callable[[], bool]
    scratch: Path
    steps: int = 0

    @property
    def should_stop(self) -> bool:
        return self.stopping()

    def report(self, step: int, **values: float) -> None:
        known = {name: value for name, value in values.items() if name in Progressed.model_fields}
        more = {name: value for name, value in values.items() if name not in known}
        with contextlib.suppress(BrokenPipeError):  # the driver is gone: a state is written before this process ends
            self.send(Progressed(step=step, steps=self.steps, more=more, **known))
