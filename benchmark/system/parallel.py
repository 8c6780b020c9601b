"""Work on all cores: pools of threads and of processes that stop cleanly on an error and on Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import threadpool_limits

from .cores import core_share
from .processes import forkserver

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def thread_pool(most: int | None = None, *, one_blas_thread: bool = False, waiting: bool = False) -> Iterator[Executor]:
    """A thread for each core of ours, at most `most`; for work that leaves Python's lock alone most of the time.

    `waiting`: the work waits more than it computes, as for a server, so there are `most` threads whatever the cores.

    When the block ends, by an error or Ctrl-C too, work that has not begun is dropped and the rest is waited for.
    `one_blas_thread`: matrix products take one thread each meanwhile, or the threads would wait for one another.
    """
    cores = core_share()
    limit = threadpool_limits(1, "blas") if one_blas_thread else contextlib.nullcontext()
    threads = most if waiting else min(cores, most or cores)
    with limit, _dropping(ThreadPoolExecutor(threads)) as pool:
        yield pool


@contextmanager
def process_pool(most: int, module: str) -> Iterator[Executor]:
    """A process for each core of ours, at most `most`, each with `module` imported; for work that holds Python's lock.

    When the block ends, work that has not begun is dropped and the rest is waited for; Ctrl-C ends the processes at
    once. A process that is killed raises `concurrent.futures.process.BrokenProcessPool` where results are taken.
    """
    pool = ProcessPoolExecutor(
        min(core_share(), most),
        mp_context=forkserver(module),
        initializer=_end_on_ctrl_c,
    )
    with _dropping(pool):
        yield pool


def _end_on_ctrl_c() -> None:
    """In a process of a pool: Ctrl-C ends it at once, without a message."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


@contextmanager
def _dropping(pool: Executor) -> Iterator[Executor]:
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def as_done(pool: Executor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """Each item with its result, in the order in which they are done. `pool.map` keeps the order of the items."""
    futures = {pool.submit(function, item): item for item in items}
    for future in as_completed(futures):
        yield futures[future], future.result()
