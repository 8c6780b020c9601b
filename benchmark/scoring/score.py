"""Scoring: rounding, then every metric of the protocol on one volume. The only room that sees a test volume's truth."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ..degradation import Degradation
from ..protocol.schema import ScoringSpec
from ..system.parallel import thread_pool
from ..volumes import Grid
from .comparison import Comparison
from .metrics import bands
from .protocol_metrics import METRICS, make_metric

__all__ = ["METRICS", "Case", "make_metric", "radial_errors", "score"]


@dataclass(frozen=True)
class Case:
    """A test volume: its truth, the LR that the method saw, and how LR was made."""

    hr: np.ndarray
    """(D, H, W), in the file's units."""
    lr: np.ndarray
    """(D, h, w), as the method saw it: rounded, with noise where the protocol adds it."""
    grid: Grid
    degradation: Degradation
    """Made LR of HR, before noise and rounding."""
    noisy: bool = False
    """Whether noise was added to LR."""


def score(prediction: np.ndarray, case: Case, scoring: ScoringSpec) -> dict[str, float]:
    """Label → figure for one predicted volume (D, H, W) in the file's intensity units. Slices run on all cores.

    A metric that does not apply to the degradation has NaN. Raises ValueError where the shape differs from the truth's,
    a value is not finite, a border leaves nothing, or the truth allows no figure (it is blank).
    """
    with _compared(prediction, case, scoring) as comparison:
        return {
            label: make_metric(label, settings, scoring.unit)(comparison) for label, settings in scoring.metrics.items()
        }


def radial_errors(prediction: np.ndarray, case: Case, scoring: ScoringSpec) -> np.ndarray:
    """(68, 3): radial frequency within a slice in cycles per HR pixel, energy of the error, energy of the truth.

    Energies are mean squares per voxel of the whole rounded volume, in the file's units squared: a column adds up to
    the MSE, or the truth's mean square. The bins are those of `metrics.bands.FREQUENCIES`, whatever the shape; LR's
    Nyquist frequency at scale s is 1/(2s). Raises ValueError as `score` does.
    """
    with _compared(prediction, case, scoring) as comparison:
        prediction, true = comparison.prediction, comparison.truth
        error = np.mean(comparison.each(lambda z: bands.radial_energy(prediction[z] - true[z])), axis=0)
        truth = np.mean(comparison.each(lambda z: bands.radial_energy(true[z])), axis=0)
    return np.stack([bands.FREQUENCIES, error, truth], axis=1)


@contextmanager
def _compared(prediction: np.ndarray, case: Case, scoring: ScoringSpec) -> Iterator[Comparison]:
    """The checked and rounded prediction beside the truth, with threads on all cores."""
    if prediction.shape != case.hr.shape:
        raise ValueError(f"the prediction has shape {prediction.shape}, the truth {case.hr.shape}")
    if bad := int(np.count_nonzero(~np.isfinite(prediction))):
        raise ValueError(f"the prediction holds {bad} values that are NaN or infinite")
    if 2 * scoring.border >= min(case.hr.shape[1:]):
        raise ValueError(f"a border of {scoring.border} leaves nothing of the shape {case.hr.shape}")
    with thread_pool() as cores:
        final = list(cores.map(lambda image: case.grid.apply(image, scoring.round), prediction))
        yield Comparison(
            np.asarray(final, np.float64),
            np.asarray(prediction, np.float64),
            np.asarray(case.hr, np.float64),
            case.lr,
            case.degradation,
            case.noisy,
            scoring.border,
            scoring.unit,
            cores,
        )
