"""Tests of the suite's recovery, in two parts. Without options nothing is run.

Trials start three benches at once on an empty results folder: each cell must be computed once, by one of them.
Faults are kills, stops, signals, full disks and damaged files, at random times, while one to three benches run. In
the end each cell must be done, with the same figures as in an undisturbed run, to the last bit.

    PYTHONPATH=tests python -m faults --faults 8                      a few minutes
    PYTHONPATH=tests python -m faults --trials 12 --faults 200 --lockless 40     an hour (make faults)

Exit status: 0 no problems, 1 problems, each of which is printed."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from mrsr_bench.system.units import duration_text

from .rounds import Rounds
from .setting import lockless_library, make_setting
from .trials import Trials

_SHORT_LEASE = {"MRSR_LEASE_SECONDS": "4", "MRSR_BEAT_SECONDS": "0.5"}
"""Short enough that a stop of seconds loses the lease."""


def main() -> int:
    """Read the command line and do what it asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--trials", type=int, default=0, help="number of trials, with file locks and again without (default: 0)"
    )
    parser.add_argument("--faults", type=int, default=0, help="number of faults, with file locks (default: 0)")
    parser.add_argument(
        "--lockless",
        type=int,
        default=0,
        help="number of faults, without file locks; needs a C compiler on Linux (default: 0)",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed of the faults and their times (default: 0)")
    parser.add_argument("--keep", type=Path, help="folder for all files, kept at the end (default: a temporary folder)")
    arguments = parser.parse_args()
    for number in (
        signal.SIGINT,
        signal.SIGTERM,
    ):  # a background job of a shell ignores SIGINT, and so would its benches
        signal.signal(number, signal.default_int_handler)
    with ExitStack() as stack:
        folder = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faults-")))
        folder = folder.resolve()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ["MRSR_CACHE"] = str(folder / "cache")
        library = lockless_library(folder)
        preload = {"LD_PRELOAD": str(library)} if library else None
        if preload is None and (arguments.trials or arguments.lockless):
            print("there is no C compiler: nothing is run without file locks")
        passed = True
        if arguments.trials:
            passed &= _run_trials(folder / "trials", arguments.trials, "with locks", {})
            if preload:
                passed &= _run_trials(folder / "lockless-trials", arguments.trials, "without locks", preload)
        if arguments.faults:
            passed &= _run_faults(folder / "faults", arguments.faults, arguments.seed, 3.0, {})
        if arguments.lockless and preload:
            passed &= _run_faults(
                folder / "lockless-faults", arguments.lockless, arguments.seed, 9.0, preload | _SHORT_LEASE
            )
    return 0 if passed else 1


def _run_trials(folder: Path, number: int, file_system: str, environment: dict[str, str]) -> bool:
    trials = Trials(folder, **environment)
    passed = 0
    for count in range(1, number + 1):
        trial = trials.run()
        passed += not trial.problems
        print(f"trial {count} of {number} {file_system}: {trial.summary}", flush=True)
        for problem in trial.problems:
            print(problem, flush=True)
    calls = sum(trials.counts.values())
    print(f"{passed} of {number} trials {file_system} passed; one bench alone makes {calls} calls")
    return passed == number


def _run_faults(folder: Path, number: int, seed: int, longest_stop: float, environment: dict[str, str]) -> bool:
    started = time.monotonic()
    setting = make_setting(folder, **environment)
    expected = setting.beside("expected")
    report = Rounds(setting, expected, number, seed, longest_stop, lambda text: print(text, flush=True)).run()
    print(report.table)
    for problem in report.problems:
        print(f"PROBLEM {problem}")
    file_system = "without locks" if "LD_PRELOAD" in environment else "with locks"
    print(f"{file_system}, --seed {seed}: {report.summary}, {duration_text(time.monotonic() - started)}", flush=True)
    return not report.problems


if __name__ == "__main__":
    sys.exit(main())
