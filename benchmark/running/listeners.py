"""The listener that fits where a run was started: a terminal, a notebook, or a pipe."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console

from .events import Event, Prepared, Progressed, Upscaled
from .progress import Listener, LiveListener

if TYPE_CHECKING:
    from ..planning.cells import Cell, Training

_DRAW_SECONDS = 0.5
"""At least so long between two drawings of a notebook's output that only say how far a cell is."""


class NotebookListener(Listener):
    """The same in a notebook: one output, whose last lines say what the running cells do and change as they go."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._work: dict[Cell, str] = {}
        """What each training that runs does now."""
        self._handle: Any = None
        self._shown = 0.0

    def __exit__(self, *_: Any) -> None:
        self._work.clear()
        self._show()

    def say(self, text: str) -> None:
        self._lines.append(text)
        self._show()

    def event(self, training: Training, event: Event) -> None:
        match event:
            case Prepared() | Progressed() | Upscaled():
                self._follow(training, event)
                self._work[training.base] = f"    {self._progress_text(training, event)}"
                if time.monotonic() - self._shown > _DRAW_SECONDS:
                    self._show()
            case _:
                self._work.pop(training.base, None)
                super().event(training, event)

    def _show(self) -> None:
        """Draw the output anew; the first call makes it."""
        from IPython.display import display

        self._shown = time.monotonic()
        content = {"text/plain": "\n".join([*self._lines, *self._work.values()])}
        if self._handle is None:
            self._handle = display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def default_listener() -> Listener:
    """Bars on a terminal, one output that changes in a notebook, lines in a pipe."""
    if _is_in_a_notebook():
        return NotebookListener()
    return LiveListener(Console(stderr=False)) if sys.stdout.isatty() else Listener()


def _is_in_a_notebook() -> bool:
    """Whether this is a cell of a Jupyter kernel, whose outputs can be changed later; IPython in a terminal is none."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython(), "kernel") if ipython is not None else False
