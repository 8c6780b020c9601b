"""Write docs/conventions.md and its picture: one reconstruction, scored under every convention.

    .venv/bin/python docs/make_conventions.py

The MNI152 T1 comes with nilearn. The two single-person volumes are real data that the project does not ship; without
their folder (../shared, or MRSR_SHARED) the page cannot be made, since it would lose their columns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mrsr_bench.datasets.mni152 import Mni152
from mrsr_bench.degradation import BicubicDegradation, bicubic, degrade
from mrsr_bench.protocol.loading import load
from mrsr_bench.protocol.schema import ScoringSpec
from mrsr_bench.scoring.score import Case, score
from mrsr_bench.system.files import write_text
from mrsr_bench.volumes import Volume, centre_crop, read_nifti, to_plane

HERE = Path(__file__).parent
PAGE, PICTURE = HERE / "conventions.md", HERE / "conventions.svg"
SHARED = Path(os.environ.get("MRSR_SHARED", HERE.parents[1] / "shared")) / "data" / "mr"
FACTORS = (1, 2, 2)
EMBEDDED = "MNI152"
SINGLE = {"Ljubljana": "ljubljana_p01_t1.nii.gz", "studyforrest": "t1_067mm_studyforrest_crop.nii.gz"}
"""Column → file below ../shared/data/mr."""
FIRST, SLICES = 40, 96
"""Of the MNI152: from the temporal poles almost to the vertex."""


@dataclass(frozen=True)
class Row:
    """A convention, in words and as a protocol has it."""

    words: str
    settings: dict[str, Any]
    unit: str = "volume"
    border: int = 0
    round: str = "stored"


@dataclass(frozen=True)
class Metric:
    """A table of the page."""

    name: str
    decimals: int
    settings: dict[str, Any]
    """Those of the first row, the suite's default."""
    rows: list[Row] = field(default_factory=list)

    def row(self, words: str, how: dict[str, Any] | None = None, **about: Any) -> None:
        """Add a row that differs from the first by `how`, and by a unit, border or rounding in `about`."""
        self.rows.append(Row(words, {"metric": self.name, **self.settings, **(how or {})}, **about))

    def shown(self, value: float) -> str:
        return f"{value:.{self.decimals}f}"


def conventions() -> list[Metric]:
    psnr = Metric("psnr", 2, {"range": "volume_minmax"})
    psnr.row("MSE of the volume, range max − min of the volume (the suite's default)")
    psnr.row("… range: the volume's maximum", {"range": "volume_max"})
    psnr.row("… range: the volume's 99.9th percentile", {"range": "volume_p999"})
    psnr.row("… foreground only", {"region": "foreground"})
    psnr.row("… 2 pixels shaved", border=2)
    psnr.row("… 8 pixels shaved", border=8)
    psnr.row("… not rounded, not clipped", round="none")
    psnr.row("… clipped at 0, not rounded", round="clipped")
    psnr.row("mean of the slices' dB, range max − min of the volume", unit="slice")
    psnr.row("mean of the slices' dB, range max − min of the slice", {"range": "slice_minmax"}, unit="slice")
    psnr.row("mean of the slices' dB, range: the slice's maximum", {"range": "slice_max"}, unit="slice")
    psnr.row(
        "dB of the slices' mean MSE, range max − min of the slice",
        {"range": "slice_minmax", "pool": "mse"},
        unit="slice",
    )
    ssim = Metric("ssim", 4, {"window": "gaussian11", "dims": 2, "range": "volume_minmax", "map": "whole"})
    ssim.row("2-D, Gaussian window, range max − min of the volume, whole map (the suite's default)")
    ssim.row("… map cropped by the window's radius (scikit-image)", {"map": "cropped"})
    ssim.row("… uniform window of 7 pixels", {"window": "uniform7"})
    ssim.row(
        "… uniform window of 7 pixels, map cropped (scikit-image's default)", {"window": "uniform7", "map": "cropped"}
    )
    ssim.row("… 3-D", {"dims": 3})
    ssim.row("… 3-D, map cropped", {"dims": 3, "map": "cropped"})
    ssim.row("… 3-D, uniform window of 7 voxels, map cropped", {"dims": 3, "window": "uniform7", "map": "cropped"})
    ssim.row("… range: the volume's 99.9th percentile", {"range": "volume_p999"})
    ssim.row("… range max − min of the slice", {"range": "slice_minmax"}, unit="slice")
    ssim.row("… foreground only", {"region": "foreground"})
    ssim.row("… 8 pixels shaved", border=8)
    ssim.row("… not rounded, not clipped", round="none")
    return [psnr, ssim]


