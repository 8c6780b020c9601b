"""A request that was made before and is done: answered from its plan and the records, with no method imported."""

from __future__ import annotations

from collections.abc import Sequence

from ..planning.request import Request, is_unchanged, request_in_full
from ..store.cell_files import VOLUMES, VOLUMES_MANIFEST, standing_of
from ..store.plan import PlannedCell, View, add_plan, view_of
from ..tracking.mirror import Mirror
from ..tracking.runs import MirroredCell
from .outcomes import Outcome
from .progress import Listener
from .settings import RunSettings, Shard


def answer_from_plan(request: Request, settings: RunSettings, listener: Listener) -> list[Outcome] | None:
    """The outcomes of a request whose plan is still valid and whose cells are all done; None where there is work to do.

    A plan is valid while nothing that it was made from has changed: the package's code, the files of protocol and
    split, the methods' sources. Raises UsageError for what a protocol's file does not allow.
    """
    loaded = request.load()
    folder = settings.results / "runs" / loaded.folder
    in_full, view = request_in_full(request, loaded), view_of(folder)
    plan = next((plan for plan in view.plans if plan.asked == in_full), None) if view else None
    if plan is None or not is_unchanged(plan.origin):
        return None
    view = View(folder, (plan,))
    if (cells := _cells(view, settings.shard)) is None:
        return None
    mirrored = [_mirrored_cell(view, planned) for planned in cells]
    outcomes = [outcome for planned in cells if (outcome := _outcome(view, planned, settings.keep_volumes))]
    if len(outcomes) < len(cells):
        return None
    try:
        add_plan(folder, plan)
    except OSError:  # whoever does the work will say why nothing can be written
        return None
    with listener, Mirror(settings.results, settings.tracking_uri, listener.warn) as mirror:
        listener.planned([], outcomes, {})
        mirror.sync(cell for cell in mirrored if cell)
    return outcomes


def _cells(view: View, shard: Shard | None) -> Sequence[PlannedCell] | None:
    """The cells of a plan, or of a shard of it; None where it is not known yet which these are."""
    if shard is None:
        return view.cells
    from ..estimating.plan_costs import known_costs
    from .shards import share_of

    costs = known_costs(view.last)
    if costs is None:
        return None
    share = share_of(costs, shard)
    return [planned for planned in view.cells if planned.cell.base in share]


def _outcome(view: View, planned: PlannedCell, keep_volumes: bool) -> Outcome | None:
    """The outcome of a cell that needs no work, else None."""
    cell, place = planned.cell, view.place(planned)
    standing = standing_of(place, cell.why or "")
    if standing.state == "skipped":
        return Outcome(cell, "skipped", standing.why)
    manifest = view.folder / cell.folder / VOLUMES / VOLUMES_MANIFEST
    if standing.done is None or standing.open_tests or (keep_volumes and not manifest.is_file()):
        return None
    return Outcome(cell, standing.state, standing.why, standing.done.metrics)


def _mirrored_cell(view: View, planned: PlannedCell) -> MirroredCell | None:
    place = view.place(planned)
    return MirroredCell(view.protocol.folder, str(planned.cell), planned.cell.folder, place) if place else None
