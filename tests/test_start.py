"""However Python was started, a run's processes start; a script runs once; and what went wrong is seen from Python."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from multiprocessing import connection, spawn
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from conftest import SUBJECTS, small_protocol
from plugins import NETWORK, RAISES, classical, write
from ruamel.yaml import YAML

import mrsr_bench
from mrsr_bench.cli import main
from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.methods.bicubic import Bicubic
from mrsr_bench.planning.cells import Cell
from mrsr_bench.planning.request import Request
from mrsr_bench.protocol.data_blocks import DegradationSpec
from mrsr_bench.running import runner
from mrsr_bench.running.outcomes import Outcome, Outcomes
from mrsr_bench.running.progress import Listener
from mrsr_bench.running.settings import RunSettings, Shard
from mrsr_bench.system import processes
from mrsr_bench.system.processes import forkserver
from mrsr_bench.testing.trial import Flaw, Trial

ROOT = Path(__file__).parents[1]
METHODS = ["bicubic", "linear"]
SECONDS = 240
"""Within which every program here must end, so that one that hangs is a failure with a name."""
pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]
TEMP_LENGTH = 134
"""Characters of TMPDIR on a cluster's node, where a socket's path may have 107 bytes."""


class Silent(Listener):
    """Says nothing."""

    def say(self, text: str) -> None:
        pass


def small(folder: Path) -> Path:
    """The small protocol with two methods that do not learn."""
    rows = [f"{subject},{fold}\n" for fold, subjects in SUBJECTS.items() for subject in subjects]
    (folder / "split.csv").write_text("subject,fold\n" + "".join(rows), encoding="utf-8")
    path = folder / "small.yaml"
    with path.open("w", encoding="utf-8") as file:
        YAML().dump(small_protocol(methods={method: {} for method in METHODS}), file)
    return path


def figures(results: Path) -> dict[str, dict[str, float]]:
    """Label → the metrics of its record."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in results.rglob("record.json")]
    return {record["label"]: record["metrics"] for record in records}


# --- ways to start Python ------------------------------------------------------------------------------------------

PROGRAM = """\
import os, sys, tempfile
from multiprocessing import forkserver
import mrsr_bench

with open("starts", "a") as file: file.write(f"{__name__}\\n")

main, methods = sys.modules["__main__"], ["bicubic", "linear", *sys.argv[1:]]
outcomes = mrsr_bench.run("small.yaml", methods, data=os.environ["DATA"], tracking_uri="none")
print(tempfile.gettempdir())
print(forkserver._forkserver._forkserver_address)
print({outcome.state for outcome in outcomes}, sys.modules["__main__"] is main)
"""
LAST_WORDS = "{'done'} True"
NOTEBOOK = """
import code, sys, types

# As an IPython kernel does: the cells' names are those of a module without a file.
sys.modules["__main__"] = module = types.ModuleType("__main__")
cells = code.InteractiveInterpreter(vars(module))
for cell in sys.stdin.read().split("\\n\\n"):
    cells.runcode(compile(cell, "<cell>", "exec"))
"""
COMMAND_LINE = ["-m", "mrsr_bench", "run", "--protocol", "small.yaml", "--tracking-uri", "none", "--data"]
SEES = classical("open('seen', 'w').write(tempfile.gettempdir())", top="import tempfile")
"""A method that writes down what its process takes for the folder of temporary files."""


@dataclass
class Way:
    """How PROGRAM is started: Python's arguments, and whether the program comes from standard input."""

    arguments: list[str]
    stdin: bool = False
    long_tmpdir: bool = False


WAYS = {
    "a script without a guard, under a long TMPDIR": Way(["user.py", "sees.py"], long_tmpdir=True),
    "standard input": Way(["-"], stdin=True),
    "an argument of -c": Way(["-c", PROGRAM]),
    "a module of -m": Way(["-m", "user"]),
    "a notebook": Way(["-c", NOTEBOOK], stdin=True),
    "the command line": Way(COMMAND_LINE),
}
FOR_TEST_ALL = ("standard input", "an argument of -c", "a module of -m", "the command line")
"""A notebook has no file either, the script is a module with a file too, and most tests use the command line."""


@dataclass
class Ended:
    """A program that has ended, in its folder."""

    folder: Path
    status: int
    output: str
    errors: str


def start(way: Way, folder: Path, images: Path) -> Ended:
    """Start PROGRAM in a folder of its own and wait for it."""
    small(folder)
    write(folder, user=PROGRAM, sees=SEES)
    environment = {"DATA": str(images)}
    if way.long_tmpdir:
        long = folder / ("t" * max(TEMP_LENGTH - len(str(folder)) - 1, 1))
        long.mkdir()
        environment["TMPDIR"] = str(long)
    more = [str(images)] if way.arguments is COMMAND_LINE else []
    return python(*way.arguments, *more, folder=folder, stdin=PROGRAM if way.stdin else "", **environment)


