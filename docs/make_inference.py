"""Write docs/inference.md and its picture: what it costs to upscale in tiles.

    .venv/bin/python docs/make_inference.py RESULTS [--data DIR]

RESULTS holds a run of ixi_midslice_equal with its weights; DIR its slices, by default those of ../shared.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import click
import numpy as np
from safetensors.numpy import load_file

from mrsr_bench.cell import Training, plan
from mrsr_bench.degradation import degrade
from mrsr_bench.files import write_text
from mrsr_bench.preparation import open_dataset, prepare
from mrsr_bench.protocol import Loaded, load
from mrsr_bench.records import WEIGHTS, Store
from mrsr_bench.scoring import Case, score

HERE = Path(__file__).parent
PAGE, PICTURE = HERE / "inference.md", HERE / "inference.svg"
PROTOCOL, SEED = "ixi_midslice_equal", 0
NETWORKS = ("srcnn", "vdsr", "edsr", "rdn", "csn", "poan")
OVERLAPS = (0, 8)
Tiles = tuple[int, int] | None
Figures = dict[tuple[str, Tiles], float]


def sides(loaded: Loaded, scale: int) -> list[int]:
    """The training patch, and larger tiles up to the whole slice."""
    assert loaded.protocol.data.crop is not None
    assert loaded.protocol.training.lr_patch is not None
    longest = max(loaded.protocol.data.crop[1:]) // scale
    return [side for side in (loaded.protocol.training.lr_patch, 32, 48, 64, 96) if side < longest]


def figures(store: Store, loaded: Loaded, training: Training, data: Path) -> Figures:
    """Mean PSNR of the test slices, by tiles; None is the whole slice."""
    protocol, cell, method = loaded.protocol, training.base, training.make_method()
    method.load_state(load_file(store.folder(loaded, cell) / WEIGHTS), training.task)
    cut, dataset = protocol.data.cut(cell.contrast), open_dataset(protocol.data.dataset, data)
    pairs = prepare(dataset, loaded.split["test"], cell.contrast, cut, cell.degradation, cell.factors)
    lower = partial(degrade, name=cell.degradation.name, factors=cell.factors)
    tiled = [(side, overlap) for side in sides(loaded, cell.factors[2]) for overlap in OVERLAPS]
    found: Figures = {}
    for tiles in [None, *tiled]:
        task = replace(training.task, tiles=tiles)
        values = []
        for pair in pairs:
            output = method.upscale(pair.scan(cell.factors), task)
            values.append(score(output, Case(pair.hr, pair.lr, pair.grid, cell.factors, lower), protocol.scoring))
        found[cell.label, tiles] = float(np.mean([value["psnr"] for value in values]))
        click.echo(f"{cell.label} ×{cell.factors[2]} {tiles}: {found[cell.label, tiles]:.3f} dB")
    return found


def table(found: Figures, shown: list[int]) -> str:
    """A row a network: the whole slice, then each kind of tile's distance from it."""
    kinds = [(side, overlap) for side in shown for overlap in OVERLAPS]
    heads = [f"{side}" + (f", overlap {overlap}" if overlap else "") for side, overlap in kinds]
    lines = [f"| network | whole slice, dB | {' | '.join(heads)} |", f"|---|---|{'---|' * len(kinds)}"]
    for label in NETWORKS:
        whole = found[label, None]
        away = [f"{found[label, kind] - whole:+.2f}".replace("-", "−") for kind in kinds]
        lines.append(f"| {label} | {whole:.2f} | {' | '.join(away)} |")
    return "\n".join(lines)


def picture(panels: dict[int, Figures], shown: dict[int, list[int]]) -> None:
    """PSNR less that of whole slices, over the side of a tile; a panel per scale, dashed with an overlap."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.hashsalt": "inference", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(8, 3.6), layout="constrained")
        for axes, (scale, found) in zip(figure.subplots(1, len(panels)), panels.items(), strict=True):
            for number, label in enumerate(NETWORKS):
                for overlap, style in zip(OVERLAPS, ("o-", "o--"), strict=True):
                    values = [found[label, (side, overlap)] - found[label, None] for side in shown[scale]]
                    name = None if overlap else label
                    axes.plot(shown[scale], values, style, color=f"C{number}", label=name, markersize=3, linewidth=1)
            axes.axhline(0, color="0.6", linewidth=0.8)
            axes.set_title(f"×{scale}", fontsize=9)
            axes.set_xscale("log", base=2)
            axes.set_xticks(shown[scale], [str(side) for side in shown[scale]])
            axes.minorticks_off()
            axes.grid(color="0.92")
            axes.set_xlabel("side of a tile, LR pixels")
        axes = figure.axes[0]
        axes.set_ylabel("PSNR in tiles − PSNR of whole slices, dB")
        axes.legend(frameon=False, fontsize=8)
        figure.savefig(PICTURE, metadata={"Date": None})
    text = PICTURE.read_text(encoding="utf-8")
    PICTURE.write_text("\n".join(line.rstrip() for line in text.splitlines()) + "\n", encoding="utf-8")


TEXT = """\
# Whole slices or tiles

