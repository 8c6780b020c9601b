"""Shards: parts of a plan for processes that know nothing of each other. Together they are the whole, each once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from plugins import NETWORK, write

from mrsr_bench.cli import main
from mrsr_bench.estimating.plan_costs import plan_costs
from mrsr_bench.planning.planner import make_plan, plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.running.settings import Shard
from mrsr_bench.running.shards import dealt, own_trainings, share_of
from mrsr_bench.store.plan import view_of

Write = Callable[..., Path]
METHODS = {"bicubic": {}, "linear": {}, "backprojection": {}, "zerofill": {}}
COSTS = st.dictionaries(st.text(max_size=4), st.floats(0, 1e18), max_size=40)


def bench(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments], catch_exceptions=False)


# How they are dealt


@given(costs=COSTS, parts=st.integers(1, 50))
def test_all_parts_are_the_whole_and_each_training_is_in_one(costs: dict[str, float], parts: int) -> None:
    shares = [share_of(costs, Shard(part, parts)) for part in range(1, parts + 1)]
    assert sorted(name for share in shares for name in share) == sorted(costs)


@given(costs=COSTS, parts=st.integers(1, 50))
def test_no_part_is_dearer_than_an_even_share_and_one_training(costs: dict[str, float], parts: int) -> None:
    loads = [sum(costs[name] for name in share) for share in dealt(costs, parts)]
    assert max(loads) <= (sum(costs.values()) / parts + max(costs.values(), default=0)) * (1 + 1e-9)
    numbers = [len(share) for share in dealt(dict.fromkeys(costs, 0.0), parts)]
    assert max(numbers) - min(numbers) <= 1, "what costs nothing is dealt out too"


def test_a_network_is_dearer_by_its_steps_and_its_size_and_seeds_are_alike(
    write_protocol: Write, tmp_path: Path
) -> None:
    methods = {"bicubic": {}, "small": {"method": "edsr", "options": {"blocks": 1, "features": 4}}}
    methods |= {"large": {"method": "edsr", "options": {"blocks": 1, "features": 8}}}
    costs = {}
    for steps in (10, 20):
        loaded, trainings = plan_request(Request(str(write_protocol(methods=methods, seeds=[0, 1])), steps=steps))
        plan = make_plan(Request(str(loaded.path), steps=steps), loaded, trainings)
        costs[steps] = plan_costs(plan, trainings)
        assert plan_costs(plan, []) == costs[steps], "remembered"
    first, second = (
        {name.rpartition("/")[0].rpartition("/")[2]: cost for name, cost in costs[s].items()} for s in costs
    )
    assert first["bicubic"] < first["small"] < first["large"] < second["large"]
    for found in costs.values():
        assert found["bicubic/T1-x2/small/seed0"] == found["bicubic/T1-x2/small/seed1"]


def test_the_parts_are_the_same_whatever_is_done_already(write_protocol: Write, images: Path, tmp_path: Path) -> None:
    protocol = str(write_protocol(methods=METHODS))
    loaded, trainings = plan_request(Request(protocol))
    plan = make_plan(Request(protocol), loaded, trainings)

    def parts() -> list[list[str]]:
        return [[t.base.label for t in own_trainings(plan, trainings, Shard(part, 3))] for part in (1, 2, 3)]

    before = parts()
    places = ("--data", str(images), "--results", str(tmp_path / "results"), "--tracking-uri", "none")
    assert bench("run", "--protocol", protocol, "--methods", "bicubic", *places).exit_code == 0
    assert parts() == before
    assert sorted(label for part in before for label in part) == sorted(METHODS)


# Run


def test_all_shards_on_one_folder_give_the_table_of_one_run(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    mine = write(tmp_path, mine=NETWORK)
    protocol = str(write_protocol(methods=METHODS, seeds=[0, 1]))
    request = ("run", "--protocol", protocol, "--methods", ",".join([*METHODS, *mine]), "--data", str(images))
    request += ("--steps", "4", "--tracking-uri", "none", "--threads", "1")
    tables = []
    for name, shards in (("one", [()]), ("four", [("--shard", f"{part}/4") for part in (3, 1, 4, 2)])):
        results, done = tmp_path / name, 0
        for number, shard in enumerate(shards):
            ended = bench(*request, "--results", str(results), *shard)
            assert ended.exit_code == 0, ended.output
            done += int(ended.output.rpartition(" cells done")[0].split()[-3])
            plan = view_of(results / "runs" / "small~steps=4")
            assert plan is not None
            assert len(plan.cells) == 6, "the plan is that of the whole"
            status = json.loads(bench("status", "--results", str(results), "--json").output)["cells"]
            assert sum(cell["state"] == "missing" for cell in status) == 6 - done, number
        assert done == 6
        table = bench("table", "--results", str(results), "--format", "csv")
        tables.append(table.output)
    assert tables[0] == tables[1]


LOOK = """
import sys
from mrsr_bench.cli import main
try:
    main(sys.argv[1:])
finally:
    print("torch" in sys.modules, "mrsr_bench.methods.bicubic" in sys.modules)
"""


def test_a_shard_with_nothing_to_do_imports_no_method_while_others_still_have_work(
    write_protocol: Write, images: Path, tmp_path: Path
) -> None:
    request = ["run", "--protocol", str(write_protocol(methods=METHODS)), "--data", str(images)]
    request += ["--results", str(tmp_path / "results"), "--tracking-uri", "none"]
    first = bench(*request, "--shard", "1/4")
    assert first.exit_code == 0, first.output
    assert "shard 1/4: 1 of 4 trainings" in first.output
    for shard, cells in (("1/4", 1), ("9/9", 0)):
        done = subprocess.run(
            [sys.executable, "-c", LOOK, *request, "--shard", shard],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert f"{cells} of {cells} cells done." in done.stdout
        assert done.stdout.split()[-2:] == ["False", "False"]


def test_a_dry_run_of_a_shard_is_that_of_its_part(write_protocol: Write, images: Path, tmp_path: Path) -> None:
    request = ("run", "--protocol", str(write_protocol(methods=METHODS)), "--data", str(images), "--dry-run")
    done = bench(*request, "--shard", "2/4", "--results", str(tmp_path / "results"))
    assert "1 cells of 1 trainings" in done.output
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("text", ["0/4", "5/4", "4", "1/0", "-1/4", "a/b", "1/2/3", "", "1.0/4", "²/4"])
def test_a_part_that_is_none_is_refused(text: str) -> None:
    done = bench("run", "--shard", text)
    assert done.exit_code == 2
    assert "from 1/N to N/N, e.g. 3/16" in done.output