def python(*arguments: str, folder: Path, stdin: str = "", **environment: str) -> Ended:
    """Python in a folder, with some more environment."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    return Ended(folder, done.returncode, done.stdout, done.stderr)


def readme_example(folder: Path) -> Ended:
    """The Python example of README.md, saved as a script."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    [example] = re.findall(r"```python\n(import mrsr_bench\n.*?)```", text, re.DOTALL)
    (folder / "example.py").write_text(example, encoding="utf-8")
    return python("example.py", folder=folder)


@pytest.fixture(scope="module")
def started(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ended]:
    """Starts a way, or "README", when it is first asked for: most of its seconds are imports."""

    @cache
    def ended(name: str) -> Ended:
        folder = tmp_path_factory.mktemp("way")
        return readme_example(folder) if name == "README" else start(WAYS[name], folder, images)

    return ended


@pytest.fixture(scope="module")
def expected(images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, float]]:
    """The figures that pytest's own process gets."""
    folder = tmp_path_factory.mktemp("expected")
    run(small(folder), METHODS, images)
    return figures(folder / "results")


def run(protocol: Path, methods: list[str], images: Path, **options: Any) -> Outcomes:
    """`mrsr_bench.run` with results beside the protocol and without a word."""
    options = {"results": protocol.parent / "results", "tracking_uri": "none", "listener": Silent(), **options}
    return mrsr_bench.run(str(protocol), methods, data=images, **options)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in FOR_TEST_ALL else []) for name in WAYS]
)
def test_every_way_to_start_gives_the_same_figures_and_runs_the_users_lines_once(
    name: str, started: Callable[[str], Ended], expected: dict[str, dict[str, float]]
) -> None:
    ended = started(name)
    assert ended.status == 0, ended.output + ended.errors
    assert "Traceback" not in ended.errors
    assert "Warning" not in ended.errors
    found = figures(ended.folder / "results")
    assert {method: found[method] for method in METHODS} == expected
    if WAYS[name].arguments is not COMMAND_LINE:
        assert ended.output.splitlines()[-1] == LAST_WORDS
        assert (ended.folder / "starts").read_text(encoding="utf-8") == "__main__\n"


def test_the_example_of_the_readme_runs_as_a_script(started: Callable[[str], Ended]) -> None:
    ended = started("README")
    assert ended.status == 0, ended.output + ended.errors
    assert "Warning" not in ended.errors
    assert "linear: done  psnr 31.4" in ended.output
    assert "psnr" in ended.output
    assert "29.897" in ended.output, "the frame that it prints"
    assert "NaN" not in ended.output


# --- children ------------------------------------------------------------------------------------------------------


def test_only_the_socket_leaves_a_long_tmpdir_and_goes_when_the_process_does(started: Callable[[str], Ended]) -> None:
    ended = started("a script without a guard, under a long TMPDIR")
    *_, own, address, _ = ended.output.splitlines()
    assert len(own) >= TEMP_LENGTH
    assert own == (ended.folder / "seen").read_text(encoding="utf-8"), "a child's folder"
    assert len(address) < 104
    assert not Path(address).parent.exists()
    assert Path(address).parent.parent.is_dir()
    assert list(Path(own).glob("pymp-*")) == [], "Python's own folder for it is gone as well"


def test_a_socket_stays_where_python_puts_it_while_its_path_is_short_enough() -> None:
    for length, stays in ((processes._ADDRESS_BYTES - 1, True), (processes._ADDRESS_BYTES, False)):
        address = "/" + "a" * (length - 1)
        assert (processes._short_enough(address) == address) is stays
    assert processes._short_enough("/" + "ä" * 60) != "/" + "ä" * 60, "bytes count"


def test_a_socket_that_has_room_nowhere_is_an_error_that_says_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_SHORT_FOLDERS", (str(tmp_path / "missing"),))
    with pytest.raises(BenchError, match=r"TMPDIR is too long.* 107 bytes .*/ttt.*missing can be .*Set TMPDIR"):
        processes._short_enough("/" + "t" * TEMP_LENGTH)


