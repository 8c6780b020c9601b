"""The divergence guard: a step that went wrong is not taken, and a training that went wrong goes back.

After EDSR's own trainings, which skipped batches of outlying loss (EDSR-PyTorch, issue 18), and Zhao et al., IEEE TIP
2019, who could not train the wide EDSR on MR slices at all.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import nn

from .errors import BenchError

EXPLOSION = {"l1": 10.0, "mse": 100.0}
"""Loss → how many times its running mean is an explosion: an error ten times the usual.

The most that healthy trainings reached, after `WARM_UP` and with this `HORIZON`, on the 200 training slices of
ixi_midslice (LR patches of 24; srcnn, edsr:tiny, edsr:baseline, poan:tiny; 300 to 1000 steps, clipped or not):
l1 1.8 and mse 1.0 with batches of 4, l1 2.0 and mse 3.1 with single patches. Fitting one patch for 1500 steps, where
Adam spikes at losses near zero: l1 4.7, mse 54.
"""
WARM_UP = 20
"""Steps taken before the running mean says anything."""
HORIZON = 100
"""Time constant of the running mean in steps; the plain mean until there were as many."""
PATIENCE = 10
"""Steps skipped in a row that make a rollback."""
ROLLBACKS = 3
"""Rollbacks to one good state, after which the next fails the training."""
_STATE = ("mean", "taken", "skipped", "streak", "rollbacks", "vain", "due", "good")


class Guard:
    """Watches one training, holds a copy of its last good state, and goes back to it.

    A state is good when its validation was finite and the first loss after it still is in order: the loss of a step
    is that of the weights before it, so a single step that ruins the weights is seen only then. The state at the
    start is taken for good. Nothing here depends on the clock or on chance, so a resumed training repeats it.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: str) -> None:
        self.network, self.optimizer, self.factor = network, optimizer, EXPLOSION[loss]
        self.mean, self.taken = 0.0, 0  # of the losses of the steps taken, and their number
        self.skipped, self.streak = 0, 0  # steps in all, and in a row up to now
        self.rollbacks, self.vain = 0, 0  # in all, and since the last good state
        self.due = False  # the weights are validated and wait for their loss to be good
        self.buffers: list[torch.Tensor] = []
        self.good = self._snapshot(0)

    def begin(self) -> None:
        """To call before each step: what the forward pass changes (running statistics) can be taken back."""
        self.buffers = [buffer.clone() for buffer in self.network.buffers()]

    def accepts(self, step: int, loss: float, norm: float) -> bool:
        """Whether the optimiser may take `step`, by its loss and the norm of its gradient.

        Where not, all is as before the step, or as in the last good state. Raises BenchError where that has been
        tried in vain.
        """
        exploding = self.taken >= WARM_UP and loss > self.factor * self.mean > 0
        if exploding or not (math.isfinite(loss) and math.isfinite(norm)):
            self._skip(step, f"loss {loss:.3g}, gradient norm {norm:.3g}")
            return False
        if self.due:
            self.good, self.due, self.vain = self._snapshot(step), False, 0
        self.taken += 1
        self.mean += (loss - self.mean) / min(self.taken, HORIZON)
        self.streak = 0
        return True

    def validated(self, value: float) -> None:
        """Hear the validation of the present weights, in any unit; not finite: never a good state."""
        self.due = math.isfinite(value) and self.taken > self.good["taken"]

    def state(self) -> dict[str, Any]:
        """All that the guard knows, for the checkpoint."""
        return {name: getattr(self, name) for name in _STATE}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        for name in _STATE:
            setattr(self, name, state[name])

    def _skip(self, step: int, why: str) -> None:
        for buffer, before in zip(self.network.buffers(), self.buffers, strict=False):
            buffer.copy_(before)
        self.skipped += 1
        self.streak += 1
        if self.streak == 1:
            print(f"step {step} skipped: {why}; running mean of the loss {self.mean:.3g}", flush=True)
        if self.streak == PATIENCE:
            self._roll_back(step, why)

    def _roll_back(self, step: int, why: str) -> None:
        good = self.good
        if self.vain == ROLLBACKS:
            raise BenchError(
                f"training diverged: {why} at step {step}, after {ROLLBACKS} rollbacks to the state of step "
                f"{good['step']}; lower the learning rate (lr), bound the gradient (clip_norm), or look at the data"
            )
        self.network.load_state_dict(good["network"])
        self.optimizer.load_state_dict(copy.deepcopy(good["optimizer"]))  # it keeps the very tensors it is given
        self.mean, self.taken, self.streak, self.due = good["mean"], good["taken"], 0, False
        self.rollbacks += 1
        self.vain += 1
        print(f"step {step}: {PATIENCE} skipped in a row; back to the state of step {good['step']}", flush=True)

    def _snapshot(self, step: int) -> dict[str, Any]:
        """A copy of the training before `step`."""
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {"step": step, "mean": self.mean, "taken": self.taken, **copy.deepcopy(state)}
