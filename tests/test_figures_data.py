"""Figures of data: curves, quality, subjects, spectra and ranks show what records hold, and name what they lack."""

from __future__ import annotations

import html
import math
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from figure_records import NETWORKS, STEPS, fill_plan, make_plan
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import Plan, fill_subjects, find

from mrsr_bench.cli import main
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.figures import curves, quality, radial, ranks, subjects
from mrsr_bench.figures.axes import short_text
from mrsr_bench.figures.labels import short_names, shortened
from mrsr_bench.figures.lettering import printable
from mrsr_bench.figures.picture import Picture, write_picture
from mrsr_bench.figures.placement import Box, around, placed
from mrsr_bench.planning.planner import make_plan as plan_of
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.efficiency import efficiencies
from mrsr_bench.reporting.table import Table, build_table
from mrsr_bench.reporting.ties import letter_groups
from mrsr_bench.store.cell_files import RADIAL
from mrsr_bench.store.plan import View, add_plan
from mrsr_bench.store.record import Checksums
from mrsr_bench.store.series import TrainingCurve, read_curve, read_radial
from mrsr_bench.system.files import DamagedFile
from mrsr_bench.system.training_states import CURVE

FIGURES = {"curves": curves, "quality": quality, "subjects": subjects, "radial": radial, "ranks": ranks}
METHODS: dict[str, Any] = {"bicubic": {}, "linear": {}, **NETWORKS, "edsr+": {}}
ODD = ("我的方法", "$x_1$", "_hidden", "a" * 120)

Maker = Callable[..., Plan]


@pytest.fixture
def make(write_protocol: Callable[..., Path], tmp_path: Path) -> Maker:
    def plan(methods: dict[str, Any] = METHODS, files: tuple[str, ...] = (), **changes: Any) -> Plan:
        return make_plan(write_protocol, tmp_path, methods, files, **changes)

    return plan


def table_of(plan: Plan, *asked: str) -> Table:
    store, loaded, trainings = plan
    request = Request(str(loaded.path), list(asked))
    return build_table(View(store.runs / loaded.folder, (plan_of(request, loaded, trainings),)))


def texts(picture: Picture, folder: Path) -> list[str]:
    """What the figure says, a line each."""
    write_picture(picture, folder / "figure.svg")
    found = re.findall(r"<text[^>]*>([^<]*)</text>", (folder / "figure.svg").read_text(encoding="utf-8"))
    return [html.unescape(text) for text in found]


# All figures


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_drawn_the_same_twice_and_names_its_methods_and_what_is_missing(
    make: Maker, tmp_path: Path, name: str
) -> None:
    plan = make(scales=[2, 3])
    fill_plan(plan, lambda cell: (cell.label, cell.scale) != ("poan", "x3") and (cell.label, cell.seed) != ("srcnn", 2))
    table = table_of(plan)
    said = texts(FIGURES[name].draw(table), tmp_path)
    assert said == texts(FIGURES[name].draw(table), tmp_path)
    assert {"T1 x2", "T1 x3", "srcnn", "edsr", "poan"} <= set(said)
    note = " ".join(said)
    assert "Missing: srcnn T1 x2 bicubic seed 2;" in note
    assert "poan T1 x3 bicubic seeds 0, 1, 2" in note


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_to_draw_is_an_error_that_says_what_to_do(make: Maker, name: str) -> None:
    with pytest.raises(BenchError, match="bench run"):
        FIGURES[name].draw(table_of(make()))


@pytest.mark.parametrize("name", FIGURES)
def test_one_network_of_one_seed_is_enough(make: Maker, tmp_path: Path, name: str) -> None:
    plan = make({"linear": {}, "edsr": {"preset": "tiny"}}, seeds=[0])
    fill_plan(plan)
    assert "edsr" in texts(FIGURES[name].draw(table_of(plan)), tmp_path)


@pytest.mark.parametrize("name", FIGURES)
def test_labels_in_any_script_and_of_any_length_are_drawn(make: Maker, tmp_path: Path, name: str) -> None:
    plan = make({"linear": {}}, ODD)
    fill_plan(plan)
    said = texts(
        FIGURES[name].draw(table_of(plan, "linear", *(str(tmp_path / f"{name}.py") for name in ODD))), tmp_path
    )
    assert {"$x_1$", "_hidden"} <= set(said)
    assert any(text.startswith("aaa") and "…" in text for text in said)
    assert any(text.startswith("\\u6211") for text in said)


