"""What a run says while it works, in a pipe and on a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from mrsr_bench.cell import Training
from mrsr_bench.progress import Listener, LiveListener, describe
from mrsr_bench.records import Outcome
from mrsr_bench.runner import request_plan

STEP = {"kind": "progress", "step": 50, "steps": 200, "loss": 0.0125, "seconds": 10.0}


@pytest.fixture
def training(write_protocol: Callable[..., Path]) -> Training:
    return request_plan(str(write_protocol()))[1][0]


def test_a_step_is_told_with_loss_last_validation_and_time_left() -> None:
    assert describe({**STEP, "val_psnr": 31.234}) == "step 50/200  loss 0.01250  val PSNR 31.23 dB  30 s left"
    assert describe(STEP) == "step 50/200  loss 0.01250  30 s left"
    assert describe({"kind": "progress", "step": 3, "steps": 0}) == "step 3"


def test_plain_lines_keep_the_last_validation_until_the_next_training(
    training: Training, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrsr_bench.progress._LINE_SECONDS", -1.0)
    listener = Listener()
    listener.planned([training.base], [])
    events = [{"kind": "started"}, {**STEP, "val_psnr": 30.0}, STEP, {"kind": "started"}, STEP]
    for event in events:
        listener.event(training, event)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "[1/1] bicubic T1 x2 bicubic seed 0"
    assert ["30.00 dB" in line for line in lines] == [False, True, True, False, False]


def test_a_terminal_shows_all_cells_and_the_running_one(training: Training) -> None:
    text = io.StringIO()
    with LiveListener(Console(file=text, force_terminal=True, width=100)) as listener:
        listener.planned([training.base], [Outcome(training.base, "skipped", "only by 3")])
        listener.event(training, {"kind": "started"})
        listener.event(training, STEP)
        listener._progress.refresh()
        listener.settled(Outcome(training.base, "done", "", {"psnr": 30.0}))
        listener.event(training, {"kind": "ended", "state": "done", "message": ""})
    shown = text.getvalue()
    for part in ("skipped: only by 3", "0/1", "step 50/200  loss 0.01250", "1/1", "done  psnr 30.0000"):
        assert part in shown
