"""Cells to hand on, by a pack or a merge: whole, or not at all."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from dataclasses import dataclass

from ..errors import BenchError
from ..system.files import DamagedFile, Readable, read_bytes, unsealed
from ..system.training_states import CURVE
from .cell_files import EXHIBIT, RADIAL, RECORD, SCORES, WEIGHTS, Place, Standing, State, inspect_cell, read_record
from .cross_tests import cross_scores_name
from .exhibit import read_exhibit
from .method_sources import SOURCES
from .pack import DAMAGE, is_member_name, max_bytes
from .plan import PLANS
from .record import AnyRecord, CrossScores, DoneRecord, parse

_FOLDER = re.compile(r"seed[0-9]+")
_MAX_SOURCE = 2**25
"""Bytes of the archive of a method's files and of its unpacked content, added."""


class NotWhole(BenchError):
    """A cell that cannot be handed on."""

    def __init__(self, state: State, why: str) -> None:
        super().__init__(why or state)
        self.state = state


@dataclass(frozen=True)
class WholeCell:
    """A cell that can be handed on. Names are relative to the protocol's folder."""

    name: str
    """Its folder: <degradation>/<contrast>-x2/<label>/seed0."""
    record: AnyRecord
    files: dict[str, str | None]
    """Name → its SHA-256 by the record; None for the record and the truth, which have their own."""
    note: str = ""
    """Which of its files are left out, and why."""

    @property
    def record_name(self) -> str:
        return f"{self.name}/{RECORD}"

    @property
    def images(self) -> set[str]:
        """Names of the files that hold images."""
        return {name for name in self.files if name.endswith(".npz")}


def protocol_folders(runs: Readable) -> list[str]:
    """The folders below runs that have plans or records."""
    plans = (path.parent.parent.name for path in runs.glob(f"*/{PLANS}/*.json"))
    records = (path.parent.parent.parent.parent.parent.name for path in runs.glob(f"*/*/*/*/seed*/{RECORD}"))
    return sorted({*plans, *records})


def cell_names(protocol: Readable) -> list[str]:
    """The folders of all cells that have a record, a plain cell before its self-ensemble."""
    names = []
    for path in protocol.glob(f"*/*/*/seed*/{RECORD}"):
        folder = path.parent
        row = folder.parent.parent
        if _FOLDER.fullmatch(folder.name) and row.parent.name not in (PLANS, SOURCES):
            names.append("/".join((row.parent.name, row.name, folder.parent.name, folder.name)))
    return sorted(names, key=lambda name: name.split("/"))


def base_of(name: str) -> str:
    """The folder of a cell's plain cell, where its weights lie."""
    row, label, seed = name.rsplit("/", 2)
    return f"{row}/{label.removesuffix('+')}/{seed}"


def record_files(name: str, record: DoneRecord) -> dict[str, str | None]:
    """The files that belong to a record, whether they exist or not: name → its SHA-256 by the record, if it has one."""
    checksums = {
        SCORES: record.checksums.scores,
        RADIAL: record.checksums.radial,
        CURVE: record.checksums.curve,
        EXHIBIT: record.checksums.exhibit,
    }
    files: dict[str, str | None] = {f"{name}/{file}": checksum for file, checksum in checksums.items()}
    files |= {f"{name}/{cross_scores_name(title)}": test.checksum for title, test in record.tests.items()}
    if record.checksums.weights is not None:
        files[f"{base_of(name)}/{WEIGHTS}"] = record.checksums.weights
    return files


def own_standing(protocol: Readable, name: str, *, held: bool = False) -> Standing:
    """The state of a cell by the keys of its own record, whatever a plan wants: missing, running, done, damaged, …"""
    try:
        record = read_record(protocol / name)
    except BenchError:
        record = None  # `inspect_cell` reports it
    keys = (record.train_key, record.score_key, record.source_digest) if record else ("", "", "")
    tests = record.tests.items() if isinstance(record, DoneRecord) else ()
    test_keys = {title: test.score_key for title, test in tests}
    return inspect_cell(Place(protocol / name, protocol / base_of(name), *keys, test_keys), held=held)


