"""The divergence guard: a step that went wrong is not taken, and a training that went wrong goes back.

The device itself judges a step: it tells the optimiser of a bad one through `found_inf`, as a gradient scaler does, so
that the host need not wait for the loss. The host looks every `PATIENCE` steps.

After EDSR's own trainings, which skipped batches of outlying loss (EDSR-PyTorch, issue 18), and Zhao et al., IEEE TIP
2019, who could not train the wide EDSR on MR slices at all.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import BenchError
from ..system.training_states import DIVERGED

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
"""Steps between two looks; as many skipped in a row, at a look, make a rollback."""
ROLLBACKS = 3
"""Rollbacks to one good state, after which the next fails the training."""
_COUNTS = ("mean", "taken", "skipped", "streak", "loss", "losses", "bad_loss", "bad_norm")
"""What the device counts: the running mean of the losses of the steps taken and their number; the steps skipped, in
all and in a row; the losses since the last row, their sum and number; loss and gradient norm of the last step skipped.
"""
_STATE = ("rollbacks", "vain", "due", "good", "told")


class Guard:
    """Watches one training, holds a copy of its last good state, and goes back to it.

    A state is good when its validation was finite and the first loss after it still is in order: the loss of a step
    is that of the weights before it, so a single step that ruins the weights is seen only then. The state at the
    start is taken for good. Nothing here depends on the clock or on chance, so a resumed training repeats it.
    """

    def __init__(self, network: nn.Module, optimizer: torch.optim.Optimizer, loss: str) -> None:
        self.network, self.optimizer, self.factor = network, optimizer, EXPLOSION[loss]
        device = next(network.parameters()).device
        self.counts = {name: torch.zeros((), dtype=torch.float64, device=device) for name in _COUNTS}
        self.fused = all(group.get("fused") for group in optimizer.param_groups)
        self.rollbacks, self.vain = 0, 0  # in all, and since the last good state
        self.due = False  # the weights are validated and wait for their loss to be good
        self.told = 0  # steps skipped that the log knows of
        self.buffers: list[Tensor] = []
        self.good = self._snapshot(0)

    def begin(self) -> None:
        """To call before each step: what the forward pass changes (running statistics) can be taken back."""
        self.buffers = [buffer.clone() for buffer in self.network.buffers()]

    def take_back(self) -> None:
        """Undo what forward passes have changed since `begin`."""
        for buffer, earlier in zip(self.network.buffers(), self.buffers, strict=False):
            buffer.copy_(earlier)

    def step(self, step: int, loss: Tensor, norm: Tensor) -> None:
        """Let the optimiser take `step`, unless its loss or the norm of its gradient is not in order.

        Where not, all is as before the step. Both are scalars on the device.
        """
        counts, loss, norm = self.counts, loss.double(), norm.double()
        exploding = (counts["taken"] >= WARM_UP) & (loss > self.factor * counts["mean"]) & (counts["mean"] > 0)
        bad = exploding | ~torch.isfinite(loss) | ~torch.isfinite(norm)
        good = ~bad
        if self.due or not (self.fused and self.optimizer.state):  # the host must know, and waits for the device
            if good:
                if self.due:
                    self.good, self.due, self.vain = self._snapshot(step), False, 0
                self.optimizer.step()
        else:
            self.optimizer.found_inf = bad.float()  # type: ignore[attr-defined]
            self.optimizer.step()
            del self.optimizer.found_inf  # type: ignore[attr-defined]
        for buffer, earlier in zip(self.network.buffers(), self.buffers, strict=False):
            buffer.copy_(torch.where(good, buffer, earlier))
        safe = torch.where(good, loss, 0.0)
        counts["taken"] += good
        counts["mean"] += torch.where(good, (safe - counts["mean"]) / counts["taken"].clamp(1, HORIZON), 0.0)
        counts["skipped"] += bad
        counts["streak"] = torch.where(good, 0.0, counts["streak"] + 1)
        counts["loss"] += safe
        counts["losses"] += good
        counts["bad_loss"] = torch.where(good, counts["bad_loss"], loss)
        counts["bad_norm"] = torch.where(good, counts["bad_norm"], norm)

    def look(self, step: int) -> None:
        """To call before each step: every `PATIENCE` steps, say what was skipped, and roll back where that is due.

        Raises BenchError where rolling back did not help.
        """
        if step % PATIENCE:
            return
        counts = self.read()
        if counts["skipped"] > self.told:
            reason = f"loss {counts['bad_loss']:.3g}, gradient norm {counts['bad_norm']:.3g}"
            number = f"{counts['skipped'] - self.told:.0f} of the last {PATIENCE} steps"
            print(f"step {step}: {number} skipped, the last for {reason}; mean loss {counts['mean']:.3g}", flush=True)
            self.told = int(counts["skipped"])
            if counts["streak"] >= PATIENCE:
                self._roll_back(step, reason)

    def validated(self, value: float) -> None:
        """Note the validation of the present weights, in any unit; one that is not finite makes no good state."""
        self.due = math.isfinite(value) and self.read()["taken"] > self.good["taken"]

    def read(self) -> dict[str, float]:
        """What the device has counted, by name (`_COUNTS`); waits for it."""
        return dict(zip(_COUNTS, torch.stack([self.counts[name] for name in _COUNTS]).tolist(), strict=True))

    def mean_loss(self) -> float:
        """The mean loss of the steps taken since the last call, NaN where none was."""
        counts = self.read()
        for name in ("loss", "losses"):
            self.counts[name].zero_()
        return counts["loss"] / counts["losses"] if counts["losses"] else math.nan

    def state(self) -> dict[str, Any]:
        """All that the guard knows, for the checkpoint."""
        return {"counts": self.counts, **{name: getattr(self, name) for name in _STATE}}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` gave."""
        self.counts = state["counts"]
        for name in _STATE:
            setattr(self, name, state[name])

    def _roll_back(self, step: int, reason: str) -> None:
        good = self.good
        if self.vain == ROLLBACKS:
            raise BenchError(
                f"{DIVERGED}: {reason} before step {step}, after {ROLLBACKS} rollbacks to the state of step "
                f"{good['step']}; lower the learning rate (lr), bound the gradient (clip_norm), or check the data"
            )
        self.network.load_state_dict(good["network"])
        self.optimizer.load_state_dict(copy.deepcopy(good["optimizer"]))  # it keeps the very tensors it is given
        self.counts["mean"].fill_(good["mean"])
        self.counts["taken"].fill_(good["taken"])
        self.counts["streak"].zero_()
        self.due = False
        self.rollbacks += 1
        self.vain += 1
        print(f"step {step}: {PATIENCE} or more skipped in a row; back to the state of step {good['step']}", flush=True)

    def _snapshot(self, step: int) -> dict[str, Any]:
        """A copy of the training before `step`."""
        counts, state = self.read(), {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {"step": step, "mean": counts["mean"], "taken": counts["taken"], **copy.deepcopy(state)}
