"""A `bench` command as a process, with its children and its output."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import PIPE, STDOUT

from mrsr_bench.system.liveness import start_of

MARK = "MRSR_TEST_MARK"
"""The environment variable by which `marked` finds the processes of a test, orphans too."""


class Driver:
    """A running `bench` whose output is read as it comes. It leads a process group of its own."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self.command = command
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=PIPE, stderr=STDOUT, start_new_session=True
        )
        self.pid = self._process.pid
        self._pieces: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        return b"".join(self._pieces).decode(errors="replace")

    def send(self, number: int) -> None:
        send(self.pid, number)

    def children(self) -> list[int]:
        """The processes of its trainings, which are children of its forkserver."""
        parents = _parents()
        return [pid for pid in _descendants(self.pid, parents) if parents[pid] != self.pid]

    def family(self) -> list[int]:
        """The driver and all its descendants."""
        return [self.pid, *_descendants(self.pid, _parents())]

    def wait(self, seconds: float = 180.0) -> int:
        """Wait for its end and its whole output; the exit status. Raises TimeoutError."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{' '.join(self.command)} did not end within {seconds:g} s:\n{self.output}") from None
        self._reader.join(5.0)  # an orphan may still have the pipe open
        return status

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as pipe:
            while piece := os.read(pipe.fileno(), 2**16):
                self._pieces.append(piece)


@contextmanager
def ended(*drivers: Driver) -> Iterator[None]:
    """End drivers and their children when the block is left, whatever happened in it."""
    try:
        yield
    finally:
        for driver in drivers:
            if driver.status is None:
                for pid in driver.family():
                    send(pid, signal.SIGKILL)
                driver.wait()


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def marked(mark: str) -> list[int]:
    """The living processes whose environment has this `MARK`."""
    pids = list[int]()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={mark}".encode() in (path / "environ").read_bytes().split(b"\0") and start_of(int(path.name)):
                pids.append(int(path.name))
    return pids


def wait_until(condition: Callable[[], object], seconds: float = 60.0, pause: float = 0.02) -> bool:
    """Wait for a condition; whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def _parents() -> dict[int, int]:
    """Living process → its parent."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent, *_ = path.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if state not in "ZX":
                parents[int(path.parent.name)] = int(parent)
    return parents


def _descendants(pid: int, parents: Mapping[int, int]) -> list[int]:
    children = [child for child, parent in parents.items() if parent == pid]
    return [*children, *(pid for child in children for pid in _descendants(child, parents))]