def test_while_a_child_starts_other_threads_see_python_as_it_is_and_later_all_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    functions, module = (spawn.get_preparation_data, connection.arbitrary_address), sys.modules["__main__"]
    monkeypatch.setattr(module, "__spec__", None)
    monkeypatch.setattr(module, "__file__", "/a/script.py", raising=False)
    seen = {}

    def look(process: Any) -> None:
        seen["here"] = spawn.get_preparation_data("child")
        with ThreadPoolExecutor(1) as pool:
            seen["elsewhere"] = pool.submit(spawn.get_preparation_data, "child").result()
        assert sys.modules["__main__"] is module
        raise KeyboardInterrupt

    monkeypatch.setattr(ForkServerProcess, "_Popen", staticmethod(look))
    with pytest.raises(KeyboardInterrupt):
        forkserver().Process(target=os.getpid).start()
    assert seen["elsewhere"] == spawn.get_preparation_data("child")
    assert seen["elsewhere"].pop("init_main_from_path") == "/a/script.py"
    assert seen["here"] == seen["elsewhere"]
    assert (spawn.get_preparation_data, connection.arbitrary_address) == functions


def test_threads_may_start_children_at_once() -> None:
    functions = spawn.get_preparation_data, connection.arbitrary_address
    children = [forkserver().Process(target=os.getpid) for _ in range(6)]
    threads = [threading.Thread(target=child.start) for child in children]
    for thread in threads:
        thread.start()
    for thread, child in zip(threads, children, strict=True):
        thread.join()
        child.join()
    assert [child.exitcode for child in children] == [0] * 6
    assert (spawn.get_preparation_data, connection.arbitrary_address) == functions


def test_main_and_python_are_what_they_were_after_a_run_that_raises(images: Path, tmp_path: Path) -> None:
    module, content = sys.modules["__main__"], dict(vars(sys.modules["__main__"]))
    functions = spawn.get_preparation_data, connection.arbitrary_address

    class Broken(Silent):
        def settled(self, outcome: Outcome) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(small(tmp_path), METHODS, images, listener=Broken())
    with pytest.raises(UsageError):
        run(small(tmp_path), ["nonsense"], images)
    assert sys.modules["__main__"] is module
    assert vars(module) == content
    assert (spawn.get_preparation_data, connection.arbitrary_address) == functions


def test_every_process_of_the_package_is_started_in_the_same_way() -> None:
    """A child by `processes.child`, a pool by `parallel`; a training's loader has one thread, and no pool."""
    makers = {
        r"forkserver\(|context\.Process\(": {"system/processes.py", "system/parallel.py"},
        r"ProcessPoolExecutor\(": {"system/parallel.py"},
        r"ThreadPoolExecutor\(": {"system/parallel.py", "training/loader.py"},
        r"get_context\(|set_start_method\(|multiprocessing\.(?:Process|Pool|Manager)\(|\bPool\(": set(),
    }
    for pattern, expected in makers.items():
        folder = ROOT / "benchmark"
        files = {path for path in folder.rglob("*.py") if re.search(pattern, path.read_text(encoding="utf-8"))}
        assert {path.relative_to(folder).as_posix() for path in files} == expected, pattern
    assert (ROOT / "benchmark/training/loader.py").read_text(encoding="utf-8").count("ThreadPoolExecutor(1,") == 1


def test_a_method_of_the_script_itself_cannot_be_tried_in_another_process_and_that_is_said() -> None:
    class Here(Bicubic):
        __module__ = "__main__"

    with pytest.raises(Flaw, match=r"Here is defined in the script that runs, .*: move it into a file of its own"):
        Trial(Here).elsewhere(np.zeros((1, 16, 20), np.float32))


# --- what a run and a table say in Python --------------------------------------------------------------------------

CANNOT = classical(
    more="""
    def unsupported(self, task):
        return "does nothing by halves"
"""
)


def cell(label: str) -> Cell:
    return Cell(label, "T1", (1, 2, 2), DegradationSpec(name="bicubic", round="stored"), 0, "", "")


def test_outcomes_print_as_an_aligned_table() -> None:
    outcomes = Outcomes(
        [
            Outcome(cell("bicubic"), "done", "", {"psnr": 29.89731, "ssim": 0.96}),
            Outcome(cell("mine"), "failed", "RuntimeError: no such luck\nmore of it"),
            Outcome(cell("edsr+"), "skipped", "takes 3 slices"),
        ]
    )
    assert [line.rstrip() for line in repr(outcomes).splitlines()] == [
        "cell                          state    psnr     ssim    why",
        "bicubic T1 x2 bicubic seed 0  done     29.8973  0.9600",
        "mine T1 x2 bicubic seed 0     failed                    RuntimeError: no such luck",
        "edsr+ T1 x2 bicubic seed 0    skipped                   takes 3 slices",
    ]
    assert str(outcomes) == repr(outcomes)
    assert outcomes == list(outcomes), "a list as any other"
    assert "why" not in repr(Outcomes(outcomes[:1]))
    assert repr(Outcomes()).split() == ["cell", "state"]


