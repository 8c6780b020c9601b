"""The keys of a protocol file: their types, defaults and bounds. `planning` looks up the names in it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, PositiveInt, Tag, field_validator, model_validator

Plane = Literal["axial", "sagittal", "coronal"]
# These become names of folders.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*\+?$")]
Crop = tuple[PositiveInt, PositiveInt, PositiveInt]
BRANCHES = ("one crop", "crop of each contrast")
"""Ways to write one key; pydantic puts their names into the places of errors."""
Crops = Annotated[
    Annotated[Crop, Tag(BRANCHES[0])] | Annotated[dict[str, Crop], Tag(BRANCHES[1])],
    Discriminator(lambda value: BRANCHES[isinstance(value, dict)]),
]
"""One for all contrasts, or contrast → crop."""
Seed = Annotated[int, Field(ge=0, lt=2**31)]
Rounding = Literal["stored", "stored_unclipped", "clipped", "none"]
"""How intensities are rounded before they are stored or scored: `volumes.Grid.apply`."""


def scale_name(factors: tuple[int, int, int]) -> str:
    """'2', or '4x1x1' where the factors are not those of in-plane upscaling."""
    depth, rows, columns = factors
    return f"{rows}" if depth == 1 and rows == columns else f"{depth}x{rows}x{columns}"


class Block(BaseModel):
    """Base of a protocol's blocks: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def _once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The values, none of which may appear twice: each makes cells of its own."""
    for number, value in enumerate(values):
        if value in values[:number]:
            name = " and ".join(sorted(value)) if isinstance(value, frozenset) else value
            raise ValueError(f"{name} appears twice")
    return values


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
    def _contrasts_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _once(value)

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


class CrossTestSpec(Block):
    """Other LR that every cell is tested on, with its own weights: no cell's keys depend on it."""

    degradations: tuple[DegradationSpec, ...] = ()
    """An entry may be a name alone; `round` is by default that of the protocol's first degradation."""
    shift: Literal["half"] | None = Field(None, exclude_if=lambda shift: shift is None)
    """half: also on LR of the cell's own degradation `shifted`."""


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
    def _seeds_once(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return value and _once(value)


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


class ScoringSpec(Block):
    """The metric conventions, written out."""

    unit: Literal["volume", "slice"] = "volume"
    """slice: every figure is the mean over a volume's slices."""
    border: int = Field(0, ge=0)
    """HR pixels shaved from rows and columns before scoring."""
    round: Rounding
    metrics: dict[Name, dict[str, Any]] = Field(min_length=1)
    """Label → its convention, in the order of a table cell; its key `metric` where the label is no metric's name."""


class ReportSpec(Block):
    """What is shown beside the figures, and which differences are tested. No figure or key depends on it."""

    subjects: int = Field(4, ge=0, le=16)
    """Of how many test subjects cells of the first seed keep slices (`running/exhibits.py`), evenly spaced in the
    split's order; 0: nothing is kept."""
    slices: int = Field(1, ge=1, le=16)
    """How many whole slices of each, evenly spaced; one is the middle slice."""
    claims: tuple[tuple[Label, Label], ...] = Field((), exclude_if=lambda claims: not claims)
    """Pairs of labels whose difference is tested over all rows together: one family (`reporting/claims.py`)."""
    equivalence: float | None = Field(None, gt=0, exclude_if=lambda bound: bound is None)
    """The difference in the primary metric that counts as none, in its unit: within ± it two labels are equivalent."""

    @field_validator("claims")
    @classmethod
    def _claims_once(cls, value: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        _once(tuple(frozenset(pair) for pair in value))
        if same := [first for first, second in value if first == second]:
            raise ValueError(f"'{same[0]}' is compared with itself")
        return value


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


class Protocol(Block):
    """The content of a protocol file."""

    schema_: Literal[1] = Field(alias="schema")
    name: Name
    version: int = Field(ge=1)
    """Raise it on any change of the file."""
    description: str
    data: DataSpec
    degradation: tuple[DegradationSpec, ...] = Field(min_length=1)
    scales: tuple[tuple[int, int, int], ...] = Field(min_length=1)
    methods: dict[Label, MethodSpec] = Field(min_length=1)
    training: TrainingSpec
    validation: ValidationSpec = ValidationSpec.model_construct()
    inference: InferenceSpec | None = Field(None, exclude_if=lambda inference: inference is None)
    seeds: tuple[Seed, ...] = Field((0,), min_length=1)
    rates: RatesSpec | None = Field(None, exclude_if=lambda rates: rates is None)
    scoring: ScoringSpec
    test: CrossTestSpec | None = Field(None, exclude_if=lambda test: test is None)
    report: ReportSpec = Field(ReportSpec.model_construct(), exclude_if=lambda report: report == ReportSpec())

    @model_validator(mode="before")
    @classmethod
    def _tested_degradations(cls, values: Any) -> Any:
        """Entries of `test.degradations` in full: those that are a name alone, or give no rounding."""
        test = values.get("test") if isinstance(values, dict) else None
        if not isinstance(test, dict) or not isinstance(test.get("degradations"), list):
            return values
        own = values.get("degradation")
        first = own[0] if isinstance(own, list) and own else own
        rounding = {"round": first["round"]} if isinstance(first, dict) and "round" in first else {}
        entries = [{"name": entry} if isinstance(entry, str) else entry for entry in test["degradations"]]
        entries = [{**rounding, **entry} if isinstance(entry, dict) else entry for entry in entries]
        return {**values, "test": {**test, "degradations": entries}}

    @field_validator("degradation", mode="before")
    @classmethod
    def _one_degradation(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @field_validator("scales", mode="before")
    @classmethod
    def _in_plane_scales(cls, value: Any) -> Any:
        return [[1, s, s] if isinstance(s, int) else s for s in value] if isinstance(value, list) else value

    @field_validator("scales")
    @classmethod
    def _scales_upscale(cls, value: tuple[tuple[int, int, int], ...]) -> tuple[tuple[int, int, int], ...]:
        for factors in value:
            if min(factors) < 1 or max(factors) < 2:
                raise ValueError(f"{list(factors)} does not upscale; give 2, 3, 4 or [slices, rows, columns]")
        return _once(value)

    @field_validator("seeds")
    @classmethod
    def _seeds_once(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return _once(value)

    @field_validator("methods", mode="before")
    @classmethod
    def _empty_specs(cls, value: Any) -> Any:
        return {k: v if v is not None else {} for k, v in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _rates_are_of_a_cell_that_is_not_scored(self) -> Self:
        rates = self.rates
        if rates is None:
            return self
        if self.training.track != "equal":
            raise ValueError("rates are searched for in track 'equal'; in track 'published' each method brings its own")
        if rates.contrast not in self.data.contrasts or rates.scale not in self.scales:
            raise ValueError("the contrast and the scale of rates must be among the protocol's")
        if rates.seed in self.seeds or any(rates.seed in (spec.seeds or ()) for spec in self.methods.values()):
            raise ValueError(f"the seed of rates, {rates.seed}, must not be one that is scored")
        return self

    def cross_tests(self, trained: DegradationSpec) -> tuple[DegradationSpec, ...]:
        """The other degradations that a cell trained on `trained` is tested on, the shifted one last."""
        if self.test is None:
            return ()
        shifted = [trained.shifted] if self.test.shift else []
        others = [*self.degradation, *self.test.degradations, *shifted]
        return tuple(degradation for degradation in others if degradation.title != trained.title)
