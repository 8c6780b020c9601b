"""Commands that make figures: run and score."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import DATA, RESULTS, TRACKING, names, numbers

if TYPE_CHECKING:
    from ..running.outcomes import Outcome


@click.command()
@click.option("--protocol", default="demo", show_default=True, help="A built-in protocol's name, or a YAML file.")
@click.option(
    "--methods",
    callback=names,
    help="Labels with commas between: a label of the protocol, name, name:preset or file.py, each with an optional + "
    "for the self-ensemble. Default: all of the protocol's.",
)
@DATA
@click.option("--seeds", callback=numbers, help="E.g. 0,1,2. Default: the protocol's.")
@click.option("--scales", callback=names, help="E.g. 2,4. Default: the protocol's.")
@click.option("--limit", type=click.IntRange(1), help="At most N subjects in each fold; kept apart from real records.")
@click.option("--steps", type=click.IntRange(1), help="Training steps; kept apart from real records.")
@click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds that one training may take.")
@click.option(
    "--dry-run",
    is_flag=True,
    help="Only say what would be done, what data it needs, and how many hours and how much memory it may take: by "
    "earlier records of such trainings on such a machine, else by a count of operations for a GPU.",
)
@click.option(
    "--probe",
    is_flag=True,
    help="With --dry-run: try 10 training steps of every network that no record tells of; at most half a minute each.",
)
@click.option("--redo", is_flag=True, help="Run stale cells again; their old folders are renamed, not deleted.")
@RESULTS
@click.option("--keep-volumes", is_flag=True, help="Write each predicted test volume as NIfTI beside its record.")
@click.option(
    "--save-every",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    help="Seconds between two states of a training on disk; a killed training loses no more than that.",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="On a GPU, use only operations that give the same bits each time; slower. A CPU always does.",
)
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="CPU threads of each training that begins. Default: what OMP_NUM_THREADS says, else as many as there are free "
    "cores at its start. A resumed training takes as many as before.",
)
@TRACKING
def run(
    protocol: str,
    methods: tuple[str, ...],
    data: Path | None,
    seeds: tuple[int, ...],
    scales: tuple[str, ...],
    limit: int | None,
    steps: int | None,
    dry_run: bool,
    probe: bool,
    results: Path,
    **options: Any,
) -> None:
    """Train and evaluate methods under a protocol: every cell that is not done yet.

    Done cells are kept, failed ones tried again, killed ones resumed where they were, damaged ones made anew. Several
    runs may share the results folder: what another one works on is left to it, looked at again at the end, and named.
    Exit status: 0 all done or in another run's hands, 3 some cells have no figure, 2 wrong usage.
    """
    from ..running import runner

    if probe and not dry_run:
        raise click.UsageError("--probe belongs to --dry-run; a run needs no probe")
    if dry_run:
        from ..estimating.costs import Costs
        from ..estimating.estimate import report
        from ..planning.plans import request_plan
        from ..planning.request import Request
        from ..running.steps import Wish, steps_of
        from ..store.results import Store

        loaded, trainings = request_plan(Request(protocol, methods, seeds, scales, limit, steps))
        store, wish = Store(results), Wish(redo=options["redo"], keep_volumes=options["keep_volumes"])
        costs = Costs(store, probe, functools.partial(click.echo, err=True), options["threads"])
        ahead = [steps_of(store, training, wish) for training in trainings]
        click.echo(report(loaded, ahead, data, costs))
        return
    options |= {"seeds": seeds, "scales": scales, "limit": limit, "steps": steps}
    with _stopped_by_sigterm():
        outcomes = runner.run(protocol, methods, data=data, results=results, **options)
    _report(outcomes)


@click.command()
@click.option("--protocol", help="Name, path or folder. Default: the protocol run last.")
@DATA
@RESULTS
@TRACKING
def score(protocol: str | None, data: Path | None, results: Path, tracking_uri: str | None) -> None:
    """Score every recorded cell again, from kept volumes or weights; nothing is trained.

    For a metric that was added to the protocol's scoring or mended in the code. Earlier records are renamed, not
    deleted. Exit status: 0 all done, 3 some cells have no figure, 2 wrong usage.
    """
    from ..running import runner

    with _stopped_by_sigterm():
        outcomes = runner.score(protocol, data=data, results=results, tracking_uri=tracking_uri)
    _report(outcomes)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM, which schedulers send before they kill, works as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _report(outcomes: Sequence[Outcome]) -> None:
    """Say how many cells are done and why the others are not, and leave with status 0 or 3."""
    other = [outcome for outcome in outcomes if not outcome.good]
    click.echo(f"{len(outcomes) - len(other)} of {len(outcomes)} cells done.")
    for outcome in other:
        click.echo(f"{outcome.cell}: {outcome.state}: {outcome.message}", err=True)
    sys.exit(3 if any(outcome.state != "running" for outcome in other) else 0)
