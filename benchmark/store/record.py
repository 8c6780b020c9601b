"""The schema of a record: what is known of a cell that was run. To read one, no method is needed.

A later version may add fields, which this version ignores. `FORMAT` is raised when a field changes its meaning.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from ..system.environment import Environment

FORMAT: Literal[2] = 2
_TITLE = re.compile(r"(?!\.)[^/\\\x00-\x1f\x7f-\x9f]{1,200}")
"""A title that can be part of a file's name, as `pack` has it."""


class Part(BaseModel):
    """Base of a record's parts: immutable; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="strings")


class ProtocolMark(Part):
    """The protocol under which a cell was run."""

    name: str
    version: int
    digest: str
    """SHA-256 over the resolved protocol and its split."""
    overrides: dict[str, int]
    """The values that `--limit` and `--steps` changed."""


class RecipeMark(Part):
    """How a network was trained: the fields of `method.Recipe` at that time. Fields of later versions are kept."""

    model_config = ConfigDict(extra="allow")

    loss: str
    optimizer: str
    optimizer_args: dict[str, Any]
    lr: float
    schedule: str
    schedule_args: dict[str, Any]
    steps: int
    batch: int
    micro_batch: int | None = None
    lr_patch: int
    augment: str
    clip_norm: float | None
    precision: str
    """fast: the fit says which it was."""
    start: str = "own"
    """bicubic: the network is its output + bicubic, its output layer starts at 0."""
    one_rate: bool = False
    """Every layer learned at `lr`, whatever rates the method's parameter groups have."""


class Resolved(Part):
    """Everything that decides a training, except its subjects. The train key is made from this."""

    method: str
    version: str
    options: dict[str, Any]
    recipe: RecipeMark | None
    """None where the suite's loop does not train."""
    dataset: str
    contrast: str
    plane: str
    crop: tuple[int, int, int] | None
    """(slices, rows, columns); None: rows and columns to a multiple of 12."""
    pad: str | None = None
    too_small: str | None = None
    grid: str = "file"
    factors: tuple[int, int, int]
    degradation: dict[str, Any]
    """Name, rounding, options and noise, as in the protocol."""
    seed: int
    train_subjects: int | None = None
    """Number of training subjects that the label takes; None for all."""
    streams: str | None = None
    """row: the random streams follow from the seed and the table's row; None: from the seed alone."""


class Tiles(Part):
    """The tiles in which a network upscales a slice, in LR pixels."""

    tile: int
    overlap: int


class Fit(Part):
    """How a method was fitted: by a training in the suite's loop, or by its own `fit`."""

    seconds: float
    steps: int | None = None
    """Like the next three, None where the suite's loop did not train."""
    best_step: int | None = None
    best_val_psnr: float | None = None
    """Mean over the validation crops of each crop's PSNR in dB."""
    parameters: int | None = None
    skipped_steps: int = 0
    """Steps that the divergence guard skipped."""
    rollbacks: int = 0
    threads: int | None = None
    """CPU threads of torch in the training; like the next, None where the loop did not train, and in older records."""
    precision: str | None = None
    """The precision of the training, which the recipe's `fast` was on that device."""
    micro_batch: int | None = None
    """Most samples at once, by the recipe or because no more fitted into memory; None: the whole batch."""
    validation_fall: float | None = None
    """The largest fall of a validation's PSNR below its earlier best, after a tenth of the steps, in dB."""
    late_gain: float | None = None
    """The best validation's PSNR minus the best within 80 % of the steps, in dB; None: no validation in one part."""
    train_data_digest: str
    """SHA-256 over the training volumes' values (`data.pairs.Pair.digest`)."""
    git: str | None
    """The commit that trained."""
    source_digest: str
    """SHA-256 of the files of the method that trained."""


