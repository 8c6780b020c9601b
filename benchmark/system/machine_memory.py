"""The memory that processes here may still take: what the machine has free and its control groups leave them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROC_GROUPS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes that can be taken without swapping, by the machine or by the tightest control group that we are in."""
    import psutil

    return min([int(psutil.virtual_memory().available), *group_memory()])


def group_memory(groups: Path | None = None, own: Path | None = None) -> list[int]:
    """The bytes that each control group with a limit leaves us; [] where there is none.

    Control groups of both versions (cgroups(7)), as a container or a scheduler sets them: our own group and those
    above it, each as far as it can be seen from here. What the system can drop at once does not count as taken.
    `groups` and `own` stand for /sys/fs/cgroup and /proc/self/cgroup.
    """
    found = []
    for folder, limit, usage, reclaimable in _folders(groups or _GROUPS, own or _PROC_GROUPS):
        with suppress(OSError, ValueError, KeyError):
            most = int((folder / limit).read_text(encoding="utf-8"))  # "max" is no number
            taken = int((folder / usage).read_text(encoding="utf-8"))
            rows = (line.split() for line in (folder / "memory.stat").read_text(encoding="utf-8").splitlines())
            found.append(max(0, most - taken + int(dict(rows)[reclaimable])))
    return found


def _folders(groups: Path, own: Path) -> Iterator[tuple[Path, str, str, str]]:
    """Folder of each control group of memory, and the names there of limit, usage and what can be dropped."""
    with suppress(OSError):
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                root, names = groups, ("memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                root = groups / "memory"
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            else:
                continue
            folder = root / path.lstrip("/")
            for parent in (folder, *folder.parents):
                if parent.is_relative_to(root):
                    yield parent, *names
