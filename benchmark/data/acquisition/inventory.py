"""What `bench data get` and `bench data audit` do: download, audit, compare with what is published."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from ...dataset import Dataset
from ...errors import UsageError
from ...registry import datasets, find, load_dataset
from ...system.cache import cache_folder
from ..preparation import data_folder, open_dataset
from .audit import Entry, audit, flaws, owner
from .meter import Say
from .obtain import first_usable, obtain

_SHOWN = 8
"""So many names or files are printed of a list; all are in the audit."""


def take_stock(
    name: str, data: Path | None, say: Say, mirror: str | None = None, subjects: int | None = None, fetch: bool = True
) -> tuple[Dataset, bool]:
    """Have the files of a data set, audit them and say what was found.

    data, mirror, subjects: as in `bench data get`; fetch: download what is missing. Returns the data set, and whether
    all is there and as it should be. Raises BenchError where files cannot be had, UsageError for an unknown data set
    and for a folder that is missing.
    """
    cls = load_dataset(find(name, datasets(), "data set"))
    if subjects:
        first_usable(cls, subjects)
    if fetch and cls.archives:
        root = data_folder(name, data)
        if root is None:
            raise UsageError(f"say where the files of '{name}' are or shall be: give --data DIR, or set MRSR_DATA")
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
    """The audit lies beside the files, or in the cache where nothing can be written there."""
    if os.access(root, os.W_OK):
        return root / f"audit-{name}.csv"
    return cache_folder() / name / f"audit-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}.csv"


def summary(dataset: Dataset, entries: Sequence[Entry], subjects: int | None = None) -> tuple[list[str], bool]:
    """An audit in words, and whether all is as it should be. subjects: only so many were asked for."""
    size = sum(int(entry.bytes or 0) for entry in entries) / 1e9
    people = {entry.subject for entry in entries if entry.subject}
    lines = [
        f"{len(entries):,} files, {size:.2f} GB, {len(people)} subjects. Licence: {dataset.licence or 'not known'}"
    ]
    lines += ["", *_geometries(entries)]
    counted, counts_good = _counts(dataset, entries, subjects)
    named, names_good = _names(dataset, entries, subjects)
    lines += ["", *counted, *named]
    if subjects and dataset.archives:
        lines.append("Read from the start of each tar: every file's own checksum was verified, the tars' were not.")
    known = [f"{entry.path}: {entry.known}" for entry in entries if entry.known]
    if known:
        lines += ["", f"Known defects ({len(known)} files):", *_some(known)]
    problems = [f"{entry.path}: {entry.problem}" for entry in entries if entry.problem]
    heading = f"Other problems ({len(problems)} files):" if problems else "Other problems: none."
    lines += ["", heading, *_some(problems)]
    return lines, counts_good and names_good and not problems


def _some(lines: Sequence[str]) -> list[str]:
    more = [f"  … and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return [*(f"  {line}" for line in lines[:_SHOWN]), *more]


def _geometries(entries: Sequence[Entry]) -> list[str]:
    """The commonest shapes of each contrast, with voxel distances, axis codes and types."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        words = f"{entry.shape}  {entry.zooms} mm  {entry.axes}  {entry.dtype}" if entry.shape else "unreadable"
        kinds[entry.contrast or "?"][words] += 1
    lines = []
    for contrast, counter in sorted(kinds.items()):
        common = counter.most_common(_SHOWN)
        lines += [f"{contrast:4} {number:5} × {words}" for words, number in common]
        if rest := sum(counter.values()) - sum(number for _, number in common):
            lines.append(f"{contrast:4} {rest:5} × in {len(counter) - len(common)} other ways")
    return lines


def count(dataset: Dataset, entries: Sequence[Entry]) -> dict[str, dict[str, int]]:
    """Numbers of subjects on hand, as in `Dataset.counts`.

    Usable are those with all contrasts and no file that is known to be defective or cannot be used.
    """
    contrasts = {archive.contrast for archive in dataset.archives} or {e.contrast for e in entries if e.contrast}
    having: dict[str, set[str]] = {contrast: set() for contrast in sorted(contrasts)}
    spoilt = set()
    for entry in entries:
        if entry.contrast in having:
            having[entry.contrast].add(entry.subject)
        if entry.known or any("negative" not in flaw for flaw in flaws(entry)):
            spoilt.add(entry.subject)
    common = set.intersection(*having.values()) if having else set()
    groups = {**having, "all contrasts": common, "usable": common - spoilt}
    return {what: _by_site(dataset, names) for what, names in groups.items()}


def _by_site(dataset: Dataset, subjects: Iterable[str]) -> dict[str, int]:
    sites = Counter(dataset.site(subject) for subject in subjects)
    total = sites.total()
    return {**sites, "": total}


def _counts(dataset: Dataset, entries: Sequence[Entry], asked: int | None) -> tuple[list[str], bool]:
    """A table of subjects found and published, and whether they agree."""
    found, published = count(dataset, entries), {} if asked else dataset.counts
    rows = [*(published or found), *(what for what in found if published and what not in published)]
    sites = sorted({site for numbers in [*found.values(), *published.values()] for site in numbers})
    cells = [["subjects", *(site or "all" for site in sites)]]
    wrong = 0
    for what in rows:
        cells.append([what])
        for site in sites:
            number, wanted = found.get(what, {}).get(site, 0), published.get(what, {}).get(site)
            wrong += wanted is not None and number != wanted
            cells[-1].append(str(number) if wanted is None else f"{number} of {wanted}")
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in cells]
    if published:
        lines.append(f"Counts: {wrong} differ from the published ones." if wrong else "Counts: all as published.")
    return lines, not wrong


def _names(dataset: Dataset, entries: Sequence[Entry], asked: int | None) -> tuple[list[str], bool]:
    """Which of the published names, or of those asked for, are missing; and which are there that nobody published."""
    published: Mapping[str, Collection[str]] = dataset.published()
    if not published:
        return [], True
    listed = {(subject, contrast) for subject, contrasts in published.items() for contrast in contrasts}
    chosen = {*first_usable(type(dataset), asked)} if asked else published.keys()
    found = {pair for entry in entries if (pair := owner(dataset, entry))}
    missing = sorted("-".join(pair) for pair in listed - found if pair[0] in chosen)
    extra = sorted("-".join(pair) for pair in found - listed)
    lines = [f"Missing of the files {'asked for' if asked else 'published'} ({len(missing)}):", *_some(missing)]
    more = [f"Not on the list of published names ({len(extra)}):", *_some(extra)]
    whole = f"Names: all {len(chosen)} subjects asked for are there." if asked else "Names: none is missing."
    return [*(lines if missing else [whole]), *(more if extra else [])], not missing and not extra
