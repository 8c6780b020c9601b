"""Parts of a table and its forms: chosen rows and columns, methods down, check marks, files, captions, HTML."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from recorded import Plan, fill_subjects, remember, view, write_done

from mrsr_bench.cli import main
from mrsr_bench.errors import UsageError
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.caption import caption_of
from mrsr_bench.reporting.claims import claims, ties
from mrsr_bench.reporting.differences import differences, find_baseline
from mrsr_bench.reporting.efficiency import efficiencies
from mrsr_bench.reporting.grid import MarkedText
from mrsr_bench.reporting.html import document, text_html
from mrsr_bench.reporting.render import render_table
from mrsr_bench.reporting.selection import select
from mrsr_bench.reporting.table import Table, build_table
from mrsr_bench.reporting.text_tables import TextTable
from mrsr_bench.store.results import Store

METHODS: dict[str, dict[str, Any]] = {"bicubic": {}, "linear": {}, "srcnn": {}, "edsr": {"preset": "tiny"}, "vdsr": {}}
LEVELS = {"bicubic": 30.0, "linear": 32.0, "srcnn": 32.3, "edsr": 33.0, "vdsr": 33.05}
DATA = {"dataset": "folder", "contrasts": ["PD", "T1"], "split": "split.csv", "plane": "axial"}
Call = Callable[..., Result]


@pytest.fixture
def filled(write_protocol: Callable[..., Path], tmp_path: Path) -> Plan:
    """Two contrasts at two scales; three seeds of srcnn and edsr, of vdsr one in PD x2 and none elsewhere."""
    report = {"claims": [["edsr", "srcnn"]]}
    path = write_protocol(data=DATA, scales=[2, 4], methods=METHODS, seeds=[0, 1, 2], report=report)
    plan: Plan = (Store(tmp_path / "results"), *plan_request(Request(str(path))))
    random = np.random.default_rng(1)
    for training in plan[2]:
        for cell in training.cells:
            if cell.label == "vdsr" and (cell.contrast, cell.scale, cell.seed) != ("PD", "x2", 0):
                continue
            level = LEVELS[cell.label] + random.normal(0, 0.02)
            scores = {f"s{n}": {"psnr": level + n / 9, "ssim": 0.9 + n / 900} for n in range(6)}
            write_done(training.folder(plan[0], cell), training, cell, scores, macs_lr24=1000 * len(cell.label))
    return plan


@pytest.fixture
def table(filled: Plan) -> Table:
    return build_table(view(filled))


@pytest.fixture
def call(filled: Plan) -> Call:
    """The command on these results."""
    remember((filled[0], filled[1], []), [])
    return lambda *arguments: CliRunner().invoke(main, ["table", "--results", str(filled[0].results), *arguments])


def lines(text: str, block: int = 0) -> list[list[str]]:
    """The lines of one Markdown table, without the rule."""
    found = text.split("\n\n")[block].splitlines()
    return [[part.strip() for part in line.strip("|").split("|")] for line in found if "|--" not in line]


# Rows and columns


def test_columns_come_in_the_order_asked_for_and_rows_in_the_tables(table: Table) -> None:
    shown = lines(render_table(select(table, ["edsr", "bicubic"], ["T1", "PD"], ["4"]), "markdown"))
    assert [line[:2] for line in shown] == [["contrast", "scale"], ["PD", "x4"], ["T1", "x4"]]
    assert shown[0][2:] == ["edsr", "bicubic"]


@pytest.mark.parametrize(
    ("rows", "scales", "expected"),
    [
        (["PD"], [], ["PD x2", "PD x4"]),
        (["T1 x2", "PD"], [], ["PD x2", "PD x4", "T1 x2"]),
        ([], ["x2"], ["PD x2", "T1 x2"]),
        (["T1"], ["2"], ["T1 x2"]),
    ],
)
def test_rows_are_chosen_by_contrast_by_name_and_by_scale(
    table: Table, rows: list[str], scales: list[str], expected: list[str]
) -> None:
    assert [" ".join(row) for row in select(table, [], rows, scales).rows] == expected


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ((["edrs"], [], []), r"no column 'edrs'\. Did you mean 'edsr'\?"),
        (([], ["T3"], []), r"no row 'T3'\. Did you mean 'T1'\? Valid: PD, PD x2, PD x4, T1, T1 x2, T1 x4\."),
        (([], [], ["3"]), r"no scale 'x3'\. Did you mean 'x[24]'\?"),
        (([], ["T1 x2"], ["4"]), r"no row is both in T1 x2 and in x4\. Rows: PD x2"),
    ],
)
def test_unknown_names_are_refused_with_the_nearest(table: Table, chosen: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        select(table, *chosen)


@given(st.data())
def test_whatever_is_hidden_no_claim_changes(prepared: Table, data: st.DataObject) -> None:
    labels = data.draw(st.lists(st.sampled_from(prepared.labels), unique=True))
    rows = data.draw(st.lists(st.sampled_from([" ".join(row) for row in prepared.rows]), unique=True))
    part = select(prepared, labels, rows)
    for row in part.rows:
        assert ties(part, row, "psnr") == ties(prepared, row, "psnr")
    assert claims(part) == claims(prepared)
    marks = {(cell.row, cell.label): cell.optimal for cell in efficiencies(prepared)}
    assert {(cell.row, cell.label): cell.optimal for cell in efficiencies(part)} == {
        key: optimal for key, optimal in marks.items() if key[0] in part.rows and key[1] in part.labels
    }
    hidden = [label for label in prepared.labels if label not in part.labels]
    assert (f"(not shown: {', '.join(hidden)})" in caption_of(part)) == bool(hidden)
    if hidden or len(part.rows) < len(prepared.rows):
        assert "Letters, bold figures and Pareto marks are of all 5 columns of a row" in caption_of(part)
    else:
        assert "Shown: " not in caption_of(part)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Table:
    """As `table`, for a test that changes nothing."""
    from conftest import write_small_protocol

    folder = tmp_path_factory.mktemp("prepared")
    write: Any = lambda **changes: write_small_protocol(folder, **changes)  # noqa: E731
    return build_table(view(filled.__wrapped__(write, folder)))  # type: ignore[attr-defined]


def test_letters_of_a_part_tell_that_they_are_of_all_columns(table: Table) -> None:
    """edsr alone would be 'a' in any case; linear alone is 'b' or worse, since edsr is better."""
    [_, first, *_] = lines(render_table(select(table, ["linear"]), "markdown"))
    assert re.fullmatch(r"32\.\d\d[b-z]+/.*", first[2].translate(str.maketrans("ᵇᶜᵈ", "bcd")))


def test_cells_that_are_missing_are_named_if_they_are_shown(table: Table) -> None:
    assert "Missing: vdsr PD x2 bicubic seed 1" in caption_of(select(table, ["vdsr"], ["PD x2"]))
    assert "vdsr T1" not in caption_of(select(table, ["vdsr"], ["PD x2"]))
    assert "Missing" not in caption_of(select(table, ["edsr"]))


def test_the_baseline_may_be_hidden_when_it_is_asked_for(table: Table) -> None:
    part = select(table, ["edsr", "srcnn"], ["PD x2"])
    assert find_baseline(part, None) is None
    assert find_baseline(part, "linear") == "linear"
    assert [contrast.first for contrast in differences(part, "linear")] == ["edsr", "srcnn"]
    assert all(contrast.mean > 0 for contrast in differences(part, "linear"))


# Marks


def test_a_column_of_one_seed_is_marked_in_its_heading_and_a_single_figure_in_its_cell(
    filled: Plan, table: Table
) -> None:
    headings, first, *_ = lines(render_table(table, "markdown"))
    assert headings[2:] == ["bicubic", "linear", "srcnn", "edsr", "vdsr¹"]
    assert "¹: of one seed, which says nothing about the method." in caption_of(table)
    assert "¹" not in render_table(select(table, ["edsr", "bicubic"]), "markdown")
    for seed in range(3):
        figures = {f"s{number}": {"psnr": 33.0, "ssim": 0.9} for number in range(6)}
        fill_subjects_of(filled, "vdsr", "T1", figures, seed)
    headings, first, _, third, _ = lines(render_table(build_table(view(filled)), "markdown"))
    assert headings[-1] == "vdsr"
    assert first[-1].count("¹") == 2
    assert "¹" not in third[-1]


def fill_subjects_of(plan: Plan, label: str, contrast: str, scores: Any, seed: int) -> None:
    own = [training for training in plan[2] if training.cells[0].contrast == contrast]
    fill_subjects((plan[0], plan[1], own), label, scores, seed, "x2")


# Methods down


def test_methods_down_have_the_same_figures(table: Table) -> None:
    across = lines(render_table(table, "markdown"))
    down = lines(render_table(table, "markdown", transposed=True))
    assert down[0] == ["method", "PD x2", "PD x4", "T1 x2", "T1 x4"]
    figures = [[heading, *column] for heading, column in zip(across[0], zip(*across[1:], strict=True), strict=True)]
    assert down[1:] == [list(column) for column in figures[2:]]


def test_csv_with_methods_down_has_a_line_per_method_and_metric(table: Table) -> None:
    frame = pd.read_csv(io.StringIO(render_table(table, "csv", transposed=True)), index_col=[0, 1])
    assert list(frame.columns) == ["PD x2", "PD x4", "T1 x2", "T1 x4", "signature"]
    assert frame.loc[("edsr", "ssim"), "signature"].startswith("ssim|")
    assert frame.loc[("edsr", "ssim SD"), "signature"] == frame.loc[("edsr", "ssim"), "signature"]
    assert frame.loc[("edsr", "psnr"), "T1 x4"] == table.value(("T1", "x4"), table.columns[3], "psnr")


@pytest.mark.parametrize(
    ("protocol", "parts", "ticks"),
    [
        (
            "poan_table2_midslice",
            ["Point", "Patch", "Pyramid"],
            {"A-none": "", "B-point": "1", "D-pyramid": "3", "F-patch-pyramid": "23", "H-all": "123"},
        ),
        (
            "poan_table3",
            ["Channel", "Spatial"],
            {"A-none": "", "B-channel": "1", "C-spatial": "2", "D-both": "12"},
        ),
    ],
)
def test_an_ablation_of_poan_ticks_off_its_parts(
    tmp_path: Path, protocol: str, parts: list[str], ticks: dict[str, str]
) -> None:
    plan: Plan = (Store(tmp_path), *plan_request(Request(protocol)))
    for transposed in (False, True):
        shown = render_table(select(build_table(view(plan)), [*ticks]), "markdown", transposed=transposed)
        assert lines(shown)[0][: len(parts) + 1] == ["method", *parts]
        for label, *cells in lines(shown)[1:]:
            expected = ["✓" if str(number) in ticks[label] else "" for number in range(1, len(parts) + 1)]
            assert cells[: len(parts)] == expected
        assert [label for label, *_ in lines(shown)[1:]] == [*ticks]
    latex = render_table(build_table(view(plan)), "latex")
    assert "amssymb" in latex.splitlines()[0]
    assert r"\checkmark{}" in latex


def test_readings_that_differ_in_more_than_their_parts_are_no_ablation(tmp_path: Path) -> None:
    plan: Plan = (Store(tmp_path), *plan_request(Request("poan_readings_midslice")))
    assert lines(render_table(build_table(view(plan)), "markdown"))[0][:2] == ["contrast", "scale"]


# Captions


def test_captions_are_full_short_or_absent(table: Table) -> None:
    texts = {
        length: render_table(table, "markdown", "linear", True, length=length) for length in ("full", "short", "none")
    }
    assert [text.count("n = 6 test subjects") for text in texts.values()] == [1, 1, 0]
    assert ["Letters: " in text for text in texts.values()] == [True, True, False]
    assert ["Signatures: " in text for text in texts.values()] == [True, False, False]
    assert ["Difference from linear" in text for text in texts.values()] == [True, True, False]
    assert ["Satterthwaite" in text for text in texts.values()] == [True, False, False]
    assert all(text.count("| method") == texts["full"].count("| method") for text in texts.values())


def test_latex_without_a_caption_is_for_a_float_of_ones_own(table: Table) -> None:
    text = render_table(table, "latex", length="none")
    assert r"\begin{table" not in text
    assert r"\caption" not in text
    assert r"\item" not in text
    assert text.count(r"\begin{tabular*}{\linewidth}") == 2


def test_latex_has_its_key_as_notes_and_the_rest_as_a_paragraph(table: Table) -> None:
    text = render_table(table, "latex")
    float_, rest = text.split(r"\end{table*}", 1)
    assert r"\item Letters: two columns" in float_
    assert r"\item $^1$: of one seed" in float_
    assert "Signatures" not in float_
    assert r"\paragraph{Table~\ref{tab:small}.}" in rest
    assert "Signatures: psnr" in rest
    assert r"\paragraph" not in render_table(table, "latex", length="short")


# HTML


class Outline(HTMLParser):
    """The tags of a page, which must be closed in order, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_has_captions_and_scopes_and_no_script(table: Table) -> None:
    outline = Outline(render_table(table, "html", "linear", efficiency=True))
    assert outline.open == []
    names = [tag for tag, _ in outline.tags]
    assert names.count("table") == names.count("caption") == 5
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in outline.tags if tag == "th")
    assert {"script", "link", "img", "iframe"} & {*names} == set()
    assert ("meta", {"charset": "utf-8"}) in outline.tags
    assert "n = 6 test subjects" in outline.text


