"""Trainings on this machine, each in a process of its own: one after another, or side by side.

Processes are children of a forkserver that has imported torch once and never touches CUDA: a child starts in
hundredths of a second, and a segfault, a hang or an out-of-memory kill costs that child only.
"""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Generator, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path

from ...errors import BenchError
from ...store.cell_files import LOG
from ...store.locks import Held, LeaseLost, hold
from ...system.cores import share_cores
from ...system.gpus import VISIBLE
from ...system.processes import Child, ChildDied, children, warm_up
from ..admission import Admission, Slot
from ..events import Ended, Event, Started
from ..job import Job

_PRELOAD = ("torch", __name__, "mrsr_bench.running.worker")
"""What every child needs, imported once."""
_PRELOAD_OF_NETWORKS = ("timm", "lightning_fabric", "mrsr_bench.training.loop")
"""What a child needs that trains a network: some seconds of imports, which a run without networks does without."""
_LOOK_SECONDS = 1.0
"""Between two looks whether a job that waits has a slot now."""
GRACE_SECONDS = 20.0
"""How long a child that was asked to stop may take to end its step and write its state. Schedulers give 30 or more."""


def prepare(jobs: Sequence[Job]) -> None:
    """Import what the processes of these jobs need, while the caller goes on."""
    if jobs:
        warm_up(*_preload(jobs))


def _preload(jobs: Sequence[Job]) -> list[str]:
    networks = any(job.training.recipe for job in jobs)
    return [*_PRELOAD, *(_PRELOAD_OF_NETWORKS if networks else ())]


class LocalExecutor:
    """Runs jobs in order, side by side as far as they are admitted.

    `timeout`: seconds that one job may take, None for no bound; `sharers`: how many parts the cores are shared in.
    """

    def __init__(self, admission: Admission, sharers: int = 1, timeout: float | None = None) -> None:
        self._admission, self._sharers, self._timeout = admission, sharers, timeout

    def run(self, jobs: Sequence[Job]) -> Generator[tuple[Job, Event], None, None]:
        """Yield every job's events, first Started, last Ended; those of jobs that run at once are mixed.

        Leaving the iterator, by Ctrl-C or an exception, ends the running jobs; their states stay.
        """
        waiting, running = deque(jobs), dict[Child, tuple[Job, Slot]]()
        with children(preload=_preload(jobs), grace=GRACE_SECONDS) as group:
            while waiting or running:
                taken = [(slot, child) for child, (_, slot) in running.items()]
                if waiting and (slot := self._admission.slot_for(waiting[0], taken)):
                    job = waiting.popleft()
                    yield job, Started()
                    child = group.start(_run_in_child, job, self._sharers, slot.gpu, seconds=self._timeout)
                    running[child] = job, slot
                    continue
                for child in group.ready(_LOOK_SECONDS if waiting else None):
                    job, event = running[child][0], self._receive(child)
                    if isinstance(event, Ended):
                        del running[child]
                        group.stop(child, grace=GRACE_SECONDS)
                    yield job, event

    def _receive(self, child: Child) -> Event:
        """A child's next event; its end, where it sends none any more."""
        try:
            event: Event = child.receive()
        except TimeoutError:  # its end may have arrived in time, while another job was being ended
            late = Ended(state="timeout", message=f"took over {self._timeout:g} s")
            return next((event for event in child.pending() if isinstance(event, Ended)), late)
        except ChildDied as error:
            return Ended(state="failed", message=str(error))
        return event


def _run_in_child(connection: Connection, job: Job, sharers: int, gpu: str | None) -> None:
    """The process of one job. What it prints goes to the cell's log."""
    if gpu is not None:
        os.environ[VISIBLE] = gpu  # before CUDA starts, which happens in this process
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides what Ctrl-C means
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_end_with_driver, args=(stop,), daemon=True).start()
    end, folder = Ended(state="done"), job.folder(job.training.base)
    try:
        from ..worker import run_job  # with torch and more, which the forkserver holds and the driver never needs

        share_cores(sharers)
        with hold(folder, wait=job.wait, patient=job.patient) as held:
            _redirect(folder / LOG)
            run_job(job, held, connection.send, lambda: stop.is_set() or held.lost.is_set())
    except (Held, LeaseLost) as error:
        end = Ended(state="held", message=str(error))
    except BaseException as error:
        traceback.print_exc()
        message = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        end = Ended(state="stopped" if stop.is_set() else "failed", message=message)
    with contextlib.suppress(BrokenPipeError):  # the driver is gone, and with it whoever would want to know
        connection.send(end)


def _redirect(log: Path) -> None:
    """All that this process prints, C libraries included, goes to `log`."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)
    faulthandler.enable(file=2)


def _end_with_driver(stop: threading.Event) -> None:
    """End this process when the driver is gone: nobody would take its result, and its lock would remain."""
    driver = multiprocessing.parent_process()
    if driver is not None:
        wait([driver.sentinel])
        stop.set()
        time.sleep(GRACE_SECONDS)
        os._exit(1)
