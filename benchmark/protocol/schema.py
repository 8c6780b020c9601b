"""The content of a protocol file: its blocks, their defaults and bounds. `planning` looks up the names in it."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from .block import Block, Label, Name, Seed, once
from .data_blocks import DataSpec, DegradationSpec, Rounding
from .training_blocks import InferenceSpec, MethodSpec, RatesSpec, TrainingSpec, ValidationSpec


class CrossTestSpec(Block):
    """Other LR that every cell is tested on, with its own weights: no cell's keys depend on it."""

    degradations: tuple[DegradationSpec, ...] = ()
    """An entry may be a name alone; `round` is by default that of the protocol's first degradation."""
    shift: Literal["half"] | None = Field(None, exclude_if=lambda shift: shift is None)
    """half: also on LR of the cell's own degradation `shifted`."""


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
    def _claimsonce(cls, value: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
        once(tuple(frozenset(pair) for pair in value))
        if same := [first for first, second in value if first == second]:
            raise ValueError(f"'{same[0]}' is compared with itself")
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
        return once(value)

    @field_validator("seeds")
    @classmethod
    def _seedsonce(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return once(value)

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
