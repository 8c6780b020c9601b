"""Write docs/inference.md and its picture: what it costs to upscale in tiles.

    .venv/bin/python docs/make_inference.py RESULTS [--data DIR]

RESULTS holds a run of ixi_midslice_equal with its weights; DIR its slices, by default those of ../shared.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from mrsr_bench.data.folders import open_dataset
from mrsr_bench.data.preparation import prepare
from mrsr_bench.degradation import DEGRADATIONS
from mrsr_bench.planning.cells import Training, plan_trainings
from mrsr_bench.protocol.loading import Loaded, load
from mrsr_bench.scoring.score import Case, score
from mrsr_bench.store.results import Store
from mrsr_bench.store.weights import read_weights
from mrsr_bench.system.files import write_text

HERE = Path(__file__).parent
PAGE, PICTURE = HERE / "inference.md", HERE / "inference.svg"
PROTOCOL, SCALE, SEED = "ixi_midslice_equal", 2, 0
SIDES = (24, 32, 48, 64)
"""Of tiles in LR pixels: that of the training patches, and larger ones."""
NETWORKS = ("srcnn", "vdsr", "edsr", "rdn", "csn", "poan")
OVERLAPS = (0, 8)
TILES = [(side, overlap) for side in SIDES for overlap in OVERLAPS]
Tiles = tuple[int, int] | None
Figures = dict[tuple[str, Tiles], float]


def figures(store: Store, loaded: Loaded, training: Training, data: Path) -> Figures:
    """Mean PSNR of the test slices, by tiles; None is the whole slice."""
    protocol, cell, method = loaded.protocol, training.base, training.make_method()
    weights = read_weights(training.folder(store, cell))
    assert weights is not None, "train it first"
    method.load_state(weights[0], training.task)
    cut, dataset = protocol.data.cut(cell.contrast), open_dataset(protocol.data.dataset, data)
    pairs = prepare(dataset, loaded.split["test"], cell.contrast, cut, cell.degradation, cell.factors)
    degradation = DEGRADATIONS[cell.degradation.name]()
    found: Figures = {}
    for tiles in [None, *TILES]:
        task = replace(training.task, tiles=tiles)
        values = []
        for pair in pairs:
            output = method.upscale(pair.scan(cell.factors), task)
            values.append(score(output, Case(pair.hr, pair.lr, pair.grid, degradation), protocol.scoring))
        found[cell.label, tiles] = float(np.mean([value["psnr"] for value in values]))
        click.echo(f"{cell.label} ×{cell.factors[2]} {tiles}: {found[cell.label, tiles]:.3f} dB")
    return found


def table(found: Figures) -> str:
    """A row a network: the whole slice, then each kind of tile's distance from it."""
    heads = [f"{side}" + (f", overlap {overlap}" if overlap else "") for side, overlap in TILES]
    lines = [f"| network | whole slice, dB | {' | '.join(heads)} |", f"|---|---|{'---|' * len(TILES)}"]
    for label in NETWORKS:
        away = [signed(found[label, tiles] - found[label, None]) for tiles in TILES]
        lines.append(f"| {label} | {found[label, None]:.2f} | {' | '.join(away)} |")
    return "\n".join(lines)


def picture(found: Figures) -> None:
    """PSNR less that of whole slices, over the side of a tile; dashed with an overlap."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "inference", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        axes = figure.subplots()
        for number, label in enumerate(NETWORKS):
            for overlap, style in zip(OVERLAPS, ("o-", "o--"), strict=True):
                values = [found[label, (side, overlap)] - found[label, None] for side in SIDES]
                name = None if overlap else label
                axes.plot(SIDES, values, style, color=f"C{number}", label=name, markersize=3, linewidth=1)
        axes.axhline(0, color="0.6", linewidth=0.8)
        axes.set_xticks(SIDES)
        axes.grid(color="0.92")
        axes.set_xlabel("side of a tile, LR pixels")
        axes.set_ylabel("PSNR in tiles − PSNR of whole slices, dB")
        axes.legend(frameon=False, fontsize=8)
        figure.savefig(PICTURE, metadata={"Date": None})
    text = PICTURE.read_text(encoding="utf-8")
    PICTURE.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")


TEXT = """\
# Whole slices or tiles

<!-- Made by docs/make_inference.py; do not edit. -->

Networks learn from patches and are tested on whole slices. A convolution does not mind; a block that looks at all of
its input (POAN's attention and channel statistics) sees other statistics there than it learned from. A protocol says
which it is, and that is part of the score key:

```yaml
inference: {{tile: 48, overlap: 8}}      # without this line: whole slices
```

A network then upscales square tiles of 48 LR pixels that lie evenly; neighbours share at least 8, and every HR pixel
comes from the tile whose middle is nearer. Records are scored again from the same weights: nothing is trained.

![PSNR in tiles less that of whole slices]({picture})

The networks of `{protocol}` (×{scale}, seed {seed}, trained on patches of {patch}×{patch}), PSNR of the {number} test
slices of {shape} HR pixels: how far tiles of that side, in LR pixels, are from whole slices. Dashed in the picture: an
overlap of {overlap} or more. Without one, tiles overlap only where a multiple of their side is longer than the slice
(which has {lr_shape} LR pixels).

{table}

## What to read from it

{reading}
"""

READING = """\
- A seam costs every network the pixels that it would have seen beyond it. In tiles of the training patch's side that do
  not overlap, {worst_label} changes most, by {worst} dB.
- With an overlap of {overlap}, the farthest from whole slices is {shared_label}, by {shared} dB. poan, which looks at
  all of its input, changes by {poan} dB, and edsr, which has the same residual blocks and does not, by {edsr} dB.
- One seed, one scale, one data set, networks in small presets after a short training. Figures with and without tiles
  must not stand in one column, whatever they differ by here."""


def signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def reading(found: Figures) -> str:
    """The sentences that depend on the figures, of the smallest tiles."""

    def away(label: str, overlap: int) -> float:
        return found[label, (SIDES[0], overlap)] - found[label, None]

    none, some = OVERLAPS
    worst, shared = (max(NETWORKS, key=lambda label, o=overlap: abs(away(label, o))) for overlap in OVERLAPS)
    return READING.format(
        overlap=some,
        worst_label=worst,
        worst=signed(away(worst, none)),
        shared_label=shared,
        shared=signed(away(shared, some)),
        poan=signed(away("poan", some)),
        edsr=signed(away("edsr", some)),
    )


@click.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path), default=HERE.parents[1] / "shared" / "data" / "ixi_midslice")
def main(results: Path, data: Path) -> None:
    """Score the weights in RESULTS under every kind of tile and write the page."""
    loaded, store = load(PROTOCOL), Store(results)
    found: Figures = {}
    for training in plan_trainings(loaded, NETWORKS, [SEED], [str(SCALE)]):
        found |= figures(store, loaded, training, data)
    picture(found)
    crop = loaded.protocol.data.crop
    assert crop is not None
    text = TEXT.format(
        picture=PICTURE.name,
        protocol=PROTOCOL,
        scale=SCALE,
        seed=SEED,
        patch=loaded.protocol.training.lr_patch,
        number=len(loaded.split["test"]),
        shape="×".join(map(str, crop[1:])),
        lr_shape="×".join(str(side // SCALE) for side in crop[1:]),
        overlap=OVERLAPS[1],
        table=table(found),
        reading=reading(found),
    )
    write_text(PAGE, text)


if __name__ == "__main__":
    main()
