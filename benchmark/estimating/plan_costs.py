"""What the trainings of a plan cost beside one another: by the plan alone, so it is the same in every process."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..method import TorchMethod
from ..planning.cells import Training
from ..store.plan import Plan
from ..system.cache import cache_folder
from ..system.files import DamagedFile, digest, read_sealed, remove_leftovers, write_sealed

COSTS = "costs"
STEP_PASSES = 3
"""Forward passes that a training step costs: its own, and as much again for each kind of gradient (inputs, weights)."""


def known_costs(plan: Plan) -> dict[str, float] | None:
    """What `plan_costs` remembers of a plan; None where it has not been counted on this machine."""
    with suppress(FileNotFoundError, DamagedFile):
        return {str(name): float(cost) for name, cost in read_sealed(_memo(plan))["costs"].items()}
    return None


def plan_costs(plan: Plan, trainings: Sequence[Training]) -> dict[str, float]:
    """The cost of every training of a plan, by the folder of its plain cell, in multiply-accumulates.

    Networks: three forward passes × steps × batch × pixels of a patch, and the test; counted once for a column and
    scale. The rest: a voxel of the test volumes counts as one. It is remembered in the cache.
    """
    if (known := known_costs(plan)) is not None:
        return known
    macs: dict[tuple[object, ...], float] = {}
    costs = {}
    for training in trainings:
        column = training.base.label, training.base.factors
        if column not in macs:
            macs[column] = _macs_per_pixel(training)
        costs[training.base.folder.as_posix()] = _cost(training, macs[column])
    with suppress(OSError):  # without a writable cache it is counted again next time
        path = _memo(plan)
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        write_sealed(path, {"costs": costs})
    return costs


def _memo(plan: Plan) -> Path:
    return cache_folder() / COSTS / f"{digest(plan.model_dump(mode='json'))[:32]}.json"


def _cost(training: Training, macs_per_pixel: float) -> float:
    """0 for what cannot be run."""
    if training.broken or training.unsupported:
        return 0.0
    recipe, loaded = training.recipe, training.loaded
    crop = loaded.protocol.data.cut(training.base.contrast).crop
    voxels = math.prod(crop or (1,)) * len(loaded.split["test"]) * (1 + 8 * (training.plus is not None))
    if recipe is None:
        return float(voxels)
    pixels = recipe.steps * recipe.batch * recipe.lr_patch**2
    return macs_per_pixel * (STEP_PASSES * pixels + voxels / math.prod(training.base.factors))


def _macs_per_pixel(training: Training) -> float:
    """Of a network, by one LR patch of 24×24; 1 for what is no network, or cannot be counted."""
    from ..training.complexity import macs_if_possible  # with torch

    if training.broken or training.unsupported or training.recipe is None:
        return 1.0
    method = training.make_method()
    assert isinstance(method, TorchMethod)
    macs = macs_if_possible(method, training.task)
    return macs / 24**2 if macs else 1.0
