"""Commands that make figures: run, rates and score."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import DATA, RECORDS, RESULTS, TRACKING, parse_rates, parse_seeds, parse_shard, split_names

if TYPE_CHECKING:
    from ..planning.request import Request
    from ..running.outcomes import Outcome
    from ..running.settings import RunSettings


LIMIT = click.option(
    "--limit", type=click.IntRange(1), help="At most N subjects in each fold; kept apart from real records."
)
STEPS = click.option("--steps", type=click.IntRange(1), help="Training steps; kept apart from real records.")
_RUNNING = (
    DATA,
    click.option("--timeout", type=click.FloatRange(0, min_open=True), help="Seconds that one training may take."),
    click.option(
        "--dry-run",
        is_flag=True,
        help="Only print what would be done, what data it needs, and how many hours and how much memory it may take: "
        "by records of similar trainings on a similar machine, else by a count of operations for a GPU.",
    ),
    click.option(
        "--probe",
        is_flag=True,
        help="With --dry-run: try 10 training steps of every network that has no such record; at most half a minute "
        "each.",
    ),
    click.option("--redo", is_flag=True, help="Run stale cells again; their old folders are renamed, not deleted."),
    click.option(
        "--save-every",
        type=click.FloatRange(0),
        default=60.0,
        show_default=True,
        help="Seconds between two states of a training on disk; a killed training loses no more than that.",
    ),
    click.option(
        "--deterministic",
        is_flag=True,
        help="On a GPU, use only operations that give the same bits each time; slower. A CPU always does.",
    ),
    click.option(
        "--threads",
        type=click.IntRange(1),
        help="CPU threads of each training that begins. Default: what OMP_NUM_THREADS says, else as many as there are "
        "free cores at its start. A resumed training takes as many as before.",
    ),
    click.option(
        "--parallel",
        type=click.IntRange(1),
        metavar="N",
        help="Trainings that run side by side, each with an N-th part of the cores. One waits where memory does not "
        "suffice, or a GPU is not free. Default: 1; with --executor ray as many as its nodes have room for.",
    ),
    click.option(
        "--gpus-per-cell",
        type=click.FloatRange(0, 1, min_open=True),
        default=1.0,
        show_default=True,
        help="With --parallel on a machine with GPUs: the part of a GPU that a training counts as, e.g. 0.5 for two "
        "on each.",
    ),
    click.option(
        "--executor",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Who runs the trainings: this machine, or a Ray cluster, each training with --threads (1) of its cores.",
    ),
    click.option("--address", help="Of the Ray cluster; auto: the one of this machine. Default: one is started here."),
    click.option(
        "--shard",
        callback=parse_shard,
        metavar="PART/PARTS",
        help="Do one part of the trainings, e.g. 3/16: a process for each part does them all. Parts are about equally "
        "dear, and the same in every process.",
    ),
    TRACKING,
)


def _running_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options of a command that trains: how it is carried out, and the dry run."""
    for option in reversed(_RUNNING):
        command = option(command)
    return command


@click.command()
@click.option("--protocol", default="demo", show_default=True, help="A built-in protocol's name, or a YAML file.")
@click.option(
    "--methods",
    callback=split_names,
    help="Labels with commas between: a label of the protocol, name, name:preset or file.py, each with an optional + "
    "for the self-ensemble. Default: all of the protocol's.",
)
@click.option("--seeds", callback=parse_seeds, help="E.g. 0,1,2. Default: the protocol's.")
@click.option("--scales", callback=split_names, help="E.g. 2,4. Default: the protocol's.")
@click.option("--lr", callback=parse_rates, help="Learning rates by label in track equal, e.g. mine=2e-4,edsr=1e-3.")
@LIMIT
@STEPS
@RESULTS
@click.option("--keep-volumes", is_flag=True, help="Write each predicted test volume as NIfTI beside its record.")
@_running_options
def run(
    protocol: str,
    methods: tuple[str, ...],
    seeds: tuple[int, ...],
    scales: tuple[str, ...],
    lr: dict[str, float],
    limit: int | None,
    steps: int | None,
    dry_run: bool,
    probe: bool,
    **settings_options: Any,
) -> None:
    """Train and evaluate methods under a protocol: every cell that is not done yet.

    Done cells are kept, failed ones tried again, killed ones resumed where they were, damaged ones made again. Several
    runs may share the results folder: what another run works on is left to it, looked at again at the end, and named.
    Exit status: 0 all done or left to another run, 3 some cells have no figure, 2 wrong usage.

    \b
    bench run --protocol ixi_midslice --data DIR
    bench run --methods edsr,./mine.py,poan+ --seeds 0
    bench run --protocol ixi_all --shard $SLURM_ARRAY_TASK_ID/16     docs/cluster.md
    bench run --protocol ixi_all --executor ray --address auto
    """
    from ..planning.request import Request
    from ..running.settings import RunSettings

    request = Request(protocol, methods, seeds, scales, limit, steps, lr=lr)
    outcomes = _carry_out(request, RunSettings(**settings_options), dry_run, probe)
    if outcomes is not None:
        _report(outcomes)


