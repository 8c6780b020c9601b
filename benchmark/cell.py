"""Cells: method × contrast × scale × degradation × seed, with keys over all that could change their result.

A *training* is the unit that runs: a cell and, where asked for, its self-ensemble (`name+`): one process, two records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from . import registry
from .conventions import convention, metric_of
from .degradation import DEGRADATIONS
from .errors import UsageError, did_you_mean
from .method import Method, Recipe, Task, TorchMethod
from .protocol import KeyPath, Loaded, digest
from .registry import BrokenPlugin, Source
from .schema import Degradation, MethodSpec


@dataclass(frozen=True)
class Cell:
    """One figure of a table: where its record lies, and the keys that say what it stands for."""

    label: str
    """Column header and folder name; with a + for the self-ensemble."""
    contrast: str
    factors: tuple[int, int, int]
    degradation: Degradation = field(hash=False)  # its options are a dict
    seed: int
    train_key: str
    """Over all that could change the weights."""
    score_key: str
    """Over all that could change the scores."""

    @property
    def scale(self) -> str:
        """'x2', or 'x4x1x1' where the factors are not those of in-plane upscaling."""
        return f"x{scale_name(self.factors)}"

    @property
    def folder(self) -> Path:
        """Relative to the protocol's folder."""
        return Path(self.degradation.title, f"{self.contrast}-{self.scale}", self.label, f"seed{self.seed}")

    def __str__(self) -> str:
        return f"{self.label} {self.contrast} {self.scale} {self.degradation.title} seed {self.seed}"


def scale_name(factors: tuple[int, int, int]) -> str:
    """'2', or '4x1x1' where the factors are not those of in-plane upscaling."""
    depth, rows, columns = factors
    return f"{rows}" if depth == 1 and rows == columns else f"{depth}x{rows}x{columns}"


@dataclass(frozen=True)
class Training:
    """One fit and the cells that come of it. Picklable: its process loads the method from `source`."""

    loaded: Loaded
    source: Source
    options: dict[str, Any]
    """The method's options, all of them."""
    recipe: Recipe | None
    """What trains the network; None where the suite's loop does not train."""
    base: Cell
    plus: Cell | None
    version: str
    task: Task
    train_subjects: int | None = None
    """How many of the training subjects the label takes; None for all."""
    broken: str | None = None
    """Why the method cannot be loaded: its cells fail."""
    unsupported: str | None = None
    """Why the method cannot do the task: its cells are skipped."""

    @property
    def cells(self) -> list[Cell]:
        return [self.base, *([self.plus] if self.plus else [])]

    def make_method(self) -> Method:
        """The method with its options, untrained."""
        return registry.load_method(self.source)(**self.options)

    @property
    def inference(self) -> dict[str, int] | None:
        """The tiles in which a network upscales a slice; None for whole slices, and for what is no network."""
        chosen = self.loaded.protocol.inference
        return chosen.model_dump() if chosen and self.task.tiles else None

    @cached_property
    def resolved(self) -> dict[str, Any]:
        """Everything that decides this training, as plain data for the record."""
        cut = self.loaded.protocol.data.cut(self.base.contrast)
        return {
            "method": self.source.name,
            "version": self.version,
            "options": self.options,
            "recipe": self.recipe.model_dump(mode="json") if self.recipe else None,
            "dataset": self.loaded.protocol.data.dataset,
            "contrast": self.base.contrast,
            **cut.model_dump(),
            "factors": self.base.factors,
            "degradation": self.base.degradation.model_dump(),
            "seed": self.base.seed,
            **({"train_subjects": self.train_subjects} if self.train_subjects else {}),
        }


@dataclass(frozen=True)
class _Column:
    """A label of the protocol or the command line with its method made ready, before contrast, scale and seed."""

    label: str
    source: Source
    method: Method | None
    broken: str | None
    recipe: Recipe | None
    with_plus: bool
    train_subjects: int | None


