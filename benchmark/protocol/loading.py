"""Reads and checks protocols: YAML files that fix everything which makes figures comparable.

Every error names the file, the line, the key and the nearest valid word. Files are data only: no expressions, no
includes. A protocol's digest is the SHA-256 of its resolved content, the split's subjects included.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from ..errors import UsageError, did_you_mean
from ..system.files import digest
from .block import Block
from .data_blocks import BRANCHES
from .schema import Protocol, ReportSpec

FOLDS = ("train", "val", "test")
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Loaded:
    """A protocol with its split, and the lines of its keys for error messages."""

    protocol: Protocol
    split: dict[str, tuple[str, ...]]
    """Fold → subjects, in the file's order."""
    path: Path
    split_path: Path = Path()
    overrides: dict[str, int] = field(default_factory=dict)
    _lines: dict[KeyPath, int] = field(default_factory=dict, repr=False)

    @property
    def folder(self) -> str:
        """The folder of its records: the name, and what was overridden."""
        marks = ",".join(f"{name}={value}" for name, value in sorted(self.overrides.items()))
        return f"{self.protocol.name}~{marks}" if marks else self.protocol.name

    def train_subjects(self, number: int | None) -> tuple[str, ...]:
        """The training subjects, or `number` of them: those whose names have the smallest SHA-256.

        So a smaller set is part of every larger one, and the order of the split's file does not matter.
        """
        names = self.split["train"]
        if number is None:
            return names
        chosen = sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:number]
        return tuple(name for name in names if name in chosen)

    def resolved(self) -> dict[str, Any]:
        """The protocol with all defaults and the split's subjects, as plain data."""
        return {
            **self.protocol.model_dump(mode="json", by_alias=True),
            "split_subjects": {fold: list(names) for fold, names in self.split.items()},
            **({"overrides": self.overrides} if self.overrides else {}),
        }

    @property
    def digest(self) -> str:
        return digest(self.resolved())

    def error(self, path: KeyPath, message: str) -> UsageError:
        """An error at a key: file, line, key, message."""
        return UsageError(f"{self.path}:{_line(self._lines, path)}: {_dotted(path)}: {message}")

    @property
    def searches_rates(self) -> bool:
        """Whether this is a protocol's search for learning rates, which tests nothing: its test is its validation."""
        return "rates" in self.overrides

    def override(self, limit: int | None = None, steps: int | None = None, search: bool = False) -> Loaded:
        """The same protocol with at most `limit` subjects a fold and `steps` training steps; it has its own folder.

        With `search`, its search for learning rates. Raises UsageError where it has none.
        """
        loaded = self._search() if search else self
        if limit is not None:
            split = {fold: names[:limit] for fold, names in self.split.items()}
            loaded = replace(loaded, split=split, overrides={**loaded.overrides, "limit": limit})
        if steps is not None:
            loaded = replace(loaded, overrides={**loaded.overrides, "steps": steps})
        return loaded

    def _search(self) -> Loaded:
        """The one cell on which learning rates are searched for. No volume of the test fold is in it."""
        protocol, rates = self.protocol, self.protocol.rates
        if rates is None:
            raise UsageError(f"{self.path}: the protocol has no block 'rates', so there is no rate to search for")
        data = protocol.data.model_copy(
            update={"contrasts": (rates.contrast,), "plane": {rates.contrast: protocol.data.plane[rates.contrast]}}
        )
        plain = {label: spec for label, spec in protocol.methods.items() if not label.endswith("+")}
        changes = {
            "data": data,
            "degradation": protocol.degradation[:1],
            "scales": (rates.scale,),
            "seeds": (rates.seed,),
            "methods": {label: spec.model_copy(update={"seeds": None}) for label, spec in plain.items()},
            "test": None,
            "report": ReportSpec(subjects=0),
        }
        split = {**self.split, "test": self.split["val"]}
        overrides = {**self.overrides, "rates": len(rates.values)}
        return replace(self, protocol=protocol.model_copy(update=changes), split=split, overrides=overrides)


