"""The result of the calibration, as a page in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ..splits import site
from .explain import DRAWS, ENOUGH, SET, Agreement, PublishedFigure

_SHOWN = 12
_USABLE = 576
"""Subjects of the published protocol."""


def page(
    ranked: Sequence[Agreement],
    subjects: Sequence[str],
    excluded: Sequence[str],
    left_out: int,
    published: Mapping[PublishedFigure, float],
) -> str:
    """The whole page. `excluded`: a line for each subject that cannot be used; `left_out`: slices without a figure."""
    return "\n".join(
        [
            "# Which convention explains the published bicubic figures?",
            "",
            *_data(subjects, excluded, left_out),
            "",
            "## Verdict",
            "",
            *verdict(ranked, len(subjects)),
            "",
            f"## The nearest {min(_SHOWN, len(ranked))} of {len(ranked)} (the others: calibration.csv)",
            "",
            *_table(ranked[:_SHOWN]),
            "",
            *_explanation(len(published)),
            *(["", f"## Left out ({len(excluded)})", "", *(f"- {line}" for line in excluded)] if excluded else []),
            "",
        ]
    )


def _data(subjects: Sequence[str], excluded: Sequence[str], left_out: int) -> Iterator[str]:
    sites = ", ".join(f"{number} {name}" for name, number in sorted(Counter(map(site, subjects)).items()))
    yield f"{len(subjects)} subjects ({sites}); the published test is {SET} of {_USABLE}. {len(excluded)} left out."
    if len(subjects) <= SET:
        yield f"**With {len(subjects)} subjects, sets are drawn with replacement: this only shows that it runs.**"
    elif len(subjects) < _USABLE:
        yield f"**Some of the {_USABLE} are missing: p holds for these subjects, and the published ones may differ.**"
    if left_out:
        yield f"{left_out} slices (over contrasts, scales and roundings) have no figure of their own: blank, or exact."


def verdict(ranked: Sequence[Agreement], n: int) -> list[str]:
    """What follows from the ranking, in sentences."""
    best, tied = ranked[0], [fit for fit in ranked if fit.explains]
    if n <= SET:
        return [f"None: {n} subjects are too few. The nearest convention on them is {name(best)}."]
    if not tied:
        return [
            f"**None of the conventions explains the published figures** (p < {ENOUGH:g} for all figures, or for the "
            "contrasts between scales): something else differs, such as crop, subjects, resizer or rounding.",
            f"The nearest is {name(best)}: distance {best.distance:.1f}, mean difference {best.psnr_gap:.2f} dB and "
            f"{best.ssim_gap:.4f} SSIM.",
        ]
    if len(tied) == 1 and len(tied[0].names) == 1:
        return [f"**One convention explains the published figures: {name(tied[0])}** (p = {_p(tied[0].p)})."]
    return [
        f"**{sum(len(fit.names) for fit in tied)} conventions explain the published figures and cannot be told apart** "
        f"(p ≥ {ENOUGH:g}, for all figures and for the contrasts between scales):",
        "",
        *(f"- {name(fit)} (p = {_p(fit.p)})" for fit in tied),
    ]


def name(fit: Agreement) -> str:
    """The convention as text; where several give the same figures, each setting with all of its values."""
    return "; ".join(
        f"{title} {_either(getattr(convention, key) for convention in fit.names)}"
        for title, key in (
            ("PSNR of", "pool"),
            ("range", "range"),
            ("SSIM window", "window"),
            ("map", "map"),
            ("LR rounding", "rounding"),
        )
    )


def _either(words: Iterator[str]) -> str:
    return " = ".join(dict.fromkeys(words))


def _table(ranked: Sequence[Agreement]) -> Iterator[str]:
    yield "| | PSNR of | range | SSIM window | map | LR rounding | distance | p | contrasts | p | Δ dB | Δ SSIM |"
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    for rank, fit in enumerate(ranked, start=1):
        settings = (
            _either(getattr(convention, key) for convention in fit.names)
            for key in ("pool", "range", "window", "map", "rounding")
        )
        figures = f"{fit.distance:.2f} | {_p(fit.p)} | {fit.contrast_distance:.2f} | {_p(fit.contrast_p)}"
        yield f"| {rank} | {' | '.join(settings)} | {figures} | {fit.psnr_gap:.3f} | {fit.ssim_gap:.4f} |"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _explanation(figures: int) -> Iterator[str]:
    yield f"""\
Distance: Mahalanobis, of the {figures} published figures from the mean over {DRAWS} sets of {SET} subjects drawn by
site; p: the share of the sets that lie as far out. Contrasts: the same of the differences ×2 − ×3 and ×3 − ×4, in which
subjects cancel: look at them first. Covariance: that of the sets, shrunk towards its diagonal by k/(k + n) for k
figures from n subjects, plus the variance of printing 2 and 4 digits. Δ: mean absolute difference of the published
figures from the mean over all subjects. 'a = b': both give the same figures on these data. LR rounding: as in a
protocol; where it clips at 0, predictions are clipped too. PSNR of slices is the mean of their dB; of the volume with a
range by slices, the dB of the mean normalised error."""