@pytest.mark.parametrize("name", FIGURES)
def test_an_exact_prediction_spoils_no_figure(make: Maker, tmp_path: Path, name: str) -> None:
    plan = make()
    fill_plan(plan)
    exact = {f"subject{number:02}": {"psnr": math.inf, "ssim": 1.0} for number in range(12)}
    fill_subjects(plan, "bicubic", exact, 0, "x2")
    said = texts(FIGURES[name].draw(table_of(plan)), tmp_path)
    assert "edsr" in said
    assert name != "quality" or "Infinite: bicubic T1 x2." in said
    assert name != "ranks" or {"bicubic", "inf"} <= set(said)


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("ending", ["pdf", "png"])
def test_the_command_writes_the_figure(make: Maker, tmp_path: Path, name: str, ending: str) -> None:
    plan = make()
    fill_plan(plan)
    request = Request(str(plan[1].path))
    add_plan(plan[0].runs / plan[1].folder, plan_of(request, plan[1], plan[2]))
    path = tmp_path / f"a.{ending}"
    done = CliRunner().invoke(main, ["figure", name, "--results", str(plan[0].results), "-o", str(path)])
    assert (done.exit_code, done.output.strip()) == (0, str(path)), done.output
    assert path.read_bytes().startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[ending])


def test_no_figure_is_wider_than_a_page_and_one_row_fits_a_column(make: Maker) -> None:
    plan = make(scales=[2, 3, 4], data={"dataset": "folder", "contrasts": ["T1", "T2"], "split": "split.csv"})
    fill_plan(plan, lambda cell: cell.seed == 0)
    for module in FIGURES.values():
        width, height = module.draw(table_of(plan)).figure.get_size_inches()
        assert (width, height < 10) == (7.16, True), module.__name__
    single = make()
    fill_plan(single)
    assert {module.draw(table_of(single)).figure.get_size_inches()[0] for module in FIGURES.values()} == {3.5}


# Series of a cell


def test_a_series_that_is_not_the_recorded_one_is_damage_and_an_absent_one_is_none(make: Maker) -> None:
    plan = make()
    fill_plan(plan)
    table = table_of(plan)
    record = table.records[("T1", "x2"), "edsr"][0]
    training, cell = find(plan[2], "edsr", "x2")
    folder = training.folder(plan[0], cell)
    curve = read_curve(folder, record)
    assert curve is not None
    assert curve.steps.tolist() == list(STEPS)
    assert np.isfinite(curve.psnr).sum() == 2
    energies = read_radial(folder, record)
    assert energies is not None
    assert energies.shape == (68, 3)
    for name, read in ((CURVE, read_curve), (RADIAL, read_radial)):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content + b"\n")
        with pytest.raises(DamagedFile, match="not the file that the record names"):
            read(folder, record)
        (folder / name).unlink()
        assert read(folder, record) is None
    unnamed = record.model_copy(update={"checksums": Checksums(scores="")})
    assert (read_curve(folder, unnamed), read_radial(folder, unnamed)) == (None, None)


# Curves


def curve_of(losses: list[float]) -> TrainingCurve:
    steps = 5 * np.arange(1, len(losses) + 1)
    return TrainingCurve(steps, np.array(losses), np.full(len(losses), np.nan))


@settings(deadline=None)
@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=300))
def test_the_points_of_a_loss_line_hold_every_step_once(losses: list[float]) -> None:
    line = curves.loss_line("a", [curve_of(losses)])
    assert len(line.positions) <= 41
    assert line.positions[-1] == 5 * len(losses)
    weights = np.diff(line.positions, prepend=0)
    assert np.average(line.values[0], weights=weights) == pytest.approx(np.mean(losses))


def test_a_row_without_a_loss_is_left_out_of_the_mean() -> None:
    losses = [1.0, math.nan, 3.0, math.nan] * 30
    line = curves.loss_line("a", [curve_of(losses)])
    assert np.isfinite(line.values).all()
    assert 1 <= line.values.min() <= line.values.max() <= 3


