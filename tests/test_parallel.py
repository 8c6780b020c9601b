"""Trainings side by side: what each is given of the machine, that none waits for nothing, and how all of them end."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from faults.driver import Driver, ended, marked, wait_until
from faults.setting import Setting, make_setting
from hypothesis import given
from hypothesis import strategies as st
from plugins import NETWORK, classical, write

from mrsr_bench.planning.cells import Training
from mrsr_bench.planning.request import Request
from mrsr_bench.running import admission, runner
from mrsr_bench.running.admission import Admission, Slot
from mrsr_bench.running.events import Ended, Event, Started
from mrsr_bench.running.executors import local
from mrsr_bench.running.executors.local import LocalExecutor
from mrsr_bench.running.progress import Listener
from mrsr_bench.running.settings import RunSettings
from mrsr_bench.store.cell_files import LOG
from mrsr_bench.system import gpus
from mrsr_bench.system.cores import core_share, usable_cores
from mrsr_bench.system.machine_memory import free_memory, group_memory
from mrsr_bench.system.training_states import states_in

Write = Callable[..., Path]
SAYS = classical(
    "import json, torch, threadpoolctl\n"
    "        time.sleep(1)\n"
    "        names = ('CUDA_VISIBLE_DEVICES', 'NUMBA_NUM_THREADS', 'OMP_NUM_THREADS')\n"
    "        threads = [torch.get_num_threads(), *(pool['num_threads'] for pool in threadpoolctl.threadpool_info())]\n"
    "        print('GIVEN', json.dumps([[os.environ.get(name) for name in names], max(threads)]), flush=True)"
)
"""A method that says in its cell's log what it was given."""


# --- Who may run beside whom -----------------------------------------------------------------------------------------


def taken(*memory: tuple[int, int], gpu: Sequence[str | None] = ()) -> list[tuple[Slot, Any]]:
    """Jobs that run: bytes that each may take, and bytes that it holds."""
    names = [*gpu, *([None] * len(memory))]
    return [(Slot(most, name), Mock(resident_bytes=now)) for (most, now), name in zip(memory, names, strict=False)]


def job(name: str = "poan") -> Any:
    return Mock(training=Mock(base=name))


def admitted(need: int, free: int, running: list[tuple[Slot, Any]], parallel: int = 8) -> tuple[Slot | None, list[str]]:
    said = list[str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "free_memory", lambda: free)
        place = Admission(parallel, lambda _: need, say=said.append).slot_for(job(), running)
    return place, said


def test_a_job_waits_until_memory_suffices_for_what_runs_and_for_itself() -> None:
    running = taken((10_000_000_000, 4_000_000_000))
    assert admitted(2_000_000_000, 8_000_000_000, running) == (Slot(2_000_000_000), [])
    slot, said = admitted(2_000_000_001, 8_000_000_000, running)
    assert (slot, said) == (None, ["poan waits for memory: it may take 2 GB, and 2 GB are free"])


def test_a_job_alone_never_waits_and_says_that_it_may_not_fit() -> None:
    assert admitted(9_000_000_000, 1_000_000_000, []) == (
        Slot(9_000_000_000),
        ["poan may take 9 GB of memory, and 1 GB are free; it runs alone"],
    )


def test_why_a_job_waits_is_said_once() -> None:
    said, waiting = list[str](), job()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(admission, "free_memory", lambda: 10)
        door = Admission(2, lambda _: 100, say=said.append)
        assert [door.slot_for(waiting, taken((1, 1))) for _ in range(3)] == [None] * 3
        door.slot_for(job("edsr"), taken((1, 1)))
    assert [line.split()[0] for line in said] == ["poan", "edsr"]


@given(
    free=st.integers(0, 100), jobs=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 150)), max_size=5),
    need=st.integers(0, 100),
)  # fmt: skip
def test_what_may_be_taken_never_exceeds_what_is_free(free: int, jobs: list[tuple[int, int]], need: int) -> None:
    """`free` is what is left beside the bytes that the jobs hold now."""
    slot, _ = admitted(need, free, taken(*jobs))
    may_grow = sum(max(0, most - now) for most, now in jobs)
    assert (slot is not None) == (not jobs or may_grow + need <= free)


