"""Rounds of faults: files are damaged, benches started, hit at random moments and seen out, till that is enough."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mrsr_bench.store.cell_files import EXHIBIT, RADIAL, RECORD, SCORES, WEIGHTS
from mrsr_bench.system.states import CURVE

from .driver import ended, marked, until
from .kinds import LIVE, RESTING, Fault, Victim
from .setting import Setting
from .verdict import problems_with, problems_with_status, problems_with_text

_HANG = 240.0
"""Seconds after which a driver is taken to hang."""
_PLAIN_RUNS = 3
"""Runs at the end that nothing disturbs: after so many, all is done."""
_MOMENTS = ("at any time", "while a child works", "when a file changes")
_FILES = ("log.txt", "state-*", CURVE, WEIGHTS, SCORES, RADIAL, EXHIBIT, RECORD)
"""Those of a cell, in the order in which they are written."""


@dataclass
class Report:
    """What was inflicted, what became of it, and what is wrong."""

    inflicted: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Kind of fault → what became of it → how often."""
    problems: list[str] = field(default_factory=list)
    drivers: int = 0
    rounds: int = 0
    plain_runs: int = 0

    @property
    def faults(self) -> int:
        return sum(outcomes.total() for outcomes in self.inflicted.values())

    @property
    def table(self) -> str:
        width = max(map(len, self.inflicted), default=0)
        lines = [f"{'fault':{width}}  inflicted  what became of it"]
        for kind in [kind for kind in (*LIVE, *RESTING) if kind in self.inflicted]:
            outcomes = self.inflicted[kind]
            words = ", ".join(f"{outcome} ×{number}" for outcome, number in outcomes.most_common())
            lines.append(f"{kind:{width}}  {outcomes.total():9}  {words}")
        return "\n".join(lines)

    @property
    def summary(self) -> str:
        counts = f"{self.faults} faults, {self.drivers} drivers in {self.rounds} rounds, {self.plain_runs} plain runs"
        return f"{counts} at the end: {len(self.problems)} problems"


