"""A real training on real people on a GPU: tests/gpu_train.yaml, by the same code as `bench run`.

    python tests/gpu_train.py [--data FOLDER] [--out FOLDER]

Writes gpu-train.json and .md. Three trainings of 4000 steps, at most 140 seconds each; one that takes longer is named
as such in the table. Without a GPU, or without the midslices, it says so and ends with status 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benching import Row, no_gpu, publish
from gpu_pack import midslices

from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.running import runner
from mrsr_bench.running.settings import RunSettings
from mrsr_bench.store.cell_files import Standing
from mrsr_bench.store.results import Store

PROTOCOL = Path(__file__).with_suffix(".yaml")
SECONDS = 140.0
"""That one training may take."""


def train(request: Request, settings: RunSettings) -> list[Row]:
    """Run all cells of a request; a row for each, in the order of its protocol."""
    runner.run(request, settings)
    _, trainings = plan_request(request)
    store = Store(settings.results)
    return [row(cell.label, training.look(store, cell)) for training in trainings for cell in training.cells]


def row(label: str, standing: Standing) -> Row:
    """What a record says of its figures and its training."""
    made: Row = {"label": label, "state": standing.state}
    if (record := standing.done) is None:
        return made | {"error": standing.why}
    made |= {name: round(value, 4) for name, value in record.metrics.items()}
    made |= {"subjects": record.n, "peak_memory_MB": round(record.peak_memory_bytes / 2**20)}
    if (fit := record.fit) is not None and fit.steps and fit.best_val_psnr is not None:
        made |= {"val_psnr": round(fit.best_val_psnr, 4), "steps": fit.steps, "train_seconds": fit.seconds}
        made |= {"steps_per_s": round(fit.steps / fit.seconds, 1), "skipped_steps": fit.skipped_steps}
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the midslices; default: the pack's, or ../shared")
    parser.add_argument("--out", type=Path, default=Path("results/gpu"), help="folder of the table")
    chosen = parser.parse_args()
    if (why := no_gpu()) is not None:
        sys.exit(why)
    data = chosen.data or midslices()
    if data is None:
        sys.exit("no midslices: make gpu-pack takes them along where they are; or give their folder with --data")
    with tempfile.TemporaryDirectory() as folder:
        settings = RunSettings(data=data, results=Path(folder), timeout=SECONDS)
        rows = train(Request(str(PROTOCOL)), settings)
    publish(chosen.out, "gpu-train", "A training on 240 real slices on a GPU", rows, "cuda")
    print((chosen.out / "gpu-train.md").read_text(encoding="utf-8"))
    failed = [row["label"] for row in rows if row["state"] != "done"]
    sys.exit(f"not done: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
