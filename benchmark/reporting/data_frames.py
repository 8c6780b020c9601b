"""A table as a pandas frame, and the records behind it as one row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .caption import caption_of
from .efficiency import inference_macs
from .table import Table

if TYPE_CHECKING:
    import pandas as pd


def frame_of(table: Table) -> pd.DataFrame:
    """Index row, columns (method, metric), quoted columns marked; NaN where there is no figure; caption in attrs.

    Where a column has several seeds, each metric is followed by its spread, e.g. (edsr, psnr), (edsr, psnr SD).
    """
    import pandas as pd

    figures: dict[tuple[str, str], list[float]] = {}
    for column in table.columns:
        for metric in table.metrics:
            if column.source and not table.quoted_metric(metric):
                continue
            figures[str(column), metric] = [table.value(row, column, metric) for row in table.rows]
            if any(len(table.records.get((row, column.name), [])) > 1 for row in table.rows) and not column.source:
                figures[str(column), f"{metric} SD"] = [table.spread(row, column, metric) for row in table.rows]
    index = pd.MultiIndex.from_tuples(table.rows, names=table.row_headings())
    frame = pd.DataFrame(figures, index=index, dtype=float)
    frame.columns = pd.MultiIndex.from_tuples(list(figures), names=["method", "metric"])
    frame.attrs["caption"] = caption_of(table)
    return frame


def record_rows(table: Table) -> list[dict[str, Any]]:
    """Key figures of every record behind the table, heading → figure: quality, cost and commit."""
    primary = table.metrics[0]
    return [
        {
            "row": " ".join(row),
            "method": label,
            "seed": str(record.resolved.seed),
            primary: table.figure_text(primary, record.metrics[primary]),
            "parameters": record.fit.parameters if record.fit else None,
            "MACs (LR 24×24)": inference_macs(label, record),
            "fit s": record.fit.seconds if record.fit else None,
            "s/volume": record.seconds_per_volume,
            "peak MB": round(record.peak_memory_bytes / 1e6),
            "device": record.environment.device,
            "commit": (record.environment.git or "–")[:10],
        }
        for (row, label), records in table.records.items()
        for record in records
    ]
