"""What methods look at: the maps that they show of a slice (`Method.maps`), beside the LR slice they are of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import BenchError
from ..reporting.table import Table
from ..store.exhibit import ExhibitSlice
from .lettering import fitted
from .picture import Picture
from .scenes import Scene, find_scenes
from .sheet import GAP, LINE, POINT, Foot, Sheet, mark_directions, mark_scale, show, show_grey
from .style import PAGE, SMALL, styled

_TOP = 0.02
_MOST = 5
"""Panels side by side, at most."""
_BAR = 0.07
"""Height of a colour bar, in inches."""
_BETWEEN = 0.08
_NAME_LINES = 2
_TAILS = 0.005
"""The part of a map's values that may lie beyond either end of its colour scale."""
_RIM = 0.05
"""Width of the rim that decides no colour scale, as a part of a map's sides: networks see zeros beyond the image."""


@dataclass(frozen=True, eq=False)
class _Strip:
    """The maps of one method of one slice."""

    scene: Scene
    label: str

    @property
    def shown(self) -> ExhibitSlice:
        return self.scene.slices[self.label]

    @property
    def title(self) -> str:
        return f"{self.label}: {self.scene.title}, seed {self.scene.seeds[self.label]}"


@dataclass(frozen=True)
class _PanelGrid:
    """Panels of the same size, in inches."""

    columns: int
    width: float
    height: float
    name_lines: int

    @property
    def name_height(self) -> float:
        return self.name_lines * LINE + 0.02

    @property
    def cell_height(self) -> float:
        """Of a name, a panel, its colour bar and the bar's ticks."""
        return self.name_height + self.height + 0.05 + _BAR + 1.5 * LINE


def draw(
    table: Table, *, rows: Sequence[str] = (), subjects: Sequence[str] = (), methods: Sequence[str] = ()
) -> Picture:
    """The LR slice and every map of each method that shows maps, on a colour scale of its own.

    What a map is, the method says; its unit is its own, so that maps of two names cannot be compared. `rows`,
    `subjects` and `methods` choose as for `visual`. Raises UsageError for an unknown name, and BenchError where no cell
    keeps slices, or none keeps maps.
    """
    scenes = find_scenes(table, rows, subjects, methods)
    strips = [_Strip(scene, label) for scene in scenes.shown for label, shown in scene.slices.items() if shown.maps]
    if not strips:
        raise BenchError(
            f"no method of '{table.view.protocol.folder}' shows maps. A method offers them by Method.maps "
            "(docs/methods.md), as poan does; cells that were scored before there were maps get them by: bench score"
        )
    with styled():
        panels = [1 + len(strip.shown.maps) for strip in strips]
        columns = min(_MOST, max(panels))
        side = (PAGE - (columns - 1) * GAP) / columns
        aspect = max(_aspect(strip.shown) for strip in strips)
        names = [name for strip in strips for name in strip.shown.maps]
        lines = max(fitted(name, side / POINT, _NAME_LINES).count("\n") + 1 for name in names)
        grid = _PanelGrid(columns, side, side * min(aspect, 1.5), lines)
        heights = [1.2 * LINE + _BETWEEN + -(-count // columns) * grid.cell_height for count in panels]
        foot = Foot.of(_notes(), table.view.protocol.licence)
        sheet = Sheet(_TOP + sum(heights) + foot.height)
        top = _TOP
        for strip, height in zip(strips, heights, strict=True):
            _draw_strip(sheet, strip, top, grid)
            top += height
        foot.draw(sheet)
    title = f"{'; '.join(strip.title for strip in strips)}: maps"
    records = [record for record in scenes.records if record.label in {strip.label for strip in strips}]
    return Picture(sheet.figure, title, table, tuple(records), shows_images=True)


def _aspect(shown: ExhibitSlice) -> float:
    """Height to width of the slice in mm."""
    rows, columns = shown.hr.shape
    return rows * shown.spacing[1] / (columns * shown.spacing[2])


def _draw_strip(sheet: Sheet, strip: _Strip, top: float, grid: _PanelGrid) -> None:
    shown, side, height = strip.shown, grid.width, grid.height
    sheet.text(0.02, top, fitted(strip.title, PAGE / POINT), fontweight="bold")
    panels = [("LR", None), *shown.maps.items()]
    for number, (name, values) in enumerate(panels):
        left = number % grid.columns * (side + GAP)
        down = top + 1.2 * LINE + number // grid.columns * grid.cell_height
        text = fitted(name, side / POINT, grid.name_lines)
        sheet.text(left + side / 2, down + (grid.name_lines - 1 - text.count("\n")) * LINE, text, ha="center")
        axes = sheet.axes(left, down + grid.name_height, side, height)
        if values is None:
            show_grey(axes, shown.lr, shown)
            mark_directions(axes, shown)
            mark_scale(axes, shown)
            continue
        low, high = map_scale(values)
        drawn = show(axes, values, shown, None, cmap="viridis", vmin=low, vmax=high if high > low else low + 1e-12)
        bar = sheet.axes(left + 0.08 * side, down + grid.name_height + height + 0.05, 0.84 * side, _BAR)
        bar.set_axis_on()
        _draw_scale(sheet, drawn, bar, low, high)


def map_scale(values: np.ndarray) -> tuple[float, float]:
    """The ends of a map's colour scale: quantiles without the rim, so that few pixels do not decide what is seen."""
    top, left = (math.ceil(_RIM * length) if length > 2 else 0 for length in values.shape)
    inner = values[top : len(values) - top, left : values.shape[1] - left].astype(np.float64)
    low, high = np.quantile(inner, (_TAILS, 1 - _TAILS))
    return float(low), float(high)


def tick_texts(low: float, high: float) -> list[str]:
    """Both ends in the fewest digits that tell them apart well; one text where they are equal."""
    if low == high:
        return [f"{low:.3g}"]
    for digits in range(2, 17):
        texts = [f"{value:#.{digits}g}".rstrip(".") for value in (low, high)]
        if abs((float(texts[1]) - float(texts[0])) / (high - low) - 1) < 0.05:
            return texts
    return [repr(low), repr(high)]


def _draw_scale(sheet: Sheet, drawn: object, axes: object, low: float, high: float) -> None:
    texts = tick_texts(low, high)
    ends = [low, high][: len(texts)]
    bar = sheet.figure.colorbar(drawn, cax=axes, orientation="horizontal", extend="both", ticks=ends)  # type: ignore[arg-type]
    bar.ax.set_xticklabels(texts)
    if len(texts) > 1:  # within the length of the bar
        bar.ax.get_xticklabels()[0].set_horizontalalignment("left")
        bar.ax.get_xticklabels()[-1].set_horizontalalignment("right")
    bar.outline.set_linewidth(0.5)
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=SMALL, length=2, pad=1)


def _notes() -> list[str]:
    return [
        "Each map has a colour scale and a unit of its own, which its method defines: colours of two maps cannot be "
        f"compared. A scale spans the middle {100 - 200 * _TAILS:g} % of a map's values, without those of its rim."
    ]
