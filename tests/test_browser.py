"""The page in a real browser, from disk: what it shows is what the records say, and whatever is pressed works."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import page_records
import pytest
import recorded
from browsing import chromium, go, lacking, open_page, settle
from conftest import write_small_protocol
from figure_records import make_plan
from page_records import CLAIMS, HOSTILE
from PIL import Image

from mrsr_bench.figures.scenes import Scene, row_exhibits
from mrsr_bench.page.writing import write_page
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.compare import compare
from mrsr_bench.reporting.contrast_tables import claim_table, contrast_table
from mrsr_bench.reporting.contrasts import row_contrast
from mrsr_bench.reporting.grid import row_figures
from mrsr_bench.reporting.table import Table, build_table
from mrsr_bench.store.results import Store

pytestmark = pytest.mark.browser
VIEWS = ("table", "viewer", "viewer?mode=error", "compare", f"cell?{urlencode({'row': 0, 'label': HOSTILE})}")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five columns, T1 and T2 at two scales, three seeds; a method, a subject and the description are hostile."""
    folder = tmp_path_factory.mktemp("results")
    return page_records.hostile_results(folder, ["T1", "T2"], size=(48, 60), count=2)


@pytest.fixture(scope="module")
def table(results: Path) -> Table:
    return build_table(Store(results).view(None))


