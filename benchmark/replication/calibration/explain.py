"""Which convention explains the published figures: compared with many drawn sets as large as the published test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..splits import allocate, site
from .conventions import SCALES, Convention, conventions

DRAWS = 10_000
SET = 70
"""Subjects of the published test."""
ENOUGH = 0.05
"""A convention whose p is at least this is not ruled out."""
PRINTED = {"psnr": 0.01, "ssim": 0.0001}
"""The last digit that the published tables print."""
_SEED = 20211
_SAME = 1e-9
"""Figures nearer than this are the same: a volume whose minimum is 0 has its maximum for its range, for example."""


@dataclass(frozen=True)
class PublishedFigure:
    """One published figure."""

    metric: str
    contrast: str
    scale: int


@dataclass(frozen=True)
class Agreement:
    """How well one convention explains the published figures."""

    names: tuple[Convention, ...]
    """The conventions that give these figures: several where the data cannot tell them apart at all."""
    distance: float
    """Mahalanobis distance of the published figures from the mean over the draws."""
    p: float
    """Share of the draws that lie at least as far out."""
    contrast_distance: float
    """The same of the differences ×2 − ×3 and ×3 − ×4, in which what is common to a subject's scales cancels."""
    contrast_p: float
    psnr_gap: float
    """Mean absolute difference of the published figures from the mean over all subjects, dB."""
    ssim_gap: float

    @property
    def explains(self) -> bool:
        return self.p >= ENOUGH and self.contrast_p >= ENOUGH


def published_figures(published: pd.DataFrame) -> dict[PublishedFigure, float]:
    """The published bicubic figures: source CSN, degradation bicubic, method Bicubic; PSNR first, then SSIM."""
    from_csn = (published["source"] == "CSN") & (published["degradation"] == "bicubic")
    rows = published[from_csn & (published["method"] == "Bicubic")].sort_values(["contrast", "scale"])
    return {
        PublishedFigure(metric, str(row["contrast"]), int(row["scale"])): float(row[metric])
        for metric in PRINTED
        for _, row in rows.iterrows()
    }


def draws(subjects: Sequence[str], number: int = DRAWS, size: int = SET, seed: int = _SEED) -> np.ndarray:
    """(number, subjects): weights whose sums with figures are means over drawn sets; every row adds up to 1.

    The sites' shares in a set are those among `subjects`. A set holds nobody twice. Where there are not more than
    `size` subjects it is drawn with replacement: otherwise there would be only one set.
    """
    with_replacement = len(subjects) <= size
    sites: dict[str, list[int]] = {}
    for index, subject in enumerate(subjects):
        sites.setdefault(site(subject), []).append(index)
    strata = {name: len(members) * (size if with_replacement else 1) for name, members in sites.items()}
    numbers = allocate(size, strata)
    random = np.random.default_rng(seed)
    weights = np.zeros((number, len(subjects)))
    for name in sorted(sites):
        members, count = np.array(sites[name]), numbers[name]
        if with_replacement:
            chosen = random.integers(len(members), size=(number, count))
        else:
            chosen = random.random((number, len(members))).argsort(axis=1)[:, :count]
        np.add.at(weights, (np.arange(number)[:, None], members[chosen]), 1 / size)
    return weights


def agreements(
    figures: pd.DataFrame, published: Mapping[PublishedFigure, float], weights: np.ndarray
) -> list[Agreement]:
    """Every convention, the nearest first. `figures`: `subject_figures` of all subjects, with the column subject.

    The columns of `weights` are the subjects of `figures`, sorted by name.
    """
    wide = figures.pivot(index="subject", columns=["rounding", "contrast", "scale"])
    values: np.ndarray = wide.to_numpy()
    places: dict[Any, int] = {column: number for number, column in enumerate(wide.columns)}
    names: list[list[Convention]] = []
    chosen: list[list[int]] = []
    for convention in conventions():
        columns = [places[getattr(convention, c.metric), convention.rounding, c.contrast, c.scale] for c in published]
        equal = (i for i, earlier in enumerate(chosen) if np.abs(values[:, earlier] - values[:, columns]).max() < _SAME)
        same = next(equal, None)
        if same is None:
            names.append([])
            chosen.append(columns)
        names[-1 if same is None else same].append(convention)
    drawn = weights @ values
    fits = [
        _agreement(tuple(same_figures), published, values[:, columns], drawn[:, columns])
        for same_figures, columns in zip(names, chosen, strict=True)
    ]
    return sorted(fits, key=lambda fit: fit.distance)


def _agreement(
    names: tuple[Convention, ...], published: Mapping[PublishedFigure, float], table: np.ndarray, drawn: np.ndarray
) -> Agreement:
    """The fit of a table (subjects, figures) of which `drawn` (draws, figures) are means."""
    cells, target = list(published), np.array(list(published.values()))
    units = np.array([PRINTED[cell.metric] for cell in cells])
    is_psnr = np.array([cell.metric == "psnr" for cell in cells])
    means = np.rint(drawn / units) * units  # as printed
    contrasts = _differences(cells)
    n, print_error = len(table), units**2 / 12
    distance, p = mahalanobis(target, means, print_error, n)
    contrast_distance, contrast_p = mahalanobis(contrasts @ target, means @ contrasts.T, contrasts**2 @ print_error, n)
    gaps = np.abs(table.mean(axis=0) - target)
    psnr_gap, ssim_gap = float(gaps[is_psnr].mean()), float(gaps[~is_psnr].mean())
    return Agreement(names, distance, p, contrast_distance, contrast_p, psnr_gap, ssim_gap)


def mahalanobis(target: np.ndarray, means: np.ndarray, floor: np.ndarray, n: int) -> tuple[float, float]:
    """The distance of `target` (k,) from the mean of `means` (draws, k), and the share of draws not nearer than it.

    The covariance is that of the draws, shrunk towards its diagonal by k / (k + n), since it was estimated from `n`
    subjects, plus `floor` (k,), the variance that printing adds, on the diagonal.
    """
    centre, shrinkage = means.mean(axis=0), len(target) / (len(target) + n)
    covariance = np.cov(means.T)
    diagonal = np.diag(np.diag(covariance))
    covariance = (1 - shrinkage) * covariance + shrinkage * diagonal + np.diag(floor)
    whitened = np.linalg.solve(np.linalg.cholesky(covariance), np.vstack([target, means]).T - centre[:, None])
    distances = np.linalg.norm(whitened, axis=0)
    return float(distances[0]), float(np.mean(distances[1:] >= distances[0]))


def _differences(cells: Sequence[PublishedFigure]) -> np.ndarray:
    """(differences, cells): ×2 − ×3 and ×3 − ×4 of every metric and contrast."""
    rows = []
    for index, cell in enumerate(cells):
        if cell.scale != SCALES[-1]:
            row = np.zeros(len(cells))
            row[index] = 1
            row[cells.index(PublishedFigure(cell.metric, cell.contrast, cell.scale + 1))] = -1
            rows.append(row)
    return np.array(rows)
