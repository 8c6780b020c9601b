"""The search for learning rates: the same trials for all networks, by validation alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from plugins import NETWORK, write
from recorded import FIT, Plan, fill, find, view, write_undone

from mrsr_bench.cli import main
from mrsr_bench.errors import UsageError
from mrsr_bench.planning.planner import make_plan, plan_request, recall_trainings
from mrsr_bench.planning.request import Request
from mrsr_bench.protocol.loading import load
from mrsr_bench.reporting.caption import caption_of
from mrsr_bench.reporting.rates import describe_rates, rate_trials
from mrsr_bench.reporting.table import build_table
from mrsr_bench.store.plan import View
from mrsr_bench.store.results import Store
from mrsr_bench.system.training_states import DIVERGED

Write = Callable[..., Path]
RATES = {"values": [1e-3, 2e-3, 4e-3], "contrast": "T1", "scale": 2, "seed": 9}
METHODS = {"bicubic": {}, "srcnn": {}, "edsr": {"preset": "tiny", "seeds": [0]}, "edsr+": {}}
TWO = {"values": [1e-3, 2e-3], "contrast": "T1", "scale": 2, "seed": 9}


def bench(command: str, *arguments: str) -> Result:
    return CliRunner().invoke(main, [command, *arguments], catch_exceptions=False)


@pytest.fixture
def protocol(write_protocol: Write) -> Path:
    return write_protocol(methods=METHODS, scales=[2, 3], seeds=[0, 1], rates=RATES)


def search(path: Path, *methods: str, **changes: Any) -> Plan:
    loaded, trainings = plan_request(Request(str(path), methods, search=True, **changes))
    return Store(path.parent / "results"), loaded, trainings


def test_a_search_is_every_network_at_every_rate_on_one_cell_without_a_test_volume(protocol: Path) -> None:
    _, loaded, trainings = search(protocol)
    planned = [(t.base.label, t.base.contrast, t.base.scale, t.base.seed, t.recipe and t.recipe.lr) for t in trainings]
    assert planned == [
        (f"{label}-{name}", "T1", "x2", 9, rate)
        for label in ("srcnn", "edsr")
        for name, rate in (("1e-3", 1e-3), ("2e-3", 2e-3), ("4e-3", 4e-3))
    ]
    assert all(t.plus is None for t in trainings)
    assert loaded.split["test"] == loaded.split["val"]
    assert loaded.folder == "small~rates=3"
    assert all(t.recipe and t.recipe.steps == 30 for t in trainings), "the protocol's full number of steps"


def test_rates_change_no_key_of_the_protocols_own_cells(write_protocol: Write) -> None:
    def keys(**changes: Any) -> list[str]:
        _, trainings = plan_request(Request(str(write_protocol(methods=METHODS, **changes))))
        return [key for t in trainings for cell in t.cells for key in (cell.train_key, cell.score_key)]

    assert keys() == keys(rates={**RATES, "scale": 2})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"values": [1e-3]}, "at least 2 items"),
        ({"values": [2e-3, 1e-3]}, "from the smallest to the largest, each once"),
        ({"values": [1e-3, 1e-3]}, "from the smallest to the largest, each once"),
        ({"contrast": "PD"}, "must be among the protocol's"),
        ({"scale": 4}, "must be among the protocol's"),
        ({"seed": 1}, "the seed of rates, 1, must not be one that is scored"),
    ],
)
def test_a_search_that_cannot_be_is_refused(write_protocol: Write, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load(str(write_protocol(methods=METHODS, seeds=[0, 1], rates={**RATES, **changes})))


def test_a_search_without_a_network_is_refused(protocol: Path) -> None:
    with pytest.raises(UsageError, match="rates are searched for networks, and none is among bicubic"):
        search(protocol, "bicubic")


def test_a_protocol_without_rates_says_so(write_protocol: Write) -> None:
    done = bench("rates", "--protocol", str(write_protocol()))
    assert (done.exit_code, "has no block 'rates'" in done.output) == (2, True)


def test_the_best_rate_is_that_of_the_best_validation_and_an_end_of_the_list_is_named(protocol: Path) -> None:
    plan = search(protocol)
    for label, values in {"srcnn": (30.0, 31.0, 31.09), "edsr": (30.0, 30.95, 31.06)}.items():
        for rate, value in zip(("1e-3", "2e-3", "4e-3"), values, strict=True):
            fill(plan, f"{label}-{rate}", "x2", 40.0 - value, 0.9, 9, fit={**FIT, "best_val_psnr": value})
    assert {entry.label: entry.chosen for entry in rate_trials(searched(plan))} == {"srcnn": 2e-3, "edsr": 4e-3}
    text = describe_rates(searched(plan))
    assert "| srcnn     | 30.00  | 31.00 * | 31.09   |" in text
    assert "  srcnn: lr: 2e-3\n  edsr: lr: 4e-3" in text
    assert "--lr srcnn=2e-3,edsr=4e-3" in text
    assert "a better rate may lie beyond it: srcnn, edsr." in text


def test_no_rate_is_chosen_before_all_trials_of_a_network_are_done(protocol: Path) -> None:
    plan = search(protocol)
    fill(plan, "srcnn-1e-3", "x2", 30.0, 0.9, 9, fit={**FIT, "best_val_psnr": 30.0})
    text = describe_rates(searched(plan))
    assert "30.00 " in text
    assert "missing" in text
    assert "lr:" not in text
    assert "are done: srcnn, edsr." in text


def test_a_training_that_diverged_is_a_result_and_any_other_failure_is_not(protocol: Path) -> None:
    plan = search(protocol, "srcnn", "edsr")
    for label in ("srcnn", "edsr"):
        for rate in ("1e-3", "2e-3"):
            fill(plan, f"{label}-{rate}", "x2", 30.0, 0.9, 9, fit={**FIT, "best_val_psnr": 30.0 + float(rate) * 1000})
    for label, error in (("srcnn", f"{DIVERGED}: loss 9"), ("edsr", "no space left")):
        training, cell = find(plan[2], f"{label}-4e-3", "x2", 9)
        write_undone(training.folder(plan[0], cell), training, cell, "failed", error)
    srcnn, edsr = rate_trials(searched(plan))
    assert (srcnn.chosen, srcnn.is_at_an_end) == (2e-3, False)
    assert edsr.chosen is None
    assert "diverged" in describe_rates(searched(plan))
    assert "are done: edsr." in describe_rates(searched(plan))


def searched(plan: Plan) -> View:
    store, loaded, trainings = plan
    request = Request(str(loaded.path), search=True)
    return View(store.runs / loaded.folder, (make_plan(request, loaded, trainings),))


def test_the_command_searches_keeps_and_prints_and_reads_no_test_volume(
    write_protocol: Write, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [mine] = write(tmp_path, mine=NETWORK)
    protocol = str(write_protocol(methods={"bicubic": {}}, rates=TWO))
    places = ("--data", str(images), "--results", str(tmp_path / "results"), "--tracking-uri", "none", "--steps", "4")
    done = bench("rates", "--protocol", protocol, "--methods", mine, *places)
    assert done.exit_code == 0, done.output
    assert "2 of 2 cells done." in done.output
    assert "--lr mine=" in done.output
    store = Store(tmp_path / "results")
    records = sorted((store.runs / "small~rates=2,steps=4").rglob("scores.csv"))
    assert len(records) == 2
    assert {line.split(",")[0] for path in records for line in path.read_text().splitlines()[1:]} == {"dora"}
    again = bench("rates", "--protocol", protocol, "--methods", mine, *places)
    assert "2 of 2 cells done." in again.output
    loaded, trainings = recall_trainings(store, "small~rates=2,steps=4", pytest.fail)
    assert loaded.searches_rates
    assert len(trainings) == 2
    assert "small~rates=2" in bench("rates", "--protocol", protocol, "--methods", mine, *places, "--dry-run").output


# Rates on the command line, and how they came about


def test_a_rate_of_the_command_line_is_the_labels_and_part_of_its_plan(protocol: Path) -> None:
    request = Request(str(protocol), ["srcnn", "edsr"], [0], lr={"edsr": 3e-3})
    _, trainings = plan_request(request)
    assert {t.base.label: t.recipe and t.recipe.lr for t in trainings} == {"srcnn": 1e-3, "edsr": 3e-3}
    assert {t.base.label: t.rate_origin for t in trainings} == {"srcnn": "protocol", "edsr": "command"}


@pytest.mark.parametrize(
    ("rates", "words"),
    [
        ({"ersd": 1e-3}, "--lr names 'ersd', which is not run. Did you mean 'edsr'"),
        ({"bicubic": 1e-3}, "--lr is for networks in track equal; 'bicubic' takes none"),
    ],
)
def test_a_rate_for_nothing_is_refused(protocol: Path, rates: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        plan_request(Request(str(protocol), lr=rates))


@pytest.mark.parametrize("text", ["edsr", "edsr=fast", "=1e-3", "edsr=-1", "edsr=inf", "edsr=1,edsr=2"])
def test_what_is_no_rate_is_refused(protocol: Path, text: str) -> None:
    assert bench("run", "--protocol", str(protocol), "--lr", text).exit_code == 2


def test_the_caption_says_how_each_rate_came_about(write_protocol: Write, tmp_path: Path) -> None:
    methods = {"srcnn": {"lr": 2e-3}, "edsr": {"preset": "tiny", "lr": 4e-3}, "vdsr": {"preset": "tiny"}}
    loaded, trainings = plan_request(Request(str(write_protocol(methods=methods, rates=RATES))))
    plan = Store(tmp_path / "results"), loaded, trainings
    for label in methods:
        fill(plan, label, "x2", 30.0, 0.9)
    caption = caption_of(build_table(view(plan)))
    for text in (
        "by bench rates: of 1e-3, 2e-3, 4e-3 the smallest within 0.1 dB of the best validation PSNR on T1 x2 bicubic, "
        "seed 9 (srcnn, edsr)",
        "set by the protocol for all, not searched for (vdsr)",
        "At an end of the values tried: edsr.",
    ):
        assert text in caption
    assert find(trainings, "srcnn", "x2")[0].rate_origin == "search"