def embedded() -> Volume:
    """96 axial slices of the MNI152 T1, in the page's first column."""
    whole = to_plane(read_nifti(Mni152().source("slab035", "T1")), "axial")
    cut = centre_crop(whole, None)
    return Volume(cut.data[FIRST : FIRST + SLICES], cut.spacing, cut.affine, cut.grid)


def single(name: str) -> Volume:
    return centre_crop(to_plane(read_nifti(SHARED / SINGLE[name]), "axial"), None)


def reconstructed(volume: Volume) -> tuple[np.ndarray, Case]:
    """MATLAB's bicubic down by 2, rounded as stored, and up again."""
    lr = volume.grid.apply(degrade(volume.data, "bicubic", FACTORS), "stored")
    return bicubic(lr, volume.data.shape), Case(volume.data, lr, volume.grid, BicubicDegradation())


def sample(volume: Volume) -> tuple[np.ndarray, Case]:
    """The reconstruction as it is scored, rounded."""
    prediction, case = reconstructed(volume)
    return volume.grid.apply(prediction, "stored"), case


def midslices() -> Iterator[Volume]:
    """One slice of each test subject of the protocol ixi_midslice."""
    for subject in load("ixi_midslice").split["test"]:
        path = SHARED.parent / "ixi_midslice" / f"{subject}-T1.nii.gz"
        yield centre_crop(to_plane(read_nifti(path), "axial"), None)


def figures(volume: Volume, rows: list[Row]) -> list[float]:
    """The figure of every row; rows that share unit, border and rounding are scored together."""
    prediction, case = reconstructed(volume)
    found: dict[int, float] = {}
    for unit, border, rounding in {(row.unit, row.border, row.round) for row in rows}:
        alike = [n for n, row in enumerate(rows) if (row.unit, row.border, row.round) == (unit, border, rounding)]
        metrics = {str(n): rows[n].settings for n in alike}
        scores = score(prediction, case, ScoringSpec(unit=unit, border=border, round=rounding, metrics=metrics))
        found |= {int(label): value for label, value in scores.items()}
    return [found[n] for n in range(len(rows))]


