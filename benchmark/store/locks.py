"""Who works on a folder: a lock that many runs respect, and where the file system has none, a lease.

Either says who holds it and shows every few seconds that the holder lives. Looking reads that and takes nothing.

A lock is the system's: it ends with its process, however that ends. A lease is a file that only one can make. Its
holder renews it; whoever has watched one that did not change for `LEASE_SECONDS` renames it away, and one renaming
wins. A holder that was suspended for so long finds its lease gone and writes nothing more (`Hold.check`).
"""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import BenchError
from ..system.files import Readable, WorkFolder
from ..system.liveness import Process, process

BEAT_SECONDS = float(os.environ.get("MRSR_BEAT_SECONDS", 10))
LEASE_SECONDS = float(os.environ.get("MRSR_LEASE_SECONDS", 120))
ORPHAN_SECONDS = float(os.environ.get("MRSR_ORPHAN_SECONDS", 30))
LOCK, LEASE = ".lock", ".lease"
_HELD = {errno.EWOULDBLOCK, errno.EAGAIN}
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES, errno.EINVAL}
"""What NFS, Lustre and container mounts without locks answer."""
_ROOM = 1024
"""Bytes of what a holder writes, filled up with spaces: written in place and at once, so that no reader sees a half."""
_PAUSE = 0.05


class Holder(BaseModel):
    """Who works on a folder."""

    model_config = ConfigDict(frozen=True)

    process: Process
    driver: Process
    """The `bench` that it works for; itself where nothing stands between."""
    token: str
    inode: int
    """Of the file that says so: a copy of it says nothing."""
    beat: int = 0
    """Grows with every sign of life."""

    @property
    def is_orphan(self) -> bool:
        """Whether its driver is gone: it will save its state and end."""
        return self.driver.is_gone and not self.process.is_gone

    def __str__(self) -> str:
        return str(self.process)


class Held(BenchError):
    """Another process works on the folder."""

    def __init__(self, folder: Path, holder: Holder | None) -> None:
        super().__init__(f"{folder} is being worked on by {holder or 'another process'}")
        self.folder, self.holder = folder, holder


class LeaseLost(BenchError):
    """Another process has taken the folder over, since this one showed no life for too long."""


class HeldFolder(WorkFolder):
    """A folder that is written to under a `Hold`: what changes a cell's record asks for one."""


class Hold:
    """A folder that is held by this process. Made by `hold`."""

    def __init__(self, path: Path, handle: int, leased: bool) -> None:
        self._path, self._handle, self._leased = path, handle, leased
        driver = multiprocessing.parent_process()
        mine = process()
        self._holder = Holder(
            process=mine,
            driver=mine if driver is None or driver.pid is None else process(driver.pid),
            token=secrets.token_hex(8),
            inode=os.fstat(handle).st_ino,
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="beat", daemon=True)
        self.lost = threading.Event()
        """Set once the lease was found to be another's."""
        try:
            self._write()
        except OSError as error:  # nobody would see a sign of life; a lock holds without
            if leased:
                os.close(handle)
                path.unlink(missing_ok=True)
                raise BenchError(f"{path} cannot be written: {error.strerror}") from None
        self._thread.start()

    def folder(self, path: Path) -> HeldFolder:
        """The held folder, or one that is worked on under the same hold."""
        return HeldFolder(path, self.check)

    def check(self) -> None:
        """Raise LeaseLost where the folder is no longer held: to call right before anything is written."""
        if not self._leased:
            return
        holder = read_holder(self._path)
        if self.lost.is_set() or holder is None or holder.token != self._holder.token:
            self.lost.set()
            raise LeaseLost(f"{self._path.parent} was taken over by {holder or 'another process'}; nothing is written")

    def release(self) -> None:
        """Let others work on the folder."""
        self._ended.set()
        self._thread.join()
        if not self._leased:
            with suppress(OSError):
                os.pwrite(self._handle, b" " * _ROOM, 0)
        else:
            with suppress(LeaseLost, OSError):
                self.check()
                self._path.unlink()
        os.close(self._handle)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError):  # a network that is down; `check` sees what became of the lease
                try:
                    self.check()
                except LeaseLost:
                    return
                self._holder = self._holder.model_copy(update={"beat": self._holder.beat + 1})
                self._write()

    def _write(self) -> None:
        os.pwrite(self._handle, self._holder.model_dump_json().encode().ljust(_ROOM), 0)
        os.fsync(self._handle)


