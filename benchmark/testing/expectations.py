"""What a check of the conformance kit is, its result, and the messages with which it fails."""

from __future__ import annotations

import inspect
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import BenchError
from ..method import Array, Method
from .trial import Flaw, Trial


class CheckFailed(BenchError, AssertionError):
    """What is wrong and what the author should look at."""


class CheckSkipped(BenchError):
    """Why a check does not apply."""


@dataclass(frozen=True)
class CheckResult:
    """The result of a check."""

    state: Literal["ok", "FAILED", "skipped"]
    text: str
    seconds: float


@dataclass(frozen=True)
class Check:
    """One clause of the contract."""

    name: str
    advice: str
    """What to look at when it fails."""
    function: Callable[[Trial], str | None]

    def __call__(self, trial: Trial) -> str:
        """The check's note. Raises CheckFailed or CheckSkipped."""
        try:
            if trial.unsupported:
                raise CheckSkipped(trial.unsupported)
            return self.function(trial) or ""
        except CheckSkipped:
            raise
        except Exception as error:
            raise CheckFailed(f"{_error_text(error, trial.cls)}. Look at {self.advice}.") from error

    def outcome(self, trial: Trial) -> CheckResult:
        """The check's state, its note or message, and the seconds it took."""
        started = time.monotonic()
        state: Literal["ok", "FAILED", "skipped"] = "ok"
        try:
            text = self(trial)
        except CheckFailed as error:
            state, text = "FAILED", str(error)
        except CheckSkipped as reason:
            state, text = "skipped", str(reason)
        return CheckResult(state, text, time.monotonic() - started)


def check(advice: str) -> Callable[[Callable[[Trial], str | None]], Check]:
    """Makes a check of a function: its name is the check's, `advice` what to look at when it fails."""
    return lambda function: Check(function.__name__, advice, function)


def _error_text(error: Exception, cls: type[Method]) -> str:
    """What was wrong; for an exception in the method, with the last line of its file that led there."""
    if isinstance(error, Flaw):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename == inspect.getfile(cls)] or frames
    return f"{type(error).__name__}: {error} ({own[-1].filename}, line {own[-1].lineno})"


def expect(condition: bool, message: str) -> None:
    """Raise Flaw with the message unless the condition holds."""
    if not condition:
        raise Flaw(message)


def expect_volume(output: Array, shape: tuple[int, ...], given: str) -> None:
    """The output for `given` has the shape, is float32 and finite."""
    expect(isinstance(output, np.ndarray), f"upscale returns a {type(output).__name__} for {given}, not a numpy array")
    expect(output.shape == shape, f"the output for {given} has shape {output.shape}, not {shape}")
    expect(output.dtype == np.float32, f"the output for {given} is {output.dtype}, not float32")
    wrong = int((~np.isfinite(output)).sum())
    expect(wrong == 0, f"{wrong} of {output.size} values of the output for {given} are not finite")


def expect_equal(first: Array, second: Array, tolerance: float, subject: str) -> None:
    """Equal to within `tolerance`, a part of the largest magnitude of `second`."""
    largest, difference = float(np.abs(second).max()), float(np.abs(first - second).max())
    most = tolerance * largest
    expect(difference <= most, f"{subject} differ by up to {difference:.3g}, where at most {most:.3g} is allowed")
