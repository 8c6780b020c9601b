"""Several benches run the same cells at once on an empty results folder: one of them computes each cell, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .driver import ended
from .setting import COUNTS, Setting, make_setting
from .verdict import problems_with, problems_with_text

METHODS = ("counted.py", "counted_network.py+", "bicubic")
DRIVERS = 3


@dataclass(frozen=True)
class Trial:
    """The outcome of one trial."""

    counts: Mapping[str, int]
    """Number of fits and predictions, by method and seed."""
    statuses: tuple[int, ...]
    problems: tuple[str, ...]

    @property
    def summary(self) -> str:
        fits, upscales = (sum(n for call, n in self.counts.items() if kind in call) for kind in ("fit", "upscale"))
        statuses = " ".join(map(str, self.statuses))
        return f"{fits} fits, {upscales} predictions, statuses {statuses}, {len(self.problems)} problems"


class Trials:
    """Trials in a folder. First one bench runs alone: every trial must have the same counts."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self._setting = make_setting(folder, METHODS, seeds=(0,), steps=10, **environment)
        self._number = 0
        self.expected = self._with_results("alone")
        driver = self.expected.start()
        with ended(driver):
            status = driver.wait()
        if status or problems_with_text(driver.output):
            raise RuntimeError(f"a bench alone failed with status {status}:\n{driver.output}")
        self.counts = _counts(self.expected)

    def run(self) -> Trial:
        """Start three benches at once, wait for them and check what they did."""
        self._number += 1
        setting = self._with_results(f"trial{self._number}")
        drivers = [setting.start() for _ in range(DRIVERS)]
        with ended(*drivers):
            statuses = tuple(driver.wait() for driver in drivers)
        problems = [problem for driver in drivers for problem in problems_with_text(driver.output)]
        problems += [f"status {driver.status}:\n{driver.output}" for driver in drivers if driver.status]
        counts = _counts(setting)
        if counts != self.counts:
            problems.append(
                f"not every cell was computed once: the counts are {dict(counts)}, and alone {dict(self.counts)}"
            )
        logs = [path.read_text(encoding="utf-8", errors="replace") for path in setting.results.rglob("log.txt")]
        problems += [problem for text in logs for problem in problems_with_text(text)]
        problems += problems_with(setting, self.expected)
        return Trial(counts, statuses, tuple(problems))

    def _with_results(self, results: str) -> Setting:
        return self._setting.beside(results, **{COUNTS: str(self._setting.folder / f"{results}.counts")})


def _counts(setting: Setting) -> Counter[str]:
    return Counter(Path(setting.environment[COUNTS]).read_text(encoding="utf-8").splitlines())
