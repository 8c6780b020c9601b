"""Options that several commands share, and how their words are read."""

from __future__ import annotations

from pathlib import Path

import click


def _folder(ctx: click.Context, param: click.Parameter, value: Path) -> Path:
    """A folder to write to, or one that is still to be made."""
    if value.is_file():
        from ..store.results import check_folder

        check_folder(value)
    return value


RESULTS = click.option(
    "--results",
    type=click.Path(path_type=Path),
    callback=_folder,
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


def names(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Words with commas between."""
    return tuple(name.strip() for name in value.split(",") if name.strip()) if value else ()


def numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    """Seeds with commas between."""
    try:
        numbers = tuple(int(number) for number in names(ctx, param, value))
    except ValueError:
        raise click.BadParameter(f"expected whole numbers with commas between, e.g. 0,1,2; got {value!r}") from None
    if any(number < 0 or number >= 2**31 for number in numbers):
        raise click.BadParameter("seeds are 0 to 2147483647")
    return numbers
