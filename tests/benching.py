"""What the benchmarks share: rows printed as they come, and written to a CSV when asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

Row = dict[str, Any]


def report(about: str | None, measure: Callable[[], Iterable[Row]], line: str) -> None:
    """The command line of a benchmark: prints `line`, a format of the row's keys, for every row that is measured."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="also write the figures to this file")
    path = parser.parse_args().csv
    rows = []
    for row in measure():
        rows.append(row)
        print(line.format_map(row), flush=True)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows).to_csv(path, index=False)
