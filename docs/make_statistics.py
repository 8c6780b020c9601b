"""Write the figures of docs/statistics.md: what the intervals cover and what a contrast can show, by simulation.

    .venv/bin/python docs/make_statistics.py        1 minute

The intervals are the suite's own functions (benchmark/reporting/statistics.py) on scores of simulated methods.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mrsr_bench.reporting.statistics import ALPHA, Estimate, SeedScores, method_estimate, networks_estimate
from mrsr_bench.system.files import write_text

HERE = Path(__file__).parent
PAGE, PICTURE = HERE / "statistics.md", HERE / "statistics.svg"
SPREADS = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3)
"""Standard deviations over seeds, in dB; those of small networks here were .04 to .4."""
ROWS, CLAIMS, GAP = 9, 5, 0.1
"""Of `ixi_all`: its rows, its contrasts fixed beforehand, and a difference that papers print, in dB."""


@dataclass(frozen=True)
class World:
    """Two methods whose true difference is `gap`; standard deviations in dB, and numbers of seeds and subjects."""

    first: float
    """Over the first method's seeds."""
    second: float
    """Over the second one's; 0: a method without chance, of one seed."""
    seeds: int = 3
    subjects: int = 30
    difference: float = 0.2
    """Over subjects, of the difference of the two."""
    interaction: float = 0.05
    """Of what a seed does to one subject, beyond what it does to all."""
    gap: float = 0.0

    def scores(self, random: np.random.Generator, rows: int = 1, shared: float = 0.0) -> tuple[SeedScores, SeedScores]:
        """(seeds, subjects) of both methods, averaged over rows; `shared`: correlation of a seed's effect over rows."""
        common, apart = random.normal(30, 2, self.subjects), random.normal(self.gap, self.difference, self.subjects)
        effects = np.sqrt(shared) * random.normal(size=(1, 2, self.seeds)) + np.sqrt(1 - shared) * random.normal(
            size=(rows, 2, self.seeds)
        )
        first = common + apart / 2 + self._trained(random, self.first, effects[:, 0])
        second = common - apart / 2 + self._trained(random, self.second, effects[:, 1])
        return SeedScores(first), SeedScores(second)

    def _trained(self, random: np.random.Generator, spread: float, effects: np.ndarray) -> np.ndarray:
        """What the seeds add, (seeds, subjects): the mean over rows of `effects` (rows, seeds) and of interactions."""
        if spread == 0:
            return np.zeros((1, self.subjects))
        own = random.normal(0, self.interaction / np.sqrt(len(effects)), (self.seeds, self.subjects))
        return spread * effects.mean(axis=0)[:, None] + own


def coverage(
    world: World,
    trials: int,
    rows: int = 1,
    shared: float = 0.0,
    estimate: Callable[[SeedScores, SeedScores], Estimate] = method_estimate,
) -> float:
    """The share of trials whose 95 % interval holds the true difference."""
    random = np.random.default_rng(0)
    intervals = [estimate(*world.scores(random, rows, shared)).interval for _ in range(trials)]
    return float(np.mean([low <= world.gap <= high for low, high in intervals]))


def power(world: World, trials: int, shared: float) -> float:
    """How often `gap` is found over `ROWS` rows by Holm's first step among `CLAIMS` contrasts, in its own direction."""
    random = np.random.default_rng(0)
    estimates = [method_estimate(*world.scores(random, ROWS, shared)) for _ in range(trials)]
    return float(np.mean([estimate.p_value < ALPHA / CLAIMS and estimate.mean > 0 for estimate in estimates]))


def curves(trials: int) -> dict[str, dict[str, list[float]]]:
    """Panel → line → its value at every one of `SPREADS`."""
    worlds = [World(spread, spread, subjects=70, difference=0.15, gap=GAP) for spread in SPREADS]
    five = [replace(world, seeds=5) for world in worlds]
    return {
        "coverage": {
            "(ii), 3 seeds": [coverage(world, trials) for world in worlds],
            "(ii), 5 seeds": [coverage(world, trials) for world in five],
            "(i), 3 seeds": [coverage(world, trials, estimate=networks_estimate) for world in worlds],
        },
        "power": {
            "3 seeds": [power(world, trials, 0.0) for world in worlds],
            "5 seeds": [power(world, trials, 0.0) for world in five],
            "3 seeds, shared by the rows": [power(world, trials, 0.95) for world in worlds],
        },
    }


def table(panels: dict[str, dict[str, list[float]]]) -> str:
    """The curves as a Markdown table, in percent."""
    lines = ["| | seed SD (dB) | " + " | ".join(f"{spread:g}" for spread in SPREADS) + " |"]
    lines.append("|---" * (2 + len(SPREADS)) + "|")
    for panel, entries in panels.items():
        lines += [
            f"| {panel} | {name} | {' | '.join(f'{100 * v:.0f}' for v in values)} |" for name, values in entries.items()
        ]
    return "\n".join(lines)


def draw(panels: dict[str, dict[str, list[float]]]) -> None:
    """Write the picture."""
    import matplotlib
    from matplotlib.figure import Figure

    titles = {
        "coverage": "The interval holds the true difference\nof the methods (one row, 70 subjects)",
        "power": f"A difference of {GAP:g} dB is found\n({ROWS} rows, {CLAIMS} contrasts, 70 subjects)",
    }
    with matplotlib.rc_context({"svg.hashsalt": "mrsr-bench", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7.2, 3.2), layout="constrained")
        for axes, (panel, entries) in zip(figure.subplots(1, 2), panels.items(), strict=True):
            for (name, values), style in zip(entries.items(), ("o-", "s-", "^--"), strict=True):
                axes.plot(SPREADS, [100 * value for value in values], style, label=name, markersize=4)
            if panel == "coverage":
                axes.axhline(95, color="0.6", linewidth=0.8, linestyle=":")
            axes.set_title(titles[panel], fontsize=9)
            axes.set_xlabel("standard deviation over seeds (dB)")
            axes.set_ylabel("trials (%)")
            axes.set_ylim(0, 102)
            axes.grid(color="0.92")
            axes.legend(frameon=False, loc="lower left" if panel == "coverage" else "center right")
        figure.savefig(PICTURE, metadata={"Date": None})


def main(trials: int = 4000) -> None:
    """Draw the picture and write the table into the page, between its marks."""
    panels = curves(trials)
    draw(panels)
    page = PAGE.read_text(encoding="utf-8")
    marks = re.compile(r"(<!-- made by docs/make_statistics\.py -->\n).*?(\n<!-- end of the table -->)", re.DOTALL)
    write_text(PAGE, marks.sub(lambda match: f"{match[1]}\n{table(panels)}\n{match[2]}", page))


if __name__ == "__main__":
    main()
