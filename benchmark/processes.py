"""Processes of our own: the one forkserver that all are children of, and threads that sleep while they wait."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.context import ForkServerContext

_PRELOAD = ["torch", "timm", "lightning_fabric", "mrsr_bench.executors.local"]
"""Imported once, by the forkserver; a child then starts in hundredths of a second."""


def threads_that_sleep() -> None:
    """Let OpenMP threads sleep while they wait. To call before torch is imported.

    Spinning ones make a step about 10 times slower as soon as anything else runs on the same cores (EDSR baseline,
    2 cores, another process busy: 6 s against 0.6 s).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def forkserver() -> ForkServerContext:
    """The context of all child processes. A process has one forkserver, and its first user decides what it holds."""
    threads_that_sleep()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context
