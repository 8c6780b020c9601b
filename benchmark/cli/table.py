"""The command that prints or writes the table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import RECORDS, split_names

if TYPE_CHECKING:
    from ..reporting.text_tables import Format

_FORMATS: dict[str, Format] = {".md": "markdown", ".tex": "latex", ".csv": "csv", ".html": "html"}
"""Suffix of a file → its format."""


@click.command()
@click.option("--protocol", help="Name, path or folder. Default: the protocol run last.")
@click.option("--format", "format_", type=click.Choice([*_FORMATS.values()]), help="To print. Default: markdown.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a file instead; its suffix is its format: .md, .tex, .csv or .html.",
)
@click.option("--methods", callback=split_names, help="Columns to show, in this order, e.g. edsr,poan. Default: all.")
@click.option("--rows", callback=split_names, help="Contrasts or rows to show, e.g. PD,T1 or 'T1 x2'. Default: all.")
@click.option("--scales", callback=split_names, help="Scales to show, e.g. 2 or 4x1x1. Default: all.")
@click.option("--metrics", callback=split_names, help="Metrics of the protocol to show, e.g. psnr,hfen. Default: all.")
@click.option("--transpose", is_flag=True, help="Methods down, rows across.")
@click.option("--caption", type=click.Choice(["full", "short", "none"]), help="Default: full.")
@click.option("--published", is_flag=True, help="Add the figures that papers print for IXI, marked as quoted.")
@click.option("--against", help="Column to compare the others with, or 'none'. Default: linear, where it is shown.")
@click.option("--efficiency", is_flag=True, help="Add what quality costs; Pareto-optimal methods are marked.")
@click.option(
    "--tests", is_flag=True, help="Show instead how each method does on LR that it was not trained on (block `test`)."
)
@RECORDS
def table(
    protocol: str | None,
    format_: Format | None,
    output: Path | None,
    methods: tuple[str, ...],
    rows: tuple[str, ...],
    scales: tuple[str, ...],
    metrics: tuple[str, ...],
    transpose: bool,
    caption: Any,
    published: bool,
    against: str | None,
    efficiency: bool,
    tests: bool,
    results: Path,
) -> None:
    """Print the table, or write it to a file: rows contrast × scale, columns methods, and its caption.

    A cell shows the protocol's first two metrics, with --published those that papers print, and a second table the
    others; with --metrics, a cell shows those.
    Of several seeds it shows the mean ± the standard deviation over them. Columns of a row without a common letter
    differ; bold is what cannot be told from the best. This needs three seeds of methods that have chance; ¹ marks
    what is of one seed. Letters, bold and Pareto marks are of all columns, also of those that are not shown.

    Below it are the contrasts that the protocol fixed beforehand, and the difference of each column from the baseline,
    in the first metric, with what they say of these networks and of the methods (docs/statistics.md). --efficiency is
    in the first metric too. CSV has only the figures, their spread, and the signature of the metric's convention.

    LaTeX is set to fit an article's 345 pt where that is possible, else a two-column page: it stacks the metrics of a
    cell or puts methods down as it must. An ablation of POAN ticks off what each column has.

    \b
    bench table --published                    what papers print, in columns of their own
    bench table -o table.tex --metrics psnr,ssim --rows T1,T2
    bench table --methods edsr,rdn,poan --transpose --caption short
    bench table --against edsr                 how far the others are from edsr
    bench table --efficiency                   parameters, multiply-accumulates, hours, ms a slice, memory
    bench table --tests                        other LR: rows trained on, columns tested on, in the first metric
    """
    from ..errors import UsageError
    from ..reporting.cross_tables import render_cross_tests
    from ..reporting.cross_tests import build_cross_table
    from ..reporting.differences import find_baseline
    from ..reporting.render import render_table
    from ..reporting.selection import select
    from ..reporting.table import build_table
    from ..store.results import Store

    chosen = _format_of(output, format_)
    if chosen == "csv" and (efficiency or against or caption):
        raise UsageError(
            "CSV holds only the main table; leave out --against, --efficiency and --caption, or choose another format"
        )
    if tests and (published or efficiency or against or len(metrics) > 1 or methods or rows or scales or transpose):
        raise UsageError(
            "--tests is a table of its own, in one metric; combine it with --format or -o and one of --metrics only"
        )
    built = build_table(Store(results).view(protocol), metrics, published)
    if tests:
        text = render_cross_tests(build_cross_table(built), chosen)
    else:
        shown = select(built, methods, rows, scales)
        baseline = find_baseline(shown, against)
        text = render_table(shown, chosen, baseline, efficiency, transpose, caption or "full")
    _put(text, output)


def _format_of(output: Path | None, format_: Format | None) -> Format:
    """The format of a file by its suffix, or that to print."""
    from ..errors import UsageError

    if output is None:
        return format_ or "markdown"
    if format_:
        raise UsageError("the suffix of -o says the format; leave out --format")
    if output.suffix.lower() not in _FORMATS:
        raise UsageError(f"the name of a table's file must end in .md, .tex, .csv or .html: '{output.name}'")
    return _FORMATS[output.suffix.lower()]


def _put(text: str, output: Path | None) -> None:
    """Print the text, or write it, complete or not at all, and say where it is."""
    from ..errors import UsageError
    from ..system.files import write_text

    if output is None:
        click.echo(text, nl=False)
        return
    try:
        write_text(output, text)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror or error}") from None
    click.echo(output)
