"""One slice of a subject as every method predicts it: the whole slice, and the same region of it enlarged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..reporting.claims import ties
from ..reporting.table import Table
from .lettering import fitted
from .picture import Picture
from .regions import Region, chosen_region, given_region
from .scenes import Scene, Scenes, find_scenes
from .sheet import GAP, LINE, POINT, Foot, Sheet, frame, mark_directions, mark_scale, show, show_grey
from .style import PAGE, SMALL, styled

_LABEL_LINES = 3
"""Lines of a method's name, at most."""
_TOP = 0.02
"""Inches above the first scene."""
_BETWEEN = 0.08
"""Inches between two scenes."""


def draw(
    table: Table,
    *,
    rows: Sequence[str] = (),
    subjects: Sequence[str] = (),
    methods: Sequence[str] = (),
    region: tuple[int, int, int] | None = None,
    errors: bool = False,
) -> Picture:
    """HR, LR and the predictions of every method, of one slice for each chosen row of the table and subject.

    Below a prediction are the table's first two metrics of that subject. Bold is what the tie groups of the row (all
    subjects and seeds) do not tell from its best figure, as in the table: no statement about this one image. `rows`,
    `subjects` and `methods` choose; by default the last row of every contrast, the middle one of its subjects, and all
    methods. `region` is (row, column, size) in HR pixels of the slice as it is shown; by default it lies where the
    methods differ most. `errors` adds |prediction − HR|. Raises UsageError for an unknown name or a region outside the
    slice, and BenchError where no cell keeps slices.
    """
    scenes = find_scenes(table, rows, subjects, methods)
    regions = [_region(scene, region) for scene in scenes.shown]
    with styled():
        layout = _PanelLayout.of(table, scenes.shown, errors)
        foot = Foot.of(_notes(table, scenes, regions, region is None), table.view.protocol.licence)
        sheet = Sheet(_TOP + sum(layout.scene_height(scene) + _BETWEEN for scene in scenes.shown) + foot.height)
        scale = _error_scale(scenes.shown, regions) if errors else None
        top = _TOP
        for scene, place in zip(scenes.shown, regions, strict=True):
            _draw_scene(sheet, table, scene, place, layout, top, scale)
            top += layout.scene_height(scene) + _BETWEEN
        if scale is not None:
            _draw_error_scale(sheet, layout, scale)
        foot.draw(sheet)
    title = f"{', '.join(scene.title for scene in scenes.shown)}: predictions of {table.view.protocol.name}"
    return Picture(sheet.figure, title, table, tuple(scenes.records), shows_images=True)


@dataclass(frozen=True)
class _PanelLayout:
    """The grid of panels: the whole slice covers `span` × `deep` of them, in its upper left corner."""

    columns: int
    span: int
    deep: int
    label_lines: int
    errors: bool

    @classmethod
    def of(cls, table: Table, scenes: Sequence[Scene], errors: bool) -> _PanelLayout:
        """The grid that leaves the fewest places empty; few methods get larger panels."""
        count = 2 + max(len(scene.slices) for scene in scenes)
        if errors:
            span, deep = 2, 1
        else:
            span, deep = (1, 1) if count <= 4 else (2, 2)
        choices = [span + count] if deep == 1 and count <= 4 else [5, 6, 7]

        def empty(columns: int) -> tuple[int, int]:
            first = deep * (columns - span)
            rest = max(0, count - first)
            return first + columns * math.ceil(rest / columns) - count, columns

        columns = min(choices, key=empty)
        width = (PAGE - (columns - 1) * GAP) / columns
        labels = ["HR", "LR", *(label for scene in scenes for label in scene.slices)]
        lines = max(fitted(label, width / POINT, _LABEL_LINES).count("\n") + 1 for label in labels)
        return cls(columns, span, deep, lines, errors)

    @property
    def side(self) -> float:
        """Of a panel, in inches."""
        return (PAGE - (self.columns - 1) * GAP) / self.columns

    @property
    def head(self) -> float:
        return self.label_lines * LINE + 0.02

    @property
    def cell_height(self) -> float:
        """Of a name, a panel, its figures and its errors."""
        return self.head + self.side + 1.2 * LINE + (self.side + 0.03 if self.errors else 0) + GAP / 2

    def places(self, count: int) -> list[tuple[float, float]]:
        """Left and top of as many panels, in reading order."""
        places, line = list[tuple[float, float]](), 0
        while len(places) < count:
            first = self.span if line < self.deep else 0
            top = line * self.cell_height
            places += [(column * (self.side + GAP), top) for column in range(first, self.columns)]
            line += 1
        return places[:count]

    def scene_height(self, scene: Scene) -> float:
        lowest = max(top for _, top in self.places(2 + len(scene.slices))) + self.cell_height
        return max(lowest, self.deep * self.cell_height)


def _region(scene: Scene, wanted: tuple[int, int, int] | None) -> Region:
    truth = scene.truth
    spacing = truth.spacing[1], truth.spacing[2]
    if wanted is not None:
        return given_region(wanted, truth.hr.shape, spacing)
    return chosen_region(truth.hr, [shown.prediction for shown in scene.slices.values()], spacing)


