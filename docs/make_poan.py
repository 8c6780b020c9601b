"""Measure what POAN's attention block does in trained networks, and write the table of docs/poan.md.

    .venv/bin/python docs/make_poan.py                        the table, from results/reference/poan_attention.csv
    .venv/bin/python docs/make_poan.py RESULTS [--data DIR]   that file first, from a run with its weights

RESULTS holds a run of poan_readings_midslice; DIR its slices, by default those of ../shared. Nothing is trained.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch
from tabulate import tabulate
from torch import Tensor, nn

from mrsr_bench.data.folders import open_dataset
from mrsr_bench.data.pairs import Pair
from mrsr_bench.data.preparation import prepare
from mrsr_bench.method import TorchMethod, intensity_scale
from mrsr_bench.methods.poan import NCAB, POAB, POANNetwork
from mrsr_bench.planning.cells import Training, plan_trainings
from mrsr_bench.protocol.loading import Loaded, load
from mrsr_bench.running.evaluation import case_of
from mrsr_bench.scoring.score import score
from mrsr_bench.store.results import Store
from mrsr_bench.store.weights import read_weights
from mrsr_bench.system.files import write_text

HERE = Path(__file__).parent
PAGE, FIGURES = HERE / "poan.md", HERE.parent / "results" / "reference" / "poan_attention.csv"
PROTOCOL, PLAIN = "poan_readings_midslice", "backbone"
COLUMNS = ["label", "seed", "weights", "state", "figure", "value"]
SUBJECTS = 10
"""Test subjects, the first ones of the split."""
TILES = 24, 8
"""Side, that of the training patches, and overlap of tiles, in LR pixels."""
BLOCK = re.compile(r"(<!-- made by docs/make_poan\.py -->\n).*?(<!-- end of the table -->)", re.DOTALL)
Hook = Callable[[nn.Module, Any, Tensor], Tensor | None]


@contextmanager
def hooked(module: nn.Module, hook: Hook) -> Iterator[None]:
    """With a hook on the module's output."""
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def part(method: TorchMethod, kind: type[nn.Module]) -> Any:
    """The network's only module of that kind."""
    assert method.network is not None
    [found] = [module for module in method.network.modules() if type(module) is kind]
    return found


