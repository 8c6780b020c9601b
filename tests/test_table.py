"""Tables made from records: what is marked, what is left out, and what the caption says."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from plugins import NEAREST, write
from recorded import FIT, Plan, fill, fill_subjects, find, remember, view, write_undone

import mrsr_bench
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.caption import caption_of
from mrsr_bench.reporting.data_frames import frame_of
from mrsr_bench.reporting.render import render_table
from mrsr_bench.reporting.table import Table, build_table
from mrsr_bench.store.results import Store

METHODS = {"bicubic": {}, "linear": {}, "edsr": {"preset": "tiny"}, "edsr+": {}}


@pytest.fixture
def planned(write_protocol: Callable[..., Path], tmp_path: Path) -> Plan:
    """A protocol of three methods and an ensemble at two scales, nothing run yet."""
    loaded, trainings = plan_request(Request(str(write_protocol(methods=METHODS, scales=[2, 3]))))
    return Store(tmp_path / "results"), loaded, trainings


def rows(text: str) -> list[list[str]]:
    """The body cells of the first Markdown table."""
    lines = text.split("\n\n")[0].splitlines()[2:]
    return [[part.strip() for part in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def filled(planned: Plan) -> Plan:
    fill(planned, "bicubic", "x2", 30.004, 0.96004)
    fill(planned, "linear", "x2", 32.0, 0.97)
    fill(planned, "edsr", "x2", 33.456, 0.98)
    fill(planned, "edsr+", "x2", 33.456, 0.981)
    fill(planned, "bicubic", "x3", 27.0, 0.9)
    return planned


def test_without_a_claim_nothing_is_bold_and_the_caption_says_why(filled: Plan) -> None:
    first, second = rows(render_table(build_table(view(filled)), "markdown"))
    assert first == ["T1", "x2", "30.00/0.9600", "32.00/0.9700", "33.46/0.9800", "33.46/0.9810"]
    assert second == ["T1", "x3", "27.00/0.9000", "–", "–", "–"]
    assert "Nothing is bold: no row has two columns that carry a claim" in caption_of(build_table(view(filled)))


def test_the_caption_says_what_the_figures_are_and_what_is_missing(filled: Plan) -> None:
    _, loaded, trainings = filled
    training, cell = find(trainings, "linear", "x3")
    write_undone(training.folder(filled[0], cell), training, cell, "failed", "out of luck\nTraceback")
    caption = caption_of(build_table(view(filled)))
    for text in (
        f"Protocol small, version 1, digest {loaded.digest[:12]}",
        "psnr (dB): psnr|peak=volume_minmax|per=volume|border=0|round=stored|v1",
        "ssim: ssim|dims=2|map=whole|range=volume_minmax|window=gaussian11|per=volume|border=0|round=stored|v1",
        "n = 2 test subjects",
        "Seeds: 0. With one seed, the figures describe these trained networks",
        "track equal; 30 steps of 2 LR patches 8×8 (3,840 LR pixels)",
        "edsr, edsr+ (preset tiny, blocks 8, features 32",
        "Failed: linear T1 x3 bicubic seed 0 (out of luck)",
        "Missing: edsr T1 x3",
    ):
        assert text in caption
    assert "uncommitted" not in caption


def test_stale_figures_are_left_out_and_named(filled: Plan) -> None:
    fill(filled, "linear", "x2", 99.0, 0.99, score_key="another")
    table = build_table(view(filled))
    assert rows(render_table(table, "markdown"))[0][3] == "–"
    assert "Stale: linear T1 x2" in caption_of(table)


@pytest.mark.parametrize(
    ("fold", "changes"),
    [
        ("test", {"test_data_digest": "other"}),
        ("training", {"fit": {**FIT, "train_data_digest": "other"}}),
    ],
)
def test_figures_on_other_data_are_left_out_and_named(filled: Plan, fold: str, changes: dict[str, Any]) -> None:
    fill(filled, "linear", "x2", 99.0, 0.99, **changes, written="2001-01-01T00:00:00Z")
    table = build_table(view(filled))
    first = rows(render_table(table, "markdown"))[0]
    assert [cell == "–" for cell in first[2:]] == [False, True, False, False]
    assert f"made with other {fold} data than the rest of the row: linear T1 x2" in caption_of(table)


@pytest.fixture
def seeds(write_protocol: Callable[..., Path], tmp_path: Path) -> Plan:
    """Three seeds for edsr and one for bicubic, which learns nothing; two scales, the second short of a seed."""
    methods = {"bicubic": {}, "edsr": {"preset": "tiny"}}
    loaded, trainings = plan_request(Request(str(write_protocol(methods=methods, seeds=[0, 1, 2], scales=[2, 3]))))
    plan = Store(tmp_path / "results"), loaded, trainings
    for scale in ("x2", "x3"):
        fill(plan, "bicubic", scale, 30.004, 0.9)
        for seed, psnr in enumerate((30.0, 31.0, 32.5)[: 3 if scale == "x2" else 2]):
            fill(plan, "edsr", scale, psnr, 0.9 + seed / 100, seed)
    return plan


def test_a_figure_of_several_seeds_is_their_mean_with_the_sample_standard_deviation(seeds: Plan) -> None:
    first, second = rows(render_table(build_table(view(seeds)), "markdown"))
    assert first[2:] == ["30.00/0.9000", "31.17±1.26/0.9100±0.0100"]
    assert second[3] == "30.50±0.71/0.9050±0.0071"
    assert r"31.17$\pm$1.26/0.9100$\pm$0.0100" in render_table(build_table(view(seeds)), "latex")


def test_the_spread_is_in_the_frame_and_in_csv_for_columns_of_several_seeds(seeds: Plan) -> None:
    frame = frame_of(build_table(view(seeds)))
    assert list(frame.columns) == [
        *(("bicubic", "psnr"), ("bicubic", "ssim")),
        *(("edsr", "psnr"), ("edsr", "psnr SD"), ("edsr", "ssim"), ("edsr", "ssim SD")),
    ]
    assert frame.loc[("T1", "x3"), ("edsr", "psnr")] == 30.5
    assert frame.loc[("T1", "x3"), ("edsr", "psnr SD")] == pytest.approx(0.5**0.5)
    assert (
        render_table(build_table(view(seeds)), "csv")
        .splitlines()[0]
        .endswith(",edsr psnr,edsr psnr SD,edsr ssim,edsr ssim SD,signature")
    )


def test_the_caption_says_how_many_seeds_a_figure_is_of_and_where_some_are_missing(seeds: Plan) -> None:
    lines = caption_of(build_table(view(seeds))).splitlines()
    assert (
        "Seeds: 0, 1, 2. A figure over several seeds is their mean ± their sample standard deviation (SD). "
        "3 seeds: edsr T1 x2; 2 seeds: edsr T1 x3; 1 seed, without ±: bicubic."
    ) in lines
    assert "Fewer seeds than planned: edsr T1 x3 (2 of 3)." in lines
    fill(seeds, "edsr", "x3", 32.0, 0.9, seed=2)
    caption = caption_of(build_table(view(seeds)))
    assert "3 seeds: edsr; 1 seed, without ±: bicubic." in caption
    assert "Fewer" not in caption


def test_latex_uses_booktabs_and_escapes_what_latex_reads(filled: Plan) -> None:
    text = render_table(build_table(view(filled)), "latex")
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert "33.46/0.9800" in text
    assert r"volume\_minmax" in text
    assert r"8$\times$8" in text
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert [line.count("&") for line in body.strip().splitlines()] == [5, 5]


def test_every_record_is_listed_with_its_cost_and_the_commit_that_made_it(filled: Plan) -> None:
    text = render_table(build_table(view(filled)), "markdown")
    listed = [[part.strip() for part in line.strip("|").split("|")] for line in text.split("\n\n")[2].splitlines()]
    assert listed[0][:4] == ["row", "method", "seed", "psnr"]
    cost = ["1,234,567", "5,000,000", "61.23", "0.0123", "512", "a machine", "0123456789"]
    assert ["T1 x2", "linear", "0", "32.00", *cost] in listed
    assert len(listed) == 2 + 5


def test_csv_keeps_every_digit(filled: Plan) -> None:
    from io import StringIO

    frame = pd.read_csv(StringIO(render_table(build_table(view(filled)), "csv")))
    assert list(frame["bicubic psnr"]) == [30.004, 27.0]
    assert frame["edsr+ psnr"].isna().tolist() == [False, True]


def test_a_table_needs_no_argument_after_a_run(filled: Plan, tmp_path: Path) -> None:
    store, _, _ = filled
    with pytest.raises(BenchError, match="nothing has been run yet"):
        mrsr_bench.table(results=store.results)
    remember(filled, ["bicubic", "linear"], ("2",))
    frame = mrsr_bench.table(results=store.results)
    assert list(frame.index) == [("T1", "x2")]
    assert list(frame.columns.get_level_values("method").unique()) == ["bicubic", "linear"]
    assert frame.attrs["caption"].startswith("Protocol small")
    remember(filled, ["edsr+"], ("3",))
    assert list(frame_of(build_table(store.view(None))).index) == [("T1", "x2"), ("T1", "x3")], "the protocol's order"


def test_the_columns_of_the_plan_asked_last_come_first_each_plans_in_the_order_of_the_protocol(filled: Plan) -> None:
    store, _, _ = filled
    remember(filled, ["nlm", "edsr+", "linear"], ("2",))
    remember(filled, ["edsr", "bicubic"])
    frame = frame_of(build_table(store.view(None)))
    assert list(frame.columns.get_level_values("method").unique()) == ["bicubic", "edsr", "linear", "edsr+", "nlm"]


def test_a_table_needs_no_method_file(filled: Plan, tmp_path: Path) -> None:
    store, loaded, _ = filled
    [mine] = write(tmp_path, mine=NEAREST)
    remember(filled, [mine, "bicubic"])
    trainings = plan_request(Request(str(loaded.path), [mine]))[1]
    fill((store, loaded, trainings), "mine", "x2", 29.0, 0.9)
    expected = render_table(build_table(store.view("small")), "markdown")
    Path(mine).unlink()
    assert render_table(build_table(store.view("small")), "markdown") == expected
    assert "29.00" in expected


def test_an_empty_table_is_all_missing(planned: Plan) -> None:
    table: Table = build_table(view(planned))
    assert frame_of(table).isna().all(axis=None)
    assert "Missing: bicubic T1 x2" in caption_of(table)
    assert all(cell == "–" for row in rows(render_table(table, "markdown")) for cell in row[2:])


def test_the_caption_says_once_what_columns_of_one_method_share(
    write_protocol: Callable[..., Path], tmp_path: Path
) -> None:
    options = {"wide": {"method": "edsr", "preset": "tiny", "options": {"features": 48}}, "tiny": {"method": "edsr"}}
    options["tiny"]["preset"] = "tiny"
    loaded, trainings = plan_request(Request(str(write_protocol(methods={"bicubic": {}, **options}))))
    plan = Store(tmp_path / "results"), loaded, trainings
    for label in ("bicubic", *options):
        fill(plan, label, "x2", 30.0, 0.9)
    assert (
        "Options: wide, tiny (preset tiny, blocks 8, res_scale 1.0, slices 1); wide (features 48); tiny (features 32)."
        in caption_of(build_table(view(plan))).splitlines()
    )


# --- Metrics of any kind ---------------------------------------------------------------------------------------------

MANY = {
    "psnr": {"range": "volume_minmax"},
    "ssim": {"range": "volume_minmax", "window": "gaussian11", "dims": 2, "map": "whole"},
    "hfen": {},
    "psnr_max": {"metric": "psnr", "range": "volume_max"},
}
FIGURES = {"bicubic": (30.0, 0.9, 0.30, 31.0), "linear": (32.0, 0.8, 0.20, 33.0), "edsr": (31.0, 0.7, 0.20004, 32.0)}


def table_rows(block: str) -> list[list[str]]:
    """All lines of one Markdown table, without the rule."""
    return [[part.strip() for part in line.strip("|").split("|")] for line in block.splitlines() if "|--" not in line]


@pytest.fixture
def many(write_protocol: Callable[..., Path], tmp_path: Path) -> Plan:
    """Three methods under four metrics, one of which is better the lower it is."""
    methods = {"bicubic": {}, "linear": {}, "edsr": {"preset": "tiny"}}
    loaded, trainings = plan_request(
        Request(str(write_protocol(methods=methods, scoring={"round": "stored", "metrics": MANY})))
    )
    plan = Store(tmp_path / "results"), loaded, trainings
    for label, figures in FIGURES.items():
        fill(plan, label, "x2", 0, 0, metrics=dict(zip(MANY, figures, strict=True)))
    return plan


def test_two_metrics_share_a_cell_and_the_others_have_a_line_each_below(many: Plan) -> None:
    main, below, _, records = render_table(build_table(view(many)), "markdown").split("\n\n")
    assert table_rows(main)[1] == ["T1", "x2", "30.00/0.9000", "32.00/0.8000", "31.00/0.7000"]
    assert table_rows(below) == [
        ["contrast", "scale", "metric", "bicubic", "linear", "edsr¹"],
        ["T1", "x2", "hfen", "0.3000", "0.2000", "0.2000"],
        ["T1", "x2", "psnr_max", "31.00", "33.00", "32.00"],
    ]
    assert table_rows(records)[0][:4] == ["row", "method", "seed", "psnr"]


def test_chosen_metrics_share_a_cell_in_the_order_asked_for(many: Plan) -> None:
    table = build_table(view(many), metrics=["psnr_max", "hfen", "psnr"])
    main, caption, records = render_table(table, "markdown").split("\n\n")
    assert table_rows(main)[1][2:4] == ["31.00/0.3000/30.00", "33.00/0.2000/32.00"]
    assert ": psnr_max (dB)/hfen (lower is better)/psnr (dB), mean over n = " in caption.splitlines()[0]
    assert "ssim" not in caption
    assert table_rows(records)[0][3] == "psnr_max"
    assert list(frame_of(table).columns.get_level_values("metric").unique()) == ["psnr_max", "hfen", "psnr"]


def test_a_metric_that_the_protocol_lacks_is_refused_with_those_it_has(many: Plan) -> None:
    with pytest.raises(UsageError, match=r"no metric 'hfan'\. Did you mean 'hfen'"):
        build_table(view(many), metrics=["psnr", "hfan"])


def test_the_caption_has_every_signature_and_the_direction_where_lower_is_better(many: Plan) -> None:
    caption = caption_of(build_table(view(many)))
    assert "Signatures: psnr (dB): psnr|peak=volume_minmax|" in caption
    assert "; hfen (lower is better): hfen|per=volume|border=0|round=stored|v1; psnr_max (dB): psnr|peak=" in caption


def test_the_signatures_are_in_every_format(many: Plan) -> None:
    table, signature = build_table(view(many)), "psnr|peak=volume_minmax|per=volume|border=0|round=stored|v1"
    assert signature in render_table(table, "markdown")
    escaped = signature.replace("_", r"\_").replace("|", r"\textbar\allowbreak{}")
    assert escaped in render_table(table, "latex")
    header, *lines = render_table(table, "csv").splitlines()
    assert header.endswith(",signature")
    assert all(line.endswith(f",{signature}") for line in lines)
    assert {record.signature for records in table.records.values() for record in records} == {signature}


@pytest.fixture
def special(many: Plan) -> Plan:
    """bicubic predicts one subject exactly; hfen stands for a metric that does not apply to edsr's row."""
    exact = {"one": {**dict.fromkeys(MANY, 0.9), "psnr": math.inf}, "two": {**dict.fromkeys(MANY, 0.9), "psnr": 30.0}}
    fill_subjects(many, "bicubic", exact, 0, "x2")
    fill(many, "edsr", "x2", 0, 0, metrics={**dict.fromkeys(MANY, 0.9), "hfen": math.nan})
    return many


