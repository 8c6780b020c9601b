"""The commands that make figures. A request whose cells are all done is answered from its plan, and imports nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..planning.request import Request
from .outcomes import Outcome
from .progress import Listener, default_listener
from .unchanged import answer_from_plan


def run(
    protocol: str = "demo",
    methods: Sequence[str] = (),
    *,
    data: str | Path | None = None,
    seeds: Sequence[int] = (),
    scales: Sequence[str] = (),
    limit: int | None = None,
    steps: int | None = None,
    timeout: float | None = None,
    redo: bool = False,
    results: str | Path = "results",
    keep_volumes: bool = False,
    save_every: float = 60.0,
    deterministic: bool = False,
    threads: int | None = None,
    tracking_uri: str | None = None,
    listener: Listener | None = None,
) -> list[Outcome]:
    """Train and evaluate methods under a protocol: every cell that is not done yet.

    Parameters are those of `bench run`. Done cells are kept, failed ones tried again, killed ones resumed. Returns
    the outcome of every cell asked for. Raises UsageError for a request that cannot be carried out.
    """
    listener = listener or default_listener()
    request = Request(protocol, methods, seeds, scales, limit, steps)
    if (answer := answer_from_plan(Path(results), request, keep_volumes, tracking_uri, listener)) is not None:
        return answer
    from ..data.preparation import open_dataset
    from ..planning.plans import make_plan, request_plan
    from ..store.plan import add_plan
    from ..store.results import Store
    from ..store.sources import keep_source
    from .command import Command
    from .job import Job
    from .steps import Wish

    loaded, trainings = request_plan(request)
    folder, wish = Path(data) if data is not None else None, Wish(redo=redo, keep_volumes=keep_volumes)
    open_dataset(loaded.protocol.data.dataset, folder)
    store = Store(Path(results))
    store.check_writable()
    add_plan(store.runs / loaded.folder, make_plan(request, loaded, trainings))
    for source in {training.source for training in trainings}:
        keep_source(store.runs / loaded.folder, source.digest, source.contents)
    jobs = [Job(training, store.results, folder, wish, save_every, deterministic, threads) for training in trainings]
    return Command(store, loaded, jobs, timeout, tracking_uri, listener).outcomes()


def score(
    protocol: str | None = None,
    *,
    data: str | Path | None = None,
    results: str | Path = "results",
    tracking_uri: str | None = None,
    listener: Listener | None = None,
) -> list[Outcome]:
    """Score every recorded cell of a protocol again, by default of the one run last; nothing is trained.

    Predictions come from kept volumes where there are some, else from weights. A cell that has no figure, or one that
    was trained under another key, has nothing to be scored: it is among the outcomes and left alone.
    """
    from ..data.preparation import open_dataset
    from ..planning.plans import recall
    from ..store.results import Store
    from .command import Command
    from .job import Job
    from .steps import Wish

    listener = listener or default_listener()
    store = Store(Path(results))
    loaded, trainings = recall(store, protocol, listener.warn)
    folder = Path(data) if data is not None else None
    open_dataset(loaded.protocol.data.dataset, folder)
    store.check_writable()
    jobs = [Job(training, store.results, folder, Wish(score_only=True)) for training in trainings]
    return Command(store, loaded, jobs, None, tracking_uri, listener).outcomes()
