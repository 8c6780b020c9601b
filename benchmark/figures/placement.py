"""Where the names of points go in a panel: boxes that overlap neither each other nor what is drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_ANGLES = tuple(math.radians(degrees) for degrees in (45, 135, -45, -135, 0, 180, 90, -90, 20, 160, -20, -160))
"""The directions in which a name may lie from its point, the preferred first."""
_DISTANCES = (0.0, 6.0, 13.0, 22.0, 33.0, 46.0, 61.0)
"""How far a name may lie from its point's edge, in points of 1/72 inch."""
_ROUNDS = 20
"""How often all is placed anew, each time with the name that found no place first."""


@dataclass(frozen=True)
class Box:
    """A rectangle whose sides are parallel to the axes, in points of 1/72 inch."""

    left: float
    bottom: float
    right: float
    top: float

    def overlaps(self, other: Box) -> bool:
        """Whether the two share more than an edge."""
        return (
            self.left < other.right and other.left < self.right and self.bottom < other.top and other.bottom < self.top
        )

    def lies_in(self, other: Box) -> bool:
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.bottom <= self.bottom
            and self.top <= other.top
        )

    def is_crossed(self, start: tuple[float, float], end: tuple[float, float]) -> bool:
        """Whether a line between two places has a part within (Liang and Barsky's clipping)."""
        first, last = 0.0, 1.0
        for begin, stop, low, high in (
            (start[0], end[0], self.left, self.right),
            (start[1], end[1], self.bottom, self.top),
        ):
            step = stop - begin
            if step == 0:
                if not low < begin < high:
                    return False
                continue
            near, far = sorted(((low - begin) / step, (high - begin) / step))
            first, last = max(first, near), min(last, far)
        return first < last

    def holds(self, x: float, y: float) -> bool:
        return self.left <= x <= self.right and self.bottom <= y <= self.top


Segment = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class NamePlace:
    """A place that a name may have."""

    box: Box
    leader: Segment | None = None
    """From the point to the name, where this is not beside its point."""


def around(x: float, y: float, radius: float, width: float, height: float) -> list[NamePlace]:
    """The places of a name of this size around a point of this radius, the nearest first."""
    places = []
    for distance in _DISTANCES:
        for angle in _ANGLES:
            reach = radius + 1 + distance
            right, up = math.cos(angle), math.sin(angle)
            # The box's nearest side or corner lies `reach` away.
            centre_x = x + right * reach + width / 2 * _sign(right)
            centre_y = y + up * reach + height / 2 * _sign(up)
            box = Box(centre_x - width / 2, centre_y - height / 2, centre_x + width / 2, centre_y + height / 2)
            end = min(max(x, box.left), box.right), min(max(y, box.bottom), box.top)
            places.append(NamePlace(box, ((x, y), end) if distance else None))
    return places


def along(y: float, frame: Box, width: float, height: float) -> list[NamePlace]:
    """The places of a name of this size above and below a level line, from the left."""
    step = max(4.0, width / 4)
    lefts = [frame.left + 2 + step * number for number in range(int((frame.right - frame.left) / step))]
    return [
        NamePlace(Box(left, bottom, left + width, bottom + height))
        for bottom in (y + 1, y - 1 - height)
        for left in lefts
    ]


def placed(
    names: Sequence[Sequence[NamePlace]], obstacles: Sequence[Box], frame: Box, lines: Sequence[Segment] = ()
) -> list[NamePlace] | None:
    """A place for each name out of its places: none overlaps another, an obstacle or a leader, or leaves the frame.

    None where no such places were found: names that find no place are tried again as the first ones. Names keep off
    `lines` where they can.
    """
    free = [
        [
            place
            for place in places
            if place.box.lies_in(frame) and not any(_is_hindered(place, obstacle) for obstacle in obstacles)
        ]
        for places in names
    ]
    sorted_places = [sorted(own, key=lambda place: _is_on(place, lines)) for own in free]
    off_lines = [[place for place in own if not _is_on(place, lines)] for own in free]
    return _chosen(off_lines) or _chosen(sorted_places)


def _chosen(free: Sequence[Sequence[NamePlace]]) -> list[NamePlace] | None:
    """The first place of each name that fits the others, the names with the fewest places first."""
    order = sorted(range(len(free)), key=lambda index: len(free[index]))
    for _ in range(_ROUNDS):
        chosen: dict[int, NamePlace] = {}
        for index in order:
            spot = next((place for place in free[index] if _fits(place, chosen.values())), None)
            if spot is None:
                order.remove(index)
                order.insert(0, index)
                break
            chosen[index] = spot
        else:
            return [chosen[index] for index in range(len(free))]
    return None


def _sign(part: float) -> int:
    """−1, 0 or 1 for a part of a direction, 0 where it is small."""
    return 0 if abs(part) < 0.3 else 1 if part > 0 else -1


def _is_on(place: NamePlace, lines: Sequence[Segment]) -> bool:
    return any(place.box.is_crossed(*line) for line in lines)


def _is_hindered(place: NamePlace, obstacle: Box) -> bool:
    """Whether an obstacle is in the way of a name or of its leader, which may leave the point that it starts from."""
    if place.box.overlaps(obstacle):
        return True
    return place.leader is not None and not obstacle.holds(*place.leader[0]) and obstacle.is_crossed(*place.leader)


def _fits(place: NamePlace, others: Iterable[NamePlace]) -> bool:
    """Whether names and leaders keep clear of each other."""
    for other in others:
        if place.box.overlaps(other.box):
            return False
        if place.leader is not None and other.box.is_crossed(*place.leader):
            return False
        if other.leader is not None and place.box.is_crossed(*other.leader):
            return False
        if place.leader is not None and other.leader is not None and _cross(place.leader, other.leader):
            return False
    return True


def _cross(first: Segment, second: Segment) -> bool:
    """Whether two lines cross within both."""
    return (
        _side(first, second[0]) * _side(first, second[1]) < 0 and _side(second, first[0]) * _side(second, first[1]) < 0
    )


def _side(line: Segment, point: tuple[float, float]) -> float:
    """Positive on the left of a line, negative on its right."""
    (x, y), (end_x, end_y) = line
    return (end_x - x) * (point[1] - y) - (end_y - y) * (point[0] - x)
