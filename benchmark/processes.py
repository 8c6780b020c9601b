"""Processes of our own: the one forkserver that all are children of."""

from __future__ import annotations

import multiprocessing
from multiprocessing.context import ForkServerContext

_PRELOAD = ["torch", "timm", "lightning_fabric", "mrsr_bench.executors.local"]
"""Imported once, by the forkserver; a child then starts in hundredths of a second."""


def forkserver() -> ForkServerContext:
    """The context of all child processes. A process has one forkserver, and its first user decides what it holds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context
