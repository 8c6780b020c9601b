"""Methods that each break one clause of the contract, and two that keep it."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import field_validator
from scipy.ndimage import shift, zoom
from torch import Tensor, nn

from mrsr_bench.degradation import bicubic, bicubic_torch
from mrsr_bench.method import Array, Batch, Method, MethodOptions, Run, Scan, Task, TorchMethod, TrainingSet


class Sound(Method):
    """Bicubic."""

    slice_wise = keeps_constants = homogeneous = True

    def upscale(self, scan: Scan, task: Task) -> Array:
        return bicubic(scan.array.astype(np.float64), task.hr_shape(scan.array.shape)).astype(np.float32)


class Net(nn.Module):
    """Bicubic and a small correction."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 1, 3, padding=1))

    def up(self, x: Tensor) -> Tensor:
        return bicubic_torch(x, [self.scale * side for side in x.shape[-2:]])

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        return x + self.body(x)


class SoundNetwork(TorchMethod):
    class Options(MethodOptions):
        unused: int = 1

    presets: ClassVar[dict[str, dict[str, Any]]] = {"tiny": {"unused": 2}}
    adds_bicubic = True

    def build(self, task: Task) -> nn.Module:
        return Net(task.scale)


# options


class OptionsThatGrow(Sound):
    class Options(MethodOptions):
        side: int = 2

        @field_validator("side")
        @classmethod
        def _padded(cls, side: int) -> int:
            return side + 2

    presets: ClassVar[dict[str, dict[str, Any]]] = {"wide": {"side": 8}}


class PresetOfUnknownOptions(Sound):
    presets: ClassVar[dict[str, dict[str, Any]]] = {"wide": {"width": 8}}


# output


