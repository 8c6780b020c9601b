"""Figures with images: what they show, from which files, and that nothing hostile, missing or damaged breaks them."""

from __future__ import annotations

import dataclasses
import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from conftest import docs_script, textured
from hypothesis import given, settings
from hypothesis import strategies as st
from recorded import Plan, find, remember, view, write_done

import mrsr_bench
from mrsr_bench.cli import main
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.figures import attention, figure_names, visual
from mrsr_bench.figures.attention import map_scale, tick_texts
from mrsr_bench.figures.lettering import fitted, printable, text_width, wrapped_lines
from mrsr_bench.figures.picture import Picture, write_picture
from mrsr_bench.figures.regions import Region, chosen_region, given_region, head
from mrsr_bench.figures.sheet import round_length
from mrsr_bench.figures.style import styled
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.table import Table, build_table
from mrsr_bench.store.cell_files import write_record
from mrsr_bench.store.exhibit import ExhibitSlice, SubjectSlices, write_exhibit
from mrsr_bench.store.exhibit_image import slice_image
from mrsr_bench.store.images import Window
from mrsr_bench.store.locks import HeldFolder
from mrsr_bench.store.orientation import OPPOSITE, edges, upright
from mrsr_bench.store.plan import View
from mrsr_bench.store.results import Store

ROOT = Path(__file__).parents[1]
PEOPLE = ("emil", "fine", "gina")
FOLDS = {"train": ("anna", "bert"), "val": ("dora",), "test": PEOPLE}
PLAIN = {"bicubic": {}, "linear": {}, "backprojection": {}, "nlm": {}}
"""Methods without chance: one seed carries a claim."""
JITTER = {("linear", "fine"): 0.02, ("nlm", "emil"): 0.02}
"""dB: these two methods have the same mean, and differ by subject."""
WIDE = (48, 60)


def picture_of(subject: str) -> np.ndarray:
    """HR of a subject: (1, rows, columns), with dark edges as a head has."""
    image = textured(len(subject) + ord(subject[0]), (*WIDE, 1))[:, :, 0].astype(float)
    image[:6] = image[-6:] = 0
    image[:, :6] = image[:, -6:] = 0
    return image[None]


def kept_slices(error: float, **changes: Any) -> list[SubjectSlices]:
    """A slice of every test subject, predicted with noise of that size."""
    random = np.random.default_rng(int(error * 10))
    kept = []
    for subject in PEOPLE:
        hr = picture_of(subject)
        values: dict[str, Any] = {
            "subject": subject,
            "slices": (7,),
            "lr_slices": (7,),
            "prediction": hr + error * random.normal(size=hr.shape),
            "hr": hr,
            "lr": hr[:, ::2, ::2],
            "maps": {},
            "step": None,
            "spacing": (1.0, 1.0, 1.0),
            "axes": ("S", "R", "A"),
        }
        kept.append(SubjectSlices(**{**values, **changes}))
    return kept


def keep(
    plan: Plan, label: str, psnr: float, slices: Sequence[SubjectSlices] | None, seed: int = 0, scale: str = "x2"
) -> Path:
    """Record a cell as done, its subjects half a dB apart, with an exhibit of these slices. Returns its folder."""
    store, _, trainings = plan
    training, cell = find(trainings, label, scale, seed)
    folder = training.folder(store, cell)
    scores = {
        subject: {"psnr": psnr + 0.5 * number + JITTER.get((label, subject), 0), "ssim": 0.9 + psnr / 1000}
        for number, subject in enumerate(PEOPLE)
    }
    record = write_done(folder, training, cell, scores)
    if slices:
        held = HeldFolder(folder)
        checksum = write_exhibit(held, HeldFolder(folder.parents[1]), slices)
        checksums = record.checksums.model_copy(update={"exhibit": checksum})
        write_record(held, record.model_copy(update={"checksums": checksums}))
    return folder


