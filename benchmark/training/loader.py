"""Training samples on their way to the device: cut one step ahead, turned once they are there."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..method import Batch
from .symmetries import dihedral

_Host = tuple[Tensor, Tensor, Tensor | None]


class Samples(Protocol):
    """What the loop trains on (`sampling.TrainingPairs`)."""

    def crops(self, step: int) -> Batch:
        """LR (B, d, p, p) and HR (B, d, s·p, s·p) float32: a pure function of the step."""
        ...

    def turns(self, step: int) -> np.ndarray:
        """The symmetry (`symmetries.dihedral`) of each sample, (B,): a pure function of the step."""
        ...


class Loader:
    """Batches on `device`, of the steps from `step` on. A thread cuts the next one while the network computes.

    An error in that thread is raised by `next`.
    """

    def __init__(self, data: Samples, step: int, end: int, device: torch.device, layout: torch.memory_format) -> None:
        self._data, self._step, self._end, self._device, self._layout = data, step, end, device, layout
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._tables: dict[torch.Size, Tensor] = {}
        self._ahead: Future[_Host] = self._thread.submit(self._cut, step)

    def next(self) -> tuple[Tensor, Tensor]:
        """LR (B, d, p, p) and HR (B, d, s·p, s·p) of the next step."""
        lr, hr, turns = self._ahead.result()
        self._step += 1
        if self._step < self._end:
            self._ahead = self._thread.submit(self._cut, self._step)
        if turns is not None:
            turns = turns.to(self._device, non_blocking=True)
        return self._turned(lr, turns), self._turned(hr, turns)

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _cut(self, step: int) -> _Host:
        lr, hr = map(torch.from_numpy, self._data.crops(step))
        turns = self._data.turns(step)
        host = lr, hr, torch.from_numpy(turns) if turns.any() else None
        if self._device.type != "cuda":
            return host
        return lr.pin_memory(), hr.pin_memory(), None if host[2] is None else host[2].pin_memory()

    def _turned(self, patches: Tensor, turns: Tensor | None) -> Tensor:
        patches = patches.to(self._device, non_blocking=True)
        if turns is not None:
            pixels = self._table(patches.shape)[turns][:, None].expand(-1, patches.shape[1], -1)
            patches = patches.flatten(2).gather(2, pixels).view(patches.shape)
        return patches.contiguous(memory_format=self._layout)

    def _table(self, shape: torch.Size) -> Tensor:
        """Symmetry → the pixel that comes to each place, (8, p·q); (4, p·q) where p ≠ q cannot be transposed."""
        if shape not in self._tables:
            pixels = np.arange(shape[2] * shape[3]).reshape(shape[2:])
            turned = [dihedral(pixels, turn).ravel() for turn in range(8 if shape[2] == shape[3] else 4)]
            self._tables[shape] = torch.from_numpy(np.stack(turned)).to(self._device)
        return self._tables[shape]
