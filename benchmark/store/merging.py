"""Merges results: brings plans, cells and sources of packs and folders into one results folder.

A cell is taken whole, under its hold, and never replaces one that is done: that gets the tests on other LR that it
lacks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ..errors import BenchError, UsageError
from ..system.cache import content_digest
from ..system.files import DamagedFile, Readable, atomic_file, read_sealed, set_aside, write_sealed
from .cell_files import clear_damage, write_record
from .cross_tests import cross_scores_name
from .locks import Held, Hold, LeaseLost, hold
from .method_sources import SOURCES
from .pack import is_member_name, open_pack
from .plan import PLANS, read_plan
from .record import AnyRecord, DoneRecord
from .results import Store
from .whole_cell import (
    NotWhole,
    WholeCell,
    base_of,
    cell_names,
    new_tests,
    own_standing,
    protocol_folders,
    read_file,
    read_source,
    record_files,
    whole_cell,
)

Verdict = Literal["take", "extend", "present", "refused", "held"]
"""extend: the cell is there, and lacks tests that the other one has."""


@dataclass
class Merged:
    """The cells of all sources, by what was done with them."""

    taken: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    plans: int = 0
    """Number of new plans."""

    def __str__(self) -> str:
        counts = {
            "taken": self.taken, "already there": self.present, "refused": self.refused, "damaged": self.damaged,
            "held by a run": self.held,
        }  # fmt: skip
        parts = [f"{len(cells)} {label}" for label, cells in counts.items() if cells or label != "held by a run"]
        return f"cells: {', '.join(parts)}; plans: {self.plans} new"


def merge(sources: Sequence[Path], results: Path, say: Callable[[str], None]) -> Merged:
    """Merge packs and results folders into a results folder, one after another. Nothing is deleted.

    `say` is called with a line for all that is not taken, and why. Raises UsageError for a source that is neither a
    pack nor a folder of results, before anything is written, and BenchError where the folder cannot be written.
    """
    roots = [_root(source, results) for source in sources]
    store, merged = Store(results), Merged()
    store.check_writable()
    try:
        for root in roots:
            for name in protocol_folders(root / "runs"):
                _Merge(root / "runs" / name, store.runs / name, merged, say).run()
    except OSError as error:
        raise BenchError(f"{error.filename or results}: {error.strerror or error}") from None
    return merged


def _root(source: Path, results: Path) -> Readable:
    if source.is_file():
        return open_pack(source)
    if not source.is_dir() or not protocol_folders(source / "runs"):
        raise UsageError(f"{source} is neither a pack nor a folder of results: it has no runs/<protocol>/plans")
    if source.resolve() == results.resolve():
        raise UsageError(f"{source} is both a source and the folder to merge into. Give another source")
    return source


@dataclass
class _Merge:
    """Merges the folder of one protocol into another."""

    source: Readable
    target: Path
    merged: Merged
    say: Callable[[str], None]

    def run(self) -> None:
        if not is_member_name(f"runs/{self.source.name}/{PLANS}/{'0' * 32}.json"):
            self.say(f"not taken: {self.source}: its name cannot be that of a protocol's folder")
            return
        for path in sorted(self.source.glob(f"{PLANS}/*.json")):
            self._plan(path)
        for path in sorted(self.source.glob(f"{SOURCES}/*.zip")):
            self._source(path)
        for name in cell_names(self.source):
            self._cell(name)

    def _plan(self, path: Readable) -> None:
        """Add a plan; where it exists already, keep the later time."""
        target = self.target / PLANS / path.name
        try:
            time, plan = read_plan(path)
            if not is_member_name(f"runs/{self.source.name}/{PLANS}/{path.name}"):
                raise DamagedFile(path, "its name is not that of a plan")
            content = read_sealed(path)
        except (FileNotFoundError, DamagedFile) as error:
            self.say(f"not taken: {error}")
            return
        try:
            own_time, own_plan = read_plan(target)
            if own_plan != plan:
                self.say(f"not taken: {path}: {target} has the same name but is another plan")
                return
            if own_time >= time:
                return
        except FileNotFoundError:
            self.merged.plans += 1
        except DamagedFile:
            set_aside(target, "damaged")
            self.merged.plans += 1
        target.parent.mkdir(parents=True, exist_ok=True)
        write_sealed(target, content)

    def _source(self, path: Readable) -> None:
        target = self.target / SOURCES / path.name
        try:
            content = read_source(path)
        except (FileNotFoundError, DamagedFile) as error:
            self.say(f"not taken: {error}")
            return
        with suppress(FileNotFoundError):
            try:
                read_source(target)
                return
            except DamagedFile:
                set_aside(target, "damaged")
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(target) as file:
            file.write(content)

    def _cell(self, name: str) -> None:
        label = f"{self.source.name}/{name}"
        try:
            cell = whole_cell(self.source, name)
        except (BenchError, FileNotFoundError) as error:
            is_held = isinstance(error, NotWhole) and error.state == "running"
            (self.merged.held if is_held else self.merged.damaged).append(label)
            self.say(f"{'held' if is_held else 'damaged'}: {label}: {error}")
            return
        verdict, why = self._verdict(cell)
        if verdict in ("take", "extend"):
            try:
                with hold(self.target / base_of(name)) as held:
                    verdict, why = self._verdict(cell, held=True)  # another run may have finished it meanwhile
                    if verdict == "take":
                        self._take(cell, held)
                    elif verdict == "extend":
                        self._extend(cell, held)
            except (Held, LeaseLost) as error:
                verdict, why = "held", str(error)
            except DamagedFile as error:  # it has changed since it was checked
                self.merged.damaged.append(label)
                self.say(f"damaged: {label}: {error}")
                return
        taken, refused = self.merged.taken, self.merged.refused
        lists = {"take": taken, "extend": taken, "present": self.merged.present, "refused": refused}
        lists.get(verdict, self.merged.held).append(label)
        if why:
            self.say(f"{verdict}: {label}: {why}")
        elif verdict == "take" and cell.note:
            self.say(f"{label}: {cell.note}")

    def _verdict(self, cell: WholeCell, *, held: bool = False) -> tuple[Verdict, str]:
        """What to do with a cell, and the reason where it is not taken."""
        own = own_standing(self.target, cell.name, held=held)
        if own.state == "running":
            return "held", own.why
        if own.state == "stale":
            return "refused", f"the cell in {self.target.parent.parent} cannot be compared: {own.why}"
        if own.done is not None:
            if not isinstance(cell.record, DoneRecord) or (difference := _difference(cell.record, own.done)) is None:
                return "extend" if new_tests(cell, own) else "present", ""
            return "refused", (
                f"the cell in {self.target.parent.parent} has {difference}\n"
                f"    {self.source}: {_identity(cell.record)}\n    {self.target}: {_identity(own.done)}"
            )
        if own.state != "missing" and not isinstance(cell.record, DoneRecord):
            return "present", ""
        return self._compare_weights(cell)

    def _compare_weights(self, cell: WholeCell) -> tuple[Verdict, str]:
        """Refuse a cell whose self-ensemble, or plain cell, here was made with other weights."""
        base = base_of(cell.name)
        row, label, seed = base.rsplit("/", 2)
        partner = f"{row}/{label}+/{seed}" if cell.name == base else base
        own = own_standing(self.target, partner).done
        weights = [record.checksums.weights for record in (cell.record, own) if isinstance(record, DoneRecord)]
        if len(weights) == 2 and None not in weights and weights[0] != weights[1]:
            assert own is not None
            return "refused", (
                f"{partner} in {self.target.parent.parent} has the weights of another training\n"
                f"    {self.source}: {_identity(cell.record)}\n    {self.target}: {_identity(own)}"
            )
        return "take", ""

    def _take(self, cell: WholeCell, held: Hold) -> None:
        """Write a cell's files, its record last. Files here that differ are set aside."""
        contents = {name: read_file(self.source, cell, name) for name in cell.files}
        folder = held.folder(self.target / cell.name)
        own = own_standing(self.target, cell.name, held=True)
        if own.state != "missing":
            clear_damage(folder, own.damaged)
        if isinstance(cell.record, DoneRecord):
            self._set_others_aside(cell, cell.record, held)
        for name, content in contents.items():
            path = self.target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                if content_digest(path) == hashlib.sha256(content).hexdigest():
                    continue
            with held.folder(path.parent).file(path.name) as file:
                file.write(content)

    def _extend(self, cell: WholeCell, held: Hold) -> None:
        """Add the tests that the cell here lacks, and write its record again, last."""
        folder, own = held.folder(self.target / cell.name), own_standing(self.target, cell.name, held=True)
        record, new = own.done, new_tests(cell, own)
        assert record is not None
        contents = {title: read_file(self.source, cell, f"{cell.name}/{cross_scores_name(title)}") for title in new}
        for title, content in contents.items():
            path = folder.path / cross_scores_name(title)
            held.check()
            if path.exists():
                set_aside(path, "damaged")
            with folder.file(path.name) as file:
                file.write(content)
        written = max(record.written, cell.record.written)
        write_record(folder, record.model_copy(update={"tests": {**record.tests, **new}, "written": written}))

    def _set_others_aside(self, cell: WholeCell, record: DoneRecord, held: Hold) -> None:
        """Set aside files that have the name of a file of the record, but another content."""
        for name, checksum in record_files(cell.name, record).items():
            path = self.target / name
            held.check()
            if path.is_dir() or (path.is_file() and content_digest(path) != checksum):
                set_aside(path, "old")


def _difference(theirs: DoneRecord, ours: DoneRecord) -> str | None:
    """How two records of the same cell differ; None where they have the same figures."""
    if (theirs.train_key, theirs.score_key) != (ours.train_key, ours.score_key):
        return "other keys: its protocol, split, recipe, method version or scoring differs"
    if theirs.source_digest != ours.source_digest:
        return "another source digest: the method's files differ"
    if theirs.checksums.scores != ours.checksums.scores:
        return "other figures under the same keys and from the same source"
    for title in theirs.tests.keys() & ours.tests.keys():
        own, other = ours.tests[title], theirs.tests[title]
        if own.score_key == other.score_key and own.checksum != other.checksum:
            return f"other figures of the test on {title} under the same keys and from the same source"
    return None


def _identity(record: AnyRecord) -> str:
    parts = [f"train key {record.train_key[:12]}", f"score key {record.score_key[:12]}"]
    parts.append(f"source {record.source_digest[:12]}")
    if isinstance(record, DoneRecord):
        parts += [f"scores {record.checksums.scores[:12]}", f"commit {record.environment.git or 'unknown'}"]
        if record.fit:
            parts.append(f"trained by commit {record.fit.git or 'unknown'}")
    return ", ".join(parts)
