"""docs/null_space.md: what it prints of the embedded volume is what the suite computes."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import docs_script

PAGE = (Path(__file__).parents[1] / "docs" / "null_space.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "scale"), [("bicubic", 4), ("truncation_csn", 3)])
def test_the_pages_first_table_is_what_the_suite_computes(name: str, scale: int) -> None:
    docs_script("make_conventions")  # the other script imports it
    script = docs_script("make_null_space")
    figures = [script.text(figure) for figure in script.figures(script.spaced(script.embedded()), name, scale)]
    _, _, table = PAGE.partition("**MNI152**")
    [line] = [line for line in table.split("\n\n")[1].splitlines() if line.startswith(f"| `{name}` | ×{scale} |")]
    assert [cell.strip() for cell in line.strip("|").split("|")][2:] == figures


def test_the_page_has_every_degradation_scale_and_image() -> None:
    assert PAGE.count("| `") == 4 * 4 * 3
    assert "nan" not in PAGE