def builtin() -> dict[str, Path]:
    """Name → path of the protocols that ship with the package."""
    folder = Path(str(files("mrsr_bench.protocols")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def is_builtin(path: Path) -> bool:
    """Whether a file of a protocol or a split ships with the package."""
    return path.is_relative_to(Path(str(files("mrsr_bench.protocols"))).resolve())


def load(name_or_path: str) -> Loaded:
    """Read a protocol by built-in name or by path. Raises UsageError naming file, line, key and the nearest word."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        known = builtin()
        if name_or_path not in known:
            raise UsageError(f"unknown protocol '{name_or_path}'. {did_you_mean(name_or_path, known)}")
        path = known[name_or_path]
    content, lines = _read_yaml(path)
    try:
        protocol = Protocol.model_validate(content)
    except ValidationError as error:
        problems = _without_consequences([{**e, "loc": _key_path(e["loc"])} for e in error.errors()])
        messages = [f"{path}:{_line(lines, e['loc'])}: {_dotted(e['loc'])}: {_explain(e, Protocol)}" for e in problems]
        raise UsageError("\n".join(messages)) from None
    loaded = Loaded(protocol, {}, path.resolve(), _lines=lines)
    split, split_path = _read_split(loaded)
    return replace(loaded, split=split, split_path=split_path)


def _key_path(place: KeyPath) -> KeyPath:
    """The keys of a place of pydantic's, without the names of ways to write one."""
    return tuple(part for part in place if part not in BRANCHES)


def _without_consequences(problems: Sequence[Any]) -> list[Any]:
    """pydantic's problems, without lists that are too short only because an item is wrong."""
    places = [problem["loc"] for problem in problems]
    wrong_items = {place[:end] for place in places for end in range(len(place))}
    return [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in wrong_items]


def _read_yaml(path: Path) -> tuple[Any, dict[KeyPath, int]]:
    try:
        content = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        location = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UsageError(f"{location}: {str(error.problem or error).splitlines()[0]}") from None
    except (YAMLError, ValueError, TypeError, RecursionError) as error:  # ruamel does not wrap all of its own
        raise UsageError(f"{path}: is not YAML ({error})") from None
    if not isinstance(content, CommentedMap):
        raise UsageError(f"{path}:1: a protocol is a mapping of keys, e.g. 'name: my_protocol'")
    lines: dict[KeyPath, int] = {}
    return _plain(content, (), lines), lines


def _plain(node: Any, path: KeyPath, lines: dict[KeyPath, int]) -> Any:
    """The node as plain Python data, noting the line of every key on the way."""
    if isinstance(node, CommentedMap):
        for key in node:
            if key in (node.lc.data or {}):  # a key that a merge (<<) brings has no line of its own
                lines[(*path, key)] = node.lc.key(key)[0] + 1
        return {key: _plain(value, (*path, key), lines) for key, value in node.items()}
    if isinstance(node, CommentedSeq):
        for index in range(len(node)):
            lines[(*path, index)] = node.lc.item(index)[0] + 1
        return [_plain(value, (*path, index), lines) for index, value in enumerate(node)]
    for plain in (bool, int, float, str):
        if isinstance(node, plain):
            return plain(node)
    return node


def _line(lines: Mapping[KeyPath, int], path: Sequence[str | int]) -> int:
    """The line of the nearest key at or above `path`."""
    for end in range(len(path), 0, -1):
        if tuple(path[:end]) in lines:
            return lines[tuple(path[:end])]
    return 1


def _dotted(path: Sequence[str | int]) -> str:
    return ".".join(str(part) for part in path) or "(file)"


def _explain(error: Any, model: type[BaseModel]) -> str:
    """pydantic's message, and for an unknown key the nearest valid one."""
    if error["type"] != "extra_forbidden":
        given = (
            f" (got {error['input']!r})" if error["type"] != "missing" and not isinstance(error["input"], dict) else ""
        )
        return f"{error['msg'].removeprefix('Value error, ')}{given}"
    for part in error["loc"][:-1]:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        model = next((block for block in Block.__subclasses__() if block.__name__ in repr(annotation)), model)
    valid = [info.alias or name for name, info in model.model_fields.items()]
    return f"unknown key. {did_you_mean(str(error['loc'][-1]), valid)}"


def _read_split(loaded: Loaded) -> tuple[dict[str, tuple[str, ...]], Path]:
    """Fold → subjects, and the file; every subject appears once, so no two folds share one."""
    name = loaded.protocol.data.split
    places = [loaded.path.parent / name, Path(str(files("mrsr_bench.protocols"))) / name]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise loaded.error(("data", "split"), f"no such file: {places[0]}")
    split: dict[str, list[str]] = {fold: [] for fold in FOLDS}
    lines: dict[str, int] = {}
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from None
    if rows[:1] != [["subject", "fold"]]:
        raise UsageError(f"{path}:1: the first line must be 'subject,fold'")
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != 2 or not row[0] or row[1] not in FOLDS:
            raise UsageError(f"{path}:{line}: expected 'subject,fold' with fold one of {', '.join(FOLDS)}: {row}")
        if row[0] in lines:
            raise UsageError(f"{path}:{line}: subject '{row[0]}' is already on line {lines[row[0]]}")
        lines[row[0]] = line
        split[row[1]].append(row[0])
    if empty := [fold for fold in FOLDS if not split[fold]]:
        raise UsageError(f"{path}: no subject is in {' and '.join(empty)}")
    return {fold: tuple(names) for fold, names in split.items()}, path.resolve()
