"""Tested on what it was not trained on: nothing is trained, no key changes, and a test that is lost is made again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from conftest import SUBJECTS, small_protocol, write_small_protocol
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plugins import NETWORK, classical, write
from ruamel.yaml import YAML
from test_damage import DAMAGES
from test_runs import Ear, bench, cell_folder, record
from test_score import score

from mrsr_bench.cli import main
from mrsr_bench.data.folders import open_dataset
from mrsr_bench.data.preparation import prepare, prepare_protocol
from mrsr_bench.errors import UsageError
from mrsr_bench.estimating.costs import Costs
from mrsr_bench.planning.cells import Cell, plan_trainings
from mrsr_bench.planning.planner import make_plan, plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.protocol.data_blocks import DegradationSpec
from mrsr_bench.protocol.loading import load
from mrsr_bench.running.decisions import Decision, decide
from mrsr_bench.running.dry_run import group, report
from mrsr_bench.running.settings import RunSettings
from mrsr_bench.scoring.score import score as score_volume
from mrsr_bench.store.cell_files import SCORES, WEIGHTS, Standing, inspect_cell
from mrsr_bench.store.results import Store
from mrsr_bench.system.files import CHECKSUM, sha256_of, write_sealed

Write = Callable[..., Path]
BLOCK = {"degradations": ["kspace", {"name": "gaussian", "options": {"fwhm": 1.5}}], "shift": "half"}
TITLES = ["kspace", "gaussian-fwhm1.5", "bicubic-shifted"]
METHODS = {"bicubic": {}, "linear": {}}
STUBBORN = classical("if os.path.exists(__file__ + '.stubborn'): raise RuntimeError('no such luck')")

KILLED = classical("""open(__file__ + '.calls', 'a').write('.')
        if os.path.getsize(__file__ + '.calls') == 5: os.kill(os.getpid(), signal.SIGKILL)""")
"""Its process is killed at its fifth call."""


def cells(path: Path) -> list[Cell]:
    return [cell for training in plan_trainings(load(str(path))) for cell in training.cells]


def shown(protocol: Path, *command: str) -> str:
    done = command_line(*command, "--results", protocol.parent / "results")
    assert done.exit_code == 0, done.output
    return done.stdout


def command_line(*command: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, command)], catch_exceptions=False)


def standings(protocol: Path) -> dict[str, Standing]:
    view = Store(protocol.parent / "results").view("small")
    places = {planned.cell.label: view.place(planned) for planned in view.cells}
    return {label: inspect_cell(place) for label, place in places.items() if place is not None}


def states(protocol: Path, label: str) -> dict[str, str]:
    """Title → state of a cell's tests."""
    return {title: test.state for title, test in standings(protocol)[label].tests.items()}


# --- Protocol and keys -----------------------------------------------------------------------------------------------


def test_an_entry_may_be_a_name_and_is_rounded_as_the_first_degradation(write_protocol: Write) -> None:
    loaded = load(str(write_protocol(test=BLOCK)))
    [cell] = cells(loaded.path)
    assert [test.title for test in cell.tests] == TITLES
    assert {test.degradation.round for test in cell.tests} == {"stored"}
    assert [test.is_control for test in cell.tests] == [False, False, True]
    assert loaded.resolved()["test"]["degradations"][0] == {"name": "kspace", "round": "stored"}
    written_out = {**BLOCK, "degradations": loaded.resolved()["test"]["degradations"]}
    assert load(str(write_protocol(test=written_out))).digest == loaded.digest


def test_several_degradations_are_tested_on_one_another(write_protocol: Write) -> None:
    both = [{"name": "bicubic", "round": "stored"}, {"name": "kspace", "round": "none", "noise": 0.05}]
    path = write_protocol(degradation=both, test={"degradations": ["gaussian"], "shift": "half"})
    assert {cell.degradation.title: [test.title for test in cell.tests] for cell in cells(path)} == {
        "bicubic": ["kspace-noise0.05", "gaussian", "bicubic-shifted"],
        "kspace-noise0.05": ["bicubic", "gaussian", "kspace-shifted-noise0.05"],
    }
    [on_kspace] = {test.degradation.round for cell in cells(path) for test in cell.tests if "0.05" in test.title}
    assert on_kspace == "none", "the LR of a column is the same in every row"


