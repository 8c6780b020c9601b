"""The driver of a command: hands what is missing to an executor, and records what becomes of each cell.

Several runs may share a results folder: whoever holds a training's folder looks at it again, then acts. What another
run holds is left to it, and looked at once more when all else is done.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from ..errors import BenchError
from ..planning.cells import Cell, Training
from ..protocol.loading import Loaded
from ..store.cell_files import Standing, clear_damage, write_record
from ..store.locks import Held, Hold, LeaseLost, hold, lock_problem
from ..store.record import DoneRecord, UndoneRecord
from ..store.results import Store
from ..tracking.mirror import Mirror
from ..tracking.runs import MirroredCell
from .admission import make_admission, memory_needs
from .decisions import Decision, decide
from .events import Ended, Progressed
from .executors import Executor, local
from .job import Job
from .outcomes import LabelledCell, Outcome
from .progress import Listener
from .recording import undone_record
from .settings import RunSettings

Undone = Literal["failed", "timeout", "skipped"]


class Driver:
    """Carries out one command: its jobs, one after another."""

    def __init__(
        self,
        loaded: Loaded,
        trainings: Sequence[Training],
        settings: RunSettings,
        listener: Listener,
        count_costs: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        """`count_costs` gives the folder of each training's plain cell → its cost; it may take seconds."""
        self._loaded, self._settings, self._listener, self._count_costs = loaded, settings, listener, count_costs
        self._store = Store(settings.results)
        self._jobs = [Job(training, settings) for training in trainings]
        self._planned: dict[Cell, Decision] = {}
        self._settled: dict[LabelledCell, Outcome] = {}
        """The cells that need nothing more."""

    def run(self) -> list[Outcome]:
        """Do what there is to do; the outcome of every cell, in the order of the trainings."""
        ready, held = self._plan()
        if self._settings.executor == "local":
            local.prepare([*ready, *held])
        listener, tracking_uri = self._listener, self._settings.tracking_uri
        with listener, Mirror(self._store.results, tracking_uri, listener.warn) as mirror:
            costs = self._costs([*ready, *held])
            listener.planned(self._open_cells(*ready, *held), list(self._settled.values()), costs)
            if self._settings.executor == "ray":  # the longest first: what is left at the end is short
                ready.sort(key=lambda job: -costs.get(job.training.base, 0.0))
            if ready and (reason := lock_problem(self._store.runs)):
                listener.warn(f"{self._store.runs} has no locks ({reason}): leases keep runs apart")
            mirror.sync(cell for job in self._jobs for cell in self._mirrored_cells(job))
            held += self._work(ready, mirror)
            self._leave(self._work_on_held(held, mirror))
        return [self._settled[cell] for job in self._jobs for cell in job.training.cells]

    def _costs(self, jobs: Sequence[Job]) -> dict[Cell, float]:
        """The plain cell of each job → its cost; {} where no two networks are trained: one tells its own time."""
        if self._count_costs is None or sum(job.training.recipe is not None for job in jobs) < 2:
            return {}
        costs = self._count_costs()
        return {job.training.base: costs[job.training.base.folder.as_posix()] for job in jobs}

    def _plan(self) -> tuple[list[Job], list[Job]]:
        """The jobs that need a process, and those that another run works on; the other cells are settled."""
        ready, held = list[Job](), list[Job]()
        for job in self._jobs:
            decisions = decide(self._store, job.training, self._settings)
            for decision in decisions:
                self._planned[decision.cell] = decision
                if not decision.acts and decision.action != "running" and (outcome := self._settle(job, decision)):
                    self._settled[decision.cell] = outcome
            waiting = [decision for decision in decisions if decision.cell not in self._settled]
            if waiting:
                (ready if all(decision.acts for decision in waiting) else held).append(job)
        return ready, held

    def _mirrored_cells(self, job: Job) -> list[MirroredCell]:
        """The cells of a job, the plain one first, as the mirror takes them."""
        training, runs = job.training, self._store.runs
        return [
            MirroredCell(self._loaded.folder, str(cell), cell.folder.as_posix(), training.place(runs, cell))
            for cell in training.cells
        ]

    def _open_cells(self, *jobs: Job) -> list[Cell]:
        return [cell for job in jobs for cell in job.training.cells if cell not in self._settled]

    def _close(self, outcome: Outcome) -> None:
        self._settled[outcome.cell] = outcome
        self._listener.settled(outcome)

    def _work(self, jobs: Sequence[Job], mirror: Mirror) -> list[Job]:
        """Run jobs; returns those that another run works on."""
        held = []
        for job, event in self._executor().run(jobs):
            if isinstance(event, Progressed):
                mirror.follow(self._mirrored_cells(job)[0])
            elif isinstance(event, Ended):
                outcomes = self._end(job, event)
                if outcomes is None:
                    held.append(job)
                else:
                    for outcome in outcomes:
                        self._close(outcome)
                    mirror.sync(self._mirrored_cells(job))
            self._listener.event(job.training, event)
        return held

    def _executor(self) -> Executor:
        settings = self._settings
        if settings.executor == "local":
            admission = make_admission(self._loaded, settings, self._listener.say)
            return local.LocalExecutor(admission, settings.sharers, settings.timeout)
        from .executors.ray import RayExecutor

        needs, runs = memory_needs(self._loaded, settings), self._store.runs / self._loaded.folder
        return RayExecutor(settings.address, settings.parallel, settings.gpus_per_cell, needs, runs)

    def _work_on_held(self, held: list[Job], mirror: Mirror) -> list[Job]:
        """Try jobs that another run held, last, since it may be done by then; returns those that are still held."""
        waiting = len(held) + 1
        while 0 < len(held) < waiting:
            waiting = len(held)
            held = self._work([replace(job, patient=True) for job in held], mirror)
        return held

    def _leave(self, held: list[Job]) -> None:
        """Leave jobs to the runs that hold them."""
        for job in held:
            for cell in self._open_cells(job):
                why = job.training.look(self._store, cell).why or "another run was working on it"
                self._close(Outcome(cell, "running", f"{why}; it is left to that run"))

    def _end(self, job: Job, end: Ended) -> list[Outcome] | None:
        """The outcomes of a job's open cells, those without figures recorded; None where another run has them."""
        if end.state == "held":
            return None
        standings = {cell: job.training.look(self._store, cell) for cell in self._open_cells(job)}
        if any(standing.state == "running" for standing in standings.values()):
            return None
        outcomes = list[Outcome]()
        for cell, standing in standings.items():
            outcome = self._end_of_cell(job, end, cell, standing, outcomes)
            if outcome is None:
                return None
            outcomes.append(outcome)
        return outcomes

    def _end_of_cell(
        self, job: Job, end: Ended, cell: Cell, standing: Standing, earlier: Sequence[Outcome]
    ) -> Outcome | None:
        """The outcome of one cell; `earlier`: those of the job's other cells so far."""
        if end.state == "done" and standing.state == "missing":
            why = f"{end.message}, whose results folder is not this one: bring it here with bench pack and bench unpack"
            return Outcome(cell, "missing", why)
        if end.state == "done":
            return _outcome(cell, standing)
        if self._is_new(cell, standing):  # recorded before the others went wrong
            return _outcome(cell, standing)
        if end.state == "stopped" or end.state == "held":
            return Outcome(cell, "missing", end.message)
        is_base = (outcome for outcome in earlier if outcome.cell == job.training.base)
        base = next((outcome for outcome in is_base if outcome.state != "done"), None)
        why = f"{base.cell.label} {base.state}: {end.message}" if base else end.message
        return self._record(job, cell, end.state, why)

    def _is_new(self, cell: Cell, standing: Standing) -> bool:
        """Whether a cell has all its figures, and did not have them when the command was planned."""
        return standing.done not in (None, self._planned[cell].standing.record) and not standing.open_tests

    def _settle(self, job: Job, decision: Decision) -> Outcome | None:
        """The outcome of a cell that needs no process; None where it must be recorded and another run holds it."""
        cell, standing, why = decision.cell, decision.standing, decision.why
        match decision.action:
            case "skip":
                return self._record(job, cell, "skipped", why)
            case "fail":
                return self._record(job, cell, "failed", why)
            case "stale":
                return Outcome(cell, "stale", f"{why}; run it again with --redo")
            case "leave":
                return Outcome(cell, standing.state, why)
        return replace(_outcome(cell, standing), message=why)

    def _record(self, job: Job, cell: Cell, state: Undone, why: str) -> Outcome | None:
        """Record a cell without figures and return its outcome; None where another run holds it.

        What cannot be recorded is part of the outcome's message.
        """
        record = undone_record(job.training, cell, state, why)
        try:
            with hold(job.folder(job.training.base)) as held:
                return self._record_held(job, held, cell, record)
        except (Held, LeaseLost):
            return None
        except (OSError, BenchError) as error:
            return Outcome(cell, state, f"{why} (and this could not be recorded: {error})")

    def _record_held(self, job: Job, held: Hold, cell: Cell, record: UndoneRecord) -> Outcome:
        """Write a record without figures, never over one that has figures."""
        standing = job.training.look(self._store, cell, held=True)
        if self._is_new(cell, standing):
            return _outcome(cell, standing)  # another run was quicker
        if standing.open_tests:
            why = f"not tested on {', '.join(standing.open_tests)}; its own figures are kept"
            return Outcome(cell, record.state, f"{record.error}; {why}")
        if isinstance(standing.record, DoneRecord):
            return Outcome(cell, record.state, f"{record.error}; its earlier record is kept")
        folder = held.folder(job.folder(cell))
        if standing.damaged:
            clear_damage(folder, standing.damaged)
        if standing.record is None or not record.equals_but_for_time(standing.record):
            write_record(folder, record)
        return Outcome(cell, record.state, record.error)


def _outcome(cell: Cell, standing: Standing) -> Outcome:
    metrics = standing.done.metrics if standing.done else None
    return Outcome(cell, standing.state, standing.why, metrics)
