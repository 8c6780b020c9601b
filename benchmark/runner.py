"""Plan the cells of a protocol, hand what is missing to an executor, and record what becomes of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import checkpoint, records
from . import protocol as protocols
from .cell import Cell, Training, plan, scale_name
from .errors import BenchError, UsageError
from .preparation import open_dataset
from .progress import Listener, default_listener
from .protocol import Loaded
from .records import Outcome, State, Store
from .tracking import Mirror

if TYPE_CHECKING:
    from .worker import Job

Action = Literal["keep", "run", "resume", "score", "skip", "fail", "stale", "running"]


@dataclass(frozen=True)
class Step:
    """What a run will do about one cell, and why where that is not plain."""

    training: Training
    cell: Cell
    action: Action
    why: str = ""


def request_plan(
    protocol: str,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    scales: Sequence[str] = (),
    limit: int | None = None,
    steps: int | None = None,
) -> tuple[Loaded, list[Training]]:
    """The protocol with its overrides and the trainings asked for. Raises UsageError for what is not known."""
    loaded = protocols.load(protocol).override(limit, steps)
    return loaded, plan(loaded, methods, seeds, scales)


def run(
    protocol: str = "demo",
    methods: Sequence[str] = (),
    *,
    data: str | Path | None = None,
    seeds: Sequence[int] = (),
    scales: Sequence[str] = (),
    limit: int | None = None,
    steps: int | None = None,
    timeout: float | None = None,
    redo: bool = False,
    results: str | Path = "results",
    keep_volumes: bool = False,
    save_every: float = 60.0,
    deterministic: bool = False,
    tracking_uri: str | None = None,
    listener: Listener | None = None,
) -> list[Outcome]:
    """Train and evaluate methods under a protocol: every cell that is not done yet.

    Parameters are those of `bench run`. Done cells are kept, failed ones tried again, killed ones resumed. Returns
    the outcome of every cell asked for. Raises UsageError for a request that cannot be carried out.
    """
    from .worker import Job

    loaded, trainings = request_plan(protocol, methods, seeds, scales, limit, steps)
    folder = Path(data) if data is not None else None
    open_dataset(loaded.protocol.data.dataset, folder)
    store = Store(Path(results))
    store.check_writable()
    remember(store, loaded, protocol, methods, seeds, scales)

    outcomes: dict[Cell, Outcome] = {}
    jobs = []
    for training in trainings:
        todo = []
        for step in steps_of(store, training, redo=redo, keep_volumes=keep_volumes):
            if step.action in ("run", "resume", "score"):
                todo.append(step.cell)
            else:
                outcomes[step.cell] = _settle(store, step)
        if todo:
            _clear(store, training)
            job = Job(training, tuple(todo), store.results, folder, keep_volumes)
            jobs.append(replace(job, save_every=save_every, deterministic=deterministic))
    outcomes |= _execute(store, loaded, trainings, jobs, outcomes, timeout, tracking_uri, listener)
    return [outcomes[cell] for training in trainings for cell in training.cells]


def score(
    protocol: str | None = None,
    *,
    data: str | Path | None = None,
    results: str | Path = "results",
    tracking_uri: str | None = None,
    listener: Listener | None = None,
) -> list[Outcome]:
    """Score every recorded cell of a protocol again, by default of the one run last; nothing is trained.

    Predictions come from kept volumes where there are some, else from weights. A cell that has no figure, or one that
    was trained under another key, has nothing to be scored: it is among the outcomes and left alone.
    """
    from .worker import Job

    store = Store(Path(results))
    loaded, trainings = recall(store, protocol)
    folder = Path(data) if data is not None else None
    open_dataset(loaded.protocol.data.dataset, folder)
    store.check_writable()
    outcomes: dict[Cell, Outcome] = {}
    jobs = []
    for training in trainings:
        todo = []
        for cell in training.cells:
            record, state = store.read(loaded, cell), store.state(training, cell)
            if record and record["state"] == "done" and record["train_key"] == cell.train_key and state != "running":
                todo.append(cell)
            else:
                outcomes[cell] = Outcome(cell, state, "has nothing to be scored; see: bench status")
        if todo:
            jobs.append(Job(training, tuple(todo), store.results, folder, score_only=True))
    outcomes |= _execute(store, loaded, trainings, jobs, outcomes, None, tracking_uri, listener)
    return [outcomes[cell] for training in trainings for cell in training.cells]


def _execute(
    store: Store,
    loaded: Loaded,
    trainings: Sequence[Training],
    jobs: list[Job],
    settled: dict[Cell, Outcome],
    timeout: float | None,
    tracking_uri: str | None,
    listener: Listener | None,
) -> dict[Cell, Outcome]:
    """Run jobs one after another; returns the outcomes of their cells."""
    from .executors.local import LocalExecutor

    listener = listener or default_listener()
    mirror = Mirror(store, tracking_uri, listener.warn)
    outcomes: dict[Cell, Outcome] = {}
    with listener:
        listener.planned([cell for job in jobs for cell in job.cells], list(settled.values()))
        mirror.sync(loaded, trainings)
        recorded: set[str] = set()
        for job, event in LocalExecutor(timeout).run(jobs):
            if event["kind"] == "started":
                recorded = set()
            elif event["kind"] == "progress":
                mirror.follow(job.training)
            elif event["kind"] == "recorded":
                recorded.add(event["label"])
            elif event["kind"] == "ended":
                outcomes |= _end(store, job, recorded, event["state"], event["message"])
                for cell in job.cells:
                    listener.settled(outcomes[cell])
                mirror.sync(loaded, [job.training])
            listener.event(job.training, event)
    return outcomes


def remember(
    store: Store,
    loaded: Loaded,
    protocol: str,
    methods: Sequence[str],
    seeds: Sequence[int],
    scales: Sequence[str],
) -> None:
    """Note the request: a later `bench table` or `bench status` shows all that was ever asked under this protocol."""
    before = store.request(loaded.folder) or {"methods": [], "seeds": [], "scales": []}
    builtin = protocol in protocols.builtin()
    request = {
        "protocol": protocol if builtin else str(loaded.path),
        "methods": list(dict.fromkeys([*before["methods"], *map(_absolute, methods or loaded.protocol.methods)])),
        "seeds": sorted({*before["seeds"], *(seeds or loaded.protocol.seeds)}),
        "scales": sorted({*before["scales"], *(scales or (scale_name(f) for f in loaded.protocol.scales))}),
        "overrides": loaded.overrides,
    }
    store.remember(loaded, request)


def _absolute(label: str) -> str:
    """A label that still names its loose file when asked from another folder."""
    name, colon, preset = label.partition(":")
    file = name.removesuffix("+")
    if not file.endswith(".py"):
        return label
    return f"{Path(file).resolve()}{name[len(file) :]}{colon}{preset}"


def recall(store: Store, protocol: str | None) -> tuple[Loaded, list[Training]]:
    """The plan that stands behind a protocol's records; None means the protocol run last.

    `protocol` may be a name, a path, or a folder below results/runs such as demo~steps=10.
    """
    folder = protocol or store.last()
    if folder is None:
        raise BenchError(f"nothing has been run yet below {store.runs}; start with: bench run")
    if Path(folder).suffix in (".yaml", ".yml"):
        folder = protocols.load(folder).folder
    request = store.request(folder)
    if request is None:
        return request_plan(protocol or folder)
    asked = (request[name] for name in ("protocol", "methods", "seeds", "scales"))
    try:
        return request_plan(*asked, **request["overrides"])
    except UsageError as error:
        where = store.runs / folder / records.REQUEST
        raise UsageError(f"{error}\nAn earlier run asked for this: put it back, or take it out of {where}") from None


def steps_of(store: Store, training: Training, *, redo: bool = False, keep_volumes: bool = False) -> list[Step]:
    """What to do about each cell of a training."""
    base = store.read(training.loaded, training.base)
    if store.state(training, training.base) == "running":
        return [Step(training, cell, "running", "another process is working on it") for cell in training.cells]
    if training.broken:
        return [Step(training, cell, "fail", training.broken) for cell in training.cells]
    if training.unsupported:
        return [Step(training, cell, "skip", training.unsupported) for cell in training.cells]
    if base and base["state"] == "done" and base["train_key"] != training.base.train_key:
        why = "recorded under another protocol, split, recipe or method version"
        action: Action = "run" if redo else "stale"
        return [Step(training, cell, action, why) for cell in training.cells]
    started = bool(checkpoint.paths(store.folder(training.loaded, training.base)))
    steps = []
    for cell in training.cells:
        record = store.read(training.loaded, cell)
        kept = store.folder(training.loaded, cell) / records.VOLUMES / records.KEPT
        if record is None or record["state"] != "done":
            why = f"{record['state']} before" if record else ""
            steps.append(Step(training, cell, "resume" if started else "run", why))
        elif record["score_key"] != cell.score_key:
            steps.append(Step(training, cell, "score", "the scoring or the test set is another; nothing is trained"))
        elif keep_volumes and not kept.is_file():
            steps.append(Step(training, cell, "score", "its volumes were not kept"))
        else:
            changed = "" if record["source_digest"] == training.source.digest else "the method's file has changed"
            steps.append(Step(training, cell, "keep", changed))
    return steps


def _clear(store: Store, training: Training) -> None:
    """Set aside the folders of a training that is stale and will run again."""
    base = store.read(training.loaded, training.base)
    if base and base["state"] == "done" and base["train_key"] != training.base.train_key:
        for cell in training.cells:
            if (folder := store.folder(training.loaded, cell)).exists():
                records.set_aside(folder, "stale")


def _settle(store: Store, step: Step) -> Outcome:
    """The outcome of a cell that needs no process."""
    if step.action == "keep":
        record = store.read(step.training.loaded, step.cell)
        assert record is not None
        return Outcome(step.cell, "changed" if step.why else "done", step.why, record["metrics"])
    if step.action == "skip":
        return _write(store, step.training, step.cell, "skipped", step.why)
    if step.action == "fail":
        return _write(store, step.training, step.cell, "failed", step.why)
    if step.action == "stale":
        return Outcome(step.cell, "stale", f"{step.why}; run it again with --redo")
    return Outcome(step.cell, "running", step.why)


def _end(store: Store, job: Job, recorded: set[str], state: Any, message: str) -> dict[Cell, Outcome]:
    """The outcomes of a job's cells; those that it did not record get a record that says why."""
    training, outcomes = job.training, dict[Cell, Outcome]()
    for cell in job.cells:
        if cell.label in recorded:
            record = store.read(training.loaded, cell)
            assert record is not None
            outcomes[cell] = Outcome(cell, "done", "", record["metrics"])
        elif state == "stopped":
            outcomes[cell] = Outcome(cell, "missing", message)
        else:
            base = outcomes.get(training.base)
            why = f"{training.base.label} {base.state}: {message}" if base and base.state != "done" else message
            outcomes[cell] = _write(store, training, cell, state, why)
    return outcomes


def _write(store: Store, training: Training, cell: Cell, state: State, why: str) -> Outcome:
    """Record a cell that has no figures, never over one that has. What cannot be recorded is said."""
    before = store.read(training.loaded, cell)
    if before and before["state"] == "done":
        return Outcome(cell, state, f"{why}; its earlier record is kept")
    record: dict[str, Any] = {**records.describe(training, cell), "state": state, "error": why}
    try:
        records.write_record(store.folder(training.loaded, cell), record)
    except OSError as error:
        return Outcome(cell, state, f"{why} (and this could not be recorded: {error})")
    return Outcome(cell, state, why)
