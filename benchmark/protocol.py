"""Protocols: YAML files that fix everything which makes figures comparable. Form is checked here, names in `cell.py`.

Every error names the file, the line, the key and the nearest valid word. Files are data only: no expressions, no
includes. A protocol's digest is the SHA-256 of its resolved content, the split's subjects included.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from .errors import UsageError, did_you_mean

FOLDS = ("train", "val", "test")
Plane = Literal["axial", "sagittal", "coronal"]
KeyPath = tuple[str | int, ...]
# These become names of folders.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\+?$")]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values, none of which may stand twice: each makes cells of its own."""
    for number, value in enumerate(values):
        if value in values[:number]:
            raise ValueError(f"{value} stands twice")
    return values


class Data(_Block):
    """Which volumes, how they are cut, and who is on which side."""

    dataset: str
    contrasts: tuple[Name, ...] = Field(min_length=1)
    split: str
    """A CSV with the columns subject,fold (train, val, test), beside the protocol file or among the built-in ones."""
    crop: tuple[PositiveInt, PositiveInt, PositiveInt] | None = None
    """(slices, rows, columns) of the centre crop; none: rows and columns to a multiple of 12."""
    plane: dict[str, Plane] = Field(default_factory=dict)
    """Contrast → plane; one word for all."""

    @model_validator(mode="before")
    @classmethod
    def _one_plane_for_all(cls, values: Any) -> Any:
        if isinstance(values, dict) and not isinstance(values.get("plane", "axial"), dict):
            contrasts = values.get("contrasts")
            names = contrasts if isinstance(contrasts, list) else []
            values = {**values, "plane": {str(name): values.get("plane", "axial") for name in names}}
        return values

    @field_validator("contrasts")
    @classmethod
    def _contrasts_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _once(value)

    @model_validator(mode="after")
    def _a_plane_for_each(self) -> Self:
        if set(self.plane) != set(self.contrasts):
            raise ValueError(f"plane names {sorted(self.plane)}, contrasts are {sorted(self.contrasts)}")
        return self


class Degradation(_Block):
    """How LR is made from HR."""

    name: str
    round: Literal["stored", "none"]


class MethodSpec(_Block):
    """What a label stands for: a method (the label itself if not given), a preset, options."""

    method: str | None = None
    preset: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)


class Training(_Block):
    """published: every method's own recipe. equal: the same budget for all; what is not given stays the recipe's."""

    track: Literal["published", "equal"]
    steps: int | None = Field(None, ge=1)
    batch: int | None = Field(None, ge=1)
    lr_patch: int | None = Field(None, ge=4)
    augment: Literal["none", "dihedral"] | None = None
    lr: float | None = Field(None, gt=0)
    schedule: str | None = None
    schedule_args: dict[str, Any] | None = None
    clip_norm: float | None = Field(None, gt=0)
    precision: Literal["32-true", "16-mixed", "bf16-mixed"] | None = None

    @model_validator(mode="after")
    def _track_fits(self) -> Self:
        budget = ("steps", "batch", "lr_patch", "augment")
        if self.track == "equal" and (missing := [name for name in budget if getattr(self, name) is None]):
            raise ValueError(f"track 'equal' needs {', '.join(missing)}")
        if self.track == "published" and (given := sorted(self.overrides())):
            raise ValueError(f"track 'published' takes each method's own recipe; remove {', '.join(given)}")
        return self

    def overrides(self) -> dict[str, Any]:
        """The recipe fields that this protocol sets for every network."""
        return {name: value for name, value in self.model_dump(exclude={"track"}).items() if value is not None}


class Validation(_Block):
    """Fixed centre crops of the validation subjects, the same for all methods."""

    every: int = Field(1000, ge=1)
    patches: int = Field(16, ge=1)
    lr_patch: int = Field(48, ge=4)


class Scoring(_Block):
    """The metric conventions, written out."""

    unit: Literal["volume"] = "volume"
    border: int = Field(0, ge=0)
    """HR pixels shaved from rows and columns before scoring."""
    round: Literal["stored", "none"]
    metrics: dict[str, dict[str, Any]] = Field(min_length=1)
    """Metric → its convention; the first is the primary one."""


