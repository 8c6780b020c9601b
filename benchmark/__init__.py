"""mrsr-bench: train and evaluate MR image super-resolution methods under fixed protocols, and print the table."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    raise AttributeError(name)
