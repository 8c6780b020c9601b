"""The schema of a plan: a request, resolved, so that a table needs no method, no data and no protocol's code.

    <results>/runs/<protocol>/plans/<digest>.json

A plan is written before its run works. The digest in its name is over all but the time of the last request: the same
request renews only the time. All plans below one folder together are a `View`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from ..system.files import DamagedFile, Readable, digest, read_sealed, remove_leftovers, set_aside, write_sealed
from .cell_files import Place
from .record import Part, RecipeMark

PLANS = "plans"
FORMAT: Literal[1] = 1
RateOrigin = Literal["recipe", "protocol", "label", "search", "command"]
"""Where a network's learning rate comes from: its own recipe; the protocol, one for all or for its label; the search of
the protocol's block `rates`; the command line."""
Row = tuple[str, str, str]
"""(degradation, contrast, scale)."""


class ResolvedRequest(Part):
    """What a command requested, with defaults filled in."""

    protocol: str
    """A built-in name, or an absolute path."""
    methods: tuple[str, ...]
    """Labels; those of loose files with their absolute paths."""
    seeds: tuple[int, ...]
    """Empty: those of the protocol, or of each label."""
    scales: tuple[str, ...]
    overrides: dict[str, int]
    lr: dict[str, float] = Field(default_factory=dict)
    """Label → the learning rate that the command line gave."""


class Origin(Part):
    """What a plan was made from: while none of it changes, the plan is valid."""

    code: str
    """SHA-256 over the package's own files."""
    files: dict[str, str]
    """Absolute path → SHA-256 of the files of protocol and split, where they are not part of the package."""
    loose: tuple[str, ...]
    """Absolute paths of the methods that are loose files."""
    sources: dict[str, str]
    """Method → its source digest."""


class RatesPlan(Part):
    """The search for learning rates that a protocol has."""

    values: tuple[float, ...]
    cell: str
    """Where the values were tried, e.g. 'T2 x2 bicubic, seed 1000'."""


class ProtocolPlan(Part):
    """A resolved protocol."""

    folder: str
    """The folder of its records: the name, and the overrides."""
    name: str
    version: int
    digest: str
    description: str
    dataset: str
    licence: str = ""
    """The licence that lets anyone hand on the data set's images, and whom to name; '' where there is none."""
    independent: bool = True
    """Whether subjects are independent people."""
    grid: str
    track: str
    validation_every: int
    validation_patches: int
    validation_lr_patch: int
    unit: str
    border: int
    rounding: str
    train_subjects: int
    """Number of subjects in the training fold."""
    rates: RatesPlan | None = None
    claims: tuple[tuple[str, str], ...] = ()
    """The pairs of columns whose difference was to be tested before anything was run."""
    equivalence: float | None = None
    """The difference, in the primary metric, that counts as none."""
    rows: tuple[Row, ...]
    """All its rows, in the order of a table."""
    resolved: dict[str, Any]
    """The whole protocol, with the split's subjects."""


class ColumnPlan(Part):
    """A column of the table."""

    label: str
    """With a + for the self-ensemble."""
    method: str
    version: str
    preset: str | None
    options: dict[str, Any]
    recipe: RecipeMark | None
    rate_origin: RateOrigin | None = None
    """None where the suite's loop does not train."""
    seeded: bool = True
    """Whether another seed gives another result."""
    train_subjects: int | None
    """Number of training subjects that it takes; None for all."""
    source_digest: str


class CrossTestPlan(Part):
    """A test of a cell on LR that it was not trained on."""

    title: str
    """That of the degradation."""
    score_key: str
    is_control: bool
    """The negative control: the cell's own degradation, shifted."""


class CellPlan(Part):
    """A cell: the folder of its record and the keys that this should have, or why it has no keys."""

    label: str
    contrast: str
    scale: str
    degradation: str
    seed: int
    folder: str
    """Below the protocol's."""
    base: str
    """The folder of the training's plain cell."""
    train_key: str | None
    score_key: str | None
    why: str | None
    """Why there are no keys."""
    tests: tuple[CrossTestPlan, ...] = Field((), exclude_if=lambda tests: not tests)

    @property
    def row(self) -> Row:
        return self.degradation, self.contrast, self.scale

    def __str__(self) -> str:
        return f"{self.label} {self.contrast} {self.scale} {self.degradation} seed {self.seed}"


class MetricPlan(Part):
    """A metric of the protocol with its convention."""

    label: str
    metric: str
    title: str
    """For a heading, with its unit."""
    unit: str
    """'' for a figure without one."""
    decimals: int
    higher_is_better: bool
    settings: dict[str, Any]
    """The metric's own settings."""
    fixed: dict[str, Any] = Field(default_factory=dict)
    """What of `scoring` the metric does not follow: per, border or round → what it does instead."""
    definition: int = 1
    """Version of the metric's definition."""


