"""The schema of a plan: what was asked, resolved, so that a table needs no method, no data and no protocol's code.

    <results>/runs/<protocol>/plans/<digest>.json

A plan is written before its run works. The digest in its name is over all but the time at which it was asked last;
asking again renews the time alone. Several plans below one folder are one `View`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from ..system.files import DamagedFile, Readable, digest, read_sealed, remove_leftovers, set_aside, write_sealed
from .cell_files import Place
from .record import Part, RecipeMark

PLANS = "plans"
FORMAT: Literal[1] = 1
Row = tuple[str, str, str]
"""(degradation, contrast, scale)."""


class Asked(Part):
    """What a command asked for, with defaults filled in."""

    protocol: str
    """A built-in name, or an absolute path."""
    methods: tuple[str, ...]
    """Labels; those of loose files with their absolute paths."""
    seeds: tuple[int, ...]
    scales: tuple[str, ...]
    overrides: dict[str, int]


class Origin(Part):
    """What a plan was made from: while all of it is the same, so is the plan."""

    code: str
    """SHA-256 over the package's own files."""
    files: dict[str, str]
    """Absolute path → SHA-256 of the protocol's and the split's file, where they do not ship with the package."""
    loose: tuple[str, ...]
    """Absolute paths of the methods that are loose files."""
    sources: dict[str, str]
    """Method → its source digest."""


class ProtocolPlan(Part):
    """A protocol as it was resolved."""

    folder: str
    """Of its records: the name, and what was overridden."""
    name: str
    version: int
    digest: str
    description: str
    dataset: str
    licence: str = ""
    """That lets anyone hand the data set's images on, and whom to name; '' where none does."""
    grid: str
    track: str
    validation_every: int
    validation_patches: int
    validation_lr_patch: int
    unit: str
    border: int
    rounding: str
    train_subjects: int
    """How many subjects the training fold has."""
    rows: tuple[Row, ...]
    """All that it has, in the order of a table."""
    resolved: dict[str, Any]
    """All of it, the split's subjects included."""


class ColumnPlan(Part):
    """A column of the table."""

    label: str
    """With a + for the self-ensemble."""
    method: str
    version: str
    preset: str | None
    options: dict[str, Any]
    recipe: RecipeMark | None
    train_subjects: int | None
    """How many of the training subjects it takes; none for all."""
    source_digest: str


class CellPlan(Part):
    """A cell: where its record lies and under which keys it is wanted, or why it has none."""

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

    @property
    def convention(self) -> str:
        """Everything that decides the figure, in words."""
        named = "" if self.label == self.metric else f"{self.label}: "
        lower = "" if self.higher_is_better else " (lower is better)"
        words = ", ".join(f"{key} {value}" for key, value in self.settings.items())
        return f"{named}{self.title}{lower}" + (f" with {words}" if words else "")


class Plan(Part):
    """What one command asked for, resolved."""

    format: Literal[1] = FORMAT
    asked: Asked
    origin: Origin
    protocol: ProtocolPlan
    columns: tuple[ColumnPlan, ...]
    cells: tuple[CellPlan, ...]
    metrics: tuple[MetricPlan, ...]


@dataclass(frozen=True)
class Planned:
    """A cell of a view, with the column of the plan that it is from."""

    cell: CellPlan
    column: ColumnPlan


@dataclass(frozen=True)
class View:
    """All plans below a protocol's folder as one."""

    folder: Readable
    plans: tuple[Plan, ...]
    """The one asked last comes first: its protocol and its metrics are the view's."""
    damaged: tuple[str, ...] = ()
    """What is wrong with plans that cannot be read."""

    @property
    def last(self) -> Plan:
        return self.plans[0]

    @cached_property
    def cells(self) -> tuple[Planned, ...]:
        """The cells of all plans, each once; where two plans name the same cell, that of the one asked later."""
        cells: dict[tuple[object, ...], Planned] = {}
        for plan in self.plans:
            columns = {column.label: column for column in plan.columns}
            for cell in plan.cells:
                cells.setdefault((cell.row, cell.label, cell.seed), Planned(cell, columns[cell.label]))
        return tuple(cells.values())

    @property
    def protocol(self) -> ProtocolPlan:
        return self.last.protocol

    @property
    def rows(self) -> list[Row]:
        """In the order of the last plan's protocol; those that it lacks come last."""
        rows = dict.fromkeys(planned.cell.row for planned in self.cells)
        known = [row for row in self.protocol.rows if row in rows]
        return [*known, *(row for row in rows if row not in known)]

    @property
    def labels(self) -> list[str]:
        """The columns of the last plan, then the older ones."""
        return list(dict.fromkeys(planned.cell.label for planned in self.cells))

    def place(self, planned: Planned) -> Place[Readable] | None:
        """Where a cell's files lie, and its keys; None where it has none."""
        cell = planned.cell
        if cell.train_key is None or cell.score_key is None:
            return None
        folders = self.folder / cell.folder, self.folder / cell.base
        return Place(*folders, cell.train_key, cell.score_key, planned.column.source_digest)


def add_plan(folder: Path, plan: Plan) -> Path:
    """Write a plan into a protocol's folder as the one asked last; one that is there gets a new time."""
    content = plan.model_dump(mode="json")
    path = folder / PLANS / f"{digest(content)[:32]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    if path.is_dir():
        set_aside(path, "damaged")
    write_sealed(path, {"time": _now(), "plan": content})
    return path


def read_plan(path: Readable) -> tuple[str, Plan]:
    """The time at which a plan was asked last, and the plan. Raises FileNotFoundError and DamagedFile."""
    content = read_sealed(path)
    try:
        return str(content["time"]), Plan.model_validate(content["plan"])
    except KeyError as error:
        raise DamagedFile(path, f"it has no {error}") from None
    except ValidationError as error:
        problem = error.errors()[0]
        raise DamagedFile(path, f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None


def view_of(folder: Readable) -> View | None:
    """All plans below a protocol's folder; None where there is none that can be read."""
    dated, damaged = list[tuple[str, Plan]](), list[str]()
    for path in sorted((folder / PLANS).glob("*.json")):
        try:
            dated.append(read_plan(path))
        except FileNotFoundError:
            continue
        except DamagedFile as error:
            damaged.append(str(error))
    if not dated:
        return None
    plans = [plan for _, plan in sorted(dated, key=lambda item: item[0], reverse=True)]
    return View(folder, tuple(plans), tuple(damaged))


def last_folder(runs: Readable) -> str | None:
    """The protocol's folder whose plan was asked last; None where nothing was."""
    dated = []
    for path in runs.glob(f"*/{PLANS}/*.json"):
        try:
            dated.append((read_plan(path)[0], path.parent.parent.name))
        except (FileNotFoundError, DamagedFile):
            continue
    return max(dated)[1] if dated else None


def _now() -> str:
    seconds = time.time()
    fraction = f"{seconds % 1:.6f}"[1:]
    return time.strftime(f"%Y-%m-%dT%H:%M:%S{fraction}Z", time.gmtime(seconds))
