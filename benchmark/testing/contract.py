"""Running the checks: one test each under pytest, one line each for `bench check`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from .. import registry
from ..errors import UsageError, did_you_mean
from ..method import Method
from ..protocol.block import scale_name
from ..system.environment import peak_memory
from ..system.units import size_text
from .checks import CHECKS
from .expectations import Check, CheckSkipped
from .trial import Trial

Factors = tuple[int, int, int]


class MethodContract:
    """Subclass it in a pytest module, name a method, and each check at each scale is a test.

    Attributes
    ----------
    method: the class under test.
    preset, options: what it is made with. The preset 'tiny' is used where the method has it; None is the defaults.
    scales: in-plane scales, or factors along (slices, rows, columns).
    """

    method: ClassVar[type[Method]]
    preset: ClassVar[str | None] = "tiny"
    options: ClassVar[dict[str, Any]] = {}
    scales: ClassVar[Sequence[int | Factors]] = (2, 3, 4)
    _trials: ClassVar[dict[Factors, Trial]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._trials = {}

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Called by pytest: one test per check and scale."""
        cases = [(check, _factors(scale)) for scale in self.scales for check in CHECKS]
        names = [f"{check.name}-x{scale_name(factors)}" for check, factors in cases]
        metafunc.parametrize(("check", "factors"), cases, ids=names)

    def test_contract(self, check: Check, factors: Factors) -> None:
        """One check at one scale; what checks share is made once."""
        import pytest  # only ever called by it

        if factors not in self._trials:
            preset = chosen_preset(self.method) if self.preset == "tiny" else self.preset
            self._trials[factors] = Trial(self.method, preset, self.options, factors)
        try:
            check(self._trials[factors])
        except CheckSkipped as reason:
            pytest.skip(str(reason))


def chosen_preset(cls: type[Method]) -> str | None:
    """What is checked where no preset is named: 'tiny' where there is one, else the defaults."""
    return "tiny" if "tiny" in cls.presets else None


def check_method(label: str, scales: Sequence[str], defaults: bool, say: Callable[..., object]) -> bool:
    """Run all checks on `name`, `name:preset` or `file.py[:preset]` and `say` a line about each.

    `scales` such as '2' or '4x1x1'; `defaults`: the default options even where there is a preset 'tiny'. `say` is
    `click.echo`. Returns whether the method keeps the contract: nothing failed, and something was checked at some
    scale. Raises UsageError for what is not known, BrokenPlugin for a file that does not load.
    """
    name, _, asked = label.partition(":")
    files = [name] if name.endswith(".py") or "/" in name else []
    known = registry.methods(files)
    source = registry.find_source(Path(name).stem if files else name, known, "method")
    cls = registry.load_method(source)
    preset = asked or (None if defaults else chosen_preset(cls))
    if preset is not None and preset not in cls.presets:
        raise UsageError(f"{source.name} has no preset '{preset}'. {did_you_mean(preset, cls.presets)}")
    trials = [Trial(cls, preset, None, _parsed(scale)) for scale in scales]
    say(f"{source.name}, {f'preset {preset}' if preset else 'default options'}, version {cls.version} ({source.path})")
    started, failed, passed = time.monotonic(), 0, 0
    for trial in trials:
        say(f"\n×{scale_name(trial.task.factors)}")
        with suppress(Exception):  # where it cannot even say, each check tells
            if trial.unsupported:
                say(f"  not supported: {trial.unsupported}")
                continue
        for check in CHECKS:
            say(f"  {check.name:16}", nl=False)  # first, so that a crash leaves its name
            outcome = check.outcome(trial)
            say(f"{outcome.state:8}{outcome.seconds:6.1f} s  {outcome.text}".rstrip())
            failed += outcome.state == "FAILED"
            passed += outcome.state == "ok"
    verdict = f"{failed} failed" if failed else "The contract is kept" if passed else "Nothing was checked"
    say(f"\n{verdict}; {time.monotonic() - started:.0f} s, at most {size_text(peak_memory('cpu'))} held")
    return passed > 0 and not failed


def _factors(scale: int | Factors) -> Factors:
    return (1, scale, scale) if isinstance(scale, int) else scale


def _parsed(scale: str) -> Factors:
    """'2' or '4x1x1' as factors. Raises UsageError."""
    parts = scale.split("x")
    if len(parts) not in (1, 3) or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise UsageError(f"no scale '{scale}': give whole numbers such as 2, or slices x rows x columns such as 4x1x1")
    numbers = [int(part) for part in parts]
    return (1, numbers[0], numbers[0]) if len(numbers) == 1 else (numbers[0], numbers[1], numbers[2])
