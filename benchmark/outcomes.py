"""What a run gives to Python: the outcomes of its cells, which print as a table."""

from __future__ import annotations

from .steps import Outcome


class Outcomes(list[Outcome]):
    """The outcomes of all cells asked for, in the order of the plan. Its text is a table with a line for every cell."""

    @property
    def problems(self) -> str:
        """How many cells are not done, which, and the first line of why; '' where there are none.

        A cell that was skipped, since the method cannot do its task, is none of them.
        """
        undone = [outcome for outcome in self if not outcome.good]
        if not undone:
            return ""
        lines = [f"{outcome.cell}: {outcome.state}: {_first_line(outcome.message)}" for outcome in undone]
        return "\n  ".join([f"{len(undone)} of {len(self)} cells are not done:", *lines])

    def __repr__(self) -> str:
        metrics = list(dict.fromkeys(name for outcome in self for name in outcome.metrics or {}))
        rows = [["cell", "state", *metrics, "why"]]
        for outcome in self:
            figures = outcome.metrics or {}
            values = [f"{figures[name]:.4f}" if name in figures else "" for name in metrics]
            rows.append([str(outcome.cell), outcome.state, *values, _first_line(outcome.message)])
        if not any(row[-1] for row in rows[1:]):
            rows = [row[:-1] for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
