"""The commands that make figures. A request whose cells are all done is answered from its plan, and imports nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from ..planning.request import Request
from .listeners import default_listener
from .outcomes import Outcome
from .progress import Listener
from .settings import RunSettings
from .unchanged import answer_from_plan


def run(request: Request, settings: RunSettings | None = None, listener: Listener | None = None) -> list[Outcome]:
    """Train and evaluate the cells that a request names, as far as they are not done yet.

    Done cells are kept, failed ones tried again, killed ones resumed. Returns the outcome of every cell of the request,
    or of the shard; the plan that is written is that of the whole request.
    Raises UsageError for a request that cannot be carried out.
    """
    settings, listener = settings or RunSettings(), listener or default_listener()
    if (outcomes := answer_from_plan(request, settings, listener)) is not None:
        return outcomes
    from ..data.folders import open_dataset
    from ..estimating.plan_costs import plan_costs
    from ..planning.planner import make_plan, plan_request
    from ..store.method_sources import keep_source
    from ..store.plan import add_plan
    from ..store.results import Store
    from .driver import Driver
    from .shards import own_trainings

    loaded, trainings = plan_request(request)
    open_dataset(loaded.protocol.data.dataset, settings.data)
    store = Store(settings.results)
    store.check_writable()
    plan = make_plan(request, loaded, trainings)
    add_plan(store.runs / loaded.folder, plan)
    for source in {training.source for training in trainings}:
        keep_source(store.runs / loaded.folder, source.digest, source.contents)
    count_costs = partial(plan_costs, plan, trainings)
    if settings.shard:
        own = own_trainings(plan, trainings, settings.shard)
        listener.say(f"shard {settings.shard}: {len(own)} of {len(trainings)} trainings")
        trainings = own
    return Driver(loaded, trainings, settings, listener, count_costs).run()


def score(
    protocol: str | None = None, settings: RunSettings | None = None, listener: Listener | None = None
) -> list[Outcome]:
    """Score every recorded cell of a protocol again, by default of the one run last; nothing is trained.

    Predictions come from kept volumes where there are some, else from weights. A cell that has no figure, or one that
    was trained under another key, has nothing to be scored: it is among the outcomes and left alone.
    """
    from ..data.folders import open_dataset
    from ..planning.planner import recall_trainings
    from ..store.results import Store
    from .driver import Driver

    settings, listener = replace(settings or RunSettings(), score_only=True), listener or default_listener()
    store = Store(settings.results)
    loaded, trainings = recall_trainings(store, protocol, listener.warn)
    open_dataset(loaded.protocol.data.dataset, settings.data)
    store.check_writable()
    return Driver(loaded, trainings, settings, listener).run()