@given(number=st.integers(1, 5), per_gpu=st.integers(1, 3), parallel=st.integers(1, 20))
def test_each_gpu_is_dealt_out_evenly_and_to_no_more_than_its_share(number: int, per_gpu: int, parallel: int) -> None:
    names = [f"GPU-{n}" for n in range(number)]
    door = Admission(parallel, lambda _: 0, names, per_gpu, say=lambda _: None)
    running = list[tuple[Slot, Any]]()
    while slot := door.slot_for(job(), running):
        running.append((slot, Mock(resident_bytes=0)))
    counts = [[slot.gpu for slot, _ in running].count(name) for name in names]
    assert sum(counts) == len(running) == min(parallel, number * per_gpu)
    assert max(counts) <= per_gpu
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("chosen", "number", "names"),
    [
        (None, 2, ["0", "1"]),
        ("", 0, []),
        ("3,5", 2, ["3", "5"]),
        ("GPU-8932,MIG-12", 2, ["GPU-8932", "MIG-12"]),
        ("1,-1,2", 1, ["1"]),
    ],
)
def test_gpus_are_named_as_cuda_visible_devices_takes_them(
    monkeypatch: pytest.MonkeyPatch, chosen: str | None, number: int, names: list[str]
) -> None:
    """CUDA ignores what stands behind the first name that it does not know."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: number)
    monkeypatch.delenv(gpus.VISIBLE, raising=False)
    if chosen is not None:
        monkeypatch.setenv(gpus.VISIBLE, chosen)
    assert gpus.visible_gpus() == names


# --- The machine's memory --------------------------------------------------------------------------------------------


def group(folder: Path, version: int, limit: str, usage: int, reclaimable: int) -> None:
    names = ("memory.max", "memory.current", "inactive_file")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n", encoding="utf-8")
    (folder / names[1]).write_text(f"{usage}\n", encoding="utf-8")
    (folder / "memory.stat").write_text(f"anon 5\n{names[2]} {reclaimable}\nslab 7\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("version", "root", "line"), [(2, "", "0::/job/step"), (1, "memory", "7:hugetlb,memory:/job/step")]
)
def test_every_group_above_us_limits_us(tmp_path: Path, version: int, root: str, line: str) -> None:
    own = tmp_path / "self"
    own.write_text(f"9:cpu:/other\n{line}\n", encoding="utf-8")
    groups = tmp_path / "groups"
    group(groups / root / "job", version, "1000", 700, 50)
    group(groups / root / "job" / "step", version, "500", 100, 10)
    group(groups / root / "elsewhere", version, "3", 1, 0)
    assert group_memory(groups, own) == [410, 350]
    group(groups / root / "job" / "step", version, "max", 100, 10)
    assert group_memory(groups, own) == [350], "no limit"
    group(groups / root / "job", version, "100", 700, 50)
    assert group_memory(groups, own) == [0], "more is taken than there may be"
    assert group_memory(tmp_path / "none", own) == []
    assert group_memory(groups, tmp_path / "none") == []


def test_memory_that_is_taken_is_not_free() -> None:
    before = free_memory()
    held = bytearray(400_000_000)
    held[::4096] = b"x" * len(held[::4096])
    assert free_memory() < before - 200_000_000


@given(st.integers(1, 1000))
def test_parts_of_the_cores_are_never_more_than_all_and_never_none(sharers: int) -> None:
    cores = len(usable_cores())
    assert 1 <= core_share(sharers) <= max(1, cores // sharers)


# --- Runs ------------------------------------------------------------------------------------------------------------


class Ear(Listener):
    """Keeps what a run says, and the order in which trainings begin and end."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.order: list[tuple[str, str]] = []

    def say(self, text: str) -> None:
        self.lines.append(text)

    def event(self, training: Training, event: Event) -> None:
        super().event(training, event)
        if isinstance(event, Started | Ended):
            self.order.append((type(event).__name__, training.base.label))

    @property
    def most(self) -> int:
        """How many trainings ran at once."""
        running = most = 0
        for kind, _ in self.order:
            running += 1 if kind == "Started" else -1
            most = max(most, running)
        return most


def run(protocol: Path, methods: list[str], data: Path, **options: Any) -> tuple[Ear, dict[str, str]]:
    """What a run says, and label and seed → state."""
    ear, seeds = Ear(), options.pop("seeds", ())
    settings = RunSettings(data=data, results=protocol.parent / "results", tracking_uri="none", **options)
    outcomes = runner.run(Request(str(protocol), methods, seeds), settings, ear)
    return ear, {outcome.cell.label: outcome.state for outcome in outcomes}


def given_to(protocol: Path) -> list[tuple[list[str | None], int]]:
    """What `SAYS` was given, in every cell."""
    logs = sorted((protocol.parent / "results").rglob(LOG))
    found = [re.search(r"GIVEN (.*)", log.read_text(encoding="utf-8")) for log in logs]
    return [tuple(json.loads(match[1])) for match in found if match]


