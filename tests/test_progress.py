"""What a run says while it works, in a pipe and on a terminal."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from mrsr_bench.planning.cells import Training
from mrsr_bench.planning.planner import plan_request
from mrsr_bench.planning.request import Request
from mrsr_bench.running.events import Ended, Event, Progressed, Started, Upscaled
from mrsr_bench.running.outcomes import Outcome
from mrsr_bench.running.pace import RecentPace, RunPace
from mrsr_bench.running.progress import Listener, LiveListener, position, readings

STARTED = Started()
STEP = Progressed(step=50, steps=200, loss=0.0125, seconds=10.0)
LONG = Progressed(
    step=123_456, steps=1_000_000, loss=1.234e-5, seconds=1.0, val_psnr=31.234, pixels_per_second=999_000.0,
    memory_bytes=123_000_000_000, skipped=12,
)  # fmt: skip


def but(event: Progressed, **changes: Any) -> Progressed:
    return event.model_copy(update=changes)


def words(event: Progressed, left: float | None = None) -> str:
    return "  ".join([position(event), *readings(event, left)])


@pytest.fixture
def training(write_protocol: Callable[..., Path]) -> Training:
    return plan_request(Request(str(write_protocol())))[1][0]


@pytest.fixture
def lines(
    training: Training, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """Tell a new listener of events; gives the plain lines, of which none is held back."""
    monkeypatch.setattr("mrsr_bench.running.progress._LINE_SECONDS", -1.0)

    def tell(*events: Event) -> list[str]:
        listener = Listener()
        listener.planned([training.base], [], {})
        for event in events:
            listener.event(training, event)
        return capsys.readouterr().out.splitlines()

    return tell


def test_a_step_is_told_with_all_its_figures() -> None:
    event = but(STEP, val_psnr=31.234, pixels_per_second=1.2e6, memory_bytes=1.9e9)
    assert words(event, 180.0) == "step 50/200  loss 0.0125  val PSNR 31.23 dB  1.2 M LR px/s  1.9 GB  3 min left"


def test_what_is_not_known_is_not_told() -> None:
    assert words(STEP) == "step 50/200  loss 0.0125"
    assert words(Progressed(step=3, steps=0)) == "step 3"
    assert words(but(STEP, skipped=2)) == "step 50/200 (2 skipped)  loss 0.0125"
    assert words(but(STEP, pixels_per_second=640.0)) == "step 50/200  loss 0.0125  640 LR px/s"


def test_plain_lines_keep_the_last_validation_until_the_next_training(lines: Callable[..., list[str]]) -> None:
    told = lines(STARTED, but(STEP, val_psnr=30.0), STEP, STARTED, STEP)
    assert told[0] == "[1/1] bicubic T1 x2 bicubic seed 0"
    assert ["30.00 dB" in line for line in told] == [False, True, True, False, False]


def test_the_time_left_is_by_this_process_and_not_by_the_one_that_was_resumed(lines: Callable[..., list[str]]) -> None:
    """Ten seconds a step before, a tenth of a second now."""
    told = lines(STARTED, but(STEP, step=100, seconds=1000.0), but(STEP, step=110, seconds=1001.0))
    assert "left" not in told[1], "one row tells no pace"
    assert told[2].endswith("  9 s left")


def test_the_time_left_follows_a_pace_that_changed(lines: Callable[..., list[str]]) -> None:
    slow = [but(STEP, step=step, steps=1000, seconds=10.0 * step) for step in range(1, 101)]
    fast = [but(STEP, step=step, steps=1000, seconds=1000.0 + step - 100) for step in range(101, 201)]
    told = lines(STARTED, *slow, *fast)
    assert told[100].endswith("  2 h 30 min left")
    assert told[200].endswith("  13 min left")


@given(
    pace=st.floats(0.001, 100), before=st.floats(0, 1e5), rows=st.lists(st.integers(1, 50), min_size=2, max_size=100)
)
def test_at_an_even_pace_the_time_left_is_exact(pace: float, before: float, rows: list[int]) -> None:
    recent, step, left = RecentPace(), 0, None
    for more in rows:
        step += more
        _, left = recent.complete(but(STEP, step=step, steps=5000, seconds=before + pace * step))
    assert left == pytest.approx(pace * (5000 - step), rel=1e-4)


def shown_by(training: Training, *events: Event, width: int = 100) -> list[str]:
    """The lines of a terminal that a run of one cell writes, without colours."""
    text = io.StringIO()
    with LiveListener(Console(file=text, force_terminal=True, width=width)) as listener:
        listener.planned([training.base], [Outcome(training.base, "skipped", "only by 3")], {})
        for event in events:
            listener.event(training, event)
            listener._progress.refresh()
        listener.settled(Outcome(training.base, "done", "", {"psnr": 30.0}))
        listener.event(training, Ended(state="done"))
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
    return [line.rstrip() for line in re.split(r"[\r\n]+", plain)]


def test_a_terminal_shows_all_cells_and_the_running_one(training: Training) -> None:
    shown = "\n".join(shown_by(training, STARTED, STEP))
    for part in (
        "skipped: only by 3",
        " 0 done  1 to do",
        "step 50/200\n  loss 0.0125\n",
        " 1 done  0 to do",
        "done  psnr 30.0000",
    ):
        assert part in shown


def test_the_figures_of_a_training_go_when_its_test_begins(training: Training) -> None:
    test = Upscaled(label="bicubic", subject=1, subjects=2)
    shown = shown_by(training, STARTED, STEP, test)
    last = max(number for number, line in enumerate(shown) if "loss" in line)
    assert any("bicubic: test subject 1/2" in line for line in shown[last:])


def test_eighty_columns_hold_every_figure_of_a_long_training(write_protocol: Callable[..., Path]) -> None:
    """The name of the cell gives way, nothing else does."""
    name = "a-label-as-long-as-they-come-in-ablations"
    degradation = {"name": "gaussian", "round": "stored", "options": {"fwhm": 1.5}, "noise": 0.05}
    protocol = write_protocol(methods={name: {"method": "bicubic"}}, degradation=degradation)
    training = plan_request(Request(str(protocol)))[1][0]
    later = but(LONG, step=123_457, seconds=1.0 + 35_960 / 876_543)
    shown = shown_by(training, STARTED, LONG, later, width=80)
    [bar, *_] = [line for line in shown if "step 123457" in line]
    assert max(map(len, shown[shown.index(bar) :][:2])) <= 80
    assert re.fullmatch(r"a-label-as-long-as\S*… [━╸╺]{16} step 123457/1000000 \(12 skipped\)", bar)
    assert shown[shown.index(bar) + 1] == (
        "  loss 1.23e-05  val PSNR 31.23 dB  999 k LR px/s  123 GB  9 h 59 min left"
    )  # fmt: skip


# Several trainings at once, and the whole run


@pytest.fixture
def pair(write_protocol: Callable[..., Path]) -> list[Training]:
    return plan_request(Request(str(write_protocol(methods={"bicubic": {}, "linear": {}}))))[1]


def test_lines_of_trainings_that_run_at_once_name_them(
    pair: list[Training], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mrsr_bench.running.progress._LINE_SECONDS", -1.0)
    first, second = pair
    listener = Listener()
    listener.planned([first.base, second.base], [], {})
    for training, event in (
        (first, STARTED),
        (first, STEP),
        (second, STARTED),
        (second, but(STEP, step=20)),
        (first, STEP),
    ):
        listener.event(training, event)
    listener.settled(Outcome(first.base, "failed", "no such luck"))
    listener.event(first, Ended(state="failed"))
    listener.event(second, but(STEP, step=30, seconds=None))
    assert capsys.readouterr().out.splitlines() == [
        "[1/2] bicubic T1 x2 bicubic seed 0",
        "    step 50/200  loss 0.0125",
        "[2/2] linear T1 x2 bicubic seed 0",
        "    linear T1 x2 bicubic seed 0: step 20/200  loss 0.0125",
        "    bicubic T1 x2 bicubic seed 0: step 50/200  loss 0.0125",
        "    bicubic T1 x2 bicubic seed 0: failed  no such luck",
        "    step 30/200  loss 0.0125",
    ]


def test_a_training_that_starts_is_told_with_what_failed_and_the_time_left(
    pair: list[Training], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = pair
    now = 0.0
    monkeypatch.setattr("mrsr_bench.running.pace.time.monotonic", lambda: now)
    listener = Listener()
    listener.planned([first.base, second.base], [], {first.base: 1.0, second.base: 3.0})
    listener._pace._clock = lambda: now
    listener.event(first, STARTED)
    listener.event(first, but(STEP, step=0))
    now = 60.0
    listener.event(first, but(STEP, step=200))
    listener.settled(Outcome(first.base, "failed", "no such luck"))
    listener.event(first, Ended(state="failed"))
    listener.event(second, STARTED)
    assert capsys.readouterr().out.splitlines()[-1] == "[2/2] linear T1 x2 bicubic seed 0  (1 failed, 3 min left)"


def test_a_terminal_has_a_bar_for_each_training_and_one_for_the_run(pair: list[Training]) -> None:
    text = io.StringIO()
    first, second = pair
    with LiveListener(Console(file=text, force_terminal=True, width=110)) as listener:
        listener.planned([first.base, second.base], [], {})
        for training in pair:
            listener.event(training, STARTED)
        for step in (10, 20):
            listener.event(first, but(STEP, step=step, seconds=float(step)))
            listener.event(second, but(STEP, step=2 * step, seconds=float(step)))
        listener._progress.refresh()
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())
        assert re.search(r"all cells +\S+ 0 done  2 to do", shown)
        assert re.search(r"bicubic T1 x2 bicubic seed 0 +\S+ step 20/200  3 min left", shown)
        assert re.search(r"linear T1 x2 bicubic seed 0 +\S+ step 40/200  1 min left", shown)
        for training in pair:
            listener.settled(Outcome(training.base, "done", "", {"psnr": 30.0}))
            listener.event(training, Ended(state="done"))
    assert "2 done  0 to do" in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text.getvalue())


@given(costs=st.lists(st.floats(1, 10), min_size=1, max_size=6), pace=st.floats(1e-3, 1e3))
def test_at_an_even_pace_a_run_ends_when_it_was_said(costs: list[float], pace: float) -> None:
    """One training after another, which take the same time for a unit of cost."""
    trainings = [Mock(base=f"cell {number}", recipe=object()) for number in range(len(costs))]
    now, done, total = 0.0, 0.0, sum(costs)
    run = RunPace({training.base: cost for training, cost in zip(trainings, costs, strict=True)}, lambda: now)
    for training, cost in zip(trainings, costs, strict=True):
        for step in range(5):
            run.follow(training, but(STEP, step=step, steps=4))
            left = run.seconds_left
            assert (left is None) == (done < 0.01 * total)
            assert left is None or left == pytest.approx((total - done) * pace, rel=1e-6, abs=1e-9)
            if step < 4:
                now, done = now + pace * cost / 4, done + cost / 4
        run.end(training)
    assert run.seconds_left == 0


def test_a_resumed_training_counts_from_where_it_was_taken_up() -> None:
    training, now = Mock(base="cell", recipe=object()), 0.0
    run = RunPace({training.base: 7.0}, lambda: now)
    run.follow(training, but(STEP, step=100))
    now = 10.0
    run.follow(training, but(STEP, step=150))
    assert run.seconds_left == pytest.approx(10.0)


def test_small_jobs_before_say_nothing_of_the_pace() -> None:
    """A classical method of 30 s, which costs next to nothing beside networks."""
    small, large, now = Mock(base="nlm", recipe=None), Mock(base="edsr", recipe=object()), 0.0
    run = RunPace({small.base: 1.0, large.base: 1e6}, lambda: now)
    run.follow(small, Upscaled(label="nlm", subject=1, subjects=1))
    run.end(small)
    now = 30.0
    run.follow(large, but(STEP, step=0))
    assert run.seconds_left is None
    now = 40.0
    run.follow(large, but(STEP, step=100))
    assert run.seconds_left == pytest.approx(10.0)
