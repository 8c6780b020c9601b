"""A cell's folder: what its files are, how they are written, and where the cell stands by what they say.

    record.json  scores.csv  radial.csv  exhibit.npz  train.csv  weights.safetensors  state-….pt  log.txt  volumes/

`record.json` is written last and has the checksums of itself and of the others: damage to one is seen, and is the state
of its own cell alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

import numpy as np
from pydantic import ValidationError

from ..errors import BenchError
from ..system.cache import content_digest
from ..system.files import DamagedFile, Readable, free_name, read_bytes, read_sealed, set_aside
from ..system.states import CURVE, is_whole, states_in
from .locks import LEASE, LOCK, HeldFolder, holder_of
from .record import FORMAT, AnyRecord, DoneRecord, parse

State = Literal["missing", "running", "done", "failed", "skipped", "timeout", "stale", "changed", "damaged"]
P = TypeVar("P", bound=Readable, covariant=True)
Scores = dict[str, dict[str, float]]
"""Metric → subject → value."""

RECORD = "record.json"
SCORES = "scores.csv"
WEIGHTS = "weights.safetensors"
LOG = "log.txt"
VOLUMES = "volumes"
KEPT = "volumes.json"
"""In the folder of kept volumes, written after them: whose predictions they are, and their checksums."""
RADIAL = "radial.csv"
EXHIBIT = "exhibit.npz"
_HEADER = ["subject", "metric", "value"]


class OtherFormat(BenchError):
    """A record that another version of the suite wrote."""


@dataclass(frozen=True)
class Place(Generic[P]):
    """Where a cell's files lie, on disk or in a pack, and the keys that it is wanted under."""

    folder: P
    base: P
    """The folder of the training's plain cell: lock, weights and states lie there."""
    train_key: str
    score_key: str
    source_digest: str


@dataclass(frozen=True)
class Standing:
    """Where a cell stands."""

    state: State
    record: AnyRecord | None = None
    scores: Scores | None = None
    """Those of a record that is done and whole, else None."""
    why: str = ""
    damaged: tuple[Readable, ...] = ()
    """The files that are damaged."""

    @property
    def done(self) -> DoneRecord | None:
        """The record, where its figures may be used."""
        if self.state in ("done", "changed") and isinstance(self.record, DoneRecord):
            return self.record
        return None


def standing_of(place: Place[Readable] | None, why: str) -> Standing:
    """`look`; a cell that has no place has failed, and `why` says the reason."""
    return Standing("failed", why=why) if place is None else look(place)


def look(place: Place[Readable], *, held: bool = False) -> Standing:
    """Where a cell stands, by its files alone: takes no lock, changes nothing, runs no code of others.

    A cell that another process works on is running, unless its record is done and stands. `held`: that process is
    this one.
    """
    for _ in range(1 if held else 2):  # a second look, since what is being replaced in that moment looks damaged
        holder = None if held else holder_of(place.base)
        standing = _by_record(place)
        holder = holder or (None if held else holder_of(place.base))
        if holder is not None and standing.done is None:
            return Standing("running", standing.record, why=f"{holder} is working on it")
        if not standing.damaged:
            break
    return standing


def _by_record(place: Place[Readable]) -> Standing:
    try:
        record = read_record(place.folder)
    except DamagedFile as error:
        return Standing("damaged", why=str(error), damaged=(error.path,))
    except OtherFormat as error:
        return Standing("stale", why=str(error))
    if not isinstance(record, DoneRecord):
        if damaged := [path for path in states_in(place.base) if not is_whole(path)]:
            return _damaged(record, [DamagedFile(path, "its checksum does not fit its content") for path in damaged])
        return Standing(record.state, record, why=record.error) if record else Standing("missing")
    if record.train_key != place.train_key:
        return Standing("stale", record, why="recorded under another protocol, split, recipe or method version")
    if record.score_key != place.score_key:
        return Standing("stale", record, why="the scoring or the test set is another")
    scores, problems = _verified(place, record)
    if problems:
        if place.folder != place.base and [problem.path for problem in problems] == [place.base / WEIGHTS]:
            return Standing("stale", record, why="the weights of its plain cell are others now")
        return _damaged(record, problems)
    if record.source_digest != place.source_digest:
        return Standing("changed", record, scores, why="the method's file has changed")
    return Standing("done", record, scores)


