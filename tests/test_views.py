"""The tables below the main one: differences from a baseline, quality against computation, and their picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from recorded import FIT, Plan, fill, fill_scores, remember, view
from scipy import stats

from mrsr_bench.cli import main
from mrsr_bench.errors import UsageError
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.caption import caption_of
from mrsr_bench.reporting.differences import differences, find_baseline
from mrsr_bench.reporting.efficiency import efficiencies, pareto_optimal
from mrsr_bench.reporting.render import render_table
from mrsr_bench.reporting.table import build_table
from mrsr_bench.store.cell_files import SCORES
from mrsr_bench.store.results import Store

METHODS = {"bicubic": {}, "linear": {}, "srcnn": {}, "edsr": {"preset": "tiny"}, "edsr+": {}}
LINEAR = {"anna": 30.0, "bert": 32.0, "carl": 34.0, "dora": 31.0}
GAINS = {"anna": 1.0, "bert": 1.5, "carl": 0.5, "dora": 2.0}


def lines(block: str) -> list[list[str]]:
    """All lines of one Markdown table, without the rule."""
    return [[part.strip() for part in line.strip("|").split("|")] for line in block.splitlines() if "|--" not in line]


@pytest.fixture
def make(write_protocol: Callable[..., Path], tmp_path: Path) -> Callable[..., Plan]:
    """A plan over `METHODS`, nothing run yet; `changes` replace keys of the protocol."""

    def plan(**changes: Any) -> Plan:
        loaded, trainings = plan_request(
            Request(str(write_protocol(**{"methods": METHODS, "seeds": [0, 1], **changes})))
        )
        return Store(tmp_path / "results"), loaded, trainings

    return plan


@pytest.fixture
def filled(make: Callable[..., Plan]) -> Plan:
    """Two seeds for edsr, 0.25 dB apart from their mean; one for linear and bicubic; none for srcnn."""
    plan = make()
    fill_scores(plan, "linear", LINEAR)
    for seed in (0, 1):
        shift = 0.25 if seed else -0.25
        fill_scores(plan, "edsr", {name: LINEAR[name] + GAINS[name] + shift for name in LINEAR}, seed)
        fill_scores(plan, "edsr+", {name: LINEAR[name] + GAINS[name] + 0.5 for name in LINEAR}, seed)
    folder = fill_scores(plan, "bicubic", {name: value - 2 for name, value in LINEAR.items()})
    assert (folder / SCORES).is_file()
    return plan


# --- Differences -----------------------------------------------------------------------------------------------------


def test_a_difference_has_both_claims_and_the_mean_of_seed_averaged_scores(filled: Plan) -> None:
    by_label = {item.first: item for item in differences(build_table(view(filled)), "linear")}
    assert list(by_label) == ["bicubic", "srcnn", "edsr", "edsr+"]
    edsr = by_label["edsr"]
    assert (edsr.mean, edsr.subjects, edsr.seeds) == (1.25, ("anna", "bert", "carl", "dora"), ((0, 1), (0,)))
    assert edsr.networks is not None
    assert edsr.networks.error == pytest.approx(np.std(list(GAINS.values()), ddof=1) / 2), "paired over subjects"
    assert (edsr.method, edsr.why) == (None, "2 seeds: no claim")
    bicubic = by_label["bicubic"]
    assert bicubic.method is not None
    assert (bicubic.mean, bicubic.method.interval) == (-2.0, (-2.0, -2.0)), "no chance, and needs no seeds"


def test_differences_stand_below_the_table_with_a_caption(filled: Plan) -> None:
    table = build_table(view(filled))
    _, _, block, caption, _ = render_table(table, "markdown", "linear").split("\n\n")
    half = stats.t.ppf(0.975, 3) * np.std(list(GAINS.values()), ddof=1) / 2
    low, high = 1.25 - half, 1.25 + half
    assert lines(block) == [
        ["contrast", "scale", "method", "psnr − linear", "networks (i)", "methods (ii)", "subjects", "seeds"],
        ["T1", "x2", "bicubic", "−2.00", "[−2.00, −2.00]", "[−2.00, −2.00]", "4", "1, 1"],
        ["T1", "x2", "srcnn", "–", "–", "no figure", "–", "–"],
        ["T1", "x2", "edsr", "+1.25", f"[+{low:.2f}, +{high:.2f}]", "2 seeds: no claim", "4", "2, 1"],
        ["T1", "x2", "edsr+", "+1.75", f"[+{low + 0.5:.2f}, +{high + 0.5:.2f}]", "2 seeds: no claim", "4", "2, 1"],
    ]
    for text in ("above 0 is better", "Networks (i)", "Student's t", "Methods (ii)", "Satterthwaite", "not corrected"):
        assert text in caption
    latex = render_table(table, "latex", "linear")
    assert r"psnr $-$ linear & networks (i) & methods (ii) & subjects & seeds \\" in latex
    assert r"T1 & x2 & bicubic & $-$2.00 & [$-$2.00, $-$2.00] & [$-$2.00, $-$2.00] & 4 & 1, 1 \\" in latex
    assert r"\label{tab:small-difference}" in latex


def test_the_caption_says_where_lower_is_better(make: Callable[..., Plan]) -> None:
    plan = make(scoring={"round": "stored", "metrics": {"hfen": {}, "psnr": {"range": "volume_minmax"}}})
    assert "below 0 is better" in render_table(build_table(view(plan)), "markdown", "linear")


def test_the_baseline_is_linear_where_there_is_one_unless_another_or_none_is_asked_for(
    make: Callable[..., Plan],
) -> None:
    table = build_table(view(make()))
    assert [find_baseline(table, request) for request in (None, "edsr", "none")] == ["linear", "edsr", None]
    assert find_baseline(build_table(view(make(methods={"bicubic": {}}))), None) is None
    with pytest.raises(UsageError, match=r"no column 'ersd'\. Did you mean 'edsr'"):
        find_baseline(table, "ersd")


@pytest.mark.parametrize("content", [None, "", "subject,metric,value\nanna,psnr,30.0\n", "who,what\n"])
def test_scores_that_are_not_those_of_the_record_leave_their_figure_out_and_name_the_file(
    filled: Plan, content: str | None
) -> None:
    folder = fill_scores(filled, "edsr", LINEAR)
    (folder / SCORES).unlink()
    if content is not None:
        (folder / SCORES).write_text(content, encoding="utf-8")
    table = build_table(view(filled))
    assert f"Damaged: edsr T1 x2 bicubic seed 0 ({folder / SCORES} is damaged: it is " in caption_of(table)
    assert [record.resolved.seed for record in table.records[("T1", "x2"), "edsr"]] == [1]
    assert [item.first for item in differences(table, "linear")] == ["bicubic", "srcnn", "edsr", "edsr+"]


# --- Quality against computation -------------------------------------------------------------------------------------


@pytest.fixture
def counted(make: Callable[..., Plan]) -> Plan:
    """srcnn is small and worst, edsr larger and better; poan larger still and no better; edsr+ eight times edsr."""
    methods = {"linear": {}, "edsr": {"preset": "tiny"}, "edsr+": {}, "srcnn": {}, "poan": {"preset": "tiny"}}
    data = {"dataset": "folder", "contrasts": ["T1"], "split": "split.csv", "plane": "axial", "crop": [2, 24, 24]}
    plan = make(methods=methods, training={"track": "equal", **BUDGET}, data=data)
    costs = [
        {
            "fit": {**FIT, "seconds": 3600.0, "threads": 4},
            "seconds_per_volume": 0.0123,
            "peak_memory_bytes": 700_000_000,
        },
        {"fit": {**FIT, "seconds": 7200.0, "threads": 2}, "seconds_per_volume": 0.0063},
    ]
    for seed, cost in enumerate(costs):
        fill(plan, "edsr", "x2", 33.0 + seed, 0.9, seed, macs_lr24=100_000_000, **cost)
    fill(plan, "edsr+", "x2", 33.6, 0.9, macs_lr24=100_000_000)
    fill(plan, "srcnn", "x2", 32.0, 0.9, macs_lr24=7_250_000)
    fill(plan, "poan", "x2", 33.4, 0.9, macs_lr24=400_000_000)
    fill(plan, "linear", "x2", 34.0, 0.9, fit=None, macs_lr24=None)
    return plan


BUDGET = {"steps": 1000, "batch": 8, "lr_patch": 48, "augment": "dihedral", "lr": 1e-3}


def test_quality_against_computation_is_sorted_by_computation_and_marks_the_optimal_methods(counted: Plan) -> None:
    table = build_table(view(counted))
    *_, block, caption, records = render_table(table, "markdown", efficiency=True).split("\n\n")
    assert lines(block) == [
        [
            *("row", "method", "psnr", "parameters", "MACs (LR 24×24)", "training MACs", "training h", "ms/slice"),
            *("peak MB", "Pareto"),
        ],
        ["T1 x2", "srcnn", "32.00", "1.23 M", "7.25 M", "696 G", "0.0170", "6.17", "512", "yes"],
        ["T1 x2", "edsr", "33.50±0.71", "1.23 M", "100 M", "9.60 T", "1.50", "4.65", "700", "yes"],
        ["T1 x2", "poan", "33.40", "1.23 M", "400 M", "38.4 T", "0.0170", "6.17", "512", "no"],
        ["T1 x2", "edsr+", "33.60", "1.23 M", "800 M", "9.60 T", "0.0170", "6.17", "512", "yes"],
        ["T1 x2", "linear", "34.00", "–", "–", "–", "–", "6.17", "512", "–"],
    ]
    assert "an estimate for one seed, 3 forward passes × steps × batch × LR pixels" in caption
    assert "MACs are not counted for linear; the Pareto column leaves them out." in caption
    assert "of the machine as much as of the method: a machine, 2 threads (linear, edsr+, srcnn, poan)" in caption
    assert "; a machine, 2 threads, 4 in the fit or a machine, 2 threads (edsr)." in caption
    assert ["T1 x2", "edsr+", "0", "33.60", "1,234,567", "800,000,000"] in [line[:6] for line in lines(records)]
    latex = render_table(table, "latex", efficiency=True)
    assert r"T1 x2 & edsr & 33.50$\pm$0.71 & 1.23 M & 100 M & 9.60 T & 1.50 & 4.65 & 700 & yes \\" in latex
    assert r"\label{tab:small-efficiency}" in latex


def test_where_lower_is_better_the_lowest_are_optimal(make: Callable[..., Plan]) -> None:
    plan = make(scoring={"round": "stored", "metrics": {"hfen": {}}})
    for label, hfen, macs in (("srcnn", 0.3, 10), ("edsr", 0.2, 20)):
        fill(plan, label, "x2", 0, 0, metrics={"hfen": hfen}, macs_lr24=macs)
    assert [(cost.label, cost.optimal) for cost in efficiencies(build_table(view(plan)))] == [
        ("srcnn", True),
        ("edsr", True),
    ]


POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=10)


@given(POINTS)
def test_the_optimal_points_are_those_that_no_other_beats_and_every_other_is_beaten_by_one_of_them(
    points: list[tuple[int, int]],
) -> None:
    optimal = [point for point, best in zip(points, pareto_optimal(points), strict=True) if best]
    rest = [point for point, best in zip(points, pareto_optimal(points), strict=True) if not best]
    assert bool(optimal) == bool(points)
    for point in optimal:
        assert not any(rival != point and rival[0] <= point[0] and rival[1] <= point[1] for rival in points)
    for point in rest:
        assert any(rival != point and rival[0] <= point[0] and rival[1] <= point[1] for rival in optimal)


# --- The caption's budget --------------------------------------------------------------------------------------------


def test_the_caption_gives_the_shared_budget_once_and_what_differs_by_label(make: Callable[..., Plan]) -> None:
    methods = {"linear": {}, "srcnn": {"lr": 2.5e-4}, "edsr": {"preset": "tiny"}, "edsr+": {}}
    training = {"schedule": "cosine", "schedule_args": {"warmup_epochs": 50, "min_lr": 1e-6}, "clip_norm": 1.0}
    plan = make(methods=methods, training={"track": "equal", **BUDGET, **training})
    for label in methods:
        fill(plan, label, "x2", 30.0, 0.9)
    statements = caption_of(build_table(view(plan))).splitlines()
    for statement in (
        "Budget: track equal; 1,000 steps of 8 LR patches 48×48 (18,432,000 LR pixels); augmentation dihedral; "
        "loss l1; optimiser adam; schedule cosine (min_lr 1e-6, warmup_epochs 50); gradient norm clipped at 1; "
        "precision 32-true.",
        "By label: its layers' own learning rates ignored (srcnn).",
        "Learning rates: srcnn 2.5e-4, edsr 1e-3; set by the protocol for the label, not searched for (srcnn); set by "
        "the protocol for all, not searched for (edsr).",
        "Validation: every 10 steps, on at most 2 centre crops of 12×12 LR pixels. The weights with the "
        "best mean PSNR on these crops are kept. The test set is read once, after training.",
        "Inference: whole slices.",
    ):
        assert statement in statements


def test_the_caption_says_which_labels_upscale_in_tiles(make: Callable[..., Plan]) -> None:
    plan = make(inference={"tile": 16, "overlap": 4})
    for label in METHODS:
        fill(plan, label, "x2", 30.0, 0.9)
    assert "Inference: tiles of 16 with overlap 4 LR pixels." in caption_of(build_table(view(plan))).splitlines()
    fill(plan, "srcnn", "x2", 30.0, 0.9, inference=None)
    assert (
        "Inference: whole slices (srcnn); tiles of 16 with overlap 4 LR pixels (edsr, edsr+)."
        in caption_of(build_table(view(plan))).splitlines()
    )


def test_samples_of_several_slices_count_the_pixels_of_all(make: Callable[..., Plan]) -> None:
    methods = {"edsr": {"preset": "tiny"}, "deep": {"method": "edsr", "preset": "tiny", "options": {"slices": 4}}}
    plan = make(methods=methods, training={"track": "published"})
    for label in methods:
        fill(plan, label, "x2", 30.0, 0.9)
    assert (
        "By label: 300,000 steps of 16 LR patches 48×48 (11,059,200,000 LR pixels) (edsr); "
        "300,000 steps of 16 LR patches 4×48×48 (44,236,800,000 LR pixels) (deep)."
    ) in caption_of(build_table(view(plan))).splitlines()


def test_the_caption_says_how_all_networks_start_and_which_precision_fast_was(make: Callable[..., Plan]) -> None:
    training = {"start": "bicubic", "precision": "fast", "streams": "row"}
    plan = make(methods={"edsr": {"preset": "tiny"}, "vdsr": {}}, training={"track": "equal", **BUDGET, **training})
    for label in ("edsr", "vdsr"):
        fill(plan, label, "x2", 30.0, 0.9, fit={**FIT, "precision": "bf16-mixed"})
    [budget] = [line for line in caption_of(build_table(view(plan))).splitlines() if line.startswith("Budget: ")]
    assert (
        "precision fast (bf16-mixed); start bicubic: network output + bicubic, last layer 0 at step 0; a departure "
        "from every paper here; a seed's random streams differ between rows."
    ) in budget


def test_the_caption_names_the_trainings_whose_curves_fell_or_were_still_rising(make: Callable[..., Plan]) -> None:
    plan = make(methods={"edsr": {}, "edsr+": {}, "vdsr": {}, "rdn": {}, "csn": {}, "poan": {}})
    curves = {
        "edsr": {"validation_fall": 0.72, "late_gain": 0.1},
        "edsr+": {"validation_fall": 0.72, "late_gain": 0.1},
        "vdsr": {"validation_fall": 0.5, "late_gain": 0.0},
        "rdn": {"validation_fall": 0.0, "late_gain": None},
        "csn": {},
        "poan": {"validation_fall": 1.26, "late_gain": 0.21},
    }
    for label, figures in curves.items():
        fill(plan, label, "x2", 30.0, 0.9, fit={**FIT, **figures})
    assert (
        "Training curves: edsr T1 x2 seed 0 fell 0.7 dB below its earlier best; poan T1 x2 seed 0 fell 1.3 dB below "
        "its earlier best and still gained 0.2 dB in the last fifth."
    ) in caption_of(build_table(view(plan))).splitlines()


def test_the_caption_says_nothing_of_curves_that_are_in_order(make: Callable[..., Plan]) -> None:
    plan = make()
    fill(plan, "edsr", "x2", 30.0, 0.9, fit={**FIT, "validation_fall": 0.4, "late_gain": 0.05})
    assert "Training curves" not in caption_of(build_table(view(plan)))


def test_without_a_trained_network_the_caption_gives_no_training_settings(make: Callable[..., Plan]) -> None:
    plan = make()
    fill(plan, "linear", "x2", 30.0, 0.9)
    caption = caption_of(build_table(view(plan)))
    assert "Budget: track equal; the training loop trained no network." in caption
    assert "Learning rate" not in caption
    assert "Inference" not in caption


# --- The command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_differences_by_default_and_the_rest_when_asked(filled: Plan, tmp_path: Path) -> None:
    store, loaded, _ = filled
    remember((store, loaded, []), [])

    def call(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["table", "--results", str(store.results), *arguments])
        return done.exit_code, done.output

    assert "psnr − linear" in call()[1]
    assert "psnr − edsr" in call("--against", "edsr")[1]
    assert "Difference from" not in call("--against", "none")[1]
    assert "Pareto" not in call()[1]
    assert "Pareto" in call("--efficiency")[1]
    assert call("--format", "csv")[0] == 0
    for options in (["--efficiency"], ["--against", "edsr"], ["--caption", "short"]):
        code, text = call("--format", "csv", *options)
        assert code == 2, text
        assert "CSV holds only the main table" in text
