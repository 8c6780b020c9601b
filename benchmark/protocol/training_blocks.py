"""The keys of a protocol file about methods: what a label stands for, how it is trained, validated and run."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from .block import Block, Name, Seed, once


class MethodSpec(Block):
    """What a label stands for: a method (the label itself if not given), a preset, options."""

    method: str | None = None
    preset: str | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    train_subjects: int | None = Field(None, ge=1, exclude_if=lambda number: number is None)
    """Train on that many of the training subjects (`protocol.Loaded.train_subjects` says which); none: on all."""
    lr: float | None = Field(None, gt=0, exclude_if=lambda rate: rate is None)
    """The label's learning rate in track equal; none: that of `TrainingSpec`, else the recipe's."""
    seeds: tuple[Seed, ...] | None = Field(None, min_length=1, exclude_if=lambda seeds: seeds is None)
    """The label's seeds; none: the protocol's. The only setting that a self-ensemble has of its own."""

    @field_validator("seeds")
    @classmethod
    def _seedsonce(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return value and once(value)


class TrainingSpec(Block):
    """published: every method's own recipe. equal: the same budget for all; what is not given stays the recipe's.

    Precision is the device's business and no part of a paper's recipe: it may be given in either track. The learning
    rate alone may differ in track equal: a label may declare its own (`MethodSpec.lr`). It is that of all layers.
    """

    track: Literal["published", "equal"]
    steps: int | None = Field(None, ge=1)
    batch: int | None = Field(None, ge=1)
    lr_patch: int | None = Field(None, ge=4)
    augment: Literal["none", "dihedral"] | None = None
    lr: float | None = Field(None, gt=0)
    schedule: str | None = None
    schedule_args: dict[str, Any] | None = None
    clip_norm: float | None = Field(None, gt=0)
    precision: Literal["32-true", "bf16-mixed", "fast"] | None = None
    loss: Literal["l1", "mse"] | None = Field(None, exclude_if=lambda loss: loss is None)
    """Of every network in track equal; none: l1."""
    start: Literal["own", "bicubic"] = Field("own", exclude_if=lambda start: start == "own")
    """bicubic: in track equal, every network returns the bicubic image before its first step."""
    streams: Literal["row"] | None = Field(None, exclude_if=lambda streams: streams is None)
    """row: a seed's random streams differ between the rows of a table; none: they are the same in all rows."""

    @model_validator(mode="after")
    def _track_fits(self) -> Self:
        budget = ("steps", "batch", "lr_patch", "augment")
        if self.track == "equal" and (missing := [name for name in budget if getattr(self, name) is None]):
            raise ValueError(f"track 'equal' needs {', '.join(missing)}")
        if self.track == "published" and (given := sorted({*self._given()} - {"precision"})):
            raise ValueError(f"track 'published' takes each method's own recipe; remove {', '.join(given)}")
        return self

    def overrides(self) -> dict[str, Any]:
        """The recipe fields that this protocol sets for every network."""
        equal = {"loss": "l1", "start": self.start} if self.track == "equal" else {}
        return {**equal, **self._given()}

    def _given(self) -> dict[str, Any]:
        fields = self.model_dump(exclude={"track", "streams"})
        return {name: value for name, value in fields.items() if value is not None}


class ValidationSpec(Block):
    """Fixed centre crops of the validation subjects, the same for all methods."""

    every: int = Field(1000, ge=1)
    patches: int = Field(16, ge=1)
    lr_patch: int = Field(48, ge=4)


class InferenceSpec(Block):
    """Networks upscale a slice in square tiles; without this block, in one piece.

    Attention and channel statistics are computed over all of a network's input: a tile is about as large as a training
    patch, a whole slice is larger. Methods that are not networks do not use tiles.
    """

    tile: int = Field(ge=8)
    """Side of a tile in LR pixels; a smaller slice gives tiles of its shorter sides."""
    overlap: int = Field(0, ge=0)
    """Least LR pixels that neighbouring tiles share; each tile gives the half that is nearer to its middle."""

    @model_validator(mode="after")
    def _tiles_advance(self) -> Self:
        if self.overlap * 2 > self.tile:
            raise ValueError(f"overlap ({self.overlap}) must be at most half of tile ({self.tile})")
        return self


class RatesSpec(Block):
    """The search for learning rates: every network is trained at each value on one cell, and validated (`bench rates`).

    Its seed is scored nowhere, and it reads no test volume.
    """

    values: tuple[Annotated[float, Field(gt=0)], ...] = Field(min_length=2)
    contrast: Name
    scale: tuple[int, int, int]
    seed: Seed = 1000

    @field_validator("scale", mode="before")
    @classmethod
    def _in_plane_scale(cls, value: Any) -> Any:
        return [1, value, value] if isinstance(value, int) else value

    @field_validator("values")
    @classmethod
    def _values_rise(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("give the values from the smallest to the largest, each once")
        return value