def test_a_curve_is_the_mean_of_the_seeds_over_steps_and_over_lr_pixels(make: Maker) -> None:
    plan = make({"linear": {}, "edsr": {"preset": "tiny"}})
    fill_plan(plan)
    drawn = {over: curves.draw(table_of(plan), over).figure.axes for over in ("steps", "pixels")}
    above, below = (axes.lines[0] for axes in drawn["steps"])
    assert above.get_xdata().tolist() == list(STEPS)
    assert below.get_xdata().tolist() == [15, 30]
    seeds = []
    for seed, record in enumerate(table_of(plan).records[("T1", "x2"), "edsr"]):
        training, cell = find(plan[2], "edsr", "x2", seed)
        seeds.append(read_curve(training.folder(plan[0], cell), record))
    for line, values in (
        (above, [seed.losses for seed in seeds if seed]),
        (below, [seed.psnr for seed in seeds if seed]),
    ):
        mean = np.mean(values, axis=0)
        assert line.get_ydata() == pytest.approx(mean[np.isfinite(mean)])
    assert len(below.axes.collections) == 1, "a band from the least to the greatest"
    pixels = 2 * 8**2  # batch × patch²
    assert drawn["pixels"][1].lines[0].get_xdata().tolist() == [15 * pixels, 30 * pixels]
    assert "LR pixels" in drawn["pixels"][1].get_xlabel()


def test_there_is_no_line_for_methods_that_the_loop_did_not_train_nor_for_a_self_ensemble(make: Maker) -> None:
    plan = make()
    fill_plan(plan)
    figure = curves.draw(table_of(plan)).figure
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(NETWORKS)
    assert [len(axes.lines) for axes in figure.axes] == [3, 3]


def test_a_missing_curve_is_named_and_a_damaged_one_takes_its_cell_with_it(make: Maker, tmp_path: Path) -> None:
    plan = make()
    fill_plan(plan)
    for label, seed in (("edsr", 1), ("poan", 2)):
        training, cell = find(plan[2], label, "x2", seed)
        path = training.folder(plan[0], cell) / CURVE
        path.unlink() if label == "edsr" else path.write_text("step,loss\n", encoding="utf-8")
    note = " ".join(texts(curves.draw(table_of(plan)), tmp_path))
    assert "No curve: edsr T1 x2 seed 1." in note
    assert "Damaged: poan T1 x2 bicubic seed 2." in note
    assert str(tmp_path) not in note, "a figure tells nobody's paths"


def test_a_deep_fall_does_not_flatten_the_panel_and_is_named() -> None:
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    steps = np.arange(20)
    fallen = np.where(steps == 7, -10.0, 30 + steps / 10)
    lines = [curves.Line("calm", steps, 30 + steps[None] / 10), curves.Line("wild", steps, fallen[None])]
    assert curves._cut_falls(axes, lines) == ["wild"]
    assert axes.get_ylim()[0] > 25
    assert curves._cut_falls(Figure().subplots(), lines[:1]) == []


# Quality


def test_quality_against_parameters_has_a_pareto_line_of_its_own(make: Maker) -> None:
    plan = make()
    fill_plan(plan)
    table = table_of(plan)
    optimal = {
        against: [cell.label for cell in efficiencies(table, against) if cell.optimal]
        for against in ("macs", "parameters")
    }
    assert optimal["macs"] == ["srcnn", "edsr", "poan"], "edsr+ is dear and poan better"
    figure = quality.draw(table, "parameters").figure
    assert figure.axes[0].get_xlabel() == "parameters"
    drawn = figure.axes[0].lines[0].get_xdata().tolist()
    assert drawn == [cell.parameters for cell in efficiencies(table, "parameters") if cell.optimal]


def test_names_that_find_no_room_are_in_a_legend(make: Maker) -> None:
    tiny = {"method": "edsr", "preset": "tiny"}
    plan = make({"linear": {}, **{f"a-rather-long-name-{number:02}": tiny for number in range(40)}}, seeds=[0])
    fill_plan(plan)
    figure = quality.draw(table_of(plan)).figure
    assert len(figure.legends[0].get_texts()) == 40
    assert [text.get_text() for text in figure.axes[0].texts] == ["linear"]


