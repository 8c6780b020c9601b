"""The listener that fits where a run was started: a terminal, a notebook, or a pipe."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from rich.console import Console

from .events import Event, Prepared, Progressed, Upscaled
from .progress import Listener, LiveListener

if TYPE_CHECKING:
    from ..planning.cells import Training
    from .outcomes import Outcome

_DRAW_SECONDS = 0.5
"""At least so long between two drawings of a notebook's output that only say how far a cell is."""


class NotebookListener(Listener):
    """The same in a notebook: one output, whose last line says what the running cell does and changes as it goes."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._running = ""
        self._handle: Any = None
        self._shown = 0.0

    def __exit__(self, *_: Any) -> None:
        self._running = ""
        self._show()

    def say(self, text: str) -> None:
        self._lines.append(text)
        self._show()

    def event(self, training: Training, event: Event) -> None:
        match event:
            case Prepared() | Progressed() | Upscaled():
                self._running = f"    {self._progress_text(event)}"
                if time.monotonic() - self._shown > _DRAW_SECONDS:
                    self._show()
            case _:
                self._running = ""
                super().event(training, event)

    def settled(self, outcome: Outcome) -> None:
        self._running = ""
        super().settled(outcome)

    def _show(self) -> None:
        """Draw the output anew; the first call makes it."""
        from IPython.display import display

        self._shown = time.monotonic()
        content = {"text/plain": "\n".join([*self._lines, *([self._running] if self._running else [])])}
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
