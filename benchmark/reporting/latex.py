"""LaTeX: escaped text, and floats of a table in the largest size that fits, from estimates of its width."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from math import ceil

ARTICLE, PAGE = 345.0, 516.0
"""Widths to fit in points: the text of an article; the page of a two-column journal (IEEE)."""
COLUMN = 252.0
"""The width of such a journal's column: what fits it floats there, all else over the page (table*)."""
_HEIGHT = 400.0
"""Points that the lines of a float may take, so that caption and notes have room on the page of an article."""
_LATEX: dict[int, str] = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "×": r"$\times$", "–": "--", "<": r"$<$", ">": r"$>$",
    "|": r"\textbar\allowbreak{}", "†": r"$^\dagger$", "±": r"$\pm$", "−": r"$-$", "✓": r"\checkmark{}", "¹": "$^1$",
    "²": "$^2$", "→": r"$\to$", "≤": r"$\le$", "≥": r"$\ge$", "…": r"\ldots{}", "·": r"$\cdot$", "′": "$'$",
    "\n": " ",
})  # fmt: skip
"""Letter → LaTeX."""
_PACKAGES = {
    r"\toprule": "booktabs",
    r"\begin{threeparttable}": "threeparttable",
    r"\arraybackslash": "array",
    r"\rotatebox": "graphicx",
    r"\checkmark": "amssymb",
}
"""Command → the package that has it."""
_WIDTHS = {
    "ijl:;,.'!|[]": 0.28, "f -I": 0.36, "rst()/J\"`*": 0.4, "cez": 0.45, "0123456789ago–?": 0.5, "kqvxy": 0.53,
    "bdhnpuS_": 0.56, "wEFLBPTZC": 0.73, "ADGHKNOQRUVXY±×−=+<>✓&#$~": 0.79, "mM%W@": 1.03,
}  # fmt: skip
"""Letters → their width in em, in Computer Modern, which is wider than Times; capitals of a class the widest one's."""
_EM = {letter: width for letters, width in _WIDTHS.items() for letter in letters}
BOLD, RAISED = 1.16, 0.9
"""How much wider bold letters are, and how much smaller raised ones, with the space after them."""


@dataclass(frozen=True)
class Size:
    """A size of type in a class of 10 points."""

    command: str
    em: float
    """In points; small sizes of Computer Modern are drawn wider than they are set."""
    gap: float
    """Half of the space between two columns, in points."""
    line: float
    """From one line to the next, in points."""


NORMAL, SMALL, FOOTNOTE, SCRIPT = SIZES = (
    Size("normalsize", 10.0, 6.0, 12.0),
    Size("small", 9.25, 4.0, 11.0),
    Size("footnotesize", 8.5, 3.0, 9.5),
    Size("scriptsize", 8.0, 1.5, 8.0),
)


@dataclass(frozen=True)
class TexTable:
    """A table whose cells are LaTeX, before it has a size."""

    headings: list[str]
    groups: list[list[list[str]]]
    """Groups of lines that stay together; a line is a list of cells."""
    widths: list[float]
    """The widest cell of every column, in em."""
    body: list[float]
    """The same without the heading."""
    least: list[float]
    """The width to which a column may be cut where its text is broken into lines, in em."""


def latex(text: str) -> str:
    """Plain text with what LaTeX reads escaped."""
    return text.translate(_LATEX)


def prose(text: str) -> str:
    """The same for a paragraph, where a path may be broken at its slashes."""
    return latex(text).replace("/", r"/\allowbreak{}")


def em_width(text: str) -> float:
    """The width of plain text in em; what is in no class counts as wide."""
    return sum(_EM.get(letter, 1.0) for letter in text)


def text_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> TexTable:
    """A table of plain text."""
    columns = list(zip(headings, *rows, strict=True))
    words = [[word for cell in column for word in cell.split()] for column in columns]
    return TexTable(
        [*map(latex, headings)],
        [[[*map(latex, row)]] for row in rows],
        [max(map(em_width, column)) for column in columns],
        [max(map(em_width, column[1:]), default=0.0) for column in columns],
        [max(map(em_width, column), default=0.0) for column in words],
    )


def natural_width(table: TexTable, size: Size) -> float:
    """The table's width in points, no cell broken."""
    return sum(table.widths) * size.em + 2 * size.gap * (len(table.widths) - 1)


