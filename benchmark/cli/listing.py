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
from ..data.folders import data_folder
from ..method import Task, TorchMethod
from ..protocol import loading as protocols
from ..registry import BrokenPlugin
from ..system.cache import DIGESTS, cache_folder
from ..system.units import size_text
from .options import aligned

SCALES = (2, 3, 4)
SLICE = 240
"""Rows and columns of the HR slice whose LR costs are given for: the published comparison's crop."""


def summaries(kind: str) -> dict[str, str]:
    """Name → first line of the docstring, or of a protocol's description. Imports no method.

    kind: 'methods', 'protocols' or 'datasets'.
    """
    if kind == "protocols":
        contents = {name: protocols.load(name).protocol for name in protocols.builtin()}
        return {name: content.description.strip().splitlines()[0] for name, content in contents.items()}
    sources = registry.methods() if kind == "methods" else registry.datasets()
    return {name: source.summary for name, source in sorted(sources.items())}


def lines(kind: str) -> list[str]:
    """The summaries for people, a line each."""
    return [f"  {line}" for line in aligned([*summaries(kind).items()])]


def details(kind: str) -> dict[str, dict[str, Any]]:
    """Name → what a program wants to know of it. Imports the methods."""
    summary_of = summaries(kind)
    if kind == "protocols":
        return {
            name: {"summary": summary, "version": loaded.protocol.version, "digest": loaded.digest}
            for name, summary in summary_of.items()
            for loaded in [protocols.load(name)]
        }
    if kind == "datasets":
        sources = registry.datasets()
        return {name: {"summary": summary, "path": str(sources[name].path)} for name, summary in summary_of.items()}
    sources = registry.methods()
    return {name: {"summary": summary, **_method_details(sources[name])} for name, summary in summary_of.items()}


def _method_details(source: registry.Source) -> dict[str, Any]:
    entry: dict[str, Any] = {"kind": source.kind, "path": str(source.path)}
    try:
        cls = registry.load_method(source)
        options = cls.Options().model_dump(mode="json")
    except (BrokenPlugin, ValidationError) as error:
        return {**entry, "broken": str(error)}
    entry |= {"version": cls.version, "paper": cls.paper, "options": options, "presets": cls.presets}
    if issubclass(cls, TorchMethod):
        entry["recipe"] = cls.recipe.model_dump(mode="json")
        labels = {source.name: None, **{f"{source.name}:{preset}": preset for preset in cls.presets}}
        entry["costs"] = {
            label: {f"x{scale}": _cost(cls, preset, scale) for scale in SCALES} for label, preset in labels.items()
        }
    return entry


@cache
def _cost(cls: type[TorchMethod], preset: str | None, scale: int) -> dict[str, Any]:
    """Parameters and multiply-accumulates for the LR of a `SLICE` × `SLICE` slice, from shapes; nothing is computed."""
    from ..training.complexity import count_network

    task, lr = Task((1, scale, scale)), (SLICE // scale, SLICE // scale)
    try:
        method = cls(preset)
        if reason := method.unsupported(task):
            return {"unsupported": reason}
        parameters, macs = count_network(method, task, lr)
        return {"lr": list(lr), "slices": method.slices_per_sample, "parameters": parameters, "macs": macs}
    except Exception as error:  # a plugin's, which hides no other entry
        return {"error": f"{type(error).__name__}: {error}"}


def described(kind: str) -> list[str]:
    """The lines of `details` for people."""
    lines = []
    for name, entry in details(kind).items():
        lines.append(f"  {name:14} {entry['summary']}")
        presets = [f"{preset}: {_options_text(options)}" for preset, options in entry.get("presets", {}).items()]
        texts = {**entry, "options": _options_text(entry.get("options", {})), "presets": f"\n{'':17}".join(presets)}
        keys = ("broken", "paper", "version", "digest", "options", "presets", "path")
        lines += [f"    {key:12} {texts[key]}" for key in keys if texts.get(key)]
        if costs := entry.get("costs"):
            lines += ["", *(f"    {line}" for line in _cost_table(costs)), ""]
    return lines


def _options_text(options: Mapping[str, Any]) -> str:
    """Names and values, with commas between."""
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in options.items())


def _cost_table(costs: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """A row per label of one method, a column per scale, and below them what the cells mean."""
    cells = {label: [_cost_cell(cost) for cost in by_scale.values()] for label, by_scale in costs.items()}
    header = ["", *(f"×{scale}" for scale in SCALES)]
    rows = [[label, *(text for text, _ in row)] for label, row in cells.items()]
    notes = dict.fromkeys(note for row in cells.values() for _, note in row if note)
    table = aligned([header, *rows], "left", *["right"] * len(SCALES))
    return [*table, f"parameters / GMACs for the LR of a {SLICE}×{SLICE} slice", *notes]


def _cost_cell(cost: Mapping[str, Any]) -> tuple[str, str]:
    """The text in the table for a result of `_cost`, and the note below the table, or ""."""
    if "macs" not in cost:
        [(state, reason)] = cost.items()
        return "–", f"– {state}: {reason}"
    text, slices = f"{cost['parameters']:,} / {cost['macs'] / 1e9:.2f}", cost["slices"]
    return (text, "") if slices == 1 else (f"{text}*", f"* for {slices} slices, which it takes at a time")


def data_places() -> list[str]:
    """Where each data set's files are looked for, and where the cache is, with sizes."""
    places = {name: _data_place(name, source) for name, source in registry.datasets().items()}
    cache = cache_folder()
    hint = "MRSR_CACHE" if os.environ.get("MRSR_CACHE") else "set MRSR_CACHE to move it"
    return aligned([*places.items(), ("cache", f"{cache} ({size_text(_size(cache))}; {hint})")])


def _data_place(name: str, source: registry.Source) -> str:
    root = data_folder(name, None)
    if not registry.load_dataset(source).needs_root:
        return "comes with an installed package"
    if root is None:
        return "give --data DIR, or set MRSR_DATA"
    return f"{root} ({size_text(_size(root))})" if root.is_dir() else f"{root} (missing)"


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
