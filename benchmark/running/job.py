"""A training to run, as it is handed to a process, and the method's line to the suite while it fits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..planning.cells import Cell, Training
from ..store.results import Store
from .events import Event, Progressed
from .steps import Wish


@dataclass(frozen=True)
class Job:
    """One training to run. Picklable. Which of its cells want a record is decided anew under the lock."""

    training: Training
    results: Path
    data: Path | None
    wish: Wish = field(default_factory=Wish)
    save_every: float = 60.0
    """Seconds between two states of a training on disk."""
    deterministic: bool = False
    """On a GPU, only operations that give the same bits each time; one that has no such form fails the job."""
    threads: int | None = None
    """CPU threads of a training that begins; None: see `system.cores.threads_to_take`."""
    patient: bool = False
    """Wait for a lease that shows no sign of life until it may be taken over."""

    @property
    def store(self) -> Store:
        return Store(self.results)

    def folder(self, cell: Cell) -> Path:
        """Where a cell's files go; the fit's lie with the plain cell."""
        return self.training.folder(self.store, cell)


@dataclass
class JobRun:
    """A job's line to its driver, and the method's to the suite (`method.Run`)."""

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
