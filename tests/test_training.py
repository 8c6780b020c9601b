"""The training loop: parts of a batch, resuming, and what the divergence guard does with steps that go wrong."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from mrsr_bench.errors import BenchError
from mrsr_bench.method import Batch, Recipe, Task, TorchMethod
from mrsr_bench.system.files import WorkFolder
from mrsr_bench.training.checkpoint import Checkpoints
from mrsr_bench.training.divergence import EXPLOSION, PATIENCE, ROLLBACKS, WARM_UP, Guard
from mrsr_bench.training.loop import Trained, TrainingStopped, train
from mrsr_bench.training.setup import TrainingSetup

pytestmark = pytest.mark.usefixtures("one_thread")

Spoil = Callable[[np.ndarray, np.ndarray], Batch]
EVERY = 4
"""Steps between validations."""


class Tiny(nn.Module):
    """One convolution and a shuffle; `seen` notes the sizes of the batches it was trained on."""

    def __init__(self, *more: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), *more, nn.PixelShuffle(2))
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(len(x))
        return self.body(x)


class Root(Tiny):
    """A square root of what is zero for a black patch: a finite value, a gradient that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.sqrt(self.weight * x.abs()).repeat_interleave(2, -1).repeat_interleave(2, -2)


class Noisy(Tiny):
    """Draws a number in each forward pass of its training, and notes it."""

    def __init__(self) -> None:
        super().__init__(nn.Dropout(0.5))
        self.draws: list[float] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.draws.append(float(torch.rand(())))
        return super().forward(x)


class Method(TorchMethod):
    make: Callable[[], nn.Module] = Tiny

    def build(self, task: Task) -> nn.Module:
        return type(self).make()


@dataclass
class Data:
    """Random smooth pairs; step k gives batch `order[k]`, spoilt where `spoils` says so. Not augmented."""

    spoils: Mapping[int, Spoil] = field(default_factory=dict)
    order: list[int] | None = None
    size: int = 5

    def crops(self, step: int) -> Batch:
        number = step if self.order is None else self.order[step]
        lr, hr = pair(number, self.size)
        return self.spoils[number](lr, hr) if number in self.spoils else (lr, hr)

    def turns(self, step: int) -> np.ndarray:
        return np.zeros(self.size, np.int64)


def pair(seed: int, size: int) -> Batch:
    lr = np.random.default_rng(seed).uniform(0.2, 0.8, (size, 1, 6, 6)).astype(np.float32)
    return lr, lr.repeat(2, -1).repeat(2, -2) * np.float32(0.9)


def nan(lr: np.ndarray, hr: np.ndarray) -> Batch:
    return lr, np.where(np.arange(len(hr)).reshape(-1, 1, 1, 1) == 1, np.float32(np.nan), hr)


def black(lr: np.ndarray, hr: np.ndarray) -> Batch:
    return np.zeros_like(lr), np.zeros_like(hr)


def bright(lr: np.ndarray, hr: np.ndarray) -> Batch:
    return lr, hr * np.float32(1000)


@dataclass
class Script:
    """A `Run` that stops after a report of step `stop`."""

    stop: float = math.inf
    scratch: Path = Path()
    reports: list[dict[str, float]] = field(default_factory=list)
    now: int = 0

    @property
    def should_stop(self) -> bool:
        return self.now >= self.stop

    def report(self, step: int, **values: float) -> None:
        self.now = step
        self.reports.append({"step": step, **values})


def fit(
    folder: Path,
    data: Data,
    make: Callable[[], nn.Module] = Tiny,
    stop: float = math.inf,
    save_every: float = 60.0,
    **recipe: Any,
) -> tuple[Trained, dict[str, Any], nn.Module]:
    """Train; the fit, the last checkpoint (which holds the last weights, not the best) and the network."""
    chosen = {"optimizer": "adam", "lr": 1e-2, "schedule_args": {"decay_rate": 1.0}, "steps": 8, **recipe}
    method = type("Made", (Method,), {"make": staticmethod(make)})()
    folder.mkdir(parents=True, exist_ok=True)
    val = [tuple(array[0] for array in pair(10_000 + crop, 1)) for crop in range(2)]
    setup = TrainingSetup(method, Task((1, 2, 2)), Recipe(**chosen), data, val, EVERY)
    result = train(setup, Script(stop), Checkpoints(WorkFolder(folder), "key", save_every))
    assert method.network is not None
    return result, last_state(folder), method.network


