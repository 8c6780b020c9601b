"""The suite's training loop beside a plain one as textbooks have it: the same network, patches and batches.

Each loop runs in a process group of its own, so that neither lives with the other's settings, and computes in blocks,
only when it is asked: the two take turns, and the group whose turn it is not is stopped, its data workers too. A
process also runs the bare step of its loop (forward, backward and optimiser on one batch that is in memory already),
which separates what the loop costs from what its data cost.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Self

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from mrsr_bench.data.pairs import Pair
from mrsr_bench.degradation import degrade
from mrsr_bench.method import Recipe, Task, TorchMethod
from mrsr_bench.registry import find_source, load_method, methods
from mrsr_bench.system.files import WorkFolder
from mrsr_bench.system.memory import keep_freed_memory
from mrsr_bench.system.processes import forkserver
from mrsr_bench.training.checkpoint import Checkpoints
from mrsr_bench.training.devices import resolve_precision
from mrsr_bench.training.loop import TrainingStopped, train
from mrsr_bench.training.sampling import TrainingPairs
from mrsr_bench.training.setup import TrainingSetup, layout, make_optimizer

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l1": F.l1_loss, "mse": F.mse_loss}
LEAD = 4
"""Steps of the plain loop before the clock starts: what its workers had fetched when its last turn ended."""
LEAST = 2
"""Steps that a block takes at least."""


@dataclass(frozen=True)
class Case:
    """One network under one budget."""

    method: str
    preset: str | None = None
    batch: int = 16
    lr_patch: int = 24
    precision: str = "32-true"
    """Of the suite's loop; the plain one trains in float32."""
    device: str = "cpu"

    @property
    def name(self) -> str:
        return f"{self.method}:{self.preset}" if self.preset else self.method

    @property
    def task(self) -> Task:
        return Task((1, 2, 2), device=self.device, precision=self.precision)

    def make(self) -> TorchMethod:
        method = load_method(find_source(self.method, methods(), "method"))(self.preset)
        assert isinstance(method, TorchMethod)
        return method

    def recipe(self, steps: int = 1) -> Recipe:
        """The method's own, with this budget."""
        budget = {"steps": steps, "batch": self.batch, "micro_batch": None, "lr_patch": self.lr_patch}
        return self.make().recipe.model_copy(update={**budget, "precision": self.precision})


class Slices(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """One item: open the file, take a slice, degrade it, divide by its maximum, cut a random patch, turn it."""

    def __init__(self, files: Sequence[Path], slices: int, case: Case) -> None:
        self.files, self.slices, self.case = files, slices, case

    def __len__(self) -> int:
        return len(self.files) * self.slices

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        file, number = divmod(index, self.slices)
        hr = nib.load(self.files[file]).get_fdata()[:, :, number]
        factors, side = self.case.task.factors[1:], self.case.lr_patch
        lr = degrade(hr, "bicubic", factors)
        peak = max(lr.max(), 1.0)
        corner = [int(torch.randint(n - side + 1, ())) for n in lr.shape]
        patches = []
        turns, flip = int(torch.randint(4, ())), bool(torch.randint(2, ()))
        for image, factor in ((lr, 1), (hr, factors[0])):
            (top, left), size = [factor * n for n in corner], factor * side
            patch = np.rot90(image[top : top + size, left : left + size] / peak, turns)
            patches.append(torch.from_numpy(np.ascontiguousarray(patch.T if flip else patch)).float()[None])
        return patches[0], patches[1]


def plain_steps(case: Case, data: torch.utils.data.Dataset[tuple[Tensor, Tensor]]) -> Iterator[float]:
    """The plain loop: every loss, one a step, without an end."""
    method, recipe = case.make(), case.recipe()
    network = method.build(case.task).to(case.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr)
    loader = torch.utils.data.DataLoader(data, batch_size=case.batch, shuffle=True, num_workers=os.cpu_count() or 1)
    while True:
        for lr, hr in loader:
            optimizer.zero_grad()
            loss = LOSSES[recipe.loss](network(lr.to(case.device)), hr.to(case.device))
            loss.backward()
            optimizer.step()
            yield loss.item()


def fixed_batch(case: Case) -> tuple[Tensor, Tensor]:
    """Random LR and HR patches on the device."""
    slices, side = case.make().slices_per_sample, case.lr_patch
    lr = torch.rand(case.batch, slices, side, side, device=case.device)
    return lr, F.interpolate(lr, scale_factor=case.task.scale, mode="nearest")


def bare_plain(case: Case, half: bool = False) -> Callable[[], int]:
    """The plain loop's step on one batch in memory; `half`: under autocast to bfloat16."""
    method, recipe = case.make(), case.recipe()
    network = method.build(case.task).to(case.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=recipe.lr)
    lr, hr = fixed_batch(case)

    def forward() -> Tensor:
        with torch.autocast(case.device, dtype=torch.bfloat16, enabled=half):
            return LOSSES[recipe.loss](network(lr), hr)

    return _step(forward, Tensor.backward, optimizer)


def bare_suite(case: Case) -> Callable[[], int]:
    """The suite's step on one batch in memory: its precision, memory layout and optimiser, nothing else of its loop."""
    method, recipe = case.make(), case.recipe()
    precision = resolve_precision(recipe.precision, torch.device(case.device))
    fabric = Fabric(accelerator=case.device, devices=1, precision=precision)
    memory_format = layout(fabric.device, precision)
    network: nn.Module = method.build(case.task)
    model = fabric.setup_module(network.to(memory_format=memory_format))
    optimizer = make_optimizer(method.parameter_groups(network), recipe)
    lr, hr = (x.contiguous(memory_format=memory_format) for x in fixed_batch(case))
    return _step(lambda: LOSSES[recipe.loss](model(lr), hr), fabric.backward, optimizer)


def _step(
    forward: Callable[[], Tensor], backward: Callable[[Tensor], Any], optimizer: torch.optim.Optimizer
) -> Callable[[], int]:
    def step() -> int:
        optimizer.zero_grad()
        backward(forward())
        optimizer.step()
        return 1

    return step


def timed(step: Callable[[], int], seconds: float, lead: int = 1) -> float:
    """Seconds a step, over `seconds` or more; `step` says how many it took. Waits for the device at both ends only."""
    for _ in range(lead):
        step()
    wait_for_device()
    started, done, taken = time.perf_counter(), 0, 0.0
    while taken < seconds or done < LEAST:
        done += step()
        taken = time.perf_counter() - started
    wait_for_device()
    return (time.perf_counter() - started) / done


def wait_for_device() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def serve_plain(line: Connection, case: Case, files: Sequence[Path], slices: int, seconds: float) -> None:
    """Answer "loop", "bare" and "bare bf16" with the seconds a step of such a block; None is the end."""
    os.setpgrp()
    # A spawned process would spawn its workers too, each with seconds of imports: as a script's own they are forked.
    multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)
    steps = plain_steps(case, Slices(files, slices, case))

    def step() -> int:
        next(steps)
        return 1

    bare = cache(partial(bare_plain, case))
    while (what := line.recv()) is not None:
        line.send(timed(step, seconds, LEAD) if what == "loop" else timed(bare(what == "bare bf16"), seconds))