@pytest.fixture
def make(write_protocol: Callable[..., Path], tmp_path: Path) -> Callable[..., Plan]:
    """A plan over `PLAIN`, nothing run yet; `changes` replace keys of the protocol."""

    def plan(**changes: Any) -> Plan:
        loaded, trainings = plan_request(Request(str(write_protocol(FOLDS, **{"methods": PLAIN, **changes}))))
        return Store(tmp_path / "results"), loaded, trainings

    return plan


@pytest.fixture
def shown(make: Callable[..., Plan]) -> Plan:
    """Four methods; linear and nlm are best, and not told apart."""
    plan = make()
    for label, psnr, error in (("bicubic", 30, 40), ("linear", 35, 10), ("backprojection", 31, 30), ("nlm", 35, 11)):
        keep(plan, label, psnr, kept_slices(error))
    return plan


def licensed(seen: View, licence: str) -> View:
    """The view of a protocol that states a licence of its images."""
    last = seen.last.model_copy(update={"protocol": seen.protocol.model_copy(update={"licence": licence})})
    return dataclasses.replace(seen, plans=(last, *seen.plans[1:]))


def table_of(plan: Plan, licence: str = "") -> Table:
    return build_table(licensed(view(plan), licence))


def texts(picture: Picture) -> list[Any]:
    """Every text that is drawn."""
    from matplotlib.text import Text

    return [text for text in picture.figure.findobj(Text) if text.get_text()]


def words(picture: Picture) -> str:
    """All texts, as if they stood in one line."""
    return " ".join(text.get_text() for text in texts(picture))


def images(picture: Picture) -> list[np.ndarray]:
    from matplotlib.image import AxesImage

    return [np.asarray(image.get_array()) for image in picture.figure.findobj(AxesImage)]


def check_layout(picture: Picture) -> None:
    """Panels lie on the page and do not overlap; the smallest text has 6 points; no text leaves the page."""
    boxes = [axes.get_position() for axes in picture.figure.axes if axes.images]
    for box in boxes:
        assert -1e-6 <= box.x0 < box.x1 <= 1 + 1e-6
        assert -1e-6 <= box.y0 < box.y1 <= 1 + 1e-6
    for first, second in itertools.combinations(boxes, 2):
        apart = first.x1 <= second.x0 + 1e-6 or second.x1 <= first.x0 + 1e-6
        assert apart or first.y1 <= second.y0 + 1e-6 or second.y1 <= first.y0 + 1e-6
    with styled(), warnings.catch_warnings():
        warnings.simplefilter("error")
        page = picture.figure.bbox
        for text in texts(picture):
            assert text.get_fontsize() >= 6
            extent = text.get_window_extent()
            assert extent.x0 >= page.x0 - 1, text
            assert extent.x1 <= page.x1 + 1, text


# --- Orientation -----------------------------------------------------------------------------------------------------

AXES = [letters for kinds in itertools.permutations(("LR", "AP", "SI")) for letters in itertools.product(*kinds)]


def exhibit_slice(hr: np.ndarray, axes: tuple[str, ...] = ("S", "R", "A"), **changes: Any) -> ExhibitSlice:
    window = Window(offset=0, step=1)
    values: dict[str, Any] = {
        "subject": "emil",
        "number": 7,
        "lr_number": 7,
        "prediction": hr,
        "hr": hr,
        "lr": hr,
        "maps": {"twice": hr},
        "display": (float(hr.min()), float(hr.max())),
        "prediction_window": window,
        "hr_window": window,
        "lr_window": window,
        "spacing": (3.0, 0.5, 2.0),
        "axes": axes,
    }
    return ExhibitSlice(**{**values, **changes})


