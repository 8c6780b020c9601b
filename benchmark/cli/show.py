"""Commands that only look: list, protocol, check and status."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import JSON, RECORDS, aligned, split_names

if TYPE_CHECKING:
    from ..store.cell_files import Standing
    from ..store.plan import CellPlan, View
    from ..store.results import Store
    from ..system.files import Readable


@click.command("list")
@click.argument("kind", type=click.Choice(["methods", "protocols", "datasets"]), required=False)
@click.option("--details", is_flag=True, help="Print all details.")
@JSON
def list_(kind: str | None, details: bool, as_json: bool) -> None:
    """List methods, protocols and data sets, one line for each.

    With --details, methods also show paper, version, options and presets and, for each preset and scale of a network,
    its parameters and multiply-accumulates. --json has the same and the training recipes.

    \b
    bench list
    bench list methods --details
    """
    from ..system.files import json_text
    from . import listing

    kinds = [kind] if kind else ["methods", "protocols", "datasets"]
    if as_json:
        content = {name: listing.details(name) for name in kinds}
        click.echo(json_text(content[kind] if kind else content))
        return
    for name in kinds:
        click.echo(f"{name}:")
        for line in listing.described(name) if details else listing.lines(name):
            click.echo(line)


@click.command("protocol")
@click.argument("name")
def protocol(name: str) -> None:
    """Show a protocol, by name or path, with all values resolved, and its digest."""
    from ..planning.names import resolve_names
    from ..protocol.loading import load
    from ..system.files import json_text

    loaded = load(name)
    resolve_names(loaded)
    click.echo(json_text({**loaded.resolved(), "digest": loaded.digest}))


@click.command()
@click.argument("name")
@click.option("--scales", callback=split_names, default="2,3,4", show_default=True, help="E.g. 2 or 4x1x1.")
@click.option("--defaults", is_flag=True, help="Check the default options even if there is a preset 'tiny'.")
def check(name: str, scales: tuple[str, ...], defaults: bool) -> None:
    """Check that a method keeps the contract, on synthetic images: a line per check, then time and memory.

    NAME is a method's name or a file, each with an optional :preset. Without a preset, 'tiny' is checked if the method
    has it, else the default options. Exit status: 0 all checks pass, 1 some fail, 2 wrong usage.

    \b
    bench check edsr                     every scale, preset tiny
    bench check ./mine.py:small --scales 2
    """
    from ..testing import check_method

    sys.exit(0 if check_method(name, scales, defaults, click.echo) else 1)


@click.command()
@click.option("--protocol", help="Name, path or folder. Default: the protocol run last.")
@click.option("--check", is_flag=True, help="Compare with today's protocol and methods, which are imported.")
@RECORDS
@JSON
def status(protocol: str | None, check: bool, results: Path, as_json: bool) -> None:
    """Show the state of every cell: missing, running, done, failed, skipped, timeout, stale, changed or damaged.

    States come from the plans of earlier runs and from the records: no method is imported, nothing is changed, and no
    lock is taken. Look as often as you like while runs work.
    """
    from ..store.results import Store
    from ..system.files import json_text

    store = Store(results)
    view = store.view(protocol)
    rows = _checked(store, protocol) if check else _planned(view)
    if as_json:
        head = {"protocol": view.protocol.folder, "digest": view.protocol.digest, "damaged_plans": list(view.damaged)}
        click.echo(json_text({**head, "cells": rows}))
        return
    click.echo(f"{view.protocol.folder}, version {view.protocol.version}, digest {view.protocol.digest[:12]}")
    for line in aligned([(row["state"], _status_text(row)) for row in rows]):
        click.echo(line)
    for problem in view.damaged:
        click.echo(f"a plan is left out: {problem}", err=True)


def _status_text(row: dict[str, Any]) -> str:
    cell = f"{row['label']} {row['contrast']} {row['scale']} {row['degradation']} seed {row['seed']}"
    return f"{cell}: {row['why']}" if row["why"] else cell


def _planned(view: View) -> list[dict[str, Any]]:
    """The states of a view's cells, by plan and record alone."""
    from ..store.cell_files import standing_of

    cells = ((planned.cell, view.place(planned)) for planned in view.cells)
    return [_row(cell, view.folder / cell.folder, standing_of(place, cell.why or "")) for cell, place in cells]


def _checked(store: Store, protocol: str | None) -> list[dict[str, Any]]:
    """Their states by today's code."""
    from ..planning.planner import plan_cell, recall_trainings

    _, trainings = recall_trainings(store, protocol, lambda text: click.echo(f"warning: {text}", err=True))
    return [
        _row(plan_cell(training, cell), training.folder(store, cell), training.look(store, cell))
        for training in trainings
        for cell in training.cells
    ]


def _row(cell: CellPlan, folder: Readable, standing: Standing) -> dict[str, Any]:
    coordinates = cell.model_dump(include={"label", "contrast", "scale", "seed", "degradation"})
    tests = {title: test.state for title, test in standing.tests.items()}
    untested = [f"not tested on {title} ({test.why or test.state})" for title, test in standing.open_tests.items()]
    why = "; ".join([*([standing.why] if standing.why else []), *untested])
    row = {**coordinates, "state": standing.state, "why": why or None, "folder": str(folder)}
    return {**row, "tests": tests} if tests else row
