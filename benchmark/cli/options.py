"""What several commands share: options, how their values are read, and aligned columns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..running.settings import Shard


def _results_folder(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
    """A folder to write to, or one that is still to be made."""
    if value.is_file():
        from ..store.results import check_folder

        check_folder(value)
    return value


RESULTS = click.option(
    "--results",
    type=click.Path(path_type=Path),
    callback=_results_folder,
    default=Path("results"),
    show_default=True,
    help="Folder of records.",
)
RECORDS = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder of records, or a pack of them (.zip; see bench pack).",
)
DATA = click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Folder of the protocol's data set. Default: $MRSR_DATA/<data set>.",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
TRACKING = click.option(
    "--tracking-uri", help="MLflow tracker; 'none' for no mirror. Default: mlflow.db in the results folder."
)


def split_names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Names with commas between."""
    return tuple(name.strip() for name in value.split(",") if name.strip()) if value else ()


def parse_seeds(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Seeds with commas between."""
    try:
        seeds = tuple(int(name) for name in split_names(ctx, param, value))
    except ValueError:
        raise click.BadParameter(f"expected whole numbers with commas between, e.g. 0,1,2; got {value!r}") from None
    if any(seed < 0 or seed >= 2**31 for seed in seeds):
        raise click.BadParameter("seeds are 0 to 2147483647")
    return seeds


def parse_shard(ctx: click.Context, param: click.Parameter, value: str | None) -> Shard | None:
    """A part, e.g. '3/16'."""
    if value is None:
        return None
    from ..running.settings import Shard

    part, slash, parts = value.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise click.BadParameter(f"expected a part of several, from 1/N to N/N, e.g. 3/16; got {value!r}")
    return Shard(int(part), int(parts))


def parse_rates(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, float]:
    """Labels with their learning rates, e.g. 'mine=2e-4,edsr=1e-3'."""
    rates: dict[str, float] = {}
    for entry in split_names(ctx, param, value):
        label, _, text = entry.rpartition("=")
        try:
            rate = float(text)
        except ValueError:
            rate = math.nan
        if not label or not 0 < rate < math.inf:
            raise click.BadParameter(f"expected label=rate with commas between, e.g. mine=2e-4; got {entry!r}")
        if label in rates:
            raise click.BadParameter(f"'{label}' appears twice")
        rates[label] = rate
    return rates


def aligned(rows: Sequence[Sequence[str]], *alignments: str) -> list[str]:
    """Lines with a table's columns aligned, to the left unless `alignments` name another side."""
    from tabulate import tabulate

    table = tabulate(rows, tablefmt="plain", disable_numparse=True, colalign=alignments or None)
    return table.splitlines()
