"""The contract of a method: what a plugin author reads and subclasses.

A method is one file that defines one subclass of `Method`. It sees low-resolution volumes, the task and, where it
learns, training batches; never a split, a subject's name or the truth of a test volume.

All volumes are (slices, rows, columns) = (D, h, w) at low resolution (LR) and (D, H, W) at high resolution (HR).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from .degradation import bicubic_torch
from .errors import BenchError, UsageError, did_you_mean

if TYPE_CHECKING:
    import torch

Array = np.ndarray
Batch = tuple[Array, Array]


@dataclass(frozen=True)
class Scan:
    """One LR volume as a method sees it."""

    array: Array
    """(D, h, w) float32, in the intensity units of the file."""
    spacing: tuple[float, float, float]
    """Distance of neighbouring LR voxels along (slices, rows, columns), in mm."""
    contrast: str
    guides: Mapping[str, Scan] = field(default_factory=dict)
    """Scans of other contrasts of the same subject; empty unless the protocol gives guides."""


@dataclass(frozen=True)
class Task:
    """What a method has to do in one cell."""

    factors: tuple[int, int, int]
    """HR voxels per LR voxel along (slices, rows, columns), e.g. (1, 2, 2)."""
    degradation: str = "bicubic"
    slices: int | None = None
    """Number of slices of every volume where the protocol's crop fixes it, else None."""
    seed: int = 0
    device: str = "cpu"
    precision: str = "32-true"
    """Precision of training, as the recipe gives it; inference is always float32."""
    start: str = "own"
    """What a network returns before its first step, as the recipe gives it (`Recipe.start`)."""
    tiles: tuple[int, int] | None = None
    """Side and overlap, in LR pixels, of the square tiles in which a network upscales a slice; None: in one piece."""

    @property
    def scale(self) -> int:
        """The in-plane factor, equal along rows and columns."""
        if self.factors[1] != self.factors[2]:
            raise ValueError(f"factors {self.factors} have no single in-plane scale")
        return self.factors[1]

    def hr_shape(self, lr_shape: Sequence[int]) -> tuple[int, ...]:
        """The HR shape of an LR volume (D, h, w): always exactly shape × factors."""
        return tuple(n * f for n, f in zip(lr_shape, self.factors, strict=True))


class TrainingSet(Protocol):
    """Training pairs, each volume divided by its own `intensity_scale`, the LR's for both."""

    def batch(self, step: int) -> Batch:
        """LR (B, d, h, w) and HR (B, d, H, W) float32 patches: a pure function of (seed, step)."""
        ...

    def volumes(self) -> Iterator[Batch]:
        """Every training subject's whole LR (D, h, w) and HR (D, H, W), float32."""
        ...


class Run(Protocol):
    """How a method reports to the suite while it fits."""

    scratch: Path
    """A folder for temporary files, used by this cell only."""

    @property
    def should_stop(self) -> bool:
        """True once the suite wants `fit` to return early."""
        ...

    def report(self, step: int, **values: float) -> None:
        """Log figures of `step` (e.g. loss=0.1) to the progress line, train.csv and MLflow."""
        ...


def intensity_scale(lr: Array) -> float:
    """The 99.9th percentile of an LR volume: the one scalar that takes its intensities to about [0, 1].

    From the LR alone, the same in training and test (the maximum is one hot voxel; a statistic of HR would leak).
    Where that percentile is not positive, the largest magnitude; for an all-zero volume 1.
    """
    scale = float(np.percentile(lr, 99.9))
    if scale > 0:
        return scale
    return float(np.abs(lr).max()) or 1.0


