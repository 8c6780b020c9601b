"""A page that is laid out in inches, and what stands on slices: boxes, scale bars and orientation marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..store.exhibit import ExhibitSlice
from ..store.orientation import edges
from .lettering import text_width, wrapped_lines
from .regions import Region
from .style import PAGE, SMALL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINT = 1 / 72
"""Inches."""
LINE = 1.25 * SMALL * POINT
"""Height of a line of text, in inches."""
GAP = 0.06
"""Inches between panels."""
MARK = "#e69f00"
"""The colour of boxes on grey images."""
_FINE = 6.0
"""Size of the line of rights, in points."""
_MARGIN = 0.02
"""Inches between text and the edge."""
_BAR = 0.35
"""A scale bar is at most this part of the image's width."""


class Sheet:
    """A figure of the width of a page. Places are inches from its upper left corner, downwards."""

    def __init__(self, height: float) -> None:
        from matplotlib.figure import Figure

        self.height = height
        self.figure: Figure = Figure(figsize=(PAGE, height))
        self.figure.set_layout_engine("none")

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without frame and ticks."""
        place = (left / PAGE, 1 - (top + height) / self.height, width / PAGE, height / self.height)
        axes = self.figure.add_axes(place)
        axes.set_axis_off()
        return axes

    def text(self, left: float, top: float, text: str, size: float = SMALL, **style: Any) -> None:
        """Lines of text that are ready to be drawn; the first has its top at `top`."""
        for number, line in enumerate(text.split("\n")):
            baseline = top + (1.25 * number + 0.95) * size * POINT
            self.figure.text(left / PAGE, 1 - baseline / self.height, line, fontsize=size, parse_math=False, **style)

    def row_of_text(self, centre: float, top: float, parts: Sequence[tuple[str, bool]]) -> None:
        """Pieces of text, bold or not, side by side about `centre`."""
        widths = [text_width(part, weight="bold" if bold else "normal") * POINT for part, bold in parts]
        left = centre - sum(widths) / 2
        for (part, bold), width in zip(parts, widths, strict=True):
            self.text(left, top, part, fontweight="bold" if bold else "normal")
            left += width


@dataclass(frozen=True)
class Foot:
    """What stands below the panels: notes, and in a smaller line the rights of the images."""

    notes: list[str]
    rights: list[str]

    @classmethod
    def of(cls, notes: Sequence[str], rights: str) -> Foot:
        """Sentences, wrapped to the page's width."""
        width = (PAGE - 2 * _MARGIN) / POINT
        return cls(wrapped_lines(" ".join(notes), width), wrapped_lines(rights, width, _FINE) if rights else [])

    @property
    def height(self) -> float:
        """In inches."""
        return (len(self.notes) + len(self.rights) * _FINE / SMALL) * LINE + 2 * _MARGIN

    def draw(self, sheet: Sheet) -> None:
        """Write it at the foot of the sheet."""
        top = sheet.height - self.height + _MARGIN
        sheet.text(_MARGIN, top, "\n".join(self.notes))
        sheet.text(_MARGIN, top + len(self.notes) * LINE, "\n".join(self.rights), _FINE, color="0.35")


def show(axes: Axes, image: np.ndarray, truth: ExhibitSlice, region: Region | None, **look: Any) -> Any:
    """Draw an image of the whole slice, of any resolution, in the coordinates of HR's pixels; only `region` is seen."""
    rows, columns = truth.hr.shape
    drawn = axes.imshow(image, extent=(0, columns, rows, 0), interpolation="nearest", **look)
    if region is not None:
        axes.set_xlim(region.column, region.column + region.columns)
        axes.set_ylim(region.row + region.rows, region.row)
    axes.set_aspect(truth.spacing[1] / truth.spacing[2])
    return drawn


def show_grey(axes: Axes, image: np.ndarray, truth: ExhibitSlice, region: Region | None = None) -> None:
    """Draw an image in the window that all images of the subject share."""
    low, high = truth.display
    show(axes, image, truth, region, cmap="gray", vmin=low, vmax=high if high > low else low + 1)


def frame(axes: Axes, region: Region) -> None:
    """A box around a region."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    box = Rectangle((region.column, region.row), region.columns, region.rows, fill=False, edgecolor=MARK, linewidth=1.0)
    box.set_path_effects([withStroke(linewidth=1.8, foreground="black")])
    axes.add_patch(box)


def mark_directions(axes: Axes, truth: ExhibitSlice) -> None:
    """The letters of the patient's directions at the edges: L, R, A, P, S and I."""
    top, bottom, left, right = edges(truth)
    places = {top: (0.5, 0.985, "center", "top"), bottom: (0.5, 0.015, "center", "bottom")}
    places |= {left: (0.015, 0.5, "left", "center"), right: (0.985, 0.5, "right", "center")}
    for letter, (x, y, side, level) in places.items():
        axes.text(x, y, letter, transform=axes.transAxes, ha=side, va=level, **_on_image())


def mark_scale(axes: Axes, truth: ExhibitSlice) -> None:
    """A bar of a round number of mm, in the lower left corner of what is seen."""
    left, right = axes.get_xlim()
    bottom, top = axes.get_ylim()
    length = round_length(_BAR * (right - left) * truth.spacing[2])
    x, y = left + 0.05 * (right - left), bottom - 0.05 * (bottom - top)
    end = x + length / truth.spacing[2]
    for colour, width in (("black", 3.0), ("white", 1.6)):
        axes.plot([x, end], [y, y], color=colour, linewidth=width, solid_capstyle="projecting")
    axes.text(x, y - 0.025 * (bottom - top), f"{length:g} mm", ha="left", va="bottom", **_on_image())


def round_length(longest: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above `longest`, which is positive."""
    power = 10.0 ** np.floor(np.log10(longest))
    return float(next(factor * power for factor in (5, 2, 1) if factor * power <= longest * (1 + 1e-9)))


def _on_image() -> dict[str, Any]:
    """White letters with a black edge, which are read on any grey."""
    from matplotlib.patheffects import withStroke

    return {"color": "white", "fontsize": SMALL, "path_effects": [withStroke(linewidth=1.5, foreground="black")]}
