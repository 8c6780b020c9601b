"""The seeded, site-stratified draws behind the splits of IXI that ship in `protocols/splits/`.

    python -m mrsr_bench.replication.splits DIR      writes all of them; the committed files are what it writes

A draw is a function of the subjects' names, the numbers wanted and a seed: a list of subjects in another order, or a
machine of another kind, gives the same folds.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..datasets.ixi import Ixi
from ..errors import UsageError
from ..system.files import write_text

Folds = dict[str, list[str]]
"""Fold → subjects."""

SEED = 20211


def site(subject: str) -> str:
    """Where a subject was scanned, as IXI's names have it: 'HH' of 'IXI012-HH-1211'."""
    parts = subject.split("-")
    if len(parts) != 3:
        raise UsageError(f"the name '{subject}' has no site; expected a name like IXI012-HH-1211")
    return parts[1]


def allocate(total: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Share `total` among strata in proportion to their sizes, by the largest remainder (Hamilton's rule).

    Of equal remainders the larger stratum's counts first, then the name's. No stratum gets more than it has.
    Raises UsageError where all of them together are too few.
    """
    everyone = sum(sizes.values())
    if not 0 <= total <= everyone:
        raise UsageError(f"cannot draw {total} of {everyone} subjects")
    shares = {name: divmod(total * size, everyone) if everyone else (0, 0) for name, size in sizes.items()}
    remaining = total - sum(whole for whole, _ in shares.values())
    order = sorted(shares, key=lambda name: (-shares[name][1], -sizes[name], name))
    return {name: shares[name][0] + (name in order[:remaining]) for name in sizes}


def draw(subjects: Iterable[str], sizes: Mapping[str, int], seed: int) -> Folds:
    """`sizes[fold]` of the subjects for every fold, each fold with the sites' shares; who is not drawn is left out.

    One `numpy.random.default_rng(seed)` permutes the sorted subjects of each site, sites in the order of their names;
    the folds take from the front of each permutation, in the order of `sizes`. A fold's numbers by site are `allocate`d
    from the subjects that the earlier folds left.
    """
    strata: dict[str, list[str]] = {}
    for subject in sorted(subjects):
        strata.setdefault(site(subject), []).append(subject)
    random = np.random.default_rng(seed)
    undrawn = {name: [strata[name][i] for i in random.permutation(len(strata[name]))] for name in sorted(strata)}
    folds: Folds = {}
    for fold, size in sizes.items():
        numbers = allocate(size, {name: len(order) for name, order in undrawn.items()})
        folds[fold] = sorted(subject for name, order in undrawn.items() for subject in order[: numbers[name]])
        undrawn = {name: order[numbers[name] :] for name, order in undrawn.items()}
    return folds


def _with_train(subjects: Iterable[str], drawn: Folds) -> Folds:
    """The folds drawn, and everyone else in train."""
    taken = {subject for names in drawn.values() for subject in names}
    return {"train": sorted(set(subjects) - taken), **drawn}


def ixi_500_6_70() -> Folds:
    """The published sizes, from the 576."""
    subjects = Ixi.usable()
    return _with_train(subjects, draw(subjects, {"val": 6, "test": 70}, SEED))


def ixi_leave_site_out() -> Folds:
    """Test: everyone scanned at IOP, on another maker's scanner. Train, and 6 for validation: Guys and HH."""
    subjects = Ixi.usable()
    elsewhere = [subject for subject in subjects if site(subject) != "IOP"]
    test = sorted(set(subjects) - set(elsewhere))
    return {**_with_train(elsewhere, draw(elsewhere, {"val": 6}, SEED)), "test": test}


def ixi_small_20_2_12() -> Folds:
    """20, 2 and 12 subjects, each fold drawn from the same fold of `ixi_500_6_70`: no subject changes folds."""
    large = ixi_500_6_70()
    return {
        fold: draw(large[fold], {fold: size}, SEED)[fold] for fold, size in (("train", 20), ("val", 2), ("test", 12))
    }


SPLITS: Mapping[str, Callable[[], Folds]] = {
    "ixi_500_6_70": ixi_500_6_70,
    "ixi_leave_site_out_497_6_73": ixi_leave_site_out,
    "ixi_small_20_2_12": ixi_small_20_2_12,
}
"""Stem of the file in protocols/splits/ → its draw."""


def as_csv(folds: Mapping[str, Sequence[str]]) -> str:
    """The text of a split's file: subject,fold, sorted by subject. Raises UsageError for a subject in two folds."""
    rows = sorted((subject, fold) for fold, names in folds.items() for subject in names)
    twice = [subject for subject, number in Counter(subject for subject, _ in rows).items() if number > 1]
    if twice:
        raise UsageError(f"{len(twice)} subjects appear twice in the split: {', '.join(twice[:5])}")
    return "subject,fold\n" + "".join(f"{subject},{fold}\n" for subject, fold in rows)


def write_all(folder: Path) -> None:
    """Write every split into `folder`, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, split in SPLITS.items():
        write_text(folder / f"{name}.csv", as_csv(split()))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m mrsr_bench.replication.splits DIR")
    write_all(Path(sys.argv[1]))
