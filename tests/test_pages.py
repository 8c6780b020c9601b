"""Pages of protocols say which version they describe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mrsr_bench.protocol import loading as protocol

PAGES = sorted((Path(__file__).parents[1] / "docs" / "protocols").glob("*.md"))


def test_every_ixi_protocol_has_a_page() -> None:
    wanted = {name for name in protocol.builtin() if name.startswith("ixi_")} - {"ixi_midslice"}
    assert {page.stem for page in PAGES} == wanted


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
