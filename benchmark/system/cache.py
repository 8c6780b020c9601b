"""The user's cache: where it lies, and the SHA-256 of files, remembered there."""

from __future__ import annotations

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

import platformdirs

from .files import DamagedFile, Readable, digest, read_sealed, remove_leftovers, sha256_of, write_sealed

DIGESTS = "digests"
_SMALL = 2**16
"""A file of fewer bytes is read again: that takes as long as to look it up."""
_SETTLED = 2.0
"""Seconds. A file that was changed so lately may change again and keep its time of change, which systems count in
thousandths of a second: its digest is not remembered yet."""


def cache_folder() -> Path:
    """MRSR_CACHE, else the platform's cache folder."""
    return Path(os.environ.get("MRSR_CACHE") or platformdirs.user_cache_path("mrsr-bench"))


def content_digest(path: Readable) -> str:
    """SHA-256 of a file, remembered in the cache. Raises OSError where the file cannot be read.

    In a pack nothing is remembered: the file is read. Raises DamagedFile where it is not what the pack says.

    What is remembered counts only while the system says that the file was not touched: place, size, number (inode),
    time of modification and time of change (ctime), which `cp -p` and `rsync -a` cannot set.
    """
    if not isinstance(path, Path):
        return hashlib.sha256(path.read_bytes()).hexdigest()
    status = path.stat()
    if status.st_size < _SMALL:
        return sha256_of(path)
    marks = [status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]
    name = digest(str(path.resolve()))
    memo = cache_folder() / DIGESTS / name[:2] / f"{name[2:32]}.json"
    with suppress(FileNotFoundError, DamagedFile):
        known = read_sealed(memo)
        if known.get("marks") == marks:
            return str(known["sha256"])
    begun = time.time()
    value = sha256_of(path)
    if begun - status.st_ctime > _SETTLED:
        with suppress(OSError):  # a full or read-only cache costs the next look a reading
            memo.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(memo.parent)
            write_sealed(memo, {"marks": marks, "sha256": value})
    return value
