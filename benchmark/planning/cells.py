"""Cells: method × contrast × scale × degradation × seed, with keys over all that could change their result.

A *training* is the unit that runs: a cell and, on request, its self-ensemble (`name+`): one process, two records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from .. import registry
from ..errors import UsageError, did_you_mean
from ..method import Method, Recipe, Task
from ..protocol.loading import Loaded
from ..protocol.schema import DegradationSpec, scale_name
from ..registry import Source
from ..store.cell_files import Place, Standing, inspect_cell
from ..store.results import Store
from ..system.files import Readable, digest, with_finite_numbers
from .entrants import Entrant, entrants_of, error_text, resolve_names

P = TypeVar("P", bound=Readable)


@dataclass(frozen=True)
class Cell:
    """One figure of a table: where its record is, and the keys over all that decides it."""

    label: str
    """Column header and folder name; with a + for the self-ensemble."""
    contrast: str
    factors: tuple[int, int, int]
    degradation: DegradationSpec = field(hash=False)  # its options are a dict
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
    preset: str | None = None
    """What the options came from; it decides nothing that they do not."""
    train_subjects: int | None = None
    """How many of the training subjects the label takes; None for all."""
    broken: str | None = None
    """Why the method cannot be loaded: its cells fail."""
    unsupported: str | None = None
    """Why the method cannot do the task: its cells are skipped."""

    @property
    def cells(self) -> list[Cell]:
        return [self.base, *([self.plus] if self.plus else [])]

    def place(self, runs: P, cell: Cell) -> Place[P]:
        """Where the cell's files lie below `runs`, and the keys that the protocol asks for now."""
        protocol = runs / self.loaded.folder
        folder, base = protocol / cell.folder.as_posix(), protocol / self.base.folder.as_posix()
        return Place(folder, base, cell.train_key, cell.score_key, self.source.digest)

    def folder(self, store: Store, cell: Cell) -> Path:
        """Where the cell's files are written."""
        return self.place(store.runs, cell).folder

    def look(self, store: Store, cell: Cell, *, held: bool = False) -> Standing:
        """The cell's state, compared with what the protocol asks for now; `held`: this process holds the cell."""
        return inspect_cell(self.place(store.readable_runs, cell), held=held)

    def make_method(self) -> Method:
        """The method with its options, untrained."""
        return registry.load_method(self.source)(**self.options)

    @property
    def inference(self) -> dict[str, int] | None:
        """The tiles in which a network upscales a slice; None for whole slices, and for what is no network."""
        tiles = self.loaded.protocol.inference
        return tiles.model_dump() if tiles and self.task.tiles else None

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


def plan_trainings(
    loaded: Loaded, labels: Sequence[str] = (), seeds: Sequence[int] = (), scales: Sequence[str] = ()
) -> list[Training]:
    """The trainings of a protocol, in table order: degradation, contrast, scale, entrant, seed.

    `labels` as on the command line: labels of the protocol, `name`, `name:preset` or `file.py[:preset]`, each with an
    optional +; `scales` such as '2' or '4x1x1'; default all of the protocol's. Raises UsageError for any name that is
    not known.
    """
    protocol = loaded.protocol
    known = {scale_name(factors): factors for factors in protocol.scales}
    if unknown := [scale for scale in scales if scale not in known]:
        raise UsageError(f"protocol '{protocol.name}' has no scale '{unknown[0]}'. {did_you_mean(unknown[0], known)}")
    resolve_names(loaded)
    entrants = entrants_of(loaded, labels or list(protocol.methods))
    trainings = []
    chosen_seeds = tuple(dict.fromkeys(seeds)) or protocol.seeds
    for number, degradation in enumerate(protocol.degradation):
        if any(earlier.title == degradation.title for earlier in protocol.degradation[:number]):
            raise loaded.error(("degradation", number, "name"), f"'{degradation.title}' appears twice; remove one")
        for contrast in protocol.data.contrasts:
            for factors in [known[scale] for scale in scales] or protocol.scales:
                for entrant in entrants:
                    learns = entrant.method.learns if entrant.method else True
                    trainings += [
                        _training(loaded, entrant, contrast, factors, degradation, seed)
                        for seed in (chosen_seeds if learns else chosen_seeds[:1])
                    ]
    return trainings


def _training(
    loaded: Loaded,
    entrant: Entrant,
    contrast: str,
    factors: tuple[int, int, int],
    degradation: DegradationSpec,
    seed: int,
) -> Training:
    data = loaded.protocol.data
    task = Task(factors, degradation.name, data.crop[0] // factors[0] if data.crop else None, seed)
    if entrant.recipe:
        inference = loaded.protocol.inference
        tiles = (inference.tile, inference.overlap) if inference else None
        task = replace(task, precision=entrant.recipe.precision, tiles=tiles)
    broken, unsupported = entrant.broken, None
    if entrant.method:
        try:
            unsupported = entrant.method.unsupported(task)
        except Exception as error:
            broken = f"{entrant.source.path} cannot say what it supports: {error_text(error)}"
    base = Cell(entrant.label, contrast, factors, degradation, seed, "", "")
    training = Training(
        loaded,
        entrant.source,
        with_finite_numbers(entrant.method.options.model_dump(mode="json")) if entrant.method else {},
        entrant.recipe,
        base,
        None,
        entrant.method.version if entrant.method else "",
        task,
        entrant.preset,
        entrant.train_subjects,
        broken,
        unsupported,
    )
    train_key = digest(_train_content(training, entrant.method))
    base = replace(base, train_key=train_key, score_key=_score_key(training, train_key, "plain"))
    plus = replace(base, label=f"{entrant.label}+", score_key=_score_key(training, train_key, "ensemble"))
    return replace(training, base=base, plus=plus if entrant.with_plus else None)


def _train_content(training: Training, method: Method | None) -> dict[str, Any]:
    """What the train key is made of. A method that does not learn depends on no training data."""
    content = {name: value for name, value in training.resolved.items() if name != "seed"}
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
