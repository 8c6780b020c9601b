"""The slices that a figure with images shows: of a test subject, in a row of the table, with all that cells keep."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BenchError, UsageError, did_you_mean
from ..reporting.table import Row, Table
from ..store.exhibit import Exhibit, ExhibitSlice, read_exhibit
from ..store.orientation import upright
from ..store.record import DoneRecord
from ..system.files import DamagedFile


@dataclass(frozen=True, eq=False)
class Scene:
    """One slice of a test subject, as several methods predicted it. Images lie upright (`store.orientation`)."""

    row: Row
    subject: str
    slices: dict[str, ExhibitSlice]
    """Label → the slice with the prediction of that method, in the table's order."""
    seeds: dict[str, int]
    """Label → the seed of the prediction."""

    @property
    def truth(self) -> ExhibitSlice:
        """The slice to take HR, LR and geometry from, which all have in common."""
        return next(iter(self.slices.values()))

    @property
    def title(self) -> str:
        return f"{' '.join(self.row)}, {self.subject}, slice {self.truth.number}"


@dataclass
class Scenes:
    """What a figure shows, and what it cannot."""

    shown: list[Scene] = field(default_factory=list)
    records: list[DoneRecord] = field(default_factory=list)
    """Those of the predictions."""
    absent: dict[str, str] = field(default_factory=dict)
    """Label and row, as text → why no slice of it is here."""


@dataclass(frozen=True, eq=False)
class _Kept:
    """The exhibit of a cell."""

    label: str
    seed: int
    record: DoneRecord
    exhibit: Exhibit


def find_scenes(table: Table, rows: Sequence[str], subjects: Sequence[str], labels: Sequence[str]) -> Scenes:
    """The slices of the chosen rows, subjects and columns, of the first seed that kept some.

    `rows` are names such as 'T1 x2', or words of them; by default the last row of every contrast. By default the
    middle one of the subjects is taken, and always the middle one of a subject's slices. Raises UsageError for a name
    that is not there, and BenchError that says what to do where no cell keeps slices.
    """
    _check("method", labels, table.labels)
    shown = [label for label in table.labels if not labels or label in labels]
    scenes, everything = Scenes(), set[str]()
    for row in chosen_rows(table, rows):
        kept = [item for label in shown if (item := _kept(table, row, label, scenes))]
        if not kept:
            continue
        truth, _ = Counter(item.exhibit.truth for item in kept).most_common(1)[0]
        shape = next(item.exhibit for item in kept if item.exhibit.truth == truth)
        by_subject = dict[str, list[int]]()
        for one in shape.slices:
            by_subject.setdefault(one.subject, []).append(one.number)
        everything |= set(by_subject)
        for subject in subjects or [list(by_subject)[len(by_subject) // 2]]:
            if numbers := by_subject.get(subject):
                _add(scenes, row, subject, numbers[len(numbers) // 2], kept)
    if everything:
        _check("subject with slices", subjects, everything)
    if not scenes.shown:
        raise BenchError(_nothing(table, scenes))
    return scenes


def chosen_rows(table: Table, names: Sequence[str]) -> list[Row]:
    """The table's rows that have all words of one of the names; without names, the last row of every contrast."""
    if not names:
        return list({row[-2]: row for row in table.rows}.values())
    for name in names:
        if not any(set(name.split()) <= set(row) for row in table.rows):
            words = {" ".join(row) for row in table.rows} | {word for row in table.rows for word in row}
            raise UsageError(f"the table has no row '{name}'. {did_you_mean(name, words)}")
    return [row for row in table.rows if any(set(name.split()) <= set(row) for name in names)]


def _check(kind: str, names: Sequence[str], known: Sequence[str] | set[str]) -> None:
    for name in names:
        if name not in known:
            raise UsageError(f"the table has no {kind} '{name}'. {did_you_mean(name, known)}")


def _kept(table: Table, row: Row, label: str, scenes: Scenes) -> _Kept | None:
    """The exhibit of a label's first seed that has one; None, and the reason in `scenes`, where none has."""
    name = f"{label} {' '.join(row)}"
    why = "it keeps no slices" if (row, label) in table.records else "it has no figures"
    for planned in table.view.cells:
        place = table.view.place(planned)
        if (table.name(planned.cell.row), planned.cell.label) != (row, label) or place is None:
            continue
        damage = [text for text in table.absent.get("Damaged", []) if text.startswith(f"{planned.cell} (")]
        why = damage[0] if damage else why
        for record in table.records.get((row, label), []):
            if record.resolved.seed == planned.cell.seed and record.checksums.exhibit is not None:
                try:
                    exhibit = read_exhibit(place.folder)
                except DamagedFile as error:
                    why = str(error)
                    continue
                if exhibit is not None:
                    return _Kept(label, planned.cell.seed, record, exhibit)
    scenes.absent[name] = why
    return None


def _add(scenes: Scenes, row: Row, subject: str, number: int, kept: Sequence[_Kept]) -> None:
    """Add the scene of a subject's slice, with every label that keeps this very slice."""
    slices, seeds = dict[str, ExhibitSlice](), dict[str, int]()
    for item in kept:
        same = [one for one in item.exhibit.slices if (one.subject, one.number) == (subject, number)]
        if same:
            slices[item.label], seeds[item.label] = upright(same[0]), item.seed
            scenes.records.append(item.record)
        else:
            scenes.absent[f"{item.label} {' '.join(row)}"] = f"it keeps other slices than slice {number} of {subject}"
    scenes.shown.append(Scene(row, subject, slices, seeds))


def _nothing(table: Table, scenes: Scenes) -> str:
    """Why there is nothing to show, and what to do."""
    folder = table.view.protocol.folder
    if not table.records:
        return f"no cell of '{folder}' has figures yet. Make some with: bench run"
    damaged = [why for why in scenes.absent.values() if "damaged" in why]
    if damaged:
        advice = f"Damaged: {'; '.join(dict.fromkeys(damaged))}. Make them again with: bench run, then bench score"
    elif isinstance(table.view.folder, Path):
        advice = "Make them from the weights, without training, with: bench score"
    else:
        advice = (
            "A pack leaves images out unless the licence of the data set lets anyone hand them on. Read the results "
            "folder itself, or pack it again with: bench pack --images"
        )
    return f"no slices of '{folder}' are here to be shown. {advice}"
