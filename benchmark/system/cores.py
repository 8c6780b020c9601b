"""The processor's cores: which this process may use, and how many of them no other process keeps busy."""

from __future__ import annotations

import os
import time
from collections.abc import Collection
from pathlib import Path

_STAT = Path("/proc/stat")
_LOOK_SECONDS = 1.0
_KINDS = 8
"""Columns of /proc/stat that count: user, nice, system, idle, iowait, irq, softirq, steal. Guests are in user."""
_IDLE = (3, 4)
_sharers = 1
"""How many processes share the usable cores, this one included."""


def usable_cores() -> set[int]:
    """The numbers of the cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def core_share(sharers: int | None = None) -> int:
    """How many cores a process may keep busy, of `sharers`; by default of those that `share_cores` has named."""
    return max(1, len(usable_cores()) // (sharers or _sharers))


def share_cores(sharers: int) -> None:
    """Take one of `sharers` parts of the usable cores from now on: torch, BLAS, numba and our pools of threads.

    Fewer threads that the environment asks for stay fewer.
    """
    global _sharers
    _sharers = sharers
    if sharers == 1:
        return
    import torch
    from threadpoolctl import ThreadpoolController

    share = core_share()
    for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):  # for libraries that are not loaded yet
        earlier = os.environ.get(variable, "")
        os.environ[variable] = str(min(share, int(earlier)) if earlier.isdecimal() else share)
    torch.set_num_threads(min(share, torch.get_num_threads()))
    for library in ThreadpoolController().lib_controllers:
        library.set_num_threads(min(share, library.num_threads))


def free_cores() -> int:
    """How many of the usable cores are free now, at least one: a look of one second, in which the caller waits.

    Where the system does not tell its load (`/proc/stat`), all usable cores.
    """
    cores = usable_cores()
    try:
        earlier = _STAT.read_text(encoding="utf-8")
        time.sleep(_LOOK_SECONDS)
        return count_free(earlier, _STAT.read_text(encoding="utf-8"), cores)
    except OSError:
        return len(cores)


def count_free(earlier: str, later: str, cores: Collection[int]) -> int:
    """How many of `cores` were free between two readings of /proc/stat (proc_stat(5)), at least one.

    The idle shares of all cores are added and rounded, since a busy process moves from core to core. A core of which
    the readings do not tell counts as free.
    """
    before, after = _jiffies(earlier), _jiffies(later)
    free = 0.0
    for core in cores:
        spent = [last - first for first, last in zip(before.get(core, []), after.get(core, []), strict=False)]
        idle, total = sum(spent[kind] for kind in _IDLE if kind < len(spent)), sum(spent)
        free += min(max(idle / total, 0.0), 1.0) if total > 0 else 1.0
    return max(1, round(free))


def _jiffies(stat: str) -> dict[int, list[int]]:
    """Core → its time of each kind since the system's start."""
    rows = [line.split() for line in stat.splitlines() if line.startswith("cpu")]
    return {
        int(name[3:]): [int(count) for count in counts[:_KINDS]]
        for name, *counts in rows
        if name[3:].isdecimal() and all(count.isdecimal() for count in counts)
    }


def threads_to_take(requested: int | None = None) -> int:
    """The threads that a training takes: those requested, else torch's own where OMP_NUM_THREADS is set in the
    environment, else as many as there are free cores now.
    """
    if requested is not None:
        return requested
    if os.environ.get("OMP_NUM_THREADS"):
        import torch

        return torch.get_num_threads()
    return free_cores()
