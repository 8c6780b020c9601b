"""Children and pools: what they send, how they end, and what they say of one that dies; cores that are free."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from threadpoolctl import threadpool_info

from mrsr_bench.system import cores
from mrsr_bench.system.cores import count_free, free_cores, threads_to_take, usable_cores
from mrsr_bench.system.liveness import start_of
from mrsr_bench.system.parallel import as_done, process_pool, thread_pool
from mrsr_bench.system.processes import Child, ChildDied, child, children

pytestmark = pytest.mark.long

PRELOAD = ("lightning_fabric", "timm", "mrsr_bench.training.loop")
"""What children of other tests in this process need: the first child decides what the forkserver holds."""
started = functools.partial(child, preload=PRELOAD)

# --- Children --------------------------------------------------------------------------------------------------------


def counts(connection: Connection, end: int) -> None:
    for number in range(end):
        connection.send(number)


def says_its_number_and_stays(connection: Connection, polite: bool) -> None:
    if not polite:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection.send(os.getpid())
    time.sleep(600)


def exits(connection: Connection, code: int) -> None:
    os._exit(code)


def kills_itself(connection: Connection, number: int) -> None:
    os.kill(os.getpid(), number)


def test_a_child_sends_messages_and_then_has_exited() -> None:
    with started(counts, 3) as running:
        assert [running.receive() for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ChildDied, match=r"^its process exited without a message \(exit status 0\)$"):
            running.receive()


@pytest.mark.parametrize(
    ("function", "argument", "message"),
    [
        (exits, 3, "its process exited without a message (exit status 3)"),
        (kills_itself, signal.SIGSEGV, "its process was killed by SIGSEGV"),
        (kills_itself, signal.SIGKILL, "its process was killed by SIGKILL; the system may have run out of memory"),
    ],
)
def test_how_a_child_died_is_said(function: object, argument: int, message: str) -> None:
    with started(function, argument) as running, pytest.raises(ChildDied) as caught:  # type: ignore[arg-type]
        running.receive()
    assert str(caught.value) == message


@pytest.mark.parametrize("polite", [True, False])
@pytest.mark.parametrize("grace", [0.0, 0.2])
def test_a_child_ends_with_its_block_whatever_happens_there(polite: bool, grace: float) -> None:
    pids = []

    def interrupted() -> None:
        with started(says_its_number_and_stays, polite, grace=grace) as running:
            pids.append(running.receive())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [start_of(pid) for pid in pids] == [None]


def test_a_child_has_its_seconds_from_the_start_for_all_its_messages() -> None:
    with started(says_its_number_and_stays, True, seconds=60) as running:
        running.receive()
        running._deadline = time.monotonic()
        with pytest.raises(TimeoutError):
            running.receive()
    with started(counts, 5, seconds=0) as running, pytest.raises(TimeoutError):
        running.receive()


def test_all_children_are_asked_to_end_before_any_is_waited_for() -> None:
    """So that they share one grace, and not each has its own after those before it."""
    calls = Mock()
    with children(preload=PRELOAD, grace=0.2) as group:
        for number in range(4):
            process = getattr(calls, f"process{number}")
            process.is_alive.return_value = True  # it ignores SIGTERM
            group._children.append(Child(process, Mock(), None))
    made = [call[0].partition(".")[2] for call in calls.mock_calls]
    order = [name for name in made if name in ("terminate", "join", "kill")]
    assert order[:8] == ["terminate"] * 4 + ["join"] * 4
    assert order.count("kill") == 4
    waits = [call.args[0] for call in calls.mock_calls if call[0].endswith("join") and call.args]
    assert waits == sorted(waits, reverse=True), "what one takes of the grace, the next does not have"
    assert max(waits) <= 0.2


def test_what_has_arrived_can_be_taken_late() -> None:
    with started(counts, 3, seconds=60) as running:
        assert running.receive() == 0
        running._process.join()
        running._deadline = time.monotonic()
        with pytest.raises(TimeoutError):
            running.receive()
        assert list(running.pending()) == [1, 2]
        assert list(running.pending()) == []


def test_whoever_has_a_message_or_is_late_is_ready() -> None:
    with children(preload=PRELOAD) as group:
        silent, late, quick = (
            group.start(says_its_number_and_stays, True), group.start(says_its_number_and_stays, True, seconds=600),
            group.start(counts, 1),
        )  # fmt: skip
        for child in (silent, late, quick):
            child.receive()
        assert group.ready() == [quick], "it has exited, which receive tells"
        group.stop(quick, grace=0)
        assert group.ready(0.05) == []
        assert (silent.resident_bytes > 10**6, quick.resident_bytes) == (True, 0)
        late._deadline = time.monotonic()
        assert group.ready() == [late]


# --- Pools -----------------------------------------------------------------------------------------------------------


def test_each_item_comes_with_its_result() -> None:
    with thread_pool(3) as pool:
        assert sorted(as_done(pool, lambda number: number**2, range(20))) == [(n, n**2) for n in range(20)]


def test_an_error_drops_what_has_not_begun() -> None:
    begun = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            raise ValueError("no such luck")

    def work_in_a_pool() -> None:
        with thread_pool(1) as pool:
            first = pool.submit(work, 0)
            for number in range(1, 1000):
                pool.submit(time.sleep, 0.01)
                pool.submit(work, number)
            first.result()

    with pytest.raises(ValueError, match="no such luck"):
        work_in_a_pool()
    assert len(begun) < 999


def test_threads_are_no_more_than_the_usable_cores_and_share_no_core_with_blas(monkeypatch: pytest.MonkeyPatch) -> None:

    monkeypatch.setattr(cores, "usable_cores", lambda: {0, 3, 5})
    for most, expected in ((None, 3), (2, 2), (8, 3)):
        with thread_pool(most, one_blas_thread=True) as pool:
            assert pool._max_workers == expected  # type: ignore[attr-defined]
            assert {entry["num_threads"] for entry in threadpool_info() if entry["user_api"] == "blas"} <= {1}
    with thread_pool(8, waiting=True) as pool:
        assert pool._max_workers == 8  # type: ignore[attr-defined]


def negative(number: int) -> int:
    if number == 99:
        os.kill(os.getpid(), signal.SIGKILL)
    return -number


def test_processes_work_too_and_one_that_is_killed_is_told() -> None:
    with process_pool(2, __name__) as pool:
        assert sorted(as_done(pool, negative, range(5))) == [(n, -n) for n in range(5)]
    with pytest.raises(BrokenProcessPool), process_pool(1, __name__) as pool:
        list(as_done(pool, negative, [99]))


# --- Cores -----------------------------------------------------------------------------------------------------------

STAT = """\
cpu  1000 20 300 9000 50 6 7 8 0 0
cpu0 {0} 10 150 {1} 25 3 3 4 {2} 0
cpu1 {3} 10 150 {4} 25 3 4 4 0 0
cpu10 500 10 150 9999 25 3 4 4 0 0
intr 12 cpu
ctxt 99
"""


def stat(busy: tuple[int, int], idle: tuple[int, int], guest: int = 0) -> str:
    """A reading of /proc/stat with these jiffies of cores 0 and 1."""
    return STAT.format(busy[0], idle[0], guest, busy[1], idle[1])


@pytest.mark.parametrize(
    ("busy", "expected"),
    [
        ((0, 0), 2),
        ((8, 5), 2),
        ((100, 0), 1),
        ((50, 50), 1),
        ((55, 60), 1),
        ((100, 100), 1),
        ((30, 10), 2),
        ((40, 30), 1),
    ],
)
def test_free_cores_are_the_idle_shares_added(busy: tuple[int, int], expected: int) -> None:
    later = stat((500 + busy[0], 500 + busy[1]), (4000 + 100 - busy[0], 4000 + 100 - busy[1]), guest=busy[0])
    assert count_free(stat((500, 500), (4000, 4000)), later, {0, 1}) == expected


def test_only_usable_cores_count_and_one_without_figures_is_free() -> None:
    earlier, later = stat((500, 500), (4000, 4000)), stat((600, 500), (4000, 4100))
    assert count_free(earlier, later, {0}) == 1
    assert count_free(earlier, later, {1}) == 1
    assert count_free(earlier, later, {0, 1, 7, 8}) == 3
    assert count_free(earlier, earlier, {0, 1}) == 2, "no time has passed"


@given(earlier=st.text(), later=st.text(), usable=st.sets(st.integers(0, 300), min_size=1))
def test_any_text_gives_between_one_and_all(earlier: str, later: str, usable: set[int]) -> None:
    assert count_free(earlier, later, usable) == len(usable)


counters = st.lists(st.lists(st.integers(0, 10**12), min_size=1, max_size=12), min_size=1, max_size=9)


@given(earlier=counters, later=counters)
def test_any_counters_give_between_one_and_all(earlier: list[list[int]], later: list[list[int]]) -> None:
    texts = [
        "\n".join(f"cpu{core} {' '.join(map(str, row))}" for core, row in enumerate(rows)) for rows in (earlier, later)
    ]
    assert 1 <= count_free(texts[0], texts[1], range(9)) <= 9


def test_without_proc_stat_all_usable_cores_are_free(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cores, "_STAT", tmp_path / "missing")
    assert free_cores() == len(usable_cores())


def test_a_request_comes_before_the_environment_and_that_before_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(cores, "free_cores", lambda: 77)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert (threads_to_take(3), threads_to_take()) == (3, torch.get_num_threads())
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert (threads_to_take(3), threads_to_take()) == (3, 77)


def test_ctrl_c_while_the_forkserver_imports_prints_nothing(tmp_path: Path) -> None:
    (tmp_path / "slow_import.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n[i for i in range(1000)]\n", encoding="utf-8"
    )
    script = (
        "import os; from mrsr_bench.system.processes import forkserver\n"
        "process = forkserver('slow_import').Process(target=os.getpid); process.start(); process.join()\n"
        "print(process.exitcode)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")
