"""A method on trial: made, fitted and overfitted on synthetic images, and run in another process, once each."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load, save
from scipy.ndimage import gaussian_filter

from ..degradation import bicubic, degrade
from ..method import Array, Batch, Method, Scan, Task, TorchMethod, intensity_scale
from ..scoring.metrics.fidelity import psnr
from ..system.environment import peak_memory
from ..system.files import WorkFolder
from ..system.processes import ChildDied, child
from ..training.checkpoint import Checkpoints
from ..training.loop import train
from ..training.setup import TrainingSetup

LR_SIDES = (16, 20)
"""Rows and columns of a sample at LR: small enough for seconds, and not square."""
MOST_STEPS, GAIN = 1000, 0.5
"""The overfit ends when it is GAIN dB beyond bicubic, else after this many steps; 40–400 are usual."""
_RATE, _WARM_UP, _LOOK_EVERY = 1e-3, 20, 10
_FIT_STEPS = 3
_MOST_SECONDS = 300.0
_disturbances = itertools.count(1)


class Flaw(Exception):
    """What is wrong with a method that raised nothing itself."""


def image(shape: Sequence[int], blurred: Sequence[int], seed: int) -> Array:
    """A synthetic image in 0–1000: texture from fine to coarse, and two tissues with a sharp border.

    `blurred` holds a 1 for every axis along which neighbouring voxels depend on each other, else 0.
    """
    generator, total = np.random.default_rng(seed), np.zeros(shape)
    for sigma in (1, 2, 4, 8):
        texture = gaussian_filter(generator.normal(size=shape), [sigma * axis for axis in blurred])
        total += texture / texture.std() * sigma**0.5
    total += 4 * (gaussian_filter(generator.normal(size=shape), [5 * axis for axis in blurred]) > 0)
    total -= total.min()
    return total / total.max() * 1000


class SyntheticSamples:
    """A training set (`method.TrainingSet`, `loader.Samples`) of whole small volumes: batch k holds two of them."""

    def __init__(self, pairs: Sequence[Batch], seed: int = 0) -> None:
        self._seed = seed
        self._pairs = [
            ((lr / scale).astype(np.float32), (hr / scale).astype(np.float32))
            for lr, hr in pairs
            for scale in [intensity_scale(lr)]
        ]

    def batch(self, step: int) -> Batch:
        chosen = [self._pairs[(self._seed + step + number) % len(self._pairs)] for number in range(2)]
        return np.stack([lr for lr, _ in chosen]), np.stack([hr for _, hr in chosen])

    crops = batch

    def turns(self, step: int) -> Array:
        return np.zeros(2, np.int64)

    def volumes(self) -> Iterator[Batch]:
        yield from self._pairs


@dataclass
class _Quiet:
    """A `method.Run` to which nobody listens."""

    scratch: Path
    should_stop: bool = False

    def report(self, step: int, **values: float) -> None:
        pass


@dataclass(frozen=True)
class Overfit:
    """A method after overfitting one pair."""

    method: Method
    gain: float
    """PSNR on that pair minus bicubic's, in dB."""
    steps: int


@dataclass(frozen=True)
class Elsewhere:
    """What a new process reports: its output, and what that took there."""

    output: Array
    seconds: float
    memory: int
    """Bytes by which the peak of the process rose."""


