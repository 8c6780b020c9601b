"""Processes told apart: the machine that one runs on, its number and its start, and whether it has ended."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import uuid
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Process(BaseModel):
    """One process of one machine. Its number alone is not enough: the system reuses numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machine: str
    """`machine` of where it runs."""
    host: str
    """The machine's name, for people."""
    pid: int
    started: str | None
    """When it was started, as the system writes it; None where the system did not say."""

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine: only such a process is known to have ended."""
        return self.machine == machine()

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this machine that has ended. False for another machine's, which is not known."""
        if not self.is_here:
            return False
        started = start_of(self.pid)
        return started is None or (self.started is not None and started != self.started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def process(pid: int | None = None) -> Process:
    """The process `pid` of this machine, by default the current one."""
    pid = os.getpid() if pid is None else pid
    return Process(machine=machine(), host=socket.gethostname(), pid=pid, started=start_of(pid))


@cache
def machine() -> str:
    """Twelve hex digits that two processes share only where each can see whether the other lives.

    Hosts may share a name, and containers a host, so the boot and the namespace of process numbers count too.
    """
    marks = [socket.gethostname()]
    try:
        marks += [Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8"), os.readlink("/proc/self/ns/pid")]
    except OSError:
        marks.append(str(uuid.getnode()))
    return hashlib.sha256(" ".join(marks).encode()).hexdigest()[:12]


def start_of(pid: int) -> str | None:
    """When a process of this machine was started, as text to compare; None where it has ended."""
    if not Path("/proc/self/stat").exists():
        return _start_from_ps(pid)
    try:
        # After the name, which is in brackets and may hold anything: the state first, the start as the twentieth.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def _start_from_ps(pid: int) -> str | None:
    """`start_of` on a system without /proc."""
    command = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    state, _, started = subprocess.run(command, capture_output=True, text=True).stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else started.strip()