@contextmanager
def hold(folder: Path, name: str = "", *, wait: float = 0.0, patient: bool = False) -> Iterator[Hold]:
    """Hold a folder, or what `name` stands for in it, while the block runs.

    Waits `wait` seconds for another holder to end, and `ORPHAN_SECONDS` for one whose driver is gone; with `patient`
    also watches a lease until it changes or has not changed for `LEASE_SECONDS`, and then takes it over. Raises Held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = _acquire(folder, name, wait, patient)
    try:
        yield held
    finally:
        held.release()


def holder_of(folder: Readable, name: str = "") -> Holder | None:
    """Who works on a folder now, as far as one can see; takes no lock and disturbs nobody. Nobody works on a pack."""
    if not isinstance(folder, Path):
        return None
    for path in (folder / f"{name}{LEASE}", folder / f"{name}{LOCK}"):
        holder = read_holder(path)
        if holder is not None and _lives(holder, path):
            return holder
    return None


def lockless(folder: Path) -> str | None:
    """Why the file system of a folder has no locks, in the system's words; None where it has them."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.strerror if error.errno in _NO_LOCKS else None
    return None


def read_holder(path: Path) -> Holder | None:
    """What a holder wrote into its lock or lease; None where it let go, or where nobody ever held it."""
    for _ in range(3):  # one that is being written may show a part of it
        try:
            content = path.read_bytes().strip()
        except OSError:
            return None
        if not content:
            return None
        with suppress(ValidationError, OSError):
            holder = Holder.model_validate_json(content)
            return holder if holder.inode == path.stat().st_ino else None
        time.sleep(_PAUSE / 5)
    return None


def _lives(holder: Holder, path: Path) -> bool:
    if holder.process.is_here:
        return not holder.process.is_gone
    try:
        return time.time() - path.stat().st_mtime < LEASE_SECONDS
    except OSError:
        return False


def _acquire(folder: Path, name: str, wait: float, patient: bool) -> Hold:
    lock, lease = folder / f"{name}{LOCK}", folder / f"{name}{LEASE}"
    started = time.monotonic()
    content, since, renewed = _content(lease), started, False
    while True:
        has_locks, held = _locked(lock)
        if not has_locks:
            held = _leased(lease)
        if held is not None:
            return held
        holder = read_holder(lock if has_locks else lease)
        limit = max(wait, ORPHAN_SECONDS if holder is not None and holder.is_orphan else 0.0)
        now = time.monotonic()
        if not has_locks:
            if (latest := _content(lease)) != content:
                content, since, renewed = latest, now, True
            if (holder is not None and holder.process.is_gone) or now - since > LEASE_SECONDS:
                _take_away(lease, content)
                continue
            if patient and not renewed:  # it may be that of a machine that is gone: time will tell
                limit = LEASE_SECONDS + BEAT_SECONDS
        if now - started >= limit:
            raise Held(folder, holder)
        time.sleep(_PAUSE)


def _locked(path: Path) -> tuple[bool, Hold | None]:
    """Whether the file system has locks, and this one where no other process has it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in _HELD:
            return True, None
        if error.errno in _NO_LOCKS:
            return False, None
        raise BenchError(f"{path} cannot be locked: {error.strerror}") from None
    return True, Hold(path, handle, leased=False)


def _leased(path: Path) -> Hold | None:
    """A lease; None where there is one already."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except FileExistsError:
        return None
    return Hold(path, handle, leased=True)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _take_away(lease: Path, content: bytes) -> None:
    """Rename a lease away that still says `content`. One that was made or renewed in that moment is put back."""
    away = lease.with_name(f"{lease.name}~{secrets.token_hex(8)}")
    if _content(lease) != content:
        return
    try:
        lease.rename(away)
    except FileNotFoundError:  # another was quicker
        return
    if _content(away) != content:
        with suppress(FileExistsError):
            os.link(away, lease)
    away.unlink(missing_ok=True)
