"""The command line. Only click is imported here; each command imports what it uses, so that --help is instant."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .errors import BenchError, UsageError

if TYPE_CHECKING:
    from .records import Outcome

_RESULTS = click.option(
    "--results",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results"),
    show_default=True,
    help="Folder of records.",
)
_DATA = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of the protocol's data set. Default: $MRSR_DATA/<data set>.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class _Group(click.Group):
    """Turns the suite's errors into messages: status 2 for a request that cannot be carried out, else 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BenchError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2 if isinstance(error, UsageError) else 1)
        except KeyboardInterrupt:
            click.echo("\nStopped. What is done is kept; run the same command again to go on.", err=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mrsr-bench")
def main() -> None:
    """Benchmark MR image super-resolution: train and evaluate methods under fixed protocols, print the table.

    \b
    bench run                                       the demo: embedded data, every method
    bench run --protocol ixi_midslice --data DIR    240 real subjects
    bench run --methods edsr,./mine.py,poan+        a new method beside others; + is the self-ensemble
    bench table --format latex                      the table of the protocol run last
    """


@main.command("list")
@click.argument("what", type=click.Choice(["methods", "protocols", "datasets"]), required=False)
@click.option("--details", is_flag=True, help="Print all there is to know, for people.")
@_JSON
def list_(what: str | None, details: bool, as_json: bool) -> None:
    """List methods, protocols and data sets with one line about each.

    With --details, methods also show paper, version, options and presets and, for each preset and scale of a network,
    its parameters and multiply-accumulates. --json has the same and the training recipes.
    """
    from . import listing

    chosen = [what] if what else ["methods", "protocols", "datasets"]
    if as_json:
        content = {name: listing.details(name) for name in chosen}
        click.echo(json.dumps(content[what] if what else content, indent=2))
        return
    for name in chosen:
        click.echo(f"{name}:")
        lines = listing.described(name) if details else [f"  {n:14} {s}" for n, s in listing.summaries(name).items()]
        for line in lines:
            click.echo(line)


@main.command("protocol")
@click.argument("name")
def protocol_(name: str) -> None:
    """Show a protocol, by name or path, with everything resolved, and its digest."""
    from . import cell, protocol

    loaded = protocol.load(name)
    cell.resolve_names(loaded)
    click.echo(json.dumps({**loaded.resolved(), "digest": loaded.digest}, indent=2))


def _names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip()) if value else ()


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    try:
        numbers = tuple(int(number) for number in _names(ctx, param, value))
    except ValueError:
        raise click.BadParameter(f"expected whole numbers with commas between, e.g. 0,1,2; got {value!r}") from None
    if any(number < 0 or number >= 2**31 for number in numbers):
        raise click.BadParameter("seeds are 0 to 2147483647")
    return numbers


@main.command()
@click.option("--protocol", default="demo", show_default=True, help="A built-in protocol's name, or a YAML file.")
@click.option(
    "--methods",
    callback=_names,
    help="Labels with commas between: a label of the protocol, name, name:preset or file.py, each with an optional + "
    "for the self-ensemble. Default: all of the protocol's.",
)
@_DATA
@click.option("--seeds", callback=_numbers, help="E.g. 0,1,2. Default: the protocol's.")
@click.option("--scales", callback=_names, help="E.g. 2,4. Default: the protocol's.")
@click.option("--limit", type=click.IntRange(1), help="At most N subjects in each fold; kept apart from real records.")
@click.option("--steps", type=click.IntRange(1), help="Training steps; kept apart from real records.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds that one training may take.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only say what would be done, what data it needs, and how many GPU hours and how much memory it may take.",
)
@click.option("--redo", is_flag=True, help="Run stale cells again; their old folders are renamed, not deleted.")
@_RESULTS
@click.option("--keep-volumes", is_flag=True, help="Write each predicted test volume as NIfTI beside its record.")
@click.option("--tracking-uri", help="MLflow tracker; 'none' for no mirror. Default: mlflow.db in the results folder.")
def run(
    protocol: str,
    methods: tuple[str, ...],
    data: Path | None,
    seeds: tuple[int, ...],
    scales: tuple[str, ...],
    limit: int | None,
    steps: int | None,
    dry_run: bool,
    results: Path,
    **options: Any,
) -> None:
    """Train and evaluate methods under a protocol: every cell that is not done yet.

    Done cells are kept, failed ones tried again, killed ones resumed where they were. Exit status: 0 all done, 3 some
    cells have no figure, 2 wrong usage.
    """
    from . import runner

    if dry_run:
        from .estimate import report
        from .records import Store

        loaded, trainings = runner.request_plan(protocol, methods, seeds, scales, limit, steps)
        store = Store(results)
        redo, keep = options["redo"], options["keep_volumes"]
        ahead = [runner.steps_of(store, training, redo=redo, keep_volumes=keep) for training in trainings]
        click.echo(report(loaded, ahead, data))
        return
    options |= {"seeds": seeds, "scales": scales, "limit": limit, "steps": steps}
    _report(runner.run(protocol, methods, data=data, results=results, **options))


