"""Figures for a paper, from plans, records and exhibits alone: no method, no data and no torch are needed.

One module a figure. Each has `draw(table, ...)`, which gives a `Picture`; `picture.write_picture` writes it.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from ..reporting.table import Table
    from .picture import Picture


def figure_names() -> list[str]:
    """The figures that there are."""
    modules = [module.name for module in iter_modules(__path__)]
    return [name for name in modules if hasattr(import_module(f".{name}", __name__), "draw")]


def draw_figure(name: str, table: Table, options: Mapping[str, Any]) -> Picture:
    """Draw a figure by its name. Raises UsageError for an unknown figure, or an option that it does not have."""
    if name not in figure_names():
        raise UsageError(f"there is no figure '{name}'. {did_you_mean(name, figure_names())}")
    draw = import_module(f".{name}", __name__).draw
    known = [option for option in inspect.signature(draw).parameters if option != "table"]
    for option in options:
        if option not in known:
            raise UsageError(f"figure '{name}' has no option '{option}'. {did_you_mean(option, known)}")
    picture: Picture = draw(table, **options)
    return picture
