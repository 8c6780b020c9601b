"""Numbers as text: sizes, durations, figures, and any number with a metric prefix."""

from __future__ import annotations

import math

_PREFIXES = ("", "k", "M", "G", "T")


def size_text(size: float) -> str:
    """Bytes with three digits and a unit in powers of 1000: '23.4 GB', '830 B'."""
    digits, prefix = with_prefix(size)
    return f"{digits} {prefix}B"


def duration_text(seconds: float) -> str:
    """'45 s', '3 min', '1 h 20 min' or '31 h', rounded to the last unit shown."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 600:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{seconds / 3600:,.0f} h"


def figure_text(figure: float, decimals: int = 4) -> str:
    """A figure with its digits; '–' for NaN, which is no figure, and 'inf' for that of an exact prediction."""
    return "–" if math.isnan(figure) else f"{figure:.{decimals}f}"


def with_prefix(number: float) -> tuple[str, str]:
    """Three digits and a metric prefix, at most T: ('1.23', 'M') for 1,234,000; ('830', '') for 830."""
    power = 0
    while number >= 999.5 and power < len(_PREFIXES) - 1:
        number /= 1000
        power += 1
    return f"{number:.3g}", _PREFIXES[power]


def rate_text(value: float) -> str:
    """A learning rate or another small number in the shortest of the usual forms: '1e-3', '2.5e-4', '0.5', '1'."""
    if value == 0 or 0.01 <= abs(value) < 1e4:
        return f"{value:.12g}"
    mantissa, _, exponent = f"{value:.11e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
