"""What a table claims: letters, bold figures, contrasts fixed beforehand, and bench compare."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from recorded import Plan, fill_scores, fill_subjects, remember, view

from mrsr_bench.cli import main
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.caption import caption_of
from mrsr_bench.reporting.claims import claims, ties
from mrsr_bench.reporting.contrasts import row_contrast
from mrsr_bench.reporting.render import render_table
from mrsr_bench.reporting.statistics import SeedScores, method_estimate, paired_estimate
from mrsr_bench.reporting.table import build_table
from mrsr_bench.reporting.ties import letter_groups
from mrsr_bench.store.results import Store

METHODS = {"bicubic": {}, "linear": {}, "srcnn": {}, "edsr": {"preset": "tiny"}, "edsr+": {}}
SUBJECTS = [f"subject{number:02}" for number in range(12)]
T1_X2, T1_X3 = ("T1", "x2"), ("T1", "x3")
Make = Callable[..., Plan]


# Letters


@st.composite
def differing(draw: st.DrawFn) -> tuple[str, list[tuple[str, str]]]:
    labels = "ABCDEFG"[: draw(st.integers(1, 7))]
    pairs = list(combinations(labels, 2))
    return labels, draw(st.lists(st.sampled_from(pairs), unique=True)) if pairs else []


@given(differing())
def test_two_labels_share_a_letter_if_and_only_if_they_do_not_differ(case: tuple[str, list[tuple[str, str]]]) -> None:
    labels, pairs = case
    letters = letter_groups(labels, pairs)
    for first, second in combinations(labels, 2):
        assert bool(set(letters[first]) & set(letters[second])) == ((first, second) not in pairs)
    assert all(letters.values())
    members = [{label for label in labels if letter in letters[label]} for letter in set("".join(letters.values()))]
    assert not any(one < other for one in members for other in members), "no letter says what another one says"
    assert letters == letter_groups(labels, pairs[::-1]), "whatever the order of the pairs"
    if labels:
        assert letters[labels[0]].startswith("a")


def differ(letters: dict[str, str]) -> list[tuple[str, str]]:
    """The pairs without a common letter."""
    return [pair for pair in combinations(letters, 2) if not set(letters[pair[0]]) & set(letters[pair[1]])]


@pytest.mark.parametrize(
    "published",
    [
        # The manual of R's multcompView, dif3: B and C differ.
        {"A": "ab", "B": "a", "C": "b"},
        # The manual of R's cld: chicks' weights by feed (datasets::chickwts), pairwise Wilcoxon tests at 5 %.
        {"casein": "a", "horsebean": "b", "linseed": "bc", "meatmeal": "ac", "soybean": "c", "sunflower": "a"},
    ],
)
def test_letters_are_those_of_published_examples(published: dict[str, str]) -> None:
    assert letter_groups([*published], differ(published)) == published


# Rows


@pytest.fixture
def make(write_protocol: Callable[..., Path], tmp_path: Path) -> Make:
    """A plan of `METHODS` with three seeds at two scales, nothing run yet; `changes` replace keys of the protocol."""

    def plan(results: str = "results", **changes: Any) -> Plan:
        settings = {"methods": METHODS, "seeds": [0, 1, 2], "scales": [2, 3], **changes}
        loaded, trainings = plan_request(Request(str(write_protocol(**settings))))
        return Store(tmp_path / results), loaded, trainings

    return plan


def scores(level: float, seed: int = 0, subjects: float = 0.05, seeds: float = 0.02) -> dict[str, float]:
    """A PSNR for each subject: its own level, the same for all methods, the method's level, and chance."""
    random = np.random.default_rng([int(level * 100), seed])
    own = np.random.default_rng(0).normal(0, 2, len(SUBJECTS))
    values = level + own + random.normal(0, subjects, len(SUBJECTS)) + random.normal(0, seeds)
    return dict(zip(SUBJECTS, map(float, values), strict=True))


