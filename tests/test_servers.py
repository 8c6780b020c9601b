"""A team's MLflow server, on PostgreSQL, stopped and killed while eight writers send: what arrives is exact."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from figure_records import LOOSE
from postgres import MlflowServer, cluster, lacking, wait_until
from recorded import FIT, Plan, remember, write_done

from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.store.cell_files import write_record
from mrsr_bench.store.locks import HeldFolder
from mrsr_bench.store.results import Store
from mrsr_bench.store.score_files import csv_text
from mrsr_bench.system.files import sha256_of
from mrsr_bench.system.training_states import CURVE

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]

WRITERS, CELLS, ROWS = 8, 30, 40
WRITER = """
import sys, time
from pathlib import Path
from mrsr_bench.store.results import Store
from mrsr_bench.tracking import mirror
from mrsr_bench.tracking.runs import MirroredCell

results, uri, number, writers = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
mirror._PAUSE_SECONDS = mirror._LONGEST_PAUSE_SECONDS = 2.0
view = Store(results).view("small")
with mirror.Mirror(results, uri, print) as sender:
    for at, planned in enumerate(view.cells[number::writers]):
        cell = MirroredCell("small", str(planned.cell), planned.cell.folder, view.place(planned))
        if at % 5 == 0:
            sender.follow(cell)
        sender.sync([cell])
        for _ in range(5):  # the next cell takes its time
            if sender._waiting:
                time.sleep(1)
                sender.sync([])
