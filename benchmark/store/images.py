"""Images for people, as one .npz file of 16-bit arrays with their description.

A file holds `about.json`, sealed, with the shape, the window and the checksum of every array. Equal values give equal
bytes. Reading runs nothing from a file and trusts no size that it states.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import Field, ValidationError

from ..system.files import DamagedFile, Readable, read_bytes, sealed, unsealed
from .record import Part

MAX_SLICES, MAX_SIDE = 16, 4096
"""Slices of one array, and rows or columns of a slice."""
MAX_PIXELS = 2**25
"""Pixels in all arrays of one file together."""
_DESCRIPTION = "about.json"
_LEVELS = 2**16 - 1
_MAX_BYTES = 2 * MAX_PIXELS + 2**22
_MAX_DESCRIPTION = 2**20
_MAX_HEADER = 2**12
_MAX_DIRECTORY = 2**16
"""Bytes of the archive's list of contents."""
_END = 22
"""Bytes of the record at the end of an archive."""
_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, LookupError, RuntimeError, OverflowError)
"""What zipfile, zlib and numpy raise on a damaged file."""

Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=MAX_SLICES)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class Window(Part):
    """What 16-bit numbers stand for: intensity = offset + step × number."""

    offset: Number
    """The smallest intensity, in the file's units."""
    step: Positive
    """The step of the volume's file where all intensities are multiples of it, and so kept exactly; else
    (max − min) / 65535."""


class Stored(Part):
    """One array."""

    shape: tuple[Count, Side, Side]
    """(slices, rows, columns)."""
    window: Window
    sha256: str
    """Of the numbers, little-endian, in C order."""


class Description(Part, ABC):
    """Base of a file's description of itself."""

    @abstractmethod
    def arrays(self) -> dict[str, Stored]:
        """Name → description of that array. Raises ValueError where they contradict each other."""


_D = TypeVar("_D", bound=Description)


def as_stored(intensities: np.ndarray, step: float | None) -> tuple[Stored, np.ndarray]:
    """(slices, rows, columns) as 16-bit numbers, each at most half a step from its intensity, and their description.

    `step`: that of the volume's file; None for float data.
    """
    values = np.asarray(intensities, np.float64)
    low, high = float(values.min()), float(values.max())
    numbers = None
    if step is not None and (high - low) / abs(step) <= _LEVELS:
        step = abs(step)
        numbers = np.rint((values - low) / step)
        if np.abs(low + step * numbers - values).max() > 1e-6 * step:
            numbers = None
    if numbers is None:
        step = (high - low) / _LEVELS or 1.0
        numbers = np.rint((values - low) / step)
    array = np.ascontiguousarray(numbers.clip(0, _LEVELS).astype("<u2"))
    window = {"offset": low, "step": step}
    stored = {"shape": array.shape, "window": window, "sha256": hashlib.sha256(array.tobytes()).hexdigest()}
    return Stored.model_validate(stored), array


def archive(description: Description, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The bytes of an .npz file. Raises ValueError for more pixels than one may hold."""
    if _checked_arrays(description).keys() != arrays.keys():
        raise ValueError(f"the description names {sorted(description.arrays())}, but the arrays are {sorted(arrays)}")
    members = {_DESCRIPTION: sealed(description.model_dump(mode="json")).encode()}
    for name, array in arrays.items():
        npy = io.BytesIO()
        np.lib.format.write_array(npy, array, version=(1, 0), allow_pickle=False)
        members[f"{name}.npy"] = npy.getvalue()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, allowZip64=False) as file:
        for name, member in members.items():
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type, info.create_system = zipfile.ZIP_DEFLATED, 3
            file.writestr(info, member, compresslevel=9)
    return content.getvalue()


def read_archive(path: Readable, model: type[_D]) -> tuple[_D, dict[str, np.ndarray]]:
    """A file's description of itself, and name → intensities in float32, (slices, rows, columns), read-only.

    Raises FileNotFoundError, and DamagedFile where any bit of a value differs from what `archive` made.
    """
    if path.is_file() and path.stat().st_size > _MAX_BYTES:
        raise DamagedFile(path, f"it has more than {_MAX_BYTES} bytes")
    content = read_bytes(path)
    try:
        end = content[-_END:]
        if end[:4] != b"PK\5\6" or content[-_END - 20 : -_END - 16] == b"PK\6\7":  # the latter means a 64-bit archive
            raise ValueError("its end is not that of an archive of this suite")
        if int.from_bytes(end[12:16], "little") > _MAX_DIRECTORY:
            raise ValueError("its list of members is too long")
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            description = model.model_validate(unsealed(path, _member(file, _DESCRIPTION, _MAX_DESCRIPTION)))
            arrays = _checked_arrays(description)
            if sorted(file.namelist()) != sorted([_DESCRIPTION, *(f"{name}.npy" for name in arrays)]):
                raise ValueError("it has other members than its description names")
            return description, {name: _intensities(file, f"{name}.npy", stored) for name, stored in arrays.items()}
    except ValidationError as error:
        problem = error.errors()[0]
        raise DamagedFile(path, f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    except _DAMAGE as error:
        raise DamagedFile(path, str(error).partition("\n")[0] or type(error).__name__) from None


def _checked_arrays(description: Description) -> dict[str, Stored]:
    arrays = description.arrays()
    pixels = sum(int(np.prod(stored.shape)) for stored in arrays.values())
    if pixels > MAX_PIXELS:
        raise ValueError(f"it holds {pixels} pixels, more than the {MAX_PIXELS} allowed")
    return arrays


def _member(file: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """A member's bytes. Raises ValueError where they are more than `limit`, after reading no more than that."""
    with file.open(name) as member:
        content = member.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"{name} has more than {limit} bytes")
    return content


def _intensities(file: zipfile.ZipFile, name: str, stored: Stored) -> np.ndarray:
    """A member's intensities. Its header is compared with `stored` before anything is allocated."""
    content = io.BytesIO(_member(file, name, 2 * int(np.prod(stored.shape)) + _MAX_HEADER))
    if np.lib.format.read_magic(content) != (1, 0):
        raise ValueError(f"{name} is not in version 1.0 of the .npy format")
    header: tuple[Any, ...] = np.lib.format.read_array_header_1_0(content, max_header_size=_MAX_HEADER)
    if header != (stored.shape, False, np.dtype("<u2")):
        raise ValueError(f"{name} has another shape or type than its description says")
    content.seek(0)
    numbers = np.load(content, allow_pickle=False)
    if content.read(1) or hashlib.sha256(numbers.tobytes()).hexdigest() != stored.sha256:
        raise ValueError(f"{name} is not the array that was written")
    with np.errstate(over="ignore", invalid="ignore"):
        images = (stored.window.offset + stored.window.step * numbers.astype(np.float64)).astype(np.float32)
    if not np.isfinite(images).all():
        raise ValueError(f"{name} has intensities beyond float32")
    images.flags.writeable = False
    return images
