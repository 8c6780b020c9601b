"""Commands that draw figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import RECORDS

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
