"""The checks of the contract of a method, one list: `bench check` and `mrsr_bench.testing.MethodContract` run them.

A check takes a `Trial` and returns a note for the reader, raises `CheckSkipped` with the reason, or anything else: then
it has failed, and the message says what was found and what the author should look at.
"""

from __future__ import annotations

import json

import numpy as np

from ..method import MethodOptions
from ..store.exhibit import check_maps
from .displacement import displacement
from .expectations import Check, CheckSkipped, check, expect, expect_equal, expect_volume
from .machine_checks import cuda, new_process, real_slice
from .network_checks import gradients, start
from .trial import GAIN, LR_SIDES, Trial, scan_of

MOST_SHIFT = 0.3
"""HR pixels. Built-in methods lie within 0.15 after an overfit, interpolations within 0.05; half a pixel is 0.5."""
_SIZES = ((2, 3), (5, 5), (4, 16), (7, 12), (17, 9))
_HOPELESS = -10.0
"""dB beyond bicubic below which there is no image to register."""


@check(
    "Options and presets: Options is a MethodOptions whose fields have defaults, take back what they dump as JSON, and "
    "change nothing that they are given; a preset names fields of it only"
)
def options(trial: Trial) -> str:
    """Defaults and every preset are valid options that survive JSON."""
    cls = trial.cls
    expect(issubclass(cls.Options, MethodOptions), f"{cls.__name__}.Options is no subclass of MethodOptions")
    for preset in (None, *cls.presets):
        made = cls(preset).options
        restored = cls(**json.loads(json.dumps(made.model_dump(mode="json")))).options
        expect(made == restored, f"with preset {preset} the options {made!r} come back from JSON as {restored!r}")
    return f"{len(cls.Options.model_fields)} options, {len(cls.presets)} presets"


@check("what upscale returns: a numpy array (D·a, H·b, W·c) for factors (a, b, c), cast with .astype(np.float32)")
def output(trial: Trial) -> None:
    """The output is float32, finite and has exactly the shape task.hr_shape says."""
    given = f"LR {trial.lr.shape}"
    expect_volume(trial.upscale(trial.fitted, trial.lr), trial.task.hr_shape(trial.lr.shape), given)


@check("operations in place (+=, out=, clip_) on scan.array: copy it first; the self-ensemble passes it on")
def input_untouched(trial: Trial) -> None:
    """upscale leaves scan.array as it was."""
    scan = scan_of(trial.lr)
    trial.fitted.upscale(scan, trial.task)
    changed = int((scan.array != trial.lr).sum())
    expect(changed == 0, f"upscale has changed {changed} of {scan.array.size} values of scan.array")


@check("divisions by a maximum, range, norm or standard deviation that can be zero, logarithms and square roots")
def any_intensity(trial: Trial) -> None:
    """Black, constant, negative, tiny and huge intensities give finite output."""
    black = np.zeros_like(trial.lr)
    spot = black.copy()
    spot[0, 3, 3] = 1000
    given = {
        "a black volume": black,
        "a constant volume": black + 7,
        "one bright voxel on black": spot,
        "negative intensities": trial.lr - 1500,
        "intensities around 1e-6": trial.lr * np.float32(1e-9),
        "intensities around 1e6": trial.lr * np.float32(1e3),
    }
    for name, array in given.items():
        expect_volume(trial.upscale(trial.fitted, array), trial.task.hr_shape(array.shape), name)


@check("strides, pooling and windows that need a multiple of something: pad and crop; and rows mixed up with columns")
def sizes(trial: Trial) -> None:
    """Odd, tiny and non-square slices have outputs of the right shape."""
    for rows, columns in _SIZES:
        array = trial.noise((trial.lr.shape[0], rows, columns))
        expect_volume(trial.upscale(trial.fitted, array), trial.task.hr_shape(array.shape), f"LR {array.shape}")


@check(
    "the slice axis: scan.array is (slices, rows, columns) with any number of slices. Normalise by a statistic of the "
    "whole volume; where slices are meant to see each other, set slice_wise = False"
)
def slices(trial: Trial) -> str:
    """One slice and many; where slice_wise is declared, many at once equal each by itself."""
    # With the same peak, held by many voxels, in every slice, the intensity scale of a part is that of the whole.
    plain = np.concatenate([lr for lr, _ in trial.pairs])
    caps = np.quantile(plain, 0.9, axis=(1, 2), keepdims=True)
    array = (np.minimum(plain, caps) / caps * 1000).astype(np.float32)
    parts = np.split(array, len(trial.pairs))
    whole = trial.upscale(trial.fitted, array)
    expect_volume(whole, trial.task.hr_shape(array.shape), f"{len(array)} slices")
    alone = [trial.upscale(trial.fitted, part) for part in parts]
    expect_volume(alone[0], trial.task.hr_shape(parts[0].shape), f"{len(parts[0])} of them")
    if not trial.cls.slice_wise or trial.task.factors[0] != 1:
        return "more need not equal one by one"
    expect_equal(whole, np.concatenate(alone), 1e-4, "slices reconstructed at once and one by one")
    return "at once as one by one"