def _damaged(record: AnyRecord | None, problems: Sequence[DamagedFile]) -> Standing:
    paths = tuple(problem.path for problem in problems)
    return Standing("damaged", record, why="; ".join(map(str, problems)), damaged=paths)


def _verified(place: Place[Readable], record: DoneRecord) -> tuple[Scores | None, list[DamagedFile]]:
    """The scores of a record, and what is wrong with the files that belong to it."""
    scores, problems = None, []
    try:
        scores = read_scores(place.folder, record)
    except DamagedFile as error:
        problems.append(error)
    others = {
        place.folder / RADIAL: record.checksums.radial,
        place.folder / EXHIBIT: record.checksums.exhibit,
        place.folder / CURVE: record.checksums.curve,
        place.base / WEIGHTS: record.checksums.weights,
    }
    for path, checksum in others.items():
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

    An earlier record of the cell, its scores and its exhibit are set aside first: a record always stands for the files
    beside it.
    Returns the checksums of both files.
    """
    folder.check()
    for name in (RECORD, SCORES, RADIAL, EXHIBIT):
        if (folder.path / name).exists():
            set_aside(folder.path / name, "old")
    rows = [[subject, metric, repr(value)] for subject, values in scores.items() for metric, value in values.items()]
    energies = [[repr(float(value)) for value in row] for row in np.mean(radial, axis=0)]
    tables = {SCORES: [_HEADER, *rows], RADIAL: [["frequency", "error", "truth"], *energies]}
    for name, table in tables.items():
        folder.write_text(name, _csv(table))
    checksums = [hashlib.sha256(_csv(table).encode()).hexdigest() for table in tables.values()]
    return checksums[0], checksums[1]


def read_scores(folder: Readable, record: DoneRecord) -> Scores:
    """Metric → subject → value, as `write_scores` wrote them.

    Raises DamagedFile where they are missing, not those that the record names, or have other means than it says.
    """
    path = folder / SCORES
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        raise DamagedFile(path, "it is missing, and its record is not") from None
    if hashlib.sha256(content).hexdigest() != record.checksums.scores:
        raise DamagedFile(path, "it is not the file that the record names")
    scores = Scores()
    try:
        header, *rows = csv.reader(content.decode("utf-8").splitlines())
        if header != _HEADER:
            raise ValueError("its first line is not 'subject,metric,value'")
        for subject, metric, value in rows:
            scores.setdefault(metric, {})[subject] = float(value)
    except (ValueError, csv.Error) as error:
        raise DamagedFile(path, str(error)) from None
    for metric, mean in record.metrics.items():
        values = list(scores.get(metric, {}).values())
        if len(values) != record.n or not math.isclose(float(np.mean(values)), mean, rel_tol=1e-9):
            raise DamagedFile(path, f"its {metric} has another mean or number of subjects than the record says")
    return scores


def clear_damage(folder: HeldFolder, damaged: Sequence[Readable]) -> list[Path]:
    """Set damaged files aside, and the record that they belong to; returns their new names.

    What is whole stays, so that the cell is made from it: scored from its weights, or trained on from its state.
    """
    folder.check()
    paths = dict.fromkeys([*(path for path in damaged if isinstance(path, Path)), folder.path / RECORD])
    return [set_aside(path, "damaged") for path in paths if path.exists()]


def clear_stale(folder: HeldFolder) -> None:
    """Move all that a cell's folder holds into a folder beside it; the lock stays, and the record goes last."""
    folder.check()
    content = [path for path in folder.path.iterdir() if not path.name.startswith((LOCK, LEASE))]
    if not content:
        return
    target = free_name(folder.path, "stale")
    target.mkdir()
    for path in sorted(content, key=lambda path: path.name == RECORD):
        path.rename(target / path.name)


def _csv(rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
