"""What a training survives: kills at any moment, damaged states, a full disk, memory that does not suffice."""

from __future__ import annotations

import os
import random
import resource
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import survivor
import torch
from test_training import Data, Script, Tiny, fit, last_state, same
from torch import nn

from mrsr_bench import checkpoint
from mrsr_bench.errors import BenchError
from mrsr_bench.memory import largest_that_fits
from mrsr_bench.method import Batch
from mrsr_bench.processes import forkserver
from mrsr_bench.training import TrainingStopped

pytestmark = pytest.mark.usefixtures("one_thread")

KILLS = 20
CLOCK = ("seconds", "pixels_per_second", "memory_bytes")


def timeless(state: dict[str, Any]) -> dict[str, Any]:
    """A state without what its clock and its memory say."""
    rows = [{name: value for name, value in row.items() if name not in CLOCK} for row in state["rows"]]
    return {**{name: value for name, value in state.items() if name not in CLOCK}, "rows": rows}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_training_killed_at_twenty_random_moments_ends_with_the_same_bits(tmp_path: Path, precision: str) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    started = time.monotonic()
    expected = survivor.survive(whole, precision, 1e9)
    seconds = time.monotonic() - started
    context, chance, reached = forkserver(), random.Random(0), []
    while len(reached) < KILLS:
        states = checkpoint.paths(killed)
        child = context.Process(target=survivor.survive, args=(killed, precision, 0.0))
        child.start()
        deadline = time.monotonic() + 60
        while checkpoint.paths(killed) == states and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 1.2) * seconds / KILLS)
        assert child.exitcode is None, f"it ended before kill {len(reached) + 1}; states at the kills: {reached}"
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        reached.append(int(checkpoint.paths(killed)[0].name.split("-")[1]))
    assert len(set(reached)) == KILLS
    assert same(timeless(survivor.survive(killed, precision, 1e9)), timeless(expected))