"""


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    if reason := lacking():
        pytest.skip(reason)
    with cluster() as address:
        yield address


@pytest.fixture(scope="module")
def server(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(database, tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


def fill_results(write_protocol: Callable[..., Path], folder: Path, seeds: int = WRITERS, **changes: Any) -> Store:
    """A results folder with a record for each of `CELLS` cells of each seed: networks with curves, three scales."""
    loose = folder / "loose.py"
    loose.write_text(LOOSE, encoding="utf-8")
    labels = {f"net{number}": {"method": "edsr", "preset": "tiny"} for number in range(9)}
    path = write_protocol(methods=labels, seeds=list(range(seeds)), scales=[2, 3, 4], **changes)
    methods = [*labels, str(loose)]
    loaded, trainings = plan_request(Request(str(path), methods))
    plan: Plan = Store(folder / "results"), loaded, trainings
    for number, training in enumerate(trainings):
        for cell in training.cells:
            target = training.folder(plan[0], cell)
            record = write_done(target, training, cell, {"one": {"psnr": 30 + number / 64, "ssim": 0.9}}, fit=FIT)
            held = HeldFolder(target)
            held.write_text(CURVE, curve(number))
            checksums = record.checksums.model_copy(update={"curve": sha256_of(target / CURVE)})
            write_record(held, record.model_copy(update={"checksums": checksums}))
    remember(plan, methods)
    return plan[0]


def curve(number: int) -> str:
    """A train.csv with a validation every tenth step."""
    header = ["step", "loss", "val_psnr", "lr", "seconds", "pixels_per_second", "memory_bytes"]
    rows = list[list[str]]()
    for step in range(1, ROWS + 1):
        val_psnr = repr(30 + step / 7) if step % 10 == 0 else ""
        rows.append([str(step), repr(1 / (step + number)), val_psnr, "0.001", repr(step / 3), "1000", "5000"])
    return csv_text([header, *rows])


def query(database: str, sql: str) -> list[Any]:
    import psycopg2

    connection = psycopg2.connect(database.replace("+psycopg2", ""))
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
    finally:
        connection.close()


def bench(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mrsr_bench", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


ARRIVED = (
    "SELECT count(*) FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid "
    "WHERE tags.key = 'mrsr.record' AND runs.lifecycle_stage = 'active'"
)


def test_eight_writers_and_a_server_that_is_stopped_and_killed_then_sync_makes_it_exact(
    server: MlflowServer, database: str, write_protocol: Callable[..., Path], tmp_path: Path
) -> None:
    total = WRITERS * CELLS
    results = fill_results(write_protocol, tmp_path).results
    folders = [path.parent for path in results.rglob("record.json")]
    assert len(folders) == total
    started = time.monotonic()
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(results), server.uri, str(number), str(WRITERS)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in range(WRITERS)
    ]
    try:
        for share, end in ((0.2, signal.SIGTERM), (0.5, signal.SIGKILL)):
            wait_until(lambda share=share: query(database, ARRIVED)[0][0] >= share * total, 200, f"{share} of all")
            if end == signal.SIGKILL:
                writers[0].kill()  # its cells are left, one perhaps in the middle
            server.stop(end)
            time.sleep(1)
            server.start()
        said = [writer.communicate(timeout=200)[0] for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
    assert [writer.returncode for writer in writers] == [-signal.SIGKILL, *[0] * (WRITERS - 1)], said
    warnings = [line for text in said for line in text.splitlines()]
    assert warnings, "nobody noticed that the server was gone"
    assert {line.partition(":")[0] for line in warnings} == {"records are not mirrored to MLflow at http"}
    arrived = query(database, ARRIVED)[0][0]

    # A mark that lies, and a run that appears twice.
    from mlflow import MlflowClient

    client = MlflowClient(server.uri)
    number = client.get_experiment_by_name("small").experiment_id
    [mark] = {path.name for path in results.rglob("mirrored-*")}
    for folder in folders:
        (folder / mark).write_text(sha256_of(folder / "record.json"), encoding="utf-8")
    twin = client.search_runs([number], "attributes.status = 'FINISHED'", max_results=1)[0]
    client.create_run(number, tags=twin.data.tags, run_name=twin.info.run_name)

    done = bench("mlflow", "sync", "--results", str(results), "--tracking-uri", server.uri)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    counts = [int(word) for word in done.stdout.replace(",", "").split() if word.isdecimal()]
    records, sent, present, doubles = counts[:4]
    assert records == sent + present == total
    assert doubles >= 1
    print(f"{arrived} of {total} before sync; {done.stdout.strip()}; {time.monotonic() - started:.0f} s")
    check_content(database, results)

    again = bench("mlflow", "sync", "--results", str(results), "--tracking-uri", server.uri)
    assert (again.returncode, again.stdout) == (0, f"{total} records, 0 sent, {total} were there, 0 doubles removed\n")


def test_what_is_pulled_from_a_server_gives_the_same_table(
    server: MlflowServer, write_protocol: Callable[..., Path], tmp_path: Path
) -> None:
    results = fill_results(write_protocol, tmp_path, seeds=1, name="few").results
    sent = bench("mlflow", "sync", "--results", str(results), "--tracking-uri", server.uri)
    assert (sent.returncode, sent.stdout) == (0, f"{CELLS} records, {CELLS} sent, 0 were there, 0 doubles removed\n")
    pulled = bench("mlflow", "pull", "--tracking-uri", server.uri, "--protocol", "few", str(tmp_path / "pulled"))
    assert (pulled.returncode, pulled.stderr) == (0, "")
    assert f"cells: {CELLS} taken" in pulled.stdout
    tables = [bench("table", "--results", str(folder)) for folder in (results, tmp_path / "pulled")]
    assert tables[0].returncode == 0
    assert tables[0].stdout == tables[1].stdout
    for record in results.rglob("record.json"):
        other = tmp_path / "pulled" / record.parent.relative_to(results)
        for name in ("record.json", "scores.csv", CURVE):
            assert (other / name).read_bytes() == (record.parent / name).read_bytes()


def check_content(database: str, results: Path) -> None:
    """The server holds every record once, finished, with its figures and its whole curve, each point once."""
    total = WRITERS * CELLS
    active = "JOIN runs ON runs.run_uuid = {0}.run_uuid WHERE runs.lifecycle_stage = 'active'"
    tags = query(database, f"SELECT tags.value, runs.status FROM tags {active.format('tags')} AND key = 'mrsr.record'")
    records = Counter(f"2-{sha256_of(path)}" for path in results.rglob("record.json"))
    assert Counter(value for value, _ in tags) == records
    assert {status for _, status in tags} == {"FINISHED"}
    assert query(database, "SELECT count(*) FROM runs WHERE lifecycle_stage = 'active'") == [(total,)]
    rows = query(
        database,
        "SELECT metrics.run_uuid, key, count(*), count(DISTINCT step), max(step) FROM metrics "
        f"{active.format('metrics')} GROUP BY metrics.run_uuid, key",
    )
    by_name: dict[str, list[tuple[int, int, int]]] = {}
    for _, name, points, steps, last in rows:
        by_name.setdefault(name, []).append((points, steps, last))
    for name in ("loss", "lr", "pixels_per_second", "memory_bytes"):
        assert Counter(by_name[name]) == {(ROWS, ROWS, ROWS): total}
    assert Counter(by_name["val_psnr"]) == {(ROWS // 10, ROWS // 10, ROWS): total}
    assert Counter(by_name["psnr"]) == {(1, 1, 0): total}
