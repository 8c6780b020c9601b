"""From a request to its trainings, and from these to the plan that is written down.

The last place where a table's facts are taken from code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..dataset import Dataset
from ..errors import BenchError, UsageError
from ..protocol.block import scale_name
from ..protocol.loading import Loaded, is_builtin
from ..registry import BrokenPlugin, datasets, find_source, load_dataset
from ..scoring.protocol_metrics import make_metric
from ..store.plan import CellPlan, ColumnPlan, CrossTestPlan, MetricPlan, Origin, Plan, ProtocolPlan, RatesPlan
from ..store.results import Store
from ..system.files import sha256_of
from .cells import Cell, CrossTest, Training, plan_trainings
from .request import Request, code_digest, request_in_full


def plan_request(request: Request) -> tuple[Loaded, list[Training]]:
    """The protocol with its overrides and the trainings of a request. Raises UsageError for an unknown name."""
    loaded = request.load()
    return loaded, plan_trainings(loaded, request.methods, request.seeds, request.scales, request.lr)


def recall_trainings(store: Store, protocol: str | None, warn: Callable[[str], None]) -> tuple[Loaded, list[Training]]:
    """The trainings that all plans of a protocol stand for under the present code; None means the one asked last.

    `warn` is told of a plan that can no longer be made, for example because a method's file is gone. Raises BenchError
    where none can be made.
    """
    view, trainings, latest = store.view(protocol), dict[Path, Training](), None
    for stored in view.plans:
        try:
            loaded, planned = plan_request(Request.recalled(stored.asked))
        except UsageError as error:
            warn(f"{error}\nAn earlier run planned this; its cells are left out")
            continue
        latest = latest or loaded
        for training in planned:
            known = trainings.setdefault(training.base.folder, training)
            trainings[training.base.folder] = replace(known, plus=known.plus or training.plus)
    if latest is None:
        raise BenchError(f"no plan of {view.protocol.folder} can be made any more; see the warnings above")
    return latest, list(trainings.values())


def make_plan(request: Request, loaded: Loaded, trainings: list[Training]) -> Plan:
    """What a request stands for under the present code."""
    order = [label.removesuffix("+") for label in loaded.protocol.methods]
    columns = {cell.label: _column(training, cell) for training in trainings for cell in training.cells}
    labels = sorted(columns, key=lambda label: [*order, label.removesuffix("+")].index(label.removesuffix("+")))
    cells = [plan_cell(training, cell) for training in trainings for cell in training.cells]
    rows, scoring = list(dict.fromkeys(cell.row for cell in cells)), loaded.protocol.scoring
    return Plan(
        asked=request_in_full(request, loaded),
        origin=Origin(
            code=code_digest(),
            files={str(path): sha256_of(path) for path in (loaded.path, loaded.split_path) if not is_builtin(path)},
            loose=tuple(
                sorted({str(training.source.path) for training in trainings if training.source.kind == "file"})
            ),
            sources={training.source.name: training.source.digest for training in trainings},
        ),
        protocol=_protocol(loaded),
        columns=tuple(columns[label] for label in labels),
        cells=tuple(sorted(cells, key=lambda cell: (rows.index(cell.row), labels.index(cell.label)))),
        metrics=tuple(plan_metric(label, settings, scoring.unit) for label, settings in scoring.metrics.items()),
    )


def _protocol(loaded: Loaded) -> ProtocolPlan:
    protocol = loaded.protocol
    return ProtocolPlan(
        folder=loaded.folder,
        name=protocol.name,
        version=protocol.version,
        digest=loaded.digest,
        description=" ".join(protocol.description.split()),
        dataset=protocol.data.dataset,
        licence=protocol.data.licence or _licence(protocol.data.dataset),
        independent=_is_independent(protocol.data.dataset),
        grid=protocol.data.grid,
        track=protocol.training.track,
        validation_every=protocol.validation.every,
        validation_patches=protocol.validation.patches,
        validation_lr_patch=protocol.validation.lr_patch,
        unit=protocol.scoring.unit,
        border=protocol.scoring.border,
        rounding=protocol.scoring.round,
        train_subjects=len(loaded.split["train"]),
        rates=_rates(loaded),
        claims=protocol.report.claims,
        equivalence=protocol.report.equivalence,
        rows=tuple(
            (degradation.title, contrast, f"x{scale_name(factors)}")
            for degradation in protocol.degradation
            for contrast in protocol.data.contrasts
            for factors in protocol.scales
        ),
        resolved=loaded.resolved(),
    )


def _rates(loaded: Loaded) -> RatesPlan | None:
    protocol, rates = loaded.protocol, loaded.protocol.rates
    if rates is None:
        return None
    cell = f"{rates.contrast} x{scale_name(rates.scale)} {protocol.degradation[0].title}, seed {rates.seed}"
    return RatesPlan(values=rates.values, cell=cell)


def _licence(dataset: str) -> str:
    """The licence under which a data set's images may be handed on; '' where there is none."""
    cls = _dataset_class(dataset)
    return cls.licence if cls and cls.shareable else ""


def _is_independent(dataset: str) -> bool:
    """Whether a data set says that its subjects are independent people; one that cannot be loaded says nothing."""
    cls = _dataset_class(dataset)
    return cls.independent if cls else False


def _dataset_class(dataset: str) -> type[Dataset] | None:
    """The class of a data set; None for a plugin that cannot be imported."""
    try:
        return load_dataset(find_source(dataset, datasets(), "data set"))
    except BrokenPlugin:
        return None


def _column(training: Training, cell: Cell) -> ColumnPlan:
    return ColumnPlan(
        label=cell.label,
        method=training.source.name,
        version=training.version,
        preset=training.preset,
        options=training.options,
        recipe=training.recipe.model_dump(mode="json") if training.recipe else None,
        rate_origin=training.rate_origin,
        seeded=training.seeded,
        train_subjects=training.train_subjects,
        source_digest=training.source.digest,
    )


def plan_cell(training: Training, cell: Cell) -> CellPlan:
    """Where a cell lies, and its keys under the present code."""
    train_key, score_key = (None, None) if training.broken else (cell.train_key, cell.score_key)
    return CellPlan(
        label=cell.label,
        contrast=cell.contrast,
        scale=cell.scale,
        degradation=cell.degradation.title,
        seed=cell.seed,
        folder=cell.folder.as_posix(),
        base=training.base.folder.as_posix(),
        train_key=train_key,
        score_key=score_key,
        why=training.broken,
        tests=() if training.broken else tuple(map(_cross_test, cell.tests)),
    )


def _cross_test(test: CrossTest) -> CrossTestPlan:
    return CrossTestPlan(title=test.title, score_key=test.score_key, is_control=test.is_control)


def plan_metric(label: str, settings: Mapping[str, Any], unit: str | None = None) -> MetricPlan:
    """How a metric of a protocol is computed and shown: its label, what the protocol sets, and `scoring.unit`."""
    metric = make_metric(label, settings, unit)
    return MetricPlan(
        label=label,
        metric=settings.get("metric", label),
        title=metric.title,
        unit=metric.unit,
        decimals=metric.decimals,
        higher_is_better=metric.higher_is_better,
        settings=metric.model_dump(mode="json"),
        fixed=metric.fixed,
        definition=metric.definition,
    )
