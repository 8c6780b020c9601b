"""What to do about each cell, decided from what is on disk: in planning, and again under the lock."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..planning.cells import Cell, CrossTest, Training
from ..store.cell_files import VOLUMES, VOLUMES_MANIFEST, WEIGHTS, Standing
from ..store.record import DoneRecord
from ..store.results import Store
from ..system.training_states import states_in
from .settings import RunSettings

Action = Literal["keep", "run", "resume", "score", "test", "skip", "fail", "stale", "running", "leave"]
"""test: the cell keeps its figures, and is tested on other LR."""
ACTING: tuple[Action, ...] = ("run", "resume", "score", "test")
"""The actions that need a process."""


@dataclass(frozen=True)
class Decision:
    """What to do about one cell, and the reason where it is not plain."""

    training: Training
    cell: Cell
    action: Action
    why: str
    standing: Standing

    @property
    def acts(self) -> bool:
        return self.action in ACTING

    @property
    def tests(self) -> tuple[CrossTest, ...]:
        """The tests on other LR that are made: those that are missing, or all where the cell's own figures are."""
        if self.action == "test":
            return tuple(test for test in self.cell.tests if test.title in self.standing.open_tests)
        return self.cell.tests if self.acts else ()


def decide(store: Store, training: Training, settings: RunSettings, *, held: bool = False) -> list[Decision]:
    """What to do about each cell of a training; `held`: this process holds it, so nobody else works on it."""
    standings = {cell: training.look(store, cell, held=held) for cell in training.cells}
    action_for = _scoring_action if settings.score_only else _running_action
    actions = {cell: action_for(store, training, cell, standings, settings) for cell in training.cells}
    return [Decision(training, cell, *actions[cell], standings[cell]) for cell in training.cells]


def _scoring_action(
    store: Store, training: Training, cell: Cell, standings: dict[Cell, Standing], settings: RunSettings
) -> tuple[Action, str]:
    """The action, and its reason, of a command that only scores again."""
    standing = standings[cell]
    if standing.state == "running":
        return "running", standing.why
    if isinstance(standing.record, DoneRecord) and standing.record.train_key == cell.train_key:
        return "score", ""
    return "leave", "has nothing to be scored; see: bench status"


def _running_action(
    store: Store, training: Training, cell: Cell, standings: dict[Cell, Standing], settings: RunSettings
) -> tuple[Action, str]:
    """The action, and its reason, of a command that trains what is missing."""
    base, standing = standings[training.base], standings[cell]
    if running := next((candidate for candidate in (base, standing) if candidate.state == "running"), None):
        return "running", running.why
    if training.broken:
        return "fail", training.broken
    if training.unsupported:
        return "skip", training.unsupported
    if is_stale(training, base):
        return ("run" if settings.redo else "stale"), base.why
    if standing.state == "stale":
        return "score", f"{standing.why}; nothing is trained"
    if standing.done is not None:
        if settings.keep_volumes and not (training.folder(store, cell) / VOLUMES / VOLUMES_MANIFEST).is_file():
            return "score", "its volumes were not kept"
        if not standing.open_tests:
            return "keep", standing.why
        return _testing_action(training.folder(store, training.base) / WEIGHTS, standing)
    return _repeating_action(training.folder(store, training.base) / WEIGHTS, base, standing)


def _testing_action(weights: Path, standing: Standing) -> tuple[Action, str]:
    """The action for a cell with figures that lacks tests on other LR. Nothing is trained for them."""
    why = f"not tested on {', '.join(standing.open_tests)}"
    if standing.done and standing.done.fit and not weights.exists():
        return "keep", f"{why}, since its weights are not here"
    if standing.state == "changed":  # figures of one code only are compared
        return "score", f"{standing.why}, and it is {why}"
    return "test", why


def _repeating_action(weights: Path, base: Standing, standing: Standing) -> tuple[Action, str]:
    """The action for a cell without figures: score whole weights, continue from a state, or start again."""
    if standing.state == "damaged":
        if weights.exists() and weights not in base.damaged:
            return "score", standing.why
        why = standing.why
    else:
        why = f"{standing.state} before" if standing.record else ""
    return ("resume" if states_in(weights.parent) else "run"), why


def is_stale(training: Training, base: Standing) -> bool:
    """Whether a training's plain cell is recorded under another train key, so that its weights are another's."""
    record = base.record
    return base.state == "stale" and (record is None or record.train_key != training.base.train_key)
