"""Commands for a team's MLflow server: sync and pull."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import click

from .options import RESULTS


@click.group()
def mlflow() -> None:
    """Bring an MLflow tracker to the state of the records, and records back from it.

    A run mirrors its records by itself (--tracking-uri of bench run). These commands are for what it could not send,
    and for a machine that has no records yet. A server's user comes from MLflow's environment variables
    MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN.
    """


@mlflow.command()
@click.option("--protocol", help="Name, path or folder. Default: all protocols.")
@RESULTS
@click.option("--tracking-uri", help="MLflow tracker. Default: mlflow.db in the results folder.")
def sync(protocol: str | None, results: Path, tracking_uri: str | None) -> None:
    """Send every record that the tracker lacks, or has differently; remove what it has twice.

    The tracker is asked what it has: marks of earlier runs do not count. No method is imported.

    \b
    bench mlflow sync --tracking-uri http://mlflow.lab:5000

    Exit status: 0 the tracker now has exactly the records, 3 some are missing there, 1 it does not answer.
    """
    from ..tracking.synchronisation import synchronise

    done = synchronise(results, protocol, tracking_uri, functools.partial(click.echo, err=True))
    click.echo(str(done))
    sys.exit(3 if done.missing else 0)


@mlflow.command()
@click.option("--tracking-uri", required=True, help="MLflow tracker.")
@click.option("--protocol", help="Name of an experiment. Default: all experiments of this suite.")
@click.argument("results", type=click.Path(path_type=Path))
def pull(tracking_uri: str, protocol: str | None, results: Path) -> None:
    """Get records with their plans, scores, curves, weights and sources from a tracker into a results folder.

    They are merged as by `bench unpack`: checked, and never over a cell that is done. `bench table` then shows the
    table of the folder that they came from. Images, logs, states and volumes are not there.

    \b
    bench mlflow pull --tracking-uri http://mlflow.lab:5000 results

    Exit status: 0 nothing was refused, 3 some cells were, 1 the tracker does not answer, 2 wrong usage.
    """
    from ..tracking.pull import pull as pull_results

    merged = pull_results(tracking_uri, results, protocol, functools.partial(click.echo, err=True))
    click.echo(f"{results}: {merged}")
    sys.exit(3 if merged.refused or merged.damaged else 0)
