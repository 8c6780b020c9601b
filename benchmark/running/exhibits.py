"""Exhibits: at scoring, the cells of a label's first seed keep a few whole slices, to be looked at.

The protocol alone says which (`schema.ReportSpec`): the same for all methods. No figure depends on them, and what goes
wrong with them is a warning.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import nibabel as nib
import numpy as np

from ..data.pairs import Pair
from ..planning.cells import Cell, Training
from ..planning.entrants import error_text
from ..store.exhibit import SubjectSlices, check_maps, write_exhibit
from ..store.locks import HeldFolder, LeaseLost
from .events import Event, Warned


def evenly_spaced(number: int, parts: int) -> tuple[int, ...]:
    """The middles of `parts` equal parts of `number` indices; all indices where there are fewer."""
    parts = min(parts, number)
    return tuple((2 * part + 1) * number // (2 * parts) for part in range(parts))


class Exhibits:
    """Gathers what one cell keeps, while it is scored, and writes it. Never raises but LeaseLost."""

    def __init__(self, training: Training, cell: Cell, pairs: Sequence[Pair], send: Callable[[Event], None]) -> None:
        protocol = training.loaded.protocol
        report = protocol.report
        chosen = evenly_spaced(len(pairs), report.subjects) if cell.seed == training.first_seed else ()
        self._subjects = {pairs[index].subject for index in chosen}
        self._slices, self._rounding = report.slices, protocol.scoring.round
        self._cell, self._send = cell, send
        self._kept: list[SubjectSlices] = []

    def take(self, pair: Pair, prediction: np.ndarray, maps: Callable[[], Mapping[str, np.ndarray]]) -> None:
        """Keep the chosen slices of a test volume: HR, LR, the prediction, rounded as it is scored, and the maps.

        prediction: (slices, rows, columns) before rounding, in the file's units; for `x+` that of the ensemble.
        maps: gives what `Method.maps` gives; it is called for the chosen volumes alone.
        """
        if pair.subject in self._subjects:
            try:
                self._kept.append(self._slices_of(pair, prediction, self._maps_of(pair, maps)))
            except Exception as error:
                self._give_up(error)

    def write(self, folder: HeldFolder, row: HeldFolder) -> str | None:
        """Write what was kept; the checksum of exhibit.npz, or None where there is none."""
        if not self._kept:
            return None
        try:
            return write_exhibit(folder, row, self._kept)
        except LeaseLost:
            raise
        except Exception as error:
            self._give_up(error)
            return None

    def _maps_of(self, pair: Pair, maps: Callable[[], Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """The method's maps of a volume; nothing, and a warning, where the method fails or gives anything else."""
        try:
            found = {name: np.asarray(value, np.float32) for name, value in maps().items()}
            check_maps(found, len(pair.lr))
            return found
        except Exception as error:
            self._warn(f"no maps are kept to be looked at ({error_text(error)})")
            return {}

    def _slices_of(self, pair: Pair, prediction: np.ndarray, maps: Mapping[str, np.ndarray]) -> SubjectSlices:
        slices = evenly_spaced(len(pair.hr), self._slices)
        lr_slices = tuple(index // self._cell.factors[0] for index in slices)
        return SubjectSlices(
            subject=pair.subject,
            slices=slices,
            lr_slices=lr_slices,
            prediction=np.stack([pair.grid.apply(prediction[index], self._rounding) for index in slices]),
            hr=np.array(pair.hr[list(slices)]),
            lr=np.array(pair.lr[list(lr_slices)]),
            maps={name: value[list(lr_slices)] for name, value in maps.items()},
            step=pair.grid.slope if pair.grid.integer else None,
            spacing=pair.spacing,
            axes=nib.aff2axcodes(np.array(pair.affine)),
        )

    def _give_up(self, error: Exception) -> None:
        self._subjects, self._kept = set(), []
        self._warn(f"no slices are kept to be looked at ({error_text(error)})")

    def _warn(self, problem: str) -> None:
        self._send(Warned(message=f"{self._cell}: {problem}. Try again: bench score"))