def test_no_key_of_a_cell_depends_on_the_block(write_protocol: Write) -> None:
    without, *others = (
        [(cell.train_key, cell.score_key) for cell in cells(write_protocol(methods=METHODS, **changes))]
        for changes in ({}, {"test": BLOCK}, {"test": {"shift": "half"}})
    )
    assert all(keys == without for keys in others)


def test_a_test_has_a_key_of_its_own_over_cell_scoring_and_degradation(write_protocol: Write) -> None:
    def keys(**changes: Any) -> list[str]:
        return [test.score_key for cell in cells(write_protocol(**changes)) for test in cell.tests]

    first = keys(test=BLOCK)
    assert len({*first}) == len(TITLES)
    assert keys(test={**BLOCK, "degradations": BLOCK["degradations"][::-1]}) == [first[1], first[0], first[2]]
    rounded = {**BLOCK, "degradations": [{"name": "kspace", "round": "none"}, BLOCK["degradations"][1]]}
    assert [a == b for a, b in zip(first, keys(test=rounded), strict=True)] == [False, True, True]
    scoring = {**small_protocol()["scoring"], "border": 2}
    assert not {*first} & {*keys(test=BLOCK, scoring=scoring)}


def test_a_plan_without_tests_is_as_before_and_one_with_them_holds_what_a_table_needs(write_protocol: Write) -> None:
    for block, expected in ((None, None), (BLOCK, TITLES)):
        path = write_protocol(**({"test": block} if block else {}))
        request = Request(str(path))
        [cell] = make_plan(request, *plan_request(request)).model_dump(mode="json")["cells"]
        assert (cell.get("tests") and [test["title"] for test in cell["tests"]]) == expected
        assert ("tests" in cell) == bool(block)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"degradations": ["kspce"]}, r"test.degradations.0.name: unknown degradation 'kspce'. Did you mean.*kspace"),
        ({"degradations": [{"name": "gaussian", "options": {"fwmh": 1}}]}, r"options.fwmh: unknown key.*fwhm"),
        ({"degradations": ["kspace", "kspace"]}, r"test.degradations.1.name: 'kspace' is tested anyway; remove it"),
        ({"degradations": ["bicubic"]}, r"test.degradations.0.name: 'bicubic' is tested anyway"),
        (
            {"degradations": [{"name": "bicubic", "options": {"shifted": True}}], "shift": "half"},
            r"test.degradations.0.name: 'bicubic-shifted' is tested anyway",
        ),
        ({"degradations": []}, r"test: it tests on nothing else; give degradations, or shift: half"),
        ({"shift": "whole"}, r"test.shift: Input should be 'half' \(got 'whole'\)"),
        ({"degradation": ["kspace"]}, r"test.degradation: unknown key. Did you mean.*degradations"),
        ({"degradations": "kspace"}, r"test.degradations: Input should be a valid tuple"),
        ({"degradations": [3]}, r"test.degradations.0: Input should be a valid dictionary"),
    ],
)
def test_a_mistake_in_the_block_is_named_with_its_line(write_protocol: Write, block: Any, message: str) -> None:
    path = write_protocol(test=block)
    with pytest.raises(UsageError, match=message) as caught:
        plan_trainings(load(str(path)))
    line = int(str(caught.value).removeprefix(f"{path}:").partition(":")[0])
    top = path.read_text(encoding="utf-8").splitlines().index("test:") + 1
    assert top <= line <= top + 4, str(caught.value)


