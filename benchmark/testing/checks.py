"""The checks of the contract of a method, one list: `bench check` and `mrsr_bench.testing.MethodContract` run them.

A check takes a `Trial` and returns a note for the reader, raises `CheckSkipped` with the reason, or anything else: then
it has failed, and the message says what was found and what the author should look at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatch

import numpy as np
import torch

from ..degradation import bicubic_torch
from ..method import MethodOptions, TorchMethod, intensity_scale
from ..system.units import size_text
from .displacement import displacement
from .expectations import Check, CheckSkipped, expect, expect_equal, expect_volume
from .trial import GAIN, LR_SIDES, SyntheticSamples, Trial, scan_of

MOST_SHIFT = 0.3
"""HR pixels. Built-in methods lie within 0.15 after an overfit, interpolations within 0.05; half a pixel is 0.5."""
SLICE = 240
"""Sides of an HR slice of IXI after the published crop."""
_SIZES = ((2, 3), (5, 5), (4, 16), (7, 12), (17, 9))
_STILL = {torch.float64: 1e-12, torch.float32: 1e-9}
"""A gradient below this part of the network's largest is rounding."""
_START = 1e-5
"""Difference from bicubic, in intensity scales, that is rounding in float32."""
_HOPELESS = -10.0
"""dB beyond bicubic below which there is no image to register."""

CHECKS: list[Check] = []
"""In the order in which they run: what is cheap and basic first."""


def _check(advice: str) -> Callable[[Callable[[Trial], str | None]], Callable[..., str | None]]:
    def add(function: Callable[[Trial], str | None]) -> Callable[[Trial], str | None]:
        CHECKS.append(Check(function.__name__, advice, function))
        return function

    return add


