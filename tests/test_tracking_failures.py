"""An MLflow tracker that fails in any way: a message in plain words, no secret, no lost record, nothing twice."""

from __future__ import annotations

import base64
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded import Plan, fill, remember
from tracked import client_of, mirrored_cells, runs_of

from mrsr_bench.errors import BenchError
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.store.results import Store
from mrsr_bench.system.files import sha256_of
from mrsr_bench.tracking.address import Address, address_of
from mrsr_bench.tracking.curves import OtherCurve, last_step, read_rows
from mrsr_bench.tracking.mirror import Mirror
from mrsr_bench.tracking.runs import Runs
from mrsr_bench.tracking.synchronisation import synchronise
from mrsr_bench.tracking.tracker import Tracker
from mrsr_bench.tracking.upload import Upload

long = pytest.mark.long


# Addresses


@given(st.text(st.characters(blacklist_categories=("Z", "C"), blacklist_characters="/"), min_size=1))
def test_no_user_and_no_password_of_an_address_is_shown(secret: str) -> None:
    address = Address(f"http://me:{secret}@host:5000/x")
    assert str(address) == repr(address) == "http://***@host:5000/x"
    assert address.hide(f"no answer from http://me:{secret}@host:5000/x today") == (
        "no answer from http://***@host:5000/x today"
    )
    assert address.mark == Address("http://host:5000/x").mark
    assert address.mark != Address("http://host:5001/x").mark


def test_mlflows_own_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "sesame")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0ken")
    tracker = Tracker(address_of("http://host", tmp_path))
    assert tracker.explain(ValueError("tried sesame,\n then t0ken")) == "tried ***, then ***"
    assert len(tracker.explain(ValueError("x" * 1000))) < 310


def test_a_database_is_known_by_its_address(tmp_path: Path) -> None:
    assert address_of(None, tmp_path).database == (tmp_path / "mlflow.db").resolve()
    assert Address("sqlite:////a/b.db?timeout=3").database == Path("/a/b.db")
    assert Address("postgresql+psycopg2://u:p@h/d").database is None
    assert [Address(uri).is_server for uri in ("https://h", "http://h", "sqlite:///x")] == [True, True, False]


# Servers that fail


class Server(ThreadingHTTPServer):
    """Answers every request with one status, after a while; keeps what was asked."""

    def __init__(self, status: int, seconds: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.seconds = status, seconds
        self.users: list[str | None] = []
        self.daemon_threads = True

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        self.server.users.append(self.headers.get("Authorization"))
        time.sleep(self.server.seconds)
        try:
            self.send_response(self.server.status)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"oh\n\n")
        except OSError:  # the other side has gone
            pass

    do_GET = do_PUT = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def failing() -> Iterator[Callable[..., Server]]:
    servers = list[Server]()

    def start(*args: Any) -> Server:
        servers.append(Server(*args))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def plan(write_protocol: Callable[..., Path], tmp_path: Path) -> Plan:
    """Two cells with records, and their plan."""
    loaded, trainings = plan_request(Request(str(write_protocol(methods={"bicubic": {}, "linear": {}}))))
    plan = Store(tmp_path / "results"), loaded, trainings
    for number, label in enumerate(("bicubic", "linear")):
        fill(plan, label, "x2", 30 + number, 0.9, fit=None)
    remember(plan, [])
    return plan


