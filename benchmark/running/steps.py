"""What a command will do about each cell, decided from what is on disk: in planning, and again under the lock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..planning.cells import Cell, Training
from ..store.cell_files import VOLUMES, VOLUMES_MANIFEST, WEIGHTS, Standing
from ..store.record import DoneRecord
from ..store.results import Store
from ..system.states import states_in

Action = Literal["keep", "run", "resume", "score", "skip", "fail", "stale", "running", "leave"]
ACTING: tuple[Action, ...] = ("run", "resume", "score")
"""The actions that need a process."""


@dataclass(frozen=True)
class Wish:
    """What a command wants of the cells that it names."""

    score_only: bool = False
    """Score again from kept volumes or weights; nothing is trained."""
    redo: bool = False
    """Run stale cells again."""
    keep_volumes: bool = False


@dataclass(frozen=True)
class Step:
    """What is to be done about one cell, and why where that is not plain."""

    training: Training
    cell: Cell
    action: Action
    why: str
    standing: Standing

    @property
    def acts(self) -> bool:
        return self.action in ACTING


def steps_of(store: Store, training: Training, wish: Wish, *, held: bool = False) -> list[Step]:
    """What to do about each cell of a training; `held`: this process holds it, so nobody else works on it."""
    standings = {cell: training.look(store, cell, held=held) for cell in training.cells}
    decide = _again if wish.score_only else _wanted
    decided = {cell: decide(store, training, cell, standings, wish) for cell in training.cells}
    return [Step(training, cell, *decided[cell], standings[cell]) for cell in training.cells]


def _again(
    store: Store, training: Training, cell: Cell, standings: dict[Cell, Standing], wish: Wish
) -> tuple[Action, str]:
    standing = standings[cell]
    if standing.state == "running":
        return "running", standing.why
    if isinstance(standing.record, DoneRecord) and standing.record.train_key == cell.train_key:
        return "score", ""
    return "leave", "has nothing to be scored; see: bench status"


def _wanted(
    store: Store, training: Training, cell: Cell, standings: dict[Cell, Standing], wish: Wish
) -> tuple[Action, str]:
    base, standing = standings[training.base], standings[cell]
    if running := next((one for one in (base, standing) if one.state == "running"), None):
        return "running", running.why
    if training.broken:
        return "fail", training.broken
    if training.unsupported:
        return "skip", training.unsupported
    if is_stale(training, base):
        return ("run" if wish.redo else "stale"), base.why
    folder = training.folder(store, training.base)
    if standing.state == "stale":
        return "score", f"{standing.why}; nothing is trained"
    if standing.done is not None:
        kept = training.folder(store, cell) / VOLUMES / VOLUMES_MANIFEST
        if wish.keep_volumes and not kept.is_file():
            return "score", "its volumes were not kept"
        return "keep", standing.why
    why = standing.why if standing.state == "damaged" else f"{standing.state} before" if standing.record else ""
    if standing.state == "damaged" and (folder / WEIGHTS).exists() and folder / WEIGHTS not in base.damaged:
        return "score", why
    return ("resume" if states_in(folder) else "run"), why


def is_stale(training: Training, base: Standing) -> bool:
    """Whether a training's plain cell is recorded under another train key, so that its weights are another's."""
    record = base.record
    return base.state == "stale" and (record is None or record.train_key != training.base.train_key)
