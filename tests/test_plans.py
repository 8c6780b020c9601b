"""Plans: each request is written down once, several plans are one view, and looking needs nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from plugins import NEAREST, NETWORK, write
from recorded import Plan, fill, remember
from test_runs import Ear, bench, cell_folder

from mrsr_bench.cli import main
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.caption import caption_of
from mrsr_bench.reporting.render import render_table
from mrsr_bench.reporting.table import build_table
from mrsr_bench.store.plan import read_plan, view_of
from mrsr_bench.store.results import Store
from mrsr_bench.store.signature import signature
from mrsr_bench.system.files import read_sealed

Write = Callable[..., Path]
METHODS = {"bicubic": {}, "linear": {}, "edsr": {"preset": "tiny"}, "edsr+": {}}


@pytest.fixture
def plan(write_protocol: Write, tmp_path: Path) -> Plan:
    loaded, trainings = plan_request(Request(str(write_protocol(methods=METHODS, scales=[2, 3]))))
    return Store(tmp_path / "results"), loaded, trainings


def labels(store: Store) -> list[str]:
    return store.view("small").labels


def test_asking_again_renews_the_time_and_nothing_else(plan: Plan) -> None:
    first = remember(plan, ["linear"])
    earlier = read_sealed(first)
    assert remember(plan, ["linear"]) == first
    assert read_sealed(first)["plan"] == earlier["plan"]
    assert read_sealed(first)["time"] > earlier["time"]
    assert len(list(first.parent.iterdir())) == 1


def test_another_request_is_another_plan_and_the_one_asked_last_leads(plan: Plan) -> None:
    store = plan[0]
    remember(plan, ["linear"])
    remember(plan, ["bicubic"])
    assert labels(store) == ["bicubic", "linear"]
    remember(plan, ["linear"])
    assert labels(store) == ["linear", "bicubic"]


def test_a_plan_says_all_that_a_table_needs(plan: Plan) -> None:
    _, made = read_plan(remember(plan, ["edsr+"]))
    assert [column.label for column in made.columns] == ["edsr", "edsr+"]
    assert made.columns[0].preset == "tiny"
    assert made.columns[0].recipe is not None
    assert [(cell.label, cell.scale, cell.folder) for cell in made.cells] == [
        ("edsr", "x2", "bicubic/T1-x2/edsr/seed0"),
        ("edsr+", "x2", "bicubic/T1-x2/edsr+/seed0"),
        ("edsr", "x3", "bicubic/T1-x3/edsr/seed0"),
        ("edsr+", "x3", "bicubic/T1-x3/edsr+/seed0"),
    ]
    assert {cell.base for cell in made.cells} == {"bicubic/T1-x2/edsr/seed0", "bicubic/T1-x3/edsr/seed0"}
    psnr = made.metrics[0]
    assert (psnr.label, psnr.unit, psnr.decimals, psnr.higher_is_better) == ("psnr", "dB", 2, True)
    assert signature(psnr, "volume", 0, "stored") == "psnr|peak=volume_minmax|per=volume|border=0|round=stored|v1"
    assert made.protocol.resolved["split_subjects"]["test"] == ["emil", "fine"]


def test_timeouts_and_the_like_are_in_no_plan(write_protocol: Write, images: Path) -> None:
    protocol = write_protocol()
    bench(protocol, ["bicubic"], images)
    bench(protocol, ["bicubic"], images, timeout=99.0, save_every=7.0, redo=True)
    assert len(list((protocol.parent / "results" / "runs" / "small" / "plans").iterdir())) == 1


def test_where_two_plans_name_a_cell_the_later_one_gives_its_keys(plan: Plan, write_protocol: Write) -> None:
    store = plan[0]
    remember(plan, ["bicubic"])
    fill(plan, "bicubic", "x2", 30.0, 0.9)
    assert "30.00" in render_table(build_table(store.view("small")), "markdown")
    scoring = {"round": "none", "metrics": {"psnr": {"range": "volume_max"}}}
    later = plan_request(Request(str(write_protocol(methods=METHODS, scales=[2, 3], scoring=scoring))))
    remember((store, *later), ["bicubic"])
    table = build_table(store.view("small"))
    assert "Stale: bicubic T1 x2 bicubic seed 0" in caption_of(table)
    assert "psnr|peak=volume_max|" in caption_of(table), "metrics are those of the plan asked last"
    assert "30.00" not in render_table(table, "markdown")


WRITER = """
import sys
from pathlib import Path
from mrsr_bench.planning.planner import make_plan, plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.store.plan import add_plan

protocol, folder, *methods = sys.argv[1:]
for method in methods:
    request = Request(protocol, (method,))
    add_plan(Path(folder), make_plan(request, *plan_request(request)))
