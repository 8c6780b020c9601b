"""A request that was made before and is done: answered from its plan and the records, with no method imported."""

from __future__ import annotations

from pathlib import Path

from ..planning.request import Request, asked, stands
from ..store.cell_files import VOLUMES, VOLUMES_MANIFEST, standing_of
from ..store.mlflow_mirror import Mirror, MirroredCell
from ..store.plan import PlannedCell, View, add_plan, view_of
from .outcomes import Outcome
from .progress import Listener


def answer_from_plan(
    results: Path, request: Request, keep_volumes: bool, tracking_uri: str | None, listener: Listener
) -> list[Outcome] | None:
    """The outcomes of a request whose plan still stands and whose cells are all done; None where there is work to do.

    A plan stands while nothing that it was made from has changed: the package's code, the files of protocol and split,
    the methods' sources. Raises UsageError for what a protocol's file does not allow.
    """
    loaded = request.load()
    folder = results / "runs" / loaded.folder
    wanted, view = asked(request, loaded), view_of(folder)
    plan = next((plan for plan in view.plans if plan.asked == wanted), None) if view else None
    if plan is None or not stands(plan.origin):
        return None
    view = View(folder, (plan,))
    items = [_item(view, planned) for planned in view.cells]
    outcomes = [_outcome(view, planned, keep_volumes) for planned in view.cells]
    if not all(outcomes):
        return None
    answer = [outcome for outcome in outcomes if outcome]
    try:
        add_plan(folder, plan)
    except OSError:  # whoever does the work will say why nothing can be written
        return None
    with listener, Mirror(results, tracking_uri, listener.warn) as mirror:
        listener.planned([], answer)
        mirror.sync(item for item in items if item)
    return answer


def _outcome(view: View, planned: PlannedCell, keep_volumes: bool) -> Outcome | None:
    """The outcome of a cell of which nothing is to be done, else None."""
    cell, place = planned.cell, view.place(planned)
    standing = standing_of(place, cell.why or "")
    if standing.state == "skipped":
        return Outcome(cell, "skipped", standing.why)
    manifest = view.folder / cell.folder / VOLUMES / VOLUMES_MANIFEST
    if standing.done is None or (keep_volumes and not manifest.is_file()):
        return None
    return Outcome(cell, standing.state, standing.why, standing.done.metrics)


def _item(view: View, planned: PlannedCell) -> MirroredCell | None:
    place = view.place(planned)
    return MirroredCell(view.protocol.folder, str(planned.cell), planned.cell.folder, place) if place else None
