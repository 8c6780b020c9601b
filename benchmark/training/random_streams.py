"""Random streams: what a cell's seed becomes for each purpose.

No stream knows the method, so under one seed all methods see the same patches in the same order, turned alike; and no
stream has a state: what step k needs follows from (seed, k) alone, which makes resuming exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

Purpose = Literal["init", "order", "augmentation", "step"]
"""init: a network's first weights; order: the place of every training patch; augmentation: its flips and turns;
step: what a network itself draws in a step, such as dropout."""


def derive(seed: int, purpose: Purpose, step: int = 0) -> int:
    """A 63-bit seed: the first bits of the SHA-256 of purpose, seed and step."""
    digest = hashlib.sha256(f"{purpose} {seed} {step}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def row_seed(seed: int, row: Sequence[str]) -> int:
    """A 63-bit seed of the seed and the names of a table's row: chance is independent between rows."""
    digest = hashlib.sha256("\0".join([str(seed), *row]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, purpose: Purpose, step: int) -> np.random.Generator:
    """NumPy's generator of one step of one purpose."""
    return np.random.Generator(np.random.Philox(derive(seed, purpose, step)))
