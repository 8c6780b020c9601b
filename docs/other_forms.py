"""The tables of docs/conventions.md beyond a protocol's settings: black background, other public forms of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

import numpy as np
from scipy.ndimage import correlate, gaussian_filter, gaussian_laplace

from mrsr_bench.protocol.schema import ScoringSpec
from mrsr_bench.scoring.metrics.edges import log_kernel
from mrsr_bench.scoring.metrics.ssim import WINDOWS, ssim_map
from mrsr_bench.scoring.score import Case, score

T = TypeVar("T")
Filter = Callable[[np.ndarray], np.ndarray]
Sample = tuple[np.ndarray, Case]
"""A rounded prediction, and its truth."""
_SSIM = {"metric": "ssim", "window": "gaussian11", "dims": 2, "range": "volume_minmax", "map": "whole"}
_BOTH = ScoringSpec(
    round="stored",
    metrics={"psnr": {"range": "volume_minmax"}, "whole": _SSIM, "foreground": {**_SSIM, "region": "foreground"}},
)
HFEN: dict[str, Filter] = {
    "kernel 15 × 15 less its mean, 0 outside the image (the suite, MATLAB)": partial(
        correlate, weights=log_kernel(), mode="constant"
    ),
    "… edges reflected": partial(correlate, weights=log_kernel(), mode="reflect"),
    "… edge pixels repeated": partial(correlate, weights=log_kernel(), mode="nearest"),
    "… scipy's `gaussian_laplace`, sigma 1.5: 13 × 13, edges reflected": partial(gaussian_laplace, sigma=1.5),
}
"""Words → filter of an image."""
PADDING = {
    "edges reflected, the edge pixel twice (the suite, scikit-image)": "reflect",
    "… the edge pixel once (torchmetrics 1.9)": "mirror",
    "… 0 outside the image": "constant",
}
"""Words → scipy's word."""
_TEXT = """\
## One grey level of background

The background is black, and there SSIM compares numbers near 0 with constants near 0. Below, one grey level is added to
the rounded reconstruction wherever the truth is 0. Nobody sees it, PSNR hardly changes, SSIM falls:

{grey}

ixi_midslice: the {subjects} test subjects of the protocol, one slice each, the mean over them. So the SSIM of a whole
image is, to a large part, a measure of how exactly a method predicts black. In the demo (`bench run --methods
bicubic,linear`) the whole images give bicubic 0.9601 before linear 0.9583, the foreground gives linear 0.9700 before
bicubic 0.9589. Every protocol that ships has the SSIM of the foreground (`ssim_foreground`) as its second metric, and
that of the whole image, which papers print, as its third.

## Other public forms

HFEN has no agreed kernel and no agreed edges. Edges decide where the head touches the image's border, as in
studyforrest:

{hfen}

SSIM's map needs pixels outside the image. The suite reflects them as scikit-image does; torchmetrics 1.9 does not
repeat the edge pixel:

{padding}
"""


def sections(samples: dict[str, Sample], midslices: list[Sample]) -> str:
    """The page's sections on the background and on other forms."""
    sets = {"ixi_midslice": midslices, **{name: [volume] for name, volume in samples.items()}}
    hfen, padding = _table("HFEN", HFEN, _hfen, samples), _table("SSIM", PADDING, _ssim, samples)
    text = _TEXT.format(grey=grey_level(sets), subjects=len(midslices), hfen=hfen, padding=padding)
    return text.rstrip()


def grey_level(sets: dict[str, list[Sample]]) -> str:
    """A table: PSNR and SSIM before and after one grey level is added where the truth is black."""
    lines = ["| images | black pixels | PSNR | SSIM | SSIM, foreground |", "|---|---|---|---|---|"]
    for name, samples in sets.items():
        share = np.mean([np.mean(case.hr == 0) for _, case in samples])
        before, after = (_mean(samples, added) for added in (0, 1))
        cells = [_change(before[metric], after[metric], 3 if metric == "psnr" else 4) for metric in _BOTH.metrics]
        lines.append(f"| {name} | {100 * share:.1f} % | {' | '.join(cells)} |")
    return "\n".join(lines)


def _mean(samples: list[Sample], added: int) -> dict[str, float]:
    scores = [score(prediction + added * (case.hr == 0), case, _BOTH) for prediction, case in samples]
    return {metric: float(np.mean([values[metric] for values in scores])) for metric in _BOTH.metrics}


def _change(before: float, after: float, decimals: int) -> str:
    return f"{before:.{decimals}f} → {after:.{decimals}f} ({_signed(after - before, decimals)})"


def _signed(value: float, decimals: int) -> str:
    return f"{round(value, decimals) + 0.0:+.{decimals}f}".replace("-", "−")


def _hfen(prediction: np.ndarray, truth: np.ndarray, form: Filter) -> float:
    pairs = [
        (form(np.asarray(p - t, np.float64)), form(np.asarray(t, np.float64))) for p, t in _slices(prediction, truth)
    ]
    error, edges = (sum(float(np.vdot(pair[part], pair[part])) for pair in pairs) for part in (0, 1))
    return float(np.sqrt(error / edges))


def _ssim(prediction: np.ndarray, truth: np.ndarray, mode: str) -> float:
    width = float(truth.max() - truth.min())
    WINDOWS[mode] = (partial(gaussian_filter, sigma=1.5, truncate=5 / 1.5, mode=mode), 5, 1.0)
    try:
        return float(np.mean([ssim_map(p, t, width, mode).mean() for p, t in _slices(prediction, truth)]))
    finally:
        del WINDOWS[mode]


def _slices(prediction: np.ndarray, truth: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield from zip(np.asarray(prediction, np.float64), np.asarray(truth, np.float64), strict=True)


def _table(
    title: str,
    forms: Mapping[str, T],
    measure: Callable[[np.ndarray, np.ndarray, T], float],
    samples: dict[str, Sample],
) -> str:
    """A row for each form of a metric, with its figure and the distance from the first row's."""
    columns = {
        name: [measure(prediction, case.hr, form) for form in forms.values()]
        for name, (prediction, case) in samples.items()
    }
    lines = [f"| {title} | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
    for number, words in enumerate(forms):
        cells = [
            f"{values[number]:.5f}" + (f" ({_signed(values[number] - values[0], 5)})" if number else "")
            for values in columns.values()
        ]
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)