def test_names_in_a_panel_do_not_overlap(make: Maker) -> None:
    tiny = {"method": "edsr", "preset": "tiny"}
    plan = make({"linear": {}, "bicubic": {}, **{f"net{number:02}": tiny for number in range(12)}}, seeds=[0])
    fill_plan(plan)
    figure = quality.draw(table_of(plan)).figure
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text()]
    assert len(boxes) == 14
    assert not any(first.overlaps(second) for number, first in enumerate(boxes) for second in boxes[:number])


points = st.tuples(st.floats(0, 200), st.floats(0, 150))


@settings(deadline=None, max_examples=60)
@given(st.lists(points, min_size=1, max_size=12), st.floats(5, 60), st.floats(4, 12))
def test_placed_names_keep_clear_of_all_else(places: list[tuple[float, float]], width: float, height: float) -> None:
    frame = Box(-20, -20, 220, 170)
    obstacles = [Box(x - 3, y - 3, x + 3, y + 3) for x, y in places]
    chosen = placed([around(x, y, 3, width, height) for x, y in places], obstacles, frame)
    if chosen is None:
        return
    for number, place in enumerate(chosen):
        assert place.box.lies_in(frame)
        assert not any(place.box.overlaps(other) for other in obstacles)
        assert not any(place.box.overlaps(other.box) for other in chosen[:number])
        assert not any(other.leader and place.box.is_crossed(*other.leader) for other in chosen)


def test_a_name_lies_beside_its_point_where_there_is_room() -> None:
    chosen = placed([around(50, 50, 3, 20, 8)], [Box(47, 47, 53, 53)], Box(0, 0, 100, 100))
    assert chosen is not None
    assert chosen[0].leader is None
    assert placed([around(50, 50, 3, 200, 8)], [], Box(0, 0, 100, 100)) is None


# Subjects


def test_a_dot_is_a_subject_and_the_bars_are_the_two_intervals(make: Maker) -> None:
    from mrsr_bench.reporting.contrasts import column_scores, row_contrast

    plan = make()
    fill_plan(plan)
    table, row = table_of(plan), ("T1", "x2")
    axes = subjects.draw(table).figure.axes[0]
    place = [text.get_text() for text in axes.get_yticklabels()].index("edsr")
    own = [line for line in axes.lines[1:] if abs(np.mean(line.get_ydata()) - place) < 0.5]
    dots, networks, methods = own
    scores = {label: column_scores(table, row, label, "psnr") for label in ("edsr", "linear")}
    values = scores["edsr"].scores.averaged - scores["linear"].scores.averaged  # type: ignore[union-attr]
    assert dots.get_xdata() == pytest.approx(np.sort(values))
    item = row_contrast(table, row, "edsr", "linear")
    assert item.networks is not None
    assert item.method is not None
    assert tuple(networks.get_xdata()) == item.networks.interval
    assert tuple(methods.get_xdata()) == item.method.interval


def test_subjects_say_which_intervals_are_not_there(make: Maker, tmp_path: Path) -> None:
    plan = make({"linear": {}, "edsr": {"preset": "tiny"}, "srcnn": {}})
    fill_plan(plan, lambda cell: (cell.label, cell.seed) != ("edsr", 1))
    assert "No interval (ii): edsr (2 seeds)." in " ".join(texts(subjects.draw(table_of(plan)), tmp_path))


def test_subjects_without_a_baseline_or_with_an_unknown_one_are_wrong_usage(make: Maker) -> None:
    plan = make({"bicubic": {}, "edsr": {"preset": "tiny"}})
    fill_plan(plan)
    with pytest.raises(UsageError, match="--against"):
        subjects.draw(table_of(plan))
    with pytest.raises(UsageError, match=r"no column 'edr'\. Did you mean 'edsr'"):
        subjects.draw(table_of(plan), "edr")
    assert subjects.draw(table_of(plan), "bicubic").figure.axes[0].get_xlabel() == "PSNR (dB) minus that of bicubic"


# Radial


