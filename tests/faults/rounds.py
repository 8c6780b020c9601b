"""Rounds of faults: damage files, start benches, cause faults at random times, and wait for the benches to end."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mrsr_bench.store.cell_files import EXHIBIT, RADIAL, RECORD, SCORES, WEIGHTS
from mrsr_bench.system.training_states import CURVE

from .driver import ended, marked, wait_until
from .kinds import FILE_FAULTS, PROCESS_FAULTS, Fault, Victim
from .setting import Setting
from .verdict import problems_with, problems_with_status, problems_with_text

_HANG = 240.0
"""Seconds after which a driver counts as hanging."""
_PLAIN_RUNS = 3
"""The most undisturbed runs at the end, after which all cells must be done."""
_MOMENTS = ("at any time", "while a child works", "when a file changes")
_FILES = ("log.txt", "state-*", CURVE, WEIGHTS, SCORES, RADIAL, EXHIBIT, RECORD)
"""The files of a cell, in the order of writing."""


@dataclass
class Report:
    """The faults with their outcomes, and the problems."""

    outcomes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Name of the fault → outcome → how often."""
    problems: list[str] = field(default_factory=list)
    drivers: int = 0
    rounds: int = 0
    plain_runs: int = 0

    @property
    def faults(self) -> int:
        return sum(outcomes.total() for outcomes in self.outcomes.values())

    @property
    def table(self) -> str:
        width = max(map(len, self.outcomes), default=0)
        lines = [f"{'fault':{width}}  number  outcomes"]
        for name in [name for name in (*PROCESS_FAULTS, *FILE_FAULTS) if name in self.outcomes]:
            outcomes = self.outcomes[name]
            counts = ", ".join(f"{outcome} ×{number}" for outcome, number in outcomes.most_common())
            lines.append(f"{name:{width}}  {outcomes.total():6}  {counts}")
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        counts = f"{self.faults} faults, {self.drivers} drivers in {self.rounds} rounds, {self.plain_runs} plain runs"
        return f"{counts} at the end: {len(self.problems)} problems"


