"""Brings results together: plans, cells and sources of packs and folders into one results folder.

A cell comes over whole, under its hold, and never over one that is done.
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
from .cell_files import clear_damage
from .locks import Held, Hold, LeaseLost, hold
from .pack import is_member_name, open_pack
from .plan import PLANS, read_plan
from .record import AnyRecord, DoneRecord
from .results import Store
from .sources import SOURCES
from .transfer import (
    NotWhole,
    WholeCell,
    base_of,
    cell_names,
    own_standing,
    protocol_folders,
    read_file,
    read_source,
    record_files,
    whole_cell,
)

Verdict = Literal["take", "there", "refused", "held"]


@dataclass
class Merged:
    """What became of the cells of all sources."""

    taken: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    plans: int = 0
    """That are new."""

    def __str__(self) -> str:
        counts = {
            "taken": self.taken, "already there": self.there, "refused": self.refused, "damaged": self.damaged,
            "held by a run": self.held,
        }  # fmt: skip
        said = [f"{len(cells)} {words}" for words, cells in counts.items() if cells or words != "held by a run"]
        return f"cells: {', '.join(said)}; plans: {self.plans} new"


def merge(sources: Sequence[Path], results: Path, say: Callable[[str], None]) -> Merged:
    """Bring packs and results folders into a results folder, one after another.

    `say` hears of everything that is not taken, and why; all else is. Nothing is deleted. Raises UsageError for what is
    neither pack nor folder of results, before anything is written, and BenchError where the folder cannot be written.
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
        raise UsageError(f"{source} is the folder to merge into; name another source")
    return source


@dataclass
class _Merge:
    """One protocol's folder on its way into another."""

    source: Readable
    target: Path
    merged: Merged
    say: Callable[[str], None]

    def run(self) -> None:
        if not is_member_name(f"runs/{self.source.name}/{PLANS}/{'0' * 32}.json"):
            self.say(f"not taken: {self.source}: no protocol has such a name")
            return
        for path in sorted(self.source.glob(f"{PLANS}/*.json")):
            self._plan(path)
        for path in sorted(self.source.glob(f"{SOURCES}/*.zip")):
            self._source(path)
        for name in cell_names(self.source):
            self._cell(name)

    def _plan(self, path: Readable) -> None:
        """Add a plan; of one that is there, keep the later time."""
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
            known_time, known = read_plan(target)
            if known != plan:
                self.say(f"not taken: {path}: {target} is another plan of that name")
                return
            if known_time >= time:
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
        shown = f"{self.source.name}/{name}"
        try:
            cell = whole_cell(self.source, name)
        except (BenchError, FileNotFoundError) as error:
            is_held = isinstance(error, NotWhole) and error.state == "running"
            (self.merged.held if is_held else self.merged.damaged).append(shown)
            self.say(f"{'held' if is_held else 'damaged'}: {shown}: {error}")
            return
        verdict, why = self._verdict(cell)
        if verdict == "take":
            try:
                with hold(self.target / base_of(name)) as held:
                    verdict, why = self._verdict(cell, held=True)  # another may have been quicker
                    if verdict == "take":
                        self._take(cell, held)
            except (Held, LeaseLost) as error:
                verdict, why = "held", str(error)
            except DamagedFile as error:  # changed since it was found whole
                self.merged.damaged.append(shown)
                self.say(f"damaged: {shown}: {error}")
                return
        places = {"take": self.merged.taken, "there": self.merged.there, "refused": self.merged.refused}
        places.get(verdict, self.merged.held).append(shown)
        if why:
            self.say(f"{verdict}: {shown}: {why}")
        elif verdict == "take" and cell.note:
            self.say(f"{shown}: {cell.note}")

    def _verdict(self, cell: WholeCell, *, held: bool = False) -> tuple[Verdict, str]:
        """What to do about a cell, and why where it is not taken."""
        here = own_standing(self.target, cell.name, held=held)
        if here.state == "running":
            return "held", here.why
        if here.state == "stale":
            return "refused", f"the one in {self.target.parent.parent} cannot be compared: {here.why}"
        if here.done is not None:
            if not isinstance(cell.record, DoneRecord) or (difference := _difference(cell.record, here.done)) is None:
                return "there", ""
            return "refused", (
                f"the one in {self.target.parent.parent} has {difference}\n"
                f"    {self.source}: {_described(cell.record)}\n    {self.target}: {_described(here.done)}"
            )
        if here.state != "missing" and not isinstance(cell.record, DoneRecord):
            return "there", ""
        return self._fits_its_pair(cell)

    def _fits_its_pair(self, cell: WholeCell) -> tuple[Verdict, str]:
        """A cell and its self-ensemble are of one training."""
        base = base_of(cell.name)
        row, label, seed = base.rsplit("/", 2)
        other = f"{row}/{label}+/{seed}" if cell.name == base else base
        there = own_standing(self.target, other).done
        weights = [record.checksums.weights for record in (cell.record, there) if isinstance(record, DoneRecord)]
        if len(weights) == 2 and None not in weights and weights[0] != weights[1]:
            assert there is not None
            return "refused", (
                f"{other} in {self.target.parent.parent} is of another training\n"
                f"    {self.source}: {_described(cell.record)}\n    {self.target}: {_described(there)}"
            )
        return "take", ""

    def _take(self, cell: WholeCell, held: Hold) -> None:
        """Write a cell's files, its record last. What is there and differs is set aside."""
        contents = {name: read_file(self.source, cell, name) for name in cell.files}
        folder = held.folder(self.target / cell.name)
        here = own_standing(self.target, cell.name, held=True)
        if here.state != "missing":
            clear_damage(folder, here.damaged)
        if isinstance(cell.record, DoneRecord):
            self._make_room(cell, cell.record, held)
        for name, content in contents.items():
            path = self.target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(OSError):
                if content_digest(path) == hashlib.sha256(content).hexdigest():
                    continue
            with held.folder(path.parent).file(path.name) as file:
                file.write(content)

    def _make_room(self, cell: WholeCell, record: DoneRecord, held: Hold) -> None:
        """Set aside what would belong to the record by its name and is another."""
        for name, checksum in record_files(cell.name, record).items():
            path = self.target / name
            held.check()
            if path.is_dir() or (path.is_file() and content_digest(path) != checksum):
                set_aside(path, "old")


def _difference(theirs: DoneRecord, ours: DoneRecord) -> str | None:
    """What sets two records of one place apart; None where they stand for the same figures."""
    if (theirs.train_key, theirs.score_key) != (ours.train_key, ours.score_key):
        return "other keys: it is of another protocol, split, recipe, method version or scoring"
    if theirs.source_digest != ours.source_digest:
        return "another source digest: the method's files differ"
    if theirs.checksums.scores != ours.checksums.scores:
        return "other figures under the same keys and of the same source"
    return None


def _described(record: AnyRecord) -> str:
    parts = [f"train key {record.train_key[:12]}", f"score key {record.score_key[:12]}"]
    parts.append(f"source {record.source_digest[:12]}")
    if isinstance(record, DoneRecord):
        parts += [f"scores {record.checksums.scores[:12]}", f"commit {record.environment.git or 'unknown'}"]
        if record.fit:
            parts.append(f"trained by commit {record.fit.git or 'unknown'}")
    return ", ".join(parts)
