"""A cell's folder: its files, how they are written, and the cell's state that follows from them.

    record.json  scores.csv  radial.csv  exhibit.npz  train.csv  weights.safetensors  state-….pt  log.txt  volumes/
    scores-<title>.csv, see `cross_tests`

`record.json` is written last and has the checksums of itself and of the others. Damage to any file is detected, and is
the state of its own cell alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
from pydantic import ValidationError

from ..errors import BenchError
from ..system.cache import content_digest
from ..system.files import DamagedFile, Readable, free_name, read_sealed, set_aside
from ..system.training_states import CURVE, is_whole, states_in
from .cross_tests import CrossStanding, cross_scores_name, cross_standings
from .locks import LEASE, LOCK, HeldFolder, holder_of
from .record import FORMAT, AnyRecord, DoneRecord, parse
from .score_files import Scores, csv_text, read_scores, scores_text

State = Literal["missing", "running", "done", "failed", "skipped", "timeout", "stale", "changed", "damaged"]
P = TypeVar("P", bound=Readable, covariant=True)

RECORD = "record.json"
SCORES = "scores.csv"
WEIGHTS = "weights.safetensors"
LOG = "log.txt"
VOLUMES = "volumes"
VOLUMES_MANIFEST = "volumes.json"
"""In the folder of kept volumes, written after them: which cell's predictions they are, and their checksums."""
RADIAL = "radial.csv"
EXHIBIT = "exhibit.npz"


class OtherFormat(BenchError):
    """A record that another version of the suite wrote."""


@dataclass(frozen=True)
class Place(Generic[P]):
    """Where a cell's files lie, on disk or in a pack, and the keys that its record should have."""

    folder: P
    base: P
    """The folder of the training's plain cell: lock, weights and states lie there."""
    train_key: str
    score_key: str
    source_digest: str
    tests: Mapping[str, str] = field(default_factory=dict)
    """Title → score key of the cell's tests on other LR."""


@dataclass(frozen=True)
class Standing:
    """The state of a cell, with its record."""

    state: State
    record: AnyRecord | None = None
    scores: Scores | None = None
    """Those of a done record whose files are undamaged, else None."""
    why: str = ""
    damaged: tuple[Readable, ...] = ()
    """The damaged files."""
    tests: Mapping[str, CrossStanding] = field(default_factory=dict)
    """Title → state of every test on other LR; empty for a cell without figures of its own."""

    @property
    def open_tests(self) -> dict[str, CrossStanding]:
        """The tests that have no figures."""
        return {title: test for title, test in self.tests.items() if test.state != "done"}

    @property
    def done(self) -> DoneRecord | None:
        """The record, where its figures may be used."""
        if self.state in ("done", "changed") and isinstance(self.record, DoneRecord):
            return self.record
        return None


def standing_of(place: Place[Readable] | None, why: str) -> Standing:
    """`inspect_cell`; a cell without a place has failed, for the reason `why`."""
    return Standing("failed", why=why) if place is None else inspect_cell(place)


def inspect_cell(place: Place[Readable], *, held: bool = False) -> Standing:
    """The state of a cell, by its files alone: takes no lock, changes nothing, runs no code of others.

    A cell that another process works on is running, unless its record is done and valid. `held`: this process holds the
    cell.
    """
    for _ in range(1 if held else 2):  # a second time, since a file that is being replaced looks damaged
        standing = _standing_by_record(place)
        if standing.done is None and not held:
            if holder := holder_of(place.base):
                return Standing("running", standing.record, why=f"{holder} is working on it")
            standing = _standing_by_record(place)  # its holder may have ended since the first look
        if not standing.damaged and not any(test.state == "damaged" for test in standing.tests.values()):
            break
    return standing


def _standing_by_record(place: Place[Readable]) -> Standing:
    try:
        record = read_record(place.folder)
    except DamagedFile as error:
        return Standing("damaged", why=str(error), damaged=(error.path,))
    except OtherFormat as error:
        return Standing("stale", why=str(error))
    if not isinstance(record, DoneRecord):
        if damaged := [path for path in states_in(place.base) if not is_whole(path)]:
            return _damaged(record, [DamagedFile(path, "its checksum does not match its content") for path in damaged])
        return Standing(record.state, record, why=record.error) if record else Standing("missing")
    if record.train_key != place.train_key:
        return Standing("stale", record, why="recorded under another protocol, split, recipe or method version")
    if record.score_key != place.score_key:
        return Standing("stale", record, why="recorded with another scoring or test set")
    scores, problems = _verified(place, record)
    if problems:
        if place.folder != place.base and [problem.path for problem in problems] == [place.base / WEIGHTS]:
            return Standing("stale", record, why="the weights of its plain cell have changed")
        return _damaged(record, problems)
    tests = cross_standings(place.folder, record, place.tests)
    if record.source_digest != place.source_digest:
        return Standing("changed", record, scores, why="the method's file has changed", tests=tests)
    return Standing("done", record, scores, tests=tests)


