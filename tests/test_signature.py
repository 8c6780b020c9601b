"""The signature of a metric: one line for one convention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrsr_bench.planning.planner import plan_metric
from mrsr_bench.protocol.data_blocks import Rounding
from mrsr_bench.protocol.loading import load
from mrsr_bench.scoring.metrics import ranges
from mrsr_bench.scoring.protocol_metrics import METRICS, make_metric
from mrsr_bench.store.signature import NEUTRAL, signature

MODEST = settings(max_examples=300, deadline=None)
Convention = tuple[str, dict[str, Any], str, int, str]
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "range": st.sampled_from(ranges.WORDS) | st.sampled_from([1, 1.5, 255, 255.5, 1e22, 0.1, 0.1 + 1e-16]),
    "region": st.sampled_from(["whole", "foreground"]),
    "pool": st.sampled_from(["db", "mse"]),
    "window": st.sampled_from(["gaussian11", "uniform7"]),
    "dims": st.sampled_from([2, 3]),
    "map": st.sampled_from(["whole", "cropped"]),
}
"""Setting of a metric → its values."""


@st.composite
def conventions(draw: st.DrawFn) -> Convention:
    """Metric, its settings, unit, border, rounding."""
    name = draw(st.sampled_from(sorted(METRICS)))
    chosen = {key: draw(FIELDS[key]) for key in METRICS[name].model_fields}
    rounding = draw(st.sampled_from(Rounding.__args__))
    return name, chosen, draw(st.sampled_from(["volume", "slice"])), draw(st.integers(0, 9)), rounding


def signed(convention: Convention) -> str:
    name, chosen, unit, border, rounding = convention
    return signature(plan_metric("any", {"metric": name, **chosen}), unit, border, rounding)


def decisive(convention: Convention) -> tuple[Any, ...]:
    """What decides the figure: all settings but those of scoring that the metric does not follow."""
    name, chosen, unit, border, rounding = convention
    fixed = METRICS[name].fixed
    return name, make_metric(name, chosen), unit, fixed.get("border", border), fixed.get("round", rounding)


@MODEST
@given(conventions(), conventions())
def test_two_conventions_have_one_signature_only_where_they_are_one(first: Convention, second: Convention) -> None:
    assert (signed(first) == signed(second)) == (decisive(first) == decisive(second))


@MODEST
@given(conventions(), st.data())
def test_one_other_setting_gives_another_signature(convention: Convention, data: st.DataObject) -> None:
    name, chosen, *scoring = convention
    if chosen:
        key = data.draw(st.sampled_from(sorted(chosen)))
        value = data.draw(FIELDS[key].filter(lambda value: value != chosen[key]))
        assert signed((name, {**chosen, key: value}, *scoring)) != signed(convention)


@pytest.mark.parametrize(
    ("name", "chosen", "line"),
    [
        ("psnr", {"range": "volume_minmax"}, "psnr|peak=volume_minmax|per=volume|border=0|round=stored|v1"),
        (
            "psnr",
            {"range": 255, "region": "foreground"},
            "psnr|peak=255|region=foreground|per=volume|border=0|round=stored|v1",
        ),
        (
            "ssim",
            {"range": "volume_p999", "window": "uniform7", "map": "cropped"},
            "ssim|dims=2|map=cropped|range=volume_p999|window=uniform7|per=volume|border=0|round=stored|v1",
        ),
        ("nullspace_recovered", {}, "nullspace_recovered|per=volume|border=0|round=none|v1"),
    ],
)
def test_a_signature_is_one_short_line(name: str, chosen: dict[str, Any], line: str) -> None:
    assert signed((name, chosen, "volume", 0, "stored")) == line


def test_a_new_definition_is_another_convention() -> None:
    metric = plan_metric("hfen", {})
    lines = [signature(metric.model_copy(update={"definition": n}), "volume", 0, "none") for n in (1, 2)]
    assert [line.rsplit("|", 1)[1] for line in lines] == ["v1", "v2"]


@pytest.mark.parametrize("key", sorted(NEUTRAL))
def test_what_is_not_printed_is_the_default_of_every_metric(key: str) -> None:
    """So a protocol that writes a default out has the signature of one that does not."""
    defaults = {metric.model_fields[key].default for metric in METRICS.values() if key in metric.model_fields}
    assert defaults == {NEUTRAL[key]}


def test_a_convention_that_is_written_out_has_the_signature_of_its_short_form(write_protocol: Any) -> None:
    short = {"psnr": {"range": 255}, "fg": {"metric": "psnr", "range": 255.0, "region": "whole", "pool": "db"}}
    path: Path = write_protocol(scoring={"unit": "slice", "round": "stored", "metrics": short})
    written = load(str(path)).protocol.scoring.metrics
    lines = {signature(plan_metric(label, written[label], "slice"), "slice", 0, "stored") for label in short}
    assert lines == {"psnr|peak=255|per=slice|border=0|round=stored|v1"}