@_check(
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


@_check("what upscale returns: a numpy array (D·a, H·b, W·c) for factors (a, b, c), cast with .astype(np.float32)")
def output(trial: Trial) -> None:
    """The output is float32, finite and has exactly the shape task.hr_shape says."""
    given = f"LR {trial.lr.shape}"
    expect_volume(trial.upscale(trial.fitted, trial.lr), trial.task.hr_shape(trial.lr.shape), given)


@_check("operations in place (+=, out=, clip_) on scan.array: copy it first; the self-ensemble passes it on")
def input_untouched(trial: Trial) -> None:
    """upscale leaves scan.array as it was."""
    scan = scan_of(trial.lr)
    trial.fitted.upscale(scan, trial.task)
    changed = int((scan.array != trial.lr).sum())
    expect(changed == 0, f"upscale has changed {changed} of {scan.array.size} values of scan.array")


@_check("divisions by a maximum, range, norm or standard deviation that can be zero, logarithms and square roots")
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


@_check("strides, pooling and windows that need a multiple of something: pad and crop; and rows mixed up with columns")
def sizes(trial: Trial) -> None:
    """Odd, tiny and non-square slices have outputs of the right shape."""
    for rows, columns in _SIZES:
        array = trial.noise((trial.lr.shape[0], rows, columns))
        expect_volume(trial.upscale(trial.fitted, array), trial.task.hr_shape(array.shape), f"LR {array.shape}")


@_check(
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


@_check(
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


@_check("task.seed, and batches, whose order is that of the seed; remove seeded = False, so that every seed has a cell")
def other_seed(trial: Trial) -> None:
    """Where seeded is False, another seed gives the same output bit for bit."""
    if trial.cls.seeded:
        raise CheckSkipped("is seeded")
    other = Trial(trial.cls, trial.preset, trial.options, trial.task.factors, seed=trial.task.seed + 1)
    output, second = trial.upscale(trial.fitted, trial.lr), other.upscale(other.fitted, trial.lr)
    expect(np.array_equal(output, second), f"the output differs by up to {np.abs(output - second).max():.3g}")


@_check("weights that do not sum to 1, zero padding at the borders, and constant terms; else keeps_constants is untrue")
def constants(trial: Trial) -> None:
    """Where keeps_constants is declared, a constant volume stays that constant."""
    if not trial.cls.keeps_constants:
        raise CheckSkipped("keeps_constants is not declared")
    for value in (0.0, 7.0, 1000.0):
        array = np.full_like(trial.lr, value)
        made = trial.upscale(trial.fitted, array)
        expect_equal(made, np.float32(value) + np.zeros_like(made), 1e-4, f"output and input of constant {value:g}")


@_check("constants in intensity units: thresholds, offsets, clipping to [0, 1]; divide by intensity_scale(scan.array)")
def homogeneous(trial: Trial) -> None:
    """Where homogeneous is declared, k times the input gives k times the output."""
    if not trial.cls.homogeneous:
        raise CheckSkipped("homogeneous is not declared")
    made = trial.upscale(trial.fitted, trial.lr)
    for factor in (np.float32(64), np.float32(1 / 64)):  # powers of two, so that no threshold falls by rounding
        scaled = trial.upscale(trial.fitted, trial.lr * factor)
        expect_equal(scaled, made * factor, 1e-4, f"the output of {factor:g} times the input and the output times it")


@_check(
    "layers that forward does not use, detach(), no_grad(), argmax, rounding, gates that are shut, and norms of zero "
    "(add an epsilon). A tensor that cannot have a gradient is named in idle_parameters, with the reason"
)
def gradients(trial: Trial) -> str:
    """Every parameter has a finite gradient, also on black, and not zero but where idle_parameters says why."""
    try:
        largest, dtype = _gradients(trial, torch.float64), torch.float64
    except RuntimeError:  # a network that works in float32 alone
        largest, dtype = _gradients(trial, torch.float32), torch.float32
    still = _STILL[dtype] * max(largest.values(), default=0.0)
    assert issubclass(trial.cls, TorchMethod)
    named = {name for name in largest for pattern in trial.cls.idle_parameters if fnmatch(name, pattern)}
    idle = {name for name, value in largest.items() if value <= still}
    expect(not idle - named, f"no gradient reaches {', '.join(sorted(idle - named))}")
    expect(not named - idle, f"idle_parameters names {', '.join(sorted(named - idle))}, which a gradient does reach")
    return f"{len(largest)} tensors, {len(idle)} idle as named"


def _gradients(trial: Trial, dtype: torch.dtype) -> dict[str, float]:
    """Name → the largest gradient of every parameter in the first steps (a layer that starts at zero blocks others)."""
    method = trial.make()
    if not isinstance(method, TorchMethod):
        raise CheckSkipped("is no network")
    torch.manual_seed(trial.task.seed)
    network = method.make_network(trial.task).to(dtype).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-4)
    data, largest = SyntheticSamples(trial.pairs), {name: 0.0 for name, _ in network.named_parameters()}
    for step, given in enumerate(("a sample", "a sample", "a sample", "a black patch")):
        x, y = (torch.from_numpy(array).to(dtype) * (given == "a sample") for array in data.batch(step))
        optimizer.zero_grad()
        torch.nn.functional.l1_loss(network(x), y + 0.1).backward()
        for name, parameter in network.named_parameters():
            if parameter.grad is not None:
                value = float(parameter.grad.abs().max())
                expect(np.isfinite(value), f"the gradient of {name} on {given} is not finite")
                largest[name] = max(largest[name], value)
        optimizer.step()
    return largest


@_check(
    "adds_bicubic, which says whether the network itself adds the bicubic image, and output_layer, by default the last "
    "convolution: it makes the image, and nothing comes after it that adds to it but bicubic"
)
def start(trial: Trial) -> str:
    """At the start bicubic a network is bicubic before its first step, and a gradient reaches its output layer."""
    method, task = trial.make(), replace(trial.task, start="bicubic")
    if not isinstance(method, TorchMethod):
        raise CheckSkipped("is no network")
    lr, hr = map(torch.from_numpy, SyntheticSamples(trial.pairs).batch(0))
    image = bicubic_torch(lr, hr.shape[2:])
    empty = method.make_network(trial.task).eval()
    with torch.inference_mode():
        for parameter in empty.parameters():
            parameter.zero_()
        floor = empty(lr)
    returns_bicubic, declared = torch.allclose(floor, image, atol=_START), method.adds_bicubic
    expect(returns_bicubic or not declared, "adds_bicubic is declared, but with all parameters 0 there is no bicubic")
    expect(declared or not returns_bicubic, "with all parameters 0 there is bicubic, but adds_bicubic is not declared")
    if not declared and not torch.allclose(floor, torch.zeros_like(floor), atol=_START):
        raise CheckSkipped("with all parameters 0 there is neither 0 nor bicubic: start: bicubic does not work for it")
    network = method.make_network(task)
    difference = float((network.eval()(lr).detach() - image).abs().max())
    expect(difference <= _START, f"at the start bicubic the network differs from bicubic by up to {difference:.3g}")
    torch.nn.functional.l1_loss(network.train()(lr), hr).backward()
    still = [name for name, p in method.output_layer(network).named_parameters() if p.grad is None or not p.grad.any()]
    expect(not still, f"at the start bicubic no gradient reaches {', '.join(still)} of the output layer")
    return "adds bicubic itself" if declared else "bicubic is added"


@_check(
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


@_check(
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


@_check(
    "state and load_state: all that upscale uses and fit has made must be in the state (buffers with persistent=False, "
    "attributes, globals are not), and be plain arrays; the class must be importable from its file alone"
)
def new_process(trial: Trial) -> None:
    """Saved and loaded in a new process, the method gives the same output bit for bit."""
    expected, made = trial.upscale(trial.fitted, trial.lr), trial.elsewhere(trial.lr).output
    expect(made.shape == expected.shape, f"the output in a new process has shape {made.shape}, not {expected.shape}")
    difference = float(np.abs(expected - made).max())
    expect(np.array_equal(expected, made), f"the output in a new process differs by up to {difference:.3g}")


@_check(
    "how time and memory grow with the size of a slice: tables of all pairs of pixels, copies, a leak; and recursion"
)
def real_slice(trial: Trial) -> str:
    """A slice as large as the published ones works in a new process, in this time and memory."""
    _, rows, columns = trial.task.factors
    array = trial.noise((trial.slices, SLICE // rows, SLICE // columns))
    cost = trial.elsewhere(array)
    expect_volume(cost.output, trial.task.hr_shape(array.shape), f"LR {array.shape}")
    shape = "×".join(map(str, cost.output.shape))
    return f"{shape} HR: {cost.seconds:.2f} s, {size_text(cost.memory)} more than when loaded"


@_check("tensors made on the CPU in forward (pass device=x.device), half precisions, and sums whose order matters")
def cuda(trial: Trial) -> None:
    """The output on CUDA equals that on the CPU to 1e-3 of the intensity scale."""
    if not torch.cuda.is_available():
        raise CheckSkipped("there is no CUDA device here")
    task, method = replace(trial.task, device="cuda"), trial.make()
    if method.learns:
        method.load_state(trial.fitted.state(), task)
    with _exact_cuda():
        made = trial.upscale(method, trial.lr, task)
    difference = float(np.abs(made - trial.upscale(trial.fitted, trial.lr)).max()) / intensity_scale(trial.lr)
    expect(difference <= 1e-3, f"CUDA and CPU differ by up to {difference:.2g} of the intensity scale")


@contextmanager
def _exact_cuda() -> Iterator[None]:
    """Float32 products without TF32, as where the suite scores."""
    precision, tf32 = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = tf32