class Rounds:
    """Inflicts `wanted` faults on the benches of a setting; `expected` is the same without any."""

    def __init__(
        self,
        setting: Setting,
        expected: Setting,
        wanted: int,
        seed: int = 0,
        longest_stop: float = 3.0,
        say: Callable[[str], None] = print,
    ) -> None:
        self._setting, self._expected, self._wanted, self._say = setting, expected, wanted, say
        self._chance, self._longest_stop = random.Random(seed), longest_stop
        self.report = Report()

    def run(self) -> Report:
        """All of it; the judgement is in the report's problems."""
        started = time.monotonic()
        if problem := self._run_in_peace(self._expected):
            self.report.problems.append(f"the undisturbed run: {problem}")
            return self.report
        while self._left:
            self._round()
            report, seconds = self.report, time.monotonic() - started
            self._say(f"{report.faults} of {self._wanted} faults, {len(report.problems)} problems, {seconds:.0f} s")
        self._await_peace()
        for _ in range(_PLAIN_RUNS):
            self.report.plain_runs += 1
            if problem := self._run_in_peace(self._setting):
                self.report.problems.append(f"a run that nothing disturbed: {problem}")
            elif set(self._setting.states().values()) == {"done"}:
                break
        self._await_peace()
        self.report.problems += problems_with_status(self._setting)
        self.report.problems += problems_with(self._setting, self._expected)
        return self.report

    @property
    def _left(self) -> int:
        return max(self._wanted - self.report.faults, 0)

    def _run_in_peace(self, setting: Setting) -> str | None:
        """What is wrong with a run that nothing disturbs."""
        driver = setting.start()
        with ended(driver):
            status = driver.wait(_HANG)
        return driver.said if status or problems_with_text(driver.said) else None

    def _round(self) -> None:
        """Damage files, unless the next driver is to meet the orphan of the last one; start drivers, and hit them."""
        self.report.rounds += 1
        if self._chance.random() < 0.7 or set(self._setting.states().values()) == {"done"}:
            self._await_peace()
            self._damage_files(self._chance.randint(1, 5))
        number = self._chance.choices([1, 2, 3], [6, 3, 1])[0]
        victims = [Victim(self._setting.start(), self._chance, self._longest_stop) for _ in range(number)]
        self.report.drivers += number
        for _ in range(min(self._chance.randint(2, 6), self._left)):
            self._befall(victims)
        for victim in victims:
            self._see_out(victim)

    def _await_peace(self) -> None:
        """Wait for the end of orphans."""
        if not until(lambda: not marked(self._setting.mark), 90, pause=0.2):
            self.report.problems.append(f"processes do not end: {marked(self._setting.mark)}")

    def _damage_files(self, number: int) -> None:
        """Damage files; then see to it that the next driver has something to train."""
        targets = list(dict.fromkeys(fault.target for fault in RESTING.values()))
        for _ in range(min(number, self._left)):
            target = self._chance.choice(targets)
            self._damage([fault for fault in RESTING.values() if fault.target == target])
        costly = [fault for fault in RESTING.values() if fault.target == WEIGHTS and "deleted" not in fault.name]
        while self._left and list(self._setting.states().values()).count("done") > len(self._setting.cells) - 3:
            self._damage([*costly, RESTING["a cell's folder deleted"]])

    def _damage(self, faults: Sequence[Fault]) -> None:
        """Inflict one of the faults. Damage to a done cell must be seen, but for the loss of what it can do without."""
        fault, before = self._chance.choice(faults), self._setting.states()
        path = fault.inflict(self._setting, self._chance)
        if not isinstance(path, Path):
            return
        after = self._setting.states()
        place = next((place for place in before if place in (path, path.parent)), None)
        self._note(fault, f"its cell is {after[place]}" if place else "belongs to no cell")
        if place and before[place] == after[place] == "done" and "deleted" not in fault.name:
            self.report.problems.append(f"{fault.name}: {path} is damaged and its cell still done")

    def _befall(self, victims: Sequence[Victim]) -> None:
        """Inflict a fault on one of the drivers at some moment."""
        moment = self._chance.choice(_MOMENTS)
        fault = self._chance.choice(list(LIVE.values()))
        living = [victim for victim in victims if victim.driver.status is None and not victim.is_ending]
        if not living:
            return
        victim = self._chance.choice(living)
        driver = victim.driver
        if moment == "at any time":
            until(lambda: driver.status is not None, self._chance.uniform(0, 7))
        else:
            until(lambda: driver.status is not None or driver.children(), 30)
            if moment == "while a child works":
                until(lambda: driver.status is not None, self._chance.uniform(0, 2))
            else:
                name = self._chance.choice(_FILES)
                pattern = self._chance.choice([name, f".{name}~*"])
                files = self._files(pattern)
                until(lambda: driver.status is not None or self._files(pattern) != files, 5, pause=0.001)
        if driver.status is None and fault.inflict(victim) is not None:
            victim.faults.append(fault)

    def _see_out(self, victim: Victim) -> None:
        """Wait for the end of a driver, and judge what it said and how it ended."""
        with ended(victim.driver):
            try:
                status = victim.driver.wait(_HANG)
            except TimeoutError as error:
                self.report.problems.append(f"{[fault.name for fault in victim.faults]}: {error}")
                return
        allowed = {0, *(status for fault in victim.faults for status in fault.statuses)}
        names = [fault.name for fault in victim.faults]
        self.report.problems += [f"{names}: {problem}" for problem in problems_with_text(victim.driver.said)]
        if status not in allowed:
            self.report.problems.append(f"{names}: a driver ended with status {status}:\n{victim.driver.said}")
        for fault in victim.faults:
            self._note(fault, f"the driver ended with status {status}")

    def _note(self, fault: Fault, outcome: str) -> None:
        self.report.inflicted[fault.name][outcome] += 1

    def _files(self, pattern: str) -> dict[Path, int]:
        """The files of cells that have such a name, each with the time of its last change."""
        files = {}
        for path in (path for place in self._setting.places for path in place.glob(pattern)):
            with suppress(FileNotFoundError):
                files[path] = path.stat().st_mtime_ns
        return files
