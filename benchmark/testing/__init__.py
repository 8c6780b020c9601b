"""The conformance kit: does a method keep the contract? For `bench check`, and for the tests of a plugin.

    from mrsr_bench.testing import MethodContract
    from mine import Mine

    class TestMine(MethodContract):
        method = Mine

pytest then runs every check of `mrsr_bench.testing.CHECKS` at every scale: `pytest -k no_shift-x3`.
"""

from __future__ import annotations

from .checks import CHECKS
from .contract import MethodContract, check_method, chosen_preset
from .expectations import Check, CheckFailed, CheckSkipped
from .trial import Trial

__all__ = ["CHECKS", "Check", "CheckFailed", "CheckSkipped", "MethodContract", "Trial", "check_method", "chosen_preset"]
