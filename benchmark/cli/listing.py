"""What `bench list` and `bench data list` show."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from .. import registry
from ..data.preparation import data_folder
from ..method import Task, TorchMethod
from ..protocol import loading as protocols
from ..registry import BrokenPlugin
from ..system.cache import DIGESTS, cache_folder

SCALES = (2, 3, 4)
SLICE = 240
"""Rows and columns of the HR slice whose LR costs are given for: the published comparison's crop."""


def summaries(what: str) -> dict[str, str]:
    """Name → first line of the docstring, or of a protocol's description. Imports no method."""
    if what == "protocols":
        loaded = {name: protocols.load(name).protocol for name in protocols.builtin()}
        return {name: content.description.strip().splitlines()[0] for name, content in loaded.items()}
    sources = registry.methods() if what == "methods" else registry.datasets()
    return {name: source.summary for name, source in sorted(sources.items())}


def lines(what: str) -> list[str]:
    """The summaries for people, a line each."""
    found = summaries(what)
    width = max(map(len, found))
    return [f"  {name:{width}}  {line}" for name, line in found.items()]


def details(what: str) -> dict[str, dict[str, Any]]:
    """Name → what a program wants to know of it. Imports the methods."""
    found = summaries(what)
    if what == "protocols":
        return {
            name: {"summary": line, "version": loaded.protocol.version, "digest": loaded.digest}
            for name, line in found.items()
            for loaded in [protocols.load(name)]
        }
    if what == "datasets":
        sources = registry.datasets()
        return {name: {"summary": line, "path": str(sources[name].path)} for name, line in found.items()}
    sources = registry.methods()
    return {name: {"summary": line, **_method(sources[name])} for name, line in found.items()}


def _method(source: registry.Source) -> dict[str, Any]:
    about: dict[str, Any] = {"kind": source.kind, "path": str(source.path)}
    try:
        cls = registry.load_method(source)
        options = cls.Options().model_dump(mode="json")
    except (BrokenPlugin, ValidationError) as error:
        return {**about, "broken": str(error)}
    about |= {"version": cls.version, "paper": cls.paper, "options": options, "presets": cls.presets}
    if issubclass(cls, TorchMethod):
        about["recipe"] = cls.recipe.model_dump(mode="json")
        labels = {source.name: None, **{f"{source.name}:{preset}": preset for preset in cls.presets}}
        about["costs"] = {
            label: {f"x{scale}": _cost(cls, preset, scale) for scale in SCALES} for label, preset in labels.items()
        }
    return about


@cache
def _cost(cls: type[TorchMethod], preset: str | None, scale: int) -> dict[str, Any]:
    """Parameters and multiply-accumulates for the LR of a `SLICE` × `SLICE` slice, from shapes; nothing is computed."""
    from ..training.complexity import count_macs, count_parameters

    task, lr = Task((1, scale, scale)), (SLICE // scale, SLICE // scale)
    try:
        method = cls(preset)
        if reason := method.unsupported(task):
            return {"unsupported": reason}
        about = {"parameters": count_parameters(method, task), "macs": count_macs(method, task, lr)}
        return {"lr": list(lr), "slices": method.slices_per_sample, **about}
    except Exception as error:  # a plugin's, which hides no other entry
        return {"error": f"{type(error).__name__}: {error}"}


def described(what: str) -> list[str]:
    """The lines of `details` for people."""
    lines = []
    for name, about in details(what).items():
        lines.append(f"  {name:14} {about['summary']}")
        presets = [f"{preset}: {_words(options)}" for preset, options in about.get("presets", {}).items()]
        shown = {**about, "options": _words(about.get("options", {})), "presets": f"\n{'':17}".join(presets)}
        keys = ("broken", "paper", "version", "digest", "options", "presets", "path")
        lines += [f"    {key:12} {shown[key]}" for key in keys if shown.get(key)]
        if costs := about.get("costs"):
            lines += ["", *(f"    {line}" for line in _table(costs)), ""]
    return lines


def _words(options: Mapping[str, Any]) -> str:
    """Names and values, with commas between."""
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in options.items())


def _table(costs: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """A row per label of one method, a column per scale, and below them what the cells mean."""
    cells = [(label, [_cell(cost) for cost in by_scale.values()]) for label, by_scale in costs.items()]
    rows = [["", *(f"×{scale}" for scale in SCALES)], *([label, *(text for text, _ in row)] for label, row in cells)]
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    lines = ["  ".join([row[0].ljust(first), *map(str.rjust, row[1:], others)]) for row in rows]
    notes = dict.fromkeys(note for _, row in cells for _, note in row if note)
    return [*lines, f"parameters / GMACs for the LR of a {SLICE}×{SLICE} slice", *notes]


def _cell(cost: Mapping[str, Any]) -> tuple[str, str]:
    """What stands in the table for a result of `_cost`, and what to say below the table, or ""."""
    if "macs" not in cost:
        [(word, reason)] = cost.items()
        return "–", f"– {word}: {reason}"
    text, slices = f"{cost['parameters']:,} / {cost['macs'] / 1e9:.2f}", cost["slices"]
    return (text, "") if slices == 1 else (f"{text}*", f"* for {slices} slices, which it takes at a time")


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
    for name in [*registry.datasets(), DIGESTS]:
        folder = cache_folder() / name
        freed += _size(folder)
        shutil.rmtree(folder, ignore_errors=True)
    return freed


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
