"""A cell's tests on LR that it was not trained on: a file of scores each, named by the cell's record.

    scores-<title>.csv

What is wrong with such a file is the state of that test alone: the cell keeps its figures, and the next run makes the
test again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..system.files import DamagedFile, Readable, set_aside
from .locks import HeldFolder
from .record import CrossScores, DoneRecord
from .score_files import Scores, read_scores, scores_text


@dataclass(frozen=True)
class CrossStanding:
    """The state of a test, with its figures where they may be used."""

    state: Literal["missing", "stale", "damaged", "done"]
    figures: CrossScores | None = None
    scores: Scores | None = None
    why: str = ""


def cross_scores_name(title: str) -> str:
    """The file of the test on the degradation of this title."""
    return f"scores-{title}.csv"


def cross_standings(folder: Readable, record: DoneRecord, keys: Mapping[str, str]) -> dict[str, CrossStanding]:
    """The states of the tests that a cell should have: `keys` are title → score key."""
    return {title: _standing(folder / cross_scores_name(title), record.tests.get(title), keys[title]) for title in keys}


def _standing(path: Readable, figures: CrossScores | None, score_key: str) -> CrossStanding:
    if figures is None or not path.exists():
        return CrossStanding("missing")
    if figures.score_key != score_key:
        return CrossStanding("stale", why="recorded with another scoring or degradation")
    try:
        return CrossStanding("done", figures, read_scores(path, figures.checksum, figures))
    except DamagedFile as error:
        return CrossStanding("damaged", why=str(error))


def write_cross_scores(folder: HeldFolder, title: str, scores: Mapping[str, Mapping[str, float]]) -> str:
    """Write subject → metric → value of a test; an earlier file is set aside. Returns the file's checksum."""
    folder.check()
    name, text = cross_scores_name(title), scores_text(scores)
    if (folder.path / name).exists():
        set_aside(folder.path / name, "old")
    folder.write_text(name, text)
    return hashlib.sha256(text.encode()).hexdigest()