<!-- Made by docs/make_inference.py; do not edit. -->

Networks learn from patches and are tested on whole slices. A convolution does not mind; a block that looks at all of its
input (POAN's attention and channel statistics) sees other statistics there than it learned from. A protocol says which it
is, and it is part of the score key:

```yaml
inference: {{tile: 48, overlap: 8}}      # without this line: whole slices
```

A network then upscales square tiles of 48 LR pixels, neighbours share at least 8, and every HR pixel comes from the tile
whose middle is nearer. Scored again from the same weights: nothing is trained.

![PSNR in tiles less that of whole slices]({picture})

The networks of `{protocol}` (seed {seed}, trained on patches of {patch}×{patch}), PSNR of the {number} test slices: what tiles
of a side, in LR pixels, give less than whole slices ({shape} HR pixels). Dashed in the picture: an overlap of {overlap}.

{tables}

## What to read from it

{reading}
"""

READING = """\
- A seam costs every network the pixels it would have seen beyond it: without an overlap, tiles of the training patch's
  side lose {worst} dB at the most ({worst_label}); an overlap of {overlap} gives most of that back ({worst_overlap} dB at the
  most, {worst_overlap_label}).
- poan in tiles of its training patch with that overlap: {poan} dB beside whole slices; edsr, which has the same blocks without
  attention: {edsr} dB. The difference of the two is what the attention gains or loses by seeing the whole slice.
- One seed, one data set, networks in small presets. Tiles are for slices that do not fit into memory; figures with and
  without them must not stand in one column."""


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def reading(found: Figures, side: int) -> str:
    """The sentences that depend on the figures, of ×2."""
    away = {
        (label, overlap): found[label, (side, overlap)] - found[label, None]
        for label in NETWORKS
        for overlap in OVERLAPS
    }
    plain, shared = (min(NETWORKS, key=lambda label, o=overlap: away[label, o]) for overlap in OVERLAPS)
    return READING.format(
        worst=signed(away[plain, OVERLAPS[0]]),
        worst_label=plain,
        worst_overlap=signed(away[shared, OVERLAPS[1]]),
        worst_overlap_label=shared,
        overlap=OVERLAPS[1],
        poan=signed(away["poan", OVERLAPS[1]]),
        edsr=signed(away["edsr", OVERLAPS[1]]),
    )


@click.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True))
@click.option("--data", type=click.Path(path_type=Path), default=HERE.parents[1] / "shared" / "data" / "ixi_midslice")
def main(results: Path, data: Path) -> None:
    loaded, store = load(PROTOCOL), Store(results)
    panels: dict[int, Figures] = {}
    for training in plan(loaded, NETWORKS, [SEED]):
        found = figures(store, loaded, training, data)
        panels.setdefault(training.base.factors[2], {}).update(found)
    shown = {scale: sides(loaded, scale) for scale in panels}
    picture(panels, shown)
    tables = "\n\n".join(f"×{scale}\n\n{table(found, shown[scale])}" for scale, found in panels.items())
    crop, patch = loaded.protocol.data.crop, loaded.protocol.training.lr_patch
    assert crop is not None
    assert patch is not None
    assert all(math.isfinite(value) for found in panels.values() for value in found.values())
    text = TEXT.format(
        picture=PICTURE.name,
        protocol=PROTOCOL,
        seed=SEED,
        patch=patch,
        number=len(loaded.split["test"]),
        shape="×".join(map(str, crop[1:])),
        overlap=OVERLAPS[1],
        tables=tables,
        reading=reading(panels[min(panels)], patch),
    )
    write_text(PAGE, text)


if __name__ == "__main__":
    main()
