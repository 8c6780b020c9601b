"""Scores of simulated methods whose true difference is 0: subjects, seeds, and what a seed does to single subjects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mrsr_bench.reporting.statistics import Estimate, method_estimate


@dataclass(frozen=True)
class World:
    """Standard deviations in dB, as the suite's own records have them, and numbers of seeds and subjects."""

    first: float
    """Over the first method's seeds."""
    second: float
    """Over the second one's; 0: a method without chance, of one seed."""
    seeds: int = 3
    subjects: int = 30
    difference: float = 0.2
    """Over subjects, of the true difference of the two."""
    interaction: float = 0.05
    """Of a seed's effect on one subject, beyond that on all."""

    def scores(self, random: np.random.Generator, seeds: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(seeds, subjects) of both methods. `seeds`: (2, seeds) effects of the seeds in units of their SD."""
        effects = random.normal(size=(2, self.seeds)) if seeds is None else seeds
        common, apart = random.normal(30, 2, self.subjects), random.normal(0, self.difference, self.subjects)
        first = common + apart / 2 + self._trained(random, self.first, effects[0])
        second = common - apart / 2 + self._trained(random, self.second, effects[1])
        return first, second

    def _trained(self, random: np.random.Generator, spread: float, effects: np.ndarray) -> np.ndarray:
        if spread == 0:
            return np.zeros((1, self.subjects))
        return spread * effects[:, None] + random.normal(0, self.interaction, (self.seeds, self.subjects))


def coverage(world: World, trials: int, seed: int = 0) -> float:
    """The share of trials whose 95 % interval of claim (ii) holds the true difference, 0."""
    random = np.random.default_rng(seed)
    return float(np.mean([holds_zero(method_estimate(*world.scores(random))) for _ in range(trials)]))


def pooled_coverage(world: World, rows: int, correlation: float, trials: int, seed: int = 0) -> float:
    """The same of the contrast over rows, whose seeds' effects are correlated between rows."""
    random, held = np.random.default_rng(seed), []
    for _ in range(trials):
        shared = random.normal(size=(2, world.seeds))
        parts = []
        for _ in range(rows):
            own = random.normal(size=(2, world.seeds))
            parts.append(world.scores(random, np.sqrt(correlation) * shared + np.sqrt(1 - correlation) * own))
        first, second = (np.mean([part[side] for part in parts], axis=0) for side in (0, 1))
        held.append(holds_zero(method_estimate(first, second)))
    return float(np.mean(held))


def holds_zero(estimate: Estimate) -> bool:
    low, high = estimate.interval
    return low <= 0 <= high
