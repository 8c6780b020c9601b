"""The training curve: the rows of train.csv, and what its validations say of the training."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from typing import Any

from ..system.files import WorkFolder
from ..system.training_states import CURVE

_FIELDS = ("step", "loss", "val_psnr", "lr", "seconds", "pixels_per_second", "memory_bytes", "skipped", "rollbacks")
Validations = Sequence[tuple[int, float]]
"""The step and the PSNR in dB of each validation, in the order of the steps."""


class Curve:
    """The rows of a training, also in train.csv as they come."""

    def __init__(self, folder: WorkFolder, rows: Sequence[dict[str, Any]]) -> None:
        """Write train.csv up to the last of `rows`. Rows after it, of a run that was killed, go: they come again."""
        self._folder, self.rows = folder, list(rows)
        text = io.StringIO()
        lines = csv.DictWriter(text, _FIELDS, lineterminator="\n")
        lines.writeheader()
        lines.writerows(self.rows)
        folder.write_text(CURVE, text.getvalue())

    def add(self, row: dict[str, Any]) -> None:
        """The next row."""
        self.rows.append(row)
        text = io.StringIO()
        csv.DictWriter(text, _FIELDS, lineterminator="\n").writerow(row)
        self._folder.append_text(CURVE, text.getvalue())

    @property
    def validations(self) -> Validations:
        """Those with a finite PSNR."""
        pairs = [(row["step"], row["val_psnr"]) for row in self.rows if "val_psnr" in row]
        return [(step, psnr) for step, psnr in pairs if math.isfinite(psnr)]


def validation_fall(validations: Validations, steps: int) -> float:
    """The largest fall below the best of all earlier validations, in dB; 0 if there is none.

    Only validations after a tenth of the training's `steps` can fall.
    """
    fall, best = 0.0, -math.inf
    for step, psnr in validations:
        if 10 * step > steps:
            fall = max(fall, best - psnr)
        best = max(best, psnr)
    return fall


def late_gain(validations: Validations, steps: int) -> float | None:
    """The best validation over all minus the best within 80 % of the `steps`, in dB.

    None where there is no validation in one of the two parts.
    """
    early = [psnr for step, psnr in validations if 5 * step <= 4 * steps]
    late = [psnr for step, psnr in validations if 5 * step > 4 * steps]
    return max(early + late) - max(early) if early and late else None
