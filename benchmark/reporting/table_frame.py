"""The frame that `mrsr_bench.table` gives: computed with as any, and in a notebook shown as the suite's table."""

from __future__ import annotations

from typing import ClassVar

import pandas as pd

from .data_frames import frame_of
from .render import notebook_html
from .table import Table


class TableFrame(pd.DataFrame):
    """A frame of figures. Parts of it, and what is computed from it, are plain frames."""

    _metadata: ClassVar[list[str]] = ["_drawn"]

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str | None:
        """Letters, bold figures and caption, as `bench table --format html`; once a figure is changed, pandas' own."""
        drawn: tuple[pd.DataFrame, str] | None = getattr(self, "_drawn", None)
        if drawn is not None and self.equals(drawn[0]):
            return drawn[1]
        return pd.DataFrame(self)._repr_html_()  # type: ignore[operator]


def table_frame(table: Table) -> TableFrame:
    """`data_frames.frame_of` a table, with its HTML."""
    plain = frame_of(table)
    frame = TableFrame(plain)
    frame.attrs = dict(plain.attrs)
    object.__setattr__(frame, "_drawn", (plain, notebook_html(table)))
    return frame
