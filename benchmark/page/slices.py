"""The slices that a protocol's cells keep, for the viewer: one script a row and subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..figures.scenes import RowExhibits, Scene, row_exhibits
from ..reporting.table import Row, Table
from ..store.exhibit import ExhibitSlice
from ..store.orientation import edges
from .scripts import stored_image


@dataclass(frozen=True, eq=False)
class SubjectScenes:
    """The slices of one test subject in a row."""

    row: int
    scenes: list[Scene]

    @property
    def subject(self) -> str:
        return self.scenes[0].subject


@dataclass(frozen=True, eq=False)
class RowScenes:
    """The slices of a row."""

    subjects: list[SubjectScenes]
    absent: dict[str, str]
    """Label → why it shows no slice."""


def row_slices(table: Table, row: Row) -> RowScenes:
    """All slices that columns of a row keep."""
    exhibits = row_exhibits(table, row, table.labels)
    subjects = [
        SubjectScenes(table.rows.index(row), [exhibits.scene(subject, number) for number in numbers])
        for subject, numbers in exhibits.slices.items()
    ]
    return RowScenes(subjects, exhibits.absent | _other_slices(exhibits, subjects))


def _other_slices(exhibits: RowExhibits, subjects: Sequence[SubjectScenes]) -> dict[str, str]:
    shown = {label for slices in subjects for scene in slices.scenes for label in scene.slices}
    return {item.label: "it keeps other slices" for item in exhibits.kept if item.label not in shown}


def slices_content(slices: SubjectScenes, labels: Sequence[str]) -> dict[str, Any]:
    """The images of a subject's slices, upright; predictions by the index of their column's label."""
    truth = slices.scenes[0].truth
    return {
        "subject": slices.subject,
        "display": list(truth.display),
        "spacing": list(truth.spacing),
        "edges": list(edges(truth)),
        "slices": [_slice(scene, labels) for scene in slices.scenes],
    }


def _slice(scene: Scene, labels: Sequence[str]) -> dict[str, Any]:
    truth = scene.truth
    return {
        "number": truth.number,
        "hr": stored_image(truth.hr, truth.hr_window),
        "lr": stored_image(truth.lr, truth.lr_window),
        "predictions": [_prediction(scene, label) for label in labels],
    }


def _prediction(scene: Scene, label: str) -> dict[str, Any] | None:
    shown: ExhibitSlice | None = scene.slices.get(label)
    if shown is None:
        return None
    return {"seed": scene.seeds[label], **stored_image(shown.prediction, shown.prediction_window)}


def distances(scene: Scene, pairs: Sequence[tuple[str, str]]) -> list[float | None]:
    """For each pair of labels, the root mean square of the difference of their predictions, in intensity units."""
    places = {label: place for place, label in enumerate(scene.slices)}
    images = np.stack([shown.prediction.ravel().astype(np.float64) for shown in scene.slices.values()])
    images -= images.mean(axis=0)  # differences stay the same, and lose fewer digits below
    products = images @ images.T
    squares = np.diag(products)
    rms = np.sqrt(np.maximum(squares[:, None] + squares - 2 * products, 0) / images.shape[1])
    return [_both(rms, places, *pair) for pair in pairs]


def _both(rms: np.ndarray, places: dict[str, int], first: str, second: str) -> float | None:
    return float(rms[places[first], places[second]]) if first in places and second in places else None
