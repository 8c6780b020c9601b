"""The schema of a record: what is known of a cell once it has been run. Read by this alone, whatever the methods are.

A later version may add fields, which this one then passes over. `FORMAT` is raised when a field changes its meaning.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from ..system.environment import Environment

FORMAT: Literal[2] = 2


class Part(BaseModel):
    """Base of a record's parts: immutable; a field that is not known is passed over."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="constants")


class ProtocolMark(Part):
    """Under which protocol a cell was run."""

    name: str
    version: int
    digest: str
    """SHA-256 over the resolved protocol and its split."""
    overrides: dict[str, int]
    """What `--limit` and `--steps` changed of it."""


class RecipeMark(Part):
    """How a network was trained, as `method.Recipe` stood then. Fields of later versions are kept as they are."""

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


class Resolved(Part):
    """Everything that decides a training but its subjects. The train key is made of this."""

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
    grid: str = "file"
    factors: tuple[int, int, int]
    degradation: dict[str, Any]
    """Name, rounding, options and noise, as in the protocol."""
    seed: int
    train_subjects: int | None = None
    """How many of the training subjects the label takes; None for all."""


class Tiles(Part):
    """The tiles in which a network upscales a slice, in LR pixels."""

    tile: int
    overlap: int


class Fit(Part):
    """How what made the predictions came to be: a training by the suite's loop, or a method's own `fit`."""

    seconds: float
    steps: int | None = None
    """Like the next three, none where the suite's loop did not train."""
    best_step: int | None = None
    best_val_psnr: float | None = None
    """Mean over the validation crops of each crop's PSNR in dB."""
    parameters: int | None = None
    skipped_steps: int = 0
    """Steps that the divergence guard did not take."""
    rollbacks: int = 0
    threads: int | None = None
    """CPU threads of torch in the training; None where the suite's loop did not train, or did before it told."""
    train_data_digest: str
    """SHA-256 over the training volumes' values (`data.preparation.Pair.digest`)."""
    git: str | None
    """The commit that trained."""
    source_digest: str
    """SHA-256 of the files of the method that trained."""


class Checksums(Part):
    """SHA-256 of the files that belong to a record. A file that is absent is no damage, but for the scores."""

    scores: str
    radial: str | None = None
    exhibit: str | None = None
    """Of exhibit.npz; none where the cell keeps no slices."""
    curve: str | None = None
    """Of train.csv; with the base cell, not with its self-ensemble."""
    weights: str | None = None
    """Of the weights that made the predictions; those of a self-ensemble lie with its base cell."""


class Record(Part):
    """What every record says, whatever became of the cell."""

    format: Literal[2] = FORMAT
    label: str
    """The column; with a + for the self-ensemble."""
    protocol: ProtocolMark
    preset: str | None = None
    """The method's preset that the options came from."""
    resolved: Resolved
    inference: Tiles | None
    """None: whole slices, or no network."""
    train_key: str
    """SHA-256 over all that could change the weights."""
    score_key: str
    """SHA-256 over all that could change the scores."""
    source_digest: str
    """SHA-256 of the method's files: those that trained, where weights were scored again."""
    written: str
    """UTC, as 2026-01-31T12:00:00Z."""


class DoneRecord(Record):
    """The record of a cell that has figures."""

    state: Literal["done"] = "done"
    metrics: dict[str, float]
    """Metric → its mean over the test subjects of scores.csv."""
    n: int
    """Test subjects."""
    fit: Fit | None
    """None for a method that learns nothing."""
    macs_lr24: int | None = None
    """Multiply-accumulates of a network for one LR patch of 24×24; None where they could not be counted."""
    seconds_per_volume: float
    """Mean seconds to upscale a test volume."""
    peak_memory_bytes: int
    """The most that the cell's process held; on a GPU, what torch allocated there."""
    environment: Environment
    """Where the figures were made."""
    test_data_digest: str
    """SHA-256 over the test volumes' values: HR, LR and spacing (`data.preparation.Pair.digest`)."""
    intensity_scales: dict[str, float]
    """Test subject → the 99.9th percentile of its LR."""
    acquired_samples: dict[str, tuple[tuple[int, int], tuple[int, int]]] | None = None
    """With `grid: native`, test subject → (rows, columns) that were acquired, and that the file has."""
    checksums: Checksums


class UndoneRecord(Record):
    """The record of a cell that has no figures."""

    state: Literal["failed", "timeout", "skipped"]
    error: str
    """Why."""

    def says_the_same_as(self, other: Record) -> bool:
        """Whether another record differs in nothing but the time at which it was written."""
        return self == other.model_copy(update={"written": self.written})


AnyRecord = DoneRecord | UndoneRecord
_ANY: TypeAdapter[AnyRecord] = TypeAdapter(Annotated[AnyRecord, Field(discriminator="state")])


def parse(content: dict[str, Any]) -> AnyRecord:
    """A record from plain data of this `FORMAT`. Raises pydantic.ValidationError where it is none."""
    return _ANY.validate_python(content)
