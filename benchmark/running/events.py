"""What a running training tells its driver, in the order in which it happens."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Event(BaseModel):
    """Base of the events: immutable; they travel between processes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Started(_Event):
    """The training's process is being started."""

    place: str = ""
    """The machine that it runs on, where that need not be this one."""


class Prepared(_Event):
    """Volumes of a fold are ready."""

    fold: str
    done: int
    total: int


class Warned(_Event):
    """Something that costs no result."""

    message: str


class Progressed(_Event):
    """A step of a training, with the figures that are known of it."""

    step: int
    steps: int
    """Of the whole training; 0 where a method's own `fit` does not say."""
    loss: float | None = None
    """Mean since the event before."""
    val_psnr: float | None = None
    """dB, where there was a validation."""
    lr: float | None = None
    """Learning rate."""
    seconds: float | None = None
    """Since the training's start, without pauses."""
    pixels_per_second: float | None = None
    """LR pixels trained on since the event before."""
    memory_bytes: float | None = None
    skipped: float | None = None
    """Steps that the divergence guard did not take, in all."""
    rollbacks: float | None = None
    more: dict[str, float] = {}
    """What a method reports under names of its own."""


class Upscaled(_Event):
    """A test subject is being upscaled."""

    label: str
    subject: int
    """Its number, from 1."""
    subjects: int


class Recorded(_Event):
    """A cell has its record."""

    label: str


class Ended(_Event):
    """The training's process has ended: the last event."""

    state: Literal["done", "failed", "timeout", "stopped", "held"]
    """held: another process works on the training, or has taken it over."""
    message: str = ""


Event = Started | Prepared | Warned | Progressed | Upscaled | Recorded | Ended
KINDS: tuple[type[Event], ...] = (Started, Prepared, Warned, Progressed, Upscaled, Recorded, Ended)