def test_an_exact_prediction_is_named_in_the_caption_and_its_mean_is_infinite(special: Plan) -> None:
    table = build_table(view(special))
    assert "psnr is infinite for bicubic T1 x2 (one): an exact prediction. A mean over it is infinite too." in (
        caption_of(table).splitlines()
    )
    assert rows(render_table(table, "markdown"))[0][2] == "inf/0.9000"
    assert frame_of(table).loc[("T1", "x2"), ("bicubic", "psnr")] == math.inf


def test_an_infinite_difference_has_no_interval(special: Plan) -> None:
    text = render_table(build_table(view(special)), "markdown", baseline="linear")
    assert ["T1", "x2", "bicubic", "+inf", "–", "2 subjects: no claim", "2", "1, 1"] in table_rows(
        text.split("\n\n")[3]
    )


def test_a_metric_that_does_not_apply_is_a_dash_and_the_caption_says_why(special: Plan) -> None:
    table = build_table(view(special))
    assert table_rows(render_table(table, "markdown").split("\n\n")[1])[1][3:] == ["0.9000", "0.2000", "–"]
    assert "hfen: – where LR has noise or is not linear in HR." in caption_of(table).splitlines()
    assert not table.gaps
    assert math.isnan(frame_of(table).loc[("T1", "x2"), ("edsr", "hfen")])
    render_table(build_table(view(special), metrics=["hfen"]), "markdown", baseline="linear", efficiency=True)


