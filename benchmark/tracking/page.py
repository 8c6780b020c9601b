"""What the page of an experiment shows at first sight: a note, and a view with the scores as columns."""

from __future__ import annotations

import json

from ..store.plan import Plan

NOTE = "mlflow.note.content"
_VIEW = "scores"
_TAGS = ("label", "contrast", "scale", "degradation", "seed")


def page_tags(number: str, name: str, plan: Plan) -> dict[str, str]:
    """The tags of an experiment, by its number and its name, that its page is made from.

    The view is what MLflow's button Views saves to share it (MLflow 3.15 and later): the address of the page with
    viewStateShareKey opens it. A page that does not know it shows its usual columns.
    """
    return {NOTE: _note(number, name, plan), f"mlflow.sharedViewState.{_VIEW}": _view(plan)}


def _note(number: str, name: str, plan: Plan) -> str:
    """Markdown. A folded note shows its first line alone."""
    protocol = plan.protocol
    address = f"#/experiments/{number}/runs?viewStateShareKey={_VIEW}&workflowType=machine_learning"
    return (
        f"**[Show the scores as columns]({address})**: protocol `{name}`, version {protocol.version}, "
        f"digest `{protocol.digest[:12]}`\n\n"
        f"{protocol.description}\n\n"
        "One run is one cell: method, contrast, scale, degradation, seed. To filter: "
        "`tags.contrast = 'T1' AND tags.scale = 'x2' AND tags.method = 'edsr' AND tags.seed = '0'`. "
        "These are copies; the records are the truth. To get them, and their table:\n\n"
        f"    bench mlflow pull --tracking-uri ADDRESS --protocol '{name}' results\n"
        f"    bench table --protocol '{name}'\n"
    )


def _view(plan: Plan) -> str:
    scores = [f"metrics.`{metric.label}`" for metric in plan.metrics]
    view: dict[str, object] = {"selectedColumns": [*scores, *(f"tags.`{tag}`" for tag in _TAGS)]}
    if scores:
        view |= {"orderByKey": scores[0], "orderByAsc": not plan.metrics[0].higher_is_better}
    return json.dumps(view)
