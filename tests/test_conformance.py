"""The conformance kit: every built-in method keeps the contract, and every check can fail."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from broken_methods import BROKEN, Sound, SoundNetwork
from click.testing import CliRunner, Result
from plugins import NETWORK, classical, write
from scipy.ndimage import shift

from mrsr_bench import registry
from mrsr_bench.cli import main
from mrsr_bench.degradation import bicubic, degrade
from mrsr_bench.method import Method, TorchMethod
from mrsr_bench.testing import CHECKS, Check, CheckFailed, CheckSkipped, MethodContract, Trial, chosen_preset
from mrsr_bench.testing.displacement import displacement
from mrsr_bench.testing.trial import image

pytestmark = pytest.mark.usefixtures("one_thread")

BY_NAME = {check.name: check for check in CHECKS}
AT_EVERY_SCALE = ("output", "sizes")
"""What `make test` checks at ×3 and ×4 too; the rest there is for `make test-all`."""
IN_FULL = ("edsr", "srcnn")
"""The networks that `make test` checks in full at ×2; `make test-all` does so with all of them."""
LONG = ("overfits", "no_shift", "real_slice")
"""Checks that train a network until it knows a sample, or run it on a whole slice."""


# Every method, and so every new file in methods/


def method_class(name: str) -> type[Method]:
    return registry.load_method(registry.methods()[name])


def marks(name: str, scale: int, check: str) -> list[pytest.MarkDecorator]:
    if scale != 2 and check not in AT_EVERY_SCALE:
        return [pytest.mark.slow]
    if check not in LONG or name in IN_FULL or not issubclass(method_class(name), TorchMethod):
        return []
    return [pytest.mark.slow if check in ("overfits", "no_shift") else pytest.mark.long]


def contract() -> list[Any]:
    return [
        pytest.param(
            name,
            scale,
            check,
            id=f"{name}-x{scale}-{check.name}",
            marks=marks(name, scale, check.name),
        )
        for name in sorted(registry.methods())
        for scale in (2, 3, 4)
        for check in CHECKS
    ]


@cache
def trial(name: str, scale: int) -> Trial:
    cls = method_class(name)
    return Trial(cls, chosen_preset(cls), factors=(1, scale, scale))


@pytest.mark.parametrize(("name", "scale", "check"), contract())
def test_every_method_keeps_the_contract(name: str, scale: int, check: Check) -> None:
    try:
        check(trial(name, scale))
    except CheckSkipped as reason:
        pytest.skip(str(reason))


def test_every_method_learns_or_interpolates_at_some_scale() -> None:
    for name in registry.methods():
        assert not trial(name, 2).unsupported, "then nothing above has checked it"


# As a plugin's author uses it


class TestSound(MethodContract):
    method = Sound


class TestSoundNetwork(MethodContract):
    method = SoundNetwork
    scales = (2,)


def test_the_contract_takes_the_tiny_preset_another_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for preset, unused in (("tiny", 2), (None, 1)):
        monkeypatch.setattr(TestSoundNetwork, "preset", preset)
        monkeypatch.setattr(TestSoundNetwork, "_trials", {})
        TestSoundNetwork().test_contract(BY_NAME["options"], (1, 2, 2))
        made: Any = TestSoundNetwork._trials[1, 2, 2].make().options
        assert made.unused == unused


def test_the_page_on_methods_lists_every_check() -> None:
    page = (Path(__file__).parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", page.partition("## Check your method")[2], re.M)[: len(CHECKS)] == list(
        BY_NAME
    )


# Every check can fail


def test_there_is_a_broken_method_for_every_check() -> None:
    assert list(BROKEN) == list(BY_NAME)


@pytest.mark.parametrize(
    ("name", "cls", "words"),
    [pytest.param(name, *case, id=f"{name}-{case[0].__name__}") for name, cases in BROKEN.items() for case in cases],
)
def test_a_broken_method_fails_its_check_with_what_was_found_and_where_to_look(
    name: str, cls: type[Method], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "cuda":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(CheckFailed) as caught:
        BY_NAME[name](Trial(cls))
    assert words in str(caught.value)
    assert str(caught.value).endswith(f" Look at {BY_NAME[name].advice}.")


def test_a_method_that_cannot_do_the_task_is_skipped_with_its_reason() -> None:
    outcome = BY_NAME["output"].outcome(Trial(SoundNetwork, factors=(4, 1, 1)))
    assert (outcome.state, "within slices" in outcome.text) == ("skipped", True)


def test_through_plane_methods_are_checked_too() -> None:
    outcomes = {check.name: check.outcome(Trial(Sound, factors=(4, 1, 1))) for check in CHECKS}
    assert {name for name, outcome in outcomes.items() if outcome.state == "FAILED"} == set()
    assert "along slices" in outcomes["no_shift"].text


# The estimator of shifts


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("of", ["HR", "LR"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_half_a_pixel_is_measured(scale: int, of: str, sign: int) -> None:
    moved = sign * (0.5 if of == "HR" else 0.5 * scale)
    for seed in range(2):
        truth = image((1, 16 * scale, 20 * scale), (0, 1, 1), seed)
        output = bicubic(degrade(truth, "bicubic", (1, scale, scale)), truth.shape)
        for axis, by in ((1, (0, moved, 0)), (2, (0, 0, moved))):
            found = displacement(shift(output, by, order=3, mode="nearest"), truth, (1, scale, scale))
            assert found[axis][0] == pytest.approx(moved, abs=0.06)
            assert found[3 - axis][0] == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_interpolations_about_the_pixels_centres_are_not_displaced(scale: int) -> None:
    factors = (1, scale, scale)
    for seed in range(5):
        truth = image((1, 16 * scale, 20 * scale), (0, 1, 1), seed)
        lr = degrade(truth, "bicubic", factors)
        for output in (bicubic(lr, truth.shape), lr.repeat(scale, 1).repeat(scale, 2), 3 * truth + 50):
            for centre, edge in displacement(output, truth, factors).values():
                assert abs(centre) + abs(edge) < 0.15


# The command


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", *arguments], catch_exceptions=False)


def test_the_command_checks_a_file_and_prints_time_and_memory(tmp_path: Path) -> None:
    [file] = write(tmp_path, mine=NETWORK)
    done = check(f"{file}:wide", "--scales", "2")
    assert done.exit_code == 0, done.output
    assert "mine, preset wide, version 1" in done.output
    assert all(f"\n  {name:16}" in done.output for name in BY_NAME)
    assert "dB beyond bicubic after" in done.output
    assert "1×240×240 HR: " in done.output
    assert "The contract is kept; " in done.output


def test_the_command_says_what_failed_and_ends_with_status_1(tmp_path: Path) -> None:
    [file] = write(tmp_path, mine=classical("scan.array[:] = 0"))
    done = check(file, "--scales", "2")
    assert done.exit_code == 1
    [line] = [line for line in done.output.splitlines() if line.startswith("  input_untouched")]
    assert "FAILED" in line
    assert "Look at operations in place" in line
    assert " failed; " in done.output


def test_the_command_runs_no_check_where_the_method_does_not_support_the_scale() -> None:
    done = check("nlm", "--scales", "4x1x1")
    assert done.exit_code == 1
    assert "not supported: upscales within slices" in done.output
    assert "Nothing was checked; " in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bicubik"], ["unknown method 'bicubik'", "'bicubic'"]),
        (["nowhere.py"], ["no such method file", "nowhere.py"]),
        (["edsr:tny"], ["no preset 'tny'", "'tiny'"]),
        (["bicubic", "--scales", "two"], ["no scale 'two'", "4x1x1"]),
        ([], ["NAME"]),
    ],
)
def test_a_wrong_request_is_explained_with_status_2(arguments: list[str], words: list[str]) -> None:
    done = check(*arguments)
    assert done.exit_code == 2
    assert all(word in done.output for word in words), done.output


@pytest.mark.long
def test_the_kit_needs_no_pytest() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "from mrsr_bench.methods.bicubic import Bicubic\n"
        "from mrsr_bench.testing import CHECKS, MethodContract, Trial, check_method\n"
        "here = [check for check in CHECKS if check.name not in ('new_process', 'real_slice')]\n"
        "print(*(check.outcome(Trial(Bicubic)).state for check in here))"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=dict(os.environ), timeout=120)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {"ok", "skipped"}