@pytest.fixture(scope="module")
def page(table: Table, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_page([table], tmp_path_factory.mktemp("page") / "page", images=True, say=pytest.fail).parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if reason := lacking():
        pytest.skip(reason)
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab(browser: Any, page: Path) -> Iterator[Any]:
    """A tab on the table. At the end: no error, nothing of others ran, nothing was requested from a network."""
    tab = open_page(browser, page)
    yield tab
    assert tab.seen == []
    assert tab.evaluate("window.booms") == 0
    tab.close()


def lines(tab: Any, selector: str = "table.figures") -> list[list[str]]:
    """The texts of a table's body, a list a line."""
    script = "(table) => [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => cell.innerText.trim()))"
    found: list[list[str]] = tab.locator(selector).first.evaluate(script)
    return found


def values(tab: Any) -> dict[str, list[str]]:
    """Method → its figures, without spread and letters."""
    script = """(table) => [...table.tBodies[0].rows].map((row) => [
        row.cells[0].firstChild.textContent, [...row.querySelectorAll(".value")].map((value) => value.textContent)])"""
    return dict(tab.locator("table.figures").evaluate(script))


def saved(tab: Any, name: str, within: str = "main") -> str:
    """The text of the file that a button saves."""
    with tab.expect_download() as download:
        tab.locator(within).get_by_role("button", name=name).first.click()
    return Path(download.value.path()).read_text(encoding="utf-8")


def pixels(tab: Any, side: int) -> np.ndarray:
    """(rows, columns, 4) of a side's canvas."""
    address = tab.locator(".stage canvas").nth(side).evaluate("(canvas) => canvas.toDataURL()")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as image:
        return np.array(image.convert("RGBA"))


def field(tab: Any, name: str) -> Any:
    """The control that a label names."""
    return tab.locator("label.field").filter(has=tab.get_by_text(name, exact=True)).locator("select, input").first


def choice(tab: Any, name: str) -> str:
    """The text that is chosen in a select."""
    return str(field(tab, name).evaluate("(field) => field.selectedOptions[0].text"))


def at_scale(image: np.ndarray, shown: np.ndarray, ratio: float) -> np.ndarray:
    """Of a canvas on which a whole image fits, the pixel in the middle of each of the image's; pixels' height 1."""
    rows, columns = image.shape
    scale = min(shown.shape[0] / rows, shown.shape[1] / (columns * ratio))
    row = shown.shape[0] / 2 + (np.arange(rows) + 0.5 - rows / 2) * scale
    column = shown.shape[1] / 2 + (np.arange(columns) + 0.5 - columns / 2) * scale * ratio
    return shown[row.astype(int)][:, column.astype(int)]


def scene_of(table: Table, row: int, subject: str, number: int) -> Scene:
    return row_exhibits(table, table.rows[row], table.labels).scene(subject, number)


def viewer(**choice: Any) -> str:
    return f"#/0/viewer?{urlencode(choice)}"


# The table


def test_every_figure_of_the_table_is_that_of_the_records(tab: Any, table: Table) -> None:
    for metric in table.metrics:
        tab.get_by_role("button", name=metric, exact=False).first.click()
        shown = values(tab)
        assert [*shown] == table.labels
        for place, row in enumerate(table.rows):
            marked = row_figures(table, row, table.columns, metric)
            assert [figures[place] for figures in shown.values()] == [text.text for text in marked]
            for label in table.labels:
                records = table.records[row, label]
                mean = np.mean([record.metrics[metric] for record in records])
                assert float(shown[label][place]) == pytest.approx(
                    mean, abs=0.5 * 10 ** -table.conventions[metric].decimals
                )
    letters = [text.raised for text in row_figures(table, table.rows[0], table.columns, "psnr")]
    tab.get_by_role("button", name="psnr").first.click()
    cells = [line[1] for line in lines(tab)]
    assert [cell.split()[-1] for cell in cells] == letters
    assert any("±" in cell for cell in cells)


def test_the_table_is_sorted_by_a_row_and_by_name(tab: Any, table: Table) -> None:
    heading = tab.get_by_role("columnheader", name="T2 ×4")
    heading.get_by_role("button").click()
    best_first = [float(figures[3]) for figures in values(tab).values()]
    assert best_first == sorted(best_first, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    assert "sort=3" in tab.url
    tab.keyboard.press("Enter")  # the heading keeps the focus
    assert [float(figures[3]) for figures in values(tab).values()] == best_first[::-1]
    tab.keyboard.press("Enter")
    assert [*values(tab)] == table.labels
    assert heading.get_attribute("aria-sort") is None
    tab.get_by_role("columnheader", name="method").get_by_role("button").click()
    assert [*values(tab)] == sorted(table.labels, key=str.lower)


def test_the_table_is_filtered_and_what_is_saved_is_what_is_shown(tab: Any, table: Table) -> None:
    tab.get_by_role("searchbox").fill("edsr, lin")
    tab.get_by_role("checkbox", name="×4").uncheck()
    tab.get_by_role("checkbox", name="T1").uncheck()
    assert {label: len(figures) for label, figures in values(tab).items()} == {"linear": 1, "edsr": 1}
    assert "Shown: 2 of 5 columns, 1 of 4 rows. Letters and bold figures are of all columns" in tab.inner_text("main")
    rows = list(csv.DictReader(io.StringIO(saved(tab, "Save as CSV"))))
    assert [(row["method"], row["row"]) for row in rows] == [("linear", "T2 x2"), ("edsr", "T2 x2")]
    for row in rows:
        expected = np.mean([record.metrics["psnr"] for record in table.records[("T2", "x2"), row["method"]]])
        assert float(row["value"]) == pytest.approx(expected, rel=1e-12)
        assert row["signature"] == table.signature("psnr")
    assert [row["method"] for row in json.loads(saved(tab, "Save as JSON"))] == ["linear", "edsr"]
    address = tab.url
    tab.reload()
    settle(tab)
    assert [*values(tab)] == ["linear", "edsr"]
    assert tab.url == address


def test_a_figure_says_its_group_and_both_intervals_on_focus_and_leads_to_its_records(tab: Any, table: Table) -> None:
    figure = tab.locator("a.figure", has_text=row_figures(table, table.rows[0], table.columns, "psnr")[3].text).first
    figure.focus()
    tip = tab.get_by_role("tooltip")
    tip.wait_for()
    text = tip.inner_text()
    [line] = contrast_table(table, [row_contrast(table, table.rows[0], "edsr", "linear")]).rows
    for figures in line[3:6]:
        assert figures in text
    assert "mean ± standard deviation over 3 seeds" in text
    assert "differs from every other column" in text or "not told apart from" in text
    assert figure.get_attribute("aria-describedby") == "tip"
    tab.keyboard.press("Escape")
    assert not tip.is_visible()
    figure.press("Enter")
    settle(tab)
    assert tab.locator("h1").inner_text() == "edsr · T1 ×2"


# Records


@pytest.mark.parametrize("label", ["edsr", HOSTILE, "linear"])
def test_a_figure_s_records_are_shown_whole_and_saved_unchanged(
    tab: Any, page: Path, table: Table, results: Path, label: str
) -> None:
    go(tab, page, f"#/0/cell?{urlencode({'row': 1, 'label': label})}")
    records = sorted(table.records[table.rows[1], label], key=lambda record: record.resolved.seed)
    shown = lines(tab, "table.dense")
    for line, record in zip(shown, records, strict=True):
        assert line[:3] == [str(record.resolved.seed), f"{record.metrics['psnr']:.2f}", f"{record.metrics['ssim']:.4f}"]
        assert line[-3] == (record.environment.git or "")[:10]
    text = tab.inner_text("main")
    for part in (records[0].train_key, records[0].score_key, records[0].test_data_digest, records[0].source_digest):
        assert part in text
    assert ("lr patch" in text) == (records[0].resolved.recipe is not None)
    assert tab.locator("svg.chart").count() == (2 if records[0].fit and label != "linear" else 0)
    by_subject = {line[0]: line[1:] for line in lines(tab, ".tall table")}
    scores = table.scores[table.rows[1], label]
    assert by_subject == {
        subject: [f"{scores[record.resolved.seed]['psnr'][subject]:.2f}" for record in records]
        for subject in scores[0]["psnr"]
    }
    paths = {json.loads(path.read_text())["score_key"]: path for path in results.rglob("record.json")}
    path = paths[records[0].score_key]
    assert saved(tab, "record.json") == path.read_text(encoding="utf-8")
    assert saved(tab, "scores.csv") == (path.parent / "scores.csv").read_text(encoding="utf-8")


# The viewer


def test_both_sides_show_the_intensities_that_are_kept(tab: Any, page: Path, table: Table) -> None:
    go(tab, page, viewer(row=2, subject="subject05", slice=4, a="t:hr", b="m:edsr"))
    scene = scene_of(table, 2, "subject05", 4)
    low, high = scene.truth.display
    for side, image in enumerate((scene.truth.hr, scene.slices["edsr"].prediction)):
        expected = np.rint(np.clip((image.astype(float) - low) / (high - low) * 255, 0, 255))
        shown = at_scale(image, pixels(tab, side), scene.truth.spacing[2] / scene.truth.spacing[1])
        assert (shown[..., 3] == 255).all()
        assert (shown[..., 0] == shown[..., 1]).all()
        assert np.abs(shown[..., 0].astype(float) - expected).max() <= 1
    texts = [side.inner_text() for side in tab.locator(".side").all()]
    score = table.scores[table.rows[2], "edsr"][0]["psnr"]["subject05"]
    assert texts == ["HR\nthe truth", f"edsr\npsnr {score:.2f} dB · seed 0"]
    assert [edge.inner_text() for edge in tab.locator(".edge").all()] == ["A", "P", "R", "L"]


def test_the_divider_is_dragged_and_moved_by_keys(tab: Any, page: Path) -> None:
    go(tab, page, "#/0/viewer")
    slider = tab.get_by_role("slider", name="Divider")
    handle, stage = tab.locator("[slot=handle]").bounding_box(), tab.locator(".stage").bounding_box()
    x, y = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    before = pixels(tab, 0)
    tab.mouse.move(x, y)
    tab.mouse.down()
    tab.mouse.move(stage["x"] + stage["width"] * 0.25, y, steps=4)
    tab.mouse.up()
    assert slider.evaluate("(slider) => slider.value") == pytest.approx(25, abs=0.5)
    assert slider.get_attribute("aria-valuenow") == "25"
    np.testing.assert_array_equal(pixels(tab, 0), before)  # the view stayed
    slider.focus()
    tab.keyboard.down("ArrowRight")
    tab.wait_for_function("document.querySelector('img-comparison-slider').value > 27")
    tab.keyboard.up("ArrowRight")
    assert int(slider.get_attribute("aria-valuenow")) > 25


def test_zoom_and_pan_stay_in_step(tab: Any, page: Path) -> None:
    go(tab, page, viewer(row=0, subject="subject00", a="t:hr", b="t:hr"))
    whole = pixels(tab, 0)
    np.testing.assert_array_equal(whole, pixels(tab, 1))
    box = tab.locator(".stage").bounding_box()
    x, y = box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.3
    tab.mouse.move(x, y)
    tab.mouse.wheel(0, -300)
    tab.mouse.wheel(0, -300)
    zoomed = pixels(tab, 0)
    tab.mouse.down()
    tab.mouse.move(x - 60, y + 40, steps=3)
    tab.mouse.up()
    moved = pixels(tab, 0)
    np.testing.assert_array_equal(moved, pixels(tab, 1))
    assert not np.array_equal(zoomed, whole)
    np.testing.assert_array_equal(moved[40:, :-60], zoomed[:-40, 60:])  # by as many pixels as the mouse
    tab.keyboard.press("Shift+ArrowLeft")
    assert not np.array_equal(pixels(tab, 0), moved)
    np.testing.assert_array_equal(pixels(tab, 0), pixels(tab, 1))
    tab.keyboard.press("0")
    np.testing.assert_array_equal(pixels(tab, 0), whole)
    tab.get_by_role("button", name="Zoom in").click()
    tab.get_by_role("button", name="Zoom out").click()
    np.testing.assert_array_equal(pixels(tab, 1), whole)


def test_a_key_flickers_between_the_sides(tab: Any, page: Path) -> None:
    go(tab, page, "#/0/viewer")
    value = "document.querySelector('img-comparison-slider').value"
    shown = []
    for _ in range(3):
        tab.keyboard.press("f")
        shown.append(tab.evaluate(value))
    assert shown == [100, 0, 100]


def test_errors_have_a_scale_and_images_a_window(tab: Any, page: Path, table: Table) -> None:
    go(tab, page, viewer(row=0, subject="subject00", slice=3, a="m:bicubic", b="t:hr", mode="error"))
    scene = scene_of(table, 0, "subject00", 3)
    low, high = scene.truth.display
    ratio = scene.truth.spacing[2] / scene.truth.spacing[1]
    error = scene.slices["bicubic"].prediction.astype(float) - scene.truth.hr
    shown = at_scale(error, pixels(tab, 0), ratio).astype(float)
    scale = (high - low) / 10
    assert (shown[error == 0][:, :3] == 0).all()
    inside = np.abs(error / scale)
    above, below = ((sign * error > 0.1 * scale) & (inside < 0.9) for sign in (1, -1))
    assert (shown[above][:, 0] > shown[above][:, 2]).all()  # orange: the prediction is too bright
    assert (shown[below][:, 2] > shown[below][:, 0]).all()
    beyond = np.abs(error) > scale
    assert (shown[beyond][:, :3] == 255).all()
    assert [text.strip() for text in tab.locator(".bar span").all_inner_texts()] == [f"−{scale:g}", f"+{scale:g}"]
    assert "error: prediction − HR" in tab.locator(".side").first.inner_text()
    slider = field(tab, "Error scale ±")
    slider.fill(slider.get_attribute("max"))
    wider = at_scale(error, pixels(tab, 0), ratio).astype(float)
    assert wider[above][:, :3].sum() < shown[above][:, :3].sum()
    field(tab, "White at").fill(str(low + (high - low) / 2))
    tab.keyboard.press("Escape")
    hr = at_scale(scene.truth.hr, pixels(tab, 1), ratio)[..., 0].astype(float)
    step = (high - low) / 500
    assert (hr[scene.truth.hr > low + (high - low) / 2 + 2 * step] == 255).all()
    tab.get_by_role("button", name="Reset window").click()
    tab.get_by_role("button", name="Image", exact=True).click()
    assert "mode=error" not in tab.url


@pytest.mark.parametrize(("button", "key", "chosen"), [("Worst subject", "w", min), ("Best subject", "b", max)])
def test_the_worst_and_the_best_subject_are_one_click_away(
    tab: Any, page: Path, table: Table, button: str, key: str, chosen: Any
) -> None:
    kept = ("subject00", "subject05", HOSTILE)
    scores = table.scores[table.rows[1], "edsr"][0]["psnr"]
    expected = chosen(kept, key=scores.__getitem__)
    for act in (lambda: tab.get_by_role("button", name=button).click(), lambda: tab.keyboard.press(key)):
        for start in kept:
            go(tab, page, viewer(row=1, subject=start, a="m:linear", b="m:edsr"))
            act()
            tab.wait_for_url(f"**&{urlencode({'slice': 4})}&**")
            tab.wait_for_function(
                "(name) => new URLSearchParams(location.hash.split('?')[1]).get('subject') === name", arg=expected
            )
            assert choice(tab, "Subject") == f"{expected} · {scores[expected]:.2f}"


def test_pickers_and_keys_change_what_is_shown_and_keep_the_focus(tab: Any, page: Path) -> None:
    go(tab, page, viewer(row=0, subject="subject00", slice=3, a="m:linear", b="m:edsr"))
    field(tab, "Left").focus()
    field(tab, "Left").select_option("LR")
    tab.wait_for_url("**a=t%3Alr**")
    assert tab.locator(".side").first.inner_text() == "LR\nnearest neighbour"
    assert tab.evaluate("document.activeElement.labels[0].textContent").startswith("Left")
    field(tab, "Row").select_option("T2 ×4")
    field(tab, "Slice").select_option("4")
    field(tab, "Metric").select_option("ssim")
    tab.wait_for_url("**metric=ssim")
    assert "ssim 0.9" in tab.locator(".side").nth(1).inner_text()
    tab.locator("h1").click()
    tab.keyboard.press("x")
    tab.wait_for_function("document.querySelectorAll('.side strong')[1].textContent === 'LR'")
    tab.keyboard.press("n")
    tab.wait_for_url("**subject=subject05**")
    tab.keyboard.press(",")
    tab.wait_for_url("**slice=3**")
    rows = list(csv.DictReader(io.StringIO(saved(tab, "Save as CSV", ".panel"))))
    assert [*rows[0]] == ["subject", "metric", "edsr", "LR"]
    assert [row["subject"] for row in rows] == ["subject00", "subject05", HOSTILE]


# Comparisons


@pytest.mark.parametrize("pair", [("edsr", "linear"), ("linear", "edsr"), (HOSTILE, "bicubic"), ("srcnn", "linear")])
def test_a_comparison_says_what_bench_compare_says_in_both_directions(
    tab: Any, page: Path, table: Table, pair: tuple[str, str]
) -> None:
    go(tab, page, f"#/0/compare?{urlencode({'a': pair[0], 'b': pair[1]})}")
    fixed = list(pair) not in CLAIMS and list(pair[::-1]) in CLAIMS
    order = pair[::-1] if fixed else pair  # the family of a fixed contrast counts for both directions
    comparison = compare(table, table, order)
    assert tab.get_by_role("region", name="Claims").count() == 1
    shown = lines(tab, "[aria-label=Claims] table")
    expected = [line[-6:] for line in claim_table(table, [*comparison.rows, comparison.pooled]).rows]
    if fixed:
        expected = [turned(line) for line in expected]
    assert [line[1:] for line in shown] == expected
    verdict = comparison.pooled.verdict
    if fixed:
        verdict = {"better": "worse", "worse": "better"}.get(verdict, verdict)
    assert f"As methods, {pair[0]} is {verdict} than {pair[1]}." in tab.inner_text(".verdict")
    exported = list(csv.DictReader(io.StringIO(saved(tab, "Save as CSV"))))
    assert [row["verdict"] for row in exported] == [line[-1] for line in expected]
    sign = -1 if fixed else 1
    means = [sign * claim.contrast.mean for claim in [*comparison.rows, comparison.pooled]]
    assert [float(row["mean"]) for row in exported] == pytest.approx(means, rel=1e-12)


def turned(line: list[str]) -> list[str]:
    """A line of claims for the pair the other way round."""
    signs = str.maketrans("+−", "−+")
    words = {"better": "worse", "worse": "better"}

    def interval(text: str) -> str:
        return f"[{', '.join(reversed(text.translate(signs).strip('[]').split(', ')))}]"

    mean, networks, methods, subjects, seeds, verdict = line
    seeds = ", ".join(reversed(seeds.split(", ")))
    return [mean.translate(signs), interval(networks), interval(methods), subjects, seeds, words.get(verdict, verdict)]


def test_a_dot_for_every_subject_leads_to_its_slices(tab: Any, page: Path, table: Table) -> None:
    go(tab, page, f"#/0/compare?{urlencode({'a': 'edsr', 'b': 'srcnn', 'row': 3})}")
    titles = tab.locator("circle.dot title").all_text_contents()
    averages = [
        {
            subject: np.mean([scores["psnr"][subject] for scores in table.scores[table.rows[3], label].values()])
            for subject in scored
        }
        for label in ("edsr", "srcnn")
        for scored in [table.scores[table.rows[3], label][0]["psnr"]]
    ]
    differences = {subject: averages[0][subject] - averages[1][subject] for subject in averages[0]}
    ordered = sorted(differences, key=differences.__getitem__)
    assert titles == [f"{subject}: {differences[subject]:+.2f} dB".replace("-", "−") for subject in ordered]
    assert tab.locator("svg a .dot").count() == 3
    tab.get_by_role("link", name="subject05: ").first.click()
    settle(tab)
    assert tab.locator(".side strong").all_inner_texts() == ["srcnn", "edsr"]
    assert choice(tab, "Subject").startswith("subject05")
    tab.go_back()
    settle(tab)
    assert tab.locator("h1").inner_text() == "Compare"


def test_the_slices_that_differ_most_come_first(tab: Any, page: Path, table: Table) -> None:
    go(tab, page, f"#/0/compare?{urlencode({'a': 'bicubic', 'b': 'srcnn', 'row': 0})}")
    rms = {}
    for subject in ("subject00", "subject05", HOSTILE):
        for number in (3, 4):
            slices = scene_of(table, 0, subject, number).slices
            difference = slices["bicubic"].prediction.astype(float) - slices["srcnn"].prediction
            rms[f"{subject}, slice {number}"] = float(np.sqrt(np.mean(difference**2)))
    expected = sorted(rms, key=rms.__getitem__, reverse=True)[:3]
    assert [text.split(" · ")[0] for text in tab.locator(".card p").all_inner_texts()] == expected
    assert tab.locator(".card").first.locator("canvas").count() == 3


def test_where_nothing_is_claimed_the_reason_stands_in_place_of_the_claim(browser: Any, tmp_path: Path) -> None:
    def write_protocol(**changes: Any) -> Path:
        return write_small_protocol(tmp_path, **changes)

    plan = make_plan(write_protocol, tmp_path, {"srcnn": {}, "edsr": {"preset": "tiny"}}, seeds=[0])
    table = build_table(Store(page_records.fill(plan, [])).view(None))
    page = write_page([table], tmp_path / "page", images=True, say=pytest.fail).parent
    tab = open_page(browser, page, "#/0/compare?a=srcnn&b=edsr")
    verdict = tab.inner_text(".verdict")
    assert verdict.startswith("Nothing is claimed about srcnn and edsr as methods: 1 seed.")
    assert "12 subjects, seeds: 1 and 1." in verdict
    [line] = contrast_table(table, [row_contrast(table, table.rows[0], "srcnn", "edsr")]).rows
    assert line[4] in verdict  # these networks, of which something is known
    assert tab.locator("svg .interval").count() == 1
    assert "Methods (ii): no claim" in tab.locator("svg.wide").text_content()
    assert tab.seen == []
    tab.close()


def test_choosing_the_other_column_swaps_the_pair(tab: Any, page: Path) -> None:
    go(tab, page, f"#/0/compare?{urlencode({'a': 'edsr', 'b': 'srcnn'})}")
    tab.get_by_label("Column").first.select_option("srcnn")
    tab.wait_for_function("document.querySelector('.verdict h2').textContent.includes('srcnn is worse than edsr')")
    tab.get_by_role("link", name="linear − srcnn").click()
    settle(tab)
    assert "linear is worse than srcnn" in tab.inner_text(".verdict")


# Everyone


@pytest.mark.parametrize("look", ["light", "dark", "narrow"])
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_wrong_by_axe_and_nothing_is_wider_than_the_window(
    browser: Any, page: Path, view: str, look: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    width, scheme = (390 if look == "narrow" else 1280), ("dark" if look == "dark" else "light")
    tab = open_page(browser, page, f"#/0/{view}", viewport={"width": width, "height": 844}, color_scheme=scheme)
    violations = Axe().run(tab, options={"preload": False}).response["violations"]
    assert [(found["id"], [node["html"] for node in found["nodes"]]) for found in violations] == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert (tab.seen, tab.evaluate("window.booms")) == ([], 0)
    tab.close()


def test_the_page_is_used_by_keys_alone(tab: Any) -> None:
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Skip to the content"
    for _ in range(3):
        tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.textContent") == "Compare"
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".verdict")
    assert tab.evaluate("document.activeElement.id") == "main"


def test_a_file_that_is_missing_is_said(browser: Any, table: Table, tmp_path: Path) -> None:
    page = write_page([table], tmp_path / "page", images=True, say=pytest.fail).parent
    (page / "data" / "0" / "pairs.js").unlink()
    tab = open_page(browser, page, "#/0/compare")
    assert tab.get_by_role("alert").inner_text() == "data/0/pairs.js is missing. Copy the whole folder of this page."
    go(tab, page, "#/0/cell?row=9&label=nobody")
    assert "This page has no record of nobody" in tab.get_by_role("alert").inner_text()
    for address in (
        "#/7/nonsense",
        "#/0/table?sort=99&metric=none&hidden=x",
        "#/0/viewer?row=x&subject=y&slice=z&a=m:w",
    ):
        go(tab, page, address)
        assert tab.locator("table.figures, .stage").count() == 1
        assert tab.get_by_role("alert").count() == 0
    tab.close()


def test_two_protocols_share_a_page_and_one_column_has_nothing_to_compare(
    browser: Any, table: Table, tmp_path: Path
) -> None:
    plan = make_plan(
        lambda **changes: write_small_protocol(tmp_path, **changes), tmp_path, {"bicubic": {}}, name="alone"
    )
    results = page_records.fill(plan, [])
    alone = build_table(Store(results).view(None))
    page = write_page([table, alone], tmp_path / "page", images=False, say=pytest.fail).parent
    tab = open_page(browser, page)
    tab.get_by_label("Protocol").select_option("alone")
    tab.wait_for_function("document.querySelector('h1').textContent === 'alone'")
    assert [*values(tab)] == ["bicubic"]
    tab.get_by_role("link", name="Compare").click()
    settle(tab)
    assert "nothing to compare" in tab.inner_text("main")
    tab.get_by_role("link", name="Viewer").click()
    settle(tab)
    assert "no licence is known" in tab.inner_text("main")
    assert tab.seen == []
    tab.close()


def test_quoted_figures_are_marked_and_lead_nowhere_and_a_missing_one_says_why(browser: Any, tmp_path: Path) -> None:
    data = {"dataset": "ixi", "contrasts": ["PD"], "split": "split.csv", "plane": "axial", "crop": [96, 240, 240]}
    methods = {"bicubic": {}, "linear": {}, "poan": {}}
    loaded, trainings = plan_request(Request(str(write_small_protocol(tmp_path, data=data, methods=methods))))
    plan = Store(tmp_path / "results"), loaded, trainings
    for label, psnr in {"bicubic": 35.0, "linear": 38.0}.items():
        recorded.fill(plan, label, "x2", psnr, 0.98)
    table = build_table(recorded.view(plan), published=True)
    tab = open_page(browser, write_page([table], tmp_path / "page", images=False, say=pytest.fail).parent)
    cells = {line[0].replace("\n", " "): line[1] for line in lines(tab)}
    quoted = {f"{column.name} quoted: {column.source}": column for column in table.columns if column.source}
    assert cells["POAN quoted: POAN 2021"] == "41.59"
    for name, column in quoted.items():
        assert cells[name] == table.figure_text("psnr", table.value(table.rows[0], column, "psnr"))
    assert tab.locator("tr.is-quoted").count() == len(quoted)
    assert tab.locator("tr.is-quoted a").count() == 0
    tab.locator("tr.is-quoted .figure").last.focus()
    tab.get_by_role("tooltip").get_by_text("Quoted from POAN 2021, not run here").wait_for()
    assert cells["poan"] == "–"
    tab.locator("td.none .figure").first.focus()
    tab.get_by_role("tooltip").get_by_text("Missing: poan PD x2 bicubic seed 0").wait_for()
    rows = list(csv.DictReader(io.StringIO(saved(tab, "Save as CSV"))))
    assert [row["source"] for row in rows if row["method"] == "POAN"] == ["POAN 2021"]
    assert tab.seen == []
    tab.close()