def test_latex_has_a_second_table_that_refers_to_the_first(many: Plan) -> None:
    text = render_table(build_table(view(many)), "latex")
    assert text.count(r"\begin{tabular*}") == 2
    first, second, _ = re.split(r"\\end\{table\*?\}", text)
    assert r"\label{tab:small}" in first
    assert r"\ref{tab:small}" in second
    assert r"T1 & x2 & psnr\_max & 31.00 & 33.00 & 32.00" in text
    assert render_table(build_table(view(many), metrics=["psnr"]), "latex").count(r"\begin{tabular*}") == 1


def test_the_caption_gives_the_training_subjects_where_they_differ(
    write_protocol: Callable[..., Path], tmp_path: Path
) -> None:
    methods = {"few": {"method": "linear", "train_subjects": 2}, "linear": {}, "bicubic": {}}
    loaded, trainings = plan_request(Request(str(write_protocol(methods=methods))))
    plan = Store(tmp_path / "results"), loaded, trainings
    fill(plan, "bicubic", "x2", 30.0, 0.9, fit=None)
    fill(plan, "linear", "x2", 30.0, 0.9)
    assert "Training subjects" not in caption_of(build_table(view(plan)))
    fill(plan, "few", "x2", 30.0, 0.9)
    assert "Training subjects: 2 (few), 3 (linear)." in caption_of(build_table(view(plan))).splitlines()


