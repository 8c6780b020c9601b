"""Write docs/null_space.md: what methods that learn nothing recover of what LR holds nothing of.

    .venv/bin/python docs/make_null_space.py

The MNI152 T1 comes with nilearn. The other images are real data that the project does not ship (../shared, or
MRSR_SHARED); without them the page cannot be made. Two minutes on one core, most of them NLM's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from make_conventions import SHARED, SINGLE, embedded, midslices, single

from mrsr_bench.degradation import DEGRADATIONS, Degradation, KspaceDegradation
from mrsr_bench.method import Method, Scan, Task
from mrsr_bench.methods.backprojection import Backprojection
from mrsr_bench.methods.bicubic import Bicubic
from mrsr_bench.methods.nlm import Nlm
from mrsr_bench.methods.zerofill import Zerofill
from mrsr_bench.protocol.schema import ScoringSpec
from mrsr_bench.scoring.metrics.null_space import pseudo_inverse, range_part
from mrsr_bench.scoring.score import Case, score
from mrsr_bench.system.files import write_text
from mrsr_bench.volumes import Grid, Volume

PAGE = Path(__file__).parent / "null_space.md"
SLICES = 8
"""Evenly spaced, of each volume."""
SUBJECTS = 8
"""Of the test fold of ixi_midslice, one slice each: the first ones."""
SCALES = (2, 3, 4)
METHODS: dict[str, type[Method]] = {
    "bicubic": Bicubic,
    "backprojection": Backprojection,
    "zerofill": Zerofill,
    "nlm": Nlm,
}
COLUMNS = ("pseudo-inverse", "… rounded, clipped at 0", *METHODS, "bicubic, by the box")
SCORING = ScoringSpec(round="none", metrics={"nullspace_recovered": {}})


def spaced(volume: Volume) -> np.ndarray:
    """(8, H, W): evenly spaced slices."""
    number = len(volume.data)
    return volume.data[[(2 * part + 1) * number // (2 * SLICES) for part in range(SLICES)]]


def images() -> dict[str, np.ndarray]:
    """Name → (8, H, W)."""
    return {
        "MNI152": spaced(embedded()),
        **{name: spaced(single(name)) for name in SINGLE},
        "ixi_midslice": np.concatenate([volume.data for volume in islice(midslices(), SUBJECTS)]),
    }


def recovered(prediction: np.ndarray, hr: np.ndarray, lr: np.ndarray, degradation: Degradation) -> float:
    """`nullspace_recovered` before any rounding."""
    return score(prediction, Case(hr, lr, Grid(integer=False), degradation), SCORING)["nullspace_recovered"]


def box_recovered(prediction: np.ndarray, hr: np.ndarray, lr: np.ndarray) -> float:
    """The same with the box of frequencies below LR's Nyquist frequency, which is P of `kspace`, as the border."""
    error, truth = (volume - range_part(volume, KspaceDegradation(), lr.shape) for volume in (prediction - hr, hr))
    return float(1 - np.vdot(error, error) / np.vdot(truth, truth))