def record(plan: Plan, label: str, level: float, seeds: int = 3, scale: str = "x2", **chance: float) -> None:
    for seed in range(seeds):
        fill_scores(plan, label, scores(level, seed, **chance), seed, scale)


@pytest.fixture
def filled(make: Make) -> Plan:
    plan = make()
    record(plan, "bicubic", 30, 1)
    record(plan, "linear", 32, 1)
    record(plan, "srcnn", 33)
    record(plan, "edsr", 33.01)
    return plan


def test_what_cannot_be_told_from_the_best_is_bold_and_what_differs_has_no_common_letter(filled: Plan) -> None:
    tied = ties(build_table(view(filled)), T1_X2, "psnr")
    assert tied.letters == {"edsr": "a", "srcnn": "a", "linear": "b", "bicubic": "c"}
    assert tied.best == {"edsr", "srcnn"}
    first = render_table(build_table(view(filled), ["psnr"]), "markdown").splitlines()[2]
    assert [cell.strip()[-1] for cell in first.split("|")[3:-2]] == ["ᶜ", "ᵇ", "ᵃ", "ᵃ"]
    assert first.count("**") == 4
    latex = render_table(build_table(view(filled), ["psnr"]), "latex")
    assert latex.count(r"\textbf") == 2
    assert latex.count("$^{a}$") == 2


def test_the_least_gap_is_that_of_holms_first_step(filled: Plan) -> None:
    table = build_table(view(filled))
    pairs = combinations(["bicubic", "linear", "srcnn", "edsr"], 2)
    estimates = [row_contrast(table, T1_X2, *pair).method for pair in pairs]
    gaps = sorted(estimate.least_gap(0.05 / 6) for estimate in estimates if estimate)
    gap = ties(table, T1_X2, "psnr").least_gap
    assert gap == pytest.approx((gaps[2] + gaps[3]) / 2)
    assert f"T1 x2 {gap:.2f}" in caption_of(table)


def test_a_best_figure_without_a_claim_leaves_the_row_without_bold(filled: Plan) -> None:
    record(filled, "edsr+", 34, 2)
    tied = ties(build_table(view(filled)), T1_X2, "psnr")
    assert "edsr+" not in tied.letters
    assert tied.best == frozenset()


def test_fewer_seeds_than_three_carry_no_claim_about_the_method_and_keep_that_of_the_networks(make: Make) -> None:
    plan = make()
    record(plan, "linear", 32, 1)
    record(plan, "srcnn", 33, 2)
    item = row_contrast(build_table(view(plan)), T1_X2, "srcnn", "linear")
    assert item.networks is not None
    assert (item.method, item.why) == (None, "2 seeds: no claim")
    assert "| 2 seeds: no claim |" in render_table(build_table(view(plan)), "markdown", "linear")


def test_two_subjects_carry_no_interval_at_all(make: Make) -> None:
    plan = make()
    for label, level in (("bicubic", 30.0), ("linear", 31.0)):
        fill_scores(plan, label, {"anna": level, "bert": level + 0.5})
    item = row_contrast(build_table(view(plan)), T1_X2, "linear", "bicubic")
    assert (item.mean, item.networks, item.method, item.why) == (1.0, None, None, "2 subjects: no claim")


def test_an_exact_prediction_is_no_claim(make: Make) -> None:
    plan = make()
    record(plan, "bicubic", 30, 1)
    fill_scores(plan, "linear", {**scores(32), SUBJECTS[0]: float("inf")})
    item = row_contrast(build_table(view(plan)), T1_X2, "linear", "bicubic")
    assert (item.mean, item.networks, item.method, item.why) == (float("inf"), None, None, "not finite: no claim")