def test_radial_lines_are_the_error_by_the_truth_and_the_nyquist_frequency_is_marked(make: Maker) -> None:
    plan = make(scales=[2, 3])
    fill_plan(plan)
    figure = radial.draw(table_of(plan)).figure
    for axes, scale in zip(figure.axes, (2, 3), strict=True):
        assert axes.lines[-1].get_xdata() == [1 / (2 * scale)] * 2
        line = axes.lines[0]
        frequencies = np.asarray(line.get_xdata())
        assert frequencies.min() > 1 / 96
        assert frequencies.max() <= 0.5
        assert line.get_ydata() == pytest.approx(np.clip(np.exp(40 * (frequencies - 0.25)), 1e-6, 1))


def test_cells_without_a_spectrum_are_named(make: Maker, tmp_path: Path) -> None:
    plan = make()
    fill_plan(plan)
    training, cell = find(plan[2], "edsr", "x2", 0)
    (training.folder(plan[0], cell) / RADIAL).unlink()
    assert "No error by frequency: edsr T1 x2 seed 0." in " ".join(texts(radial.draw(table_of(plan)), tmp_path))


# Ranks


@settings(deadline=None)
@given(st.integers(1, 9), st.data())
def test_bars_join_exactly_what_shares_a_letter_and_do_not_overlap_in_a_column(count: int, data: st.DataObject) -> None:
    labels = [f"m{number}" for number in range(count)]
    pairs = [(first, second) for place, first in enumerate(labels) for second in labels[place + 1 :]]
    differing = [pair for pair in pairs if data.draw(st.booleans())]
    letters = letter_groups(labels, differing)
    found = ranks.bars(labels, letters)
    for first, second in pairs:
        places = {labels.index(first), labels.index(second)}
        assert any(places <= set(bar.places) for bar in found) == ((first, second) not in differing)
    for number, bar in enumerate(found):
        for other in found[:number]:
            apart = bar.places[-1] < other.places[0] or other.places[-1] < bar.places[0]
            assert apart or bar.column != other.column


def test_more_than_26_letters_keep_their_strokes() -> None:
    assert ranks.bars(["x", "y"], {"x": "za′", "y": "a′"}) == [ranks.Bar("z", (0,), 0), ranks.Bar("a′", (0, 1), 1)]


def test_ranks_are_sorted_and_a_row_without_claims_says_so(make: Maker, tmp_path: Path) -> None:
    plan = make({"bicubic": {}, "linear": {}, "edsr": {"preset": "tiny"}})
    fill_plan(plan, lambda cell: cell.seed == 0)
    axes = ranks.draw(table_of(plan)).figure.axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["edsr", "linear", "bicubic"]
    said = texts(ranks.draw(table_of(plan)), tmp_path)
    assert "Hollow: no claim." in " ".join(said)
    alone = make({"edsr": {"preset": "tiny"}})
    fill_plan(alone, lambda cell: cell.seed == 0)
    assert "T1 x2 (no claims)" in texts(ranks.draw(table_of(alone)), tmp_path)


# Labels and numbers


@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=12, unique=True))
def test_short_names_differ_and_are_in_the_font(labels: list[str]) -> None:
    names = short_names(labels)
    assert list(names) == labels
    assert len(set(names.values())) == len(labels)
    assert all(printable(name) == name for name in names.values())
    assert all(len(name) <= 18 + len(" (12)") for name in names.values())


@given(st.text(string.ascii_letters, max_size=80), st.integers(3, 40))
def test_a_shortened_text_keeps_its_ends(text: str, length: int) -> None:
    short = shortened(text, length)
    assert len(short) == min(length, len(text))
    head, _, tail = short.partition("…")
    assert text.startswith(head)
    assert text.endswith(tail)


def test_no_character_is_cut_in_two() -> None:
    assert shortened("我的方法", 18) == r"\u6211…\u6cd5"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (1200, "1,200"),
        (50_000, "50 k"),
        (2_500_000, "2.5 M"),
        (0.0125, "0.0125"),
        (2.5e-4, "2.5e-4"),
        (-2, "−2"),
    ],
)
def test_ticks_are_short(number: float, text: str) -> None:
    assert short_text(number) == text
