"""What figures cost, as text: one table for the methods, one for the records behind them."""

from __future__ import annotations

from . import data_frames as frames
from .efficiency import efficiencies
from .grid import NO_FIGURE, plus_minus
from .table import Table
from .text_tables import TextTable

_COSTS = [
    *("parameters", "MACs (LR 24×24)", "training MACs", "training h", "ms/slice", "peak MB", "Pareto"),
]


def efficiency_table(table: Table) -> TextTable:
    """Every efficiency as text, e.g. '787 M'."""
    metric = table.metrics[0]
    optimal = {True: "yes", False: "no", None: NO_FIGURE}
    rows = [
        [
            " ".join(cell.row),
            cell.label,
            table.figure_text(metric, cell.quality) + plus_minus(table.figure_text(metric, cell.spread)),
            _with_prefix(cell.parameters),
            _with_prefix(cell.macs),
            _with_prefix(cell.training),
            _three_digits(cell.hours),
            _three_digits(None if cell.slice_seconds is None else 1000 * cell.slice_seconds),
            f"{cell.memory / 1e6:,.0f}",
            optimal[cell.optimal],
        ]
        for cell in efficiencies(table)
    ]
    return TextTable(["row", "method", metric, *_COSTS], rows)


def record_table(table: Table) -> TextTable:
    """Every record: thousands separated, no more digits than mean something."""

    def text(value: str | float | None) -> str:
        if isinstance(value, str):
            return value
        if value is None:
            return NO_FIGURE
        if float(value).is_integer() or value >= 100:
            return f"{value:,.0f}"
        return f"{value:.3g}" if value < 1 else f"{value:.2f}"

    records = frames.record_rows(table)
    return TextTable(
        [*records[0]] if records else [], [[text(value) for value in record.values()] for record in records]
    )


def _with_prefix(number: float | None) -> str:
    """Three digits and a prefix for a power of a thousand: 787304448 → '787 M'."""
    if number is None:
        return NO_FIGURE
    mantissa, exponent = f"{number:.2e}".split("e")
    thousands, digits = divmod(int(exponent), 3)
    return f"{float(mantissa) * 10**digits:.{2 - digits}f}{('', ' k', ' M', ' G', ' T', ' P', ' E')[thousands]}"


def _three_digits(number: float | None) -> str:
    """'0.0123', '1.23', '123' or '1,230'; '<0.001' for less, '–' for None."""
    if number is None:
        return NO_FIGURE
    if number < 0.001:
        return "<0.001"
    return f"{number:,.0f}" if number >= 99.95 else f"{number:#.3g}"
