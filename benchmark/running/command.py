"""Carry out a command: hand what is missing to an executor, and record what becomes of each cell.

Several runs may share a results folder: whoever holds a training's folder looks again, then acts. What another run
holds is left to it, and looked at once more when all else is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..errors import BenchError
from ..planning.cells import Cell
from ..protocol.loading import Loaded
from ..store.cell_files import Standing, clear_damage, write_record
from ..store.locks import Held, LeaseLost, hold, lock_problem
from ..store.mlflow_mirror import Mirror, MirroredCell
from ..store.record import DoneRecord
from ..store.results import Store
from .events import Ended, Progressed
from .job import Job
from .outcomes import Named, Outcome
from .progress import Listener
from .recording import undone_record
from .steps import Step, steps_of


@dataclass
class Command:
    """Carries out one command: its jobs, one after another."""

    store: Store
    loaded: Loaded
    jobs: Sequence[Job]
    timeout: float | None
    tracking_uri: str | None
    listener: Listener
    planned: dict[Cell, Step] = field(default_factory=dict)
    settled: dict[Named, Outcome] = field(default_factory=dict)
    """The cells of which nothing more is to be done."""

    def outcomes(self) -> list[Outcome]:
        """Do what is to be done; the outcome of every cell, in the order of the jobs."""
        ready, held = self._plan()
        with self.listener, Mirror(self.store.results, self.tracking_uri, self.listener.warn) as mirror:
            self.listener.planned(self._open(*ready, *held), list(self.settled.values()))
            if ready and (reason := lock_problem(self.store.runs)):
                self.listener.warn(f"{self.store.runs} has no locks ({reason}): runs keep apart by leases")
            mirror.sync(item for job in self.jobs for item in self._items(job))
            held += self._work(ready, mirror)
            waiting = len(held) + 1
            while 0 < len(held) < waiting:  # last, since their holders may be done by then
                waiting = len(held)
                held = self._work([replace(job, patient=True) for job in held], mirror)
            for job in held:
                for cell in self._open(job):
                    why = job.training.look(self.store, cell).why or "another run was working on it"
                    self._close(Outcome(cell, "running", f"{why}; it is left to that run"))
        return [self.settled[cell] for job in self.jobs for cell in job.training.cells]

    def _plan(self) -> tuple[list[Job], list[Job]]:
        """The jobs that need a process, and those that another run works on; the other cells are settled."""
        ready, held = list[Job](), list[Job]()
        for job in self.jobs:
            steps = steps_of(self.store, job.training, job.wish)
            for step in steps:
                self.planned[step.cell] = step
                if not step.acts and step.action != "running" and (outcome := self._settle(job, step)):
                    self.settled[step.cell] = outcome
            waiting = [step for step in steps if step.cell not in self.settled]
            if waiting:
                (ready if all(step.acts for step in waiting) else held).append(job)
        return ready, held

    def _items(self, job: Job) -> list[MirroredCell]:
        """The cells of a job, the plain one first, as the mirror takes them."""
        training = job.training
        return [
            MirroredCell(self.loaded.folder, str(cell), cell.folder.as_posix(), training.place(self.store.runs, cell))
            for cell in training.cells
        ]

    def _open(self, *jobs: Job) -> list[Cell]:
        return [cell for job in jobs for cell in job.training.cells if cell not in self.settled]

    def _close(self, outcome: Outcome) -> None:
        self.settled[outcome.cell] = outcome
        self.listener.settled(outcome)

    def _work(self, jobs: Sequence[Job], mirror: Mirror) -> list[Job]:
        """Run jobs; returns those that another run works on."""
        from .executors.local import LocalExecutor

        held = []
        for job, event in LocalExecutor(self.timeout).run(jobs):
            if isinstance(event, Progressed):
                mirror.follow(self._items(job)[0])
            elif isinstance(event, Ended):
                outcomes = self._end(job, event)
                if outcomes is None:
                    held.append(job)
                else:
                    for outcome in outcomes:
                        self._close(outcome)
                    mirror.sync(self._items(job))
            self.listener.event(job.training, event)
        return held

    def _end(self, job: Job, end: Ended) -> list[Outcome] | None:
        """The outcomes of a job's open cells, those without figures recorded; None where another run has them."""
        if end.state == "held":
            return None
        cells = self._open(job)
        standings = {cell: job.training.look(self.store, cell) for cell in cells}
        if any(standing.state == "running" for standing in standings.values()):
            return None
        if end.state == "done":
            return [_outcome(cell, standings[cell]) for cell in cells]
        outcomes = list[Outcome]()
        for cell in cells:
            outcome: Outcome | None
            if standings[cell].done not in (None, self.planned[cell].standing.record):
                outcome = _outcome(cell, standings[cell])  # recorded before the others went wrong
            elif end.state == "stopped":
                outcome = Outcome(cell, "missing", end.message)
            else:
                base = next((other for other in outcomes if other.cell == job.training.base), None)
                why = f"{base.cell.label} {base.state}: {end.message}" if base and base.state != "done" else end.message
                outcome = self._record(job, cell, end.state, why)
            if outcome is None:
                return None
            outcomes.append(outcome)
        return outcomes

    def _settle(self, job: Job, step: Step) -> Outcome | None:
        """The outcome of a cell that needs no process; None where it must be recorded and another run holds it."""
        if step.action == "skip":
            return self._record(job, step.cell, "skipped", step.why)
        if step.action == "fail":
            return self._record(job, step.cell, "failed", step.why)
        if step.action == "stale":
            return Outcome(step.cell, "stale", f"{step.why}; run it again with --redo")
        if step.action == "leave":
            return Outcome(step.cell, step.standing.state, step.why)
        return _outcome(step.cell, step.standing)

    def _record(self, job: Job, cell: Cell, state: Literal["failed", "timeout", "skipped"], why: str) -> Outcome | None:
        """Record a cell that has no figures, never over one that has; None where another run holds it.

        What cannot be recorded is said.
        """
        training, record = job.training, undone_record(job.training, cell, state, why)
        try:
            with hold(job.folder(training.base)) as held:
                before = training.look(self.store, cell, held=True)
                if before.done not in (None, self.planned[cell].standing.record):
                    return _outcome(cell, before)  # another run was quicker
                if isinstance(before.record, DoneRecord):
                    return Outcome(cell, state, f"{why}; its earlier record is kept")
                folder = held.folder(job.folder(cell))
                if before.damaged:
                    clear_damage(folder, before.damaged)
                if before.record is None or not record.equals_but_for_time(before.record):
                    write_record(folder, record)
        except (Held, LeaseLost):
            return None
        except (OSError, BenchError) as error:
            return Outcome(cell, state, f"{why} (and this could not be recorded: {error})")
        return Outcome(cell, state, why)


def _outcome(cell: Cell, standing: Standing) -> Outcome:
    metrics = standing.done.metrics if standing.done else None
    return Outcome(cell, standing.state, standing.why, metrics)
