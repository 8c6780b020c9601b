"""From trainings to the plan that is written down: the last place where a table's facts are taken from code."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from pathlib import Path

from .cell import Cell, Training, scale_name
from .conventions import metric_of
from .files import sha256_of
from .protocol import Loaded
from .store.plan import Asked, CellPlan, ColumnPlan, MetricPlan, Origin, Plan, ProtocolPlan


def make_plan(loaded: Loaded, trainings: list[Training], asked: Asked) -> Plan:
    """What `asked` stands for under the present code."""
    order = [label.removesuffix("+") for label in loaded.protocol.methods]
    columns = {cell.label: _column(training, cell) for training in trainings for cell in training.cells}
    labels = sorted(columns, key=lambda label: [*order, label.removesuffix("+")].index(label.removesuffix("+")))
    cells = [plan_cell(training, cell) for training in trainings for cell in training.cells]
    return Plan(
        asked=asked,
        origin=Origin(
            code=code_digest(),
            files={str(path): sha256_of(path) for path in (loaded.path, loaded.split_path)},
            sources={training.base.label: training.source.digest for training in trainings},
        ),
        protocol=_protocol(loaded),
        columns=tuple(columns[label] for label in labels),
        cells=tuple(sorted(cells, key=lambda cell: labels.index(cell.label))),
        metrics=tuple(_metric(loaded, label) for label in loaded.protocol.scoring.metrics),
    )


@cache
def code_digest() -> str:
    """SHA-256 over the package's own Python files, protocols and tables, by name."""
    content = hashlib.sha256()
    for package in ("mrsr_bench", "mrsr_bench.methods", "mrsr_bench.datasets", "mrsr_bench.protocols"):
        root = Path(str(files(package)))
        for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".csv", ".yaml")):
            content.update(f"{package}/{path.relative_to(root)}\0".encode() + path.read_bytes())
    return content.hexdigest()


def _protocol(loaded: Loaded) -> ProtocolPlan:
    protocol = loaded.protocol
    return ProtocolPlan(
        folder=loaded.folder,
        name=protocol.name,
        version=protocol.version,
        digest=loaded.digest,
        description=" ".join(protocol.description.split()),
        dataset=protocol.data.dataset,
        grid=protocol.data.grid,
        track=protocol.training.track,
        validation_every=protocol.validation.every,
        validation_patches=protocol.validation.patches,
        validation_lr_patch=protocol.validation.lr_patch,
        unit=protocol.scoring.unit,
        border=protocol.scoring.border,
        rounding=protocol.scoring.round,
        train_subjects=len(loaded.split["train"]),
        rows=tuple(
            (degradation.title, contrast, f"x{scale_name(factors)}")
            for degradation in protocol.degradation
            for contrast in protocol.data.contrasts
            for factors in protocol.scales
        ),
        resolved=loaded.resolved(),
    )


def _column(training: Training, cell: Cell) -> ColumnPlan:
    return ColumnPlan(
        label=cell.label,
        method=training.source.name,
        version=training.version,
        preset=training.preset,
        options=training.options,
        recipe=training.recipe.model_dump(mode="json") if training.recipe else None,
        train_subjects=training.train_subjects,
        source_digest=training.source.digest,
    )


def plan_cell(training: Training, cell: Cell) -> CellPlan:
    """Where a cell lies, and its keys under the present code."""
    keys = (None, None) if training.broken else (cell.train_key, cell.score_key)
    return CellPlan(
        label=cell.label,
        contrast=cell.contrast,
        scale=cell.scale,
        degradation=cell.degradation.title,
        seed=cell.seed,
        folder=cell.folder.as_posix(),
        base=training.base.folder.as_posix(),
        train_key=keys[0],
        score_key=keys[1],
        why=training.broken,
    )


def _metric(loaded: Loaded, label: str) -> MetricPlan:
    settings = loaded.protocol.scoring.metrics[label]
    metric = metric_of(label, settings)
    return MetricPlan(
        label=label,
        metric=settings.get("metric", label),
        title=metric.title,
        unit=metric.unit,
        decimals=metric.decimals,
        higher_is_better=metric.higher_is_better,
        settings={key: value for key, value in settings.items() if key != "metric"},
    )
