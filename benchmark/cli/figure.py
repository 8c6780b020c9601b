"""Commands that draw figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import RECORDS, split_names

if TYPE_CHECKING:
    from ..figures.picture import Picture
    from ..reporting.table import Table


@click.group()
def figure() -> None:
    """Draw a figure for a paper, from plans, records and the slices that they keep: .pdf, .svg or .png.

    Figures are as wide as a journal's column (3.5 in) or page, readable in grey, with embedded fonts. The file's
    metadata name the protocol, the commit and the records behind it.

    \b
    bench figure quality -o quality.pdf
    """


def _drawing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every figure has."""
    for option in (
        RECORDS,
        click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: NAME.png here."),
        click.option("--protocol", help="Name, path or folder. Default: the protocol run last."),
    ):
        command = option(command)
    return command


def _write(
    name: str, protocol: str | None, results: Path, output: Path | None, draw: Callable[[Table], Picture]
) -> None:
    """Draw a figure of a protocol's table, write it, and say where it is."""
    from ..figures.picture import check_format, write_picture
    from ..reporting.table import build_table
    from ..store.results import Store

    path = output or Path(f"{name}.png")
    check_format(path)
    write_picture(draw(build_table(Store(results).view(protocol))), path)
    click.echo(path)


@figure.command()
@_drawing
def quality(protocol: str | None, results: Path, output: Path | None) -> None:
    """The first metric against multiply-accumulates, a panel a row; a line joins what is Pareto-optimal."""
    from ..figures.quality import draw

    _write("quality", protocol, results, output, draw)


def _parse_region(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int, int] | None:
    """Three whole numbers with commas between."""
    if value is None:
        return None
    try:
        row, column, size = (int(number) for number in value.split(","))
    except ValueError:
        raise click.BadParameter(f"expected ROW,COLUMN,SIZE in HR pixels, e.g. 60,80,48; got {value!r}") from None
    return row, column, size


def _choosing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose what a figure with images shows."""
    for option in (
        click.option("--methods", callback=split_names, help="Columns, with commas. Default: all."),
        click.option(
            "--subject",
            "subjects",
            callback=split_names,
            help="Subjects, with commas. Default: the middle one of those kept.",
        ),
        click.option(
            "--rows",
            callback=split_names,
            help="Rows or words of them, with commas, e.g. 'T1 x2' or PD. Default: the last row of every contrast.",
        ),
    ):
        command = option(command)
    return command


@figure.command()
@_drawing
@click.option("--errors", is_flag=True, help="Add |prediction − HR|, on one colour scale for the figure.")
@click.option(
    "--region",
    callback=_parse_region,
    metavar="ROW,COLUMN,SIZE",
    help="What is enlarged, in HR pixels of the slice as it is shown. Default: where the methods differ most.",
)
@_choosing
def visual(protocol: str | None, results: Path, output: Path | None, **choice: Any) -> None:
    """A slice and an enlarged region of it: HR, LR and the prediction of every method, with its figures.

    Slices come from the exhibits that cells of the first seed keep, and lie as radiologists look at them. All images
    of a subject are shown in one window. Bold is what the table has in bold: a statement about the row, not about this
    image. The figure names the region that was chosen; give it with --region to keep it.

    \b
    bench figure visual -o visual.pdf
    bench figure visual --rows T1,PD --methods bicubic,edsr,poan --errors
    """
    from ..figures.visual import draw

    _write("visual", protocol, results, output, lambda table: draw(table, **choice))


@figure.command()
@_drawing
@_choosing
def attention(protocol: str | None, results: Path, output: Path | None, **choice: Any) -> None:
    """The maps that methods show of a slice, e.g. of POAN's attention, beside the LR slice.

    A method offers maps by `Method.maps`; cells keep them with their slices. Every map has a colour scale of its own.

    \b
    bench figure attention --methods poan -o attention.pdf
    """
    from ..figures.attention import draw

    _write("attention", protocol, results, output, lambda table: draw(table, **choice))
