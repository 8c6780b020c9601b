"""The keys of a protocol file about data: which volumes, how they are cut, and how LR is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, PositiveInt, Tag, field_validator, model_validator

from .block import Block, Name, once

Plane = Literal["axial", "sagittal", "coronal"]
Crop = tuple[PositiveInt, PositiveInt, PositiveInt]
BRANCHES = ("one crop", "crop of each contrast")
"""Ways to write one key; pydantic puts their names into the places of errors."""
Crops = Annotated[
    Annotated[Crop, Tag(BRANCHES[0])] | Annotated[dict[str, Crop], Tag(BRANCHES[1])],
    Discriminator(lambda value: BRANCHES[isinstance(value, dict)]),
]
"""One for all contrasts, or contrast → crop."""
Rounding = Literal["stored", "stored_unclipped", "clipped", "none"]
"""How intensities are rounded before they are stored or scored: `volumes.Grid.apply`."""


class CutSpec(Block):
    """How a volume is cut to HR."""

    plane: Plane
    crop: Crop | None = None
    """(slices, rows, columns) of the centre crop; none: rows and columns to a multiple of 12."""
    pad: Literal["zero"] | None = Field(None, exclude_if=lambda pad: pad is None)
    """zero: a volume smaller than the crop is padded, with a warning."""
    too_small: Literal["leave_out"] | None = Field(None, exclude_if=lambda small: small is None)
    """leave_out: a volume smaller than the crop takes no part, with a warning. Without it and `pad` it is an error."""
    grid: Literal["file", "native"] = Field("file", exclude_if=lambda grid: grid == "file")
    """native: the volume is cropped in k-space to its acquired support first (`kspace_support.to_native_grid`)."""


class DataSpec(Block):
    """Which volumes, how they are cut, and which subjects are in which fold."""

    dataset: str
    contrasts: tuple[Name, ...] = Field(min_length=1)
    split: str
    """A CSV with the columns subject,fold (train, val, test), beside the protocol file or among the built-in ones."""
    crop: Crops | None = None
    """As in `CutSpec`, like pad, too_small and grid; or contrast → crop."""
    pad: Literal["zero"] | None = Field(None, exclude_if=lambda pad: pad is None)
    too_small: Literal["leave_out"] | None = Field(None, exclude_if=lambda small: small is None)
    grid: Literal["file", "native"] = Field("file", exclude_if=lambda grid: grid == "file")
    plane: dict[str, Plane] = Field(default_factory=dict)
    """Contrast → plane; one word for all."""
    licence: str = Field("", exclude=True)
    """The licence that lets anyone hand the images on, and whom to name, where the data set's class states none. It is
    in no digest: it changes no figure."""

    @model_validator(mode="before")
    @classmethod
    def _one_plane_for_all(cls, values: Any) -> Any:
        if isinstance(values, dict) and not isinstance(values.get("plane", "axial"), dict):
            contrasts = values.get("contrasts")
            names = contrasts if isinstance(contrasts, list) else []
            values = {**values, "plane": {str(name): values.get("plane", "axial") for name in names}}
        return values

    @field_validator("contrasts")
    @classmethod
    def _contrastsonce(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return once(value)

    @model_validator(mode="after")
    def _a_plane_for_each(self) -> Self:
        if set(self.plane) != set(self.contrasts):
            raise ValueError(f"plane names {sorted(self.plane)}, contrasts are {sorted(self.contrasts)}")
        if isinstance(self.crop, dict) and set(self.crop) != set(self.contrasts):
            raise ValueError(f"crop names {sorted(self.crop)}, contrasts are {sorted(self.contrasts)}")
        if self.pad and self.too_small:
            raise ValueError("a volume smaller than the crop is padded or left out: remove pad or too_small")
        return self

    def cut(self, contrast: str) -> CutSpec:
        """How the volumes of a contrast are cut."""
        crop = self.crop[contrast] if isinstance(self.crop, dict) else self.crop
        return CutSpec(plane=self.plane[contrast], crop=crop, pad=self.pad, too_small=self.too_small, grid=self.grid)


class DegradationSpec(Block):
    """How LR is made from HR."""

    name: str
    round: Rounding
    options: dict[str, Any] = Field(default_factory=dict, exclude_if=lambda options: not options)
    """The degradation's own settings, e.g. fwhm for gaussian."""
    noise: float | None = Field(None, gt=0, exclude_if=lambda noise: noise is None)
    """Rician noise on LR: its sigma, as a share of the noise-free LR's intensity scale (its 99.9th percentile)."""

    @property
    def title(self) -> str:
        """Name of a folder and a table's row, e.g. 'gaussian-fwhm1.5-noise0.05', 'bicubic-shifted'."""
        parts = [key if value is True else f"{key}{value}" for key, value in sorted(self.options.items())]
        return "-".join([self.name, *parts, *([f"noise{self.noise:g}"] if self.noise else [])])

    @property
    def shifted(self) -> DegradationSpec:
        """The same with LR's voxel centres in the wrong place: a negative control (`degradation.Degradation`)."""
        return self.model_copy(update={"options": {**self.options, "shifted": True}})