def last_state(folder: Path) -> dict[str, Any]:
    """The newest state without what its clock and its memory say."""
    state = Checkpoints(WorkFolder(folder), "key").load("cpu")
    assert state is not None
    for row in (state, *state["rows"]):
        for name in ("seconds", "pixels_per_second", "memory_bytes"):
            row.pop(name, None)
    return state


def same(one: Any, other: Any) -> bool:
    """Whether two checkpoints, or parts of them, are bit-identical; NaN equals NaN."""
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, torch.Tensor):
        return torch.allclose(one, other, rtol=0, atol=0, equal_nan=True)
    return bool(one == other or (one != one and other != other))


def with_batch_norm() -> nn.Module:
    return Tiny(nn.BatchNorm2d(4))


@pytest.mark.parametrize(("precision", "tolerance"), [("32-true", 4e-7), ("bf16-mixed", 5e-4)])
@pytest.mark.parametrize(("micro_batch", "seen"), [(3, [3, 2]), (2, [2, 2, 1]), (1, [1] * 5), (9, [5])])
def test_a_batch_in_parts_makes_the_step_of_the_whole_batch(
    tmp_path: Path, micro_batch: int, seen: list[int], precision: str, tolerance: float
) -> None:
    """A gradient's rounding errors move the weights as far as the gradient may: rate, steps, and momentum (0.9)."""
    recipe = {"optimizer": "sgd", "lr": 0.02, "precision": precision}
    reach = 0.02 * 8 / (1 - 0.9)
    _, whole, _ = fit(tmp_path / "whole", Data(), **recipe)
    _, parts, network = fit(tmp_path / "parts", Data(), micro_batch=micro_batch, **recipe)
    assert isinstance(network, Tiny)
    assert network.seen == seen * 8
    for name, weights in whole["network"].items():
        difference = (parts["network"][name] - weights).abs().max()
        assert difference <= tolerance * reach
    for row, other in zip(parts["rows"], whole["rows"], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], rel=4 * tolerance)


def test_chance_in_parts_follows_from_seed_and_step_alone(tmp_path: Path) -> None:
    _, _, whole = fit(tmp_path / "whole", Data(), Noisy)
    _, parts, network = fit(tmp_path / "parts", Data(), Noisy, micro_batch=2)
    assert isinstance(whole, Noisy)
    assert isinstance(network, Noisy)
    assert len(set(network.draws)) == 3 * 8
    assert network.draws[::3] == whole.draws
    with pytest.raises(TrainingStopped):
        fit(tmp_path / "resumed", Data(), Noisy, stop=3, micro_batch=2)
    torch.rand(17)
    _, resumed, _ = fit(tmp_path / "resumed", Data(), Noisy, micro_batch=2)
    assert same(parts, resumed)


def test_a_healthy_training_skips_nothing(tmp_path: Path) -> None:
    result, _, _ = fit(tmp_path, Data(), steps=60)
    assert (result.skipped_steps, result.rollbacks) == (0, 0)
    curve = pd.read_csv(tmp_path / "train.csv")
    figures = ["seconds", "pixels_per_second", "memory_bytes", "skipped", "rollbacks"]
    assert list(curve) == ["step", "loss", "val_psnr", "lr", *figures]
    assert curve[figures[:3]].gt(0).all(axis=None)
    assert curve[["skipped", "rollbacks"]].eq(0).all(axis=None)


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize(
    ("make", "spoil", "step"),
    [(Tiny, nan, 3), (with_batch_norm, nan, 3), (Root, black, 3), (Tiny, bright, WARM_UP + 3)],
    ids=["loss NaN", "batch norm", "gradient NaN, loss finite", "loss explodes"],
)
def test_a_step_gone_wrong_changes_nothing(
    tmp_path: Path, make: Callable[[], nn.Module], spoil: Spoil, step: int, clip_norm: float | None
) -> None:
    steps = step + 5
    result, bad, network = fit(tmp_path / "bad", Data({step: spoil}), make, steps=steps, clip_norm=clip_norm)
    others = [number for number in range(steps) if number != step]
    _, without, _ = fit(tmp_path / "without", Data(order=others), make, steps=steps - 1, clip_norm=clip_norm)
    assert (result.skipped_steps, result.rollbacks, result.steps) == (1, 0, steps)
    assert same(bad["network"], without["network"])
    assert same(bad["optimizer"], without["optimizer"])
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())