# --- Quoted figures --------------------------------------------------------------------------------------------------

IXI = {"dataset": "ixi", "contrasts": ["PD"], "split": "split.csv", "plane": "axial", "crop": [96, 240, 240]}


@pytest.fixture
def published(write_protocol: Callable[..., Path], tmp_path: Path) -> Plan:
    """Four columns on IXI's PD under three degradations, one of which nobody printed."""
    methods = {"bicubic": {}, "linear": {}, "edsr": {}, "edsr-c96": {"method": "edsr", "preset": "c96"}, "poan": {}}
    degradation = [{"name": name, "round": "stored"} for name in ("bicubic", "truncation_csn")]
    noisy = {"name": "bicubic", "round": "stored", "noise": 0.05}
    protocol = write_protocol(data=IXI, methods=methods, degradation=[*degradation, noisy])
    loaded, trainings = plan_request(Request(str(protocol)))
    plan = Store(tmp_path / "results"), loaded, trainings
    for label, psnr in {"bicubic": 35.0, "linear": 38.0, "poan": 41.0}.items():
        fill(plan, label, "x2", psnr, 0.98)
    return plan


def test_a_quoted_figure_has_no_part_in_the_ties_of_a_row(published: Plan) -> None:
    for label, level in (("bicubic", 34.0), ("linear", 36.0), ("poan", 30.0)):
        metrics = ({"psnr": level + number, "ssim": 0.98} for number in range(4))
        fill_subjects(published, label, dict(zip("abcd", metrics, strict=True)), 0, "x2")
    headings, first, *_ = table_rows(
        render_table(build_table(view(published), published=True), "markdown").split("\n\n")[0]
    )
    line = dict(zip(headings, first, strict=True))
    assert (line["linear"], line["bicubic"]) == ("**37.50**ᵃ/**0.9800**ᵃ", "35.50ᵇ/**0.9800**ᵃ")
    assert line["POAN [quoted: POAN 2021]"] == "41.59/0.9901", "higher than ours"


