"""How far a training and a whole run are, and how long they may still take."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .events import Event, Progressed, Upscaled

if TYPE_CHECKING:
    from ..planning.cells import Cell, Training

_PACE_ROWS = 40
"""Rows of a training, of about 200, whose pace tells the time left: enough to even out validations."""
_LEAST_SHARE = 0.01
"""Part of a run's cost that must be done before its pace says anything."""


class RecentPace:
    """What a single event of a training lacks: the last validation, and the time left at the recent pace."""

    def __init__(self) -> None:
        self._val_psnr: float | None = None
        self._rows: deque[tuple[int, float]] = deque(maxlen=_PACE_ROWS)

    def complete(self, event: Progressed) -> tuple[Progressed, float | None]:
        """The event with the last `val_psnr`, and the seconds left, where they are known.

        The pace is that of this process, validations included. `seconds` of a resumed training also counts those of
        an earlier process, which may have been faster or slower.
        """
        self._val_psnr = event.val_psnr if event.val_psnr is not None else self._val_psnr
        seconds_left = None
        if event.steps and event.seconds is not None:
            self._rows.append((event.step, event.seconds))
            (first_step, start), (last_step, end) = self._rows[0], self._rows[-1]
            if last_step > first_step:
                seconds_left = (end - start) / (last_step - first_step) * (event.steps - last_step)
        return event.model_copy(update={"val_psnr": self._val_psnr}), seconds_left


class RunPace:
    """The time that a whole run may still take: what is left of its cost, at the pace of what it has done itself.

    `costs`: plain cell of each training to run → its cost in any one unit. `clock` gives seconds.
    """

    def __init__(self, costs: Mapping[Cell, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._left, self._total, self._clock = dict(costs), sum(costs.values()), clock
        self._running: dict[Cell, tuple[float, float]] = {}
        """Plain cell → the share of its training that was done when this run took it up, and that is done now."""
        self._done = 0.0
        self._start: float | None = None

    def follow(self, training: Training, event: Event) -> None:
        """Take note of an event: of a network the steps count, of any other method its test subjects."""
        cell = training.base
        if isinstance(event, Progressed) and event.steps:
            share = event.step / event.steps
        elif isinstance(event, Upscaled) and not training.recipe:
            share = event.subject / event.subjects
        else:
            return
        first, now = self._running.get(cell, (share, share))
        self._running[cell] = first, max(now, share)
        if self._start is None and self._left.get(cell, 0.0) >= _LEAST_SHARE * self._total:
            self._start = self._clock()  # not at small jobs before, whose cost says little about their time

    def end(self, training: Training) -> None:
        """The training has ended, whatever became of it."""
        first, now = self._running.pop(training.base, (0.0, 0.0))
        self._done += self._left.pop(training.base, 0.0) * (now - first)

    @property
    def seconds_left(self) -> float | None:
        """None while too little is done."""
        if self._start is None:
            return None
        shares = {cell: self._running.get(cell, (0.0, 0.0)) for cell in self._left}
        done = self._done + sum(cost * (shares[cell][1] - shares[cell][0]) for cell, cost in self._left.items())
        left = sum(cost * (1 - shares[cell][1]) for cell, cost in self._left.items())
        if done < _LEAST_SHARE * (done + left) or done <= 0:
            return None
        return (self._clock() - self._start) * left / done
