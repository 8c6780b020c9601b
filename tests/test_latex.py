"""LaTeX that a real TeX sets: nine rows × nine methods fit a two-column page and an article."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import write_small_protocol
from hypothesis import given
from hypothesis import strategies as st
from recorded import Plan, view, write_done

from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.caption import CaptionLength
from mrsr_bench.reporting.grid import FigureGrid, GridLine, MarkedText
from mrsr_bench.reporting.latex import (
    ARTICLE,
    PAGE,
    SCRIPT,
    best_size,
    floats,
    latex,
    natural_width,
    paragraph,
    prose,
    text_table,
    with_packages,
)
from mrsr_bench.reporting.latex_layout import LAYOUTS, lay_out
from mrsr_bench.reporting.render import render_table
from mrsr_bench.reporting.selection import select
from mrsr_bench.reporting.table import Table, build_table
from mrsr_bench.store.results import Store

METHODS: dict[str, dict[str, Any]] = {
    "bicubic": {},
    "linear": {},
    "backprojection": {},
    "srcnn-published": {"method": "srcnn"},
    "vdsr": {},
    "edsr-baseline": {"method": "edsr", "preset": "tiny"},
    "rdn": {},
    "csn": {},
    "poan_normalised": {"method": "poan", "preset": "tiny"},
}
DESCRIPTION = r"100 % of ~50_000 slices, {cropped} & #1; $x^2$ \input{/etc/passwd} <b>×2</b> – “quoted”"
TWO_COLUMNS = r"\documentclass[twocolumn]{article}\usepackage[letterpaper,textwidth=516pt]{geometry}\columnsep=12pt"
ONE_COLUMN = r"\documentclass{article}"


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """Nine rows × nine methods with three seeds where there is chance; one cell has one, one has none."""
    folder = tmp_path_factory.mktemp("nine")
    data = {"dataset": "folder", "contrasts": ["PD", "T1", "T2"], "split": "split.csv", "plane": "axial"}
    claims = [["poan_normalised", "csn"], ["poan_normalised", "edsr-baseline"]]
    path = write_small_protocol(
        folder,
        data=data,
        scales=[2, 3, 4],
        methods=METHODS,
        seeds=[0, 1, 2],
        report={"claims": claims, "equivalence": 0.1},
        description=DESCRIPTION,
    )
    loaded, trainings = plan_request(Request(str(path)))
    plan: Plan = (Store(folder / "results"), loaded, trainings)
    random = np.random.default_rng(0)
    for training in trainings:
        for cell in training.cells:
            if (cell.label, cell.contrast, cell.scale, cell.seed > 0) in {
                ("csn", "PD", "x2", True),
                ("rdn", "T1", "x3", True),
                ("rdn", "T1", "x3", False),
            }:
                continue
            level = 28 + 0.8 * [*METHODS].index(cell.label) + random.normal(0, 0.05)
            scores = {f"s{n}": {"psnr": level + n / 9, "ssim": level / 40 + n / 900} for n in range(6)}
            write_done(training.folder(plan[0], cell), training, cell, scores)
    return build_table(view(plan))


def compiled(text: str, preamble: str, folder: Path) -> str:
    """Set the text in a document with the packages that its first line names; gives the log."""
    packages, body = text.split("\n", 1)
    if r"\caption" not in text and r"\begin{tabular*}" in text:
        body = "".join(f"\\begin{{table*}}{part}\\end{{table*}}\n" for part in body.split("\n\n"))
    source = f"{preamble}\n{packages.removeprefix('% ')}\n\\begin{{document}}\n{body}\n\\end{{document}}\n"
    folder.mkdir(exist_ok=True)
    (folder / "table.tex").write_text(source, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "table.tex"]
    for _ in range(2):  # the second time with the numbers of the tables
        done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
        log = (folder / "table.log").read_text(encoding="latin-1")
        assert done.returncode == 0, log[-3000:]
    return log


def faults(log: str) -> list[str]:
    """Lines that are more than a point too long, floats that are longer than a page, references to nothing."""
    long = [text for text in re.findall(r"Overfull .hbox .*", log) if float(re.findall(r"\(([\d.]+)pt", text)[0]) > 1]
    return long + re.findall(r".*(?:Float too large|Reference .* undefined).*", log)


needs_tex = pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="needs pdflatex: apt-get install texlive-latex-base texlive-latex-recommended texlive-latex-extra",
)


@pytest.mark.slow
@needs_tex
@pytest.mark.parametrize("preamble", [TWO_COLUMNS, ONE_COLUMN], ids=["two columns", "article"])
@pytest.mark.parametrize("length", ["full", "short", "none"])
@pytest.mark.parametrize("transposed", [False, True], ids=["across", "down"])
def test_nine_rows_by_nine_methods_fit(
    nine: Table, tmp_path: Path, preamble: str, length: CaptionLength, transposed: bool
) -> None:
    text = render_table(nine, "latex", "linear", efficiency=True, transposed=transposed, length=length)
    assert faults(compiled(text, preamble, tmp_path)) == []
    assert not re.search(r"\\tiny|\\fontsize|\\resizebox|\\scalebox", text)


@pytest.mark.slow
@needs_tex
@pytest.mark.parametrize("preamble", [TWO_COLUMNS, ONE_COLUMN], ids=["two columns", "article"])
@pytest.mark.parametrize(
    "chosen",
    [
        ([], ["T1 x2"]),
        (["csn"], []),
        (["csn", "vdsr", "poan_normalised"], []),
        (["bicubic", "linear", "vdsr", "rdn", "csn"], ["PD"]),
        (["bicubic", "vdsr"], ["PD x2"]),
    ],
    ids=str,
)
def test_parts_of_it_fit_too(nine: Table, tmp_path: Path, preamble: str, chosen: tuple[list[str], list[str]]) -> None:
    text = render_table(select(nine, *chosen), "latex", "bicubic", efficiency=True)
    assert faults(compiled(text, preamble, tmp_path)) == []


@pytest.mark.slow
@needs_tex
def test_what_readers_may_write_is_set_as_it_is(tmp_path: Path) -> None:
    """All of printable ASCII, at the start of a line too, and the signs that captions have."""
    printable = " ".join(map(chr, range(33, 127)))
    table = text_table(["[a]", "*b"], [["[1]", printable[:40]], ["*", printable[40:]], ["×–†±−✓¹²→≤≥…·′", "2"]])
    notes = [printable, "/a/very/long/path" * 20, "SE² = s²_A/S_A ± 5 %"]
    text = floats(table, best_size(table), prose(printable), notes, "tab:x") + paragraph(latex(printable), notes)
    assert faults(compiled(with_packages(f"{text}{'amssymb: ' + chr(92) + 'checkmark'}"), ONE_COLUMN, tmp_path)) == []


@pytest.mark.slow
@needs_tex
def test_estimated_widths_are_not_below_those_of_tex(tmp_path: Path) -> None:
    """Figures with letters and spread, labels: at every size, within a few percent."""
    samples = "33.46±0.12", "0.9805±0.0006", "backprojection", "poan_normalised", "edsr-c96", "T1 x2", "ssim_foreground"
    bold = [MarkedText("0.9805", True, raised="ab"), MarkedText("34.67", True, "±0.02", "a")]
    cells = [*map(MarkedText, samples), *bold, MarkedText("30.1", raised="¹")]
    body = "\\newdimen\\w\n"
    estimates = []
    for layout in {layout.size: layout for layout in LAYOUTS if layout.form == "line"}.values():
        for cell in cells:
            table = lay_out(FigureGrid([], [MarkedText("")], [GridLine([], [[cell]])]), layout)
            estimates.append(natural_width(table, layout.size))
            content = table.groups[0][0][0]
            body += f"{{\\{layout.size.command}\\setbox0\\hbox{{{content}}}\\typeout{{width=\\the\\wd0}}}}\n"
    log = compiled(with_packages(body), ONE_COLUMN, tmp_path)
    widths = [float(text) for text in re.findall(r"width=([\d.]+)pt", log)]
    assert len(widths) == len(estimates) == 3 * len(cells)
    for width, estimate in zip(widths, estimates, strict=True):
        assert 0.99 * width <= estimate <= 1.25 * width


# Without TeX


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(1, 90))
def test_a_table_of_text_takes_the_largest_size_that_fits_and_no_page_is_too_long(widths: list[int], rows: int) -> None:
    table = text_table(["x"] * len(widths), [["0" * width for width in widths]] * rows)
    size = best_size(table)
    if natural_width(table, SCRIPT) <= ARTICLE:
        assert natural_width(table, size) <= ARTICLE
    elif natural_width(table, SCRIPT) <= PAGE:
        assert natural_width(table, size) <= PAGE
    text = floats(table, size, "title", ["note"], "tab:x")
    parts = text.count(r"\begin{tabular*}")
    assert text.count(" \\\\\n") == rows + parts, "every line once, and headings on every page"
    assert max(part.count(" \\\\\n") for part in text.split(r"\end{tabular*}")) <= 60
    assert text.count(r"\item note") == 1
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == parts


def test_words_are_broken_into_lines_where_no_size_fits() -> None:
    table = text_table(["a", "b"], [["word " * 30, "short"]] * 3)
    text = floats(table, best_size(table), "title", [], "tab:x")
    [points] = re.findall(r"p\{([\d.]+)pt\}", text)
    assert 100 < float(points) < ARTICLE
    assert "array" in with_packages(text).splitlines()[0]
    assert "}p{" not in floats(text_table(["a"], [["word"]]), SCRIPT, "title", [], "tab:x")


@given(st.text())
def test_escaped_text_has_no_bare_special_character(text: str) -> None:
    escaped = latex(text)
    bare = re.sub(r"\\(?:[&%$#_{}]|[a-z]+(?:\\allowbreak)?\{\}|allowbreak\{\})", "", escaped)
    bare = re.sub(r"\$(?:\\[a-z]+|[<>]|-|\^\d|\^\\dagger|')\$", "", bare)
    assert not set(bare) & set("\\&%$#_{}~^")