# --- Made ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Path:
    """A protocol with the block and its results: a network, its self-ensemble, bicubic and linear; never changed."""
    folder = tmp_path_factory.mktemp("made")
    protocol = write_small_protocol(folder, methods=METHODS, test=BLOCK)
    [network] = write(folder, network=NETWORK)
    outcomes = bench(protocol, ["bicubic", "linear", network, f"{network}+"], images)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    return folder / "small.yaml"


@pytest.fixture
def protocol(made: Path, tmp_path: Path) -> Path:
    """A copy of it to change."""
    shutil.copytree(made.parent, tmp_path / "copy")
    return tmp_path / "copy" / "small.yaml"


def methods(protocol: Path) -> list[str]:
    network = str(protocol.parent / "network.py")
    return ["bicubic", "linear", network, f"{network}+"]


def decisions(protocol: Path) -> dict[str, Decision]:
    _, trainings = plan_request(Request(str(protocol), methods(protocol)))
    store = Store(protocol.parent / "results")
    steps = [step for training in trainings for step in decide(store, training, RunSettings())]
    return {step.cell.label: step for step in steps}


@pytest.mark.parametrize("label", ["bicubic", "linear", "network", "network+"])
def test_every_cell_has_a_file_of_scores_for_each_test_named_by_its_record(made: Path, label: str) -> None:
    content, folder = record(made, label), cell_folder(made, label)
    assert [*content["tests"]] == TITLES
    for title, test in content["tests"].items():
        assert test["checksum"] == sha256_of(folder / f"scores-{title}.csv")
        assert (test["n"], [*test["metrics"]]) == (2, ["psnr", "ssim"])
        assert test["test_data_digest"] != content["test_data_digest"]
        assert [*test["intensity_scales"]] == [*SUBJECTS["test"]]
    header = (folder / SCORES).read_text(encoding="utf-8").splitlines()[0]
    assert (folder / "scores-kspace.csv").read_text(encoding="utf-8").splitlines()[0] == header


@pytest.mark.parametrize("label", ["bicubic", "linear", "network", "network+"])
def test_no_method_is_as_good_on_the_shifted_lr(made: Path, label: str) -> None:
    content = record(made, label)
    assert content["tests"]["bicubic-shifted"]["metrics"]["psnr"] < content["metrics"]["psnr"] - 0.3


def test_a_method_that_learns_nothing_has_the_figures_that_it_has_where_that_lr_is_its_own(
    made: Path, write_protocol: Write, images: Path
) -> None:
    own = write_protocol(degradation={"name": "kspace", "round": "stored"})
    bench(own, ["bicubic"], images)
    scores = own.parent / "results" / "runs" / "small" / "kspace" / "T1-x2" / "bicubic" / "seed0" / SCORES
    assert (cell_folder(made, "bicubic") / "scores-kspace.csv").read_bytes() == scores.read_bytes()


def test_the_figures_are_those_of_the_kept_weights_on_the_other_lr(made: Path, images: Path) -> None:
    from mrsr_bench.running.evaluation import case_of
    from mrsr_bench.store.weights import read_weights

    loaded, trainings = plan_request(Request(str(made), ["linear"]))
    [training] = trainings
    weights = read_weights(cell_folder(made, "linear"))
    assert weights is not None
    method = training.make_method()
    method.load_state(weights[0], training.task)
    for test in training.base.tests:
        dataset, cut = open_dataset("folder", images), loaded.protocol.data.cut("T1")
        pairs = prepare(dataset, SUBJECTS["test"], "T1", cut, test.degradation, (1, 2, 2))
        scores = [
            score_volume(
                method.upscale(pair.scan((1, 2, 2)), training.task),
                case_of(pair, test.degradation),
                loaded.protocol.scoring,
            )["psnr"]
            for pair in pairs
        ]
        assert record(made, "linear")["tests"][test.title]["metrics"]["psnr"] == pytest.approx(sum(scores) / 2)


