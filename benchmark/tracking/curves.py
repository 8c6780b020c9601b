"""Training curves: the rows of train.csv as MLflow takes them, each sent once."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, str]
_COLUMNS = ("loss", "val_psnr", "lr", "pixels_per_second", "memory_bytes")
"""Columns of train.csv that MLflow shows; records of earlier versions lack the last two."""
_BATCH = 1000 // len(_COLUMNS)
"""Rows in one call, which takes at most 1000 figures and is one transaction: all figures of a row arrive, or none."""


class OtherCurve(Exception):
    """What a run has is not the beginning of the curve."""


def read_rows(path: Path) -> list[Row]:
    """The complete rows of a curve, which may be growing; none where there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return list(csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1])))


def last_step(client: Any, run_id: str, rows: Sequence[Row], *, whole: bool) -> int:
    """The last step of a curve that a run has, 0 for none.

    `whole`: the curve is of a record; else rows may be missing that a killed training had written and will write again.
    Raises OtherCurve where the run has other losses.
    """
    losses = {int(row["step"]): float(row["loss"]) for row in rows}
    last = max(losses, default=0)
    history = client.get_metric_history(run_id, "loss")
    for point in history:
        is_later = point.step > last and not whole
        if not is_later and not _are_same(losses.get(point.step), point.value):
            raise OtherCurve
    return max((int(point.step) for point in history), default=0)


def _are_same(ours: float | None, theirs: float) -> bool:
    return ours is not None and (ours == theirs or (math.isnan(ours) and math.isnan(theirs)))


def send_rows(client: Any, run: Any, rows: Sequence[Row], after: int) -> int:
    """Send the rows after a step; returns the last step that the run has now.

    A row has the same time whenever it is sent: the run's start and the row's seconds. So MLflow, to which equal points
    are one, has it once even where an answer was lost and the row is sent again.
    """
    rows = [row for row in rows if int(row["step"]) > after]
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        client.log_batch(run.info.run_id, metrics=list(_points(batch, int(run.info.start_time))))
        after = int(batch[-1]["step"])
    return after


def _points(rows: Sequence[Row], started: int) -> Iterator[Any]:
    """The figures of rows; an infinite one is left out, since MLflow would draw the largest number that there is."""
    from mlflow.entities import Metric

    for row in rows:
        time = started + round(1000 * float(row.get("seconds") or 0))
        for name in _COLUMNS:
            if row.get(name) and not math.isinf(figure := float(row[name])):
                yield Metric(name, figure, time, int(row["step"]))