def test_slabs_of_one_brain_carry_no_claim(make: Make) -> None:
    plan = make(data={"dataset": "mni152", "contrasts": ["T1"], "split": "split.csv"})
    record(plan, "bicubic", 30, 1)
    record(plan, "linear", 32, 1)
    table = build_table(view(plan))
    assert ties(table, T1_X2, "psnr").letters == {}
    assert row_contrast(table, T1_X2, "linear", "bicubic").why == "subjects are not independent: no claim"
    assert "Nothing is bold and nothing is claimed" in caption_of(table)


def test_labels_of_one_training_are_paired_by_seed_and_others_are_not(filled: Plan) -> None:
    for seed in range(3):
        shifted = {subject: value + 0.1 for subject, value in scores(33.01, seed, seeds=0.3).items()}
        fill_scores(filled, "edsr", scores(33.01, seed, seeds=0.3), seed)
        fill_scores(filled, "edsr+", shifted, seed)
    table = build_table(view(filled))
    paired, apart = (row_contrast(table, T1_X2, "edsr+", other) for other in ("edsr", "srcnn"))
    arrays = {
        label: SeedScores(
            np.array([[table.scores[T1_X2, label][seed]["psnr"][name] for name in SUBJECTS] for seed in range(3)])
        )
        for label in ("edsr", "edsr+", "srcnn")
    }
    assert paired.method == paired_estimate(arrays["edsr+"], arrays["edsr"])
    assert paired.method
    assert paired.method.error < 1e-9, "one shift for all"
    assert apart.method == method_estimate(arrays["edsr+"], arrays["srcnn"])


def test_scores_of_other_subjects_are_an_error_that_names_them(filled: Plan) -> None:
    for seed in range(3):
        fill_scores(filled, "edsr", {**scores(33), "eva": 30.0}, seed)
    with pytest.raises(BenchError, match=r"edsr and linear were scored on different subjects of T1 x2: .*has eva"):
        row_contrast(build_table(view(filled)), T1_X2, "edsr", "linear")


# Contrasts fixed beforehand


FIXED = {"claims": [["edsr", "srcnn"], ["edsr", "linear"], ["edsr+", "edsr"]], "equivalence": 0.5}


@pytest.fixture
def claimed(make: Make) -> Plan:
    plan = make(report=FIXED)
    for scale, more in (("x2", 0), ("x3", -4)):
        record(plan, "linear", 32 + more, 1, scale)
        record(plan, "srcnn", 33 + more, 3, scale)
        record(plan, "edsr", 33.01 + more, 3, scale)
    return plan


def test_a_fixed_contrast_averages_each_seed_and_subject_over_the_rows_first(claimed: Plan) -> None:
    table = build_table(view(claimed))
    first, second, third = claims(table)

    def averaged(label: str, seeds: int) -> SeedScores:
        rows = [table.scores[row, label] for row in (T1_X2, T1_X3)]
        figures = [[[row[seed]["psnr"][name] for name in SUBJECTS] for seed in range(seeds)] for row in rows]
        return SeedScores(np.mean(figures, axis=0))

    assert first.contrast.method == method_estimate(averaged("edsr", 3), averaged("srcnn", 3))
    assert second.contrast.method == method_estimate(averaged("edsr", 3), averaged("linear", 1))
    assert first.contrast.rows == (T1_X2, T1_X3)
    assert [(claim.verdict, claim.equivalent) for claim in (first, second)] == [("open", True), ("better", False)]
    assert (third.verdict, third.contrast.why) == ("no claim", "no complete row")


def test_a_contrast_without_a_claim_stays_in_the_family(make: Make) -> None:
    """So that it is no easier to be better by running less than the protocol fixed."""
    pairs = [["edsr", "linear"], ["srcnn", "linear"], ["edsr+", "linear"], ["edsr", "bicubic"], ["srcnn", "bicubic"]]
    judged = []
    for fixed in (pairs[:1], pairs):
        plan = make(report={"claims": fixed}, scales=[2])
        record(plan, "linear", 32, 1)
        record(plan, "edsr", 32.08)
        judged.append(claims(build_table(view(plan))))
    alone, first = judged[0][0], judged[1][0]
    assert alone.contrast.method == first.contrast.method
    assert first.contrast.method is not None
    assert 0.01 < first.contrast.method.p_value < 0.05
    assert (alone.verdict, first.verdict) == ("better", "open")
    assert [claim.verdict for claim in judged[1][1:]] == ["no claim"] * 4


