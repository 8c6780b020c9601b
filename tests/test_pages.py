"""Pages of protocols say which version they describe; pages of results hold what their commands print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import docs_script

from mrsr_bench.protocol import loading as protocol

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs" / "protocols").glob("*.md"))


def test_every_ixi_protocol_has_a_page() -> None:
    expected = {name for name in protocol.builtin() if name.startswith("ixi_")} - {"ixi_midslice"}
    assert {page.stem for page in PAGES} == expected


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_names_version_and_digest_and_says_what_its_protocol_is_for_costs_and_cannot_show(page: Path) -> None:
    text, loaded = page.read_text(encoding="utf-8"), protocol.load(page.stem)
    assert text.startswith(f"# {page.stem}\n\nVersion {loaded.protocol.version}, digest `{loaded.digest[:12]}`.\n")
    parts = re.findall(r"^\*\*(What .*?)\*\*", text, re.MULTILINE)
    for part in ("What it is for.", "What it costs.", "What it cannot show."):
        assert part in parts
    cost = text.split("**What it costs.**")[1].split("**What")[0]
    assert re.search(r"\d+ cells", cost)
    assert re.search(r"[\d.,]+ (GPU hours|minutes)", cost)


@pytest.mark.parametrize(
    ("name", "tables"),
    [("ixi_midslice", 1), ("ixi_midslice_rates", 1), ("ixi_midslice_equal", 3), ("poan_readings", 1)],
)
def test_a_page_of_results_holds_what_its_commands_print_today(name: str, tables: int) -> None:
    script = docs_script("make_reference")
    page = (ROOT / "results" / "reference" / f"{name}.md").read_text(encoding="utf-8")
    assert len(script.BLOCK.findall(page)) == tables
    assert script.with_tables(page) == page, "make docs"
