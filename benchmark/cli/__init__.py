"""The command line. Only click is imported here; each command imports what it uses, so that --help is instant."""

from __future__ import annotations

from typing import Any

import click

from ..errors import BenchError, UsageError
from .compare import compare
from .data import data
from .figure import figure
from .mlflow import mlflow
from .packs import pack, unpack
from .report import report
from .run import rates, run, score
from .show import check, list_, protocol, status
from .table import table


class _Group(click.Group):
    """Turns the suite's errors into messages: status 2 for a request that cannot be carried out, else 1."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BenchError as error:
            click.echo(f"Error: {error}", err=True)
            ctx.exit(2 if isinstance(error, UsageError) else 1)
        except KeyboardInterrupt:
            click.echo("\nStopped. Finished work is kept; run the same command again to continue.", err=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mrsr-bench")
def main() -> None:
    """Benchmark MR image super-resolution: train and evaluate methods under fixed protocols, print the table.

    \b
    bench run                                       the demo: embedded data, every method
    bench run --protocol ixi_midslice --data DIR    240 real subjects
    bench run --methods edsr,./mine.py,poan+        a new method beside others; + is the self-ensemble
    bench table -o table.tex                        the table of the protocol run last
    bench figure quality -o quality.pdf             a figure of it
    bench report                                    a page with all of it, to open in a browser
    """


for command in (
    list_,
    protocol,
    check,
    data,
    run,
    rates,
    score,
    status,
    table,
    figure,
    report,
    compare,
    pack,
    unpack,
    mlflow,
):
    main.add_command(command)