@pytest.mark.parametrize("axes", AXES, ids="".join)
def test_a_slice_of_any_orientation_is_turned_upright(axes: tuple[str, ...]) -> None:
    """Its pixels keep their place in the patient, their size and their neighbours."""
    rows, columns = np.mgrid[0:4, 0:7].astype(float)
    turned = upright(exhibit_slice(rows, axes, prediction=columns))
    assert turned.axes[0] == axes[0]
    assert turned.axes[1:] in {("P", "L"), ("I", "L"), ("I", "P")}
    for image, letter, mm, length in ((turned.hr, axes[1], 0.5, 4), (turned.prediction, axes[2], 2.0, 7)):
        along = next(axis for axis in (0, 1) if turned.axes[1 + axis] in (letter, OPPOSITE[letter]))
        sign = 1 if turned.axes[1 + along] == letter else -1
        assert (np.diff(image, axis=along) == sign).all()
        assert image.shape[along] == length
        assert turned.spacing[1 + along] == mm
    np.testing.assert_array_equal(turned.hr, turned.maps["twice"])
    top, bottom, left, right = edges(turned)
    assert (top, left) in {("A", "R"), ("S", "R"), ("S", "A")}
    assert (OPPOSITE[top], OPPOSITE[left]) == (bottom, right)


def test_the_small_image_of_a_slice_shows_both_and_their_difference() -> None:
    hr = np.linspace(0, 160, 20).reshape(4, 5)
    image = slice_image(exhibit_slice(hr, ("S", "P", "L"), prediction=hr + 5.0))
    assert (image.shape, image.dtype) == ((4, 19), np.uint8)
    assert (image[0, 0], image[-1, 4]) == (0, 255)
    assert set(image[:, 14:].ravel()) == {round(255 * (0.5 + 8 * 5 / 160))}
    assert slice_image(exhibit_slice(np.zeros((4, 5)))).max() == 255, "of the edges"


# --- Regions ---------------------------------------------------------------------------------------------------------

LENGTHS = st.integers(1, 70)
MM = st.sampled_from([0.3, 0.9, 1.0, 2.5, 6.0])


@settings(deadline=None)
@given(rows=LENGTHS, columns=LENGTHS, row_mm=MM, column_mm=MM, seed=st.integers(0, 9), count=st.integers(1, 3))
def test_a_chosen_region_lies_inside_the_slice(
    rows: int, columns: int, row_mm: float, column_mm: float, seed: int, count: int
) -> None:
    random = np.random.default_rng(seed)
    hr = random.uniform(0, 1, (rows, columns)) * random.integers(0, 2)
    region = chosen_region(hr, list(random.uniform(0, 1, (count, rows, columns))), (row_mm, column_mm))
    assert 0 <= region.row <= region.row + region.rows <= rows
    assert 0 <= region.column <= region.column + region.columns <= columns
    assert region.rows >= 1
    assert region.columns >= 1


@given(wanted=st.tuples(*[st.integers(-3, 30)] * 3), rows=LENGTHS, columns=LENGTHS, row_mm=MM)
def test_a_given_region_is_taken_or_refused(
    wanted: tuple[int, int, int], rows: int, columns: int, row_mm: float
) -> None:
    width = max(1, round(wanted[2] * row_mm))
    if min(wanted[:2]) < 0 or wanted[2] < 1 or wanted[0] + wanted[2] > rows or wanted[1] + width > columns:
        with pytest.raises(UsageError, match=f"{rows} rows and {columns} columns"):
            given_region(wanted, (rows, columns), (row_mm, 1.0))
        return
    region = given_region(wanted, (rows, columns), (row_mm, 1.0))
    assert (region.row, region.column, region.rows) == wanted
    assert 0 <= region.row < region.row + region.rows <= rows
    assert 0 <= region.column < region.column + region.columns <= columns
    assert abs(region.columns - region.rows * row_mm) <= max(0.5, 1 - region.rows * row_mm), "square in mm"


@pytest.mark.parametrize("count", [1, 3])
def test_the_region_is_where_methods_differ_most_inside_the_head(count: int) -> None:
    hr = np.zeros((80, 100))
    hr[10:70, 10:90] = 100
    predictions = [hr.copy() for _ in range(count)]
    predictions[0][40:50, 50:60] += 5
    predictions[0][0:6, 40:60] += 500  # in the air
    region = chosen_region(hr, predictions, (1.0, 1.0))
    assert region.row <= 40 <= 50 <= region.row + region.rows
    assert region.column <= 50 <= 60 <= region.column + region.columns
    assert head(hr)[region.row : region.row + region.rows, region.column : region.column + region.columns].all()


# --- Text ------------------------------------------------------------------------------------------------------------

