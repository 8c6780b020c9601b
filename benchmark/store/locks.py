"""Who works on a folder: a lock that all runs respect, or a lease where the file system has no locks.

Both name their holder, which renews them every few seconds while it lives. Looking only reads them and takes no lock.

A lock is the system's: it ends with its process, however that ends. A lease is a file that only one process can make.
Its holder renews it. A process that has watched a lease for `LEASE_SECONDS` without a change renames it away; of
several such processes one succeeds. A holder that was suspended for so long finds its lease gone and writes nothing
more (`Hold.check`).
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
"""Errors of NFS, Lustre and container mounts without locks."""
_HOLDER_BYTES = 1024
"""Size of a holder's text, padded with spaces: it is written in place and at once, so that no reader sees a part."""
_PAUSE = 0.05


class Holder(BaseModel):
    """Who works on a folder."""

    model_config = ConfigDict(frozen=True)

    process: Process
    driver: Process
    """The `bench` that it works for, which may be the process itself."""
    token: str
    inode: int
    """Of the file that this is written in: a copy of the file does not count."""
    beat: int = 0
    """Grows with every renewal."""

    @property
    def is_orphan(self) -> bool:
        """Whether its driver has ended: it will then save its state and end."""
        return self.driver.is_gone and not self.process.is_gone

    def __str__(self) -> str:
        return str(self.process)


class Held(BenchError):
    """Another process works on the folder."""

    def __init__(self, folder: Path, holder: Holder | None) -> None:
        super().__init__(f"{folder} is being worked on by {holder or 'another process'}")
        self.folder, self.holder = folder, holder


class LeaseLost(BenchError):
    """Another process has taken the folder over, since this one did not renew its lease in time."""


class HeldFolder(WorkFolder):
    """A folder that is written to under a `Hold`. Functions that change a cell's files take one."""


class Hold:
    """A folder that is held by this process. Made by `hold`."""

    def __init__(self, path: Path, handle: int, leased: bool) -> None:
        self._path, self._handle, self._leased = path, handle, leased
        driver = multiprocessing.parent_process()
        this_process = process()
        self._holder = Holder(
            process=this_process,
            driver=this_process if driver is None or driver.pid is None else process(driver.pid),
            token=secrets.token_hex(8),
            inode=os.fstat(handle).st_ino,
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="beat", daemon=True)
        self.lost = threading.Event()
        """Set once the lease belongs to another process."""
        try:
            self._write()
        except OSError as error:  # a lease that cannot be renewed is lost; a lock holds without its text
            if leased:
                os.close(handle)
                path.unlink(missing_ok=True)
                raise BenchError(f"{path} cannot be written: {error.strerror}") from None
        self._thread.start()

    def folder(self, path: Path) -> HeldFolder:
        """The held folder, or another one that is written to under the same hold."""
        return HeldFolder(path, self.check)

    def check(self) -> None:
        """Raise LeaseLost where the folder is no longer held. To be called right before each writing."""
        if not self._leased:
            return
        holder = read_holder(self._path)
        if self.lost.is_set() or holder is None or holder.token != self._holder.token:
            self.lost.set()
            raise LeaseLost(f"{self._path.parent} was taken over by {holder or 'another process'}; nothing is written")

    def release(self) -> None:
        """Let other processes work on the folder."""
        self._ended.set()
        self._thread.join()
        if not self._leased:
            with suppress(OSError):
                os.pwrite(self._handle, b" " * _HOLDER_BYTES, 0)
        else:
            with suppress(LeaseLost, OSError):
                self.check()
                self._path.unlink()
        os.close(self._handle)

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            with suppress(OSError):  # the network may be down; `check` finds out whether the lease is lost
                try:
                    self.check()
                except LeaseLost:
                    return
                self._holder = self._holder.model_copy(update={"beat": self._holder.beat + 1})
                self._write()

    def _write(self) -> None:
        os.pwrite(self._handle, self._holder.model_dump_json().encode().ljust(_HOLDER_BYTES), 0)
        os.fsync(self._handle)


@contextmanager
def hold(folder: Path, name: str = "", *, wait: float = 0.0, patient: bool = False) -> Iterator[Hold]:
    """Hold a folder, or the file `name` in it, while the block runs.

    Waits `wait` seconds for another holder to end, and `ORPHAN_SECONDS` for one whose driver has ended. With `patient`
    also watches a lease until it changes, or takes it over once it has not changed for `LEASE_SECONDS`. Raises Held.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = _acquire(folder, name, wait, patient)
    try:
        yield held
    finally:
        held.release()


def holder_of(folder: Readable, name: str = "") -> Holder | None:
    """The process that works on a folder now, as far as its files tell; takes no lock. Nobody works on a pack."""
    if not isinstance(folder, Path):
        return None
    for path in (folder / f"{name}{LEASE}", folder / f"{name}{LOCK}"):
        holder = read_holder(path)
        if holder is not None and _is_alive(holder, path):
            return holder
    return None


def lock_problem(folder: Path) -> str | None:
    """The system's reason why the file system of a folder has no locks; None where it has them."""
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.strerror if error.errno in _NO_LOCKS else None
    return None


def read_holder(path: Path) -> Holder | None:
    """The holder that a lock or lease names; None where it was released, or never held."""
    for _ in range(3):  # a file that is being written may show a part
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


def _is_alive(holder: Holder, path: Path) -> bool:
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
        has_locks, held = _try_lock(lock)
        if not has_locks:
            held = _try_lease(lease)
        if held is not None:
            return held
        holder = read_holder(lock if has_locks else lease)
        limit = max(wait, ORPHAN_SECONDS if holder is not None and holder.is_orphan else 0.0)
        now = time.monotonic()
        if not has_locks:
            if (latest := _content(lease)) != content:
                content, since, renewed = latest, now, True
            if (holder is not None and holder.process.is_gone) or now - since > LEASE_SECONDS:
                _remove_lease(lease, content)
                continue
            if patient and not renewed:  # its machine may be gone, which only time can show
                limit = LEASE_SECONDS + BEAT_SECONDS
        if now - started >= limit:
            raise Held(folder, holder)
        time.sleep(_PAUSE)


def _try_lock(path: Path) -> tuple[bool, Hold | None]:
    """Whether the file system has locks, and the lock, unless another process has it."""
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


def _try_lease(path: Path) -> Hold | None:
    """The lease; None where it exists already."""
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


def _remove_lease(lease: Path, content: bytes) -> None:
    """Remove a lease whose content is still `content`. One that was made or renewed meanwhile is restored."""
    removed = lease.with_name(f"{lease.name}~{secrets.token_hex(8)}")
    if _content(lease) != content:
        return
    try:
        lease.rename(removed)
    except FileNotFoundError:  # another process was faster
        return
    if _content(removed) != content:
        with suppress(FileExistsError):
            os.link(removed, lease)
    removed.unlink(missing_ok=True)