def plan(
    loaded: Loaded, labels: Sequence[str] = (), seeds: Sequence[int] = (), scales: Sequence[str] = ()
) -> list[Training]:
    """The trainings of a protocol, in table order: degradation, contrast, scale, column, seed.

    `labels` as on the command line: labels of the protocol, `name`, `name:preset` or `file.py[:preset]`, each with an
    optional +; `scales` such as '2' or '4x1x1'; default all of the protocol's. Raises UsageError for any name that is
    not known.
    """
    protocol = loaded.protocol
    known = {scale_name(factors): factors for factors in protocol.scales}
    if unknown := [scale for scale in scales if scale not in known]:
        raise UsageError(f"protocol '{protocol.name}' has no scale '{unknown[0]}'. {did_you_mean(unknown[0], known)}")
    resolve_names(loaded)
    columns = _columns(loaded, labels or list(protocol.methods))
    trainings = []
    chosen = tuple(dict.fromkeys(seeds)) or protocol.seeds
    for number, degradation in enumerate(protocol.degradation):
        if any(other.title == degradation.title for other in protocol.degradation[:number]):
            raise loaded.error(("degradation", number, "name"), f"'{degradation.title}' stands twice")
        for contrast in protocol.data.contrasts:
            for factors in [known[scale] for scale in scales] or protocol.scales:
                for column in columns:
                    learns = column.method.learns if column.method else True
                    for_seeds = chosen if learns else chosen[:1]
                    trainings += [_training(loaded, column, contrast, factors, degradation, s) for s in for_seeds]
    return trainings


def resolve_names(loaded: Loaded) -> None:
    """Check the names of data set, degradations and metrics. Raises UsageError at the key's line."""
    protocol = loaded.protocol
    known = registry.datasets()
    if protocol.data.dataset not in known:
        name = protocol.data.dataset
        raise loaded.error(("data", "dataset"), f"unknown data set '{name}'. {did_you_mean(name, known)}")
    for number, degradation in enumerate(protocol.degradation):
        if (name := degradation.name) not in DEGRADATIONS:
            message = f"unknown degradation '{name}'. {did_you_mean(name, DEGRADATIONS)}"
            raise loaded.error(("degradation", number, "name"), message)
        try:
            DEGRADATIONS[name](**degradation.options)
        except ValidationError as error:
            path = ("degradation", number, "options")
            raise _refused(loaded, path, error, DEGRADATIONS[name].model_fields) from None
    for label, settings in protocol.scoring.metrics.items():
        key = ("scoring", "metrics", label)
        try:
            convention(label, settings, protocol.scoring.unit)
        except UsageError as error:
            raise loaded.error((*key, "metric") if "metric" in settings else key, str(error)) from None
        except ValidationError as error:
            raise _refused(loaded, key, error, metric_of(label, settings).model_fields) from None


def _columns(loaded: Loaded, labels: Iterable[str]) -> list[_Column]:
    """Labels grouped by what trains together: `x` and `x+` are one column pair."""
    asked: dict[str, bool] = {}
    for label in labels:
        name = label.removesuffix("+")
        asked[name] = asked.get(name, False) or label.endswith("+")
    for label, spec in loaded.protocol.methods.items():
        if label.endswith("+") and spec != MethodSpec():
            message = f"is the self-ensemble of '{label[:-1]}' and has no settings of its own; give them there"
            raise loaded.error(("methods", label), message)
    specs = {label: spec for label, spec in loaded.protocol.methods.items() if not label.endswith("+")}
    files = [label.partition(":")[0] for label in asked if _is_file(label)]
    known = registry.methods(files)
    columns: list[_Column] = []
    for label, with_plus in asked.items():
        path = ("methods", label if label in loaded.protocol.methods else f"{label}+")
        name, spec = _spec(label, specs)
        if name not in known:
            written = path[1] in loaded.protocol.methods
            message = f"unknown method '{name}'. {did_you_mean(name, known if written else {*known, *specs})}"
            raise loaded.error((*path, "method"), message) if written else UsageError(message)
        column = _column(loaded, path, label, known[name], spec, with_plus)
        if any(other.label == column.label for other in columns):
            raise UsageError(f"the column '{column.label}' is asked for twice; give one another label in the protocol")
        columns.append(column)
    return columns


def _is_file(label: str) -> bool:
    return label.partition(":")[0].endswith(".py") or "/" in label


def _spec(label: str, specs: dict[str, MethodSpec]) -> tuple[str, MethodSpec]:
    """The method name and spec of a label as written in the protocol or on the command line."""
    if label in specs:
        return specs[label].method or label, specs[label]
    name, _, preset = label.partition(":")
    return (Path(name).stem if _is_file(label) else name), MethodSpec(preset=preset or None)