class Protocol(_Block):
    """The content of a protocol file."""

    schema_: Literal[1] = Field(alias="schema")
    name: Name
    version: int = Field(ge=1)
    """Raise it on any change of the file."""
    description: str
    data: Data
    degradation: tuple[Degradation, ...] = Field(min_length=1)
    scales: tuple[tuple[int, int, int], ...] = Field(min_length=1)
    methods: dict[Label, MethodSpec] = Field(min_length=1)
    training: Training
    validation: Validation = Validation.model_construct()
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    scoring: Scoring

    @field_validator("degradation", mode="before")
    @classmethod
    def _one_degradation(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @field_validator("scales", mode="before")
    @classmethod
    def _in_plane_scales(cls, value: Any) -> Any:
        return [[1, s, s] if isinstance(s, int) else s for s in value] if isinstance(value, list) else value

    @field_validator("scales")
    @classmethod
    def _scales_upscale(cls, value: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, int, int], ...]:
        for factors in value:
            if min(factors) < 1 or max(factors) < 2:
                raise ValueError(f"{list(factors)} does not upscale; give 2, 3, 4 or [slices, rows, columns]")
        return _once(value)

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return _once(value)

    @field_validator("methods", mode="before")
    @classmethod
    def _empty_specs(cls, value: Any) -> Any:
        return {k: v if v is not None else {} for k, v in value.items()} if isinstance(value, dict) else value


@dataclass(frozen=True)
class Loaded:
    """A protocol with its split, and the lines of its keys for error messages."""

    protocol: Protocol
    split: dict[str, tuple[str, ...]]
    """Fold → subjects, in the file's order."""
    path: Path
    overrides: dict[str, int] = field(default_factory=dict)
    _lines: dict[KeyPath, int] = field(default_factory=dict, repr=False)

    @property
    def folder(self) -> str:
        """The folder of its records: the name, and what was overridden."""
        marks = ",".join(f"{name}={value}" for name, value in sorted(self.overrides.items()))
        return f"{self.protocol.name}~{marks}" if marks else self.protocol.name

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

    def override(self, limit: int | None = None, steps: int | None = None) -> Loaded:
        """The same protocol with at most `limit` subjects a fold and `steps` training steps; it has its own folder."""
        loaded = self
        if limit is not None:
            split = {fold: names[:limit] for fold, names in self.split.items()}
            loaded = replace(loaded, split=split, overrides={**loaded.overrides, "limit": limit})
        if steps is not None:
            loaded = replace(loaded, overrides={**loaded.overrides, "steps": steps})
        return loaded


def digest(content: Any) -> str:
    """SHA-256 of the canonical JSON of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def builtin() -> dict[str, Path]:
    """Name → path of the protocols that ship with the package."""
    folder = Path(str(files("mrsr_bench.protocols")))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


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
        # A list whose only item is wrong is also said to be too short.
        problems = [e for e in error.errors() if e["type"] != "too_short" or not e["input"]]
        messages = [f"{path}:{_line(lines, e['loc'])}: {_dotted(e['loc'])}: {_explain(e, Protocol)}" for e in problems]
        raise UsageError("\n".join(messages)) from None
    loaded = Loaded(protocol, {}, path.resolve(), _lines=lines)
    return replace(loaded, split=_read_split(loaded))


def _read_yaml(path: Path) -> tuple[Any, dict[KeyPath, int]]:
    try:
        content = YAML(typ="rt").load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UsageError(f"{where}: {str(error.problem or error).splitlines()[0]}") from None
    except (YAMLError, ValueError, TypeError, RecursionError) as error:  # ruamel does not wrap all of its own
        raise UsageError(f"{path}: not YAML ({error})") from None
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
        got = (
            f" (got {error['input']!r})" if error["type"] != "missing" and not isinstance(error["input"], dict) else ""
        )
        return f"{error['msg'].removeprefix('Value error, ')}{got}"
    for part in error["loc"][:-1]:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        model = next((block for block in _Block.__subclasses__() if block.__name__ in repr(annotation)), model)
    valid = [info.alias or name for name, info in model.model_fields.items()]
    return f"unknown key. {did_you_mean(str(error['loc'][-1]), valid)}"


def _read_split(loaded: Loaded) -> dict[str, tuple[str, ...]]:
    """Fold → subjects; every subject stands once, so no two folds share one."""
    name = loaded.protocol.data.split
    places = [loaded.path.parent / name, Path(str(files("mrsr_bench.protocols"))) / name]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise loaded.error(("data", "split"), f"no such file: {places[0]}")
    split: dict[str, list[str]] = {fold: [] for fold in FOLDS}
    seen: dict[str, int] = {}
    try:
        rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read ({error})") from None
    if rows[:1] != [["subject", "fold"]]:
        raise UsageError(f"{path}:1: the first line must be 'subject,fold'")
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != 2 or not row[0] or row[1] not in FOLDS:
            raise UsageError(f"{path}:{line}: expected 'subject,fold' with fold one of {', '.join(FOLDS)}: {row}")
        if row[0] in seen:
            raise UsageError(f"{path}:{line}: subject '{row[0]}' stands already in line {seen[row[0]]}")
        seen[row[0]] = line
        split[row[1]].append(row[0])
    if empty := [fold for fold in FOLDS if not split[fold]]:
        raise UsageError(f"{path}: no subject in {' and '.join(empty)}")
    return {fold: tuple(names) for fold, names in split.items()}