@click.command()
@click.option("--protocol", required=True, help="A protocol with a block 'rates': a built-in name, or a YAML file.")
@click.option("--methods", callback=split_names, help="As in bench run. Default: all networks of the protocol.")
@LIMIT
@STEPS
@RECORDS
@click.option("--show", is_flag=True, help="Only print what has been found so far; nothing is run.")
@_running_options
def rates(
    protocol: str,
    methods: tuple[str, ...],
    limit: int | None,
    steps: int | None,
    results: Path,
    show: bool,
    dry_run: bool,
    probe: bool,
    **settings_options: Any,
) -> None:
    """Find the learning rate of each network: the same trials for all, chosen by validation alone.

    The protocol's block 'rates' gives the values, and the one contrast, scale and seed that they are tried on, at the
    protocol's full number of steps. No test volume is read, and the seed is scored nowhere. The trials are runs of
    their own: kept, resumed, and shown by bench status. Of the rates within 0.1 dB of a network's best the smallest is
    chosen, and printed as a line for the protocol's methods and for bench run --lr. Exit status as of bench run.

    \b
    bench rates --protocol ixi_all --dry-run
    bench rates --protocol ixi_all --methods mine.py,edsr
    bench rates --protocol ixi_all --show --results rates.zip
    """
    from ..planning.request import Request
    from ..reporting.rates import describe_rates
    from ..running.settings import RunSettings
    from ..store.results import Store, check_folder

    request = Request(protocol, methods, limit=limit, steps=steps, search=True)
    folder = request.load().folder
    if show:
        click.echo(describe_rates(Store(results).view(folder)))
        return
    check_folder(results)
    outcomes = _carry_out(request, RunSettings(results=results, **settings_options), dry_run, probe)
    if outcomes is not None:
        click.echo(describe_rates(Store(results).view(folder)))
        _report(outcomes)


def _carry_out(request: Request, settings: RunSettings, dry_run: bool, probe: bool) -> list[Outcome] | None:
    """Run a request; for a dry run print its estimate, and give None."""
    from ..running import runner

    if settings.address and settings.executor != "ray":
        raise click.UsageError("--address belongs to --executor ray")
    if probe and not dry_run:
        raise click.UsageError("--probe belongs to --dry-run; a run needs no probe")
    if dry_run:
        click.echo(_estimate(request, settings, probe))
        return None
    with _stopped_by_sigterm():
        return runner.run(request, settings)


def _estimate(request: Request, settings: RunSettings, probe: bool) -> str:
    """What a run of the request would do and take, for people."""
    from ..estimating.costs import Costs
    from ..planning.planner import make_plan, plan_request
    from ..running.decisions import decide
    from ..running.dry_run import report
    from ..running.shards import own_trainings
    from ..store.results import Store

    loaded, trainings = plan_request(request)
    if settings.shard:
        trainings = own_trainings(make_plan(request, loaded, trainings), trainings, settings.shard)
    store = Store(settings.results)
    decisions = [decide(store, training, settings) for training in trainings]
    costs = Costs(store, probe, functools.partial(click.echo, err=True), settings.known_threads)
    text, number = report(loaded, decisions, settings.data, costs), settings.parallel or 1
    return f"{text}\n\n{number} trainings side by side take at best 1/{number} of these hours." if number > 1 else text


@click.command()
@click.option("--protocol", help="Name, path or folder. Default: the protocol run last.")
@DATA
@RESULTS
@TRACKING
def score(protocol: str | None, data: Path | None, results: Path, tracking_uri: str | None) -> None:
    """Score every recorded cell again, from kept volumes or weights; nothing is trained.

    For a metric that was added to the protocol's scoring or corrected in the code. Earlier records are renamed, not
    deleted. Exit status: 0 all done, 3 some cells have no figure, 2 wrong usage.
    """
    from ..running import runner
    from ..running.settings import RunSettings

    with _stopped_by_sigterm():
        outcomes = runner.score(protocol, RunSettings(data=data, results=results, tracking_uri=tracking_uri))
    _report(outcomes)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM, which schedulers send before they kill, works as Ctrl-C does."""
    earlier_handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier_handler or signal.SIG_DFL)


def _report(outcomes: Sequence[Outcome]) -> None:
    """Say how many cells are done and why the others are not, and leave with status 0 or 3."""
    undone = [outcome for outcome in outcomes if not outcome.good]
    click.echo(f"{len(outcomes) - len(undone)} of {len(outcomes)} cells done.")
    for outcome in undone:
        click.echo(f"{outcome.cell}: {outcome.state}: {outcome.message}", err=True)
    sys.exit(3 if any(outcome.state != "running" for outcome in undone) else 0)
