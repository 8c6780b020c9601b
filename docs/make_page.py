"""Takes the pictures of docs/page.md: the page of the reference run, in a real browser.

    python docs/make_page.py

Needs Chromium and the extra `browser` (`make test-browser` installs it); without them it says so and changes nothing.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from PIL import Image

from mrsr_bench.cli import main as bench
from mrsr_bench.system.files import atomic_file

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "page"
PACK = ROOT / "results" / "reference" / "ixi_midslice_equal.zip"
COLOURS = 128
"""Of a picture: enough for a page, at a third of the bytes."""
sys.path.insert(0, str(ROOT / "tests"))

from browsing import chromium, lacking, open_page  # noqa: E402


def zoomed(tab: Any) -> None:
    """Move the view to a part of the slice."""
    box = tab.locator(".stage").bounding_box()
    tab.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.46)
    for _ in range(4):
        tab.mouse.wheel(0, -100)
    tab.mouse.move(0, 0)


def explained(tab: Any) -> None:
    """Show what a figure is."""
    tab.locator("a.figure").nth(8).focus()
    tab.get_by_role("tooltip").wait_for()


SHOTS = {
    "viewer": ("#/0/viewer?row=0&subject=IXI120&a=m:linear&b=m:edsr", zoomed),
    "error": ("#/0/viewer?row=0&subject=IXI120&a=m:linear&b=m:edsr&mode=error", None),
    "table": ("", explained),
    "compare": ("#/0/compare?a=poan&b=csn", None),
    "records": ("#/0/cell?row=0&label=edsr", None),
}
"""Name of a picture → the view, and what is done there first."""


def main() -> int:
    """Take all pictures."""
    if reason := lacking():
        print(f"no pictures of the page: {reason}")
        return 1
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        page = Path(folder) / "page"
        ran = CliRunner().invoke(bench, ["report", "--results", str(PACK), "-o", str(page)], catch_exceptions=False)
        if ran.exit_code:
            raise SystemExit(ran.output)
        for name, (address, prepare) in SHOTS.items():
            scheme = "dark" if name == "error" else "light"
            tab = open_page(browser, page, address, viewport={"width": 1200, "height": 800}, color_scheme=scheme)
            if prepare:
                prepare(tab)
            picture = Image.open(io.BytesIO(tab.screenshot())).convert("RGB")
            assert tab.seen == [], tab.seen
            with atomic_file(PICTURES / f"{name}.png") as file:
                picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
            tab.close()
            print(PICTURES / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