def test_done_cells_are_tested_later_and_keep_their_figures_and_weights(
    made: Path, write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    path = write_protocol(methods=METHODS)
    [network] = write(tmp_path, network=NETWORK)
    labels = ["bicubic", "linear", network, f"{network}+"]
    bench(path, labels, images)
    before = {label: record(path, label) for label in ("bicubic", "linear", "network", "network+")}
    files = {label: (cell_folder(path, label) / SCORES).stat().st_mtime_ns for label in before}
    weights = (cell_folder(path, "network") / WEIGHTS).stat().st_mtime_ns
    write_protocol(methods=METHODS, test=BLOCK)
    assert {label: step.action for label, step in decisions(path).items()} == dict.fromkeys(before, "test")
    outcomes = bench(path, labels, images)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert (cell_folder(path, "network") / WEIGHTS).stat().st_mtime_ns == weights
    for label, old in before.items():
        new = record(path, label)
        assert (cell_folder(path, label) / SCORES).stat().st_mtime_ns == files[label]
        changed = {key for key in new if new[key] != old[key]}
        assert changed <= {"tests", "written", CHECKSUM}
        figures = {title: test["metrics"] for title, test in new["tests"].items()}
        assert figures == {title: test["metrics"] for title, test in record(made, label)["tests"].items()}
    assert {label: step.action for label, step in decisions(path).items()} == dict.fromkeys(before, "keep")


def test_another_test_is_added_and_the_others_are_kept(protocol: Path, images: Path) -> None:
    before = (cell_folder(protocol, "bicubic") / "scores-kspace.csv").stat().st_mtime_ns
    content = small_protocol(methods=METHODS, test={"degradations": ["kspace", "truncation_csn"]})
    with protocol.open("w", encoding="utf-8") as file:
        YAML().dump(content, file)
    step = decisions(protocol)["bicubic"]
    assert ([test.title for test in step.tests], step.why) == (["truncation_csn"], "not tested on truncation_csn")
    bench(protocol, methods(protocol), images)
    assert states(protocol, "bicubic") == {"kspace": "done", "truncation_csn": "done"}
    assert {*record(protocol, "bicubic")["tests"]} == {*TITLES, "truncation_csn"}
    assert (cell_folder(protocol, "bicubic") / "scores-kspace.csv").stat().st_mtime_ns == before


def test_without_weights_a_network_is_kept_and_says_that_it_is_not_tested(protocol: Path, images: Path) -> None:
    folder = cell_folder(protocol, "network")
    (folder / WEIGHTS).unlink()
    (folder / "scores-kspace.csv").unlink()
    outcome = bench(protocol, methods(protocol), images)["network"]
    assert (outcome.state, outcome.message) == ("done", "not tested on kspace, since its weights are not here")
    assert not (folder / WEIGHTS).exists()
    assert "not tested on kspace (missing)" in shown(protocol, "status")


def test_a_test_that_fails_costs_no_figure_and_is_tried_again(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    path, [stubborn] = write_protocol(), write(tmp_path, stubborn=STUBBORN)
    right = bench(path, [stubborn], images)["stubborn"].metrics
    write_protocol(test=BLOCK)
    (tmp_path / "stubborn.py.stubborn").touch()
    outcome = bench(path, [stubborn], images)["stubborn"]
    assert outcome.state == "failed"
    assert "no such luck; not tested on kspace, gaussian-fwhm1.5, bicubic-shifted; its own figures are kept" in (
        outcome.message
    )
    assert record(path, "stubborn")["metrics"] == right
    (tmp_path / "stubborn.py.stubborn").unlink()
    assert bench(path, [stubborn], images)["stubborn"].state == "done"
    assert states(path, "stubborn") == dict.fromkeys(TITLES, "done")


def test_what_was_tested_before_a_kill_is_not_tested_again(write_protocol: Write, images: Path, tmp_path: Path) -> None:
    path, [killed] = write_protocol(test=BLOCK), write(tmp_path, killed=KILLED)
    assert bench(path, [killed], images)["killed"].state == "failed"
    before = record(path, "killed")
    assert states(path, "killed") == {**dict.fromkeys(TITLES, "missing"), "kspace": "done"}
    assert bench(path, [killed], images)["killed"].state == "done"
    after = record(path, "killed")
    assert states(path, "killed") == dict.fromkeys(TITLES, "done")
    assert (after["metrics"], after["tests"]["kspace"]) == (before["metrics"], before["tests"]["kspace"])
    calls = (tmp_path / "killed.py.calls").read_text(encoding="utf-8")
    assert len(calls) == len("..") + len("..") + len(".") + len("..") + len(".."), "own, kspace, killed, the others"


def test_a_changed_method_is_not_compared_with_its_earlier_code(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    """Its own figures are made again with those of the tests."""
    path, [plugin] = write_protocol(), write(tmp_path, plugin=classical())
    bench(path, [plugin], images)
    before = record(path, "plugin")["source_digest"]
    write(tmp_path, plugin=classical() + "# edited\n")
    write_protocol(test=BLOCK)
    assert bench(path, [plugin], images)["plugin"].state == "done"
    assert record(path, "plugin")["source_digest"] != before
    assert states(path, "plugin") == dict.fromkeys(TITLES, "done")


def test_scoring_again_makes_the_tests_again(protocol: Path, images: Path) -> None:
    path = cell_folder(protocol, "network+") / "record.json"
    content = {name: value for name, value in record(protocol, "network+").items() if name != CHECKSUM}
    right = {title: test["metrics"] for title, test in content["tests"].items()}
    wrong = {title: {**test, "metrics": {"psnr": 1.0, "ssim": 0.1}} for title, test in content["tests"].items()}
    write_sealed(path, {**content, "tests": wrong})
    assert {*states(protocol, "network+").values()} == {"damaged"}
    assert score(protocol, images)["network+"].state == "done"
    assert {title: test["metrics"] for title, test in record(protocol, "network+")["tests"].items()} == right


def test_kept_volumes_without_weights_give_figures_and_no_tests(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    path, [network], ear = write_protocol(), write(tmp_path, network=NETWORK), Ear()
    bench(path, [network], images, keep_volumes=True)
    (cell_folder(path, "network") / WEIGHTS).unlink()
    write_protocol(test=BLOCK)
    assert score(path, images, ear)["network"].state == "done"
    assert record(path, "network")["tests"] == {}
    assert any("its weights are not here, so it is not tested on other LR" in line for line in ear.lines)


def test_preparing_a_protocol_prepares_its_test_subjects_on_the_other_lr(write_protocol: Write, images: Path) -> None:
    lines: list[str] = []
    prepare_protocol(load(str(write_protocol(test=BLOCK))), images, lines.append)
    assert lines == [
        "T1 bicubic 1×2×2: 6 of 6 volumes ready",
        *(f"T1 {title} 1×2×2: 2 of 2 volumes ready" for title in TITLES),
    ]


def test_a_dry_run_counts_the_tests(protocol: Path, images: Path, tmp_path: Path) -> None:
    def test_sets() -> float:
        """How many passes over a test set are in the hours of the network."""
        loaded, trainings = plan_request(Request(str(protocol), [str(protocol.parent / "network.py")]))
        steps = [decide(Store(protocol.parent / "results"), training, RunSettings()) for training in trainings]
        [row] = group(steps)
        row.cost = Costs(Store(tmp_path / "none")).of(trainings[0], (4, 36, 48))
        assert row.cost is not None
        assert row.cost.test_hours is not None
        assert row.hours is not None
        text = report(loaded, steps, images, Costs(Store(tmp_path / "none")))
        assert "The tests on other LR (kspace" in text
        return (row.hours - row.trains * row.cost.train_hours) / row.cost.test_hours

    (cell_folder(protocol, "network") / "scores-kspace.csv").unlink()
    assert test_sets() == pytest.approx(1)
    (cell_folder(protocol, "network") / "record.json").unlink()
    assert test_sets() == pytest.approx(1 + len(TITLES))


# --- Damaged ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [*DAMAGES, "a folder"])
def test_damage_to_a_test_is_its_own_and_is_repaired_by_the_next_run(protocol: Path, images: Path, damage: str) -> None:
    path, ear = cell_folder(protocol, "network") / "scores-kspace.csv", Ear()
    right, own = path.read_bytes(), (cell_folder(protocol, "network") / SCORES).stat().st_mtime_ns
    if damage == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes(DAMAGES[damage](right))
    assert {label: standing.state for label, standing in standings(protocol).items()} == dict.fromkeys(
        ("bicubic", "linear", "network", "network+"), "done"
    )
    assert states(protocol, "network") == {**dict.fromkeys(TITLES, "done"), "kspace": "damaged"}
    assert "network T1 x2 bicubic seed 0 on kspace" in shown(protocol, "table", "--tests")
    assert f"not tested on kspace ({path} is damaged" in shown(protocol, "status")
    bench(protocol, methods(protocol), images, listener=ear)
    assert [line for line in ear.lines if f"{path} is damaged" in line and "made again" in line]
    assert path.read_bytes() == right
    assert [*path.parent.glob("scores-kspace.csv~damaged-*")]
    assert (path.parent / SCORES).stat().st_mtime_ns == own
    assert {*states(protocol, "network").values()} == {"done"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), title=st.sampled_from(TITLES))
def test_any_single_bit_of_a_test_counts(made: Path, place: float, bit: int, title: str) -> None:
    path = cell_folder(made, "linear") / f"scores-{title}.csv"
    content = path.read_bytes()
    changed = bytearray(content)
    changed[int(place * len(content))] ^= 1 << bit
    path.write_bytes(changed)
    try:
        assert states(made, "linear") == {**dict.fromkeys(TITLES, "done"), title: "damaged"}
    finally:
        path.write_bytes(content)


@pytest.mark.parametrize("title", ["../kspace", "", ".kspace", "a/b", "a\\b", "a\nb", "x" * 201])
def test_a_title_that_cannot_be_part_of_a_name_makes_no_record(protocol: Path, title: str) -> None:
    content = {name: value for name, value in record(protocol, "bicubic").items() if name != CHECKSUM}
    tests = {title: content["tests"]["kspace"]}
    write_sealed(cell_folder(protocol, "bicubic") / "record.json", {**content, "tests": tests})
    assert standings(protocol)["bicubic"].state == "damaged"


def test_an_earlier_record_has_no_tests_and_is_whole(protocol: Path) -> None:
    content = record(protocol, "bicubic")
    earlier = {name: value for name, value in content.items() if name not in (CHECKSUM, "tests")}
    write_sealed(cell_folder(protocol, "bicubic") / "record.json", earlier)
    assert standings(protocol)["bicubic"].state == "done"
    assert states(protocol, "bicubic") == dict.fromkeys(TITLES, "missing")


# --- Handed on -------------------------------------------------------------------------------------------------------


def test_tests_travel_in_a_pack_and_back(protocol: Path, tmp_path: Path) -> None:
    table = shown(protocol, "table", "--tests")
    packed = command_line("pack", protocol.parent / "results", "-o", tmp_path / "p.zip")
    assert (packed.exit_code, packed.stderr) == (0, "")
    assert command_line("table", "--tests", "--results", tmp_path / "p.zip").stdout == table
    assert command_line("unpack", tmp_path / "p.zip", tmp_path / "fresh").exit_code == 0
    assert command_line("table", "--tests", "--results", tmp_path / "fresh").stdout == table


def test_a_damaged_test_stays_behind_and_its_cell_travels(protocol: Path, tmp_path: Path) -> None:
    path = cell_folder(protocol, "bicubic") / "scores-kspace.csv"
    path.write_bytes(b"nonsense")
    packed = command_line("pack", protocol.parent / "results", "-o", tmp_path / "p.zip")
    assert packed.exit_code == 0
    assert f"bicubic/seed0: its test on kspace is left out: {path} is damaged" in packed.stderr
    text = command_line("table", "--tests", "--results", tmp_path / "p.zip").stdout
    assert "Not tested: bicubic T1 x2 bicubic seed 0 on kspace." in text


def test_a_done_cell_gets_the_tests_that_it_lacks(protocol: Path, tmp_path: Path) -> None:
    shutil.copytree(protocol.parent, tmp_path / "theirs")
    folder = cell_folder(protocol, "network")
    (folder / "scores-kspace.csv").write_bytes(b"nonsense")
    content = {name: value for name, value in record(protocol, "network").items() if name != CHECKSUM}
    tests = {title: test for title, test in content["tests"].items() if title != "gaussian-fwhm1.5"}
    write_sealed(folder / "record.json", {**content, "tests": tests})
    merged = command_line("unpack", tmp_path / "theirs" / "results", protocol.parent / "results")
    assert (merged.exit_code, "1 taken, 3 already there" in merged.stdout) == (0, True)
    assert states(protocol, "network") == dict.fromkeys(TITLES, "done")
    assert [path.read_bytes() for path in folder.glob("scores-kspace.csv~damaged-*")] == [b"nonsense"]
    again = command_line("unpack", tmp_path / "theirs" / "results", protocol.parent / "results")
    assert "0 taken, 4 already there" in again.stdout


def test_other_figures_of_a_test_are_refused(protocol: Path, tmp_path: Path, images: Path) -> None:
    shutil.copytree(protocol.parent, tmp_path / "theirs")
    folder = cell_folder(tmp_path / "theirs" / "small.yaml", "bicubic")
    path = folder / "scores-kspace.csv"
    path.write_text(path.read_text(encoding="utf-8") + "emil,other,1.0\n", encoding="utf-8")
    content = {key: value for key, value in record(protocol, "bicubic").items() if key != CHECKSUM}
    content["tests"]["kspace"]["checksum"] = sha256_of(path)
    write_sealed(folder / "record.json", content)
    merged = command_line("unpack", tmp_path / "theirs" / "results", protocol.parent / "results")
    assert merged.exit_code == 3
    assert "has other figures of the test on kspace under the same keys" in merged.stderr


# --- Shown -----------------------------------------------------------------------------------------------------------


def test_the_table_has_the_loss_against_the_diagonal(made: Path) -> None:
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in shown(made, "table", "--tests").split("\n")
    ]
    assert lines[0] == ["contrast", "scale", "method", "trained on", "bicubic", "kspace", "gaussian-fwhm1.5", "shifted"]
    rows = {line[2]: line for line in lines[2:6]}
    assert {label: row[3] for label, row in rows.items()} == {
        "bicubic": "–", "linear": "bicubic", "network": "bicubic", "network+": "bicubic"
    }  # fmt: skip
    content = record(made, "network")
    own, other = content["metrics"]["psnr"], content["tests"]["kspace"]["metrics"]["psnr"]
    assert rows["network"][4:6] == [f"{own:.2f}", f"{other:.2f} ({other - own:+.2f})".replace("-", "−")]


def test_the_caption_says_what_the_control_is_and_who_does_not_lose_there(protocol: Path) -> None:
    text = shown(protocol, "table", "--tests")
    assert "mean over n = 2 test subjects" in text
    assert "shifted: a negative control" in text
    assert "Every figure there is a loss." in text
    folder = cell_folder(protocol, "linear")
    content = {key: value for key, value in record(protocol, "linear").items() if key != CHECKSUM}
    shutil.copy(folder / SCORES, folder / "scores-bicubic-shifted.csv")
    content["tests"]["bicubic-shifted"] |= {
        "metrics": content["metrics"],
        "checksum": content["checksums"]["scores"],
    }
    write_sealed(folder / "record.json", content)
    assert "No loss there: linear T1 x2 bicubic." in shown(protocol, "table", "--tests")


def test_latex_and_csv_have_the_same_figures(made: Path) -> None:
    latex, csv = (shown(made, "table", "--tests", "--format", name) for name in ("latex", "csv"))
    assert r"\label{tab:small-tests}" in latex
    [line] = [line for line in csv.splitlines() if line.startswith("T1,x2,linear,bicubic,shifted,")]
    content = record(made, "linear")
    value = content["tests"]["bicubic-shifted"]["metrics"]["psnr"]
    assert list(map(float, line.split(",")[5:])) == [value, value - content["metrics"]["psnr"]]


def test_several_degradations_are_rows_of_their_own(write_protocol: Write, images: Path) -> None:
    both = [{"name": "bicubic", "round": "stored"}, {"name": "kspace", "round": "stored"}]
    path = write_protocol(degradation=both, test={"shift": "half"})
    bench(path, ["bicubic", "linear"], images)
    lines = shown(path, "table", "--tests").split("\n")
    heading, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in (lines[0], *lines[2:6]))
    assert heading[3:] == ["trained on", "bicubic", "kspace", "shifted"]
    assert [row[2:4] for row in rows] == [
        ["bicubic", "– (bicubic)"], ["bicubic", "– (kspace)"], ["linear", "bicubic"], ["linear", "kspace"]
    ]  # fmt: skip
    assert [["(" in cell for cell in row[4:]] for row in rows] == [[False, True, True], [True, False, True]] * 2
    assert rows[0][5].partition(" ")[0] == rows[1][5], "a method that learns nothing does not know the rows"


def test_figures_on_other_data_than_the_rest_of_the_column_are_left_out(protocol: Path) -> None:
    content = {key: value for key, value in record(protocol, "linear").items() if key != CHECKSUM}
    content["tests"]["kspace"]["test_data_digest"] = "other"
    write_sealed(cell_folder(protocol, "linear") / "record.json", {**content, "written": "2000-01-01T00:00:00Z"})
    text = shown(protocol, "table", "--tests")
    assert (
        "Left out, made with other test data than the rest of the column: linear T1 x2 bicubic seed 0 on kspace" in text
    )


def test_a_protocol_without_the_block_has_no_such_table(write_protocol: Write, images: Path) -> None:
    path = write_protocol()
    bench(path, ["bicubic"], images)
    done = CliRunner().invoke(main, ["table", "--tests", "--results", str(path.parent / "results")])
    assert done.exit_code == 1
    assert "protocol 'small' tests on no other LR: give it a block 'test'" in str(done.output)


@pytest.mark.parametrize(
    "option",
    [
        *(("--efficiency",), ("--against", "linear"), ("--metrics", "psnr,ssim"), ("--published",)),
        *(("--methods", "bicubic"), ("--rows", "T1"), ("--scales", "2"), ("--transpose",)),
    ],
)
def test_options_of_the_main_table_are_refused(made: Path, option: tuple[str, ...]) -> None:
    done = CliRunner().invoke(main, ["table", "--tests", *option, "--results", str(made.parent / "results")])
    assert done.exit_code == 2
    assert "--tests is a table of its own" in done.output


def test_status_gives_the_tests_as_json(made: Path) -> None:
    rows = {row["label"]: row for row in json.loads(shown(made, "status", "--json"))["cells"]}
    assert rows["network"]["tests"] == dict.fromkeys(TITLES, "done")


def test_a_shifted_degradation_is_the_same_but_for_one_option() -> None:
    spec = DegradationSpec(name="gaussian", round="none", options={"fwhm": 2.0}, noise=0.1)
    assert spec.shifted.title == "gaussian-fwhm2.0-shifted-noise0.1"
    assert spec.shifted.model_copy(update={"options": spec.options}) == spec