def _damaged(record: AnyRecord | None, problems: Sequence[DamagedFile]) -> Standing:
    paths = tuple(problem.path for problem in problems)
    return Standing("damaged", record, why="; ".join(map(str, problems)), damaged=paths)


def _verified(place: Place[Readable], record: DoneRecord) -> tuple[Scores | None, list[DamagedFile]]:
    """The scores of a record, and the problems of the files that belong to it."""
    scores, problems = None, []
    try:
        scores = read_scores(place.folder / SCORES, record.checksums.scores, record)
    except DamagedFile as error:
        problems.append(error)
    checksums = {
        place.folder / RADIAL: record.checksums.radial,
        place.folder / EXHIBIT: record.checksums.exhibit,
        place.folder / CURVE: record.checksums.curve,
        place.base / WEIGHTS: record.checksums.weights,
    }
    for path, checksum in checksums.items():
        try:
            if checksum is not None and content_digest(path) != checksum:
                problems.append(DamagedFile(path, "it is not the file that the record names"))
        except FileNotFoundError:
            pass
        except DamagedFile as error:
            problems.append(error)
        except OSError as error:
            problems.append(DamagedFile(path, error.strerror or str(error)))
    return scores, problems


def read_record(folder: Readable) -> AnyRecord | None:
    """The record in a cell's folder, or None. Raises DamagedFile, and OtherFormat for another version's."""
    path = folder / RECORD
    try:
        content = read_sealed(path)
    except FileNotFoundError:
        return None
    if content.get("format") != FORMAT:
        raise OtherFormat(f"{path} has format {content.get('format')}; this version of the suite reads {FORMAT}")
    try:
        return parse(content)
    except ValidationError as error:
        problem = error.errors()[0]
        raise DamagedFile(path, f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None


def write_record(folder: HeldFolder, record: AnyRecord) -> None:
    """Write a cell's record: the last file of a cell, so that what is recorded is complete."""
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_sealed(RECORD, record.model_dump(mode="json"))


def write_scores(
    folder: HeldFolder, scores: Mapping[str, Mapping[str, float]], radial: Sequence[np.ndarray]
) -> tuple[str, str]:
    """Write subject → metric → value as scores.csv, each value to its last bit, and the mean radial errors.

    An earlier record of the cell, its scores, tests and exhibit are set aside first: a record always belongs to the
    files beside it. Returns the checksums of both files.
    """
    folder.check()
    paths = [folder.path / name for name in (RECORD, SCORES, RADIAL, EXHIBIT)]
    for path in (*paths, *folder.path.glob(cross_scores_name("*"))):
        if path.exists():
            set_aside(path, "old")
    energies = [[repr(float(value)) for value in row] for row in np.mean(radial, axis=0)]
    texts = {SCORES: scores_text(scores), RADIAL: csv_text([["frequency", "error", "truth"], *energies])}
    for name, text in texts.items():
        folder.write_text(name, text)
    checksums = [hashlib.sha256(text.encode()).hexdigest() for text in texts.values()]
    return checksums[0], checksums[1]


def clear_damage(folder: HeldFolder, damaged: Sequence[Readable]) -> list[Path]:
    """Set damaged files aside, and the record that they belong to; returns their new names.

    Undamaged files stay, and the cell is made from them: scored from its weights, or trained on from its state.
    """
    folder.check()
    paths = dict.fromkeys([*(path for path in damaged if isinstance(path, Path)), folder.path / RECORD])
    return [set_aside(path, "damaged") for path in paths if path.exists()]


def clear_stale(folder: HeldFolder) -> None:
    """Move all files of a cell's folder, but the lock, into a folder beside it; the record is moved last."""
    folder.check()
    paths = [path for path in folder.path.iterdir() if not path.name.startswith((LOCK, LEASE))]
    if not paths:
        return
    target = free_name(folder.path, "stale")
    target.mkdir()
    for path in sorted(paths, key=lambda path: path.name == RECORD):
        path.rename(target / path.name)
