"""What became of the cells of a command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ..store.cell_files import State
from ..system.units import figure_text


class LabelledCell(Protocol):
    """A cell by its label: `planning.cells.Cell` or `store.plan.CellPlan`. Its text says all of its coordinates."""

    @property
    def label(self) -> str: ...


@dataclass(frozen=True)
class Outcome:
    """The state of a cell after a command."""

    cell: LabelledCell
    state: State
    message: str = ""
    metrics: dict[str, float] | None = None

    @property
    def good(self) -> bool:
        return self.state in ("done", "changed", "skipped")


class Outcomes(list[Outcome]):
    """The outcomes of all cells of a command, in the order of the plan. Prints as a table, a line for every cell."""

    @property
    def problems(self) -> str:
        """How many cells are not done, which, and the first line of the reason; '' where there are none.

        A cell that was skipped, since the method cannot do its task, does not count.
        """
        undone = [outcome for outcome in self if not outcome.good]
        if not undone:
            return ""
        lines = [f"{outcome.cell}: {outcome.state}: {_first_line(outcome.message)}" for outcome in undone]
        return "\n  ".join([f"{len(undone)} of {len(self)} cells are not done:", *lines])

    def __repr__(self) -> str:
        from tabulate import tabulate

        metrics = list(dict.fromkeys(name for outcome in self for name in outcome.metrics or {}))
        reasons = [_first_line(outcome.message) for outcome in self]
        rows = [
            [str(outcome.cell), outcome.state, *_figures(outcome, metrics), *([reason] if any(reasons) else [])]
            for outcome, reason in zip(self, reasons, strict=True)
        ]
        headings = ["cell", "state", *metrics, *(["why"] if any(reasons) else [])]
        return tabulate(rows, headings, tablefmt="plain", disable_numparse=True)


def _figures(outcome: Outcome, metrics: Sequence[str]) -> list[str]:
    figures = outcome.metrics or {}
    return [figure_text(figures[name]) if name in figures else "" for name in metrics]


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
