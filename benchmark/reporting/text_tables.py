"""Tables whose cells are text, as Markdown or LaTeX."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tabulate import tabulate

Format = Literal["markdown", "latex", "csv"]
_LATEX: dict[int, str] = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "–": "--", "<": r"$<$", ">": r"$>$",
    "|": r"\textbar\allowbreak{}", "†": r"$^\dagger$", "±": r"$\pm$", "−": r"$-$",
})  # fmt: skip
"""Letter → LaTeX. pandas' Styler escapes the first ten alone, and neither captions nor the parts of a cell."""


@dataclass(frozen=True)
class TextTable:
    """A table whose cells are text."""

    headings: list[str]
    rows: list[list[str]]


def markdown(table: TextTable) -> str:
    """The table in GitHub's form; '' without rows."""
    return tabulate(table.rows, table.headings, "github", disable_numparse=True) if table.rows else ""


def booktabs(table: TextTable, caption: str, label: str) -> str:
    """A LaTeX table; headings, cells and caption are LaTeX already."""
    import pandas as pd

    cells = pd.DataFrame(table.rows, columns=table.headings)
    return cells.to_latex(index=False, escape=False, caption=caption, label=label, position="tbp")


def latex(text: str) -> str:
    """Plain text with what LaTeX reads escaped."""
    return text.translate(_LATEX)
