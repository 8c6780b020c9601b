"""What a training survives: kills at any moment, damaged states, a full disk, memory that does not suffice."""

from __future__ import annotations

import os
import random
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import survivor
import torch
from test_training import Data, Tiny, fit, last_state, same
from torch import nn

from mrsr_bench.errors import BenchError
from mrsr_bench.method import Batch
from mrsr_bench.system import training_states as states
from mrsr_bench.system.files import WorkFolder
from mrsr_bench.system.memory import largest_that_fits
from mrsr_bench.system.processes import forkserver
from mrsr_bench.system.training_states import states_in
from mrsr_bench.training.checkpoint import Checkpoints
from mrsr_bench.training.loop import TrainingStopped

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("one_thread")]

CLOCK = ("seconds", "pixels_per_second", "memory_bytes")


def timeless(state: dict[str, Any]) -> dict[str, Any]:
    """A state without what its clock and its memory say."""
    rows = [{name: value for name, value in row.items() if name not in CLOCK} for row in state["rows"]]
    return {**{name: value for name, value in state.items() if name not in CLOCK}, "rows": rows}


@pytest.mark.parametrize("kills", [5, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("precision", ["32-true", pytest.param("bf16-mixed", marks=pytest.mark.slow)])
def test_a_training_killed_at_random_moments_ends_with_the_same_bits(
    tmp_path: Path, precision: str, kills: int
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    expected = survivor.survive(whole, precision, 1e9)
    context, chance, reached = forkserver("mrsr_bench.training.loop"), random.Random(0), []
    for end in sorted(chance.sample(range(5, survivor.STEPS, 5), kills)):
        arguments = (killed, precision, 0.0, end, chance.uniform(0, 0.02))
        child = context.Process(target=survivor.survive, args=arguments)
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        reached.append(int(states_in(killed)[0].name.split("-")[1]))
    assert len(set(reached)) == kills
    assert same(timeless(survivor.survive(killed, precision, 1e9)), timeless(expected))


def stopped(folder: Path, *stops: int) -> None:
    """A training of eight steps that was stopped after each of these steps."""
    for stop in stops:
        with pytest.raises(TrainingStopped):
            fit(folder, Data(), stop=stop)


def test_the_last_two_states_are_kept_each_named_by_its_step_and_its_checksum(tmp_path: Path) -> None:
    stopped(tmp_path, 2, 3, 5)
    names = [path.name for path in states_in(tmp_path)]
    assert [name[:15] for name in names] == ["state-00000005-", "state-00000003-"]
    assert all(states._digest(path.read_bytes()) in path.name for path in states_in(tmp_path))


@pytest.mark.parametrize("damage", ["cut short", "a bit flipped", "empty"])
def test_a_damaged_state_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _, whole, _ = fit(tmp_path / "whole", Data())
    stopped(tmp_path / "damaged", 3, 5)
    newest = states_in(tmp_path / "damaged")[0]
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes({"cut short": content[:-1], "a bit flipped": content, "empty": b""}[damage])
    _, resumed, _ = fit(tmp_path / "damaged", Data())
    assert f"{newest} is damaged: its checksum does not match its content; it is set aside" in capsys.readouterr().out
    assert same(whole, resumed)
    assert len(list((tmp_path / "damaged").glob(f"{newest.name}~damaged-*"))) == 1


def test_a_training_whose_states_are_all_damaged_begins_anew(tmp_path: Path) -> None:
    _, whole, _ = fit(tmp_path / "whole", Data())
    stopped(tmp_path / "damaged", 3, 5)
    for path in states_in(tmp_path / "damaged"):
        path.write_bytes(b"no state")
    _, again, _ = fit(tmp_path / "damaged", Data())
    assert same(whole, again)


def test_states_of_another_training_are_removed(tmp_path: Path) -> None:
    stopped(tmp_path, 3, 5)
    assert Checkpoints(WorkFolder(tmp_path), "another key").load("cpu") is None
    assert not states_in(tmp_path)


def test_a_state_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    checkpoints = Checkpoints(WorkFolder(tmp_path), "key")
    checkpoints.save(1, {"evil": Evil()})
    assert checkpoints.load("cpu") is None
    assert not (tmp_path / "ran").exists()
    assert len(list(tmp_path.glob("state-*~damaged-*"))) == 1


@pytest.mark.parametrize("content", [{}, [], {"key": "key"}, {"key": "key", "step": 3}, "text"], ids=str)
def test_a_whole_file_that_is_no_state_of_a_training_is_passed_over(tmp_path: Path, content: Any) -> None:
    _, whole, _ = fit(tmp_path / "whole", Data())
    stopped(tmp_path / "odd", 3)
    [good] = states_in(tmp_path / "odd")
    torch.save(content, tmp_path / "odd" / "content")
    path = tmp_path / "odd" / "content"
    path.rename(path.with_name(f"state-00000007-{states._digest(path.read_bytes())}.pt"))
    assert Checkpoints(WorkFolder(tmp_path / "odd"), "key").load("cpu", ("network", "rows"))["step"] == 3
    assert states_in(tmp_path / "odd") == [good]
    _, resumed, _ = fit(tmp_path / "odd", Data())
    assert same(whole, resumed)


def _fill_the_disk(folder: Path) -> None:
    """Train on where no file may grow beyond 2 kB: train.csv fits, a state does not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write then fails as on a full disk
    torch.set_num_threads(1)
    try:
        fit(folder, Data())
    except OSError as error:
        (folder / "said").write_text(f"{type(error).__name__} {error}", encoding="utf-8")


def test_a_full_disk_ends_the_training_and_leaves_the_states_before_it_whole(tmp_path: Path) -> None:
    _, whole, _ = fit(tmp_path / "whole", Data())
    stopped(tmp_path / "full", 3, 5)
    before = states_in(tmp_path / "full")
    child = forkserver().Process(target=_fill_the_disk, args=(tmp_path / "full",))
    child.start()
    child.join(60)
    assert (child.exitcode, (tmp_path / "full" / "said").read_text(encoding="utf-8")[:7]) == (0, "OSError")
    assert states_in(tmp_path / "full") == before
    assert not list((tmp_path / "full").glob(".state*"))
    _, resumed, _ = fit(tmp_path / "full", Data())
    assert same(whole, resumed)


class Greedy(Tiny):
    """Has memory for three samples."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore about it.")
        return super().forward(x)


def test_out_of_memory_makes_the_parts_of_a_batch_smaller_and_the_log_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result, smaller, _ = fit(tmp_path / "smaller", Data(size=8), Greedy)
    words = "out of memory at step 0 with 8 LR patches of 6×6 at once; the training goes on with 2 at once (CUDA out of"
    assert words in capsys.readouterr().out
    told, parts, _ = fit(tmp_path / "told", Data(size=8), Greedy, micro_batch=2)
    assert (result.steps, result.micro_batch, told.micro_batch) == (8, 2, 2)
    assert same(smaller, parts), "as if the recipe had had these parts"


class Crowded(Tiny):
    """Draws numbers, keeps running statistics, and has memory for one sample while a part of its memory is taken."""

    def __init__(self) -> None:
        super().__init__(nn.BatchNorm2d(4), nn.Dropout(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result = super().forward(x)
        if len(x) > 1 and os.environ.get("MRSR_TEST_CROWDED"):
            raise MemoryError("Unable to allocate")
        return result


def test_an_attempt_that_failed_for_memory_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, expected, _ = fit(tmp_path / "single", Data(size=4), Crowded, micro_batch=1)
    monkeypatch.setenv("MRSR_TEST_CROWDED", "1")
    _, found, _ = fit(tmp_path / "found", Data(size=4), Crowded)
    assert same(found, expected)


def test_a_resumed_training_keeps_the_parts_that_memory_made_it_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MRSR_TEST_CROWDED", "1")
    _, whole, _ = fit(tmp_path / "whole", Data(size=4), Crowded)
    with pytest.raises(TrainingStopped):
        fit(tmp_path / "resumed", Data(size=4), Crowded, stop=3)
    monkeypatch.delenv("MRSR_TEST_CROWDED")
    capsys.readouterr()
    result, resumed, _ = fit(tmp_path / "resumed", Data(size=4), Crowded)
    assert "out of memory" not in capsys.readouterr().out
    assert result.micro_batch == 1
    assert same(whole, resumed)


def test_out_of_memory_with_a_single_sample_says_so(tmp_path: Path) -> None:
    class Glutton(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise MemoryError("Unable to allocate")

    with pytest.raises(BenchError, match="not even a single one fits: take a smaller patch"):
        fit(tmp_path, Data(), Glutton)


def test_an_error_that_is_not_about_memory_stays_what_it_is(tmp_path: Path) -> None:
    class Wrong(Tiny):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match=r"^shapes do not match$"):
        fit(tmp_path, Data(), Wrong)


def test_trying_for_a_batch_that_fits_hands_on_other_errors() -> None:
    def attempt(number: int) -> None:
        raise ValueError("something else")

    with pytest.raises(ValueError, match="something else"):
        largest_that_fits(8, attempt)


class Wide(nn.Module):
    """32 MB of features for each sample of 64×64."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 2048, 1), nn.Conv2d(2048, 4, 1), nn.PixelShuffle(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Large(Data):
    def crops(self, step: int) -> Batch:
        lr = np.random.default_rng(step).uniform(0.2, 0.8, (self.size, 1, 64, 64)).astype(np.float32)
        return lr, lr.repeat(2, -1).repeat(2, -2)


def _exhaust_memory(folder: Path) -> None:
    torch.set_num_threads(1)
    used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, resource.RLIM_INFINITY))
    result, _, _ = fit(folder, Large(size=32), Wide, steps=2)
    (folder / "said").write_text(f"{result.steps} {result.micro_batch}", encoding="utf-8")


def test_a_training_goes_on_where_memory_is_really_exhausted(tmp_path: Path) -> None:
    child = forkserver().Process(target=_exhaust_memory, args=(tmp_path,))
    child.start()
    child.join(90)
    steps, micro_batch = (tmp_path / "said").read_text(encoding="utf-8").split()
    assert steps == "2"
    assert micro_batch in ("1", "2", "4", "8", "16")


class Dying(Data):
    """Its thread dies on the way to step 5."""

    def crops(self, step: int) -> Batch:
        if step == 5:
            raise OSError("Input/output error: the cache's disk is gone")
        return super().crops(step)


def test_a_data_thread_that_dies_fails_the_training_with_its_reason_and_a_state_resumes(tmp_path: Path) -> None:
    _, whole, _ = fit(tmp_path / "whole", Data())
    with pytest.raises(OSError, match="the cache's disk is gone"):
        fit(tmp_path / "died", Dying(), save_every=0)
    assert last_state(tmp_path / "died")["step"] == 5
    _, resumed, _ = fit(tmp_path / "died", Data())
    assert same(whole, resumed)