def test_only_complete_rows_are_pooled_and_they_are_named(claimed: Plan) -> None:
    folder = fill_scores(claimed, "edsr", scores(29), 2, "x3")
    (folder / "record.json").unlink()
    text = render_table(build_table(view(claimed)), "markdown")
    [line] = [line for line in text.splitlines() if "edsr − srcnn" in line]
    assert line.startswith("| T1 x2 ")
    assert "open, equivalent within ±0.5" in line
    assert "Contrasts that the protocol fixed beforehand" in text
    assert "two one-sided tests" in text


def test_claims_of_unknown_labels_or_of_one_label_are_refused_at_their_line(make: Make) -> None:
    with pytest.raises(UsageError, match=r"small\.yaml:\d+: report\.claims\.0: the protocol has no label 'ersd'\. Did"):
        make(report={"claims": [["ersd", "linear"]]})
    with pytest.raises(UsageError, match=r"report\.claims: 'edsr' is compared with itself"):
        make(report={"claims": [["edsr", "edsr"]]})
    with pytest.raises(UsageError, match=r"report\.claims: edsr and linear appears twice"):
        make(report={"claims": [["edsr", "linear"], ["linear", "edsr"]]})


# bench compare


def compare(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["compare", *arguments], catch_exceptions=False)


def remembered(plan: Plan) -> str:
    remember(plan, list(plan[1].protocol.methods))
    return str(plan[0].results)