def test_quoted_figures_have_marked_columns_of_their_own_and_are_never_the_best(published: Plan) -> None:
    headings, *lines = table_rows(
        render_table(build_table(view(published), published=True), "markdown").split("\n\n")[0]
    )
    assert headings == [
        *("degradation", "contrast", "scale"),
        *("bicubic", "Bicubic [quoted: CSN 2019]", "linear"),
        *("edsr", "edsr-c96", "EDSR (C96) [quoted: CSN 2019]"),
        *("poan¹", "POAN [quoted: POAN 2021]"),
    ]
    ours = [heading for heading in headings[3:] if "quoted" not in heading]
    first, second, third = (dict(zip(headings, line, strict=True)) for line in lines)
    assert [first[heading] for heading in ours] == [*("35.00/0.9800", "38.00/0.9800", "–", "–", "41.00/0.9800")]
    assert first["POAN [quoted: POAN 2021]"] == "41.59/0.9901", "higher than ours, and still unmarked"
    assert first["EDSR (C96) [quoted: CSN 2019]"] == "39.87/0.9857"
    assert second["degradation"] == "truncation_csn"
    assert second["Bicubic [quoted: CSN 2019]"] == "34.65/0.9625"
    assert second["POAN [quoted: POAN 2021]"] == "–"
    assert third["degradation"] == "bicubic-noise0.05"
    assert {third[heading] for heading in headings if "quoted" in heading} == {"–"}