def test_a_training_that_goes_wrong_goes_back_to_its_last_good_state_and_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Good at step 12; steps 12 and 13 are lost, those after them skipped until a look finds ten in a row."""
    look = 3 * PATIENCE
    result, healed, _ = fit(tmp_path / "bad", Data(dict.fromkeys(range(14, look), nan)), steps=40)
    order = [*range(12), *range(look, 40)]
    _, without, _ = fit(tmp_path / "without", Data(order=order), steps=len(order))
    assert (result.skipped_steps, result.rollbacks, result.steps) == (look - 14, 1, 40)
    assert same(healed["network"], without["network"])
    assert same(healed["optimizer"], without["optimizer"])
    said = capsys.readouterr().out
    assert "step 20: 6 of the last 10 steps skipped, the last for loss nan" in said
    assert "step 30: 10 or more skipped in a row; back to the state of step 12" in said
    rows = pd.DataFrame(healed["rows"]).set_index("step")
    assert rows["skipped"].loc[[14, 15, 24, 40]].tolist() == [0, 1, 10, 16]
    assert rows["rollbacks"].loc[[30, 31]].tolist() == [0, 1]


def test_a_training_beyond_help_fails_and_says_what_to_do(tmp_path: Path) -> None:
    last = PATIENCE * (2 + ROLLBACKS)
    with pytest.raises(BenchError, match=rf"diverged: loss nan.* before step {last}.*step 4; lower the learning rate"):
        fit(tmp_path, Data(dict.fromkeys(range(6, 100), nan)), steps=100)


def test_a_validation_that_is_not_finite_is_never_the_best(tmp_path: Path) -> None:
    class Silent(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * (1.0 if self.training else float("nan"))

    with pytest.raises(BenchError, match="no validation gave a finite PSNR; lower the learning rate"):
        fit(tmp_path, Data(), Silent)
    state = last_state(tmp_path)
    assert (state["best"], state["best_step"], state["guard"]["good"]["step"]) == ({}, 0, 0)


@pytest.mark.parametrize("stop", [8, 12, 13, 14, 17, 20, 29, 30, 31, 33])
def test_a_training_stopped_in_the_middle_of_a_divergence_resumes_bit_identically(tmp_path: Path, stop: int) -> None:
    data = Data({**dict.fromkeys(range(14, 30), nan), 32: nan})
    whole, uninterrupted, _ = fit(tmp_path / "whole", data, with_batch_norm, steps=36)
    with pytest.raises(TrainingStopped):
        fit(tmp_path / "resumed", data, with_batch_norm, stop=stop, steps=36)
    assert last_state(tmp_path / "resumed")["step"] == stop
    result, resumed, _ = fit(tmp_path / "resumed", data, with_batch_norm, steps=36)
    assert (result.skipped_steps, result.rollbacks) == (whole.skipped_steps, whole.rollbacks) == (17, 1)
    assert same(uninterrupted, resumed)


def make_guard(loss: str = "l1", lr: float = 1e-3, fused: bool = True) -> Guard:
    network = Tiny()
    return Guard(network, torch.optim.Adam(network.parameters(), lr=lr, fused=fused), loss)


def take(guard: Guard, step: int, loss: float, norm: float = 1.0) -> bool:
    """One step as the loop does it, its loss and its norm as given. Returns whether the optimiser took it."""
    guard.look(step)
    guard.begin()
    guard.optimizer.zero_grad()
    guard.network(torch.ones(1, 1, 6, 6)).mean().backward()
    before = copy.deepcopy(guard.network.state_dict())
    guard.step(step, torch.tensor(loss), torch.tensor(norm))
    return not same(before, guard.network.state_dict())


@pytest.fixture(params=[True, False], ids=["fused", "not fused"])
def guard(request: pytest.FixtureRequest) -> Guard:
    """A guard past its warm-up, its running mean 1, with no good state but the first."""
    guard = make_guard(fused=request.param)
    for step in range(WARM_UP):
        assert take(guard, step, 1.0)
    return guard


def test_a_loss_explodes_by_its_ratio_to_the_running_mean(guard: Guard) -> None:
    assert not take(guard, 50, EXPLOSION["l1"] * 1.01)
    assert take(guard, 51, EXPLOSION["l1"] * 0.99)
    assert guard.read()["mean"] == pytest.approx(1 + (EXPLOSION["l1"] * 0.99 - 1) / (WARM_UP + 1))


def test_only_steps_skipped_in_a_row_make_a_rollback(guard: Guard) -> None:
    for step in range(50, 50 + 4 * PATIENCE):
        assert take(guard, step, 1.0 if step % PATIENCE == 5 else math.inf) == (step % PATIENCE == 5)
    guard.look(90)
    assert (guard.read()["skipped"], guard.rollbacks) == (4 * (PATIENCE - 1), 0)


def test_a_state_is_good_only_once_the_loss_after_its_validation_is_in_order(guard: Guard) -> None:
    guard.validated(30.0)
    for step in range(50, 50 + PATIENCE):
        assert not take(guard, step, 1e9)
    guard.look(60)
    now = guard.read()
    assert (guard.rollbacks, guard.good["step"], now["taken"], now["mean"]) == (1, 0, 0, 0.0)
    guard.validated(30.0)  # the first state again: nothing new to keep
    assert take(guard, 60, 1.0)
    assert (guard.good["step"], guard.vain) == (0, 1)
    guard.validated(30.0)
    assert take(guard, 61, 1.0)
    assert (guard.good["step"], guard.vain) == (61, 0)
    guard.validated(math.nan)
    assert take(guard, 62, 1.0)
    assert guard.good["step"] == 61


def test_the_losses_of_skipped_steps_are_in_no_mean(guard: Guard) -> None:
    guard.mean_loss()
    for step, loss in enumerate([2.0, math.nan, 4.0, 1e9], start=51):
        take(guard, step, loss)
    assert guard.mean_loss() == 3.0
    assert math.isnan(guard.mean_loss())


def test_going_back_twice_to_one_state_finds_it_unchanged() -> None:
    guard = make_guard("mse", lr=0.1)

    def now() -> dict[str, Any]:
        return {"network": guard.network.state_dict(), "optimizer": guard.optimizer.state_dict()}

    take(guard, 1, 1.0)
    guard.validated(30.0)
    take(guard, 2, 1.0)
    good = copy.deepcopy({name: guard.good[name] for name in ("network", "optimizer")})
    assert guard.good["step"] == 2
    for start in (10, 30):
        take(guard, start - 1, 1.0)
        assert not same(now(), good)
        for number in range(start, start + PATIENCE):
            take(guard, number, math.inf)
        guard.look(start + PATIENCE)
        assert same(now(), good)


def test_a_training_takes_the_threads_told_and_a_resumed_one_those_of_its_state(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method, recipe = Method(), Recipe(lr=1e-2, steps=6)
    val = [tuple(array[0] for array in pair(10_000, 1))]
    setup = TrainingSetup(method, Task((1, 2, 2)), recipe, Data(), val, EVERY)
    checkpoints = Checkpoints(WorkFolder(tmp_path), "key")
    try:
        with pytest.raises(TrainingStopped):
            train(setup, Script(stop=3), checkpoints, lambda: 2)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        result = train(setup, Script(), checkpoints, pytest.fail)
        assert (result.threads, torch.get_num_threads()) == (2, 2)
    finally:
        torch.set_num_threads(1)
    assert capsys.readouterr().out == "going on from step 3 with 2 CPU threads, as before\n"


def test_a_state_that_does_not_tell_its_threads_is_gone_on_from_all_the_same(tmp_path: Path) -> None:
    with pytest.raises(TrainingStopped):
        fit(tmp_path, Data(), stop=3)
    checkpoints = Checkpoints(WorkFolder(tmp_path), "key")
    state = checkpoints.load("cpu")
    assert state is not None
    assert state.pop("threads") == 1
    checkpoints.save(4, {**state, "step": 4})
    result, _, _ = fit(tmp_path, Data())
    assert (result.steps, result.threads) == (8, 1)