HOSTILE = [
    "中文标签",
    "شبكة عصبية",
    "😀👩‍🔬",
    "a$b$",
    "x" * 300,
    "a very long label " * 9,
    "tab\tnew\nline",
    "\\frac{1}{",
    "_^%&#",
    "é̂",
    "",
]


@settings(deadline=None, max_examples=80)
@given(
    text=st.one_of(st.sampled_from(HOSTILE), st.text(max_size=60)), width=st.floats(30, 200), lines=st.integers(1, 4)
)
def test_text_of_any_script_fits_and_has_glyphs(text: str, width: float, lines: int) -> None:
    with styled(), warnings.catch_warnings():
        warnings.simplefilter("error")
        fit = fitted(text, width, lines)
        assert len(fit.split("\n")) <= lines
        assert all(text_width(line) <= width or len(line) == 1 for line in fit.split("\n"))
        whole = "".join(wrapped_lines(text, width))
        assert whole.replace(" ", "") == printable(text).replace(" ", ""), "nothing is lost where it is wrapped"
        if "…" not in fit:
            assert fit.replace("\n", "").replace(" ", "") == printable(text).replace(" ", "")


def test_what_no_font_has_is_escaped_and_stays_distinct() -> None:
    with styled():
        assert printable("edsr 2×") == "edsr 2×"
        assert printable("\U000e0041\n") == r"\U000e0041\n"


@given(longest=st.floats(1e-3, 1e4))
def test_a_scale_bar_is_a_round_length_that_fits(longest: float) -> None:
    length = round_length(longest)
    assert longest / 2.6 <= length <= longest * (1 + 1e-6)
    mantissa = length / 10 ** math.floor(math.log10(length) + 1e-9)
    assert min(abs(mantissa - number) for number in (1, 2, 5)) < 1e-6