class MethodOptions(BaseModel):
    """Base of a method's declared options: typed, with defaults, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Recipe(BaseModel):
    """How a network is trained. A class gives its published recipe; a protocol may override any field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loss: Literal["l1", "mse"] = "l1"
    optimizer: str = "adam"
    """Any name that `timm.optim.create_optimizer_v2` knows."""
    optimizer_args: dict[str, Any] = Field(default_factory=dict)
    lr: float = Field(1e-4, gt=0)
    """Learning rate at the start (after any warm-up)."""
    schedule: str = "step"
    """Any name that `timm.scheduler.create_scheduler_v2` knows, in units of steps."""
    schedule_args: dict[str, Any] = Field(default_factory=lambda: {"decay_epochs": 200_000, "decay_rate": 0.5})
    steps: int = Field(1_000_000, ge=1)
    batch: int = Field(16, ge=1)
    micro_batch: int | None = Field(None, ge=1)
    """Most samples at once: a larger batch runs in parts. The step is that of the whole batch, the memory of a part."""
    lr_patch: int = Field(48, ge=4)
    """Side of a square LR patch in pixels; a smaller slice gives a patch of its shorter side."""
    augment: Literal["none", "dihedral"] = "dihedral"
    """dihedral: flips and quarter turns, all eight equally likely."""
    clip_norm: float | None = Field(None, gt=0)
    """Bound on the global gradient norm."""
    precision: Literal["32-true", "bf16-mixed", "fast"] = "32-true"
    """fast: bf16-mixed where the device has matrix units for it, else 32-true, on CUDA with TF32."""
    start: Literal["own", "bicubic"] = Field("own", exclude_if=lambda start: start == "own")
    """bicubic: the network is its output + bicubic, its output layer starts at 0 (`TorchMethod.make_network`)."""
    one_rate: bool = Field(False, exclude_if=lambda one_rate: not one_rate)
    """Every layer learns at `lr`, whatever rates the method's parameter groups have."""


class Method(ABC):
    """A super-resolution method. Subclass it, name the file as the method, and implement `upscale`.

    Attributes
    ----------
    version: raise it whenever outputs change; it is part of every key.
    paper: the source, for `bench list` and the docs.
    Options: the method's options, a subclass of `MethodOptions`.
    presets: named sets of options.
    """

    version: ClassVar[str] = "1"
    paper: ClassVar[str] = ""
    Options: ClassVar[type[MethodOptions]] = MethodOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    learns: ClassVar[bool] = False
    """True where the method has a `fit`; set when the class is made."""
    seeded: ClassVar[bool] = False
    """Whether another seed gives another result: such a method has a cell for each seed, any other one cell in all.
    True where the method has a `fit`, unless it is declared; `bench check` finds a wrong False."""
    slice_wise: ClassVar[bool] = False
    """Declared, and then checked by `bench check`: a slice's output depends on that slice and the volume's intensity
    scale or peak alone (with `slices_per_sample` > 1, on its group of slices)."""
    keeps_constants: ClassVar[bool] = False
    """Declared, and then checked: a constant volume stays that constant."""
    homogeneous: ClassVar[bool] = False
    """Declared, and then checked: k times the intensities in, k times the intensities out, for k > 0."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.fit is not Method.fit:
            cls.learns = True
            declared = any("seeded" in vars(base) for base in cls.__mro__[: cls.__mro__.index(Method)])
            cls.seeded = cls.seeded if declared else True

    def __init__(self, preset: str | None = None, **options: Any) -> None:
        """Options come from the class, then `preset`, then `options`; pydantic.ValidationError where one is wrong."""
        if preset is not None and preset not in self.presets:
            raise UsageError(f"unknown preset '{preset}'. {did_you_mean(preset, self.presets)}")
        chosen = self.presets[preset] if preset else {}
        self.options = self.Options(**{**chosen, **options})

    def unsupported(self, task: Task) -> str | None:
        """Why this method cannot do `task`, or None: such a cell is skipped, not failed."""
        return None

    def fit(self, task: Task, train: TrainingSet, val: Sequence[Batch], run: Run) -> None:  # noqa: B027
        """Learn from `train`; `val` holds fixed centre crops (lr, hr), the same for all methods."""

    @abstractmethod
    def upscale(self, scan: Scan, task: Task) -> Array:
        """The (D, H, W) float32 reconstruction of `scan`, in the scan's intensity units, not rounded or clipped."""

    def maps(self, scan: Scan, task: Task) -> Mapping[str, Array]:
        """What the fitted method looks at, to be shown beside its image: name → (D, h', w'), of any unit; {}: nothing.

        h' and w' are the method's own. At most 16 maps; names of up to 60 letters. No figure depends on them.
        """
        return {}

    def state(self) -> dict[str, Array]:
        """What `fit` learned, as named arrays; stored as safetensors."""
        return {}

    def load_state(self, state: dict[str, Array], task: Task) -> None:  # noqa: B027
        """Restore what `state` returned; afterwards `upscale` gives bit-identical results."""