def test_the_caption_says_whose_the_quoted_figures_are_what_is_wrong_with_them_and_where_none_apply(
    published: Plan,
) -> None:
    caption = caption_of(build_table(view(published), published=True))
    for text in (
        "Quoted, not run here: the columns marked [quoted: …] repeat the printed figures of CSN 2019 (Zhao, ",
        "; of POAN 2021 (Hu et al., ",
        "therefore not a measured gain",
        "(1) EDSR (C96) is no plain EDSR",
        "(4) POAN's figures for PD x2",
        "No figures are quoted for the columns linear.",
        "No quoted figure applies to the rows bicubic-noise0.05 PD x2.",
    ):
        assert text in caption
    assert "SRCNN" not in caption, "its error touches nothing that is shown"
    assert "uoted" not in caption_of(build_table(view(published)))


def test_quoted_columns_are_marked_in_csv_and_in_latex_too(published: Plan) -> None:
    table = build_table(view(published), published=True)
    header, first = render_table(table, "csv").splitlines()[:2]
    cells = dict(zip(header.split(","), first.split(","), strict=True))
    assert cells["poan psnr"] == "41.0"
    assert cells["POAN [quoted: POAN 2021] psnr"] == "41.59"
    latex = render_table(table, "latex")
    assert r"poan$^{1}$ & 41.00 & -- & -- \\" in latex
    assert r"POAN$^\dagger$ [POAN 2021] & 41.59 & " in latex
    assert r"the columns marked $^\dagger$ repeat" in latex


def test_a_quoted_figure_is_set_beside_the_metric_of_that_name_only(
    write_protocol: Callable[..., Path], tmp_path: Path
) -> None:
    metrics = {"psnr_max": MANY["psnr_max"], "hfen": {}, "psnr": MANY["psnr"], "ssim": MANY["ssim"]}
    protocol = write_protocol(data=IXI, scoring={"round": "stored", "metrics": metrics})
    table = build_table(view((Store(tmp_path / "results"), *plan_request(Request(str(protocol))))), published=True)
    main, below, *_ = render_table(table, "markdown").split("\n\n")
    assert table_rows(main)[0][2:] == ["bicubic", "Bicubic [quoted: CSN 2019]"]
    assert table_rows(main)[1][2:] == ["–", "35.04/0.9664"]
    assert table_rows(below) == [
        ["contrast", "scale", "metric", "bicubic"],
        ["PD", "x2", "psnr_max", "–"],
        ["PD", "x2", "hfen", "–"],
    ]


@pytest.mark.parametrize(
    ("data", "reason"), [({}, "uses 'folder'"), ({"data": {**IXI, "grid": "native"}}, "on another grid")]
)
def test_nothing_is_quoted_beside_figures_on_other_images(
    write_protocol: Callable[..., Path], tmp_path: Path, data: dict[str, Any], reason: str
) -> None:
    loaded, trainings = plan_request(Request(str(write_protocol(**data))))
    with pytest.raises(
        UsageError, match=f"no published figure can be compared .* are of 'ixi' .*{reason}.*Remove --published"
    ):
        build_table(view((Store(tmp_path / "results"), loaded, trainings)), published=True)
