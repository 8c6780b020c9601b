"""The parts of POAN that a column has, as the paper's tables 2 and 3 tick them off: read from a plan's options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .table import Table

Options = Mapping[str, Any]


def _has_spatial(options: Options) -> bool:
    return bool(options.get("point")) or bool(options.get("levels"))


_SIMILARITIES: dict[str, Callable[[Options], bool]] = {
    "Point": lambda options: bool(options.get("point")),
    "Patch": lambda options: 1.0 in options.get("levels", ()),
    "Pyramid": lambda options: any(level != 1.0 for level in options.get("levels", ())),
}
"""Table 2: point similarity; patch similarity, which is level 1 of the pyramid; its smaller levels."""
_DOMAINS: dict[str, Callable[[Options], bool]] = {
    "Channel": lambda options: options.get("channel") != "none",
    "Spatial": _has_spatial,
}
"""Table 3: attention over channels (NCAB), and over the plane (PDSB)."""


def ablation_parts(table: Table) -> dict[str, dict[str, bool]]:
    """Part → label → whether the column has it, for a table that is an ablation of POAN; else nothing.

    It is one where all its columns are of POAN and no two have the same parts. Hidden columns count.
    """
    columns = {planned.cell.label: planned.column for planned in table.view.cells}
    if len(columns) < 2 or {column.method for column in columns.values()} != {"poan"}:
        return {}
    options = {label.removesuffix("+"): column.options for label, column in columns.items()}
    for parts in (_DOMAINS, _SIMILARITIES):
        profiles = {tuple(has(own) for has in parts.values()) for own in options.values()}
        if len(profiles) == len(options):
            return {name: {label: has(columns[label].options) for label in table.labels} for name, has in parts.items()}
    return {}
