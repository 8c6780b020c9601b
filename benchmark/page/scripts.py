"""Data as classic scripts: a page from disk may load nothing else, neither JSON nor images' pixels."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from ..store.images import Window
from ..system.files import with_finite_numbers

_LEVELS = 2**16 - 1


def script(name: str, content: Any) -> str:
    """A script that hands plain data to the page under `name` (`browser/core.js`).

    The data go through JSON.parse, as text: in an object literal, a key such as __proto__ would not be a key. Numbers
    that are not finite are the texts of `json_text`.
    """
    text = json.dumps(with_finite_numbers(content), allow_nan=False, separators=(",", ":"))
    return f"mrsr.put({json.dumps(name)}, JSON.parse({json.dumps(text)}));\n"


def stored_image(image: np.ndarray, window: Window) -> dict[str, Any]:
    """An image (rows, columns) as it is stored: 16-bit numbers in base64, little-endian, in C order.

    Intensity = offset + step × number, as `window` says.
    """
    numbers = np.rint((image.astype(np.float64) - window.offset) / window.step).clip(0, _LEVELS).astype("<u2")
    return {
        "rows": image.shape[0],
        "columns": image.shape[1],
        "offset": window.offset,
        "step": window.step,
        "numbers": base64.b64encode(numbers.tobytes()).decode(),
    }