class Measurement:
    """Figures of one network on the test slices."""

    def __init__(self, loaded: Loaded, training: Training, method: TorchMethod, pairs: list[Pair]) -> None:
        self.loaded, self.training, self.method, self.pairs = loaded, training, method, pairs
        self.weights: Tensor | None = None
        """(images, channels): NCAB's weights in the last pass of the whole network. Only for the gate softmax."""

    def psnr(self, tiles: tuple[int, int] | None = None) -> float:
        """Mean over subjects, in dB."""
        values, cell, task = [], self.training.base, replace(self.training.task, tiles=tiles)
        for pair in self.pairs:
            output = self.method.upscale(pair.scan(cell.factors), task)
            values.append(score(output, case_of(pair, cell.degradation), self.loaded.protocol.scoring)["psnr"])
        return float(np.mean(values))

    def whole_psnr(self) -> float:
        """PSNR of the network as it is, which gives `weights` too."""
        seen: list[Tensor] = []
        with hooked(part(self.method, NCAB).weigh, lambda *call: seen.append(call[2][:, :, 0, 0].softmax(1))):
            value = self.psnr()
        self.weights = torch.cat(seen)
        return value

    def spread(self) -> float:
        """How much a weight differs between images: SD over images / mean, averaged over channels."""
        assert self.weights is not None
        return float((self.weights.std(0) / self.weights.mean(0)).mean())

    def without_places(self) -> float:
        """PSNR where the block adds the mean over pixels of what it would add."""
        with hooked(part(self.method, POAB).out, lambda *call: call[2].mean((2, 3), keepdim=True).expand_as(call[2])):
            return self.psnr()

    def without_the_block(self) -> float:
        """PSNR where the block adds nothing."""
        assert isinstance(self.method.network, POANNetwork)
        whole = self.method.network.body
        self.method.network.body = nn.Sequential(*(module for module in whole if not isinstance(module, POAB)))
        value = self.psnr()
        self.method.network.body = whole
        return value

    def with_fixed_weights(self) -> float:
        """PSNR where NCAB's weights are their mean over images."""
        assert self.weights is not None
        logits = self.weights.mean(0).log()[None, :, None, None]
        with hooked(part(self.method, NCAB).weigh, lambda *call: logits.expand_as(call[2])):
            return self.psnr()

    def gradient(self) -> float:
        """The largest gradient of F_E, of the L1 loss over the middles of the slices (24×24 LR pixels)."""
        factor = self.training.base.factors[2]

        def middles(images: list[np.ndarray], side: int) -> Tensor:
            cut = [
                image[tuple(slice((length - side) // 2, (length + side) // 2) for length in image.shape)]
                for image in images
            ]
            return torch.from_numpy(np.stack(cut)[:, None]).float()

        lr = [pair.lr[0] / intensity_scale(pair.lr) for pair in self.pairs]
        hr = [pair.hr[0] / intensity_scale(pair.lr) for pair in self.pairs]
        assert self.method.network is not None
        self.method.network.zero_grad()
        loss = torch.nn.functional.l1_loss(self.method.network(middles(lr, 24)), middles(hr, 24 * factor))
        loss.backward()
        return float(part(self.method, NCAB).weigh[0].weight.grad.abs().max())


def measured(found: Measurement, weights: dict[str, np.ndarray]) -> Iterator[tuple[str, str, float]]:
    """(state, figure, value) of one training, before its first step and after its last."""
    method, training = found.method, found.training
    has_block = training.base.label != PLAIN
    if has_block:
        torch.manual_seed(training.base.seed)
        method.network = method.build(training.task)  # from the bicubic start no gradient gets past the last layer
        found.whole_psnr()
        yield "initial", "spread", found.spread()
        yield "initial", "gradient", found.gradient()
    method.load_state(weights, training.task)
    whole = found.whole_psnr() if has_block else found.psnr()
    yield "trained", "psnr", whole
    yield "trained", "tiles", found.psnr(TILES) - whole
    if has_block:
        yield "trained", "spread", found.spread()
        yield "trained", "gradient", found.gradient()
        yield "trained", "without places", found.without_places() - whole
        yield "trained", "without the block", found.without_the_block() - whole
        yield "trained", "fixed weights", found.with_fixed_weights() - whole


def measure(results: Path, data: Path) -> None:
    """Write the figures of every network that is trained; those of the same weights are kept."""
    loaded, store = load(PROTOCOL), Store(results)
    known = pd.read_csv(FIGURES) if FIGURES.exists() else pd.DataFrame(columns=COLUMNS)
    parts, pairs = [], list[Pair]()
    for training in plan_trainings(loaded, list(loaded.protocol.methods), loaded.protocol.seeds):
        protocol, cell = loaded.protocol, training.base
        weights = read_weights(training.folder(store, cell))
        if weights is None:
            click.echo(f"{cell}: not trained")
            continue
        arrays, _, checksum = weights
        own = known.query("label == @cell.label and seed == @cell.seed and weights == @checksum[:12]")
        if own.empty:
            if not pairs:
                cut, dataset = protocol.data.cut(cell.contrast), open_dataset(protocol.data.dataset, data)
                subjects = loaded.split["test"][:SUBJECTS]
                pairs = prepare(dataset, subjects, cell.contrast, cut, cell.degradation, cell.factors)
            method = training.make_method()
            assert isinstance(method, TorchMethod)
            rows = measured(Measurement(loaded, training, method, pairs), arrays)
            own = pd.DataFrame([(cell.label, cell.seed, checksum[:12], *row) for row in rows], columns=COLUMNS)
            click.echo(own.to_string(index=False, header=False))
        parts.append(own)
        pd.concat(parts).to_csv(FIGURES, index=False, float_format="%.6g")


def table() -> str:
    """A line a reading; over the seeds, the mean of each figure and its range."""
    figures = pd.read_csv(FIGURES)
    columns = {
        "NCAB's weights over images, initial": ("initial", "spread", "{:.2g} %", 100),
        "trained": ("trained", "spread", "{:.2g} %", 100),
        "F_E's gradient, initial": ("initial", "gradient", "{:.0e}", 1),
        "trained ": ("trained", "gradient", "{:.0e}", 1),
        "the block adds its mean over pixels, dB": ("trained", "without places", "{:+.3f}", 1),
        "the block adds nothing, dB": ("trained", "without the block", "{:+.3f}", 1),
        "NCAB's weights fixed, dB": ("trained", "fixed weights", "{:+.3f}", 1),
        "in tiles of 24, dB": ("trained", "tiles", "{:+.3f}", 1),
    }
    values = figures.groupby(["label", "state", "figure"], sort=False)["value"].agg(["min", "max"])
    rows = []
    for label in figures["label"].unique():
        row = [label]
        for state, figure, form, factor in columns.values():
            if (label, state, figure) not in values.index:
                row.append("–")
                continue
            ends = values.loc[label, state, figure] * factor
            row.append(" to ".join(form.format(value) for value in ends).replace("-", "−"))
        rows.append(row)
    return tabulate(rows, ["reading", *(name.strip() for name in columns)], "github", disable_numparse=True)


def with_table(page: str) -> str:
    """The page with its table made again."""
    return BLOCK.sub(lambda match: f"{match[1]}\n{table()}\n\n{match[2]}", page)


@click.command()
@click.argument("results", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--data", type=click.Path(path_type=Path), default=HERE.parents[1] / "shared" / "data" / "ixi_midslice")
def main(results: Path | None, data: Path) -> None:
    """Measure the networks in RESULTS, where it is given, and write the table of docs/poan.md."""
    if results is not None:
        measure(results, data)
    write_text(PAGE, with_table(PAGE.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