def test_problems_are_counted_named_and_explained_in_a_line_each() -> None:
    outcomes = [Outcome(cell("bicubic"), "done", "", {"psnr": 29.9}), Outcome(cell("edsr+"), "skipped", "cannot")]
    assert Outcomes(outcomes).problems == ""
    outcomes += [Outcome(cell("a"), "failed", "\nno luck\nno more"), Outcome(cell("b"), "running", "m:1 works on it")]
    assert Outcomes(outcomes).problems.splitlines() == [
        "2 of 4 cells are not done:",
        "  a T1 x2 bicubic seed 0: failed: no luck",
        "  b T1 x2 bicubic seed 0: running: m:1 works on it",
    ]


def test_run_and_table_warn_of_what_is_missing_where_they_are_called(images: Path, tmp_path: Path) -> None:
    protocol, files = small(tmp_path), write(tmp_path, raises=RAISES, cannot=CANNOT)
    with pytest.warns(UserWarning, match="not done") as caught:
        outcomes = run(protocol, ["bicubic", *files], images)
    assert {outcome.cell.label: outcome.state for outcome in outcomes} == {
        "bicubic": "done",
        "raises": "failed",
        "cannot": "skipped",
    }
    [warning] = caught
    assert str(warning.message).splitlines() == [
        "1 of 3 cells are not done:",
        "  raises T1 x2 bicubic seed 0: failed: RuntimeError: no such luck",
    ]
    assert Path(warning.filename) == Path(__file__), "run's caller"

    [record] = (tmp_path / "results").rglob("bicubic/seed0/record.json")
    record.write_text("{", encoding="utf-8")
    with pytest.warns(UserWarning, match="Failed") as caught:
        frame = mrsr_bench.table(results=tmp_path / "results")
    assert frame.isna().all(axis=None)
    [warning] = caught
    lines = str(warning.message).splitlines()
    assert sorted(line.partition(":")[0] for line in lines) == ["Damaged", "Failed"], "what is skipped is no gap"
    assert "Failed: raises T1 x2 bicubic seed 0 (RuntimeError: no such luck)." in lines
    assert set(lines) < set(frame.attrs["caption"].splitlines())
    assert Path(warning.filename) == Path(__file__), "table's caller"


def test_the_threads_asked_for_are_those_of_the_training_and_are_recorded(images: Path, tmp_path: Path) -> None:
    protocol, files = small(tmp_path), write(tmp_path, mine=NETWORK)
    run(protocol, files, images, threads=2, steps=2)
    [path] = tmp_path.rglob("record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (record["fit"]["threads"], record["environment"]["threads"]) == (2, 2)
    assert "CPU threads: 2\n" in (path.parent / "log.txt").read_text(encoding="utf-8")


def test_a_table_of_done_cells_warns_of_nothing(images: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(small(tmp_path), METHODS, images)
        frame = mrsr_bench.table("small", tmp_path / "results")
    assert isinstance(frame, pd.DataFrame)
    assert frame.notna().all(axis=None)


def test_the_command_line_says_what_failed_itself_and_warns_of_nothing(images: Path, tmp_path: Path) -> None:
    protocol, [method] = small(tmp_path), write(tmp_path, raises=RAISES)
    arguments = ["run", "--protocol", str(protocol), "--methods", method, "--data", str(images)]
    said = CliRunner().invoke(main, [*arguments, "--results", str(tmp_path / "results"), "--tracking-uri", "none"])
    assert said.exit_code == 3
    assert "raises T1 x2 bicubic seed 0: failed: RuntimeError: no such luck" in said.stderr


def test_run_takes_every_field_of_a_request_and_of_the_settings_with_its_default() -> None:
    own = {name: parameter.default for name, parameter in inspect.signature(mrsr_bench.run).parameters.items()}
    fields = [field for kind in (Request, RunSettings) for field in dataclasses.fields(kind)]
    expected = {field.name: field.default for field in fields if field.name not in ("search", "score_only")}
    assert own == {**expected, "protocol": "demo", "results": "results", "lr": None, "listener": None}
    assert expected["results"] == Path("results")


def test_run_hands_every_argument_on(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(runner, "run", lambda *arguments: calls.append(arguments) or [])
    request = {"seeds": [1], "scales": ["2"], "lr": {"m": 1e-3}, "limit": 3, "steps": 4}
    settings = {"timeout": 5.0, "redo": True, "keep_volumes": True, "save_every": 6.0, "deterministic": True}
    settings |= {"shard": Shard(2, 3)}
    listener, more = Silent(), {"tracking_uri": "none", **settings}
    assert mrsr_bench.run("p", ["m"], data="d", results="r", listener=listener, **request, **more) == Outcomes()
    assert calls == [(Request("p", ["m"], **request), RunSettings(Path("d"), Path("r"), **more), listener)]
