"""Makes a pack of a results folder. The same results give the same bytes."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BenchError
from ..system.files import DamagedFile, atomic_file, read_bytes, sealed
from .cell_files import WEIGHTS
from .method_sources import SOURCES
from .pack import MANIFEST, MAX_MEMBERS, MAX_RATIO, MAX_TOTAL, Manifest, Member, PackedProtocol
from .plan import PLANS, View, read_plan
from .results import Store
from .whole_cell import WholeCell, cell_names, protocol_folders, read_file, read_source, whole_cell

_LEVEL = 6
_TIME = (1980, 1, 1, 0, 0, 0)
_NO_LICENCE = "no licence is known under which these images may be handed on; they were added by --images"


@dataclass
class Packed:
    """What went into a pack."""

    cells: int = 0
    left_out: int = 0
    """Number of cells that are not whole."""
    files: int = 0
    size: int = 0
    """Bytes of the pack."""
    images: set[str] = field(default_factory=set)
    """Data sets whose slices are in the pack."""
    without_images: set[str] = field(default_factory=set)
    """Data sets whose slices were left out."""


@dataclass(frozen=True)
class _PackedFile:
    """A file to pack. It is read when its turn comes, and must then have the same checksum."""

    path: Path
    sha256: str
    content: bytes | None = None


def write_pack(
    results: Path,
    target: Path,
    protocols: Sequence[str] = (),
    *,
    weights: bool = False,
    images: bool = False,
    warn: Callable[[str], None],
) -> Packed:
    """Write all plans and whole cells below a results folder, or those of some protocols, into one file, atomically.

    `protocols` as `Store.view` takes them. Slices that records keep are packed where the data set's licence allows it,
    or with `images`. `warn` is called with a message for every cell that is left out. Raises BenchError where there is
    nothing to pack, and where a file changes meanwhile.
    """
    store, collector = Store(results), _Collector(weights, images, warn)
    views = dict[str, View]()
    for protocol in protocols or protocol_folders(store.runs):
        try:
            view = store.view(protocol)
        except BenchError as error:
            if protocols:
                raise
            warn(f"left out: {store.runs / protocol}: {error}")
            continue
        views[view.folder.name] = view
    packed_protocols = {name: collector.add_protocol(store.runs / name, view) for name, view in sorted(views.items())}
    packed, files = collector.packed, collector.files
    if not files:
        raise BenchError(f"there is nothing to pack below {store.runs}; start with: bench run")
    if len(files) > MAX_MEMBERS:
        raise BenchError(f"{len(files)} files are more than the {MAX_MEMBERS} that a pack may have; pack by --protocol")
    packed.files = len(files)
    _write(target, packed_protocols, files)
    packed.size = target.stat().st_size
    return packed


@dataclass
class _Collector:
    """Collects the files to pack, by their names in the pack."""

    weights: bool
    images: bool
    """Whether slices are packed whatever their licence."""
    warn: Callable[[str], None]
    packed: Packed = field(default_factory=Packed)
    files: dict[str, _PackedFile] = field(default_factory=dict)

    def add_protocol(self, folder: Path, view: View) -> PackedProtocol:
        """Add the plans, sources and whole cells of a protocol's folder; its entry in the manifest."""
        licences = {plan.protocol.dataset: plan.protocol.licence for plan in view.plans[::-1]}
        self._add_checked_files(folder, f"{PLANS}/*.json", read_plan)
        self._add_checked_files(folder, f"{SOURCES}/*.zip", read_source)
        cells = (cell for name in cell_names(folder) if (cell := self._whole_cell(folder, name)) is not None)
        datasets = {dataset for cell in cells if (dataset := self._add_cell(folder, cell, licences)) is not None}
        return PackedProtocol(
            name=view.protocol.name,
            version=view.protocol.version,
            digest=view.protocol.digest,
            dataset=view.protocol.dataset,
            images="; ".join(f"{dataset}: {licences.get(dataset) or _NO_LICENCE}" for dataset in sorted(datasets)),
        )

    def _add_checked_files(self, folder: Path, pattern: str, read: Callable[[Path], object]) -> None:
        for path in sorted(folder.glob(pattern)):
            try:
                content = read_bytes(path)
                read(path)
            except (FileNotFoundError, DamagedFile) as error:
                self.warn(f"left out: {error}")
                continue
            self.files[f"runs/{folder.name}/{path.relative_to(folder).as_posix()}"] = _packed_file(path, content)

    def _whole_cell(self, folder: Path, name: str) -> WholeCell | None:
        try:
            cell = whole_cell(folder, name)
        except (BenchError, OSError) as error:
            self.packed.left_out += 1
            self.warn(f"left out: {folder.name}/{name}: {error}")
            return None
        if cell.note:
            self.warn(f"{folder.name}/{name}: {cell.note}")
        return cell

    def _add_cell(self, folder: Path, cell: WholeCell, licences: Mapping[str, str]) -> str | None:
        """Add a cell's files; the data set of its images, where these are packed."""
        self.packed.cells += 1
        dataset = cell.record.resolved.dataset
        with_images = self.images or bool(licences.get(dataset))
        if cell.images:
            (self.packed.images if with_images else self.packed.without_images).add(dataset)
        for name, checksum in cell.files.items():
            if (name.endswith(WEIGHTS) and not self.weights) or (name in cell.images and not with_images):
                continue
            path = folder / name
            self.files[f"runs/{folder.name}/{name}"] = (
                _packed_file(path, read_file(folder, cell, name)) if checksum is None else _PackedFile(path, checksum)
            )
        return dataset if cell.images and with_images else None


def _packed_file(path: Path, content: bytes) -> _PackedFile:
    return _PackedFile(path, hashlib.sha256(content).hexdigest(), content if path.suffix == ".json" else None)


def _write(target: Path, protocols: dict[str, PackedProtocol], files: dict[str, _PackedFile]) -> None:
    """Write the members, sorted by name, then the manifest that names them."""
    members, total = dict[str, Member](), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_file(target) as target_file, zipfile.ZipFile(target_file, "w") as archive:
            for name, file in sorted(files.items()):
                content = read_bytes(file.path) if file.content is None else file.content
                if hashlib.sha256(content).hexdigest() != file.sha256:
                    raise BenchError(f"{file.path} was changed while it was packed; pack again")
                total += len(content)
                if total > MAX_TOTAL:
                    raise BenchError(
                        f"the files have more than the {MAX_TOTAL} bytes that a pack may have; pack by --protocol"
                    )
                members[name] = Member(sha256=file.sha256, bytes=len(content))
                _add_member(archive, name, content)
            manifest = Manifest(protocols=protocols, members=members)
            _add_member(archive, MANIFEST, sealed(manifest.model_dump(mode="json")).encode())
    except FileNotFoundError as error:
        raise BenchError(f"{error.filename} was removed while it was packed; pack again") from None
    except OSError as error:
        raise BenchError(f"{target} cannot be written: {error.strerror or error}") from None


def _add_member(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, date_time=_TIME)
    info.create_system, info.external_attr = 3, 0o100644 << 16
    info.compress_type = zipfile.ZIP_STORED
    if name.endswith((".json", ".csv")) and len(zlib.compress(content, _LEVEL)) * MAX_RATIO > len(content):
        info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content, compresslevel=_LEVEL)