def serve_suite(line: Connection, case: Case, pairs: Sequence[Pair], seconds: float, interval: int) -> None:
    """The same of the suite's loop ("loop" and "bare"), which reports every `interval` steps and is held there."""
    os.setpgrp()
    keep_freed_memory()
    method, recipe = case.make(), case.recipe(steps=200 * interval)
    data = TrainingPairs(pairs, case.task.factors, recipe, method.slices_per_sample, seed=0)
    val = [(lr[0], hr[0]) for lr, hr in [data.crops(0)]]
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(TrainingStopped):
        run = Held(line, case, seconds, Path(folder))
        # No states on disk: one would be due after every pause, and real trainings write one a minute.
        never = float("inf")
        setup = TrainingSetup(method, case.task, recipe, data, val, recipe.steps)
        train(setup, run, Checkpoints(WorkFolder(run.scratch), "speed", never))


@dataclass
class Held:
    """A `Run` that goes on only when it is asked; the answer is the seconds a step since then."""

    line: Connection
    case: Case
    seconds: float
    scratch: Path
    should_stop: bool = False
    blocks: Generator[None, int, None] = field(init=False)

    def __post_init__(self) -> None:
        self.blocks = self._blocks()
        next(self.blocks)

    def report(self, step: int, **values: float) -> None:
        self.blocks.send(step)

    def _blocks(self) -> Generator[None, int, None]:
        """Gets the steps that are reported. A block's first interval does not count, as with the plain loop."""
        yield
        bare = cache(partial(bare_suite, self.case))
        while (what := self.line.recv()) is not None:
            if what == "bare":
                self.line.send(timed(bare(), self.seconds))
                continue
            step = first = yield
            started, taken = time.perf_counter(), 0.0
            while taken < self.seconds or step - first < LEAST:
                step = yield
                taken = time.perf_counter() - started
            self.line.send(taken / (step - first))
        self.should_stop = True
        yield


class Partner:
    """A loop's process: a context that ends it."""

    def __init__(self, context: BaseContext, serve: Callable[..., None], *arguments: Any) -> None:
        self._name = serve.__name__
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, *arguments))
        self._process.start()
        theirs.close()

    def ask(self, what: str) -> float:
        """Seconds a step of a block."""
        self._signal(signal.SIGCONT)
        try:
            self._line.send(what)
            answer = float(self._line.recv())
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise SystemExit(f"the process of {self._name} ended; it said why above") from None
        self._signal(signal.SIGSTOP)
        return answer

    def _signal(self, number: signal.Signals) -> None:
        """To the process and all of its workers; before its first answer it may have no group yet, and needs none."""
        assert self._process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._signal(signal.SIGCONT)
        with contextlib.suppress(OSError):
            self._line.send(None)
        self._process.join(30)
        self._process.kill()
        self._process.join()


def rounds(
    case: Case,
    files: Sequence[Path],
    slices: int,
    pairs: Sequence[Pair],
    number: int,
    seconds: float,
    extra: Sequence[str] = (),
) -> Iterator[dict[str, float]]:
    """Seconds a step of "plain", "suite", "plain bare", "suite bare" (and the plain process' `extra` blocks).

    The plain loop has a fresh interpreter, the suite's a child of the forkserver as in `bench run`.
    """
    with Partner(multiprocessing.get_context("spawn"), serve_plain, case, files, slices, seconds) as plain:
        interval = max(1, int(seconds / 4 / plain.ask("bare")))
        with Partner(forkserver(), serve_suite, case, pairs, seconds, interval) as suite:
            for _ in range(number):
                found = {"plain": plain.ask("loop"), "suite": suite.ask("loop")}
                found |= {"plain bare": plain.ask("bare"), "suite bare": suite.ask("bare")}
                yield found | {what: plain.ask(what) for what in extra}