@long
@pytest.mark.parametrize(
    ("status", "seconds", "words"),
    [
        (500, 0.0, "it answers with errors; its log says why"),
        (503, 0.0, "it answers with errors; its log says why"),
        (200, 5.0, "it does not answer in time"),
        (401, 0.0, "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
        (403, 0.0, "it does not allow this user"),
    ],
)
def test_what_is_wrong_with_a_server_is_said_once_in_plain_words(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Any, status: int, seconds: float, words: str
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    server, said = failing(status, seconds), list[str]()
    with Mirror(tmp_path / "results", server.uri.replace("//", "//me:sesame@"), said.append) as mirror:
        for cell in mirrored_cells(tmp_path, *plan[1:]):
            mirror.sync([cell])
    [warning] = said
    assert words in warning
    assert "results are safe" in warning
    assert "sesame" not in warning
    assert not list(tmp_path.rglob("mirrored-*"))
    with pytest.raises(BenchError, match="Up to here: 2 records, 0 sent") as caught:
        synchronise(tmp_path / "results", None, server.uri, pytest.fail)
    assert words in str(caught.value)


@long
def test_the_user_comes_from_mlflows_environment_variables(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: Any
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "sesame")
    server, said = failing(403), list[str]()
    Mirror(tmp_path / "results", server.uri, said.append).sync(mirrored_cells(tmp_path, *plan[1:]))
    assert set(server.users) == {f"Basic {base64.b64encode(b'me:sesame').decode()}"}
    assert "sesame" not in "".join(said)
    texts = [path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert not any(b"sesame" in text for text in texts)


@long
@pytest.mark.usefixtures("database")
def test_a_tracker_that_comes_back_gets_what_it_missed(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrsr_bench.tracking.mirror._PAUSE_SECONDS", 0.01)
    first, second = mirrored_cells(tmp_path, *plan[1:])
    said = list[str]()
    with Mirror(tmp_path / "results", None, said.append) as mirror:
        open_run = mirror._upload.runs.open
        monkeypatch.setattr(mirror._upload.runs, "open", lambda *args, **tags: 1 / 0)
        monkeypatch.setattr(Tracker, "answers", lambda self: False)
        mirror.sync([first])
        monkeypatch.undo()
        monkeypatch.setattr(mirror._upload.runs, "open", open_run)
        time.sleep(0.02)
        mirror.sync([second])
    assert len(said) == 1
    assert "division by zero" in said[0]
    assert sorted(run.data.tags["label"] for run in runs_of(tmp_path / "results")) == ["bicubic", "linear"]


@long
@pytest.mark.usefixtures("database")
def test_a_record_whose_last_answer_is_lost_stays_finished(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has done everything, but goes before it says so."""
    results, answers = tmp_path / "results", Tracker.answers
    monkeypatch.setattr("mrsr_bench.tracking.mirror._PAUSE_SECONDS", 0.0)
    set_tags, lost = Upload._set_tags, list[str]()

    def lose(self: Upload, run_id: str, content: dict[str, str]) -> None:
        set_tags(self, run_id, content)
        if not lost:
            lost.append(run_id)
            raise ConnectionError("connection reset")

    monkeypatch.setattr(Upload, "_set_tags", lose)
    monkeypatch.setattr(Tracker, "answers", lambda self: not lost and answers(self))
    said = list[str]()
    with Mirror(results, None, said.append) as mirror:
        mirror.sync(mirrored_cells(tmp_path, *plan[1:]))
        assert len(mirror._waiting) == 2
    assert ["it closed the connection" in warning for warning in said] == [True]
    assert lost[0] in [run.info.run_id for run in runs_of(results)]
    assert [run.info.status for run in runs_of(results)] == ["FINISHED"] * 2
    assert len(list(results.rglob("mirrored-*"))) == 2


@long
@pytest.mark.usefixtures("database")
def test_a_run_that_was_ended_by_hand_is_sent_again(plan: Plan, tmp_path: Path) -> None:
    results = tmp_path / "results"
    synchronise(results, None, None, pytest.fail)
    client_of(results).set_terminated(runs_of(results)[0].info.run_id, "KILLED")
    assert str(synchronise(results, None, None, pytest.fail)) == "2 records, 1 sent, 1 were there, 0 doubles removed"
    assert [run.info.status for run in runs_of(results)] == ["FINISHED"] * 2


# Deleted in the page


@long
@pytest.mark.usefixtures("database")
def test_a_deleted_experiment_is_named_with_the_way_out(plan: Plan, tmp_path: Path) -> None:
    results, said = tmp_path / "results", list[str]()
    assert str(synchronise(results, None, None, pytest.fail)) == "2 records, 2 sent, 0 were there, 0 doubles removed"
    client = client_of(results)
    number = client.get_experiment_by_name("small").experiment_id
    client.delete_experiment(number)
    way_out = f"MLFLOW_TRACKING_URI=sqlite:///{results}/mlflow.db mlflow experiments restore --experiment-id {number}"
    with pytest.raises(BenchError, match=f"the experiment 'small' was deleted there.*{way_out}"):
        synchronise(results, None, None, pytest.fail)
    for mark in results.rglob("mirrored-*"):
        mark.unlink()
    with Mirror(results, None, said.append) as mirror:
        for cell in mirrored_cells(tmp_path, *plan[1:]):
            mirror.sync([cell])
    [warning] = said
    assert way_out in warning
    command = [sys.executable, "-m", "mlflow", *way_out.split()[2:]]
    uri = {"MLFLOW_TRACKING_URI": way_out.split()[0].partition("=")[2]}
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **uri}, timeout=200)
    assert synchronise(results, None, None, pytest.fail).present == 2


@long
@pytest.mark.usefixtures("database")
def test_a_run_that_was_deleted_is_sent_again_and_one_that_never_ended_is_ended(plan: Plan, tmp_path: Path) -> None:
    results = tmp_path / "results"
    synchronise(results, None, None, pytest.fail)
    client, runs = client_of(results), runs_of(results)
    client.delete_run(runs[0].info.run_id)
    [cell, _] = mirrored_cells(tmp_path, *plan[1:])
    stale = {**cell.tags, "mrsr.id": "0" * 32}
    left = client.create_run(runs[0].info.experiment_id, tags=stale, run_name="another key, no record")
    client.create_run(runs[0].info.experiment_id, run_name="somebody's own")
    done = synchronise(results, None, None, pytest.fail)
    assert str(done) == "2 records, 1 sent, 1 were there, 0 doubles removed, 1 stopped runs ended"
    assert client.get_run(left.info.run_id).info.status == "KILLED"
    assert {run.info.run_name: run.info.status for run in runs_of(results)} == {
        "bicubic T1 x2 bicubic seed 0": "FINISHED",
        "linear T1 x2 bicubic seed 0": "FINISHED",
        "another key, no record": "KILLED",
        "somebody's own": "RUNNING",
    }


# Nothing twice


@long
@pytest.mark.usefixtures("database")
def test_of_two_drivers_that_make_a_run_at_once_both_take_the_one_with_the_smallest_id(
    plan: Plan, tmp_path: Path
) -> None:
    [cell, _] = mirrored_cells(tmp_path, *plan[1:])
    barrier, opened = threading.Barrier(2), list[Any]()

    class Slow(Runs):
        """Looks when the other driver looks: both find nothing, both make a run, both find two."""

        def find(self, cell: Any) -> list[Any]:
            barrier.wait(60)
            found = super().find(cell)
            barrier.wait(60)
            return found

    def act() -> None:
        runs = Slow(Tracker(address_of(None, tmp_path / "results")), tmp_path / "results" / "mlartifacts")
        opened.append(runs.open(cell))

    Runs(Tracker(address_of(None, tmp_path / "results")), tmp_path / "results" / "mlartifacts").experiment("small")
    drivers = [threading.Thread(target=act) for _ in range(2)]
    for driver in drivers:
        driver.start()
    for driver in drivers:
        driver.join(60)
    [run] = runs_of(tmp_path / "results")
    assert [opened_run.info.run_id for opened_run, _ in opened] == [run.info.run_id] * 2
    deleted = client_of(tmp_path / "results").search_runs([run.info.experiment_id], run_view_type=2)
    assert [other.info.run_id > run.info.run_id for other in deleted] == [True]
    assert sorted(is_new for _, is_new in opened) == [False, True]


@long
@pytest.mark.usefixtures("database")
def test_a_driver_whose_run_another_one_deletes_meanwhile_goes_on_with_the_run_that_stays(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked again before the other one had made its run, whose id is smaller."""
    results, thrown = tmp_path / "results", list[str]()
    send_content = Upload._send_content

    def overtaken(self: Upload, run_id: str, record: Any) -> None:
        if not thrown:
            thrown.append(run_id)
            run = self.runs.client.get_run(run_id)
            self.runs.client.delete_run(run_id)
            self.runs.client.create_run(run.info.experiment_id, tags=run.data.tags, run_name=run.info.run_name)
        send_content(self, run_id, record)

    monkeypatch.setattr(Upload, "_send_content", overtaken)
    assert synchronise(results, None, None, pytest.fail).sent == 2
    runs = runs_of(results)
    assert sorted(run.data.tags["label"] for run in runs) == ["bicubic", "linear"]
    assert thrown[0] not in [run.info.run_id for run in runs]
    assert {run.info.status for run in runs} == {"FINISHED"}


@long
@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("whole", [True, False], ids=["the whole run is there", "only copies are there"])
def test_a_copy_of_a_runs_tags_is_no_record_whatever_its_id(plan: Plan, tmp_path: Path, whole: bool) -> None:
    """Of many random ids one is the smallest."""
    results = tmp_path / "results"
    synchronise(results, None, None, pytest.fail)
    client, runs = client_of(results), runs_of(results)
    linear = next(run for run in runs if run.data.tags["label"] == "linear")
    for _ in range(12):
        client.create_run(linear.info.experiment_id, tags=linear.data.tags)
    if not whole:
        client.delete_run(linear.info.run_id)
    done = synchronise(results, None, None, pytest.fail)
    assert (done.sent, done.doubles) == ((0, 12) if whole else (1, 11))
    [left] = [run for run in runs_of(results) if run.data.tags["label"] == "linear"]
    assert (left.info.run_id == linear.info.run_id) is whole
    assert "psnr" in left.data.metrics


@long
@pytest.mark.usefixtures("database")
def test_a_record_that_changed_gets_a_new_run_and_the_old_one_is_deleted(plan: Plan, tmp_path: Path) -> None:
    results = tmp_path / "results"
    synchronise(results, None, None, pytest.fail)
    fill(plan, "linear", "x2", 33.5, 0.9, fit=None)
    assert str(synchronise(results, None, None, pytest.fail)).startswith("2 records, 1 sent, 1 were there")
    runs = {run.data.tags["label"]: run for run in runs_of(results)}
    assert set(runs) == {"bicubic", "linear"}
    history = client_of(results).get_metric_history(runs["linear"].info.run_id, "psnr")
    assert [point.value for point in history] == [33.5]


@long
@pytest.mark.usefixtures("database")
def test_a_damaged_record_is_said_and_the_tracker_is_not_exact(plan: Plan, tmp_path: Path) -> None:
    [folder] = (tmp_path / "results").rglob("linear/seed0")
    (folder / "scores.csv").write_text("subject,metric,value\n", encoding="utf-8")
    said = list[str]()
    done = synchronise(tmp_path / "results", None, None, said.append)
    assert (done.records, done.sent, done.missing) == (1, 1, ["linear T1 x2 bicubic seed 0"])
    assert "scores.csv is damaged" in said[0]


@long
@pytest.mark.usefixtures("database")
def test_marks_do_not_count_for_sync_and_are_written_where_the_record_is_there(plan: Plan, tmp_path: Path) -> None:
    results = tmp_path / "results"
    mark = address_of(None, results).mark
    for record in results.rglob("record.json"):
        (record.parent / mark).write_text(sha256_of(record), encoding="utf-8")
    assert synchronise(results, "small", None, pytest.fail).sent == 2
    for path in results.rglob(mark):
        path.unlink()
    assert synchronise(results, "small", None, pytest.fail).present == 2
    assert len(list(results.rglob(mark))) == 2


# Curves


class History:
    """A client that has a curve."""

    def __init__(self, points: dict[int, float]) -> None:
        self._points = points

    def get_metric_history(self, run_id: str, name: str) -> list[Any]:
        return [type("Point", (), {"step": step, "value": value}) for step, value in self._points.items()]


@given(st.lists(st.floats(allow_infinity=False), min_size=1, max_size=20), st.data())
def test_the_beginning_of_a_curve_is_continued_and_another_curve_is_not(losses: list[float], data: Any) -> None:
    rows = [{"step": str(step), "loss": repr(loss)} for step, loss in enumerate(losses, 1)]
    sent = data.draw(st.integers(0, len(losses)))
    points = dict(enumerate(losses[:sent], 1))
    assert last_step(History(points), "", rows, whole=True) == sent
    if sent:
        changed = 0.0 if math.isnan(points[sent]) else math.nan
        with pytest.raises(OtherCurve):
            last_step(History({**points, sent: changed}), "", rows, whole=False)
    later = {**dict(enumerate(losses, 1)), len(losses) + 1: 1.0}
    assert last_step(History(later), "", rows, whole=False) == len(losses) + 1, "a killed training will write it again"
    with pytest.raises(OtherCurve):
        last_step(History(later), "", rows, whole=True)


@given(st.integers(0, 60))
def test_a_row_that_is_half_written_is_no_row(cut: int) -> None:
    text = "step,loss,val_psnr,lr,seconds\n1,0.5,,0.1,2.25\n2,0.25,31.5,0.1,4.5\n"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "train.csv")
        path.write_text(text[: len(text) - cut], encoding="utf-8")
        rows = read_rows(path)
    assert len(rows) == max(0, text[: len(text) - cut].count("\n") - 1)
    assert all(row["seconds"] in ("2.25", "4.5") for row in rows)


@long
@pytest.mark.usefixtures("database")
def test_every_cell_that_trains_is_followed_and_an_earlier_curve_does_not_stay(
    write_protocol: Callable[..., Path], tmp_path: Path
) -> None:
    methods = {name: {"method": "edsr", "preset": "tiny"} for name in ("one", "two")}
    loaded, trainings = plan_request(Request(str(write_protocol(methods=methods))))
    cells, results = mirrored_cells(tmp_path, loaded, trainings), tmp_path / "results"
    for losses in ((0.5, 0.25), (0.75, 0.125)):
        with Mirror(results, None, pytest.fail) as mirror:
            for cell in cells:
                cell.place.base.mkdir(parents=True, exist_ok=True)
                rows = [f"{step},{loss},,0.1,{step}\n" for step, loss in enumerate(losses, 1)]
                (cell.place.base / "train.csv").write_text("step,loss,val_psnr,lr,seconds\n" + "".join(rows))
                mirror.follow(cell)
        runs = runs_of(results)
        assert {run.data.tags["label"]: run.info.status for run in runs} == {"one": "KILLED", "two": "KILLED"}
        for run in runs:
            history = client_of(results).get_metric_history(run.info.run_id, "loss")
            assert [(point.step, point.value) for point in history] == list(enumerate(losses, 1))
