"""The one base class of errors that are the user's to mend, and the nearest valid word."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """What was wrong, where, and what to do next. The command line prints it without a traceback."""


class UsageError(BenchError):
    """A request that cannot be carried out as it was written (exit status 2)."""


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """A sentence that names the nearest of `choices` to `word`, and all of them."""
    known = sorted(choices)
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"{hint}Valid: {', '.join(known) or '(none)'}."
