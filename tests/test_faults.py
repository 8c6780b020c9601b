"""The harness behind `make faults`, in small: it causes faults, and it finds problems."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from faults.kinds import DAMAGES, FILE_FAULTS, PROCESS_FAULTS
from faults.rounds import Report, Rounds
from faults.setting import Setting, make_setting
from faults.verdict import problems_with, problems_with_text


def test_every_damage_changes_a_file_or_takes_it_away(tmp_path: Path) -> None:
    path, chance = tmp_path / "file", random.Random(0)
    for damage in DAMAGES.values():
        path.write_bytes(b"content" * 10)
        damage(path, chance)
        assert not path.exists() or path.read_bytes() != b"content" * 10


def test_a_fault_of_files_that_are_not_there_is_none(tmp_path: Path) -> None:
    setting = make_setting(tmp_path)
    assert [fault.cause(setting, random.Random(0)) for fault in FILE_FAULTS.values()] == [None] * len(FILE_FAULTS)


def test_a_report_counts_the_outcomes_of_every_kind_of_fault() -> None:
    report = Report()
    names = [next(iter(PROCESS_FAULTS)), next(iter(FILE_FAULTS))]
    for name, outcome in [(names[0], "ended"), (names[0], "ended"), (names[1], "damaged")]:
        report.outcomes[name][outcome] += 1
    assert report.faults == 3
    first, second = report.table.splitlines()[1:]
    assert (first.split(), second.split()) == (
        [*names[0].split(), "2", "ended", "×2"],
        [*names[1].split(), "1", "damaged", "×1"],
    )


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[1/2] bicubic\nTraceback (most recent call last):\n  File ...\nOSError: no space\n", True),
        ("[1/2] bicubic\nTraceback (most recent call last):\n  File ...\nKeyboardInterrupt\n", True),
        ("Traceback (most recent call last):\n  File ...\nKeyboardInterrupt\n", False),
        (
            "2 of 2 cells done.\nException ignored in atexit callback: <...>\nTraceback (most recent call last):\n",
            False,
        ),
        ("warning: record.json is damaged\n", False),
    ],
)
def test_a_traceback_is_a_problem_unless_it_is_python_that_starts_or_ends(text: str, wrong: bool) -> None:
    assert bool(problems_with_text(text)) is wrong


@pytest.fixture(scope="module")
def battered(tmp_path_factory: pytest.TempPathFactory) -> tuple[Setting, Setting, Report]:
    """A setting after eight faults, an undisturbed one, and the report."""
    setting = make_setting(tmp_path_factory.mktemp("faults"), ["bicubic", "network.py+"], seeds=[0])
    expected = setting.beside("expected")
    return setting, expected, Rounds(setting, expected, number=8, seed=1).run()


@pytest.mark.slow
def test_after_a_few_faults_every_cell_is_done_once_with_the_same_bits(
    battered: tuple[Setting, Setting, Report],
) -> None:
    _, _, report = battered
    assert report.problems == []
    assert report.faults >= 8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("record.json", "is damaged"),
        ("scores.csv", "scores.csv has other bytes"),
        ("weights.safetensors", "is damaged"),
        (".record.json~0123456789ab-1-01234567", "a temporary file is left"),
        ("state-00000001-0.pt", "a state is left"),
    ],
)
def test_what_is_wrong_in_the_end_is_a_problem(
    battered: tuple[Setting, Setting, Report], name: str, message: str
) -> None:
    setting, expected, _ = battered
    path = setting.cell_folders[1] / name
    content = path.read_bytes() if path.exists() else None
    path.write_bytes((content or b"")[:-2])
    try:
        assert any(message in problem for problem in problems_with(setting, expected))
    finally:
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
    assert problems_with(setting, expected) == []