def _column(loaded: Loaded, path: tuple[str, ...], label: str, source: Source, spec: MethodSpec, plus: bool) -> _Column:
    tidy = label if label in loaded.protocol.methods else source.name + (f"-{spec.preset}" if spec.preset else "")
    try:
        cls = registry.load_method(source)
    except BrokenPlugin as error:
        return _Column(tidy, source, None, str(error), None, plus, spec.train_subjects)
    try:
        method = cls(spec.preset, **spec.options)
        method.options.model_dump(mode="json")  # plain data: they are recorded
    except ValidationError as error:
        raise _refused(loaded, (*path, "options"), error, cls.Options.model_fields) from None
    except UsageError as error:
        raise loaded.error((*path, "preset"), f"{source.name}: {error}") from None
    except Exception as error:
        return _Column(
            tidy, source, None, f"{source.path} cannot be made: {_words(error)}", None, plus, spec.train_subjects
        )
    if spec.train_subjects is not None:
        there = len(loaded.split["train"])
        if not method.learns:
            raise loaded.error((*path, "train_subjects"), f"{source.name} learns nothing; remove it")
        if spec.train_subjects > there and "limit" not in loaded.overrides:
            raise loaded.error((*path, "train_subjects"), f"the split has {there} training subjects")
    if spec.lr is not None and (loaded.protocol.training.track != "equal" or not isinstance(method, TorchMethod)):
        message = "a label's own learning rate is for networks in track equal; remove it"
        raise loaded.error((*path, "lr"), message)
    recipe = None
    if isinstance(method, TorchMethod):
        changes = loaded.protocol.training.overrides()
        if spec.lr is not None:
            changes["lr"] = spec.lr
        if "steps" in loaded.overrides:
            changes["steps"] = loaded.overrides["steps"]
        recipe = Recipe.model_validate({**method.recipe.model_dump(), **changes})
    return _Column(tidy, source, method, None, recipe, plus, spec.train_subjects)


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _refused(loaded: Loaded, path: KeyPath, error: ValidationError, fields: Iterable[str]) -> UsageError:
    """What pydantic found wrong below the key at `path`, a line each."""
    problems = []
    for problem in error.errors():
        place, message = (*path, *problem["loc"]), problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key. {did_you_mean(str(place[-1]), fields)}"
        elif problem["type"] != "missing":
            message += f" (got {problem['input']!r})"
        problems.append(str(loaded.error(place, message)))
    return UsageError("\n".join(problems))


def _training(
    loaded: Loaded,
    column: _Column,
    contrast: str,
    factors: tuple[int, int, int],
    degradation: Degradation,
    seed: int,
) -> Training:
    data = loaded.protocol.data
    task = Task(factors, degradation.name, data.crop[0] // factors[0] if data.crop else None, seed)
    if column.recipe:
        inference = loaded.protocol.inference
        tiles = (inference.tile, inference.overlap) if inference else None
        task = replace(task, precision=column.recipe.precision, tiles=tiles)
    broken, unsupported = column.broken, None
    if column.method:
        try:
            unsupported = column.method.unsupported(task)
        except Exception as error:
            broken = f"{column.source.path} cannot say what it supports: {_words(error)}"
    base = Cell(column.label, contrast, factors, degradation, seed, "", "")
    training = Training(
        loaded,
        column.source,
        column.method.options.model_dump(mode="json") if column.method else {},
        column.recipe,
        base,
        None,
        column.method.version if column.method else "",
        task,
        column.train_subjects,
        broken,
        unsupported,
    )
    train_key = digest(_train_content(training, column.method))
    base = replace(base, train_key=train_key, score_key=_score_key(training, train_key, "plain"))
    plus = replace(base, label=f"{column.label}+", score_key=_score_key(training, train_key, "ensemble"))
    return replace(training, base=base, plus=plus if column.with_plus else None)


def _train_content(training: Training, method: Method | None) -> dict[str, Any]:
    """What the train key is made of. A method that does not learn depends on no training data."""
    content = {k: v for k, v in training.resolved.items() if k != "seed"}
    if method is not None and not method.learns:
        return content
    loaded = training.loaded
    content |= {"seed": training.base.seed, "train": loaded.train_subjects(training.train_subjects)}
    validation = loaded.protocol.validation.model_dump(mode="json")
    return content | {"val": loaded.split["val"], "validation": validation}


def _score_key(training: Training, train_key: str, mode: str) -> str:
    loaded = training.loaded
    scoring = loaded.protocol.scoring.model_dump(mode="json")
    tiles = [training.inference] if training.inference else []
    return digest([train_key, loaded.split["test"], scoring, mode, *tiles])
