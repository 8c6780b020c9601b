"""Figures for a paper: from plans and records alone, the same bytes each time, and telling where they come from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import Plan, fill, view

from mrsr_bench.errors import BenchError, UsageError
from mrsr_bench.figures import quality
from mrsr_bench.figures.picture import write_picture
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.reporting.table import build_table
from mrsr_bench.store.results import Store

METHODS = {"bicubic": {}, "linear": {}, "srcnn": {}, "edsr": {"preset": "tiny"}, "edsr+": {}}


@pytest.fixture
def make(write_protocol: Callable[..., Path], tmp_path: Path) -> Callable[..., Plan]:
    """A plan over `METHODS`, nothing run yet; `changes` replace keys of the protocol."""

    def plan(**changes: Any) -> Plan:
        settings = {"methods": METHODS, "seeds": [0, 1], **changes}
        loaded, trainings = plan_request(Request(str(write_protocol(**settings))))
        return Store(tmp_path / "results"), loaded, trainings

    return plan


@pytest.fixture
def counted(make: Callable[..., Plan]) -> Plan:
    """Figures of a row: linear without multiply-accumulates, three networks with more and more of them."""
    plan = make(methods={**METHODS, "poan": {"preset": "tiny"}})
    fill(plan, "linear", "x2", 34.0, 0.9, macs_lr24=None)
    for label, psnr, macs in (("srcnn", 32.0, 7_250_000), ("poan", 33.4, 400_000_000), ("edsr+", 33.6, 100_000_000)):
        fill(plan, label, "x2", psnr, 0.9, macs_lr24=macs)
    for seed, psnr in ((0, 33.0), (1, 34.0)):
        fill(plan, "edsr", "x2", psnr, 0.9, seed, macs_lr24=100_000_000)
    return plan


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_a_figure_is_the_same_for_the_same_records(counted: Plan, tmp_path: Path, ending: str) -> None:
    files = [tmp_path / f"{number}.{ending}" for number in (1, 2)]
    for file in files:
        write_picture(quality.draw(build_table(view(counted))), file)
    first, second = (file.read_bytes() for file in files)
    assert first == second
    assert first.startswith({"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[ending])
    assert sorted(path.name for path in tmp_path.glob("[12.]*")) == [file.name for file in files], (
        "nothing half-written"
    )


def test_a_file_of_another_kind_is_refused(counted: Plan) -> None:
    with pytest.raises(UsageError, match=r"end in \.pdf, \.svg or \.png: 'quality\.doc'"):
        write_picture(quality.draw(build_table(view(counted))), Path("quality.doc"))


def test_the_file_says_where_its_figures_come_from(counted: Plan, tmp_path: Path) -> None:
    table = build_table(view(counted))
    write_picture(quality.draw(table), tmp_path / "quality.svg")
    text = (tmp_path / "quality.svg").read_text(encoding="utf-8")
    assert f"digest {counted[1].digest}" in text
    for records in table.records.values():
        assert all(record.score_key in text for record in records)


# quality


def test_quality_names_every_method_and_both_axes(counted: Plan, tmp_path: Path) -> None:
    write_picture(quality.draw(build_table(view(counted))), tmp_path / "quality.svg")
    svg = (tmp_path / "quality.svg").read_text(encoding="utf-8")
    for text in ("T1 x2", "PSNR (dB)", "multiply-accumulates for one LR patch of 24×24", *METHODS, "poan"):
        assert (f">{text}</text>" in svg) == (text != "bicubic"), text


def test_quality_without_a_network_is_refused(make: Callable[..., Plan]) -> None:
    with pytest.raises(BenchError, match="no network of 'small' has a score yet"):
        quality.draw(build_table(view(make(scales=[3]))))