class WrongShape(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        return super().upscale(scan, task).swapaxes(1, 2)


class Float64(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        return super().upscale(scan, task).astype(np.float64)


class ReturnsATensor(Sound):
    def upscale(self, scan: Scan, task: Task) -> Any:
        return torch.from_numpy(super().upscale(scan, task))


# input_untouched, any_intensity, sizes


class WritesIntoItsInput(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        array = scan.array
        array -= 10
        return super().upscale(scan, task) + np.float32(10)


class NanOnBlack(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        with np.errstate(invalid="ignore"):
            return super().upscale(scan, task) / scan.array.max() * scan.array.max()


class EvenSizesOnly(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        depth, rows, columns = scan.array.shape
        scan.array.reshape(depth, rows // 2, 2, columns // 2, 2)
        return super().upscale(scan, task)


class OddSizesGrow(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        _, rows, columns = scan.array.shape
        padded = np.pad(scan.array, ((0, 0), (0, rows % 2), (0, columns % 2)), mode="edge")
        return super().upscale(Scan(padded, scan.spacing, scan.contrast), task)


# slices


class MixesSlices(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        neighbours = (scan.array + np.roll(scan.array, 1, axis=0)) / 2
        return super().upscale(Scan(neighbours, scan.spacing, scan.contrast), task)


class NeedsTwoSlices(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        np.gradient(scan.array, axis=0)
        return super().upscale(scan, task)


# same_seed


class NoisyUpscale(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        return super().upscale(scan, task) + np.float32(random.random())


class NoisyFit(Sound):
    def fit(self, task: Task, train: TrainingSet, val: Sequence[Batch], run: Run) -> None:
        self.offset = np.random.rand(1)  # noqa: NPY002

    def state(self) -> dict[str, Array]:
        return {"offset": self.offset}

    def load_state(self, state: dict[str, Array], task: Task) -> None:
        self.offset = state["offset"]


class NoisyBuild(SoundNetwork):
    def build(self, task: Task) -> nn.Module:
        network = Net(task.scale)
        nn.init.constant_(network.body[2].bias, np.random.rand())  # noqa: NPY002
        return network


# other_seed


class DrawsFromItsSeed(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        return super().upscale(scan, task) + np.float32(np.random.default_rng(task.seed).normal())


class FitsTheFirstBatch(NoisyFit):
    seeded = False

    def fit(self, task: Task, train: TrainingSet, val: Sequence[Batch], run: Run) -> None:
        self.offset = np.asarray(train.batch(0)[0].mean())

    def upscale(self, scan: Scan, task: Task) -> Array:
        return super().upscale(scan, task) + np.float32(self.offset)


# maps


class ShowsOneSlice(Sound):
    def maps(self, scan: Scan, task: Task) -> Mapping[str, Array]:
        return {"seen": scan.array[0]}


class ShowsNothingFinite(Sound):
    def maps(self, scan: Scan, task: Task) -> Mapping[str, Array]:
        return {"seen": np.full_like(scan.array, np.nan)}


# constants, homogeneous


class AddsAnOffset(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        return super().upscale(scan, task) * np.float32(1.001)


class Clips(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        return super().upscale(scan, task).clip(0, 1000)


# gradients


class UnusedLayer(SoundNetwork):
    def build(self, task: Task) -> nn.Module:
        network = Net(task.scale)
        network.forgotten = nn.Conv2d(1, 1, 1)
        return network


class CancelledBias(SoundNetwork):
    """A bias before a batch's mean is taken off: its gradient is rounding, not zero."""

    class Network(Net):
        def forward(self, x: Tensor) -> Tensor:
            x = self.up(x)
            correction = self.body(x)
            return x + correction - correction.mean((1, 2, 3), keepdim=True)

    def build(self, task: Task) -> nn.Module:
        return self.Network(task.scale)


class NamedAsIdle(SoundNetwork):
    idle_parameters: ClassVar[dict[str, str]] = {"body.*.bias": "said in haste"}


class RootOfZero(SoundNetwork):
    class Network(Net):
        def forward(self, x: Tensor) -> Tensor:
            features = self.body[0](self.up(x)) * self.up(x)
            return super().forward(x) + features.pow(2).sum(1, keepdim=True).sqrt()

    def build(self, task: Task) -> nn.Module:
        return self.Network(task.scale)


# start


class HidesItsBicubic(SoundNetwork):
    adds_bicubic = False


class ClaimsBicubic(SoundNetwork):
    def build(self, task: Task) -> nn.Module:
        return nn.Sequential(nn.Conv2d(1, task.scale**2, 3, padding=1), nn.PixelShuffle(task.scale))


class NamesAnInnerLayer(SoundNetwork):
    def output_layer(self, network: nn.Module) -> nn.Module:
        assert isinstance(network, Net)
        return network.body[0]


class NamesTheWholeNetwork(SoundNetwork):
    def output_layer(self, network: nn.Module) -> nn.Module:
        return network


# overfits


class IgnoresItsInput(SoundNetwork):
    class Network(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(torch.zeros_like(x))

    def build(self, task: Task) -> nn.Module:
        return self.Network(task.scale)


class LearnsNothing(Sound):
    def fit(self, task: Task, train: TrainingSet, val: Sequence[Batch], run: Run) -> None:
        for _ in train.volumes():
            run.report(1)


# no_shift


class AlignsCorners(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        return zoom(scan.array, task.factors, order=3, mode="nearest", grid_mode=False).astype(np.float32)


class StartsAtTheCorner(Sound):
    """Every LR pixel at the first of its HR pixels: (s − 1)/2 HR pixels too early, half an LR pixel for large s."""

    def upscale(self, scan: Scan, task: Task) -> Array:
        early = [(1 - factor) / 2 for factor in task.factors]
        return shift(super().upscale(scan, task), early, order=3, mode="nearest").astype(np.float32)


class HalfAPixelLate(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        return shift(super().upscale(scan, task), (0, 0, 0.5), order=3, mode="nearest").astype(np.float32)


class ShiftedNetwork(SoundNetwork):
    """Correct but for a shift that no layer after it undoes."""

    class Network(Net):
        def forward(self, x: Tensor) -> Tensor:
            size = [self.scale * side for side in x.shape[-2:]]
            return nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=True) + 0.0 * self.body(
                self.up(x)
            )

    def build(self, task: Task) -> nn.Module:
        return self.Network(task.scale)


# new_process, real_slice, cuda


class ForgetsABuffer(SoundNetwork):
    class Network(Net):
        level: Tensor

        def __init__(self, scale: int) -> None:
            super().__init__(scale)
            self.register_buffer("level", torch.zeros(1), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                self.level += 0.1
            return super().forward(x) + self.level

    def build(self, task: Task) -> nn.Module:
        return self.Network(task.scale)


def not_at_module_level() -> type[Method]:
    class Local(Sound):
        pass

    return Local


class RunsOutOfMemory(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        if scan.array.size > 40 * 40:
            raise MemoryError("no room for all pairs of pixels")
        return super().upscale(scan, task)


class IsKilled(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        if scan.array.size > 40 * 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().upscale(scan, task)


class AnotherOnCuda(Sound):
    def upscale(self, scan: Scan, task: Task) -> Array:
        return super().upscale(scan, task) * np.float32(1.01 if task.device == "cuda" else 1)


BROKEN: dict[str, list[tuple[type[Method], str]]] = {
    "options": [(OptionsThatGrow, "come back from JSON"), (PresetOfUnknownOptions, "width")],
    "output": [(WrongShape, "not (1, 32, 40)"), (Float64, "float64"), (ReturnsATensor, "returns a Tensor")],
    "input_untouched": [(WritesIntoItsInput, "has changed 320 of 320 values")],
    "any_intensity": [(NanOnBlack, "of the output for a black volume are not finite")],
    "sizes": [(EvenSizesOnly, "broken_methods.py, line "), (OddSizesGrow, "for LR (1, 2, 3) has shape (1, 4, 8)")],
    "slices": [(MixesSlices, "one by one differ"), (NeedsTwoSlices, "too small to calculate a numerical gradient")],
    "same_seed": [
        (NoisyUpscale, "two calls"),
        (NoisyFit, "differ in offset"),
        (NoisyBuild, "two fits with seed 0 differ"),
    ],
    "other_seed": [(DrawsFromItsSeed, "the output differs by up to"), (FitsTheFirstBatch, "the output differs")],
    "maps": [
        (ShowsOneSlice, "map 'seen' must be (slices, rows, columns)"),
        (ShowsNothingFinite, "map 'seen' has values that are not finite"),
    ],
    "constants": [(AddsAnOffset, "of constant 7 differ")],
    "homogeneous": [(Clips, "64 times the input")],
    "gradients": [
        (UnusedLayer, "no gradient reaches forgotten.bias, forgotten.weight"),
        (CancelledBias, "no gradient reaches body.2.bias"),
        (NamedAsIdle, "which a gradient does reach"),
        (RootOfZero, "on a black patch is not finite"),
    ],
    "start": [
        (HidesItsBicubic, "there is bicubic, but adds_bicubic is not declared"),
        (ClaimsBicubic, "adds_bicubic is declared, but with all parameters 0 there is no bicubic"),
        (NamesAnInnerLayer, "at the start bicubic the network differs from bicubic"),
        (NamesTheWholeNetwork, "no gradient reaches body.0.weight, body.0.bias, body.2.weight"),
    ],
    "overfits": [(IgnoresItsInput, "beyond bicubic"), (LearnsNothing, "+0.00 dB beyond bicubic")],
    "no_shift": [
        (AlignsCorners, "0.00 ± 0.5"),
        (StartsAtTheCorner, "-0.50 ± 0.0"),
        (HalfAPixelLate, "+0.50 ± 0.0"),
        (ShiftedNetwork, "displaced"),
    ],
    "new_process": [(ForgetsABuffer, "in a new process differs"), (not_at_module_level(), "at module level")],
    "real_slice": [(RunsOutOfMemory, "no room for all pairs"), (IsKilled, "its process was killed by SIGKILL")],
    "cuda": [(AnotherOnCuda, "CUDA and CPU differ")],
}
"""Check → methods that it must fail, with words of the message."""
