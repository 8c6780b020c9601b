"""A stand-in for a scheduler: it starts shards, ends them with SIGTERM and SIGKILL, and starts them again."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from faults.driver import Driver, ended, marked, send, wait_until
from faults.setting import Setting, lockless_library, make_setting

from mrsr_bench.system.training_states import states_in

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
PARTS = 3


def start(setting: Setting, part: int) -> Driver:
    """Queue one shard."""
    return replace(setting, options=("--shard", f"{part}/{PARTS}")).start()


def scores(setting: Setting) -> dict[str, bytes]:
    """Every table of scores, by its place."""
    root = setting.store.runs
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("scores*.csv")}


@pytest.mark.parametrize("locks", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["locks", "leases"])
def test_shards_that_are_ended_and_queued_again_give_the_figures_of_one_run(tmp_path: Path, locks: bool) -> None:
    environment = {}
    if not locks:
        library = lockless_library(tmp_path)
        if library is None:
            pytest.skip("no C compiler")
        environment["LD_PRELOAD"] = str(library)
    setting = make_setting(tmp_path, steps=25, **environment)
    drivers = {part: start(setting, part) for part in range(1, PARTS + 1)}
    with ended(*drivers.values()):
        preempted, killed, left = drivers
        wait_until(lambda: any(map(states_in, setting.cell_folders)))
        drivers[preempted].send(signal.SIGTERM)
        for pid in drivers[killed].family():
            send(pid, signal.SIGKILL)
        assert drivers[preempted].wait() in (0, 3, 130), drivers[preempted].output
        drivers[killed].wait()
        again = {part: start(setting, part) for part in (preempted, killed)}
        with ended(*again.values()):
            for driver in (*again.values(), drivers[left]):
                assert driver.wait() == 0, driver.output
    wait_until(lambda: not marked(setting.mark))
    assert set(setting.states().values()) == {"done"}
    once = setting.beside("once", LD_PRELOAD="").start()
    with ended(once):
        assert once.wait() == 0, once.output
    assert scores(setting) == scores(setting.beside("once"))


@pytest.mark.slow
def test_results_of_nodes_are_brought_together(tmp_path: Path) -> None:
    setting = make_setting(tmp_path, methods=("bicubic", "linear", "network.py"), seeds=(0,), steps=6)
    for part in (1, 2):
        node = setting.beside(f"node{part}")
        driver = replace(node, options=("--shard", f"{part}/2")).start()
        with ended(driver):
            assert driver.wait() == 0, driver.output
    once = setting.beside("once").start()
    with ended(once):
        assert once.wait() == 0, once.output
    nodes = [str(setting.beside(f"node{part}").results) for part in (1, 2)]
    done = subprocess.run(
        [sys.executable, "-m", "mrsr_bench", "unpack", *nodes, str(setting.beside("all").results)],
        env=dict(setting.environment), capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert scores(setting.beside("all")) == scores(setting.beside("once"))
    assert set(setting.beside("all").states().values()) == {"done"}
