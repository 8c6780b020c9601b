"""The one place that composes records."""

from __future__ import annotations

import time
from typing import Any, Literal

from ..planning.cells import Cell, Training
from ..planning.planner import plan_metric
from ..store.record import CrossScores, DoneRecord, UndoneRecord
from ..store.signature import signature


def done_record(training: Training, cell: Cell, **figures: Any) -> DoneRecord:
    """The record of a cell that has figures: `figures` are the fields that `DoneRecord` adds, but its signature.

    The source digest is that of the fit where there is one: weights that are scored again keep theirs.
    """
    scoring = training.loaded.protocol.scoring
    label, settings = next(iter(scoring.metrics.items()))
    primary = plan_metric(label, settings, scoring.unit)
    figures["signature"] = signature(primary, scoring.unit, scoring.border, scoring.round)
    record = DoneRecord.model_validate({**_common_fields(training, cell), **figures})
    return record.model_copy(update={"source_digest": record.fit.source_digest}) if record.fit else record


def tested_record(record: DoneRecord, title: str, scores: CrossScores) -> DoneRecord:
    """The same record with the figures of a test on other LR."""
    return record.model_copy(update={"tests": {**record.tests, title: scores}, "written": _now()})


def undone_record(
    training: Training, cell: Cell, state: Literal["failed", "timeout", "skipped"], error: str
) -> UndoneRecord:
    """The record of a cell that has no figures, and why."""
    return UndoneRecord.model_validate({**_common_fields(training, cell), "state": state, "error": error})


def _common_fields(training: Training, cell: Cell) -> dict[str, Any]:
    loaded = training.loaded
    return {
        "label": cell.label,
        "protocol": {
            "name": loaded.protocol.name,
            "version": loaded.protocol.version,
            "digest": loaded.digest,
            "overrides": loaded.overrides,
        },
        "preset": training.preset,
        "resolved": training.resolved,
        "inference": training.inference,
        "train_key": cell.train_key,
        "score_key": cell.score_key,
        "source_digest": training.source.digest,
        "written": _now(),
    }


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
