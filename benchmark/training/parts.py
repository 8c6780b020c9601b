"""A batch in parts: its loss and gradient with no more samples at once than memory holds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from ..errors import BenchError
from ..system.memory import is_out_of_memory, largest_that_fits

_LOSSES = {"l1": nn.functional.l1_loss, "mse": nn.functional.mse_loss}


class PartedBackward:
    """Forward and backward passes of a network, at most `micro_batch` samples at once; None: the whole batch."""

    def __init__(
        self, fabric: Fabric, model: nn.Module, optimizer: torch.optim.Optimizer, loss: str, micro_batch: int | None
    ) -> None:
        self._fabric, self._model, self._optimizer, self._loss = fabric, model, optimizer, _LOSSES[loss]
        self.micro_batch = micro_batch

    def backward(self, lr: Tensor, hr: Tensor, begin: Callable[[], None], step: int) -> Tensor:
        """The mean loss of a batch, a scalar on the device; its gradient is left in the parameters.

        Where memory does not suffice, the number of samples that fits is found by trying; the batch is done again with
        it, and so are all later ones. `begin` is called before each attempt. Raises BenchError, which names `step`,
        where not even one sample fits.
        """
        while True:
            begin()
            try:
                return self._passes(lr, hr)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                message = str(error).partition("\n")[0]
            self._reduce(lr, hr, f"out of memory at step {step}", message)  # the error, which holds tensors, is gone

    def _passes(self, lr: Tensor, hr: Tensor) -> Tensor:
        self._optimizer.zero_grad()
        parts = -(-len(lr) // (self.micro_batch or len(lr)))
        total = torch.zeros((), device=self._fabric.device)
        for x, y in zip(lr.tensor_split(parts), hr.tensor_split(parts), strict=True):
            loss = self._loss(self._model(x), y) * (len(x) / len(lr))
            self._fabric.backward(loss)
            total += loss.detach()
        return total

    def _reduce(self, lr: Tensor, hr: Tensor, problem: str, message: str) -> None:
        """Set `micro_batch` to the number of samples that fits."""
        samples = min(self.micro_batch or len(lr), len(lr))
        self._optimizer.zero_grad()
        fits = largest_that_fits(samples, lambda number: self._passes(lr[:number], hr[:number]))
        problem = f"{problem} with {samples} LR patches of {'×'.join(map(str, lr.shape[2:]))} at once"
        if fits is None:
            raise BenchError(
                f"{problem}; not even a single one fits: take a smaller patch (lr_patch) or network ({message})"
            )
        print(f"{problem}; the training goes on with {fits} at once ({message})", flush=True)
        self.micro_batch = fits
