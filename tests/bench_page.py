"""The page of many cells: python tests/bench_page.py [--csv PATH].

540 cells of 30 columns, 9 rows and two seeds, with slices of 192 × 228 of three subjects: seconds and peak memory of
`bench report`, the bytes of the page, and the seconds until a browser shows each view (a minute for the whole).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import page_records
from bench_many import taken
from benching import report
from browsing import chromium, lacking, open_page
from conftest import write_small_protocol
from figure_records import make_plan

METHODS: dict[str, Any] = {"linear": {}} | {
    f"net-{number:02}": {"method": "edsr", "preset": "tiny"} for number in range(29)
}
DATA = {"dataset": "folder", "contrasts": ["T1", "T2", "PD"], "split": "split.csv", "plane": "axial"}
VIEWS = {
    "table": "",
    "viewer": "#/0/viewer",
    "compare": "#/0/compare?a=net-07&b=net-21",
    "cell": "#/0/cell?row=0&label=net-07",
}


def measure() -> Iterator[dict[str, Any]]:
    """Build, then open."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)

        def write_protocol(**changes: Any) -> Path:
            return write_small_protocol(folder, **changes)

        plan = make_plan(write_protocol, folder, METHODS, seeds=[0, 1], scales=[2, 3, 4], data=DATA)
        results = page_records.fill(plan, [*METHODS], size=(192, 228))
        cells = len(list(results.rglob("record.json")))
        page = folder / "page"
        seconds, peak = taken(["report", "--images", "--results", str(results), "-o", str(page)])
        size = sum(path.stat().st_size for path in page.rglob("*") if path.is_file())
        yield {"what": "bench report", "cells": cells, "seconds": round(seconds, 2), "mb": round(peak), "goal": 60.0}
        yield {"what": "bytes of the page", "cells": cells, "mb": round(size / 1e6)}
        if reason := lacking():
            print(f"not opened: {reason}")
            return
        with chromium() as browser:
            for name, address in VIEWS.items():
                began = time.monotonic()
                open_page(browser, page, address).close()
                yield {
                    "what": f"open: {name}",
                    "cells": cells,
                    "seconds": round(time.monotonic() - began, 2),
                    "goal": 2.0,
                }


if __name__ == "__main__":
    report(__doc__, measure, "{what}: {cells} cells")
