"""The kinds of faults. Each is a decorated function: `process_fault` for a running bench, `file_fault` for its files.

The function causes its fault and returns the process or file that it hit; None where there was nothing to hit.
"""

from __future__ import annotations

import random
import resource
import shutil
import signal
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mrsr_bench.store.cell_files import EXHIBIT, RADIAL, RECORD, SCORES, WEIGHTS
from mrsr_bench.system.training_states import CURVE, states_in

from .driver import Driver, send
from .setting import Setting

SIGNALLED = (130, -signal.SIGINT, -signal.SIGTERM)
"""Exit statuses of a `bench` that a signal told to end."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault."""

    name: str
    cause: Callable[..., Path | int | None]
    statuses: tuple[int, ...] = ()
    """Exit statuses besides 0 that it may lead to: 3 some cells have no figure, 1 and 2 the driver cannot work."""
    ends: bool = False
    """Whether it ends the driver."""
    target: str = ""
    """The kind of file that it damages, which other faults may share."""


@dataclass
class Victim:
    """A running driver and its faults."""

    driver: Driver
    rng: random.Random
    longest_stop: float
    """The most seconds for which a process is stopped."""
    faults: list[Fault] = field(default_factory=list)

    @property
    def is_ending(self) -> bool:
        return any(fault.ends for fault in self.faults)

    def undo_later(self, action: Callable[[], None]) -> None:
        """Undo a fault after a random time."""
        threading.Timer(self.rng.uniform(0.1, self.longest_stop), action).start()


PROCESS_FAULTS: dict[str, Fault] = {}
FILE_FAULTS: dict[str, Fault] = {}
ProcessFault = Callable[[Victim], int | None]
FileFault = Callable[[Setting, random.Random], Path | None]


def process_fault(name: str, *statuses: int, ends: bool = False) -> Callable[[ProcessFault], ProcessFault]:
    """Register a fault of a running driver or its children."""

    def register(cause: ProcessFault) -> ProcessFault:
        PROCESS_FAULTS[name] = Fault(name, cause, statuses, ends)
        return cause

    return register


def file_fault(name: str, target: str = "") -> Callable[[FileFault], FileFault]:
    """Register a fault of files that no process works on."""

    def register(cause: FileFault) -> FileFault:
        FILE_FAULTS[name] = Fault(name, cause, target=target or name)
        return cause

    return register


@process_fault("kill -9 of the driver", -signal.SIGKILL, ends=True)
def kill_driver(victim: Victim) -> int:
    victim.driver.send(signal.SIGKILL)
    return victim.driver.pid


@process_fault("SIGTERM to the driver", *SIGNALLED, ends=True)
def terminate_driver(victim: Victim) -> int:
    victim.driver.send(signal.SIGTERM)
    return victim.driver.pid


@process_fault("SIGINT to the driver", *SIGNALLED, ends=True)
def interrupt_driver(victim: Victim) -> int:
    victim.driver.send(signal.SIGINT)
    return victim.driver.pid


@process_fault("Ctrl-C, to all its processes", *SIGNALLED, ends=True)
def interrupt_all(victim: Victim) -> int:
    for pid in victim.driver.family():
        send(pid, signal.SIGINT)
    return victim.driver.pid


@process_fault("kill -9 of the child", 3)
def kill_child(victim: Victim) -> int | None:
    for pid in victim.driver.children():
        send(pid, signal.SIGKILL)
        return pid
    return None


@process_fault("SIGTERM to the child", 3)
def terminate_child(victim: Victim) -> int | None:
    for pid in victim.driver.children():
        send(pid, signal.SIGTERM)
        return pid
    return None


@process_fault("SIGSTOP of the driver")
def stop_driver(victim: Victim) -> int:
    return _stop(victim, victim.driver.pid)


@process_fault("SIGSTOP of the child")
def stop_child(victim: Victim) -> int | None:
    children = victim.driver.children()
    return _stop(victim, children[0]) if children else None


def _stop(victim: Victim, pid: int) -> int:
    send(pid, signal.SIGSTOP)
    victim.undo_later(lambda: send(pid, signal.SIGCONT))
    return pid


@process_fault("full disk for the driver", 1, 2, 3)
def fill_disk_of_driver(victim: Victim) -> int:
    return _fill_disk(victim, [victim.driver.pid])


@process_fault("full disk for all its processes", 1, 2, 3)
def fill_disk_of_all(victim: Victim) -> int:
    return _fill_disk(victim, victim.driver.family())


def _fill_disk(victim: Victim, pids: Iterable[int]) -> int:
    """Let no file of these processes grow beyond a few bytes. Python ignores SIGXFSZ, so that writing fails."""
    limit = victim.rng.choice([0, 50, 500, 2000, 20_000])
    for pid in pids:
        _limit_files(pid, limit)
    victim.undo_later(lambda: [_limit_files(pid, resource.RLIM_INFINITY) for pid in victim.driver.family()] and None)
    return victim.driver.pid


def _limit_files(pid: int, limit: int) -> None:
    with suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, rng: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(rng.randrange(1, path.stat().st_size))


def empty(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"")


def replace(path: Path, rng: random.Random) -> None:
    path.write_bytes(b"{}")


def delete(path: Path, rng: random.Random) -> None:
    path.unlink()


DAMAGES: dict[str, Callable[[Path, random.Random], None]] = {
    "a bit flipped": flip,
    "truncated": truncate,
    "emptied": empty,
    "replaced by {}": replace,
    "deleted": delete,
}
TARGETS: dict[str, Callable[[Setting], Iterable[Path]]] = {
    **{
        name: lambda setting, name=name: [folder / name for folder in setting.cell_folders]
        for name in (RECORD, SCORES, RADIAL, EXHIBIT, CURVE, WEIGHTS)
    },
    "a state": lambda setting: [path for folder in setting.cell_folders for path in states_in(folder)],
    "a cached volume": lambda setting: sorted(setting.cache.glob("folder/*/*.npy")),
    "a cached note": lambda setting: sorted(setting.cache.glob("folder/*/*.json")),
    "a truth": lambda setting: [path for row in setting.row_folders for path in sorted(row.glob("truth-*.npz"))],
    "a plan": lambda setting: sorted(setting.results.glob("runs/*/plans/*.json")),
}


def _register(target: str, damage: str) -> None:
    @file_fault(f"{target} {damage}", target)
    def cause(setting: Setting, rng: random.Random) -> Path | None:
        files = [path for path in TARGETS[target](setting) if path.is_file() and path.stat().st_size > 2]
        if not files:
            return None
        path = rng.choice(files)
        DAMAGES[damage](path, rng)
        return path


for _target in TARGETS:
    for _damage in DAMAGES:
        _register(_target, _damage)


@file_fault("a cell's folder deleted")
def delete_cell(setting: Setting, rng: random.Random) -> Path | None:
    folders = [folder for folder in setting.cell_folders if folder.is_dir()]
    if not folders:
        return None
    folder = rng.choice(folders)
    shutil.rmtree(folder)
    return folder


@file_fault("the cache deleted")
def delete_cache(setting: Setting, rng: random.Random) -> Path | None:
    if not setting.cache.is_dir():
        return None
    shutil.rmtree(setting.cache)
    return setting.cache
