"""Commands that hand results on: pack and unpack."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import click


@click.command()
@click.argument("results", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--protocol", "protocols", multiple=True, help="Only this one; may be repeated. Default: all.")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The pack: a .zip."
)
@click.option("--weights", is_flag=True, help="Also the trained weights.")
@click.option(
    "--images", is_flag=True, help="Also slices of scans whose data set has no licence that allows sharing them."
)
def pack(results: Path, protocols: tuple[str, ...], output: Path, weights: bool, images: bool) -> None:
    """Pack the results below a folder into one zip file, to hand them on.

    It holds all plans, records, scores and curves, the methods' files that the figures were made with, and the slices
    that records keep for display, where the data set's licence allows sharing them (IXI, MNI152). A cell that is
    damaged, or that a run works on, is left out and named. A pack never holds logs, states of trainings, volumes or
    MLflow data.

    Anyone with the pack sees the same table, without the methods or the data, and without unpacking:

    \b
    bench pack results -o mine.zip
    bench pack results --protocol ixi_all --weights -o ixi.zip
    bench table --results mine.zip          also: bench status --results mine.zip
    bench unpack mine.zip results           adds it to one's own results
    """
    from ..store.pack_writer import write_pack
    from ..system.units import size_text

    packed = write_pack(
        results, output, protocols, weights=weights, images=images, warn=functools.partial(click.echo, err=True)
    )
    left_out = f", {packed.left_out} left out" if packed.left_out else ""
    click.echo(f"{output}: {packed.cells} cells{left_out}, {packed.files} files, {size_text(packed.size)}")
    if packed.images:
        click.echo(f"It holds slices of images of: {', '.join(sorted(packed.images))}.")
    if packed.without_images:
        names = ", ".join(sorted(packed.without_images))
        click.echo(f"Slices of these are left out, since no licence allows sharing them: {names}. See --images.")


@click.command()
@click.argument("sources", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True), metavar="SOURCE...")
@click.argument("results", type=click.Path(path_type=Path))
def unpack(sources: tuple[Path, ...], results: Path) -> None:
    """Merge packs and results folders into one results folder: the last argument, made if it is missing.

    Every cell is copied whole, its record last. A cell that is done is never replaced: where the same cell has other
    figures, other keys or another source in the results folder, it is refused and named, and the others are copied.
    Nothing is deleted. A table then shows the columns of all plans.

    \b
    bench unpack theirs.zip results                  adds a pack
    bench unpack node1/results node2/results all     merges the results of several machines

    Exit status: 0 nothing was refused, 3 some cells were, 2 wrong usage.
    """
    from ..store.merging import merge
    from ..store.results import check_folder

    check_folder(results)
    merged = merge(sources, results, functools.partial(click.echo, err=True))
    click.echo(f"{results}: {merged}")
    sys.exit(3 if merged.refused else 0)
