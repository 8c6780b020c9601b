"""bfloat16 against float32 after the same training: python tests/bench_precision.py [--csv PATH].

Trains networks on the demo's data under several seeds in both precisions; a seed gives the same first weights and the
same patches in the same order. The difference of the mean validation PSNRs should be smaller than what the seed alone
changes: float32's standard deviation. A CPU without bfloat16 units takes several times as long in it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev

from benching import Row, report
from loops import Case

from mrsr_bench.data.folders import open_dataset
from mrsr_bench.data.pairs import Pair
from mrsr_bench.data.preparation import prepare
from mrsr_bench.protocol import loading as protocol
from mrsr_bench.system.files import WorkFolder
from mrsr_bench.training.checkpoint import Checkpoints
from mrsr_bench.training.loop import train
from mrsr_bench.training.sampling import TrainingPairs, validation_crops
from mrsr_bench.training.setup import TrainingSetup

CASES = (Case("srcnn", batch=4), Case("edsr", "tiny", batch=4))
STEPS, SEEDS = 100, (0, 1, 2)
WHOLE = 1000
"""LR pixels that no side of a slice has: a validation crop is a whole slice."""
LINE = (
    "{network:10} {steps} steps, batch {batch}: float32 {float32_dB:.3f} ± {float32_sd:.3f} dB, "
    "bf16 {bf16_dB:.3f} ± {bf16_sd:.3f} dB; |difference| over float32's SD {difference_over_sd:.2f} (goal {goal})"
)


@dataclass
class Silent:
    """A `Run` that nobody listens to."""

    scratch: Path
    should_stop: bool = False

    def report(self, step: int, **values: float) -> None:
        pass


def demo_pairs() -> dict[str, list[Pair]]:
    """The demo's training and validation volumes."""
    demo = protocol.load("demo")
    data, cut = open_dataset(demo.protocol.data.dataset, None), demo.protocol.data.cut("T1")
    (degradation,), (factors,) = demo.protocol.degradation, demo.protocol.scales
    return {fold: prepare(data, demo.split[fold], "T1", cut, degradation, factors) for fold in ("train", "val")}


def trained(case: Case, pairs: dict[str, list[Pair]], steps: int, seed: int) -> float:
    """The validation PSNR in dB at the end of a training with the demo's rate and schedule."""
    method, task = case.make(), replace(case.task, seed=seed)
    budget = protocol.load("demo").protocol.training.overrides()
    recipe = case.recipe(steps).model_copy(update={**budget, "steps": steps, "batch": case.batch})
    slices = method.slices_per_sample
    data = TrainingPairs(pairs["train"], task.factors, recipe, slices, seed)
    val = validation_crops(pairs["val"], task.factors, patches=8, lr_patch=WHOLE, slices=slices)
    with tempfile.TemporaryDirectory() as folder:
        run = Silent(Path(folder))
        setup = TrainingSetup(method, task, recipe, data, val, steps)
        return train(setup, run, Checkpoints(WorkFolder(run.scratch), "precision")).best_val_psnr


def measure(
    cases: Sequence[Case] = CASES, steps: int = STEPS, seeds: Sequence[int] = SEEDS, device: str = "cpu"
) -> Iterator[Row]:
    """A row for every network."""
    pairs = demo_pairs()
    for case in cases:
        found = {
            precision: [
                trained(replace(case, precision=precision, device=device), pairs, steps, seed) for seed in seeds
            ]
            for precision in ("32-true", "bf16-mixed")
        }
        yield row(case, steps, found["32-true"], found["bf16-mixed"])


def row(case: Case, steps: int, whole: Sequence[float], half: Sequence[float]) -> Row:
    """PSNRs in dB of float32 and bf16, seed by seed; ± is the sample standard deviation over seeds."""
    difference = mean(half) - mean(whole)
    return {
        "network": case.name,
        "steps": steps,
        "batch": case.batch,
        "seeds": len(whole),
        "float32_dB": round(mean(whole), 4),
        "float32_sd": round(stdev(whole), 4),
        "bf16_dB": round(mean(half), 4),
        "bf16_sd": round(stdev(half), 4),
        "difference_dB": round(difference, 4),
        "difference_over_sd": round(abs(difference) / stdev(whole), 3),
        "goal": 1,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MRSR_CACHE"] = folder
        report(__doc__, measure, LINE)
