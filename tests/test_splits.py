"""Splits: the committed files are the seeded draws that they are said to be, and a draw keeps its promises."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrsr_bench.datasets.ixi import Ixi
from mrsr_bench.errors import UsageError
from mrsr_bench.protocol import loading as protocol
from mrsr_bench.replication import splits

COMMITTED = Path(__file__).parents[1] / "protocols" / "splits"
SIZES = st.dictionaries(st.sampled_from("ABCDEF"), st.integers(0, 400), min_size=1)


def by_site(subjects: list[str]) -> dict[str, int]:
    return dict(Counter(splits.site(subject) for subject in subjects))


def folds_of(name: str) -> splits.Folds:
    folds: splits.Folds = {}
    for row in csv.DictReader((COMMITTED / f"{name}.csv").read_text(encoding="utf-8").splitlines()):
        folds.setdefault(row["fold"], []).append(row["subject"])
    return folds


# --- the committed files -------------------------------------------------------------------------------------------


def test_the_command_writes_exactly_the_committed_files(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "mrsr_bench.replication.splits", tmp_path / "new"], check=True, timeout=60)
    written = sorted((tmp_path / "new").iterdir())
    assert {path.stem for path in written} == set(splits.SPLITS)
    for path in written:
        assert path.read_bytes() == (COMMITTED / path.name).read_bytes()


def test_the_usable_subjects_are_the_published_576() -> None:
    subjects = Ixi.usable()
    assert len(subjects) == len(set(subjects)) == 576
    assert by_site(subjects) == {"Guys": 319, "HH": 184, "IOP": 73}
    assert "IXI014-HH-1236" not in subjects


def test_the_published_split_is_the_draw_by_site_that_it_is_said_to_be() -> None:
    """Written out once more by hand, with the numbers by site as figures."""
    subjects = Ixi.usable()
    random = np.random.default_rng(20211)
    drawn: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for site, val, test in (("Guys", 3, 39), ("HH", 2, 22), ("IOP", 1, 9)):
        here = [subject for subject in subjects if subject.split("-")[1] == site]
        order = [here[i] for i in random.permutation(len(here))]
        drawn["val"] += order[:val]
        drawn["test"] += order[val : val + test]
        drawn["train"] += order[val + test :]
    split = protocol.load("poan_table2").split
    assert {fold: sorted(split[fold]) for fold in split} == {fold: sorted(drawn[fold]) for fold in drawn}


def test_the_site_left_out_is_seen_in_the_test_alone() -> None:
    folds = folds_of("ixi_leave_site_out_497_6_73")
    assert by_site(folds["test"]) == {"IOP": 73}
    assert by_site(folds["val"]) == {"Guys": 4, "HH": 2}
    assert by_site(folds["train"]) == {"Guys": 315, "HH": 182}
    assert sorted(name for names in folds.values() for name in names) == Ixi.usable()


def test_nobody_changes_sides_between_the_small_split_and_the_published_one() -> None:
    small, whole = folds_of("ixi_small_20_2_12"), folds_of("ixi_500_6_70")
    assert {fold: len(names) for fold, names in small.items()} == {"train": 20, "val": 2, "test": 12}
    for fold, names in small.items():
        assert set(names) < set(whole[fold])
    assert by_site(small["train"]) == {"Guys": 11, "HH": 6, "IOP": 3}
    assert by_site(small["test"]) == {"Guys": 7, "HH": 4, "IOP": 1}


# --- the draw ------------------------------------------------------------------------------------------------------


@given(SIZES, st.floats(0, 1))
def test_shares_add_up_and_stay_within_one_of_proportional(sizes: dict[str, int], share: float) -> None:
    everyone = sum(sizes.values())
    total = round(share * everyone)
    numbers = splits.allocate(total, sizes)
    assert sum(numbers.values()) == total
    assert numbers.keys() == sizes.keys()
    for name, size in sizes.items():
        assert 0 <= numbers[name] <= size
        assert abs(numbers[name] - total * size / max(everyone, 1)) < 1


def test_equal_remainders_go_to_the_larger_site_then_by_name() -> None:
    assert splits.allocate(1, {"b": 5, "a": 5, "c": 2}) == {"a": 1, "b": 0, "c": 0}
    assert splits.allocate(2, {"a": 1, "b": 3}) == {"a": 0, "b": 2}  # both want another half


def test_more_than_there_are_cannot_be_drawn() -> None:
    with pytest.raises(UsageError, match="cannot draw 4 of 3 subjects"):
        splits.allocate(4, {"a": 3})


people = st.lists(st.tuples(st.sampled_from(["Guys", "HH", "IOP"]), st.integers(0, 999)), max_size=60, unique=True)


@given(people, st.integers(0, 20), st.integers(0, 20), st.integers(0, 5), st.randoms())
def test_a_draw_depends_on_names_numbers_and_seed_alone(
    found: list[tuple[str, int]], val: int, test: int, seed: int, random: np.random.Generator
) -> None:
    subjects = [f"IXI{number:03d}-{site}-0001" for site, number in found]
    sizes = {"val": min(val, len(subjects) // 2), "test": min(test, len(subjects) // 2)}
    folds = splits.draw(subjects, sizes, seed)
    random.shuffle(subjects)
    assert splits.draw(subjects, sizes, seed) == folds
    assert {fold: len(names) for fold, names in folds.items()} == sizes
    everyone = [name for names in folds.values() for name in names]
    assert len(everyone) == len(set(everyone))
    assert set(everyone) <= set(subjects)


def test_another_seed_draws_other_people() -> None:
    subjects = Ixi.usable()
    one, other = (splits.draw(subjects, {"test": 70}, seed)["test"] for seed in (0, 1))
    assert by_site(one) == by_site(other)
    assert 0 < len(set(one) & set(other)) < 30


def test_a_subject_on_two_sides_is_refused() -> None:
    with pytest.raises(UsageError, match="1 subjects appear twice in the split: a"):
        splits.as_csv({"train": ["a", "b"], "test": ["a"]})


def test_a_name_without_a_site_is_refused() -> None:
    with pytest.raises(UsageError, match="'sub-01' has no site"):
        splits.site("sub-01")