@check(
    "random sources: random, numpy's global generator, hashes and sets, threads; draw from "
    "np.random.default_rng(task.seed), or from torch inside build and forward"
)
def same_seed(trial: Trial) -> None:
    """Two fits with the same seed, and two calls of one fit, agree bit for bit."""
    second_fit, output = trial.fit(), trial.upscale(trial.fitted, trial.lr)
    first, second = trial.fitted.state(), second_fit.state()
    expect(first.keys() == second.keys(), f"two fits have different states: {sorted(first.keys() ^ second.keys())}")
    differing = [name for name in first if not np.array_equal(first[name], second[name], equal_nan=True)]
    expect(not differing, f"two fits with seed {trial.task.seed} differ in {', '.join(differing[:3])}")
    expect(np.array_equal(output, trial.upscale(trial.fitted, trial.lr)), "two calls of upscale give two outputs")
    expect(np.array_equal(output, trial.upscale(second_fit, trial.lr)), "two fits with the same state give two outputs")


@check("task.seed, and batches, whose order is that of the seed; remove seeded = False, so that every seed has a cell")
def other_seed(trial: Trial) -> None:
    """Where seeded is False, another seed gives the same output bit for bit."""
    if trial.cls.seeded:
        raise CheckSkipped("is seeded")
    other = Trial(trial.cls, trial.preset, trial.options, trial.task.factors, seed=trial.task.seed + 1)
    output, second = trial.upscale(trial.fitted, trial.lr), other.upscale(other.fitted, trial.lr)
    expect(np.array_equal(output, second), f"the output differs by up to {np.abs(output - second).max():.3g}")


@check("maps: it gives name → (slices, rows, columns), of the slices of its scan, finite, at most 16; {} for none")
def maps(trial: Trial) -> str:
    """What the method shows beside its image is one finite map of every slice for each name."""
    shown = trial.fitted.maps(scan_of(trial.lr), trial.task)
    check_maps(shown, len(trial.lr))
    return ", ".join(sorted(shown)) or "none"


@check("weights that do not sum to 1, zero padding at the borders, and constant terms; else keeps_constants is untrue")
def constants(trial: Trial) -> None:
    """Where keeps_constants is declared, a constant volume stays that constant."""
    if not trial.cls.keeps_constants:
        raise CheckSkipped("keeps_constants is not declared")
    for value in (0.0, 7.0, 1000.0):
        array = np.full_like(trial.lr, value)
        made = trial.upscale(trial.fitted, array)
        expect_equal(made, np.float32(value) + np.zeros_like(made), 1e-4, f"output and input of constant {value:g}")


@check("constants in intensity units: thresholds, offsets, clipping to [0, 1]; divide by intensity_scale(scan.array)")
def homogeneous(trial: Trial) -> None:
    """Where homogeneous is declared, k times the input gives k times the output."""
    if not trial.cls.homogeneous:
        raise CheckSkipped("homogeneous is not declared")
    made = trial.upscale(trial.fitted, trial.lr)
    for factor in (np.float32(64), np.float32(1 / 64)):  # powers of two, so that no threshold falls by rounding
        scaled = trial.upscale(trial.fitted, trial.lr * factor)
        expect_equal(scaled, made * factor, 1e-4, f"the output of {factor:g} times the input and the output times it")


@check(
    "the way from input to output: a skip that is missing or doubled, a range that the output cannot reach, an "
    "initialisation too large or too small, intensities not scaled back, rows mixed up with columns, a sub-pixel shift"
)
def overfits(trial: Trial) -> str:
    """After overfitting one pair it is better than bicubic there."""
    if not trial.cls.learns:
        raise CheckSkipped("does not learn")
    fit = trial.overfit
    after = f" after {fit.steps} steps" if fit.steps else ""
    expect(
        fit.gain >= GAIN,
        f"on the one {'×'.join(map(str, LR_SIDES))} pair that it was fitted to{after}, it is {fit.gain:+.2f} dB beyond "
        f"bicubic, not {GAIN:+.2f}",
    )
    return f"{fit.gain:+.2f} dB beyond bicubic{after}"


@check(
    "where pixel centres lie: LR pixel i stands for HR pixels s·i to s·i + s − 1, so its centre is s·i + (s − 1)/2. "
    "align_corners=True stretches; resizing from the corner pixel, a transposed convolution or even kernels with "
    "padding on one side shift; mrsr_bench.degradation.bicubic and bicubic_torch are right"
)
def no_shift(trial: Trial) -> str:
    """The output lies on the truth to within 0.3 HR pixels: no sub-pixel shift and no stretch."""
    lr, hr = trial.pairs[0]
    fit = trial.overfit
    if fit.gain < _HOPELESS:
        raise CheckSkipped(f"{fit.gain:+.1f} dB beyond bicubic: there is nothing to register")
    largest, parts = 0.0, []
    for axis, (centre, edge) in displacement(trial.upscale(fit.method, lr), hr, trial.task.factors).items():
        largest = max(largest, abs(centre) + abs(edge))
        parts.append(f"{centre:+.2f} ± {abs(edge):.2f} along {('slices', 'rows', 'columns')[axis]}")
    displaced = f"{', '.join(parts)} (HR pixels, at the centre ± more at the edges)"
    expect(largest <= MOST_SHIFT, f"the output is displaced against the truth by {displaced}")
    return displaced


CHECKS: tuple[Check, ...] = (
    options,
    output,
    input_untouched,
    any_intensity,
    sizes,
    slices,
    same_seed,
    other_seed,
    maps,
    constants,
    homogeneous,
    gradients,
    start,
    overfits,
    no_shift,
    new_process,
    real_slice,
    cuda,
)
"""In the order in which they run: what is cheap and basic first."""