class Rounds:
    """Causes `number` faults in the benches of a setting; `expected` is the same setting without faults."""

    def __init__(
        self,
        setting: Setting,
        expected: Setting,
        number: int,
        seed: int = 0,
        longest_stop: float = 3.0,
        say: Callable[[str], None] = print,
    ) -> None:
        self._setting, self._expected, self._number, self._say = setting, expected, number, say
        self._rng, self._longest_stop = random.Random(seed), longest_stop
        self.report = Report()

    def run(self) -> Report:
        """Run all rounds; the report has the problems."""
        started = time.monotonic()
        if problem := self._run_undisturbed(self._expected):
            self.report.problems.append(f"the undisturbed run at the start: {problem}")
            return self.report
        while self._faults_to_go:
            self._round()
            report, seconds = self.report, time.monotonic() - started
            self._say(f"{report.faults} of {self._number} faults, {len(report.problems)} problems, {seconds:.0f} s")
        self._await_orphans()
        for _ in range(_PLAIN_RUNS):
            self.report.plain_runs += 1
            if problem := self._run_undisturbed(self._setting):
                self.report.problems.append(f"an undisturbed run at the end: {problem}")
            elif set(self._setting.states().values()) == {"done"}:
                break
        self._await_orphans()
        self.report.problems += problems_with_status(self._setting)
        self.report.problems += problems_with(self._setting, self._expected)
        return self.report

    @property
    def _faults_to_go(self) -> int:
        return max(self._number - self.report.faults, 0)

    def _run_undisturbed(self, setting: Setting) -> str | None:
        """Run without faults; the output where anything is wrong, else None."""
        driver = setting.start()
        with ended(driver):
            status = driver.wait(_HANG)
        return driver.output if status or problems_with_text(driver.output) else None

    def _round(self) -> None:
        """Damage files, unless the next driver shall meet orphans; start drivers and cause faults in them."""
        self.report.rounds += 1
        if self._rng.random() < 0.7 or set(self._setting.states().values()) == {"done"}:
            self._await_orphans()
            self._damage_files(self._rng.randint(1, 5))
        drivers = self._rng.choices([1, 2, 3], [6, 3, 1])[0]
        victims = [Victim(self._setting.start(), self._rng, self._longest_stop) for _ in range(drivers)]
        self.report.drivers += drivers
        for _ in range(min(self._rng.randint(2, 6), self._faults_to_go)):
            self._fault_in_one_of(victims)
        for victim in victims:
            self._wait_and_judge(victim)

    def _await_orphans(self) -> None:
        """Wait for the end of orphans."""
        if not wait_until(lambda: not marked(self._setting.mark), 90, pause=0.2):
            self.report.problems.append(f"orphans do not end: {marked(self._setting.mark)}")

    def _damage_files(self, number: int) -> None:
        """Damage files until the next driver has something to train."""
        targets = list(dict.fromkeys(fault.target for fault in FILE_FAULTS.values()))
        for _ in range(min(number, self._faults_to_go)):
            target = self._rng.choice(targets)
            self._damage([fault for fault in FILE_FAULTS.values() if fault.target == target])
        costly = [fault for fault in FILE_FAULTS.values() if fault.target == WEIGHTS and "deleted" not in fault.name]
        while self._faults_to_go and list(self._setting.states().values()).count("done") > len(self._setting.cells) - 3:
            self._damage([*costly, FILE_FAULTS["a cell's folder deleted"]])

    def _damage(self, faults: Sequence[Fault]) -> None:
        """Cause one of the faults. Damage to a done cell must be detected, except where an optional file is deleted."""
        fault, earlier = self._rng.choice(faults), self._setting.states()
        path = fault.cause(self._setting, self._rng)
        if not isinstance(path, Path):
            return
        states = self._setting.states()
        folder = next((folder for folder in earlier if folder in (path, path.parent)), None)
        self._count(fault, f"its cell is {states[folder]}" if folder else "belongs to no cell")
        if folder and earlier[folder] == states[folder] == "done" and "deleted" not in fault.name:
            self.report.problems.append(f"{fault.name}: {path} is damaged, but its cell is still done")

    def _fault_in_one_of(self, victims: Sequence[Victim]) -> None:
        """Cause a fault in one of the drivers at a random time."""
        moment = self._rng.choice(_MOMENTS)
        fault = self._rng.choice(list(PROCESS_FAULTS.values()))
        living = [victim for victim in victims if victim.driver.status is None and not victim.is_ending]
        if not living:
            return
        victim = self._rng.choice(living)
        driver = victim.driver
        if moment == "at any time":
            wait_until(lambda: driver.status is not None, self._rng.uniform(0, 7))
        else:
            wait_until(lambda: driver.status is not None or driver.children(), 30)
            if moment == "while a child works":
                wait_until(lambda: driver.status is not None, self._rng.uniform(0, 2))
            else:
                name = self._rng.choice(_FILES)
                pattern = self._rng.choice([name, f".{name}~*"])
                files = self._files(pattern)
                wait_until(lambda: driver.status is not None or self._files(pattern) != files, 5, pause=0.001)
        if driver.status is None and fault.cause(victim) is not None:
            victim.faults.append(fault)

    def _wait_and_judge(self, victim: Victim) -> None:
        """Wait for the end of a driver, and check its output and exit status."""
        with ended(victim.driver):
            try:
                status = victim.driver.wait(_HANG)
            except TimeoutError as error:
                self.report.problems.append(f"{[fault.name for fault in victim.faults]}: {error}")
                return
        allowed = {0, *(status for fault in victim.faults for status in fault.statuses)}
        names = [fault.name for fault in victim.faults]
        self.report.problems += [f"{names}: {problem}" for problem in problems_with_text(victim.driver.output)]
        if status not in allowed:
            self.report.problems.append(f"{names}: a driver ended with status {status}:\n{victim.driver.output}")
        for fault in victim.faults:
            self._count(fault, f"the driver ended with status {status}")

    def _count(self, fault: Fault, outcome: str) -> None:
        self.report.outcomes[fault.name][outcome] += 1

    def _files(self, pattern: str) -> dict[Path, int]:
        """The files of cells whose names match, each with the time of its last change."""
        files = {}
        for path in (path for folder in self._setting.cell_folders for path in folder.glob(pattern)):
            with suppress(FileNotFoundError):
                files[path] = path.stat().st_mtime_ns
        return files