@pytest.mark.long
def test_gpus_are_handed_out_one_a_cell_or_shared(
    write_protocol: Write, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "visible_gpus", lambda: ["3", "GPU-7"])
    methods = write(tmp_path, **dict.fromkeys("abcd", SAYS))
    protocol = write_protocol()
    ear, states = run(protocol, methods, images, parallel=4)
    assert (ear.most, set(states.values())) == (2, {"done"})
    assert sorted(str(names[0]) for names, _ in given_to(protocol)) == ["3", "3", "GPU-7", "GPU-7"]
    ear, _ = run(write_protocol(name="shared"), methods, images, parallel=4, gpus_per_cell=0.5)
    assert ear.most == 4


@pytest.mark.long
def test_threads_of_every_library_are_a_part_of_the_cores(
    write_protocol: Write, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharers = len(usable_cores())
    protocol = write_protocol()
    run(protocol, write(tmp_path, says=SAYS, network=NETWORK), images, parallel=sharers)
    [[(_, *variables), threads]] = given_to(protocol)
    assert (variables, threads) == (["1", "1"], 1)
    [path] = (protocol.parent / "results").rglob("network/seed0/record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (record["fit"]["threads"], record["environment"]["threads"]) == (1, 1), "recorded"


@pytest.mark.long
def test_jobs_wait_for_memory_and_say_so(
    write_protocol: Write, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "free_memory", lambda: 700_000_000)
    methods = write(tmp_path, **dict.fromkeys("abc", SAYS))
    ear, states = run(write_protocol(), methods, images, parallel=3)
    assert (ear.most, set(states.values())) == (1, {"done"})
    waits = [line for line in ear.lines if "waits for memory" in line]
    assert [line.split()[0] for line in waits] == ["b", "c"]
    monkeypatch.setattr(admission, "free_memory", lambda: 7_000_000_000)
    ear, _ = run(write_protocol(name="roomy"), methods, images, parallel=3)
    assert ear.most == 3


@pytest.mark.parametrize(
    ("events", "state"),
    [([], "timeout"), ([Started()], "timeout"), ([Started(), Ended(state="done")], "done")],
)
def test_an_end_that_arrived_in_time_counts_though_it_is_looked_at_late(events: list[Event], state: str) -> None:
    child = Mock(receive=Mock(side_effect=TimeoutError), pending=Mock(return_value=iter(events)))
    assert LocalExecutor(Admission(2, lambda _: 0), timeout=3.0)._receive(child).state == state


@pytest.mark.long
def test_one_that_dies_or_takes_too_long_costs_its_own_cell(
    write_protocol: Write, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "GRACE_SECONDS", 2.0)
    dies = classical("os.kill(os.getpid(), signal.SIGKILL)")
    methods = write(tmp_path, good=SAYS, dies=dies, hangs=classical("time.sleep(3600)"), fine=SAYS)
    ear, states = run(write_protocol(), methods, images, parallel=4, timeout=20.0)
    assert states == {"good": "done", "dies": "failed", "hangs": "timeout", "fine": "done"}
    assert any(re.fullmatch(r"\s+dies T1 x2 bicubic seed 0: failed  .*SIGKILL.*", line) for line in ear.lines)


def scores(setting: Setting) -> dict[str, bytes]:
    root = setting.store.runs
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("scores.csv")}


def start(setting: Setting, *options: str) -> Driver:
    return replace(setting, options=options).start()


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_ctrl_c_and_sigterm_end_all_at_once_and_their_states_stay(tmp_path: Path, number: signal.Signals) -> None:
    """The networks wait in each step, so that both are in the midst of their training."""
    setting = make_setting(tmp_path, methods=("network.py",), seeds=(0, 1), steps=40, MRSR_TEST_SLOW="1")
    driver = start(setting, "--parallel", "2", "--threads", "1")
    with ended(driver):
        assert wait_until(lambda: all(map(states_in, setting.cell_folders)), 120), driver.output
        driver.send(number)
        assert driver.wait() == 130, driver.output
    assert wait_until(lambda: not marked(setting.mark))
    assert all(map(states_in, setting.cell_folders))
    again, once = setting.beside(setting.results.name, MRSR_TEST_SLOW=""), setting.beside("once", MRSR_TEST_SLOW="")
    for commands in ((again, "2"), (once, "1")):
        driver = start(commands[0], "--parallel", commands[1], "--threads", "1")
        with ended(driver):
            assert driver.wait() == 0, driver.output
    assert scores(again) == scores(once), "resumed side by side, or run one after another: the same figures"
