"""The error of every method by radial frequency, as a share of the truth's energy, a panel a row of the table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import BenchError
from ..reporting.shown_cells import shown_cells
from ..reporting.table import Table
from ..store.series import read_radial
from .axes import log_axis, plain_axis
from .labels import short_names
from .panels import absences, finish, grid, left_out, marked_line, read_cells
from .picture import Picture
from .style import look, styled

_DRAWN = (1 / 96, 0.5)
"""Cycles per HR pixel: above the first band, which holds the mean intensity; below the spectrum's corners."""

Spectra = dict[str, tuple[np.ndarray, np.ndarray]]
"""Label → frequencies (bins,), and the error's energy by that of the truth (bins,)."""


def draw(table: Table) -> Picture:
    """The energy of the error in each band of radial frequency, divided by that of the truth in the same band.

    0 is exact; at 1 the error is as large as the truth, as where a band is predicted as nothing. Energies are means
    over test subjects (`scoring.score.radial_errors`) and over seeds. The band with the mean intensity is left out, and
    the spectrum's corners above 0.5 cycles per HR pixel. Lines mark the Nyquist frequency of LR along rows and columns,
    above which LR holds only what was folded down. Cells whose radial.csv is absent or damaged are left out and named
    below. Raises BenchError where none is left.
    """
    spectra, problems = read_cells(shown_cells(table), read_radial)
    shares = {key: _share(np.mean([energies for _, energies in seeds], axis=0)) for key, seeds in spectra.items()}
    rows = [row for row in table.rows if any(row == known and len(share[0]) for (known, _), share in shares.items())]
    if not rows:
        raise BenchError(
            f"no cell of '{table.view.protocol.folder}' has an error by frequency (radial.csv). Score the cells with: "
            "bench run, or again with: bench score"
        )
    names, handles = short_names(table.labels), dict[str, Any]()
    with styled():
        from matplotlib.figure import Figure

        lines, columns, width = grid(len(rows))
        figure = Figure(figsize=(width, 2.5 * lines))
        panels = figure.subplots(lines, columns, squeeze=False).ravel()
        for axes in panels[len(rows) :]:
            axes.remove()
        for number, (axes, row) in enumerate(zip(panels, rows, strict=False)):
            own = {label: share for (known, label), share in shares.items() if known == row}
            handles |= _panel(axes, table, own)
            factors = next(seeds[0][0].resolved.factors for (known, _), seeds in spectra.items() if known == row)
            _mark_nyquist(axes, factors)
            axes.set_title(" ".join(row))
            axes.set_xlabel("radial frequency (cycles per HR pixel)")
            if number % columns == 0:
                axes.set_ylabel("error energy / truth energy")
        legend = {names[label]: handles[label] for label in table.labels if label in handles}
        finish(figure, legend, [*left_out("No error by frequency", problems), *absences(table)])
    shown = tuple(record for seeds in spectra.values() for record, _ in seeds)
    return Picture(figure, "Energy of the error by radial frequency, as a share of the truth's energy", table, shown)


def _share(energies: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frequencies and shares of (bins, 3) energies: those that a log axis can show."""
    frequencies, errors, truths = energies.T
    drawn = (frequencies > _DRAWN[0]) & (frequencies <= _DRAWN[1]) & (errors > 0) & (truths > 0)
    return frequencies[drawn], errors[drawn] / truths[drawn]


def _panel(axes: Any, table: Table, shares: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Draw the lines of a panel; label → handle for the legend."""
    handles = {}
    for number, (label, (frequencies, values)) in enumerate(shares.items()):
        own = look(table.labels.index(label))
        handles[label] = marked_line(axes, frequencies, values, own, number / len(shares))
    log_axis(axes.yaxis, [value for _, values in shares.values() for value in values])
    plain_axis(axes.xaxis)
    axes.set_xlim(0, _DRAWN[1])
    return handles


def _mark_nyquist(axes: Any, factors: tuple[int, int, int]) -> None:
    """A line at the Nyquist frequency of LR along rows and columns, one where they agree."""
    for factor in sorted({factor for factor in factors[1:] if factor > 1}):
        frequency = 1 / (2 * factor)
        axes.axvline(frequency, color="0.4", linewidth=0.8, linestyle=(0, (1, 1)))
        axes.annotate(
            "LR Nyquist",
            (frequency, 0.02),
            (-2, 0),
            ("data", "axes fraction"),
            "offset points",
            fontsize="small",
            color="0.3",
            rotation=90,
            horizontalalignment="right",
            verticalalignment="bottom",
        )
