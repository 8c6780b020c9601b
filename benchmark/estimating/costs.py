"""What a training costs, by the best source there is: an earlier record, a probe, or a count of its operations."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ..errors import BenchError
from ..method import TorchMethod
from ..planning.cells import Training
from ..store.cell_files import RECORD, read_record
from ..store.record import DoneRecord, Resolved, Tiles
from ..store.results import Store
from ..system.cores import threads_to_take
from ..system.environment import Environment, environment
from .plan_costs import STEP_PASSES
from .probe import STEPS, Probe, probe

RATE = 10e12
"""FLOP/s that a GPU is taken to sustain: half of the 19.5 TFLOP/s that NVIDIA states for an A100 in float32, the
precision of inference and of attention here. Large convolutions, trained in TF32, can be several times faster."""

PROCESS_BYTES = 600_000_000
"""A process that evaluates bicubic on single slices peaks at 490 MB, and small networks at 560 to 690 MB."""
VOXEL_BYTES = 80
"""Scoring a volume of 96 × 240 × 240 voxels by all metrics of `ixi_all` takes 74 bytes a voxel."""

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Cost:
    """An estimate for one training and for one pass over its test set."""

    source: Literal["records", "probe", "count"]
    """records and probe: hours of this machine; count: hours of a GPU that sustains `RATE`."""
    train_hours: float
    test_hours: float | None
    """None: not known."""
    memory: int
    """Bytes, in training."""
    probed_steps: int = STEPS

    @property
    def measured(self) -> bool:
        return self.source != "count"

    def __str__(self) -> str:
        return self.source if self.probed_steps == STEPS else f"{self.source} ({self.probed_steps} steps)"


class Costs:
    """What trainings cost on this machine, or else on the assumed GPU; `say` hears of each probe that begins.

    `store` holds the records to go by; without `probing` no training is tried; `threads` is that of `bench run`.
    """

    def __init__(
        self,
        store: Store,
        probing: bool = False,
        say: Callable[[str], None] = print,
        threads: int | None = None,
    ) -> None:
        self._store, self._probing, self._say, self._requested_threads = store, probing, say, threads
        self._counts: dict[tuple[object, ...], Cost | None] = {}
        self._probes: dict[tuple[object, ...], Probe | None] = {}
        self.failed_probes: list[str] = []
        """Why probes gave no figure, one message each."""

    def of(self, training: Training, shape: Shape | None) -> Cost | None:
        """The cost on HR volumes of `shape`; None where nothing is known."""
        if training.recipe is None:
            return self._recorded(training, None)
        key = (training.base.label, training.base.factors, shape)
        if key not in self._counts:
            self._counts[key] = _count(training, shape)
        counted = self._counts[key]
        return self._recorded(training, counted) or self._probed(training, shape, counted) or counted

    def host_memory(self, training: Training, shape: Shape | None) -> int:
        """Bytes of the machine's memory that a training's process takes at its peak, by a record, else roughly.

        Roughly: a process that does nothing, the scoring of a volume, and on a CPU what the training keeps.
        """
        cost, voxels = self.of(training, shape), math.prod(shape or (0,))
        if cost and cost.source == "records" and not self._on_gpu:
            return cost.memory
        return PROCESS_BYTES + VOXEL_BYTES * voxels + (cost.memory if cost and not self._on_gpu else 0)

    @cached_property
    def machine(self) -> str:
        """What measured hours are hours of: the GPU, or the CPU with its number of threads."""
        number = self._threads
        threads = "" if self._on_gpu else f", {number} thread{'s' * (number > 1)}"
        return f"{self._here.device}{threads}"

    @cached_property
    def _on_gpu(self) -> bool:
        import torch

        return torch.cuda.is_available()

    @cached_property
    def _threads(self) -> int:
        """The CPU threads that a training would take if it began now."""
        return threads_to_take(self._requested_threads)

    @cached_property
    def _here(self) -> Environment:
        return environment("cuda" if self._on_gpu else "cpu")

    def _made_here(self, record: DoneRecord) -> bool:
        """Whether a record is from such a machine; threads decide only where they do the work."""
        threads = (record.fit and record.fit.threads) or record.environment.threads
        return record.environment.device == self._here.device and (self._on_gpu or threads == self._threads)

    @cached_property
    def _records(self) -> list[DoneRecord]:
        """Every record of a plain cell that is done, of any protocol. Records that cannot be read are left out."""
        records = []
        for path in sorted(self._store.runs.rglob(RECORD)):
            with contextlib.suppress(BenchError):
                record = read_record(path.parent)
                if isinstance(record, DoneRecord) and not record.label.endswith("+"):
                    records.append(record)
        return records

    def _recorded(self, training: Training, counted: Cost | None) -> Cost | None:
        """The cost by the record of such a training on such a machine: a full one before one of a trial run
        (`--limit`, `--steps`), then one on the same volumes before others, then the newest."""
        resolved = Resolved.model_validate(training.resolved)
        tiles = Tiles.model_validate(training.inference) if training.inference else None
        kind, volumes = _kind(resolved), _volumes(resolved, tiles)

        def on_same_volumes(record: DoneRecord) -> bool:
            return _volumes(record.resolved, record.inference) == volumes

        def rank(record: DoneRecord) -> tuple[bool, bool, str]:
            return not record.protocol.overrides, on_same_volumes(record), record.written

        alike = [record for record in self._records if _kind(record.resolved) == kind and self._made_here(record)]
        if not alike:
            return None
        best = max(alike, key=rank)
        seconds = best.fit.seconds if best.fit else 0.0
        if training.recipe is not None and best.fit and best.fit.steps:
            seconds *= training.recipe.steps / best.fit.steps
        test: float | None
        if on_same_volumes(best):
            test = best.seconds_per_volume * len(training.loaded.split["test"]) / 3600
        elif training.recipe is None:
            return None
        else:
            test = _at_speed(seconds / 3600, counted)
        return Cost("records", seconds / 3600, test, best.peak_memory_bytes)

    def _probed(self, training: Training, shape: Shape | None, counted: Cost | None) -> Cost | None:
        """The cost by a probe, where probes are asked for and this one succeeds."""
        if not self._probing:
            return None
        assert training.recipe is not None
        key = (training.base.label, training.base.factors, shape)
        if key not in self._probes:
            self._probes[key] = self._probe(training, shape)
        probed = self._probes[key]
        if probed is None:
            return None
        hours = probed.seconds * training.recipe.steps / 3600
        return Cost("probe", hours, _at_speed(hours, counted), probed.memory, probed.steps)

    def _probe(self, training: Training, shape: Shape | None) -> Probe | None:
        name = f"{training.base.label} {training.base.scale}"
        self._say(f"probing {name}: {STEPS} training steps")
        _, rows, columns = _lr_sample(training, shape)
        try:
            return probe(training, (rows, columns), self._threads)
        except BenchError as error:
            self.failed_probes.append(f"probe {name}: {error}")
            return None


def _kind(resolved: Resolved) -> dict[str, Any]:
    """What the cost of a step depends on, apart from the machine."""
    recipe = (
        resolved.recipe.model_dump(include={"batch", "lr_patch", "precision", "start"}) if resolved.recipe else None
    )
    return {**resolved.model_dump(include={"method", "version", "options", "factors"}), "recipe": recipe}


def _volumes(resolved: Resolved, tiles: Tiles | None) -> tuple[object, ...]:
    """What the cost of upscaling a volume depends on besides."""
    return resolved.dataset, resolved.crop or resolved.contrast, resolved.grid, tiles


def _at_speed(train_hours: float, counted: Cost | None) -> float | None:
    """Hours of the test, where its operations take as long as those of the training."""
    if counted is None or counted.test_hours is None or not counted.train_hours:
        return None
    return counted.test_hours * train_hours / counted.train_hours


def _lr_sample(training: Training, shape: Shape | None) -> Shape:
    """Slices of an LR volume, and the rows and columns of a slice; those of a patch where the shape is not known."""
    assert training.recipe is not None
    if shape is None:
        return 0, training.recipe.lr_patch, training.recipe.lr_patch
    slices, rows, columns = (n // f for n, f in zip(shape, training.task.factors, strict=True))
    return slices, rows, columns


def _count(training: Training, shape: Shape | None) -> Cost | None:
    """The cost of a network by its operations; None where it does not run on shapes alone."""
    from ..training.complexity import count_macs, count_training

    method, recipe, task = training.make_method(), training.recipe, training.task
    assert isinstance(method, TorchMethod)
    assert recipe is not None
    slices, rows, columns = _lr_sample(training, shape)
    side = min(recipe.lr_patch, rows, columns)
    samples = len(training.loaded.split["test"]) * slices // method.slices_per_sample
    try:
        macs, memory = count_training(method, task, recipe, (side, side))
        train = STEP_PASSES * recipe.steps * recipe.batch * macs
        test = 2 * samples * count_macs(method, task, (rows, columns)) / RATE / 3600 if shape else None
    except Exception:  # a plugin's network, which may need values
        return None
    return Cost("count", 2 * train / RATE / 3600, test, memory)
