"""Commands on data sets: download, audit, prepare; match a published split, explain published figures."""

from __future__ import annotations

import sys
from pathlib import Path

import click

NAME = click.argument("name")
DATA = click.option("--data", type=click.Path(path_type=Path), help="Folder of the files. Default: $MRSR_DATA/NAME.")
SUBJECTS = click.option(
    "--subjects", type=click.IntRange(1), metavar="N", help="Only the first N usable subjects, by name."
)


@click.group()
def data() -> None:
    """Download, audit and prepare data sets.

    \b
    bench data list                          where the files and the cache are
    bench data get ixi --data DIR            download and audit: 12.8 GB, and as much again for the tars
    bench data prepare ixi_all --data DIR    fill the cache: later runs read no NIfTI file

    A data set of your own needs no download: see docs/data.md.
    """


@data.command("list")
def list_() -> None:
    """List the data sets, with the folders of their files and of the cache.

    \b
    MRSR_DATA=/data bench data list          looks for ixi in /data/ixi
    """
    from . import listing

    for line in listing.data_places():
        click.echo(line)


@data.command()
@NAME
@DATA
@click.option("--mirror", envvar="MRSR_MIRROR", metavar="URL", help="Address of the tars. Default: $MRSR_MIRROR.")
@SUBJECTS
def get(name: str, data: Path | None, mirror: str | None, subjects: int | None) -> None:
    """Download what is missing of data set NAME, then audit it.

    Files and tars that are in the folder already are used, in any subfolder. Stopped, it continues where it was when
    you run it again. The audit is that of `bench data audit`. Exit status: 0 all files are there and as published,
    3 some are not, 1 the download failed.

    \b
    bench data get ixi --data DIR                    12.8 GB, and as much again for the tars
    bench data get ixi --data DIR --subjects 3       three subjects, from the start of each tar
    """
    from ..data.obtaining.inventory import obtain_and_audit

    _, good = obtain_and_audit(name, data, click.echo, mirror, subjects)
    sys.exit(0 if good else 3)


@data.command()
@NAME
@DATA
@SUBJECTS
def audit(name: str, data: Path | None, subjects: int | None) -> None:
    """Read every file of data set NAME and compare with what is published. Nothing is downloaded.

    Writes a CSV with a row for every file, and prints a summary. Run again, it reads only the files that changed.
    Exit status: 0 all files are there and as published, 3 some are not.

    \b
    bench data audit ixi --data DIR
    bench data audit folder --data DIR               your own files, <subject>-<contrast>.nii.gz
    """
    from ..data.obtaining.inventory import obtain_and_audit

    _, good = obtain_and_audit(name, data, click.echo, subjects=subjects, fetch=False)
    sys.exit(0 if good else 3)


@data.command()
@click.argument("protocol")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the files. Default: $MRSR_DATA/<data set>.")
def prepare(protocol: str, data: Path | None) -> None:
    """Fill the cache with every volume that PROTOCOL needs, a name or a YAML file.

    Runs prepare what they need themselves; this does it beforehand. Run again, it prepares only what is missing.

    \b
    bench data prepare ixi_all --data DIR
    """
    from ..data.preparation import prepare_protocol
    from ..protocol.loading import load

    prepare_protocol(load(protocol), data, click.echo)


@data.command("clear-cache")
def clear_cache() -> None:
    """Delete the cache of prepared volumes. Runs make it again when they need it.

    \b
    bench data clear-cache && bench data prepare ixi_all --data DIR
    """
    from ..system.units import size_text
    from . import listing

    click.echo(f"freed {size_text(listing.clear_cache())}")


@data.command("match")
@NAME
@click.argument("archive", type=click.Path(path_type=Path))
@DATA
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("splits"), show_default=True, help="Folder to write to."
)
def match_(name: str, archive: Path, data: Path | None, out: Path) -> None:
    """Recover a published split: find which subjects of data set NAME the volumes in the folder ARCHIVE come from.

    Writes the split, and a page that says how sure it is (docs/splits.md).

    \b
    bench data match ixi csn-archive --data DIR      CSN's split
    """
    from ..data.folders import open_dataset
    from ..replication.matching import match_archive

    match_archive(open_dataset(name, data), archive, out, click.echo)


@data.command("calibrate")
@NAME
@DATA
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("calibration"),
    show_default=True,
    help="Folder to write to.",
)
def calibrate_(name: str, data: Path | None, out: Path) -> None:
    """Find the metric convention that explains the published bicubic figures best.

    Scores bicubic on every subject of data set NAME under all conventions (docs/calibration.md). Uses all cores;
    stopped, it continues where it was when you run it again.

    \b
    bench data calibrate ixi --data DIR
    """
    from ..data.folders import open_dataset
    from ..replication.calibration import calibrate

    click.echo(calibrate(open_dataset(name, data), out, click.echo))
