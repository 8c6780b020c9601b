"""What a driver makes of jobs that run elsewhere, and what Ray's executor decides without Ray."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner

from mrsr_bench.cli import main
from mrsr_bench.planning.request import Request
from mrsr_bench.running import runner
from mrsr_bench.running.driver import Driver
from mrsr_bench.running.events import Ended, Event, Started
from mrsr_bench.running.executors import ray as executor
from mrsr_bench.running.job import Job
from mrsr_bench.running.settings import RunSettings
from mrsr_bench.store.locks import hold
from mrsr_bench.store.plan import PLANS


class Elsewhere:
    """Runs jobs on a node whose results folder is its own."""

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Event]]:
        for job in jobs:
            yield job, Started(place="node7")
            yield job, Ended(state="done", message="done on node7")


def test_a_cell_that_is_done_in_a_folder_of_another_node_is_missing_here_and_named(
    write_protocol: Callable[..., Path], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(Driver, "_executor", lambda self: Elsewhere())
    settings = RunSettings(data=images, results=tmp_path / "results", tracking_uri="none")
    [outcome] = runner.run(Request(str(write_protocol())), settings)
    assert outcome.state == "missing"
    assert outcome.message == (
        "done on node7, whose results folder is not this one: bring it here with bench pack and bench unpack"
    )
    assert "[1/1] bicubic T1 x2 bicubic seed 0 on node7" in capsys.readouterr().out


def test_a_nodes_own_results_folder_gets_the_plans_so_that_it_can_be_packed(tmp_path: Path) -> None:
    runs = tmp_path / "runs" / "small"
    for name in (f"{PLANS}/a.json", "sources/b.zip", "bicubic/T1-x2/edsr/seed0/record.json"):
        (runs / name).parent.mkdir(parents=True, exist_ok=True)
        (runs / name).write_text(name, encoding="utf-8")
    papers = executor._papers(runs)
    assert papers == {f"{PLANS}/a.json": b"plans/a.json", "sources/b.zip": b"sources/b.zip"}
    executor._lay_down(papers, tmp_path / "node")
    assert (tmp_path / "node" / PLANS / "a.json").read_text(encoding="utf-8") == "plans/a.json"
    (tmp_path / "node" / PLANS / "a.json").write_text("newer", encoding="utf-8")
    executor._lay_down(papers, tmp_path / "node")
    assert (tmp_path / "node" / PLANS / "a.json").read_text(encoding="utf-8") == "newer"


def test_a_job_is_tried_three_times_where_its_worker_dies_and_says_why() -> None:
    attempt: executor._Attempt | None = executor._Attempt(Mock(), 0)
    messages = []
    while attempt:
        end, attempt = executor._lost("its node ran out of memory, and Ray ended it", attempt)
        messages.append(end.message)
    why = "its node ran out of memory, and Ray ended it"
    assert messages == [why, why, f"{why}, 3 times"]


def test_a_job_whose_worker_died_is_waited_for_until_its_process_has_left_the_folder(tmp_path: Path) -> None:
    """Also where its holder does not look like an orphan yet: its worker's end may not be seen at once."""
    base = Mock()
    job = Mock(training=Mock(base=base), folder=lambda cell: tmp_path)
    held, left = threading.Event(), threading.Event()

    def orphan() -> None:
        with hold(tmp_path):
            held.set()
            time.sleep(0.3)
            left.set()

    process = threading.Thread(target=orphan)
    process.start()
    assert held.wait(10)
    executor._await_orphan(job)
    assert left.is_set()
    process.join()


def test_the_mailbox_gives_all_letters_in_their_order_and_each_once() -> None:
    async def post() -> list[Any]:
        box = executor._Mailbox()
        waiting = asyncio.create_task(box.take())
        await asyncio.sleep(0)
        assert not waiting.done()
        await box.put((0, 0), [Started(place="a")])
        await box.put((1, 0), [Ended(state="done")])
        first = await waiting
        return [*first, *await box.rest(), *await box.rest()]

    assert asyncio.run(post()) == [((0, 0), Started(place="a")), ((1, 0), Ended(state="done"))]


def test_a_job_that_goes_elsewhere_has_absolute_folders_and_its_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MRSR_DATA", "data")
    training = Mock(loaded=Mock(protocol=Mock(data=Mock(dataset="ixi"))))
    job = executor._elsewhere(Job(training, RunSettings(results=Path("results"))), 3)
    assert (job.settings.results, job.settings.threads) == (tmp_path / "results", 3)
    assert job.settings.data == tmp_path / "data" / "ixi"


def test_without_ray_the_way_to_get_it_is_said(
    write_protocol: Callable[..., Path], images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    options = ["--data", str(images), "--results", str(tmp_path / "results"), "--tracking-uri", "none"]
    ran = CliRunner().invoke(main, ["run", "--protocol", str(write_protocol()), "--executor", "ray", *options])
    assert ran.exit_code == 2
    assert "install it with: pip install 'mrsr-bench[ray]'" in ran.output


def test_an_address_without_ray_is_refused() -> None:
    ran = CliRunner().invoke(main, ["run", "--address", "auto"])
    assert ran.exit_code == 2
    assert "--address belongs to --executor ray" in ran.output


def test_side_by_side_is_of_this_machine_alone() -> None:
    assert [RunSettings(parallel=n).sharers for n in (None, 1, 3)] == [1, 1, 3]
    assert RunSettings(parallel=3, executor="ray").sharers == 1
    assert RunSettings(executor="ray").known_threads == 1
    assert RunSettings(executor="ray", threads=4).known_threads == 4
    assert RunSettings().known_threads is None
