"""Recovery of a published split: whoever has the processed volumes finds out from which subjects they were cut.

`fingerprint` makes hashes that survive crops and turns, `archive` reads the archive, `search` compares it with a data
set, `lr_degradations` finds how LR was made, `report` writes it down. docs/splits.md says how it works.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...dataset import Dataset
from ...errors import BenchError, UsageError
from ...system.files import write_text
from ...volumes import VolumeError
from .archive import SUFFIXES, ArchivedVolume, folds_of, split_by_resolution, volume_files, volumes_in
from .lr_degradations import lr_degradations
from .report import MatchingReport
from .search import in_threads, search

NAME = "ixi_csn"
"""Stem of the files written: the split of CSN (Zhao et al., IEEE TIP 2019), whose archive this is for."""


def match_archive(dataset: Dataset, archive: Path, out: Path, say: Callable[[str], None]) -> None:
    """Match every volume below `archive` to a (subject, contrast) of `dataset` and write the split into `out`.

    Volumes may be crops in any orientation, scaled by a constant, with negatives clipped; they are matched voxel by
    voxel, by content alone. Folds come from the names of folders. Writes ixi_csn.csv (a protocol's split), ixi_csn.md
    and ixi_csn.json, each whole or not at all; `say` takes a line on the progress or a result.

    Raises UsageError where `archive` holds no volumes or its folders do not tell train from test, and BenchError
    where nothing matches or a subject is in two folds; the page is written before, the split is not.
    """
    volumes, damaged, others = _read(archive, say)
    hr, lr = split_by_resolution(volumes)
    folds = folds_of(hr)
    say(f"{len(hr)} HR and {len(lr)} LR volumes; {len(damaged)} files cannot be read")
    origins, unusable = search(dataset, hr, say)
    degradations, unpaired = lr_degradations(origins, lr, say)
    report = MatchingReport(origins, folds, degradations, damaged, unpaired, unusable, others)

    out.mkdir(parents=True, exist_ok=True)
    page = out / f"{NAME}.md"
    write_text(page, report.markdown(str(archive)))
    write_text(out / f"{NAME}.json", report.json())
    exact = sum(origin.match is not None for origin in origins)
    say(f"{exact} of {len(origins)} HR volumes match exactly; see {page}")
    if not exact:
        raise BenchError(f"{archive}: no volume matches the data set exactly; {page} names the nearest of each")
    if report.conflicts():
        raise BenchError(f"{archive}: {report.warnings()[-1]} See {page}")
    for warning in report.warnings():
        say(f"warning: {warning}")
    write_text(out / f"{NAME}.csv", report.csv())
    numbers = ", ".join(f"{len(subjects)} {fold}" for fold, subjects in report.split().items())
    say(f"wrote {out / NAME}.csv: {numbers}")


def _read(archive: Path, say: Callable[[str], None]) -> tuple[list[ArchivedVolume], list[str], list[str]]:
    """The volumes below `archive`, the files that cannot be read with the reason, and those that hold no volume."""
    if not archive.is_dir():
        raise UsageError(f"no such folder: {archive}")
    paths, others = volume_files(archive)
    if not paths:
        raise UsageError(f"{archive}: no file below it ends in {', '.join(SUFFIXES)}; unpack the archive first")

    def volumes_or_problem(path: Path) -> list[ArchivedVolume] | str:
        try:
            return volumes_in(path, archive)
        except VolumeError as error:
            return str(error)

    volumes: list[ArchivedVolume] = []
    damaged: list[str] = []
    for result in in_threads(volumes_or_problem, paths, say, "files of the archive opened"):
        if isinstance(result, str):
            damaged.append(result)
        else:
            volumes += result
    if not volumes:
        raise UsageError(f"{archive}: none of its {len(paths)} volume files can be read, e.g. {damaged[0]}")
    return volumes, damaged, [path.relative_to(archive).as_posix() for path in others]