def whole_cell(protocol: Readable, name: str) -> WholeCell:
    """A cell that is done, or whose record says why it has no figures. Raises BenchError for any other."""
    standing = own_standing(protocol, name)
    record = standing.record
    if record is None or standing.state not in ("done", "failed", "skipped", "timeout"):
        raise NotWhole(standing.state, standing.why)
    _, label, seed = name.rsplit("/", 2)
    if (record.label, f"seed{record.resolved.seed}") != (label, seed):
        raise DamagedFile(protocol / name / RECORD, f"it is the record of {record.label} seed {record.resolved.seed}")
    files: dict[str, str | None] = {}
    notes = list[str]()
    if isinstance(record, DoneRecord):
        checksums = record_files(name, record)
        for title, test in standing.open_tests.items():
            del checksums[f"{name}/{cross_scores_name(title)}"]
            notes.append(f"its test on {title} is left out: {test.why or test.state}")
        files |= {path: checksum for path, checksum in checksums.items() if checksum and (protocol / path).is_file()}
        if f"{name}/{EXHIBIT}" in files:
            try:
                if exhibit := read_exhibit(protocol / name):
                    files[f"{name.rsplit('/', 2)[0]}/{exhibit.truth}"] = None
            except DamagedFile as error:
                del files[f"{name}/{EXHIBIT}"]
                notes.append(f"its images are left out, because {error}")
    files[f"{name}/{RECORD}"] = None  # last, in the order of writing
    for path in files:
        size = (protocol / path).stat().st_size
        if not is_member_name(f"runs/{protocol.name}/{path}") or size > max_bytes(path):
            raise BenchError(f"{protocol / path} has a name or a size ({size} bytes) that a pack cannot have")
    return WholeCell(name, record, files, "; ".join(notes))


def new_tests(cell: WholeCell, own: Standing) -> dict[str, CrossScores]:
    """The whole tests of a cell that its counterpart here lacks, or has damaged."""
    tests = cell.record.tests if isinstance(cell.record, DoneRecord) else {}
    done = own.tests.keys() - own.open_tests.keys()
    return {
        title: test
        for title, test in tests.items()
        if title not in done and f"{cell.name}/{cross_scores_name(title)}" in cell.files
    }


def read_file(protocol: Readable, cell: WholeCell, name: str) -> bytes:
    """The content of one of a cell's files. Raises DamagedFile where it has changed since `whole_cell`."""
    path, checksum = protocol / name, cell.files[name]
    try:
        content = read_bytes(path)
    except FileNotFoundError:
        raise DamagedFile(path, "it was removed while it was read") from None
    is_same = checksum is None or hashlib.sha256(content).hexdigest() == checksum
    if name == cell.record_name:
        is_same = parse(unsealed(path, content)).model_dump_json() == cell.record.model_dump_json()
    if not is_same:
        raise DamagedFile(path, "it was changed while it was read")
    return content


def read_source(path: Readable) -> bytes:
    """The archive of a method's files, by `method_sources.keep_source`. Raises DamagedFile for any other file."""
    content = read_bytes(path)
    parts, remaining = list[bytes](), _MAX_SOURCE - len(content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist() if remaining > 0 else []:
                with archive.open(member) as file:
                    parts.append(file.read(remaining + 1))
                remaining -= len(parts[-1])
                if remaining < 0:
                    break
    except DAMAGE as error:
        raise DamagedFile(path, str(error).partition("\n")[0] or type(error).__name__) from None
    if remaining <= 0 or f"{hashlib.sha256(bytes(1).join(parts)).hexdigest()}.zip" != path.name:
        raise DamagedFile(path, "it does not hold the files of the digest in its name")
    return content
