"""Figures in words: bytes, durations, and any number with a metric prefix."""

from __future__ import annotations

_PREFIXES = ("", "k", "M", "G", "T")


def in_bytes(number: float) -> str:
    """'23.4 GB': three digits, in powers of 1000."""
    digits, prefix = scaled(number)
    return f"{digits} {prefix}B"


def in_time(seconds: float) -> str:
    """'45 s', '3 min', '1 h 20 min' or '31 h', rounded to the last unit shown."""
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 600:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{seconds / 3600:,.0f} h"


def scaled(number: float) -> tuple[str, str]:
    """Three digits and a metric prefix, at most T: ('1.23', 'M') for 1,234,000; ('830', '') for 830."""
    power = 0
    while number >= 999.5 and power < len(_PREFIXES) - 1:
        number /= 1000
        power += 1
    return f"{number:.3g}", _PREFIXES[power]
