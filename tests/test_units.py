"""Numbers as text: short, and right to the last digit shown."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrsr_bench.system.units import duration_text, size_text, with_prefix

_POWERS = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SECONDS = {"s": 1, "min": 60, "h": 3600}


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (27_249_000_000, "27.2 GB"), (999_600, "1 MB"), (5.4e12, "5.4 TB")],
)
def test_bytes_are_written_with_three_digits(number: float, text: str) -> None:
    assert size_text(number) == text


@given(st.floats(1, 9e14))
def test_three_digits_and_a_prefix_are_the_number_within_half_a_percent(number: float) -> None:
    digits, prefix = with_prefix(number)
    assert float(digits) * _POWERS[prefix] == pytest.approx(number, rel=0.00501)
    assert len(digits) <= 4


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (3569, "59 min"), (3571, "1 h 0 min"), (4830, "1 h 20 min"),
        (35_969, "9 h 59 min"), (35_971, "10 h"), (5e6, "1,389 h"),
    ],
)  # fmt: skip
def test_a_duration_is_written_in_the_units_of_its_size(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@given(st.floats(0, 1e8))
def test_a_written_duration_is_the_true_one_within_half_its_last_unit(seconds: float) -> None:
    parts = re.findall(r"([\d,]+) (s|min|h)", duration_text(seconds))
    written = math.fsum(int(number.replace(",", "")) * _SECONDS[unit] for number, unit in parts)
    assert abs(written - seconds) <= 0.5 * _SECONDS[parts[-1][1]] + 0.5
