"""Memory of a process that trains: freed memory is kept for the next step, and a lack of memory is recognised."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable

import torch

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # glibc's <malloc.h>
_NEVER = 2**31 - 1


def keep_freed_memory() -> None:
    """Make the C library keep freed memory for the next step, where that library is glibc.

    By default every large tensor is mapped anew and its pages are cleared by the kernel in each step: up to a quarter
    of a step on two cores (docs/speed.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _NEVER)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that the device or the machine had no memory left."""
    message = str(error)
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or (
        isinstance(error, RuntimeError) and ("can't allocate memory" in message or "out of memory" in message)
    )


def largest_that_fits(samples: int, attempt: Callable[[int], object]) -> int | None:
    """The largest of samples/2, samples/4 … 1 for which `attempt(number)` has enough memory; None where none has."""
    while samples > 1:
        samples //= 2
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            attempt(samples)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        else:
            return samples
    return None