def table(metric: Metric, columns: dict[str, list[float]]) -> str:
    """Rows with a figure and its distance from the first row's, and the spread below."""
    lines = [f"| {metric.name.upper()} | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for number, row in enumerate(metric.rows):
        cells = []
        for values in columns.values():
            away = round(values[number] - values[0], metric.decimals) + 0.0  # no −0.00
            after = f" ({away:+.{metric.decimals}f})".replace("-", "−") if number else ""
            cells.append(metric.shown(values[number]) + after)
        lines.append(f"| {row.words} | {' | '.join(cells)} |")
    spread = [metric.shown(max(values) - min(values)) for values in columns.values()]
    lines.append(f"| **highest less lowest** | {' | '.join(f'**{value}**' for value in spread)} |")
    return "\n".join(lines)


def picture(metric: Metric, columns: dict[str, list[float]]) -> None:
    """Each PSNR convention's distance from the first, a mark a volume."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "conventions", "svg.fonttype": "none", "font.size": 9}
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.6), layout="constrained")
    places = np.arange(len(metric.rows) - 1)
    for (name, values), marker in zip(columns.items(), "os^", strict=True):
        axes.plot(np.subtract(values[1:], values[0]), places, marker, label=name, markersize=5)
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_yticks(places, [row.words for row in metric.rows[1:]])
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.9")
    axes.set_xlabel("dB more or less than the suite's default, for the same images")
    axes.legend(frameon=False)
    figure.savefig(PICTURE, metadata={"Date": None})
    text = PICTURE.read_text(encoding="utf-8")
    PICTURE.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")


TEXT = """\
# The same images under every convention

<!-- Made by docs/make_conventions.py (`make docs`); do not edit. -->

A PSNR or SSIM says nothing without its convention. Below stands *one* reconstruction of each of three real volumes
under the conventions that a protocol can ask for: bicubic ×2, down and up as MATLAB does it, LR rounded to the stored
integers. Nothing but the convention differs within a column.

{psnr}

In brackets: the distance from the first row. The figure of the same images moves by {spread} dB. In Table 1 of POAN
(ICME 2021) the best method is 0.31 dB above the next (PD ×2, 41.59 and 41.28 dB): figures can be compared only where
range, averaging, region and rounding are known to be the same.

![Distance of each PSNR convention from the default]({picture})

{ssim}

{others}

## What to read from it

- **The range** moves PSNR most. The maximum of a volume is often a few hot voxels, which flatters; a slice's own range
  costs decibels where slices differ in brightness. Ranges always come from the truth.
- **The background** flatters: most of it is predicted almost exactly. Foreground figures are of the mask that
  `mrsr_bench.scoring.metrics.foreground` defines, of the truth alone.
- **Averaging**: the mean of slices' dB rewards a few easy slices; the dB of their mean MSE is ruled by the hard ones.
- **SSIM** depends on its window, on the number of dimensions, and on whether the border of the map is averaged.
- **Rounding** hardly matters here, although two of the volumes have fewer than 257 values.

The suite's default is what the published IXI tables used, as far as that can be known: one MSE a volume, range
max − min of the true volume, nothing shaved, the whole SSIM map, predictions rounded to the stored integers. Every
protocol writes its conventions out, and the caption of every table repeats them, each as a signature of one line
([protocols.md](protocols.md#metrics)).

## The volumes

| column | volume | shape (slices, rows, columns) | values |
|---|---|---|---|
{volumes}

MNI152: the average of 152 adults that nilearn ships, brain only. Ljubljana: T1 of one patient (open_ms_data, patient
01; CC BY, Lesjak et al., Neuroinformatics 2016). studyforrest: T1 of one adult (PDDL 1.0). All are cut in axial slices,
rows and columns cropped to a multiple of 12.
"""


def main() -> None:
    import other_forms

    if not SHARED.is_dir():
        raise SystemExit(f"{SHARED} is not here; the page needs the volumes {', '.join(SINGLE.values())} in it")
    volumes = {EMBEDDED: embedded(), **{name: single(name) for name in SINGLE}}
    tables, spreads = {}, []
    for metric in conventions():
        columns = {name: figures(volume, metric.rows) for name, volume in volumes.items()}
        tables[metric.name] = table(metric, columns)
        if metric.name == "psnr":
            spreads = [max(values) - min(values) for values in columns.values()]
            picture(metric, columns)
    about = {
        EMBEDDED: f"`mni_icbm152_t1_tal_nlin_sym_09a`, axial slices {FIRST} to {FIRST + SLICES - 1}",
        **{name: f"`{file}`" for name, file in SINGLE.items()},
    }
    lines = [
        f"| {name} | {about[name]} | {volume.data.shape} | {volume.data.min():g} to {volume.data.max():g} |"
        for name, volume in volumes.items()
    ]
    spread = f"{min(spreads):.1f} to {max(spreads):.1f}"
    samples = {name: sample(volume) for name, volume in volumes.items()}
    others = other_forms.sections(samples, [sample(volume) for volume in midslices()])
    page = TEXT.format(**tables, others=others, spread=spread, picture=PICTURE.name, volumes="\n".join(lines))
    write_text(PAGE, page)


if __name__ == "__main__":
    main()