def _draw_scene(
    sheet: Sheet, table: Table, scene: Scene, region: Region, layout: _PanelLayout, top: float, scale: float | None
) -> None:
    truth, side = scene.truth, layout.side
    width = layout.span * side + (layout.span - 1) * GAP
    height = layout.deep * layout.cell_height - layout.head - 1.2 * LINE - GAP / 2
    title = fitted(scene.title, width / POINT, layout.label_lines)
    sheet.text(0.01, top + layout.head - 0.02 - LINE * (title.count("\n") + 1), title, fontweight="bold")
    whole = sheet.axes(0, top + layout.head, width, height)
    whole.set_anchor("NW")
    show_grey(whole, truth.hr, truth)
    frame(whole, region)
    mark_directions(whole, truth)
    mark_scale(whole, truth)
    metrics = table.metrics[:2]
    best = {metric: ties(table, scene.row, metric).best for metric in metrics}
    images = {"HR": truth.hr, "LR": truth.lr}
    panels = [*images.items(), *((label, shown.prediction) for label, shown in scene.slices.items())]
    for number, ((left, down), (label, image)) in enumerate(zip(layout.places(len(panels)), panels, strict=True)):
        centre, under = left + side / 2, top + down + layout.head + side
        name = fitted(label, side / POINT, layout.label_lines)
        sheet.text(centre, top + down + layout.head - 0.02 - LINE * (name.count("\n") + 1), name, ha="center")
        axes = sheet.axes(left, top + down + layout.head, side, side)
        show_grey(axes, image, truth, region)
        if number == 0:
            mark_scale(axes, truth)
            sheet.row_of_text(centre, under + 0.02, [(fitted(" / ".join(metrics), side / POINT), False)])
        if number < len(images):
            continue
        sheet.row_of_text(centre, under + 0.02, _figures(table, scene, label, best))
        if scale is not None:
            axes = sheet.axes(left, under + 1.2 * LINE, side, side)
            show(axes, _error(scene, label), truth, region, cmap="inferno", vmin=0, vmax=scale)


def _figures(table: Table, scene: Scene, label: str, best: dict[str, frozenset[str]]) -> list[tuple[str, bool]]:
    """The subject's figures of a prediction, those of the row's best group bold."""
    scores = table.scores[scene.row, label][scene.seeds[label]]
    parts = list[tuple[str, bool]]()
    for metric, group in best.items():
        value = scores[metric].get(scene.subject, math.nan)
        parts += [(" / ", False)] * bool(parts) + [(table.figure_text(metric, value), label in group)]
    return parts


def _error(scene: Scene, label: str) -> np.ndarray:
    """|prediction − HR| in percent of the subject's window."""
    low, high = scene.truth.display
    difference = scene.slices[label].prediction.astype(np.float64) - scene.truth.hr
    return np.abs(difference) * (100 / (high - low if high > low else 1))


def _error_scale(scenes: Sequence[Scene], regions: Sequence[Region]) -> float:
    """The end of the colour scale, in percent: a round number that 99.5 % of the errors shown do not exceed."""
    shown = [
        _error(scene, label)[region.row : region.row + region.rows, region.column : region.column + region.columns]
        for scene, region in zip(scenes, regions, strict=True)
        for label in scene.slices
    ]
    high = float(np.quantile(np.concatenate([errors.ravel() for errors in shown]), 0.995))
    steps = 10.0 ** math.floor(math.log10(high)) / 2 if high > 0 else 1.0
    return math.ceil(high / steps) * steps or 1.0


def _draw_error_scale(sheet: Sheet, layout: _PanelLayout, scale: float) -> None:
    """Below HR and LR of the first scene, which have no errors."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    (left, down), width = layout.places(1)[0], 2 * layout.side + GAP
    middle = _TOP + down + layout.head + 1.5 * layout.side + 1.2 * LINE
    axes = sheet.axes(left + 0.12 * width, middle - 2 * LINE, 0.76 * width, 0.09)
    axes.set_axis_on()
    colours = ScalarMappable(Normalize(0, scale), "inferno")
    bar = sheet.figure.colorbar(colours, cax=axes, orientation="horizontal", extend="max", ticks=[0, scale / 2, scale])
    bar.ax.set_xticklabels([f"{value:g} %" for value in (0, scale / 2, scale)])
    bar.outline.set_linewidth(0.5)
    bar.ax.tick_params(labelsize=SMALL, length=2, pad=1)
    bar.set_label("|prediction − HR|\nof the subject's range of intensities", fontsize=SMALL, labelpad=1)


def _notes(table: Table, scenes: Scenes, regions: Sequence[Region], chosen: bool) -> list[str]:
    """What a reader must know of the figure."""
    metrics = table.metrics[:2]
    seeds = sorted({seed for scene in scenes.shown for seed in scene.seeds.values()})
    notes = [
        f"Below each prediction: {' / '.join(metrics)} of the subject's whole test volume, seed "
        f"{', '.join(map(str, seeds))}."
    ]
    groups = [ties(table, scene.row, metric).best for scene in scenes.shown for metric in metrics]
    if any(groups):
        notes.append(
            "Bold: not told apart from the best figure of the row (its tie group, over all subjects and seeds); that "
            "says nothing of this one image."
        )
    if not all(groups):
        notes.append(f"{'Elsewhere nothing' if any(groups) else 'Nothing'} is bold: the best figure carries no claim.")
    places = "; ".join(dict.fromkeys(region.text for region in regions))
    how = "where the methods differ most" if chosen else "as given"
    notes.append(f"Box: {how} (row, column, size in HR pixels: {places}). LR: nearest neighbour.")
    if scenes.absent:
        notes.append(f"Without an image: {', '.join(scenes.absent)}.")
    return notes
