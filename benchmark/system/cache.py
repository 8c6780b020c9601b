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
"""Bytes. A smaller file is read every time, which takes no longer than looking up its digest."""
_SETTLED = 2.0
"""Seconds. A file changed more recently may change again within the resolution of the file system's clock and keep its
time of change: its digest is not remembered yet."""


def cache_folder() -> Path:
    """MRSR_CACHE, else the platform's cache folder."""
    return Path(os.environ.get("MRSR_CACHE") or platformdirs.user_cache_path("mrsr-bench"))


def content_digest(path: Readable) -> str:
    """SHA-256 of a file, remembered in the cache. Raises OSError where the file cannot be read.

    A file in a pack is always read. Raises DamagedFile where it differs from what the pack says.

    A remembered digest counts only while the path, size, inode, time of modification and time of change (ctime, which
    `cp -p` and `rsync -a` cannot set) are the same.
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
        remembered = read_sealed(memo)
        if remembered.get("marks") == marks:
            return str(remembered["sha256"])
    started = time.time()
    value = sha256_of(path)
    if started - status.st_ctime > _SETTLED:
        with suppress(OSError):  # without a writable cache the file is read again next time
            memo.parent.mkdir(parents=True, exist_ok=True)
            remove_leftovers(memo.parent)
            write_sealed(memo, {"marks": marks, "sha256": value})
    return value