class Trial:
    """One method with its options at one scale. Nothing is fitted before it is needed, and then once.

    Parameters are those of `Method`; `factors` as in `Task`. What the method raises is raised where it is used.
    """

    def __init__(
        self,
        cls: type[Method],
        preset: str | None = None,
        options: dict[str, Any] | None = None,
        factors: tuple[int, int, int] = (1, 2, 2),
        seed: int = 0,
    ) -> None:
        self.cls, self.preset, self.options = cls, preset, options or {}
        precision = cls.recipe.precision if issubclass(cls, TorchMethod) else "32-true"
        self.task = Task(factors, seed=seed, precision=precision)

    def make(self) -> Method:
        """The method as it is before any fit."""
        return self.cls(self.preset, **self.options)

    @cached_property
    def unsupported(self) -> str | None:
        """Why the method cannot do the task, by its own account."""
        return self.make().unsupported(self.task)

    @cached_property
    def slices(self) -> int:
        """LR slices of a sample."""
        method = self.make()
        if isinstance(method, TorchMethod):
            return method.slices_per_sample
        return 1 if self.task.factors[0] == 1 else 8

    @cached_property
    def pairs(self) -> list[Batch]:
        """Three synthetic volumes: LR float32 (d, 16, 20) and HR float64, d the slices of a sample."""
        factors = self.task.factors
        lr_shape = (self.slices, *LR_SIDES)
        blurred = (int(factors[0] > 1), 1, 1)
        volumes = [image(self.task.hr_shape(lr_shape), blurred, seed) for seed in range(3)]
        return [(degrade(hr, self.task.degradation, factors).astype(np.float32), hr) for hr in volumes]

    @property
    def lr(self) -> Array:
        """The first sample's LR."""
        return self.pairs[0][0]

    def noise(self, shape: Sequence[int]) -> Array:
        """Float32 in 0–1000 of any LR shape."""
        return np.random.default_rng(0).uniform(0, 1000, shape).astype(np.float32)

    def fit(self, pairs: Sequence[Batch] | None = None) -> Method:
        """A new method, fitted as the suite does it; a network for a few steps of its recipe only.

        Python's and numpy's global generators have another state each time, as in a run; so has torch's, unless the
        suite seeds it.
        """
        method, data = self.make(), SyntheticSamples(pairs or self.pairs, self.task.seed)
        _disturb()
        with tempfile.TemporaryDirectory() as scratch:
            run, val = _Quiet(Path(scratch)), list(data.volumes())
            if isinstance(method, TorchMethod):
                recipe = method.recipe.model_copy(update={"steps": _FIT_STEPS, "batch": 2, "micro_batch": None})
                setup = TrainingSetup(method, self.task, recipe, data, val, _FIT_STEPS)
                train(setup, run, Checkpoints(WorkFolder(run.scratch), "trial"))
            elif method.learns:
                method.fit(self.task, data, val, run)
        return method

    @cached_property
    def fitted(self) -> Method:
        """What `fit` gave the first time."""
        return self.fit()

    def upscale(self, method: Method, array: Array, task: Task | None = None) -> Array:
        """The method's output for an LR volume, made as in the suite."""
        _disturb()
        torch.manual_seed(self.task.seed)
        return method.upscale(scan_of(array), task or self.task)

    @cached_property
    def overfit(self) -> Overfit:
        """The method after overfitting the first pair; one that does not learn stays as it is."""
        lr, hr = self.pairs[0]
        peak = intensity_scale(lr)
        floor = psnr(bicubic(lr.astype(np.float64), hr.shape), hr, peak)

        def gain(method: Method) -> float:
            return psnr(self.upscale(method, lr), hr, peak) - floor

        method = self.make()
        if not isinstance(method, TorchMethod):
            method = self.fit(self.pairs[:1])
            return Overfit(method, gain(method), 0)
        torch.manual_seed(self.task.seed)
        method.network = network = method.make_network(self.task)
        x, y = (torch.from_numpy(array)[None] for array in next(SyntheticSamples(self.pairs[:1]).volumes()))
        optimizer = torch.optim.Adam(network.parameters(), lr=_RATE)
        best = gain(method)
        for step in range(1, MOST_STEPS + 1):
            optimizer.param_groups[0]["lr"] = _RATE * min(1, step / _WARM_UP)
            loss = torch.nn.functional.l1_loss(network.train()(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step % _LOOK_EVERY == 0 and (best := gain(method)) >= GAIN:
                break
        return Overfit(method, best, step)

    def elsewhere(self, array: Array) -> Elsewhere:
        """The output of `fitted` for `array` in a new process, which gets only its class, options and state.

        Raises Flaw with the reason where the process gives no output.
        """
        if self.cls.__module__ == "__main__":
            raise Flaw(
                f"{self.cls.__qualname__} is defined in the script that runs, which other processes do not import: "
                "move it into a file of its own"
            )
        method = self.fitted
        state = save({name: np.ascontiguousarray(part) for name, part in method.state().items()})
        place = (inspect.getfile(self.cls), self.cls.__module__, self.cls.__qualname__)
        job = (place, method.options.model_dump(mode="json"), self.task, method.learns, state, array)
        modules = (__name__, "lightning_fabric", "timm")
        with child(_upscale_in_child, torch.get_num_threads(), *job, preload=modules, seconds=_MOST_SECONDS) as running:
            try:
                answer = running.receive()
            except TimeoutError:
                raise Flaw(f"a new process gave no output within {_MOST_SECONDS:g} s") from None
            except ChildDied as error:
                raise Flaw(f"in a new process: {error}") from None
        if isinstance(answer, str):
            raise Flaw(f"in a new process: {answer}")
        assert isinstance(answer, Elsewhere)
        return answer


def scan_of(array: Array) -> Scan:
    """An LR volume as a method sees it, an array of its own."""
    return Scan(np.array(array, np.float32), (1.0, 1.0, 1.0), "T1")


def _disturb() -> None:
    """Put the global generators into a state that they never had before."""
    number = next(_disturbances)
    random.seed(number)
    np.random.seed(number)  # noqa: NPY002 (the legacy generator is what is disturbed)
    torch.manual_seed(number << 32)


def _upscale_in_child(
    connection: Connection,
    threads: int,
    place: tuple[str, str, str],
    options: dict[str, Any],
    task: Task,
    learns: bool,
    state: bytes,
    array: Array,
) -> None:
    """The new process: make, load, upscale once to warm up, then once for the answer."""
    try:
        torch.set_num_threads(threads)
        method = _class_at(*place)(**options)
        if learns:
            method.load_state(load(state), task)
        torch.manual_seed(task.seed)
        method.upscale(scan_of(array[:, : LR_SIDES[0], : LR_SIDES[1]]), task)
        earlier_peak, started = peak_memory("cpu"), time.monotonic()
        torch.manual_seed(task.seed)
        output = method.upscale(scan_of(array), task)
        connection.send(Elsewhere(output, time.monotonic() - started, peak_memory("cpu") - earlier_peak))
    except BaseException as error:
        connection.send(f"{type(error).__name__}: {error}")


def _class_at(file: str, module: str, name: str) -> type[Method]:
    """The class `name` of a module, imported by its name or, where that is not possible, from its file."""
    try:
        namespace = importlib.import_module(module)
    except ImportError:
        spec = importlib.util.spec_from_file_location(module, file)
        if spec is None or spec.loader is None:
            raise
        namespace = sys.modules[module] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(namespace)
    value: Any = namespace
    for part in name.split("."):
        if not hasattr(value, part):
            raise Flaw(f"{file} has no class '{name}' at module level, so another process cannot load it")
        value = getattr(value, part)
    cls: type[Method] = value
    return cls
