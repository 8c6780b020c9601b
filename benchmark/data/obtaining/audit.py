"""The audit of a data set: every file is read whole, measured, and compared with what is known of the data set.

The audit is a CSV, a row per file. A second audit takes from it what was measured, and reads only files whose size or
time of change differ.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from ...dataset import Dataset
from ...system.files import write_text
from ...system.parallel import as_done, thread_pool
from ...volumes import VolumeError, open_nifti
from .meter import Meter, Say

_SAVE_SECONDS = 10.0
"""A killed audit loses the work of at most this time."""


@dataclass(frozen=True)
class Entry:
    """A row of the audit. All is text, as in the CSV, and empty where it is not known."""

    path: str
    """Below the data set's root."""
    bytes: str
    modified: str
    """Time of the file's last change, ns."""
    sha256: str = ""
    shape: str = ""
    """In the file's order, e.g. 256x256x150; so are zooms (mm) and axes."""
    zooms: str = ""
    axes: str = ""
    """Where the axes point, e.g. PSR."""
    dtype: str = ""
    slope: str = ""
    intercept: str = ""
    min: str = ""
    """Of the finite values, slope and intercept applied; so is max."""
    max: str = ""
    nan: str = ""
    """Number of values that are NaN or infinite."""
    zero_slices: str = ""
    """Number of slices that are 0 throughout; slices are those of the header's slice axis, else of the coarsest one."""
    unreadable: str = ""
    """Why the file cannot be read."""
    subject: str = ""
    site: str = ""
    contrast: str = ""
    known: str = ""
    """A known defect."""
    problem: str = ""
    """What else is wrong or unusual."""

    @property
    def key(self) -> tuple[str, str, str]:
        """A measurement is valid as long as this stays the same."""
        return self.path, self.bytes, self.modified


def audit(dataset: Dataset, table: Path, say: Say) -> list[Entry]:
    """Measure every image below the data set's root, in parallel, and write `table`. Returns its rows, by path.

    Rows of an earlier table are kept where size and time of change are the same; a table that needs no change is not
    written. A file that cannot be read is a row too. Raises VolumeError for a folder that cannot be listed.
    """
    root, earlier = dataset.root or Path(), read(table)
    measured = {entry.key: entry for entry in earlier}
    entries, todo = [], []
    for path in dataset.images:
        entry = _unmeasured(path, root)
        if entry.key in measured:
            entries.append(measured[entry.key])
        else:
            todo.append((entry, path))
    saved = time.monotonic()
    with thread_pool() as pool, Meter(say, "audit", len(todo), "files") as meter:
        for _, entry in as_done(pool, lambda item: _measured(*item), todo):
            entries.append(entry)
            meter.advance()
            if time.monotonic() - saved > _SAVE_SECONDS:
                _write(table, entries)
                saved = time.monotonic()
    judged = _judged(dataset, sorted(entries, key=lambda entry: entry.path))
    if judged != earlier:
        _write(table, judged)
    return judged


def read(table: Path) -> list[Entry]:
    """The rows of an audit; none where there is no such file, or it is not of this version."""
    try:
        with table.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error):
        return []
    names = [field.name for field in fields(Entry)]
    if not rows or rows[0] != names:
        return []
    return [Entry(*row) for row in rows[1:] if len(row) == len(names)]


def _write(table: Path, entries: Sequence[Entry]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Entry)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(entry) for entry in entries)
    table.parent.mkdir(parents=True, exist_ok=True)
    write_text(table, text.getvalue())


def _unmeasured(path: Path, root: Path) -> Entry:
    name = os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")  # a name may be in any encoding
    try:
        status = path.stat()
    except OSError:
        return Entry(name, "", "")
    return Entry(name, str(status.st_size), str(status.st_mtime_ns))


