"""The base class of errors that the user can fix, and a hint at the nearest valid name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """What was wrong, where, and what to do next. The command line prints it without a traceback."""


class UsageError(BenchError):
    """A request that cannot be carried out as it was written (exit status 2)."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """A sentence that gives the nearest of `choices` to `name`, then all of them."""
    known = sorted(choices)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}Valid: {', '.join(known) or '(none)'}."
