"""What `bench list` and `bench data` show."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from . import protocol as protocols
from . import registry
from .method import TorchMethod
from .preparation import cache_folder, data_folder
from .registry import BrokenPlugin


def summaries(what: str) -> dict[str, str]:
    """Name → first line of the docstring, or of a protocol's description. Imports no method."""
    if what == "protocols":
        loaded = {name: protocols.load(name).protocol for name in protocols.builtin()}
        return {name: content.description.strip().splitlines()[0] for name, content in loaded.items()}
    sources = registry.methods() if what == "methods" else registry.datasets()
    return {name: source.summary for name, source in sorted(sources.items())}


def details(what: str) -> dict[str, dict[str, Any]]:
    """Name → what a program wants to know of it. Imports the methods."""
    lines = summaries(what)
    if what == "protocols":
        return {
            name: {"summary": line, "version": loaded.protocol.version, "digest": loaded.digest}
            for name, line in lines.items()
            for loaded in [protocols.load(name)]
        }
    if what == "datasets":
        sources = registry.datasets()
        return {name: {"summary": line, "path": str(sources[name].path)} for name, line in lines.items()}
    sources = registry.methods()
    return {name: {"summary": line, **_method(sources[name])} for name, line in lines.items()}


def _method(source: registry.Source) -> dict[str, Any]:
    about: dict[str, Any] = {"kind": source.kind, "path": str(source.path)}
    try:
        cls = registry.load_method(source)
    except BrokenPlugin as error:
        return {**about, "broken": str(error)}
    options = cls.Options().model_dump(mode="json")
    about |= {"version": cls.version, "paper": cls.paper, "options": options, "presets": cls.presets}
    if issubclass(cls, TorchMethod):
        about["recipe"] = cls.recipe.model_dump(mode="json")
    return about


def data_places() -> list[str]:
    """Where each data set's files are looked for, and where the cache lies, with sizes."""
    lines = []
    for name, source in registry.datasets().items():
        cls = registry.load_dataset(source)
        root = data_folder(name, None)
        if not cls.needs_root:
            lines.append(f"{name:14} comes with an installed package")
        elif root is None:
            lines.append(f"{name:14} give --data DIR, or set MRSR_DATA")
        else:
            found = f"{_size(root) / 1e6:.1f} MB" if root.is_dir() else "missing"
            lines.append(f"{name:14} {root} ({found})")
    cache = cache_folder()
    chosen = "MRSR_CACHE" if os.environ.get("MRSR_CACHE") else "set MRSR_CACHE to move it"
    return [*lines, f"{'cache':14} {cache} ({_size(cache) / 1e6:.1f} MB; {chosen})"]


def clear_cache() -> int:
    """Delete the prepared volumes; returns the bytes freed."""
    freed = 0
    for name in [*registry.datasets(), "digests"]:
        folder = cache_folder() / name
        freed += _size(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
