"""Trainings on a Ray cluster: each is a task, which runs its job by the local executor in a worker of some node.

So a job has the same child, log, time limit and post-mortem as on one machine, and nothing of it stays in the worker.
Nothing else of this package knows Ray.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...data.folders import data_folder
from ...errors import BenchError, UsageError
from ...store.locks import hold
from ...store.method_sources import SOURCES
from ...store.plan import PLANS
from ...system.cores import usable_cores
from ...system.files import atomic_file
from ..admission import Admission
from ..events import Ended, Event, Progressed, Started, Warned
from ..job import Job
from .local import GRACE_SECONDS, LocalExecutor

ATTEMPTS = 3
"""How often a job is tried whose worker is killed or crashes. The loss of a node is not its fault, and not counted."""
_POST_SECONDS = 0.5
"""Between two posts of a training's progress."""
_LOOK_SECONDS = 1.0
_CONNECT_SECONDS = 10.0
_ORPHAN_SECONDS = GRACE_SECONDS + 5
"""How long a job's process may outlive its worker: it writes its state."""
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Ray's settings, where the user has set none: it reports to nobody."""


@dataclass(frozen=True)
class _Attempt:
    """A job as a task: its number among the jobs, and how often its worker was lost."""

    job: Job
    number: int
    crashes: int = 0
    losses: int = 0

    @property
    def key(self) -> tuple[int, int]:
        return self.number, self.crashes + self.losses


class RayExecutor:
    """Runs jobs on the nodes of a cluster, in order as far as its resources allow.

    `address`: 'auto' or that of a cluster; None: one is started on this machine. `most`: jobs at once, None for no
    bound. `need`: a job's memory in bytes. `runs`: the protocol's folder, whose plans a node's own results folder gets.
    """

    def __init__(
        self, address: str | None, most: int | None, gpus: float, need: Callable[[Job], int], runs: Path
    ) -> None:
        self._address, self._most, self._gpus, self._need, self._runs = address, most, gpus, need, runs

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Event]]:
        """Yield every job's events, first Started, last Ended, mixed. A job whose worker is lost is started again.

        Leaving the iterator, by Ctrl-C or an exception, ends the running jobs; their states stay. Raises BenchError
        where no cluster answers.
        """
        if not jobs:
            return
        with _connected(self._address) as ray:
            yield from _Tasks(ray, self._most or len(jobs), self._gpus, self._need, self._runs).run(jobs)


