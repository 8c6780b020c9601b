"""Downloads: an interrupted file is resumed where it ended, and gets its name only after its checksum is right."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import BinaryIO

import requests

from ...errors import BenchError, UsageError
from ...system.files import write_text
from ...system.units import size_text
from .meter import Meter, Say

TIMEOUT = (20.0, 60.0)
"""Seconds to wait for a connection, and for the next bytes."""
TRIES = 6
"""Attempts in a row without a byte before a download is given up."""
PAUSE = 1.0
"""Seconds before the second attempt; doubled before each one that follows. A server's Retry-After may ask for more."""
_LONGEST_PAUSE = 600.0
"""Seconds: a longer Retry-After is cut to this."""
_CHUNK = 1 << 16  # small, so that a server that stalls often still brings us forward
_RESTARTS = 3


class FileChanged(Exception):
    """The server's file is no longer the one whose first part was received."""


class _AttemptFailed(Exception):
    """An attempt failed; another may succeed, `pause` seconds later at the earliest."""

    def __init__(self, reason: str, pause: float = 0.0) -> None:
        super().__init__(reason)
        self.pause = pause


class Remote:
    """A file on a server, read from `position` on. After a lost connection it is resumed where it ended.

    Raises BenchError where the file cannot be read, FileChanged where it is replaced on the server meanwhile.
    """

    def __init__(self, url: str, size: int, say: Say, position: int = 0, mark: str = "") -> None:
        self.url, self.size, self.position, self.mark = url, size, position, mark
        self._say = say
        self._ahead = b""
        self._source = self.chunks()

    def read(self, n: int) -> bytes:
        """The next `n` bytes, fewer at the end; `tarfile` calls this of a stream."""
        while len(self._ahead) < n and (chunk := next(self._source, b"")):
            self._ahead += chunk
        part, self._ahead = self._ahead[:n], self._ahead[n:]
        return part

    def close(self) -> None:
        """Close the connection."""
        self._source.close()

    def chunks(self) -> Generator[bytes, None, None]:
        """All bytes from `position` to the end."""
        failures = 0
        while self.position < self.size:
            try:
                for chunk in self._body():
                    self.position += len(chunk)
                    failures = 0
                    yield chunk
                if self.position < self.size:
                    raise _AttemptFailed("the connection ended early")
            except (
                requests.exceptions.InvalidURL,
                requests.exceptions.MissingSchema,
                requests.exceptions.InvalidSchema,
            ):
                raise UsageError(f"{self.url} is not a readable address; give one with --mirror http://…") from None
            except (requests.RequestException, _AttemptFailed) as error:
                failures += 1
                if failures == TRIES:
                    raise BenchError(f"{self.url} cannot be read: {_reason(error)}. Is the network up?") from error
                pause = max(PAUSE * 2 ** (failures - 1), getattr(error, "pause", 0.0))
                self._say(f"{self.url}: {_reason(error)}; trying again in {pause:g} s")
                time.sleep(pause)

    def _body(self) -> Iterator[bytes]:
        headers = {"Accept-Encoding": "identity"}
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
            if self.mark:
                headers["If-Range"] = self.mark
        with requests.get(self.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            status = response.status_code
            if status == 429 or status >= 500:
                raise _AttemptFailed(f"the server answers {status} {response.reason}", _retry_after(response))
            if status == 416:
                raise FileChanged
            if status not in (200, 206):
                raise BenchError(f"{self.url}: the server answers {status} {response.reason}")
            start, total = _extent(response)
            mark = _mark(response)
            if self.mark and mark != self.mark:
                raise FileChanged
            if total not in (self.size, None):
                raise BenchError(
                    f"{self.url} has {total:,} bytes where {self.size:,} are published: it is another file"
                )
            if start > self.position:
                raise BenchError(f"{self.url}: the server sends other bytes than those requested")
            self.mark = mark
            skip = self.position - start  # all that was received before, where the server does not support ranges
            for chunk in response.iter_content(_CHUNK):
                if new := chunk[skip:]:
                    yield new
                skip = max(0, skip - len(chunk))


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """The first byte that a response holds, and the size of the whole file where it says so."""
    if response.status_code == 206:
        span, _, total = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
        start = span.partition("-")[0]
        if not start.isdigit():
            raise _AttemptFailed("the server's Content-Range cannot be understood")
        return int(start), int(total) if total.isdigit() else None
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _mark(response: requests.Response) -> str:
    """What tells this version of the file from another: a strong ETag, else the time of its last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified", "")


def _retry_after(response: requests.Response) -> float:
    """The seconds that a busy server asks to wait, at most `_LONGEST_PAUSE`; 0 where it gives none, or a date."""
    seconds = response.headers.get("Retry-After", "")
    return min(float(seconds), _LONGEST_PAUSE) if seconds.isdigit() else 0.0


def _reason(error: Exception) -> str:
    inner = error.args[0] if error.args else error
    return str(getattr(inner, "reason", None) or inner)


def download(url: str, target: Path, size: int, sha256: str, say: Say) -> None:
    """Download a file of known size and checksum; a part received earlier is kept and resumed.

    Raises BenchError for a file that cannot be read, that is not the published one, or that does not fit on the disk.
    """
    part, notes = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
    try:
        with part.open("a+b") as file:
            _lock(file, part)
            for _ in range(_RESTARTS):
                try:
                    digest = _receive(url, file, notes, size, say)
                except FileChanged:
                    say(f"{url} has changed on the server; starting again")
                    file.truncate(0)
                    notes.unlink(missing_ok=True)
                else:
                    break
            else:
                raise BenchError(f"{url} changed {_RESTARTS} times while it was downloaded; try again later")
            os.fsync(file.fileno())
            if digest != sha256:
                part.unlink()
                notes.unlink(missing_ok=True)
                raise BenchError(
                    f"{url} is not the published file: its sha256 is {digest}, published is {sha256}. It was deleted; "
                    "run the same command again, or give another --mirror"
                )
            os.replace(part, target)
            notes.unlink(missing_ok=True)
    except OSError as error:
        raise BenchError(
            f"{part}: {error.strerror}. The received part is kept: fix the cause and run the same command again"
        ) from error


def _lock(file: BinaryIO, part: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise BenchError(f"{part}: another process is downloading it; wait for it, or stop it") from None


def _receive(url: str, file: BinaryIO, notes: Path, size: int, say: Say) -> str:
    """Fill the file up to `size`; returns the SHA-256 of all of it."""
    digest, mark = hashlib.sha256(), ""
    with Meter(say, notes.name.removesuffix(".part.json"), size, "bytes") as meter:
        if file.seek(0, os.SEEK_END) > size:
            file.truncate(0)
        file.seek(0)
        while chunk := file.read(1 << 20):
            digest.update(chunk)
            meter.advance(len(chunk))
        if file.tell() and notes.is_file():
            note = json.loads(notes.read_text(encoding="utf-8"))
            mark = note["mark"] if note["url"] == url else ""  # another mirror has marks of its own
        remote = Remote(url, size, say, file.tell(), mark)
        for chunk in remote.chunks():
            if remote.mark != mark:
                mark = remote.mark
                write_text(notes, json.dumps({"url": url, "mark": mark}))
            file.write(chunk)
            digest.update(chunk)
            meter.advance(len(chunk))
    file.flush()
    if remote.position > size:
        raise BenchError(f"{url} sends more than the {size:,} bytes that are published: it is another file")
    return digest.hexdigest()


def require_space(folder: Path, need: int, purpose: str) -> None:
    """Raises BenchError where the disk of `folder` has less than `need` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < need:
        raise BenchError(
            f"{folder}: too little room for {purpose}: {size_text(need)} are needed and {size_text(free)} are "
            "free. Make room, or give another folder with --data"
        )
