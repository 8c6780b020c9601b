"""The command that makes the page."""

from __future__ import annotations

from pathlib import Path

import click

from .options import RECORDS


@click.command()
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    help="Name, path or folder; may be repeated. Default: the protocol run last.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("page"),
    show_default=True,
    help="Folder to write. An earlier page there is replaced.",
)
@click.option("--published", is_flag=True, help="Add the figures that papers print for IXI, marked as quoted.")
@click.option(
    "--images", is_flag=True, help="Also slices of scans whose data set has no licence that allows sharing them."
)
@RECORDS
def report(protocols: tuple[str, ...], output: Path, published: bool, images: bool, results: Path) -> None:
    """Make a page: a folder with the table, a viewer of slices and comparisons, to look at in a browser or to send on.

    Open its index.html from disk; it needs no server and no network. Every figure leads to its record: options, seed,
    commit, machine, digests of the data, the score of every subject and the training curve. The viewer shows the
    slices that cells keep, where the data set's licence allows sharing them (IXI, MNI152). docs/page.md explains how
    to read it.

    \b
    bench report                                   the protocol run last, into page/
    bench report --protocol ixi_midslice_equal --results reference.zip -o page
    bench report --protocol ixi_bd --protocol ixi_td --published -o ixi
    """
    from ..page.writing import write_page
    from ..reporting.table import build_table
    from ..store.results import Store

    store = Store(results)
    views = [store.view(name) for name in dict.fromkeys(protocols)] if protocols else [store.view(None)]
    tables = [build_table(view, published=published) for view in views]
    click.echo(write_page(tables, output, images=images, say=click.echo))
