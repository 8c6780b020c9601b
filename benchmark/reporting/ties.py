"""The columns of a row that cannot be told apart, as letters: columns without a common letter differ."""

from __future__ import annotations

import string
from collections.abc import Collection, Sequence


def letter_groups(labels: Sequence[str], differing: Collection[tuple[str, str]]) -> dict[str, str]:
    """Label → its letters, for labels in their order (best first) and the pairs that differ, in any order.

    Insert and absorb (Piepho, Journal of Computational and Graphical Statistics 2004): two labels share a letter if
    and only if they do not differ. "Not told apart" is not transitive, so a label may have several letters.
    """
    groups: list[frozenset[str]] = [frozenset(labels)] if labels else []
    for first, second in differing:
        for group in [group for group in groups if {first, second} <= group]:
            groups.remove(group)
            groups = _absorbed([*groups, group - {first}, group - {second}])
    ranks = {label: rank for rank, label in enumerate(labels)}
    ordered = sorted(groups, key=lambda group: sorted(ranks[label] for label in group))
    letters = {letter_of(number): group for number, group in enumerate(ordered)}
    return {label: "".join(letter for letter, group in letters.items() if label in group) for label in labels}


def letter_of(number: int) -> str:
    """a, b, …, z, a′, b′, …"""
    rounds, index = divmod(number, len(string.ascii_lowercase))
    return string.ascii_lowercase[index] + "′" * rounds


def _absorbed(groups: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    """The groups without those that lie within another one."""
    distinct = list(dict.fromkeys(groups))
    return [group for group in distinct if not any(group < other for other in distinct)]
