"""The kinds of faults. A new one is a decorated function: `live` for what befalls a running bench, `resting` for files.

Such a function inflicts its fault and returns what it hit, a process or a file; None where there was nothing to hit.
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
from mrsr_bench.system.states import CURVE, states_in

from .driver import Driver, send
from .setting import Setting

TOLD = (130, -signal.SIGINT, -signal.SIGTERM)
"""Exit statuses of a `bench` that was told to end."""


@dataclass(frozen=True)
class Fault:
    """A kind of fault."""

    name: str
    inflict: Callable[..., Path | int | None]
    statuses: tuple[int, ...] = ()
    """With which a driver that it befalls may end, beside 0: 3 some cells have no figure, 1 and 2 it cannot work."""
    ends: bool = False
    """Whether it ends the driver."""
    target: str = ""
    """What it damages, where other kinds damage the same."""


@dataclass
class Victim:
    """A running driver, what befell it, and what will be undone of that."""

    driver: Driver
    chance: random.Random
    longest_stop: float
    """Seconds for which a process is stopped at most."""
    faults: list[Fault] = field(default_factory=list)
    timers: list[threading.Timer] = field(default_factory=list)

    @property
    def is_ending(self) -> bool:
        return any(fault.ends for fault in self.faults)

    def later(self, action: Callable[[], None]) -> None:
        """Undo a fault after a while."""
        timer = threading.Timer(self.chance.uniform(0.1, self.longest_stop), action)
        timer.start()
        self.timers.append(timer)


LIVE: dict[str, Fault] = {}
RESTING: dict[str, Fault] = {}
Live = Callable[[Victim], int | None]
Resting = Callable[[Setting, random.Random], Path | None]


def live(name: str, *statuses: int, ends: bool = False) -> Callable[[Live], Live]:
    """Register a fault that befalls a running driver."""

    def register(inflict: Live) -> Live:
        LIVE[name] = Fault(name, inflict, statuses, ends)
        return inflict

    return register


def resting(name: str, target: str = "") -> Callable[[Resting], Resting]:
    """Register a fault of files that no process works on."""

    def register(inflict: Resting) -> Resting:
        RESTING[name] = Fault(name, inflict, target=target or name)
        return inflict

    return register


@live("kill -9 of the driver", -signal.SIGKILL, ends=True)
def kill_driver(victim: Victim) -> int:
    victim.driver.send(signal.SIGKILL)
    return victim.driver.pid


@live("SIGTERM to the driver", *TOLD, ends=True)
def terminate_driver(victim: Victim) -> int:
    victim.driver.send(signal.SIGTERM)
    return victim.driver.pid


@live("SIGINT to the driver", *TOLD, ends=True)
def interrupt_driver(victim: Victim) -> int:
    victim.driver.send(signal.SIGINT)
    return victim.driver.pid


@live("Ctrl-C, to all its processes", *TOLD, ends=True)
def interrupt_all(victim: Victim) -> int:
    for pid in victim.driver.family():
        send(pid, signal.SIGINT)
    return victim.driver.pid


@live("kill -9 of the child", 3)
def kill_child(victim: Victim) -> int | None:
    for pid in victim.driver.children():
        send(pid, signal.SIGKILL)
        return pid
    return None


@live("SIGTERM to the child", 3)
def terminate_child(victim: Victim) -> int | None:
    for pid in victim.driver.children():
        send(pid, signal.SIGTERM)
        return pid
    return None


@live("SIGSTOP of the driver")
def stop_driver(victim: Victim) -> int:
    return _stop(victim, victim.driver.pid)


@live("SIGSTOP of the child")
def stop_child(victim: Victim) -> int | None:
    children = victim.driver.children()
    return _stop(victim, children[0]) if children else None


def _stop(victim: Victim, pid: int) -> int:
    send(pid, signal.SIGSTOP)
    victim.later(lambda: send(pid, signal.SIGCONT))
    return pid


@live("full disk for the driver", 1, 2, 3)
def fill_disk_of_driver(victim: Victim) -> int:
    return _fill_disk(victim, [victim.driver.pid])


@live("full disk for all its processes", 1, 2, 3)
def fill_disk_of_all(victim: Victim) -> int:
    return _fill_disk(victim, victim.driver.family())


def _fill_disk(victim: Victim, pids: Iterable[int]) -> int:
    """No file of these processes grows beyond a few bytes. They start with SIGXFSZ ignored, as Python does."""
    room = victim.chance.choice([0, 50, 500, 2000, 20_000])
    for pid in pids:
        _limit(pid, room)
    victim.later(lambda: [_limit(pid, resource.RLIM_INFINITY) for pid in victim.driver.family()] and None)
    return victim.driver.pid


def _limit(pid: int, room: int) -> None:
    with suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, chance: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(chance.randrange(1, path.stat().st_size))


def empty(path: Path, chance: random.Random) -> None:
    path.write_bytes(b"")


def replace(path: Path, chance: random.Random) -> None:
    path.write_bytes(b"{}")


def delete(path: Path, chance: random.Random) -> None:
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
        name: lambda setting, name=name: [place / name for place in setting.places]
        for name in (RECORD, SCORES, RADIAL, EXHIBIT)
    },
    CURVE: lambda setting: [place / CURVE for place in setting.places],
    WEIGHTS: lambda setting: [place / WEIGHTS for place in setting.places],
    "a state": lambda setting: [path for place in setting.places for path in states_in(place)],
    "a cached volume": lambda setting: sorted(setting.cache.glob("folder/*/*.npy")),
    "a cached note": lambda setting: sorted(setting.cache.glob("folder/*/*.json")),
    "a truth": lambda setting: [path for row in setting.rows for path in sorted(row.glob("truth-*.npz"))],
    "a plan": lambda setting: sorted(setting.results.glob("runs/*/plans/*.json")),
}


def _register(target: str, damage: str) -> None:
    @resting(f"{target} {damage}", target)
    def inflict(setting: Setting, chance: random.Random) -> Path | None:
        files = [path for path in TARGETS[target](setting) if path.is_file() and path.stat().st_size > 2]
        if not files:
            return None
        path = chance.choice(files)
        DAMAGES[damage](path, chance)
        return path


for _target in TARGETS:
    for _damage in DAMAGES:
        _register(_target, _damage)


@resting("a cell's folder deleted")
def delete_cell(setting: Setting, chance: random.Random) -> Path | None:
    folders = [place for place in setting.places if place.is_dir()]
    if not folders:
        return None
    folder = chance.choice(folders)
    shutil.rmtree(folder)
    return folder


@resting("the cache deleted")
def delete_cache(setting: Setting, chance: random.Random) -> Path | None:
    if not setting.cache.is_dir():
        return None
    shutil.rmtree(setting.cache)
    return setting.cache
