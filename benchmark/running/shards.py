"""Shards: the trainings of a plan dealt out to N processes that know nothing of each other, on any scheduler.

What each gets follows from the plan alone, so it is the same in every process, whatever is done already.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

from ..estimating.plan_costs import plan_costs
from ..planning.cells import Training
from ..store.plan import Plan
from .settings import Shard


def dealt(costs: Mapping[str, float], parts: int) -> list[list[str]]:
    """The names of every part: the dearest first, each to the part with the least so far (the lowest of equals).

    Each part takes at most 4/3 of what the best division would give the largest one (Graham, SIAM Journal on Applied
    Mathematics 1969). Names of one cost keep their order.
    """
    shares: list[list[str]] = [[] for _ in range(parts)]
    loads = [(0.0, 0, part) for part in range(parts)]
    for name in sorted(costs, key=lambda name: -costs[name]):
        load, number, part = heapq.heappop(loads)
        shares[part].append(name)
        heapq.heappush(loads, (load + costs[name], number + 1, part))
    return shares


def share_of(costs: Mapping[str, float], shard: Shard) -> frozenset[str]:
    """The folders of the trainings that a shard does; `costs`: folder of each training's plain cell → its cost."""
    return frozenset(dealt(costs, shard.parts)[shard.part - 1])


def own_trainings(plan: Plan, trainings: Sequence[Training], shard: Shard) -> list[Training]:
    """Those of a plan's trainings that a shard does, in their order."""
    share = share_of(plan_costs(plan, trainings), shard)
    return [training for training in trainings if training.base.folder.as_posix() in share]