# --- visual ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_visual_is_the_same_for_the_same_records(shown: Plan, tmp_path: Path, ending: str) -> None:
    files = [tmp_path / f"{number}.{ending}" for number in (1, 2)]
    for file in files:
        write_picture(visual.draw(table_of(shown), errors=True), file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_visual_shows_hr_lr_and_every_method_with_the_subjects_figures(shown: Plan) -> None:
    picture = visual.draw(table_of(shown))
    drawn = images(picture)
    assert len(drawn) == 1 + 2 + len(PLAIN)
    truth = upright(exhibit_slice(picture_of("fine")[0])).hr
    for image in drawn[:2]:
        np.testing.assert_allclose(image, truth, atol=0.01)
    np.testing.assert_allclose(drawn[2], upright(exhibit_slice(picture_of("fine")[0, ::2, ::2])).hr, atol=0.01)
    content = words(picture)
    assert "T1 x2, fine, slice 7" in content
    assert "psnr / ssim" in content
    for text in ("HR", "LR", *PLAIN, "30.50", "0.9300", "35.52", "0.9350", "A", "P", "L", "R", "10 mm"):
        assert text in [drawn_text.get_text() for drawn_text in texts(picture)], text
    assert len(picture.records) == len(PLAIN)
    check_layout(picture)


def test_all_images_of_a_subject_share_one_window(shown: Plan) -> None:
    from matplotlib.image import AxesImage

    picture = visual.draw(table_of(shown))
    assert {image.get_clim() for image in picture.figure.findobj(AxesImage)} == {
        (picture_of("fine").min(), picture_of("fine").max())
    }


def bold(picture: Picture) -> list[str]:
    return [
        text.get_text() for text in texts(picture) if text.get_fontweight() == "bold" and "x2" not in text.get_text()
    ]


def test_bold_is_the_best_tie_group_of_the_row_not_of_the_image(shown: Plan) -> None:
    """Linear and nlm are best and not told apart, whatever this one subject's figures are."""
    picture = visual.draw(table_of(shown))
    assert [text for text in bold(picture) if text.startswith("35.")] == ["35.52", "35.50"]
    assert not [text for text in bold(picture) if text.startswith("3") and not text.startswith("35.")]
    assert "Bold: not told apart from the best figure of the row" in words(picture)
    assert "says nothing of this one image" in words(picture)


def test_nothing_is_bold_where_the_best_figure_carries_no_claim(make: Callable[..., Plan]) -> None:
    """A network of one seed."""
    plan = make(methods={"bicubic": {}, "linear": {}, "srcnn": {}})
    for label, psnr in (("bicubic", 30), ("linear", 32), ("srcnn", 36)):
        keep(plan, label, psnr, kept_slices(50 - psnr))
    picture = visual.draw(table_of(plan))
    assert bold(picture) == []
    assert "Nothing is bold: the best figure carries no claim." in words(picture)


def test_errors_have_one_scale_for_the_figure(shown: Plan) -> None:
    from matplotlib.image import AxesImage

    picture = visual.draw(table_of(shown), errors=True, subjects=["emil", "gina"])
    errors = [image for image in picture.figure.findobj(AxesImage) if image.get_cmap().name == "inferno"]
    assert len(errors) == 2 * len(PLAIN)
    [(low, high)] = {image.get_clim() for image in errors}
    assert low == 0
    assert 100 * 40 / np.ptp(picture_of("emil")) < high < 100 * 5 * 40 / np.ptp(picture_of("emil"))
    assert words(picture).count("|prediction − HR|") == 1
    check_layout(picture)


def test_errors_are_those_of_the_images_in_percent(shown: Plan) -> None:
    picture = visual.draw(table_of(shown), errors=True, methods=["linear"])
    _, hr, _, prediction, error = images(picture)
    np.testing.assert_allclose(error, 100 * np.abs(prediction - hr) / np.ptp(hr), atol=0.01)


def test_a_region_may_be_given_and_is_named_to_be_kept(shown: Plan) -> None:
    picture = visual.draw(table_of(shown), region=(12, 8, 20))
    assert "as given (row, column, size in HR pixels: 12,8,20)" in words(picture)
    zooms = [axes for axes in picture.figure.axes if axes.images][1:]
    assert {(axes.get_xlim(), axes.get_ylim()) for axes in zooms} == {((8, 28), (32, 12))}
    chosen = visual.draw(table_of(shown))
    text = words(chosen).split("HR pixels: ")[1].split(")")[0]
    again = visual.draw(table_of(shown), region=tuple(map(int, text.split(","))))
    assert [axes.get_xlim() for axes in again.figure.axes] == [axes.get_xlim() for axes in chosen.figure.axes]
    with pytest.raises(UsageError, match="60 rows and 48 columns as it is shown"):
        visual.draw(table_of(shown), region=(50, 0, 20))


def test_pixels_have_their_shape(make: Callable[..., Plan]) -> None:
    """Columns of the file become rows of the figure: 2.5 mm high, 0.5 mm wide."""
    plan = make()
    keep(plan, "linear", 30, kept_slices(5, spacing=(1.0, 0.5, 2.5)))
    picture = visual.draw(table_of(plan))
    assert {axes.get_aspect() for axes in picture.figure.axes if axes.images} == {5.0}
    check_layout(picture)


@pytest.mark.parametrize(
    ("choice", "words_of_error"),
    [
        ({"methods": ["linaer"]}, "no method 'linaer'. Did you mean 'linear'"),
        ({"rows": ["T2"]}, "no row 'T2'. Did you mean 'T1 x2'"),
        ({"subjects": ["emli"]}, "'emli'. Did you mean 'emil'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(shown: Plan, choice: Any, words_of_error: str) -> None:
    for draw in (visual.draw, attention.draw):
        with pytest.raises(UsageError, match=words_of_error):
            draw(table_of(shown), **choice)


def test_rows_subjects_and_methods_are_chosen(make: Callable[..., Plan]) -> None:
    plan = make(scales=[2, 3])
    for scale in ("x2", "x3"):
        for label in PLAIN:
            keep(plan, label, 30, kept_slices(5), scale=scale)
    assert "T1 x3, fine" in words(visual.draw(table_of(plan)))
    assert "T1 x2" not in words(visual.draw(table_of(plan))), "the last row of the contrast"
    both = words(visual.draw(table_of(plan), rows=["T1"], subjects=["emil", "gina"], methods=["nlm"]))
    for row, subject in itertools.product(("x2", "x3"), ("emil", "gina")):
        assert f"T1 {row}, {subject}" in both
    assert "bicubic" not in both
    assert "T1 x3" not in words(visual.draw(table_of(plan), rows=["T1 x2"]))


def many(make: Callable[..., Plan], labels: list[str]) -> Plan:
    """As many labels of one method without chance, each with images."""
    methods = {label: {"method": "linear"} for label in labels}
    plan = make(methods=methods)
    for number, label in enumerate(labels):
        keep(plan, label, 30 + number % 7, kept_slices(5 + number))
    return plan


@pytest.mark.parametrize("errors", [False, True])
@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_one_method_or_thirty_are_laid_out(make: Callable[..., Plan], count: int, errors: bool) -> None:
    picture = visual.draw(table_of(many(make, [f"linear-{number}" for number in range(count)])), errors=errors)
    assert len(images(picture)) == 3 + count * (2 if errors else 1)
    check_layout(picture)
    panels = [axes.get_position() for axes in picture.figure.axes if axes.images]
    assert min(box.width for box in panels) * picture.figure.get_figwidth() > 0.9, "inches"


def relabelled(seen: View, names: dict[str, str]) -> View:
    """The view with other labels, which a protocol would refuse, but a pack may bring."""
    plans = [
        plan.model_copy(
            update={
                "cells": tuple(cell.model_copy(update={"label": names[cell.label]}) for cell in plan.cells),
                "columns": tuple(column.model_copy(update={"label": names[column.label]}) for column in plan.columns),
            }
        )
        for plan in seen.plans
    ]
    return dataclasses.replace(seen, plans=tuple(plans))


def test_hostile_labels_are_drawn(make: Callable[..., Plan], tmp_path: Path) -> None:
    labels = ["中文标签", "شبكة", "😀", "a$b$", "x" * 90, "a long label with words", "_^%&#"]
    plain = [f"linear-{number}" for number in range(len(labels))]
    table = build_table(relabelled(view(many(make, plain)), dict(zip(plain, labels, strict=True))))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = visual.draw(table, errors=True)
        check_layout(picture)
        for ending in ("svg", "pdf", "png"):
            write_picture(picture, tmp_path / f"hostile.{ending}")
    assert "a$b$" in words(picture)


def test_the_first_seed_that_keeps_slices_is_shown(make: Callable[..., Plan]) -> None:
    plan = make(methods={"bicubic": {}, "srcnn": {}}, seeds=[4, 2])
    keep(plan, "bicubic", 30, kept_slices(9))
    keep(plan, "srcnn", 31, None, seed=4)
    keep(plan, "srcnn", 33, kept_slices(8), seed=2)
    picture = visual.draw(table_of(plan))
    assert "33.50" in [text.get_text() for text in texts(picture)]
    assert "31.50" not in words(picture)


def test_infinite_and_missing_figures_are_shown_as_such(make: Callable[..., Plan]) -> None:
    plan = make()
    keep(plan, "linear", math.inf, kept_slices(0))
    keep(plan, "bicubic", 30, kept_slices(9))
    assert "inf" in [text.get_text() for text in texts(visual.draw(table_of(plan)))]


def test_whom_to_name_stands_at_the_foot_and_in_the_file(shown: Plan, tmp_path: Path) -> None:
    rights = "Somebody's data, 2001, CC BY-SA 3.0"
    for name, picture in {
        "visual": visual.draw(table_of(shown, rights)),
        "plain": visual.draw(table_of(shown)),
    }.items():
        write_picture(picture, tmp_path / f"{name}.svg")
        svg = (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
        assert (svg.count("Somebody's data") >= 2) == (name == "visual"), "in the picture and in the metadata"


# --- Nothing to show -------------------------------------------------------------------------------------------------


def test_without_figures_or_without_images_the_error_says_what_to_do(make: Callable[..., Plan]) -> None:
    plan = make()
    with pytest.raises(BenchError, match=r"no cell of 'small' has figures yet.*bench run"):
        visual.draw(table_of(plan))
    keep(plan, "linear", 30, None)
    for draw in (visual.draw, attention.draw):
        with pytest.raises(BenchError, match=r"no slices of 'small' are here.*bench score"):
            draw(table_of(plan))


def test_a_pack_without_images_is_told_apart_from_a_folder(shown: Plan, tmp_path: Path) -> None:
    remember(shown, [])
    results = str(tmp_path / "results")
    for option, status in ((), 1), (("--images",), 0):
        pack = str(tmp_path / f"{status}.zip")
        packed = CliRunner().invoke(main, ["pack", results, "-o", pack, *option])
        assert packed.exit_code == 0, packed.output
        done = CliRunner().invoke(main, ["figure", "visual", "--results", pack, "-o", str(tmp_path / "visual.png")])
        assert done.exit_code == status, done.output
        assert ("bench pack --images" in done.output) == (status == 1)


@pytest.mark.parametrize("file", ["exhibit.npz", "truth"])
def test_a_damaged_exhibit_is_named_and_the_others_are_shown(shown: Plan, file: str) -> None:
    folder = find(shown[2], "linear", "x2")[0].folder(shown[0], find(shown[2], "linear", "x2")[1])
    if file == "truth":
        keep(shown, "linear", 35, kept_slices(10, slices=(8,)))  # has a truth of its own
        [path] = [
            path
            for path in folder.parents[1].glob("truth-*")
            if path.stat().st_mtime_ns == max(other.stat().st_mtime_ns for other in folder.parents[1].glob("truth-*"))
        ]
    else:
        path = folder / file
    content = path.read_bytes()
    path.write_bytes(content[:-40] + bytes(40))
    picture = visual.draw(table_of(shown))
    assert "Without an image: linear T1 x2." in words(picture)
    assert len(images(picture)) == 3 + len(PLAIN) - 1
    with pytest.raises(BenchError, match=f"Damaged: .*{path.name}.*bench run, then bench score"):
        visual.draw(table_of(shown), methods=["linear"])


def test_a_cell_that_keeps_other_slices_is_left_out_and_named(shown: Plan) -> None:
    keep(shown, "nlm", 35, kept_slices(10, slices=(8,)))
    picture = visual.draw(table_of(shown))
    assert "Without an image: nlm T1 x2." in words(picture)
    assert len(images(picture)) == 3 + len(PLAIN) - 1


# --- attention -------------------------------------------------------------------------------------------------------

MAPS = {"flat": np.full((1, 24, 30), 0.25), "ramp": np.linspace(0, 1, 720).reshape(1, 24, 30)}


def test_attention_shows_the_lr_slice_and_every_map_with_a_scale_of_its_own(shown: Plan, tmp_path: Path) -> None:
    keep(shown, "nlm", 35, kept_slices(11, maps={**MAPS, "中文": MAPS["ramp"][:, ::2] * 1e-6, "x" * 60: MAPS["ramp"]}))
    picture = attention.draw(table_of(shown, "whom to name"))
    maps = [axes for axes in picture.figure.axes if axes.images]
    assert len(maps) == 1 + 4
    scales = {axes.images[0].get_clim() for axes in maps}
    assert len(scales) == 4, "the two of the same values share one"
    content = words(picture)
    assert "nlm: T1 x2, fine, slice 7, seed 0" in content
    assert "linear" not in content
    assert "unit of its own" in content
    assert "whom to name" in content
    assert [record.label for record in picture.records] == ["nlm"]
    assert "0.25" in [text.get_text() for text in texts(picture)], "a map of one value"
    check_layout(picture)
    files = [tmp_path / "1.pdf", tmp_path / "2.pdf"]
    for file in files:
        write_picture(attention.draw(table_of(shown)), file)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_attention_has_a_strip_for_each_method_and_subject(shown: Plan) -> None:
    maps = {f"map {number}": MAPS["ramp"] for number in range(7)}
    for label in ("nlm", "linear"):
        keep(shown, label, 35, kept_slices(11, maps=maps))
    picture = attention.draw(table_of(shown), subjects=["emil", "gina"])
    assert len([axes for axes in picture.figure.axes if axes.images]) == 4 * 8
    for label, subject in itertools.product(("nlm", "linear"), ("emil", "gina")):
        assert f"{label}: T1 x2, {subject}" in words(picture)
    check_layout(picture)


def test_attention_without_maps_says_who_has_some(shown: Plan) -> None:
    with pytest.raises(BenchError, match=r"no method of 'small' shows maps.*Method\.maps.*bench score"):
        attention.draw(table_of(shown))


@given(low=st.floats(-1e6, 1e6), width=st.floats(0, 1e6))
def test_the_ends_of_a_scale_are_told_apart(low: float, width: float) -> None:
    written = tick_texts(low, low + width)
    if low == low + width:
        assert len(written) == 1
    else:
        first, last = map(float, written)
        assert first < last
        assert (last - first) == pytest.approx(low + width - low, rel=0.06)


def test_neither_few_pixels_nor_the_rim_decide_a_maps_scale() -> None:
    values = np.random.default_rng(0).uniform(0, 1, (60, 80))
    values[0] = values[:, -1] = 50
    values[30, 30] = -90
    low, high = map_scale(values)
    assert 0 <= low < 0.02
    assert 0.98 < high <= 1
    assert map_scale(np.ones((1, 1))) == (1, 1)


# --- The ways to draw ------------------------------------------------------------------------------------------------


def test_a_notebook_gets_the_figure_as_the_command_writes_it(shown: Plan, tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    remember(shown, [])
    results = tmp_path / "results"
    figure = mrsr_bench.figure("visual", results=results, methods=["nlm", "linear"])
    assert isinstance(figure, Figure)
    arguments = ["figure", "visual", "--results", str(results), "--methods", "nlm,linear", "-o"]
    done = CliRunner().invoke(main, [*arguments, str(tmp_path / "visual.png")], catch_exceptions=False)
    assert done.output == f"{tmp_path / 'visual.png'}\n"
    assert figure._repr_png_() == (tmp_path / "visual.png").read_bytes()  # type: ignore[attr-defined]


def test_an_unknown_figure_or_option_is_refused_with_the_nearest(shown: Plan, tmp_path: Path) -> None:
    remember(shown, [])
    results = tmp_path / "results"
    with pytest.raises(UsageError, match=r"no figure 'visul'\. Did you mean 'visual'"):
        mrsr_bench.figure("visul", results=results)
    with pytest.raises(UsageError, match="no figure 'style'"):
        mrsr_bench.figure("style", results=results)
    with pytest.raises(UsageError, match=r"figure 'visual' has no option 'method'\. Did you mean 'methods'"):
        mrsr_bench.figure("visual", results=results, method=["nlm"])


@pytest.mark.parametrize("region", ["1,2", "1,2,x", "1,2,3,4", ""])
def test_a_region_is_three_numbers(region: str) -> None:
    done = CliRunner().invoke(main, ["figure", "visual", "--region", region])
    assert done.exit_code == 2
    assert "ROW,COLUMN,SIZE in HR pixels" in done.output


# --- The gallery -----------------------------------------------------------------------------------------------------


def test_the_gallery_shows_every_figure_with_its_command() -> None:
    script = docs_script("make_gallery")
    assert (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8") == script.page(), "make docs"
    drawn = {figure.command.split()[2] for figure in script.FIGURES}
    assert drawn == set(figure_names())
    pictures = {path.stem: path.stat().st_size for path in (ROOT / "docs" / "gallery").glob("*.png")}
    assert pictures.keys() == {figure.name for figure in script.FIGURES}
    assert max(pictures.values()) <= script.MOST_BYTES
    for figure in script.FIGURES:
        done = CliRunner().invoke(main, [*figure.command.split()[1:3], "--help"])
        assert done.exit_code == 0


def test_a_region_is_written_as_the_option_takes_it() -> None:
    assert Region(60, 80, 48, 50).text == "60,80,48"
