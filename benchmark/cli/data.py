"""The command about data sets: have their files, audit them, prepare them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError


@click.command()
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
    from ..data.acquisition.inventory import obtain_and_audit
    from ..protocol.loading import load

    loaded = load(protocol) if protocol else None
    if loaded and loaded.protocol.data.dataset != name:
        raise UsageError(f"protocol '{protocol}' is over the data set '{loaded.protocol.data.dataset}', not '{name}'")
    dataset, good = obtain_and_audit(name, data, click.echo, fetch=not no_download, **options)
    if loaded:
        from ..data.preparation import prepare_protocol

        prepare_protocol(loaded, data, click.echo)
    if match_archive:
        from ..replication.matching import match_archive as match

        match(dataset, match_archive, out or Path("splits"), click.echo)
    if calibrate:
        from ..replication.calibration import calibrate as calibration

        click.echo(calibration(dataset, out or Path("calibration"), click.echo))
    sys.exit(0 if good or loaded or match_archive or calibrate else 3)