def _report(outcomes: Sequence[Outcome]) -> None:
    """Say how many cells are done and why the others are not, and leave with status 0 or 3."""
    bad = [outcome for outcome in outcomes if not outcome.good]
    click.echo(f"{len(outcomes) - len(bad)} of {len(outcomes)} cells done.")
    for outcome in bad:
        click.echo(f"{outcome.cell}: {outcome.state}: {outcome.message}", err=True)
    sys.exit(3 if bad else 0)


@main.command()
@click.option("--protocol", help="Name, path or folder. Default: the protocol run last.")
@_RESULTS
@_JSON
def status(protocol: str | None, results: Path, as_json: bool) -> None:
    """Show where every cell stands: missing, running, done, failed, skipped, timeout, stale or changed."""
    from .records import Store
    from .runner import recall

    store = Store(results)
    loaded, trainings = recall(store, protocol)
    rows = []
    for training in trainings:
        for cell in training.cells:
            record = store.read(loaded, cell) or {}
            about = {"label": cell.label, "contrast": cell.contrast, "scale": cell.scale, "seed": cell.seed}
            place = str(store.folder(loaded, cell))
            state = store.state(training, cell)
            error = record.get("error") if state in ("failed", "timeout", "skipped") else None
            rows.append(
                {**about, "degradation": cell.degradation.title, "state": state, "error": error, "folder": place}
            )
    if as_json:
        click.echo(json.dumps({"protocol": loaded.folder, "digest": loaded.digest, "cells": rows}, indent=2))
        return
    click.echo(f"{loaded.folder}, version {loaded.protocol.version}, digest {loaded.digest[:12]}")
    for row in rows:
        name = f"{row['label']} {row['contrast']} {row['scale']} {row['degradation']} seed {row['seed']}"
        click.echo(f"{row['state']:8} {name}" + (f": {row['error']}" if row["error"] else ""))


@main.command()
@click.argument("name")
@click.option("--scales", callback=_names, default="2,3,4", show_default=True, help="E.g. 2 or 4x1x1.")
@click.option("--defaults", is_flag=True, help="Check the default options although there is a preset 'tiny'.")
def check(name: str, scales: tuple[str, ...], defaults: bool) -> None:
    """Check that a method keeps the contract, on synthetic images: a line per check, then time and memory.

    NAME is a method's name or a file, each with an optional :preset; without one, the preset 'tiny' is checked where
    there is one, else the default options. Exit status: 0 all checks pass, 1 some fail, 2 wrong usage.

    \b
    bench check edsr                     every scale, preset tiny
    bench check ./mine.py:small --scales 2
    """
    from .testing import check_method

    sys.exit(0 if check_method(name, scales, defaults, click.echo) else 1)


