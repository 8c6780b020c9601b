"""Published figures: what papers print for IXI, who printed it, and its known errors. Nothing here is ours.

The data are `results/published/*.csv`, which ship with the package; their README says what the columns mean.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

Fields = dict[str, str]

DATASET = "ixi"
"""The data set of all published figures."""
DEGRADATIONS = {"bicubic": "bicubic", "truncation_csn": "truncation"}
"""A degradation of ours (its title) → its name in the published tables."""
METHODS = {
    "bicubic": "Bicubic",
    "nlm": "NLM",
    "srcnn": "SRCNN",
    "vdsr": "VDSR",
    "rdn": "RDN",
    "edsr": "EDSR (C96)",
    "edsr-c96": "EDSR (C96)",
    "csn": "CSN",
    "poan": "POAN",
    "poan+": "POAN+",
    "A-none": "POAN A",
    "B-point": "POAN B",
    "C-patch": "POAN C",
    "D-pyramid": "POAN D",
    "E-point-patch": "POAN E",
    "F-patch-pyramid": "POAN F",
    "G-point-pyramid": "POAN G",
    "H-all": "POAN H",
    "B-channel": "POAN B",
    "C-spatial": "POAN C",
    "D-both": "POAN D",
}
"""A column's label → the published method to show beside it. The last ones are of POAN's tables 2 and 3."""
COPIED = "copied from"
"""A figure's note begins with this where the paper took it from another paper; only the original is quoted."""
_FIGURE = ("source", "degradation", "contrast", "scale", "method")


@dataclass(frozen=True)
class Quote:
    """One printed figure."""

    source: str
    """Whose, e.g. 'CSN': a row of `sources`."""
    degradation: str
    contrast: str
    scale: int
    method: str
    values: dict[str, float]
    """'psnr' (dB) and 'ssim' → as printed; a figure that is not printed is left out."""


def load() -> pd.DataFrame:
    """All published figures: source, table, degradation, contrast, scale (int), method, psnr (dB), ssim and note.

    As printed, mistakes included (`errata` has them); NaN where a table has no SSIM; table and note may be ''.
    """
    import pandas as pd

    frame = pd.DataFrame(_read("figures")).astype({"scale": int})
    for metric in ("psnr", "ssim"):
        frame[metric] = pd.to_numeric(frame[metric])
    return frame


def errata() -> pd.DataFrame:
    """The known errors: number, the figures concerned, what, evidence.

    The figures: source, degradation, contrast, scale and method, each '' for any, or several with ' | ' between.
    """
    import pandas as pd

    return pd.DataFrame(_read("errata"))


def sources() -> dict[str, tuple[int, str]]:
    """Source → year and citation."""
    return {row["source"]: (int(row["year"]), row["citation"]) for row in _read("sources")}


def name(source: str) -> str:
    """'CSN' → 'CSN 2019'."""
    return f"{source} {sources()[source][0]}"


def find(degradation: str, contrast: str, scale: str, label: str) -> Quote | None:
    """The figure shown beside the column `label` in a row of ours (scale as 'x2'), from the paper that measured it."""
    of_label = _originals().get(METHODS.get(label, ""), {})
    return of_label.get((DEGRADATIONS.get(degradation, ""), contrast, scale.removeprefix("x")))


def known_errors(quotes: Iterable[Quote]) -> list[str]:
    """The `errata` of these figures, whoever prints them: each as '(number) what'."""
    figures = list(quotes)
    concerned = [row for row in _read("errata") if any(_concerns(row, quote) for quote in figures)]
    return [f"({row['number']}) {row['what']}" for row in concerned]


def _concerns(erratum: Fields, quote: Quote) -> bool:
    """Whether an erratum touches a figure. Its source does not count: a copy's mistake is the reader's trap too."""
    return all(not erratum[field] or str(getattr(quote, field)) in erratum[field].split(" | ") for field in _FIGURE[1:])


@cache
def _originals() -> dict[str, dict[tuple[str, str, str], Quote]]:
    """Method → (degradation, contrast, scale) → its figure; copies left out."""
    originals: dict[str, dict[tuple[str, str, str], Quote]] = {}
    for row in _read("figures"):
        if not row["note"].startswith(COPIED):
            source, degradation, contrast, scale, method = (row[field] for field in _FIGURE)
            values = {metric: float(row[metric]) for metric in ("psnr", "ssim") if row[metric]}
            quote = Quote(source, degradation, contrast, int(scale), method, values)
            originals.setdefault(method, {})[degradation, contrast, scale] = quote
    return originals


@cache
def _read(table: str) -> tuple[Fields, ...]:
    """The rows of one of the data files, every field as text."""
    path = files("mrsr_bench.published") / f"{table}.csv"
    return tuple(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