def figures(hr: np.ndarray, name: str, scale: int) -> Iterator[float | None]:
    """A figure for each of `COLUMNS`; None where the method cannot do the task."""
    degradation, factors = DEGRADATIONS[name](), (1, scale, scale)
    grid, hr = Grid(integer=True, nonnegative=True), np.asarray(hr, np.float64)
    shape = tuple(n // factor for n, factor in zip(hr.shape, factors, strict=True))
    lr = grid.apply(degradation(hr, shape), "stored")
    minimum_norm = pseudo_inverse(lr, degradation, hr.shape)
    yield recovered(minimum_norm, hr, lr, degradation)
    yield recovered(grid.apply(minimum_norm, "stored"), hr, lr, degradation)
    predictions = {}
    for label, cls in METHODS.items():
        method, task = cls(), Task(factors, name)
        if method.unsupported(task):
            yield None
            continue
        predictions[label] = method.upscale(Scan(lr.astype(np.float32), (1.0, 1.0, 1.0), "T1"), task)
        yield recovered(predictions[label], hr, lr, degradation)
    yield box_recovered(predictions["bicubic"].astype(np.float64), hr, lr)


def table(hr: np.ndarray) -> str:
    """A row for each degradation and scale."""
    lines = [f"| degradation | scale | {' | '.join(COLUMNS)} |", f"|---|---|{'---|' * len(COLUMNS)}"]
    for name in DEGRADATIONS:
        for scale in SCALES:
            cells = [text(figure) for figure in figures(hr, name, scale)]
            lines.append(f"| `{name}` | ×{scale} | {' | '.join(cells)} |")
    return "\n".join(lines)


def text(figure: float | None) -> str:
    """With a sign; no sign for 0."""
    if figure is None:
        return "–"
    rounded = round(figure, 4) + 0.0
    return f"{rounded:+.4f}".replace("-", "−") if rounded else "0.0000"


TEXT = """\
# Range and null space

<!-- Made by docs/make_null_space.py (`make docs`); do not edit. -->

LR determines a part of HR and holds nothing of the rest. For a degradation that is linear, a matrix A, the first part
is P·x with P = A⁺A, the second (I − P)·x. So an error has two parts, and a protocol has a metric for each:

- `range_nmse` = ‖P(x̂ − x)‖² / ‖P·x‖²: what the method gets wrong although LR says it. 0 degrades to the same LR as the
  truth.
- `nullspace_recovered` = 1 − ‖(I − P)(x̂ − x)‖² / ‖(I − P)x‖²: what it adds to LR. 1 is all of the lost detail, 0 none,
  below 0 is invention. The image of least norm, A⁺·LR, has 0: it adds nothing.

Both are exact: a small pseudo-inverse along each axis (`mrsr_bench.scoring.metrics.null_space`), whose singular values
below a millionth of the largest count as 0. Both are of the prediction before rounding and clipping at 0: clipping
is prior knowledge too, and earns what the second column says.

Below: `nullspace_recovered` of methods that learn nothing, LR rounded to whole numbers.

{tables}

## What to read from it

- The pseudo-inverse has 0 under all four degradations. What differs from 0 comes from knowledge beyond LR.
- Bicubic interpolation has 0 under `bicubic` alone, as has back-projection, which supports no other. Zero-filling has 0
  under `kspace` and `truncation_csn` alone. Elsewhere each is a prior, which earns or loses.
- The same prior may earn under one degradation and lose under another: compare NLM under `bicubic` and `kspace`.
- **Why no frequency bands.** A box of frequencies below LR's Nyquist frequency is the border of what LR determines
  under `kspace` alone. The last column has that box as the border. It credits bicubic interpolation under `bicubic`,
  which adds nothing to LR, with {low} to {high} of the lost detail. `radial.csv` of each record still has the energy of
  the error by frequency.

## The images

MNI152, Ljubljana and studyforrest are the volumes of [conventions.md](conventions.md#the-volumes), of each {slices}
evenly spaced axial slices. ixi_midslice: the first {subjects} subjects of the test fold of the protocol `ixi_midslice`,
one slice each. Every figure is of all pixels of those slices together. –: the method does not support the degradation.
"""


def main() -> None:
    if not SHARED.is_dir():
        raise SystemExit(f"{SHARED} is not here; the page needs the images in it")
    tables = {name: table(hr) for name, hr in images().items()}
    by_box = [line.rsplit("| ", 1)[1].rstrip(" |") for rows in tables.values() for line in rows.splitlines()[2:5]]
    blocks = [f"**{name}**\n\n{rows}" for name, rows in tables.items()]
    ordered = sorted(by_box, key=lambda cell: float(cell.replace("−", "-")))
    page = TEXT.format(tables="\n\n".join(blocks), low=ordered[0], high=ordered[-1], slices=SLICES, subjects=SUBJECTS)
    write_text(PAGE, page)


if __name__ == "__main__":
    main()
