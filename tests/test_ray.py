"""Trainings on a Ray cluster of several nodes on this machine: what is lost is made again, and the figures stay."""

from __future__ import annotations

import importlib.util
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import SUBJECTS
from faults.driver import Driver, ended, marked, send, wait_until
from faults.setting import Setting, make_setting
from plugins import classical, write

from mrsr_bench.system.training_states import states_in

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'mrsr-bench[ray]'"),
]
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray then talks over 127.0.0.1 alone
}
TEST_SUBJECTS = len(SUBJECTS["test"])
STORE = 80 * 2**20
"""Bytes of a node's object store, the least that Ray takes."""


WORKER = '''
def _worker():
    """Ray's worker: the parent of the forkserver, whose child this process is."""
    parent = lambda pid: int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[1])
    return parent(parent(os.getpid()))
'''


def setting_of(folder: Path, *given: Any, **environment: Any) -> Setting:
    return make_setting(folder, *given, **QUIET, **environment)


@contextmanager
def cluster(setting: Setting, nodes: int) -> Iterator[tuple[Any, list[Any]]]:
    """A head without cores and nodes of one core each, all on 127.0.0.1, with the setting's environment."""
    given = dict(setting.environment)
    earlier = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    from ray.cluster_utils import Cluster

    made = Cluster()
    try:
        common = {"include_dashboard": False, "object_store_memory": STORE}
        made.add_node(num_cpus=0, **common)
        yield made, [made.add_node(num_cpus=1, **common) for _ in range(nodes)]
    finally:
        made.shutdown()
        for pid in marked(setting.mark):
            send(pid, signal.SIGKILL)
        for name, value in earlier.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def on(made: Any, setting: Setting, *options: str) -> Setting:
    """The setting, run on a cluster."""
    assert made.address.startswith("127.0.0.1:")
    return replace(setting, options=("--executor", "ray", "--address", made.address, "--threads", "1", *options))


def workers(setting: Setting) -> dict[int, int]:
    """Ray's workers that run a training → the node's process that each belongs to."""
    found = {}
    for pid in marked(setting.mark):
        if Path(f"/proc/{pid}/cmdline").read_bytes().startswith((b"ray::network", b"ray::counted")):
            found[pid] = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return found


def scores(setting: Setting) -> dict[str, bytes]:
    root = setting.store.runs
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("scores*.csv")}


def once(setting: Setting) -> dict[str, bytes]:
    """The scores of an undisturbed run of the local executor."""
    alone = replace(setting.beside("once"), options=("--threads", "1"))
    driver = alone.start()
    with ended(driver):
        assert driver.wait() == 0, driver.output
    return scores(alone)


def is_trained(setting: Setting) -> bool:
    return all(map(states_in, setting.cell_folders))


def finish(driver: Driver, status: int = 0) -> str:
    with ended(driver):
        assert driver.wait(300) == status, driver.output
    return driver.output


def test_a_worker_and_a_node_are_lost_and_the_figures_are_those_of_one_machine(tmp_path: Path) -> None:
    setting = setting_of(tmp_path, ("network.py", "linear"), steps=40)
    with cluster(setting, 3) as (made, nodes):
        there = on(made, setting)
        driver = there.start()
        with ended(driver):
            assert wait_until(lambda: any(map(states_in, setting.cell_folders)), 120), driver.output
            running = workers(setting)
            assert len(running) == 2, driver.output
            first, second = running
            send(first, signal.SIGKILL)
            assert wait_until(lambda: "its worker was killed or crashed; it goes on elsewhere" in driver.output, 60)
            owner = {node.all_processes["raylet"][0].process.pid: node for node in nodes}
            made.remove_node(owner[running[second]], allow_graceful=False)
            output = finish(driver)
        assert "its node was lost; it goes on elsewhere" in output
        assert output.count("warning:") >= 2
        assert "3 of 3 cells done" in output
        assert output.count("[1/3]") == 1
    assert scores(setting) == once(setting)
    assert not marked(setting.mark)


def test_a_driver_that_is_killed_and_one_that_is_stopped_go_on(tmp_path: Path) -> None:
    setting = setting_of(tmp_path, ("network.py",), steps=40)
    with cluster(setting, 2) as (made, _):
        there = on(made, setting)
        for number in (signal.SIGKILL, signal.SIGTERM):
            driver = there.start()
            with ended(driver):
                assert wait_until(lambda: len(workers(setting)) == 2 and is_trained(setting), 120), driver.output
                driver.send(number)
                assert driver.wait(90) in (-signal.SIGKILL, 130), driver.output
            assert wait_until(lambda: not workers(setting), 60)
        assert is_trained(setting)
        assert "2 of 2 cells done" in finish(there.start())
    assert scores(setting) == once(setting)


def test_two_drivers_at_once_do_nothing_twice(tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    setting = setting_of(tmp_path, ("counted.py", "counted_network.py"), MRSR_TEST_COUNTS=str(counts), steps=20)
    with cluster(setting, 2) as (made, _):
        drivers = [on(made, setting).start() for _ in range(2)]
        with ended(*drivers):
            for driver in drivers:
                assert driver.wait(300) == 0, driver.output
    assert set(setting.states().values()) == {"done"}
    calls = Counter(counts.read_text(encoding="utf-8").split())
    assert calls["counted"] == 2 * (1 + TEST_SUBJECTS)  # a fit and its upscaling, for each seed
    upscaled = Counter(line for line in counts.read_text(encoding="utf-8").splitlines() if "upscale network" in line)
    assert upscaled == {"upscale network 0": TEST_SUBJECTS, "upscale network 1": TEST_SUBJECTS}


def test_what_fails_on_every_try_is_recorded_and_the_others_are_done(tmp_path: Path) -> None:
    setting = setting_of(tmp_path, ("linear",), (0,))
    raises = classical("raise RuntimeError('not today')")
    kills = classical("os.kill(_worker(), signal.SIGKILL); time.sleep(60)", WORKER)
    setting = replace(setting, methods=("linear", *write(tmp_path, raises=raises, kills=kills)))
    with cluster(setting, 1) as (made, _):
        output = finish(on(made, setting).start(), status=3)
    assert "raises T1 x2 bicubic seed 0: failed: RuntimeError: not today" in output
    assert "kills T1 x2 bicubic seed 0: failed: its worker was killed or crashed, 3 times" in output
    assert output.count("its worker was killed or crashed; it goes on elsewhere") == 2
    assert sorted(setting.states().values()) == ["done", "failed", "failed"]


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    setting = replace(
        setting_of(tmp_path, ("linear",), (0,)), options=("--executor", "ray", "--address", "127.0.0.1:1")
    )
    output = finish(setting.start(), status=1)
    assert "no Ray cluster answers at 127.0.0.1:1" in output
    assert "docs/cluster.md" in output


def test_without_a_cluster_one_is_started_here_and_ended(tmp_path: Path) -> None:
    setting = replace(setting_of(tmp_path, ("linear",), (0,)), options=("--executor", "ray"))
    assert "1 of 1 cells done" in finish(setting.start())
    assert wait_until(lambda: not marked(setting.mark), 30)
