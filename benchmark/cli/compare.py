"""The command that compares two columns."""

from __future__ import annotations

import json
from pathlib import Path

import click

from .options import JSON


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--protocol", help="Name, path or folder. Default: the protocol run last.")
@click.option("--row", "rows", multiple=True, help="A row, e.g. 'T1 x2'; may be given several times. Default: all.")
@click.option(
    "--results",
    "folders",
    type=click.Path(path_type=Path, exists=True),
    multiple=True,
    default=(Path("results"),),
    show_default=True,
    help="Folder of records, or a pack. Given twice: FIRST is from the first one, SECOND from the second one.",
)
@JSON
def compare(
    first: str, second: str, protocol: str | None, rows: tuple[str, ...], folders: tuple[Path, ...], as_json: bool
) -> None:
    """Compare two columns of a table: FIRST minus SECOND in the primary metric, in each row and over all rows.

    Two claims are made, never one for the other. Networks (i): how these trained networks differ on other subjects.
    Methods (ii): how the methods differ when they are trained again with other seeds; this needs three seeds of each
    method that has chance. The verdict is about the methods. docs/statistics.md explains both.

    A column compared with itself is a control: its seeds, six at least, in two halves, in every way.

    \b
    bench compare poan edsr
    bench compare poan edsr --row "T1 x2" --json
    bench compare mine mine --results before.zip --results results
    bench compare edsr edsr
    """
    from ..errors import UsageError
    from ..reporting import compare as reports
    from ..reporting import control
    from ..reporting.contrast_tables import render_comparison, render_controls
    from ..reporting.table import build_table
    from ..store.results import Store

    if len(folders) > 2:
        raise UsageError("--results can be given once or twice: one place for each of the two columns")
    tables = [build_table(Store(folder).view(protocol)) for folder in folders]
    if first == second and len(folders) == 1:
        controls = control.controls(tables[0], first, rows)
        if as_json:
            click.echo(json.dumps([control.as_json(each) for each in controls], indent=2, allow_nan=False))
        else:
            click.echo(render_controls(tables[0], controls), nl=False)
        return
    comparison = reports.compare(tables[0], tables[-1], (first, second), rows)
    if as_json:
        click.echo(json.dumps(reports.as_json(comparison), indent=2, allow_nan=False))
    else:
        click.echo(render_comparison(comparison), nl=False)
