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
class Kept:
    """The exhibit of a cell."""

    label: str
    seed: int
    record: DoneRecord
    exhibit: Exhibit

    def slice(self, subject: str, number: int) -> ExhibitSlice | None:
        """A subject's slice; None where the cell does not keep it."""
        slices = {(image.subject, image.number): image for image in self.exhibit.slices}
        return slices.get((subject, number))


@dataclass(frozen=True, eq=False)
class RowExhibits:
    """What the cells of a row keep: for each label, the exhibit of its first seed that has one."""

    row: Row
    kept: list[Kept]
    """In the table's order."""
    absent: dict[str, str]
    """Label → why it has no exhibit."""

    @property
    def slices(self) -> dict[str, list[int]]:
        """Subject → the numbers of its slices, as most labels keep them."""
        numbers = dict[str, list[int]]()
        if self.kept:
            truth, _ = Counter(item.exhibit.truth for item in self.kept).most_common(1)[0]
            exhibit = next(item.exhibit for item in self.kept if item.exhibit.truth == truth)
            for image in exhibit.slices:
                numbers.setdefault(image.subject, []).append(image.number)
        return numbers

    def scene(self, subject: str, number: int) -> Scene:
        """A slice with every label that keeps it."""
        slices, seeds = dict[str, ExhibitSlice](), dict[str, int]()
        for item in self.kept:
            if image := item.slice(subject, number):
                slices[item.label], seeds[item.label] = upright(image), item.seed
        return Scene(self.row, subject, slices, seeds)


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
        exhibits = row_exhibits(table, row, shown)
        scenes.absent |= {f"{label} {' '.join(row)}": why for label, why in exhibits.absent.items()}
        by_subject = exhibits.slices
        everything |= set(by_subject)
        for subject in subjects or [*by_subject][len(by_subject) // 2 :][:1]:
            if numbers := by_subject.get(subject):
                _add(scenes, exhibits, subject, numbers[len(numbers) // 2])
    if everything:
        _check("subject with slices", subjects, everything)
    if not scenes.shown:
        raise BenchError(_nothing(table, scenes))
    return scenes


def row_exhibits(table: Table, row: Row, labels: Sequence[str]) -> RowExhibits:
    """What these columns keep of a row's slices. Damaged exhibits are left out and named."""
    kept, absent = list[Kept](), dict[str, str]()
    for label in labels:
        item = _kept(table, row, label)
        if isinstance(item, Kept):
            kept.append(item)
        else:
            absent[label] = item
    return RowExhibits(row, kept, absent)


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


def _kept(table: Table, row: Row, label: str) -> Kept | str:
    """The exhibit of a label's first seed that has one; the reason where none has."""
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
                    return Kept(label, planned.cell.seed, record, exhibit)
    return why


def _add(scenes: Scenes, exhibits: RowExhibits, subject: str, number: int) -> None:
    """Add the scene of a subject's slice."""
    scene = exhibits.scene(subject, number)
    for item in exhibits.kept:
        if item.label in scene.slices:
            scenes.records.append(item.record)
        else:
            name = f"{item.label} {' '.join(exhibits.row)}"
            scenes.absent[name] = f"it keeps other slices than slice {number} of {subject}"
    scenes.shown.append(scene)


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