class Plan(Part):
    """The request of one command, resolved."""

    format: Literal[1] = FORMAT
    asked: ResolvedRequest
    origin: Origin
    protocol: ProtocolPlan
    columns: tuple[ColumnPlan, ...]
    cells: tuple[CellPlan, ...]
    metrics: tuple[MetricPlan, ...]


@dataclass(frozen=True)
class PlannedCell:
    """A cell of a view, with the column of the plan that it is from."""

    cell: CellPlan
    column: ColumnPlan


@dataclass(frozen=True)
class View:
    """All plans below a protocol's folder as one."""

    folder: Readable
    plans: tuple[Plan, ...]
    """The one requested last comes first: its protocol and its metrics are the view's."""
    damaged: tuple[str, ...] = ()
    """For each plan that cannot be read, the problem."""

    @property
    def last(self) -> Plan:
        return self.plans[0]

    @cached_property
    def cells(self) -> tuple[PlannedCell, ...]:
        """The cells of all plans, each once; where two plans have the same cell, that of the plan requested later."""
        cells: dict[tuple[object, ...], PlannedCell] = {}
        for plan in self.plans:
            columns = {column.label: column for column in plan.columns}
            for cell in plan.cells:
                cells.setdefault((cell.row, cell.label, cell.seed), PlannedCell(cell, columns[cell.label]))
        return tuple(cells.values())

    @property
    def protocol(self) -> ProtocolPlan:
        return self.last.protocol

    @cached_property
    def rows(self) -> list[Row]:
        """In the order of the last plan's protocol; rows that it lacks come last."""
        rows = dict.fromkeys(planned.cell.row for planned in self.cells)
        ordered = [row for row in self.protocol.rows if row in rows]
        return [*ordered, *(row for row in rows if row not in ordered)]

    @property
    def labels(self) -> list[str]:
        """The columns of the last plan, then the older ones."""
        return list(dict.fromkeys(planned.cell.label for planned in self.cells))

    def place(self, planned: PlannedCell) -> Place[Readable] | None:
        """The place of a cell's files, with its keys; None where it has no keys."""
        cell = planned.cell
        if cell.train_key is None or cell.score_key is None:
            return None
        folders = self.folder / cell.folder, self.folder / cell.base
        tests = {test.title: test.score_key for test in cell.tests}
        return Place(*folders, cell.train_key, cell.score_key, planned.column.source_digest, tests)


def add_plan(folder: Path, plan: Plan) -> Path:
    """Write a plan into a protocol's folder as the one requested last; an existing one gets a new time."""
    content = plan.model_dump(mode="json")
    path = folder / PLANS / f"{digest(content)[:32]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    if path.is_dir():
        set_aside(path, "damaged")
    write_sealed(path, {"time": _now(), "plan": content})
    return path


def read_plan(path: Readable) -> tuple[str, Plan]:
    """The time of a plan's last request, and the plan. Raises FileNotFoundError and DamagedFile."""
    content = read_sealed(path)
    try:
        return str(content["time"]), Plan.model_validate(content["plan"])
    except KeyError as error:
        raise DamagedFile(path, f"it has no {error}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        raise DamagedFile(path, f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None


def view_of(folder: Readable) -> View | None:
    """All plans below a protocol's folder; None where no plan can be read."""
    timed_plans, damaged = list[tuple[str, Plan]](), list[str]()
    for path in sorted((folder / PLANS).glob("*.json")):
        try:
            timed_plans.append(read_plan(path))
        except FileNotFoundError:
            continue
        except DamagedFile as error:
            damaged.append(str(error))
    if not timed_plans:
        return None
    plans = [plan for _, plan in sorted(timed_plans, key=lambda timed: timed[0], reverse=True)]
    return View(folder, tuple(plans), tuple(damaged))


def last_folder(runs: Readable) -> str | None:
    """The protocol's folder whose plan was requested last; None where there is no plan."""
    timed_folders = []
    for path in runs.glob(f"*/{PLANS}/*.json"):
        try:
            timed_folders.append((read_plan(path)[0], path.parent.parent.name))
        except (FileNotFoundError, DamagedFile):
            continue
    return max(timed_folders)[1] if timed_folders else None


def _now() -> str:
    seconds = time.time()
    fraction = f"{seconds % 1:.6f}"[1:]
    return time.strftime(f"%Y-%m-%dT%H:%M:%S{fraction}Z", time.gmtime(seconds))