def test_the_command_gives_both_claims_for_every_row_and_over_rows_as_json(claimed: Plan) -> None:
    done = compare("edsr", "linear", "--results", remembered(claimed), "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.output, parse_constant=pytest.fail)
    first, second = answer["rows"]
    assert (first["row"], second["row"]) == ("T1 x2", "T1 x3")
    assert (first["a"], first["b"], first["verdict"], first["equivalent"]) == ("edsr", "linear", "better", False)
    assert first["networks"].keys() == {"mean", "low", "high", "n"}
    assert first["method"].keys() == {"mean", "low", "high", "df", "seeds"}
    assert (first["networks"]["n"], first["method"]["seeds"]) == (12, [3, 1])
    assert answer["pooled"]["rows"] == ["T1 x2", "T1 x3"]
    assert answer["pooled"]["fixed_beforehand"]
    assert not json.loads(compare("srcnn", "linear", "--results", remembered(claimed), "--json").output)["pooled"][
        "fixed_beforehand"
    ]


def test_people_read_the_same_with_subjects_and_seeds_listed(claimed: Plan) -> None:
    done = compare("edsr", "srcnn", "--results", remembered(claimed), "--row", "T1 x3")
    assert done.exit_code == 0, done.output
    for text in ("edsr − srcnn", "edsr: seeds 0, 1, 2", "Subjects: 12 (subject00, ", "these trained networks", "open"):
        assert text in done.output
    assert "x2" not in done.output.split("\n\n")[0]


def test_one_label_of_two_folders_is_compared_with_itself(make: Make) -> None:
    places = []
    for number, results in enumerate(("before", "after")):
        plan = make(results)
        record(plan, "edsr", 33 + number)
        places += ["--results", remembered(plan)]
    done = compare("edsr", "edsr", *places, "--json")
    assert done.exit_code == 0, done.output
    [row] = json.loads(done.output)["rows"]
    assert row["verdict"] == "worse"
    alone = compare("edsr", "edsr", *places[:2])
    assert alone.exit_code == 1
    assert "T1 x2: 'edsr' has 3 of the 6 seeds" in alone.output
    assert "--methods edsr --seeds 0,1,2,3,4,5" in alone.output


def test_a_column_of_one_folder_is_split_in_every_way_and_each_split_is_that_of_two_methods(make: Make) -> None:
    plan = make(scales=[2], seeds=[*range(7)])
    by_seed = {seed: scores(33, seed, seeds=0.1, subjects=0.02) for seed in range(7)}
    for seed, values in by_seed.items():
        fill_scores(plan, "edsr", values, seed, "x2")
    place = ("--results", remembered(plan))
    done = compare("edsr", "edsr", *place, "--json")
    assert done.exit_code == 0, done.output
    [answer] = json.loads(done.output, parse_constant=pytest.fail)
    halves = [tuple(map(tuple, split["seeds"])) for split in answer["splits"]]
    assert len(set(halves)) == len(halves) == 10
    assert all(first[0] == 0 and sorted(first + second) == [*range(6)] for first, second in halves)
    within: dict[str, int] = {"method": 0, "networks": 0}
    for split in answer["splits"]:
        first, second = (np.array([[*by_seed[seed].values()] for seed in seeds]) for seeds in split["seeds"])
        error = np.sqrt(
            first.mean(1).var(ddof=1) / 3 + second.mean(1).var(ddof=1) / 3 + (first - second).mean(0).var(ddof=1) / 12
        )
        assert split["method"]["mean"] == pytest.approx(first.mean() - second.mean())
        low, high = split["method"]["low"], split["method"]["high"]
        assert (high + low) / 2 == pytest.approx(split["method"]["mean"])
        assert 2 * error < (high - low) / 2 < 5 * error
        for claim in within:
            within[claim] += split[claim]["low"] <= 0 <= split[claim]["high"]
    assert (answer["method_ties"], answer["network_ties"]) == (within["method"], within["networks"])
    assert within["method"] >= 9 > within["networks"]
    text = compare("edsr", "edsr", *place).output
    assert "edsr 0, 1, 2 − edsr 3, 4, 5" in text
    assert f"T1 x2: of 10 splits, {within['method']} tie by (ii) and {within['networks']} by (i)." in text


def test_what_cannot_be_compared_is_an_error_that_says_why(make: Make) -> None:
    plan = make()
    record(plan, "bicubic", 30, 1)
    record(plan, "linear", 32, 1)
    places = ("--results", remembered(plan))
    for arguments, words in (
        (("bicubic", "ersd"), "has no column 'ersd'"),
        (("bicubic", "linear", "--row", "T1 x5"), "has no row 'T1 x5'"),
        (("bicubic", "edsr"), "have figures in no common row"),
        (("linear", "linear"), "'linear' has no chance"),
        (("ersd", "ersd"), "has no column 'ersd'"),
    ):
        done = compare(*arguments, *places)
        assert done.exit_code in (1, 2)
        assert words in done.output


@pytest.mark.parametrize(
    ("changes", "digest", "words"),
    [
        (
            {"scoring": {"round": "stored", "metrics": {"psnr": {"range": "volume_max"}}}},
            "same",
            "psnr|peak=volume_max|",
        ),
        ({}, "other", "T1 x2: the two columns were scored on different test data"),
    ],
)
def test_other_conventions_and_other_data_are_not_compared(
    make: Make, changes: dict[str, Any], digest: str, words: str
) -> None:
    plan = make()
    record(plan, "linear", 32, 1)
    places = ["--results", remembered(plan)]
    other = make("other", **changes)
    fill_subjects(
        other, "linear", {name: {"psnr": 30.0, "ssim": 0.9} for name in SUBJECTS}, 0, "x2", test_data_digest=digest
    )
    done = compare("linear", "linear", *places, "--results", remembered(other))
    assert (done.exit_code, words in done.output) == (1, True), done.output
