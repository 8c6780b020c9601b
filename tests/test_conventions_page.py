"""docs/conventions.md: what it prints of the embedded volume is what the suite computes, and it is whole."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import pytest
from conftest import docs_script

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "conventions.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return docs_script("make_conventions")


def printed(metric: str) -> dict[str, list[float]]:
    """Words of a row → its figures, one a volume."""
    _, _, after = PAGE.partition(f"| {metric.upper()} |")
    lines = after.partition("\n\n")[0].splitlines()[2:-1]
    return {line.split(" | ")[0].lstrip("| "): [float(n) for n in re.findall(r"\| (\d+\.\d+)", line)] for line in lines}


def test_the_page_has_every_row_with_a_figure_for_every_volume(script: ModuleType) -> None:
    for metric in script.conventions():
        rows = printed(metric.name)
        assert list(rows) == [row.words for row in metric.rows]
        assert {len(figures) for figures in rows.values()} == {1 + len(script.SINGLE)}


def test_the_pages_first_column_is_what_the_suite_computes(script: ModuleType) -> None:
    psnr, ssim = script.conventions()
    chosen = [(psnr, number) for number in (0, 2, 3, 9, 11)] + [(ssim, number) for number in (0, 1)]
    rows = [metric.rows[number] for metric, number in chosen]
    for (metric, _), row, value in zip(chosen, rows, script.figures(script.embedded(), rows), strict=True):
        assert printed(metric.name)[row.words][0] == pytest.approx(value, abs=0.51 * 10**-metric.decimals), row.words


def test_the_pages_second_column_is_what_the_suite_computes(script: ModuleType, shared: Path) -> None:
    psnr = script.conventions()[0]
    rows = [psnr.rows[number] for number in (0, 2, 9)]
    for row, value in zip(rows, script.figures(script.single("Ljubljana"), rows), strict=True):
        assert printed("psnr")[row.words][1] == pytest.approx(value, abs=0.0051)


def test_the_page_shows_its_picture() -> None:
    [name] = re.findall(r"!\[[^]]+\]\(([^)]+)\)", PAGE)
    assert (DOCS / name).read_text(encoding="utf-8").lstrip().startswith("<?xml")
