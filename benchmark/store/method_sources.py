"""Copies of the methods' files that made the figures, so that a figure can be audited later. Nothing runs them.

<results>/runs/<protocol>/sources/<source digest>.zip
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from ..system.files import atomic_file, remove_leftovers

SOURCES = "sources"


def keep_source(folder: Path, digest: str, contents: Mapping[str, bytes]) -> None:
    """Write the files that a source digest covers into a protocol's folder, once; equal files give equal bytes."""
    path = folder / SOURCES / f"{digest}.zip"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in contents.items():  # in the order that the digest uses
            file.writestr(zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    with atomic_file(path) as target:
        target.write(archive.getvalue())