class _Tasks:
    """The tasks of one run."""

    def __init__(self, ray: Any, most: int, gpus: float, need: Callable[[Job], int], runs: Path) -> None:
        self._ray, self._most, self._need = ray, most, need
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._memory = max((int(node.get("memory", 0)) for node in nodes), default=0)
        self._gpus = gpus if any(node.get("GPU") for node in nodes) else 0
        self._task = ray.remote(max_retries=0, max_calls=0, num_gpus=self._gpus)(_run_in_worker)
        self._papers = ray.put(_papers(runs))
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._mailbox = ray.remote(num_cpus=0, scheduling_strategy=here)(_Mailbox).remote()
        self._running: dict[Any, _Attempt] = {}
        self._started = set[int]()
        self._told = False

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Event]]:
        ray, waiting = self._ray, deque(_Attempt(job, number) for number, job in enumerate(jobs))
        letters = self._mailbox.take.remote()
        try:
            while waiting or self._running:
                while waiting and len(self._running) < self._most:
                    self._submit(waiting.popleft())
                ready, _ = ray.wait([letters, *self._running], timeout=_LOOK_SECONDS)
                if not ready:
                    yield from self._told_of_lack()
                if letters in ready:
                    yield from self._delivered(ray.get(letters))
                    letters = self._mailbox.take.remote()
                for task in ready:
                    if task in self._running:
                        yield from self._delivered(ray.get(self._mailbox.rest.remote()))
                        yield from self._ended(task, self._running.pop(task), waiting)
        finally:
            self._cancel()

    def _submit(self, attempt: _Attempt) -> None:
        job = replace(attempt.job, patient=True, wait=_ORPHAN_SECONDS) if attempt.key[1] else attempt.job
        cpus = job.settings.threads or 1
        options = {"num_cpus": cpus, "memory": min(self._need(job), self._memory), "name": str(job.training.base)}
        task = self._task.options(**options).remote(_elsewhere(job, cpus), attempt.key, self._mailbox, self._papers)
        self._running[task] = attempt

    def _told_of_lack(self) -> Iterator[tuple[Job, Event]]:
        """Say once that no node is large enough for a job that waits: one may join still."""
        cores = max((node["Resources"].get("CPU", 0) for node in self._ray.nodes() if node["Alive"]), default=0)
        for attempt in self._running.values():
            threads = attempt.job.settings.threads or 1
            if attempt.number not in self._started and threads > cores and not self._told:
                self._told = True
                why = f"no node of the cluster has {threads} cores (--threads), the largest has {cores:g}"
                yield attempt.job, Warned(message=f"{attempt.job.training.base} waits: {why}")

    def _delivered(self, letters: Sequence[tuple[tuple[int, int], Event]]) -> Iterator[tuple[Job, Event]]:
        """The events of attempts that run; a job that is started again says so by a warning."""
        attempts = {attempt.key: attempt for attempt in self._running.values()}
        for key, event in letters:
            if attempt := attempts.get(key):
                if not isinstance(event, Started):
                    yield attempt.job, event
                elif attempt.number in self._started:
                    yield attempt.job, Warned(message=f"started again on {event.place}")
                else:
                    self._started.add(attempt.number)
                    yield attempt.job, event

    def _ended(self, task: Any, attempt: _Attempt, waiting: deque[_Attempt]) -> Iterator[tuple[Job, Event]]:
        """The end of a job; where its worker was lost, the job waits again."""
        errors = self._ray.exceptions
        end, again = Ended(state="stopped"), None
        try:
            end = self._ray.get(task)
        except errors.TaskCancelledError:
            pass
        except errors.OutOfMemoryError:
            end, again = _lost("its node ran out of memory, and Ray ended it", attempt)
        except (errors.NodeDiedError, errors.LocalRayletDiedError):
            end, again = Ended(state="failed"), replace(attempt, losses=attempt.losses + 1)
        except errors.WorkerCrashedError:
            end, again = _lost("its worker was killed or crashed", attempt)
        except errors.RayTaskError as error:
            end = Ended(state="failed", message=str(error.cause))
        if attempt.number not in self._started:
            self._started.add(attempt.number)
            yield attempt.job, Started()
        if end.state == "failed" and not again:
            _await_orphan(attempt.job)
        if again:
            yield attempt.job, Warned(message=f"{end.message or 'its node was lost'}; it goes on elsewhere")
            waiting.append(again)
        else:
            yield attempt.job, end

    def _cancel(self) -> None:
        """End what still runs; tasks get the time to write their states."""
        for task in self._running:
            self._ray.cancel(task)
        if self._running:
            self._ray.wait([*self._running], num_returns=len(self._running), timeout=_ORPHAN_SECONDS)
        self._ray.kill(self._mailbox)


def _lost(why: str, attempt: _Attempt) -> tuple[Ended, _Attempt | None]:
    """The end of a job whose worker was lost, and the next attempt, where there is one."""
    crashes = attempt.crashes + 1
    if crashes < ATTEMPTS:
        return Ended(state="failed", message=why), replace(attempt, crashes=crashes)
    return Ended(state="failed", message=f"{why}, {crashes} times"), None


def _await_orphan(job: Job) -> None:
    """Wait until the process of a job whose worker was lost has ended: it may be writing its state."""
    with contextlib.suppress(BenchError, OSError), hold(job.folder(job.training.base), wait=_ORPHAN_SECONDS):
        pass


