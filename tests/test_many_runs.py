"""Several runs on one results folder: a cell's holder is detected, respected, waited for and, once dead, replaced."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path

import pytest
from faults.driver import Driver, ended, marked, send, wait_until
from faults.setting import Setting, lockless_library, make_setting
from faults.trials import DRIVERS, Trials
from faults.verdict import problems_with_text

from mrsr_bench.store import locks
from mrsr_bench.store.cell_files import Place, inspect_cell
from mrsr_bench.store.locks import Held, Holder, LeaseLost, hold, holder_of, read_holder
from mrsr_bench.system.liveness import Process, process, start_of
from mrsr_bench.system.training_states import states_in

pytestmark = pytest.mark.long

LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EACCES)


def refuse(number: int) -> Callable[[int, int], None]:
    """A `flock` that answers with an error."""

    def flock(handle: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    return flock


@pytest.fixture(params=["locks", "leases"])
def either(request: pytest.FixtureRequest) -> None:
    """A file system with locks, and one without."""
    if request.param == "leases":
        request.getfixturevalue("leases")


@pytest.fixture
def leases(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks, and leases that die soon."""
    monkeypatch.setattr(fcntl, "flock", refuse(errno.ENOLCK))
    monkeypatch.setattr(locks, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.1)


def write_holder(path: Path, owner: Process) -> Holder:
    """A lock or lease as `owner` would write it."""
    path.touch()
    holder = Holder(process=owner, driver=owner, token="a token", inode=path.stat().st_ino)
    path.write_text(holder.model_dump_json(), encoding="utf-8")
    return holder


def stranger(**changes: object) -> Process:
    """This process, but for what is changed."""
    return process().model_copy(update=changes)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, with its content; but for what says who holds it."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name not in (".lock", ".lease")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EAGAIN])
def test_a_lock_that_another_process_has_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(number))
    with pytest.raises(Held, match="is being worked on by another process"), hold(tmp_path):
        pass
    assert not (tmp_path / ".lease").exists()


@pytest.mark.parametrize("number", LOCKLESS)
def test_a_file_system_without_locks_is_worked_on_under_a_lease(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(number))
    with hold(tmp_path):
        assert (tmp_path / ".lease").exists()
        assert holder_of(tmp_path) == read_holder(tmp_path / ".lease")
        with pytest.raises(Held, match=f"process {os.getpid()} on {socket.gethostname()}"), hold(tmp_path):
            pass
    assert not (tmp_path / ".lease").exists()


def test_a_file_system_that_fails_otherwise_is_an_error_that_names_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refuse(errno.EIO))
    with pytest.raises(locks.BenchError, match=r"\.lock cannot be locked: Input/output error"), hold(tmp_path):
        pass


@pytest.mark.usefixtures("either")
def test_the_holder_is_seen_while_it_works_and_nobody_after_it_let_go(tmp_path: Path) -> None:
    assert holder_of(tmp_path) is None
    for _ in range(3):
        with hold(tmp_path):
            holder = holder_of(tmp_path)
            assert holder is not None
            assert (holder.process, holder.driver, holder.is_orphan) == (process(), process(), False)
        assert holder_of(tmp_path) is None


@pytest.mark.usefixtures("either")
def test_a_copy_of_a_held_folder_is_held_by_nobody(tmp_path: Path) -> None:
    with hold(tmp_path / "cell"):
        shutil.copytree(tmp_path / "cell", tmp_path / "copy")
        assert holder_of(tmp_path / "cell") is not None
        assert holder_of(tmp_path / "copy") is None
        with hold(tmp_path / "copy", patient=True):
            assert holder_of(tmp_path / "copy") is not None


@pytest.mark.parametrize("name", [".lock", ".lease"])
def test_a_process_that_is_gone_holds_nothing(tmp_path: Path, name: str) -> None:
    child = get_context("spawn").Process(target=time.sleep, args=(600,))
    child.start()
    assert child.pid is not None
    write_holder(tmp_path / name, process(child.pid))
    assert holder_of(tmp_path) is not None
    child.kill()
    child.join()
    assert holder_of(tmp_path) is None


@pytest.mark.parametrize("name", [".lock", ".lease"])
def test_a_process_number_that_was_given_again_holds_nothing(tmp_path: Path, name: str) -> None:
    assert start_of(os.getpid()) not in (None, "1")
    write_holder(tmp_path / name, stranger(started="1"))
    assert holder_of(tmp_path) is None


