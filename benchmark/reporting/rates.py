"""The result of a search for learning rates: validation PSNR of every network at every rate, from records alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from tabulate import tabulate

from ..store.cell_files import standing_of
from ..store.plan import View
from ..system.training_states import DIVERGED
from ..system.units import rate_text

EQUAL = 0.1
"""Rates within this many dB of the highest validation PSNR count as equal to it: one seed tells none closer apart."""


@dataclass(frozen=True)
class RateTrials:
    """The trials of one network."""

    label: str
    psnr: dict[float, float] = field(default_factory=dict)
    """Rate → the best validation PSNR in dB, of the trials that are done."""
    diverged: list[float] = field(default_factory=list)
    """The rates whose training diverged for good: a result too."""
    missing: dict[float, str] = field(default_factory=dict)
    """Rate → the state of any other trial without a figure."""

    @property
    def rates(self) -> list[float]:
        """Every rate that is tried, rising."""
        return sorted([*self.psnr, *self.diverged, *self.missing])

    @property
    def highest(self) -> float | None:
        """The rate with the highest PSNR, the smaller one of two; None before all trials have ended."""
        return None if self.missing else max(sorted(self.psnr), key=lambda rate: self.psnr[rate], default=None)

    @property
    def chosen(self) -> float | None:
        """The smallest rate that is equal to the highest (EQUAL): of such rates, the furthest from divergence.

        None before all trials have ended.
        """
        if self.highest is None:
            return None
        return min(rate for rate, psnr in self.psnr.items() if psnr >= self.psnr[self.highest] - EQUAL)

    @property
    def is_at_an_end(self) -> bool:
        """Whether the highest is at the smallest or the largest rate tried: a better one may lie beyond."""
        return self.highest in (self.rates[0], self.rates[-1])


def rate_trials(view: View) -> list[RateTrials]:
    """The trials of every network in the view of a search, in the order of the plan."""
    trials: dict[str, RateTrials] = {}
    for planned in view.cells:
        recipe = planned.column.recipe
        if recipe is None:
            continue
        label = planned.cell.label.removesuffix(f"-{rate_text(recipe.lr)}")
        entry = trials.setdefault(label, RateTrials(label))
        standing = standing_of(view.place(planned), planned.cell.why or "")
        fit = standing.done.fit if standing.done else None
        if fit and fit.best_val_psnr is not None:
            entry.psnr[recipe.lr] = fit.best_val_psnr
        elif standing.state == "failed" and standing.why.startswith(DIVERGED):
            entry.diverged.append(recipe.lr)
        else:
            entry.missing[recipe.lr] = standing.state
    return list(trials.values())


def describe_rates(view: View) -> str:
    """The trials as a table, and the best rates as lines for a protocol and for the command line."""
    trials = rate_trials(view)
    rates = sorted({rate for entry in trials for rate in entry.rates})
    rows = [[entry.label, *(_cell(entry, rate) for rate in rates)] for entry in trials]
    parts = [
        "Best validation PSNR (dB) at every learning rate. * marks the one that is chosen: the smallest rate within "
        f"{EQUAL} dB of the network's highest figure. One seed tells no closer rates apart, and the smallest lies "
        "furthest from divergence.",
        tabulate(rows, ["network", *map(rate_text, rates)], "github", disable_numparse=True),
    ]
    chosen = {entry.label: rate_text(entry.chosen) for entry in trials if entry.chosen is not None}
    if chosen:
        lines = "\n".join(f"  {label}: lr: {rate}" for label, rate in chosen.items())
        options = ",".join(f"{label}={rate}" for label, rate in chosen.items())
        parts += [f"For the methods of the protocol:\n{lines}", f"For the command line: --lr {options}"]
    if ends := [entry.label for entry in trials if entry.highest is not None and entry.is_at_an_end]:
        parts.append(f"Highest at an end of the list, so that a better rate may lie beyond it: {', '.join(ends)}.")
    if unfinished := [entry.label for entry in trials if entry.missing]:
        parts.append(f"No rate is chosen before all trials of a network are done: {', '.join(unfinished)}.")
    return "\n\n".join(parts)


def _cell(entry: RateTrials, rate: float) -> str:
    if rate in entry.diverged:
        return "diverged"
    if rate in entry.missing:
        return entry.missing[rate]
    return f"{entry.psnr[rate]:.2f}{' *' if rate == entry.chosen else ''}" if rate in entry.psnr else "–"