class _Mailbox:
    """An actor beside the driver: workers put events here, and the driver takes them."""

    def __init__(self) -> None:
        self._letters: list[tuple[tuple[int, int], Event]] = []
        self._arrived = asyncio.Event()

    async def put(self, key: tuple[int, int], events: Sequence[Event]) -> None:
        self._letters += [(key, event) for event in events]
        self._arrived.set()

    async def take(self) -> list[tuple[tuple[int, int], Event]]:
        """All events, once there are some."""
        await self._arrived.wait()
        return await self.rest()

    async def rest(self) -> list[tuple[tuple[int, int], Event]]:
        """All events that are there."""
        self._arrived.clear()
        letters, self._letters = self._letters, []
        return letters


def _run_in_worker(job: Job, key: tuple[int, int], mailbox: Any, papers: Mapping[str, bytes]) -> Ended:
    """A task: the job by the local executor, its events to the mailbox, its end as the result."""
    import ray

    place, end = socket.gethostname(), Ended(state="stopped")
    _lay_down(papers, job.store.runs / job.training.loaded.folder)
    gpus = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    admission = Admission(1, lambda _: 0, [",".join(gpus)] if gpus else ())
    sharers = max(1, len(usable_cores()) // (job.settings.threads or 1))
    executor = LocalExecutor(admission, sharers, job.settings.timeout)
    posted, letters = 0.0, list[Event]()
    with contextlib.closing(executor.run([job])) as events:  # a cancelled task gets KeyboardInterrupt: the child ends
        for _, event in events:
            if isinstance(event, Ended):
                end = event
            else:
                letters.append(Started(place=place) if isinstance(event, Started) else event)
            is_due = not isinstance(event, Progressed) or time.monotonic() - posted > _POST_SECONDS
            if letters and is_due:
                with contextlib.suppress(ray.exceptions.RayActorError):  # the driver ends, and this task with it
                    ray.get(mailbox.put.remote(key, letters))
                posted, letters = time.monotonic(), []
    return end if end.message else end.model_copy(update={"message": f"{end.state} on {place}"})


def _papers(runs: Path) -> dict[str, bytes]:
    """Name below a protocol's folder → plans and methods' files: with them a node's results can be packed."""
    paths = [*runs.glob(f"{PLANS}/*.json"), *runs.glob(f"{SOURCES}/*.zip")]
    return {path.relative_to(runs).as_posix(): path.read_bytes() for path in paths}


def _lay_down(papers: Mapping[str, bytes], runs: Path) -> None:
    """Write those of the papers that a folder lacks."""
    for name, content in papers.items():
        if not (runs / name).exists():
            (runs / name).parent.mkdir(parents=True, exist_ok=True)
            with atomic_file(runs / name) as file:
                file.write(content)


def _elsewhere(job: Job, threads: int) -> Job:
    """A job whose folders are the same in any working folder."""
    data = data_folder(job.training.loaded.protocol.data.dataset, job.settings.data)
    results = job.settings.results.resolve()
    settings = replace(job.settings, results=results, data=data and data.resolve(), threads=threads)
    return replace(job, settings=settings)


def _check_answers(address: str | None) -> None:
    """Raise BenchError where nothing listens at host:port: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except OSError as error:
        raise BenchError(
            f"no Ray cluster answers at {address} ({error.strerror or error}); see docs/cluster.md"
        ) from None


@contextlib.contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; a connection that was there before stays."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError as error:
        raise UsageError(f"Ray cannot be imported ({error}); install it with: pip install 'mrsr-bench[ray]'") from None
    if ray.is_initialized():
        yield ray
        return
    _check_answers(address)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    own = {} if address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BenchError(
            f"no Ray cluster answers at {address or 'this machine'} ({error}); see docs/cluster.md"
        ) from None
    for number, handler in handlers.items():  # Ray has set its own
        with contextlib.suppress(ValueError, TypeError):  # not the main thread, or no handler of Python's
            signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()
