"""Cells: method × contrast × scale × degradation × seed, with keys over all that could change their result.

A *training* is the unit that runs: a cell and, on request, its self-ensemble (`name+`): one process, two records.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from .. import registry
from ..errors import UsageError, did_you_mean
from ..method import Method, Recipe, Task, TorchMethod
from ..protocol.block import scale_name
from ..protocol.data_blocks import DegradationSpec
from ..protocol.loading import Loaded
from ..registry import Source
from ..store.cell_files import Place, Standing, inspect_cell
from ..store.plan import RateOrigin
from ..store.results import Store
from ..system.files import Readable, digest, with_finite_numbers
from .entrants import Entrant, entrants_of, error_text
from .names import resolve_names

P = TypeVar("P", bound=Readable)


@dataclass(frozen=True)
class CrossTest:
    """A test of a cell on LR that it was not trained on."""

    degradation: DegradationSpec
    score_key: str
    """Over all that could change its scores: the cell's score key and the degradation."""
    is_control: bool
    """The negative control: the cell's own degradation, shifted."""

    @property
    def title(self) -> str:
        return self.degradation.title


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
    tests: tuple[CrossTest, ...] = field(default=(), hash=False)

    @property
    def scale(self) -> str:
        """'x2', or 'x4x1x1' where the factors are not those of in-plane upscaling."""
        return f"x{scale_name(self.factors)}"

    @cached_property
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
    rate_origin: RateOrigin | None = None
    train_subjects: int | None = None
    """How many of the training subjects the label takes; None for all."""
    seeded: bool = True
    """Whether another seed gives another result (`Method.seeded`)."""
    first_seed: int = 0
    """The seed whose cells keep slices."""
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
        tests = {test.title: test.score_key for test in cell.tests}
        return Place(folder, base, cell.train_key, cell.score_key, self.source.digest, tests)

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
            **({"streams": streams} if (streams := self.loaded.protocol.training.streams) else {}),
        }


def plan_trainings(
    loaded: Loaded,
    labels: Sequence[str] = (),
    seeds: Sequence[int] = (),
    scales: Sequence[str] = (),
    rates: Mapping[str, float] | None = None,
) -> list[Training]:
    """The trainings of a protocol, in table order: degradation, contrast, scale, entrant, seed.

    `labels` as on the command line: labels of the protocol, `name`, `name:preset` or `file.py[:preset]`, each with an
    optional +; `scales` such as '2' or '4x1x1'; default all of the protocol's. `rates`: label → learning rate. Raises
    UsageError for any name that is not known.
    """
    protocol = loaded.protocol
    known = {scale_name(factors): factors for factors in protocol.scales}
    if unknown := [scale for scale in scales if scale not in known]:
        raise UsageError(f"protocol '{protocol.name}' has no scale '{unknown[0]}'. {did_you_mean(unknown[0], known)}")
    resolve_names(loaded)
    entrants = entrants_of(loaded, labels or list(protocol.methods), rates or {})
    trainings = []
    for number, degradation in enumerate(protocol.degradation):
        if any(earlier.title == degradation.title for earlier in protocol.degradation[:number]):
            raise loaded.error(("degradation", number, "name"), f"'{degradation.title}' appears twice; remove one")
        for contrast in protocol.data.contrasts:
            for factors in [known[scale] for scale in scales] or protocol.scales:
                trainings += [
                    _training(loaded, entrant, contrast, factors, degradation, seed, with_plus)
                    for entrant in entrants
                    for seed, with_plus in _seeds(entrant, seeds).items()
                ]
    return trainings


def _seeds(entrant: Entrant, chosen: Sequence[int]) -> dict[int, bool]:
    """The seeds of an entrant → whether each is tested as a self-ensemble too.

    Those that are chosen hold for every label. A method without chance has one cell, of seed 0, whatever the seeds.
    """
    if not entrant.seeded:
        return {0: bool(entrant.plus_seeds)}
    if chosen:
        return dict.fromkeys(chosen, bool(entrant.plus_seeds))
    return {seed: seed in entrant.plus_seeds for seed in entrant.seeds}


def _training(
    loaded: Loaded,
    entrant: Entrant,
    contrast: str,
    factors: tuple[int, int, int],
    degradation: DegradationSpec,
    seed: int,
    with_plus: bool,
) -> Training:
    crop = loaded.protocol.data.cut(contrast).crop
    task = Task(factors, degradation.name, crop[0] // factors[0] if crop else None, seed)
    if entrant.recipe:
        inference = loaded.protocol.inference
        tiles = (inference.tile, inference.overlap) if inference else None
        task = replace(task, precision=entrant.recipe.precision, start=entrant.recipe.start, tiles=tiles)
    broken, unsupported = entrant.broken, None
    if entrant.method:
        try:
            unsupported = entrant.method.unsupported(task) or _unequal(loaded, entrant.method)
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
        entrant.rate_origin,
        entrant.train_subjects,
        entrant.seeded,
        entrant.seeds[0] if entrant.seeded else 0,
        broken,
        unsupported,
    )
    train_key = digest(_train_content(training, entrant.method))
    base = replace(base, train_key=train_key, score_key=_score_key(training, train_key, "plain"))
    plus = replace(base, label=f"{entrant.label}+", score_key=_score_key(training, train_key, "ensemble"))
    base, plus = (replace(cell, tests=_cross_tests(loaded, cell)) for cell in (base, plus))
    return replace(training, base=base, plus=plus if with_plus else None)


def _unequal(loaded: Loaded, method: Method) -> str | None:
    """Why a network cannot have the same LR pixels as the others in track equal, or None."""
    slices = method.slices_per_sample if isinstance(method, TorchMethod) else 1
    if loaded.protocol.training.track != "equal" or slices == 1:
        return None
    return f"its samples have {slices} slices; in track equal all networks train on the same LR pixels, one slice each"


def _train_content(training: Training, method: Method | None) -> dict[str, Any]:
    """What the train key is made of. A method that does not learn depends on no training data."""
    resolved, loaded = training.resolved, training.loaded
    if method is not None and not method.learns:
        return {name: value for name, value in resolved.items() if name not in ("seed", "streams")}
    return {
        **resolved,
        "train": loaded.train_subjects(training.train_subjects),
        "val": loaded.split["val"],
        "validation": loaded.protocol.validation.model_dump(mode="json"),
    }


def _score_key(training: Training, train_key: str, mode: str) -> str:
    loaded = training.loaded
    scoring = loaded.protocol.scoring.model_dump(mode="json")
    tiles = [training.inference] if training.inference else []
    return digest([train_key, loaded.split["test"], scoring, mode, *tiles])


def _cross_tests(loaded: Loaded, cell: Cell) -> tuple[CrossTest, ...]:
    """The tests of a cell on other LR; its own keys do not depend on them."""
    control = cell.degradation.shifted.title
    return tuple(
        CrossTest(other, digest([cell.score_key, other.model_dump(mode="json")]), other.title == control)
        for other in loaded.protocol.cross_tests(cell.degradation)
    )