def _measured(entry: Entry, path: Path) -> Entry:
    facts: dict[str, str] = {}
    try:
        image = open_nifti(path)
        facts |= _header(image)
        with path.open("rb") as file:
            facts["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        facts |= _values(image, path)
    except VolumeError as error:
        facts["unreadable"] = error.reason
    except Exception as error:  # a library's error on a damaged file is this row's alone
        facts["unreadable"] = f"{type(error).__name__}: {error}"
    return replace(entry, **facts)


def _header(image: Any) -> dict[str, str]:
    finite = np.isfinite(image.affine).all()
    codes = nib.aff2axcodes(image.affine) if finite else (None,) * 3
    return {
        "shape": "x".join(map(str, image.shape)),
        "zooms": "x".join(f"{mm:.5g}" for mm in image.header.get_zooms()),
        "axes": "".join(code or "?" for code in codes),
        "dtype": str(image.get_data_dtype()),
        "slope": f"{image.dataobj.slope:.7g}",
        "intercept": f"{image.dataobj.inter:.7g}",
    }


def _values(image: Any, path: Path) -> dict[str, str]:
    if image.get_data_dtype().kind not in "uif":
        raise VolumeError(path, f"stores {image.get_data_dtype()}; only real numbers can be used")
    if min(image.shape, default=0) < 1:
        raise VolumeError(path, f"is empty: shape {image.shape}")
    data = np.asanyarray(image.dataobj)
    finite = data if data.dtype.kind in "ui" else data[np.isfinite(data)]
    axis, zooms = image.header.get_dim_info()[2], image.header.get_zooms()[:3]
    if axis is None:
        axis = max(range(len(zooms)), key=lambda i: (zooms[i], i))
    blank = ~data.any(axis=tuple(index for index in range(data.ndim) if index != axis))
    return {
        "min": f"{finite.min():.7g}" if finite.size else "",
        "max": f"{finite.max():.7g}" if finite.size else "",
        "nan": str(data.size - finite.size),
        "zero_slices": str(np.count_nonzero(blank)),
    }


def owner(dataset: Dataset, entry: Entry) -> tuple[str, str] | None:
    """(subject, contrast) of a row; None where the file's name does not tell."""
    return dataset.identify(entry.path.rpartition("/")[2])


def _judged(dataset: Dataset, entries: Sequence[Entry]) -> list[Entry]:
    """The rows with subject, site, contrast, known defects and problems filled in."""
    same_owner, same_content = defaultdict[Any, list[str]](list), defaultdict[str, list[str]](list)
    for entry in entries:
        same_owner[owner(dataset, entry)].append(entry.path)
        same_content[entry.sha256].append(entry.path)
    listed, judged = dataset.published(), []
    for entry in entries:
        image = owner(dataset, entry)
        known, problems = dataset.defects.get(image, "") if image else "", list(flaws(entry))
        if image is None:
            problems.append("its name has no subject and contrast of this data set")
        else:
            if listed and image[1] not in listed.get(image[0], ()):
                problems.append("is not among the published names")
            if others := [path for path in same_owner[image] if path != entry.path]:
                problems.append(f"same subject and contrast as {', '.join(others)}")
            if entry.axes and entry.shape.count("x") == 2 and not known:
                zooms, shape = map(float, entry.zooms.split("x")), map(int, entry.shape.split("x"))
                problems += filter(None, [dataset.unusual(image[1], tuple(shape), tuple(zooms), entry.axes)])
        if entry.sha256 and (others := [path for path in same_content[entry.sha256] if path != entry.path]):
            problems.append(f"same content as {', '.join(others)}")
        subject, contrast = image or ("", "")
        site = dataset.site(subject) if image else ""
        text = "; ".join(problems)
        judged.append(replace(entry, subject=subject, site=site, contrast=contrast, known=known, problem=text))
    return judged


def flaws(entry: Entry) -> Iterator[str]:
    """What is wrong with a file in any data set."""
    if entry.unreadable:
        yield entry.unreadable
    shape = entry.shape.split("x")
    while len(shape) > 3 and shape[-1] == "1":
        shape.pop()
    if entry.shape and len(shape) not in (2, 3):
        yield f"has {len(shape)} dimensions"
    if "?" in entry.axes:
        yield "its affine does not say where the axes point"
    if entry.nan not in ("", "0"):
        yield f"holds {entry.nan} values that are NaN or infinite"
    if entry.min and entry.min == entry.max:
        yield f"is constant: every value is {entry.min}"
    elif entry.min.startswith("-"):
        yield f"has negative values, down to {entry.min}"
