"""Makes a pack of a results folder. The same results give the same bytes."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import BenchError
from ..system.files import DamagedFile, atomic_file, read_bytes, sealed
from .cell_files import WEIGHTS
from .pack import MANIFEST, MAX_MEMBERS, MAX_RATIO, MAX_TOTAL, Manifest, Member, PackedProtocol
from .plan import PLANS, View, read_plan
from .results import Store
from .sources import SOURCES
from .transfer import cell_names, protocol_folders, read_file, read_source, whole_cell

_LEVEL = 6
_TIME = (1980, 1, 1, 0, 0, 0)
_NO_LICENCE = "no licence is known that lets anyone hand these images on; they were added by --images"


@dataclass
class Packed:
    """What went into a pack."""

    cells: int = 0
    left_out: int = 0
    """Cells that are not whole."""
    files: int = 0
    size: int = 0
    """Bytes of the pack."""
    images: set[str] = field(default_factory=set)
    """Data sets that slices are of."""
    without_images: set[str] = field(default_factory=set)
    """Data sets whose slices stayed behind."""


@dataclass(frozen=True)
class _PackedFile:
    """A file on its way into the pack: read when it is its turn, and then still what it was."""

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

    `protocols` as `Store.view` takes them. Slices that records keep go in where the data set's licence allows it, or
    with `images`. `warn` hears of every cell that is left out, and why. Raises BenchError where there is nothing to
    pack, and where a file changes meanwhile.
    """
    store, packed, items = Store(results), Packed(), dict[str, _PackedFile]()
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
    about = dict[str, PackedProtocol]()
    for name, view in sorted(views.items()):
        licences = {plan.protocol.dataset: plan.protocol.licence for plan in view.plans[::-1]}
        shown = _collect(store.runs / name, licences, weights, images, packed, items, warn)
        about[name] = PackedProtocol(
            name=view.protocol.name,
            version=view.protocol.version,
            digest=view.protocol.digest,
            dataset=view.protocol.dataset,
            images="; ".join(f"{dataset}: {licences.get(dataset) or _NO_LICENCE}" for dataset in sorted(shown)),
        )
    if not items:
        raise BenchError(f"there is nothing to pack below {store.runs}; start with: bench run")
    if len(items) > MAX_MEMBERS:
        raise BenchError(f"{len(items)} files are more than the {MAX_MEMBERS} that a pack may have; pack by --protocol")
    packed.files = len(items)
    _write(target, about, items)
    packed.size = target.stat().st_size
    return packed


def _collect(
    protocol: Path,
    licences: dict[str, str],
    weights: bool,
    images: bool,
    packed: Packed,
    items: dict[str, _PackedFile],
    warn: Callable[[str], None],
) -> set[str]:
    """Add what goes in of a protocol's folder to `items`; the data sets that images are of."""
    prefix, shown = f"runs/{protocol.name}", set[str]()
    readers: dict[str, Callable[[Path], object]] = {f"{PLANS}/*.json": read_plan, f"{SOURCES}/*.zip": read_source}
    for pattern, read in readers.items():
        for path in sorted(protocol.glob(pattern)):
            try:
                content = read_bytes(path)
                read(path)
            except (FileNotFoundError, DamagedFile) as error:
                warn(f"left out: {error}")
                continue
            items[f"{prefix}/{path.relative_to(protocol).as_posix()}"] = _packed_file(path, content)
    for name in cell_names(protocol):
        try:
            cell = whole_cell(protocol, name)
        except (BenchError, OSError) as error:
            packed.left_out += 1
            warn(f"left out: {protocol.name}/{name}: {error}")
            continue
        if cell.note:
            warn(f"{protocol.name}/{name}: {cell.note}")
        packed.cells += 1
        dataset = cell.record.resolved.dataset
        may_show = images or bool(licences.get(dataset))
        if cell.images:
            (packed.images if may_show else packed.without_images).add(dataset)
            shown |= {dataset} if may_show else set()
        for file, checksum in cell.files.items():
            if (file.endswith(WEIGHTS) and not weights) or (file in cell.images and not may_show):
                continue
            path = protocol / file
            if checksum is not None:
                items[f"{prefix}/{file}"] = _PackedFile(path, checksum)
            else:
                items[f"{prefix}/{file}"] = _packed_file(path, read_file(protocol, cell, file))
    return shown


def _packed_file(path: Path, content: bytes) -> _PackedFile:
    return _PackedFile(path, hashlib.sha256(content).hexdigest(), content if path.suffix == ".json" else None)


def _write(target: Path, about: dict[str, PackedProtocol], items: dict[str, _PackedFile]) -> None:
    """The members by name, then the manifest that names them."""
    members, total = dict[str, Member](), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with atomic_file(target) as file, zipfile.ZipFile(file, "w") as archive:
            for name, item in sorted(items.items()):
                content = read_bytes(item.path) if item.content is None else item.content
                if hashlib.sha256(content).hexdigest() != item.sha256:
                    raise BenchError(f"{item.path} was changed while it was packed; pack again")
                total += len(content)
                if total > MAX_TOTAL:
                    raise BenchError(f"more than {MAX_TOTAL} bytes are more than a pack may have; pack by --protocol")
                members[name] = Member(sha256=item.sha256, bytes=len(content))
                _add(archive, name, content)
            manifest = Manifest(protocols=about, members=members)
            _add(archive, MANIFEST, sealed(manifest.model_dump(mode="json")).encode())
    except FileNotFoundError as error:
        raise BenchError(f"{error.filename} was removed while it was packed; pack again") from None
    except OSError as error:
        raise BenchError(f"{target} cannot be written: {error.strerror or error}") from None


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    info = zipfile.ZipInfo(name, date_time=_TIME)
    info.create_system, info.external_attr = 3, 0o100644 << 16
    info.compress_type = zipfile.ZIP_STORED
    if name.endswith((".json", ".csv")) and len(zlib.compress(content, _LEVEL)) * MAX_RATIO > len(content):
        info.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(info, content, compresslevel=_LEVEL)