def test_a_holder_on_another_machine_is_believed_while_its_lease_is_fresh(tmp_path: Path) -> None:
    holder = write_holder(tmp_path / ".lease", stranger(machine="0" * 12, host="elsewhere"))
    assert holder_of(tmp_path) == holder
    long_ago = time.time() - locks.LEASE_SECONDS - 1
    os.utime(tmp_path / ".lease", (long_ago, long_ago))
    assert holder_of(tmp_path) is None


@pytest.mark.usefixtures("either")
def test_a_lock_that_cannot_be_read_has_no_holder(tmp_path: Path) -> None:
    for content in (b"", b"{}", b"\xff\xfe", b"{" * 2000):
        (tmp_path / ".lock").write_bytes(content)
        (tmp_path / ".lease").write_bytes(content)
        assert holder_of(tmp_path) is None


def take(folder: Path, start: threading.Barrier, end: threading.Barrier, winners: list[int]) -> None:
    """Try to hold a folder together with others; a winner still holds it when all have tried."""
    start.wait()
    try:
        with hold(folder) as held:
            end.wait()
            held.check()
            winners.append(threading.get_ident())
    except Held:
        end.wait()
    except LeaseLost:
        pass


@pytest.mark.usefixtures("leases")
def test_of_many_takers_of_a_dead_lease_one_has_it_in_the_end(tmp_path: Path) -> None:
    takers = 4
    for number in range(30):
        folder, winners = tmp_path / str(number), list[int]()
        folder.mkdir()
        write_holder(folder / ".lease", stranger(started="1"))
        arguments = folder, threading.Barrier(takers), threading.Barrier(takers), winners
        threads = [threading.Thread(target=take, args=arguments) for _ in range(takers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(winners) == 1
        assert list(folder.iterdir()) == [folder / ".lock"]


@pytest.mark.usefixtures("leases")
def test_a_lease_that_is_renewed_in_the_moment_of_taking_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = tmp_path / ".lease"
    holder = write_holder(lease, stranger(machine="0" * 12))
    renewed = holder.model_copy(update={"beat": 1}).model_dump_json()
    rename = Path.rename

    def renew_and_rename(path: Path, target: Path) -> Path:
        with path.open("r+", encoding="utf-8") as file:
            file.write(renewed)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", renew_and_rename)
    locks._remove_lease(lease, lease.read_bytes())
    assert list(tmp_path.iterdir()) == [lease]
    assert read_holder(lease) == holder.model_copy(update={"beat": 1})


@pytest.mark.usefixtures("leases")
def test_a_lease_on_another_machine_is_taken_once_it_has_not_changed_for_long_enough(tmp_path: Path) -> None:
    write_holder(tmp_path / ".lease", stranger(machine="0" * 12))
    with pytest.raises(Held), hold(tmp_path):
        pass
    with hold(tmp_path, patient=True):
        holder = holder_of(tmp_path)
        assert holder is not None
        assert holder.process == process()


@pytest.mark.usefixtures("leases")
def test_a_lease_that_is_renewed_is_waited_for_no_longer_than_asked_for(tmp_path: Path) -> None:
    with hold(tmp_path) as held:
        with pytest.raises(Held), hold(tmp_path, patient=True):
            pass
        held.check()


@pytest.mark.usefixtures("leases")
def test_who_has_lost_a_lease_writes_nothing_and_leaves_the_new_one_alone(tmp_path: Path) -> None:
    with ExitStack() as first, ExitStack() as second:
        lost = first.enter_context(hold(tmp_path))
        folder = lost.folder(tmp_path)
        folder.write_text("file.txt", "text")
        (tmp_path / ".lease").unlink()
        second.enter_context(hold(tmp_path))
        for write in (folder.write_text, folder.append_text):
            with pytest.raises(LeaseLost, match="nothing is written"):
                write("file.txt", "another text")
        assert wait_until(lost.lost.is_set)
        first.close()
        assert holder_of(tmp_path) is not None
    assert holder_of(tmp_path) is None
    assert tree(tmp_path) == {"file.txt": b"text"}


def hold_and_release(folder: Path, times: int) -> None:
    for _ in range(times):
        with hold(folder):
            pass


def test_looking_without_a_pause_never_makes_a_holder_fail(tmp_path: Path) -> None:
    folder, looks = tmp_path / "cell", 0
    child = get_context("spawn").Process(target=hold_and_release, args=(folder, 1000))
    child.start()
    while child.is_alive():
        inspect_cell(Place(folder, folder, "", "", ""))
        looks += 1
    child.join()
    assert child.exitcode == 0
    assert looks > 1000


@pytest.fixture
def lockless(tmp_path: Path) -> dict[str, str]:
    """The environment of a bench whose file system has no locks."""
    library = lockless_library(tmp_path)
    if library is None:
        pytest.skip("needs a C compiler on Linux, to take the locks away")
    return {"LD_PRELOAD": str(library)}


def one_network(folder: Path, *others: str, **environment: str) -> tuple[Setting, Path]:
    """A bench of one network, and its cell's folder."""
    setting = make_setting(folder, [*others, "network.py"], seeds=[0], **environment)
    return setting, setting.cell_folders[-1]


def in_training(driver: Driver, place: Path) -> int:
    """Wait until a driver's child has written a state; the child."""
    assert wait_until(lambda: states_in(place) and driver.children()), driver.output
    return driver.children()[0]


def ends_well(driver: Driver, *words: str) -> None:
    assert driver.wait() == 0, driver.output
    assert not problems_with_text(driver.output)
    for word in words:
        assert word in driver.output


def test_a_cell_that_another_run_holds_is_running_named_and_left_to_it(tmp_path: Path) -> None:
    setting, place = one_network(tmp_path, "bicubic")
    other = setting.cell_folders[0]
    with hold(place):
        before = tree(place)
        driver = setting.start()
        with ended(driver):
            ends_well(driver, "1 of 2 cells done", "network T1 x2 bicubic seed 0: running", "is left to that run")
        assert tree(place) == before
        assert setting.states() == {other: "done", place: "running"}
        status = setting.status()
        with ended(status):
            ends_well(status)
        cells = {Path(cell["folder"]): cell for cell in json.loads(status.output)["cells"]}
        assert {folder: cell["state"] for folder, cell in cells.items()} == {other: "done", place: "running"}
        assert f"process {os.getpid()}" in cells[place]["why"]
    assert setting.states() == {other: "done", place: "missing"}


@pytest.mark.slow
def test_a_run_right_after_its_driver_was_killed_waits_for_the_orphan_and_goes_on(tmp_path: Path) -> None:
    setting, place = one_network(tmp_path)
    killed = setting.start()
    with ended(killed):
        orphan = in_training(killed, place)
        send(orphan, signal.SIGSTOP)
        killed.send(signal.SIGKILL)
        killed.wait()
        steps = [path.name for path in states_in(place)]
        after = setting.start()
        with ended(after):
            assert wait_until(lambda: "[1/1]" in after.output and after.children()), after.output
            holder = holder_of(place)
            assert holder is not None
            assert (holder.process.pid, holder.is_orphan) == (orphan, True)
            send(orphan, signal.SIGCONT)
            ends_well(after, "1 of 1 cells done")
    assert setting.states() == {place: "done"}
    assert steps
    assert wait_until(lambda: not marked(setting.mark))


@pytest.mark.slow
def test_a_run_that_was_stopped_beyond_its_lease_is_replaced_and_then_writes_nothing(
    tmp_path: Path, lockless: dict[str, str]
) -> None:
    setting, place = one_network(tmp_path, MRSR_LEASE_SECONDS="3", MRSR_BEAT_SECONDS="0.3", **lockless)
    stopped, other = setting.start(), None
    with ended(stopped):
        child = in_training(stopped, place)
        send(child, signal.SIGSTOP)
        other = setting.start()
        with ended(other):
            ends_well(other, "1 of 1 cells done")
        before = tree(setting.results)
        send(child, signal.SIGCONT)
        ends_well(stopped, "has no locks", "1 of 1 cells done")
    assert tree(setting.results) == before
    assert setting.states() == {place: "done"}


@pytest.mark.slow
@pytest.mark.parametrize("has_locks", [True, False], ids=["locks", "leases"])
def test_three_runs_at_once_make_every_cell_once(
    tmp_path: Path, has_locks: bool, request: pytest.FixtureRequest
) -> None:
    trials = Trials(tmp_path / "trials", **({} if has_locks else request.getfixturevalue("lockless")))
    trial = trials.run()
    assert not trial.problems
    assert trial.counts == trials.counts
    assert trial.statuses == (0,) * DRIVERS
