"""A drawn figure with what it was made from, and how it is written: complete or absent, the same bytes each time."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UsageError
from ..reporting.table import Table
from ..store.record import DoneRecord
from ..system.files import atomic_file
from .style import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".pdf", ".svg", ".png")


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure, and all that its file says of its origin."""

    figure: Figure
    title: str
    """What it shows, in a sentence."""
    table: Table
    records: tuple[DoneRecord, ...]
    """Those behind it."""
    shows_images: bool = False
    """Whether it shows images of people, which the licence of the data set asks to be attributed."""

    @property
    def rights(self) -> str:
        """The licence of the images and whom to name; '' for a figure without images."""
        return self.table.view.protocol.licence if self.shows_images else ""


def check_format(path: Path) -> None:
    """Raise UsageError for a file whose name does not end in one of `FORMATS`."""
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"the name of a figure's file must end in .pdf, .svg or .png: '{path.name}'")


def write_picture(picture: Picture, path: Path) -> None:
    """Write the figure as .pdf, .svg or .png. Raises UsageError for another suffix, or where it cannot be written."""
    check_format(path)
    content = picture_bytes(picture, path.suffix.lower()[1:])
    try:
        with atomic_file(path) as file:
            file.write(content)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def picture_bytes(picture: Picture, format_: str) -> bytes:
    """The content of the file: 'pdf', 'svg' or 'png'."""
    content = io.BytesIO()
    with styled():
        picture.figure.savefig(content, format=format_, metadata=_metadata(picture, format_))
    return content.getvalue()


def shown_in_notebooks(picture: Picture) -> Figure:
    """The figure, which a notebook shows as the PNG that `write_picture` writes."""
    setattr(picture.figure, "_repr_png_", partial(picture_bytes, picture, "png"))  # noqa: B010
    return picture.figure


def _metadata(picture: Picture, format_: str) -> dict[str, str | None]:
    """Title, protocol, digest, commits and the records' keys, under the format's own names; no time."""
    protocol = picture.table.view.protocol
    origin = (
        f"mrsr-bench; protocol {protocol.name}, version {protocol.version}, digest {protocol.digest}; "
        f"commits {_listed(record.environment.git or 'unknown' for record in picture.records)}"
    )
    keys = f"records {_listed(record.score_key for record in picture.records)}"
    rights = picture.rights
    if format_ == "pdf":
        subject = f"{origin}. {rights}" if rights else origin
        return {"Title": picture.title, "Subject": subject, "Keywords": keys, "CreationDate": None}
    if format_ == "svg":
        return {"Title": picture.title, "Description": f"{origin}; {keys}", "Rights": rights or None, "Date": None}
    return {"Title": picture.title, "Description": f"{origin}; {keys}", **({"Copyright": rights} if rights else {})}


def _listed(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
