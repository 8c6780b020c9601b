"""Records as a run would leave them, without a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mrsr_bench.cell import Cell, Training
from mrsr_bench.records import SCORES, Store, describe, write_record

Plan = tuple[Store, Any, list[Training]]
RECORDED: dict[str, Any] = {
    "n": 2,
    "fit": {"parameters": 1234567, "macs_lr24": 5_000_000, "seconds": 61.234},
    "seconds_per_volume": 0.01234,
    "peak_memory_bytes": 512_000_000,
    "environment": {"git": "0123456789abcdef", "device": "a machine"},
    "test_data_digest": "same",
}


def find(trainings: list[Training], label: str, scale: str, seed: int = 0) -> tuple[Training, Cell]:
    return next((t, c) for t in trainings for c in t.cells if (c.label, c.scale, c.seed) == (label, scale, seed))


def fill(plan: Plan, label: str, scale: str, psnr: float, ssim: float, seed: int = 0, **changes: Any) -> Path:
    """Record one cell as done, without scores of its subjects. Returns its folder."""
    store, loaded, trainings = plan
    training, cell = find(trainings, label, scale, seed)
    outcome = {"state": "done", "metrics": {"psnr": psnr, "ssim": ssim}, **RECORDED}
    folder = store.folder(loaded, cell)
    write_record(folder, {**describe(training, cell), **outcome, **changes})
    return folder


def fill_scores(plan: Plan, label: str, scores: dict[str, float], seed: int = 0, scale: str = "x2") -> Path:
    """Record one cell as done with the PSNR of every subject; the record holds their mean."""
    mean = sum(scores.values()) / len(scores)
    folder = fill(plan, label, scale, mean, 0.9, seed, n=len(scores))
    rows = [f"{subject},{metric},{value!r}\n" for subject, of in scores.items() for metric, value in _all(of)]
    (folder / SCORES).write_text("subject,metric,value\n" + "".join(rows), encoding="utf-8")
    return folder


def _all(psnr: float) -> list[tuple[str, float]]:
    return [("psnr", psnr), ("ssim", 0.9)]