@given(st.text(), st.text(), st.text())
def test_no_text_becomes_a_tag(title: str, heading: str, cell: str) -> None:
    page = document(title, text_html(TextTable([heading, "x"], [[cell, cell]]), f"c{title}"))
    outline = Outline(page)
    assert [tag for tag, _ in outline.tags] == [
        *("html", "head", "meta", "meta", "title", "style", "body", "table", "caption", "thead", "tr", "th", "th"),
        *("tbody", "tr", "th", "td"),
    ]


def test_hostile_descriptions_are_text(write_protocol: Callable[..., Path], tmp_path: Path) -> None:
    hostile = "</ul><script>alert(1)</script>&amp;"
    path = write_protocol(description=hostile, methods={"bicubic": {}})
    plan: Plan = (Store(tmp_path / "results"), *plan_request(Request(str(path))))
    outline = Outline(render_table(build_table(view(plan)), "html"))
    assert hostile in outline.text
    assert "script" not in {tag for tag, _ in outline.tags}


def test_marks_have_no_text_of_their_own_in_a_cell() -> None:
    assert MarkedText("33.00").full_text == "33.00"
    assert MarkedText("POAN", source="POAN 2021").full_text == "POAN [quoted: POAN 2021]"


# The command


@pytest.mark.parametrize(
    ("name", "start"),
    [("t.md", "| contrast"), ("t.tex", r"% \usepackage{"), ("t.csv", "contrast,scale,"), ("t.HTML", "<!doctype html>")],
)
def test_the_suffix_of_a_file_is_its_format(call: Call, tmp_path: Path, name: str, start: str) -> None:
    done = call("-o", str(tmp_path / name))
    assert (done.exit_code, done.output) == (0, f"{tmp_path / name}\n")
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert text.startswith(start)
    format_ = {"md": "markdown", "tex": "latex"}.get(name[2:].lower(), name[2:].lower())
    assert call("--format", format_).output == text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "t.docx"), "must end in .md, .tex, .csv or .html: 't.docx'"),
        (("-o", "t.md", "--format", "latex"), "leave out --format"),
        (("-o", "no/such/folder/t.md"), "cannot write no/such/folder/t.md: No such file or directory"),
        (("-o", "t.csv", "--caption", "short"), "CSV holds only the main table"),
        (("--rows", "T9"), "no row 'T9'"),
        (("--flops",), "No such option"),
    ],
)
def test_what_cannot_be_written_is_refused(call: Call, arguments: tuple[str, ...], message: str) -> None:
    done = call(*arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_the_command_shows_a_part(call: Call) -> None:
    done = call("--methods", "edsr,linear", "--rows", "PD", "--scales", "2", "--transpose", "--caption", "short")
    assert [line[0] for line in lines(done.output)] == ["method", "edsr", "linear"]
    assert lines(done.output)[0] == ["method", "PD x2"]
    assert "Shown: 2 of 5 columns (not shown: bicubic, srcnn, vdsr) and 1 of 4 rows." in done.output
    assert "Signatures" not in done.output
