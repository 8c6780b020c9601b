"""`bench data get` and `bench data audit`: download, audit, compare with what is published, print a summary."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ...dataset import Dataset
from ...errors import UsageError
from ...registry import datasets, find_source, load_dataset
from ...system.cache import cache_folder
from ...system.units import size_text
from ..folders import data_folder, open_dataset
from .audit import Entry, audit, flaws, owner
from .meter import Say
from .obtain import first_usable, obtain

_SHOWN = 8
"""At most this many names or files of a list are printed; all are in the audit."""


def obtain_and_audit(
    name: str, data: Path | None, say: Say, mirror: str | None = None, subjects: int | None = None, fetch: bool = True
) -> tuple[Dataset, bool]:
    """Download the missing files of a data set, audit all of them and print a summary.

    data, mirror, subjects: as in `bench data get`; fetch: whether missing files are downloaded. Returns the data set,
    and whether it is complete and without problems. Raises BenchError where files cannot be downloaded, UsageError for
    an unknown data set and for a folder that is missing.
    """
    cls = load_dataset(find_source(name, datasets(), "data set"))
    if subjects:
        first_usable(cls, subjects)
    if fetch and cls.archives:
        root = data_folder(name, data)
        if root is None:
            raise UsageError(f"data set '{name}' needs a folder for its files: give --data DIR, or set MRSR_DATA")
        obtain(cls, root, say, mirror, subjects)
    dataset = open_dataset(name, data)
    if not cls.needs_root:
        say(f"{name} comes with an installed package: {len(dataset.subjects())} subjects")
        return dataset, True
    assert dataset.root is not None
    table = _table(name, dataset.root)
    entries = audit(dataset, table, say)
    lines, good = summary(dataset, entries, subjects)
    for line in [f"{name} in {dataset.root}", *lines, f"A row for every file: {table}"]:
        say(line)
    return dataset, good


def _table(name: str, root: Path) -> Path:
    """The path of the audit: beside the files, or in the cache where that folder cannot be written."""
    if os.access(root, os.W_OK):
        return root / f"audit-{name}.csv"
    return cache_folder() / name / f"audit-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}.csv"


def summary(dataset: Dataset, entries: Sequence[Entry], subjects: int | None = None) -> tuple[list[str], bool]:
    """An audit as text, and whether all is as it should be. subjects: how many were requested, None for all."""
    size = sum(int(entry.bytes or 0) for entry in entries)
    people = {entry.subject for entry in entries if entry.subject}
    lines = [
        f"{len(entries):,} files, {size_text(size)}, {len(people)} subjects. Licence: {dataset.licence or 'not known'}"
    ]
    lines += ["", *_geometries(entries)]
    counts, counts_good = _counts(dataset, entries, subjects)
    names, names_good = _names(dataset, entries, subjects)
    lines += ["", *counts, *names]
    if subjects and dataset.archives:
        lines.append(
            "Only the start of each tar was read: every file's checksum was verified, those of the tars were not."
        )
    known = [f"{entry.path}: {entry.known}" for entry in entries if entry.known]
    if known:
        lines += ["", f"Known defects ({len(known)} files):", *_shortened(known)]
    problems = [f"{entry.path}: {entry.problem}" for entry in entries if entry.problem]
    heading = f"Other problems ({len(problems)} files):" if problems else "Other problems: none."
    lines += ["", heading, *_shortened(problems)]
    return lines, counts_good and names_good and not problems


def _shortened(lines: Sequence[str]) -> list[str]:
    more = [f"  … and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [*(f"  {line}" for line in lines[:_SHOWN]), *more]


def _geometries(entries: Sequence[Entry]) -> list[str]:
    """The commonest shapes of each contrast, with voxel distances, axis codes and types."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        geometry = f"{entry.shape}  {entry.zooms} mm  {entry.axes}  {entry.dtype}" if entry.shape else "unreadable"
        kinds[entry.contrast or "?"][geometry] += 1
    lines = []
    for contrast, counter in sorted(kinds.items()):
        common = counter.most_common(_SHOWN)
        lines += [f"{contrast:4} {number:5} × {geometry}" for geometry, number in common]
        if rest := sum(counter.values()) - sum(number for _, number in common):
            lines.append(f"{contrast:4} {rest:5} × in {len(counter) - len(common)} other ways")
    return lines


def count(dataset: Dataset, entries: Sequence[Entry]) -> dict[str, dict[str, int]]:
    """Numbers of existing subjects, as in `Dataset.counts`.

    Usable are those with all contrasts and no file that is known to be defective or cannot be used.
    """
    contrasts = {archive.contrast for archive in dataset.archives} or {e.contrast for e in entries if e.contrast}
    groups: dict[str, set[str]] = {contrast: set() for contrast in sorted(contrasts)}
    unusable = set()
    for entry in entries:
        if entry.contrast in groups:
            groups[entry.contrast].add(entry.subject)
        if entry.known or any("negative" not in flaw for flaw in flaws(entry)):
            unusable.add(entry.subject)
    common = set.intersection(*groups.values()) if groups else set()
    groups |= {"all contrasts": common, "usable": common - unusable}
    return {group: _by_site(dataset, names) for group, names in groups.items()}


def _by_site(dataset: Dataset, subjects: Iterable[str]) -> dict[str, int]:
    sites = Counter(dataset.site(subject) for subject in subjects)
    total = sites.total()
    return {**sites, "": total}


def _counts(dataset: Dataset, entries: Sequence[Entry], requested: int | None) -> tuple[list[str], bool]:
    """A table of the numbers of subjects, counted and published, and whether they agree."""
    counted, published = count(dataset, entries), {} if requested else dataset.counts
    groups = [*(published or counted), *(group for group in counted if published and group not in published)]
    sites = sorted({site for numbers in [*counted.values(), *published.values()] for site in numbers})
    cells = [["subjects", *(site or "all" for site in sites)]]
    wrong = 0
    for group in groups:
        cells.append([group])
        for site in sites:
            number, expected = counted.get(group, {}).get(site, 0), published.get(group, {}).get(site)
            wrong += expected is not None and number != expected
            cells[-1].append(str(number) if expected is None else f"{number} of {expected}")
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells]
    if published:
        lines.append(f"Counts: {wrong} differ from the published ones." if wrong else "Counts: all as published.")
    return lines, not wrong


def _names(dataset: Dataset, entries: Sequence[Entry], requested: int | None) -> tuple[list[str], bool]:
    """The published (or requested) names that are missing, and the extra ones; and whether there are none of either."""
    published: Mapping[str, Collection[str]] = dataset.published()
    if not published:
        return [], True
    listed = {(subject, contrast) for subject, contrasts in published.items() for contrast in contrasts}
    chosen = {*first_usable(type(dataset), requested)} if requested else published.keys()
    existing = {pair for entry in entries if (pair := owner(dataset, entry))}
    missing = sorted("-".join(pair) for pair in listed - existing if pair[0] in chosen)
    extra = sorted("-".join(pair) for pair in existing - listed)
    lines = [
        f"Missing of the {'requested' if requested else 'published'} files ({len(missing)}):",
        *_shortened(missing),
    ]
    more = [f"Not on the list of published names ({len(extra)}):", *_shortened(extra)]
    complete = f"Names: all {len(chosen)} requested subjects are there." if requested else "Names: none is missing."
    return [*(lines if missing else [complete]), *(more if extra else [])], not missing and not extra