@main.command()
@click.argument("name", required=False)
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the files. Default: $MRSR_DATA/NAME.")
@click.option("--mirror", envvar="MRSR_MIRROR", metavar="URL", help="Address that serves the tars. Or $MRSR_MIRROR.")
@click.option("--subjects", type=click.IntRange(1), metavar="N", help="Only the first N usable subjects.")
@click.option("--no-download", is_flag=True, help="Only audit what is there.")
@click.option("--prepare", "protocol", metavar="PROTOCOL", help="Then fill the cache with all that it needs.")
@click.option("--match-archive", type=click.Path(path_type=Path), help="Then recover CSN's split from its archive.")
@click.option("--calibrate", is_flag=True, help="Then find the convention behind the published bicubic figures.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the two above. Default: splits, calibration.")
@click.option("--clear", is_flag=True, help="Delete the cache; it is made again when needed.")
def data(
    name: str | None,
    data: Path | None,
    protocol: str | None,
    match_archive: Path | None,
    calibrate: bool,
    out: Path | None,
    clear: bool,
    no_download: bool,
    **options: Any,
) -> None:
    """Have a data set's files and audit them; without NAME, show where data and the cache of prepared volumes lie.

    What is missing is downloaded, where the data set has an address; files and tars that are there already are used,
    in whatever subfolder. Every file is then read whole: the audit is a CSV, and a summary that compares it with what
    is published. Run again, it goes on where it stopped, and reads only what changed. Exit status: 0 all is there and
    as it should be, 3 not so, 1 it cannot be had.

    \b
    bench data ixi --data DIR                    12.8 GB, and as much again for the tars
    bench data ixi --data DIR --subjects 3       reads only the start of each tar
    bench data ixi --data DIR --prepare ixi_all  fills the cache: later runs read no NIfTI file
    """
    from . import listing

    if name is None:
        if data or protocol or match_archive or calibrate or out or no_download or options["subjects"]:
            raise UsageError("which data set? Give its name, e.g. bench data ixi --data DIR")
        if clear:
            click.echo(f"freed {listing.clear_cache() / 1e6:.1f} MB")
        for line in listing.data_places():
            click.echo(line)
        return
    if clear:
        raise UsageError("--clear empties the whole cache; give it without a name")
    from .inventory import take_stock
    from .protocol import load

    loaded = load(protocol) if protocol else None
    if loaded and loaded.protocol.data.dataset != name:
        raise UsageError(f"protocol '{protocol}' is over the data set '{loaded.protocol.data.dataset}', not '{name}'")
    dataset, good = take_stock(name, data, click.echo, fetch=not no_download, **options)
    if loaded:
        from .preparation import prepare_protocol

        prepare_protocol(loaded, data, click.echo)
    if match_archive:
        from .matching import match_archive as match

        match(dataset, match_archive, out or Path("splits"), click.echo)
    if calibrate:
        from .calibration import calibrate as calibration

        click.echo(calibration(dataset, out or Path("calibration"), click.echo))
    sys.exit(0 if good or loaded or match_archive or calibrate else 3)


@main.command()
@click.option("--protocol", help="Name, path or folder. Default: the protocol run last.")
@click.option("--format", "format_", type=click.Choice(["markdown", "latex", "csv"]), default="markdown")
@click.option("--metrics", callback=_names, help="The protocol's metrics to show, e.g. psnr,hfen. Default: all.")
@click.option("--published", is_flag=True, help="Set the figures that papers print for IXI beside ours, marked.")
@_RESULTS
def table(protocol: str | None, format_: Any, metrics: tuple[str, ...], published: bool, results: Path) -> None:
    """Print the table: rows contrast × scale, columns methods, best bold, second underlined, and its caption.

    A cell shows the protocol's first two metrics, and a second table the others; with --metrics, a cell shows those.

    \b
    bench table --published                    what papers print, in columns of their own
    bench table --metrics psnr,ssim --format latex
    """
    from .records import Store
    from .reporting.render import render
    from .reporting.table import build
    from .runner import recall

    store = Store(results)
    click.echo(render(build(store, *recall(store, protocol), metrics, published), format_), nl=False)