class Checksums(Part):
    """SHA-256 of the files that belong to a record. All these files but the scores may be absent."""

    scores: str
    radial: str | None = None
    exhibit: str | None = None
    """Of exhibit.npz; None where the cell keeps no slices."""
    curve: str | None = None
    """Of train.csv; in the record of the plain cell, not of its self-ensemble."""
    weights: str | None = None
    """Of the weights that made the predictions; those of a self-ensemble lie in the folder of its plain cell."""


class CrossScores(Part):
    """The figures of a cell on LR that it was not trained on: the same method and weights, the same HR."""

    degradation: dict[str, Any]
    """Name, rounding, options and noise of the LR."""
    score_key: str
    """SHA-256 over the cell's score key and the degradation."""
    metrics: dict[str, float]
    """Like the next four, as in the record of the cell."""
    n: int
    environment: Environment
    test_data_digest: str
    intensity_scales: dict[str, float]
    checksum: str
    """SHA-256 of scores-<title>.csv."""


class Record(Part):
    """The fields of every record, with or without figures."""

    format: Literal[2] = FORMAT
    label: str
    """The column; with a + for the self-ensemble."""
    protocol: ProtocolMark
    preset: str | None = None
    """The method's preset that the options come from."""
    resolved: Resolved
    inference: Tiles | None
    """None: whole slices, or no network."""
    train_key: str
    """SHA-256 over everything that could change the weights."""
    score_key: str
    """SHA-256 over everything that could change the scores."""
    source_digest: str
    """SHA-256 of the method's files; where weights were scored again, of the files that trained them."""
    written: str
    """UTC, as 2026-01-31T12:00:00Z."""


class DoneRecord(Record):
    """The record of a cell that has figures."""

    state: Literal["done"] = "done"
    metrics: dict[str, float]
    """Metric → its mean over the test subjects of scores.csv; NaN where it does not apply to the degradation."""
    signature: str | None = None
    """How the first metric was measured (`store.plan.MetricPlan.signature`); None in older records."""
    n: int
    """Test subjects."""
    fit: Fit | None
    """None for a method that learns nothing."""
    macs_lr24: int | None = None
    """Multiply-accumulates of a network for one LR patch of 24×24; None where they could not be counted."""
    seconds_per_volume: float
    """Mean seconds to upscale a test volume."""
    peak_memory_bytes: int
    """Peak memory of the cell's process; on a GPU, the peak that torch allocated there."""
    environment: Environment
    """Where the figures were made."""
    test_data_digest: str
    """SHA-256 over the test volumes' values: HR, LR and spacing (`data.pairs.Pair.digest`)."""
    intensity_scales: dict[str, float]
    """Test subject → the 99.9th percentile of its LR."""
    acquired_samples: dict[str, tuple[tuple[int, int], tuple[int, int]]] | None = None
    """With `grid: native`, test subject → acquired (rows, columns), and (rows, columns) of the file."""
    checksums: Checksums
    tests: dict[str, CrossScores] = {}
    """Title of another degradation → the figures on it; empty in older records."""

    @field_validator("tests")
    @classmethod
    def _titles_name_files(cls, tests: dict[str, CrossScores]) -> dict[str, CrossScores]:
        for title in tests:
            if not _TITLE.fullmatch(title):
                raise ValueError(f"{title!r} cannot be part of a file's name")
        return tests


class UndoneRecord(Record):
    """The record of a cell that has no figures."""

    state: Literal["failed", "timeout", "skipped"]
    error: str
    """Why there are no figures."""

    def equals_but_for_time(self, other: Record) -> bool:
        """Whether another record is the same but for the time at which it was written."""
        return self == other.model_copy(update={"written": self.written})


AnyRecord = DoneRecord | UndoneRecord
_ANY: TypeAdapter[AnyRecord] = TypeAdapter(Annotated[AnyRecord, Field(discriminator="state")])


def parse(content: dict[str, Any]) -> AnyRecord:
    """A record from plain data of this `FORMAT`. Raises pydantic.ValidationError for anything else."""
    return _ANY.validate_python(content)
