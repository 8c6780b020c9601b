"""Trials of benches side by side, then rounds of faults; exit status 1 where anything is wrong. See --help."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from .rounds import Rounds
from .setting import lockless_library, make_setting
from .trials import Trials

_SHORT_LEASE = {"MRSR_LEASE_SECONDS": "4", "MRSR_BEAT_SECONDS": "0.5"}
"""So that a stop of seconds loses the lease."""


def main() -> int:
    """Read the command line and do what it asks for."""
    parser = argparse.ArgumentParser(prog="faults", description=__doc__)
    parser.add_argument("--trials", type=int, default=0, help="trials of three benches at once, on each file system")
    parser.add_argument("--faults", type=int, default=0, help="faults where the file system has locks")
    parser.add_argument("--lockless", type=int, default=0, help="faults where the file system has none")
    parser.add_argument("--seed", type=int, default=0, help="of the faults and their moments")
    parser.add_argument("--keep", type=Path, help="a new folder for all files, which then stay")
    arguments = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background ignores the first, and then benches would
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["MRSR_CACHE"] = str(folder / "cache")
        library = lockless_library(folder)
        preload = {"LD_PRELOAD": str(library)} if library else None
        if preload is None and (arguments.trials or arguments.lockless):
            print("no C compiler is here: a file system without locks is not tried")
        good = True
        if arguments.trials:
            good &= _try(folder / "trials", arguments.trials, "with locks", {})
            if preload:
                good &= _try(folder / "lockless-trials", arguments.trials, "without locks", preload)
        if arguments.faults:
            good &= _inflict(folder / "faults", arguments.faults, arguments.seed, 3.0, {})
        if arguments.lockless and preload:
            good &= _inflict(
                folder / "lockless-faults", arguments.lockless, arguments.seed, 9.0, preload | _SHORT_LEASE
            )
    return 0 if good else 1


def _try(folder: Path, number: int, where: str, environment: dict[str, str]) -> bool:
    trials = Trials(folder, **environment)
    good = 0
    for count in range(1, number + 1):
        trial = trials.run()
        good += not trial.problems
        print(f"trial {count} of {number} {where}: {trial.summary}", flush=True)
        for problem in trial.problems:
            print(problem, flush=True)
    alone = sum(trials.counts.values())
    print(f"{good} of {number} trials of three benches at once {where} are good; {alone} calls each, as alone")
    return good == number


def _inflict(folder: Path, number: int, seed: int, longest_stop: float, environment: dict[str, str]) -> bool:
    started = time.monotonic()
    setting = make_setting(folder, **environment)
    expected = setting.beside("expected")
    report = Rounds(setting, expected, number, seed, longest_stop, lambda text: print(text, flush=True)).run()
    print(report.table)
    for problem in report.problems:
        print(f"PROBLEM {problem}")
    where = "without locks" if "LD_PRELOAD" in environment else "with locks"
    print(f"{where}, --seed {seed}: {report.summary}, {(time.monotonic() - started) / 60:.0f} minutes", flush=True)
    return not report.problems


if __name__ == "__main__":
    sys.exit(main())