"""


def test_four_writers_at_once_lose_no_plan(write_protocol: Write, tmp_path: Path) -> None:
    protocol, folder = write_protocol(), tmp_path / "results" / "runs" / "small"
    files = write(tmp_path, **{f"mine{number}": NEAREST for number in range(24)})
    commands = [
        [sys.executable, "-c", WRITER, str(protocol), str(folder), *files[number::4], "bicubic"] for number in range(4)
    ]
    for writer in [subprocess.Popen(command) for command in commands]:
        assert writer.wait(120) == 0
    view = view_of(folder)
    assert view is not None
    assert not view.damaged
    assert set(view.labels) == {"bicubic", *(f"mine{number}" for number in range(24))}


def test_the_files_behind_a_methods_digest_are_kept_once(write_protocol: Write, images: Path, tmp_path: Path) -> None:
    (tmp_path / "_part.py").write_text("FACTOR = 1\n", encoding="utf-8")
    mine = write(tmp_path, mine=NEAREST.replace("import numpy", "# with _part\nimport numpy"))
    protocol = write_protocol()
    for _ in range(2):
        bench(protocol, [*mine, "bicubic"], images)
    view = Store(protocol.parent / "results").view("small")
    digests = {column.label: column.source_digest for column in view.last.columns}
    archives = sorted((protocol.parent / "results" / "runs" / "small" / "sources").iterdir())
    assert sorted(path.stem for path in archives) == sorted(digests.values())
    with zipfile.ZipFile(next(path for path in archives if path.stem == digests["mine"])) as archive:
        assert archive.namelist() == ["mine.py", "_part.py"]
        assert archive.read("_part.py") == b"FACTOR = 1\n"


# --- What looking imports --------------------------------------------------------------------------------------------


HEAVY = {"torch", "timm", "mlflow", "lightning_fabric", "numba", "nilearn", "skimage"}


def modules_after(*command: str) -> set[str]:
    """The modules that a fresh interpreter holds after a command."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print('\\nMODULES', *sys.modules))\n"
        "from mrsr_bench.cli import main\n"
        f"main({list(command)!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("\nMODULES ")[2].split())


@pytest.fixture
def finished(write_protocol: Write, images: Path, tmp_path: Path) -> Path:
    """A protocol with a finished run of bicubic, linear and a loose network, and the network's file."""
    protocol = write_protocol(methods={"bicubic": {}, "linear": {}})
    bench(protocol, ["bicubic", "linear", *write(tmp_path, network=NETWORK)], images)
    return protocol


@pytest.mark.long
def test_looking_imports_neither_methods_nor_large_libraries(finished: Path) -> None:
    results = ["--results", str(finished.parent / "results")]
    status = {name.partition(".")[0] for name in modules_after("status", *results)}
    assert status & {*HEAVY, "pandas", "scipy", "nibabel"} == set()
    names = modules_after("table", *results)
    assert {name.partition(".")[0] for name in names} & {*HEAVY, "pandas"} == set()
    assert "scipy.stats" not in names
    assert not [name for name in names if name.startswith(("mrsr_bench.methods", "mrsr_bench.datasets"))]


def run_again(protocol: Path, images: Path, methods: str) -> set[str]:
    command = ["run", "--protocol", str(protocol), "--methods", methods, "--data", str(images)]
    return modules_after(*command, "--results", str(protocol.parent / "results"), "--tracking-uri", "none")


def test_a_run_with_nothing_to_do_imports_no_method(finished: Path, images: Path) -> None:
    methods = f"bicubic,linear,{finished.parent / 'network.py'}"
    names = run_again(finished, images, methods)
    assert {name.partition(".")[0] for name in names} & {*HEAVY, "pandas"} == set()
    assert not {"scipy.stats", "scipy.fft", "scipy.ndimage"} & names
    assert not [name for name in names if name.startswith("mrsr_bench.methods.")]


class Asked(Exception):
    """A run went beyond its plan, to the methods."""


@pytest.mark.parametrize("change", ["method", "protocol", "record"])
def test_where_anything_changed_the_methods_are_asked_again(
    finished: Path, images: Path, write_protocol: Write, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    def ask(*_: object) -> None:
        raise Asked

    network = finished.parent / "network.py"
    methods = ["bicubic", "linear", str(network)]
    monkeypatch.setattr("mrsr_bench.planning.planner.plan_request", ask)
    bench(finished, methods, images)
    if change == "method":
        network.write_text(NETWORK + "# edited\n", encoding="utf-8")
    elif change == "protocol":
        write_protocol(methods={"bicubic": {}, "linear": {}}, description="another one")
    else:
        (cell_folder(finished, "linear") / "record.json").unlink()
    with pytest.raises(Asked):
        bench(finished, methods, images)


def test_an_answer_from_the_plan_is_the_answer_of_a_run(finished: Path, images: Path) -> None:
    methods = ["bicubic", "linear", str(finished.parent / "network.py")]
    answer = bench(finished, methods, images)
    os.utime(finished, (1, 1))
    (cell_folder(finished, "bicubic") / "record.json").unlink()
    again = bench(finished, methods, images)
    assert {label: (o.state, o.metrics) for label, o in answer.items()} == {
        label: (o.state, o.metrics) for label, o in again.items()
    }
    assert list(answer) == list(again)


def test_a_table_and_a_status_survive_the_loss_of_a_methods_file_and_run_nothing(
    finished: Path, images: Path, tmp_path: Path
) -> None:
    results = ["--results", str(finished.parent / "results")]

    def shown(*command: str) -> str:
        done = CliRunner().invoke(main, [*command, *results], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    before = shown("table"), shown("status")
    network = finished.parent / "network.py"
    network.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", encoding="utf-8")
    assert (shown("table"), shown("status")) == before
    assert not (tmp_path / "ran").exists()
    network.unlink()
    assert (shown("table"), shown("status")) == before
    checked = CliRunner().invoke(main, ["status", "--check", *results])
    assert (checked.exit_code, "no such method file" in checked.output) == (1, True)


def test_scoring_again_passes_over_a_plan_whose_method_is_gone(finished: Path, images: Path) -> None:
    from mrsr_bench.running import runner
    from mrsr_bench.running.settings import RunSettings

    bench(finished, ["bicubic"], images)
    (finished.parent / "network.py").unlink()
    ear = Ear()
    settings = RunSettings(data=images, results=finished.parent / "results", tracking_uri="none")
    outcomes = runner.score(str(finished), settings, ear)
    assert [outcome.cell.label for outcome in outcomes] == ["bicubic"]
    assert [line for line in ear.lines if "no such method file" in line and "left out" in line]