class TorchMethod(Method):
    """A network and its recipe: define `build` and `recipe`; the suite's one training loop does the rest."""

    learns: ClassVar[bool] = True
    seeded: ClassVar[bool] = True
    slice_wise: ClassVar[bool] = True
    homogeneous: ClassVar[bool] = True
    """True by `upscale` below, which divides by the intensity scale; a class that overrides it declares this again."""
    idle_parameters: ClassVar[dict[str, str]] = {}
    """Parameters that no gradient can reach: a pattern (fnmatch) of their names → the reason."""
    adds_bicubic: ClassVar[bool] = False
    """Declared, and then checked: with all parameters 0 the network returns the bicubic image, else 0."""
    recipe: ClassVar[Recipe] = Recipe()
    network: torch.nn.Module | None = None

    @property
    def slices_per_sample(self) -> int:
        """Slices of a volume that the network takes as channels of one sample."""
        return 1

    @abstractmethod
    def build(self, task: Task) -> torch.nn.Module:
        """A freshly initialised network: (B, d, h, w) to (B, d, s·h, s·w), d = slices_per_sample."""

    def parameter_groups(self, network: torch.nn.Module) -> list[dict[str, Any]]:
        """Groups for the optimiser; `lr_scale` in a group multiplies the recipe's learning rate."""
        return [{"params": list(network.parameters())}]

    def output_layer(self, network: torch.nn.Module) -> torch.nn.Module:
        """The layer that makes the image: where its parameters are 0, the image is 0, or bicubic (`adds_bicubic`).

        By default the last convolution in `network.modules()`. Raises BenchError where there is none.
        """
        from torch import nn

        kinds = nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d
        layers = [module for module in network.modules() if isinstance(module, kinds)]
        if not layers:
            raise BenchError(f"{type(network).__name__} has no convolution; define output_layer in the method")
        return layers[-1]

    @final
    def make_network(self, task: Task) -> torch.nn.Module:
        """The network that `task` asks for: as built or, at the start `bicubic`, bicubic before its first step.

        Then it is the built network + the bicubic image, unless that adds it itself, and its output layer starts at 0.
        """
        network = self.build(task)
        if task.start == "bicubic":
            for parameter in self.output_layer(network).parameters():
                parameter.detach().zero_()
            if not self.adds_bicubic:
                network.register_forward_hook(_add_bicubic)
        return network

    def unsupported(self, task: Task) -> str | None:
        if task.factors[0] != 1 or task.factors[1] != task.factors[2]:
            return f"upscales within slices, rows and columns alike; not by {task.factors}"
        if task.slices is not None and task.slices % self.slices_per_sample:
            return f"takes {self.slices_per_sample} slices at a time; the volumes have {task.slices}"
        return None

    def upscale(self, scan: Scan, task: Task) -> Array:
        from .inference import enlarge

        network, samples, scale = self._ready(scan, task)
        output = enlarge(network, samples, task.scale, task.device, task.tiles)
        return output.flatten(0, 1).numpy() * np.float32(scale)

    def magnitudes(self, modules: Mapping[str, torch.nn.Module], scan: Scan, task: Task) -> dict[str, Array]:
        """For `maps`: what `modules` of the network put out.

        Returns name → (samples, h', w') float32, |values| averaged over channels; a sample is a slice, or
        `slices_per_sample`. Samples go through whole, whatever the tiles.
        """
        from .inference import magnitudes

        network, samples, _ = self._ready(scan, task)
        return magnitudes(network, modules, samples, task.device)

    def _ready(self, scan: Scan, task: Task) -> tuple[torch.nn.Module, torch.Tensor, float]:
        """The network on its device, the scan as (N, d, h, w) samples of about [0, 1], and what they were divided by.

        Raises RuntimeError where there is no network yet.
        """
        import torch

        if self.network is None:
            raise RuntimeError(f"{type(self).__name__} has no network before training or load_state")
        scale = intensity_scale(scan.array)
        volume = torch.from_numpy(np.asarray(scan.array, np.float32) / np.float32(scale))
        samples = volume.reshape(-1, self.slices_per_sample, *volume.shape[1:])
        return self.network.to(task.device).eval(), samples, scale

    def state(self) -> dict[str, Array]:
        if self.network is None:
            return {}
        return {name: tensor.detach().cpu().numpy() for name, tensor in self.network.state_dict().items()}

    def load_state(self, state: dict[str, Array], task: Task) -> None:
        import torch

        self.network = self.make_network(task)
        self.network.load_state_dict(
            {name: torch.from_numpy(array.copy()) for name, array in state.items()}, strict=True
        )


def _add_bicubic(network: torch.nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
    """What the network returns in place of its output: the output + the suite's bicubic of its input."""
    return output + bicubic_torch(inputs[0], output.shape[-2:])