def best_size(table: TexTable, sizes: Sequence[Size] = SIZES) -> Size:
    """The largest size in which a table fits an article, else a page; the smallest where none does.

    A table whose text can be broken into lines is made to fit an article that way, before it is given the page.
    """
    broken = replace(table, widths=[*map(min, table.widths, table.least)])
    for form, width in ((table, ARTICLE), (broken, ARTICLE), (table, PAGE)):
        for size in sizes:
            if natural_width(form, size) <= width:
                return sizes[-1] if form is broken else size
    return sizes[-1]


def with_packages(text: str) -> str:
    """LaTeX below a comment that says which packages it needs."""
    needed = ",".join(package for command, package in _PACKAGES.items() if command in text)
    return f"% \\usepackage{{{needed}}}\n{text}"


def tabular(table: TexTable, size: Size) -> str:
    """A tabular* as wide as a line, with its size of type. Columns are cut where nothing else fits an article."""
    cut = _cut_columns(table, size)
    columns = "".join(
        "l" if points is None else rf">{{\raggedright\arraybackslash}}p{{{points:.1f}pt}}" for points in cut
    )
    body = "\\addlinespace[1.5pt]\n".join("".join(map(_line, group)) for group in table.groups)
    if all(len(group) == 1 for group in table.groups):
        body = "".join(_line(line) for [line] in table.groups)
    return (
        f"\\{size.command}\n\\setlength{{\\tabcolsep}}{{{size.gap:g}pt}}%\n"
        f"\\begin{{tabular*}}{{\\linewidth}}{{@{{\\extracolsep{{\\fill}}}}{columns}@{{}}}}\n"
        f"\\toprule\n{_line(table.headings)}\\midrule\n{body}\\bottomrule\n\\end{{tabular*}}\n"
    )


def floats(table: TexTable, size: Size, title: str, notes: Sequence[str], label: str) -> str:
    """The table as one float, or as several where it is too long for a page; the title is LaTeX, notes are plain text.

    Notes stand below the first one.
    """
    parts = pages(table, size)
    environment = "table" if natural_width(table, size) <= COLUMN else "table*"
    texts = []
    for number, part in enumerate(parts, 1):
        caption = title + (f" (Part {number} of {len(parts)}.)" if len(parts) > 1 else "")
        own = f"{label}-{number}" if number > 1 else label
        items = "".join(f"\\item {prose(note)}\n" for note in notes) if number == 1 else ""
        small = SCRIPT if size is SCRIPT else FOOTNOTE
        below = f"\\begin{{tablenotes}}[para,flushleft]\n\\{small.command}\n{items}\\end{{tablenotes}}\n"
        texts.append(
            f"\\begin{{{environment}}}[tbp]\n\\caption{{{caption}}}\n\\label{{{own}}}\n\\begin{{threeparttable}}\n"
            f"{tabular(part, size)}{below if items else ''}"
            f"\\end{{threeparttable}}\n\\end{{{environment}}}\n"
        )
    return "\n".join(texts)


def paragraph(heading: str, statements: Sequence[str]) -> str:
    """A paragraph for an appendix; `heading` is LaTeX, statements are plain text. Lines are ragged, none too long."""
    return f"\\paragraph{{{heading}}}\n{{\\footnotesize\\raggedright\n{chr(10).join(map(prose, statements))}\\par}}\n"


def _line(cells: Sequence[str]) -> str:
    """A line of a table. A first cell is kept apart from the line break before it, which reads * and [ as its own."""
    first = f"{{}}{cells[0]}" if cells[0].startswith(("[", "*")) else cells[0]
    return " & ".join([first, *cells[1:]]) + " \\\\\n"


def _cut_columns(table: TexTable, size: Size) -> list[float | None]:
    """For each column its width in points, None where its text stays in one line: the widest columns are cut first."""
    widths = [width * size.em for width in table.widths]
    excess = natural_width(table, size) - ARTICLE
    cut: list[float | None] = [None] * len(widths)
    for index in sorted(range(len(widths)), key=lambda index: -widths[index]):
        if excess <= 0:
            break
        points = max(table.least[index] * size.em, widths[index] - excess)
        if points < widths[index]:
            cut[index] = points
            excess -= widths[index] - points
    return cut


def pages(table: TexTable, size: Size) -> list[TexTable]:
    """The table in parts that fit a page each."""
    broken = zip(table.body, _cut_columns(table, size), strict=True)
    lines = max([1, *(ceil(width * size.em / points) for width, points in broken if points)])
    heights = [len(group) * lines * size.line + 2 for group in table.groups]
    pages = [int(height / _HEIGHT) for height in accumulate(heights)]
    return [
        replace(table, groups=[group for group, own in zip(table.groups, pages, strict=True) if own == page])
        for page in dict.fromkeys(pages)
    ] or [table]
