"""Which jobs run side by side: as many as were asked for, as far as memory and GPUs suffice."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..protocol.loading import Loaded
from ..store.results import Store
from ..system.gpus import visible_gpus
from ..system.machine_memory import free_memory
from ..system.processes import Child
from ..system.units import size_text
from .job import Job
from .settings import RunSettings


@dataclass(frozen=True)
class Slot:
    """What a job is given of the machine."""

    memory: int = 0
    """Bytes that it is expected to take."""
    gpu: str | None = None
    """The GPU that it sees, by its name in CUDA_VISIBLE_DEVICES; None: whatever there is."""


class Admission:
    """Gives jobs their slots, in order: none overtakes one that waits.

    `need`: a job's memory in bytes; `gpus`: names of the GPUs that jobs are dealt out to, each to `per_gpu` at once;
    none: jobs take what there is. `say` hears why a job waits.
    """

    def __init__(
        self,
        parallel: int,
        need: Callable[[Job], int],
        gpus: Sequence[str] = (),
        per_gpu: int = 1,
        say: Callable[[str], None] = print,
    ) -> None:
        self._most = min(parallel, len(gpus) * per_gpu) if gpus else parallel
        self._need, self._gpus, self._say = need, gpus, say
        self._told: Job | None = None

    def slot_for(self, job: Job, running: Sequence[tuple[Slot, Child]]) -> Slot | None:
        """A slot for a job beside those that run; None where it has to wait. A job alone always gets one."""
        if len(running) >= self._most:
            return None
        used = Counter(slot.gpu for slot, _ in running)
        gpu = min(self._gpus, key=lambda name: used[name]) if self._gpus else None
        if self._most == 1:
            return Slot(gpu=gpu)
        need = self._need(job)
        free = free_memory() - sum(max(0, slot.memory - child.resident_bytes) for slot, child in running)
        if need > free and running:
            self._tell(job, f"waits for memory: it may take {size_text(need)}, and {size_text(max(free, 0))} are free")
            return None
        if need > free:
            self._tell(job, f"may take {size_text(need)} of memory, and {size_text(free)} are free; it runs alone")
        return Slot(need, gpu)

    def _tell(self, job: Job, text: str) -> None:
        """Once for a job that waits."""
        if self._told is not job:
            self._told = job
            self._say(f"{job.training.base} {text}")


def make_admission(loaded: Loaded, settings: RunSettings, say: Callable[[str], None]) -> Admission:
    """The admission of a run: for several jobs at once by the memory that each may take, and by GPUs."""
    if settings.sharers == 1:
        return Admission(1, lambda _: 0, say=say)
    per_gpu = math.floor(1 / settings.gpus_per_cell + 1e-9)
    return Admission(settings.sharers, memory_needs(loaded, settings), visible_gpus(), per_gpu, say)


def memory_needs(loaded: Loaded, settings: RunSettings) -> Callable[[Job], int]:
    """The bytes that a job may take: by a record's peak, else by the dry run's count."""
    from ..estimating.costs import Costs
    from ..estimating.needs import DataNeeds

    costs = Costs(Store(settings.results), threads=settings.known_threads)
    data = DataNeeds(loaded, settings.data)
    needs = dict[tuple[object, ...], int]()

    def need(job: Job) -> int:
        cell = job.training.base
        column = cell.label, cell.contrast, cell.factors
        if column not in needs:
            needs[column] = costs.host_memory(job.training, data.shape(cell.contrast))
        return needs[column]

    return need
