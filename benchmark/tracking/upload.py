"""Sends one cell to a tracker: its curve while it trains, its record with all that belongs to it when it has one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..store.cell_files import LOG, RADIAL, RECORD, SCORES, WEIGHTS
from ..store.cross_tests import cross_scores_name
from ..store.exhibit import read_exhibit
from ..store.exhibit_image import slice_image
from ..store.method_sources import SOURCES
from ..store.plan import PLANS
from ..store.record import AnyRecord, DoneRecord
from ..system.files import DamagedFile, sha256_of
from ..system.training_states import CURVE
from .content import figures, parameters, started_ms, tags, written_ms
from .curves import OtherCurve, Row, last_step, read_rows, send_rows
from .plan_files import PlanFile
from .runs import PLAN_TAG, RECORD_TAG, SENDING, STATE, MirroredCell, Runs
from .tracker import DeletedExperiment

LAYOUT = 2
"""Raised when runs get other content, so that all are sent again."""
IMAGE = "slice.png"
"""HR, the prediction, and their difference."""
_MOST = 100
"""Parameters, figures or tags in one call."""


def record_tag(folder: Path) -> str:
    """What a run has whose content is that of the record in a cell's folder."""
    return f"{LAYOUT}-{sha256_of(folder / RECORD)}"


def has_record(run: Any, tag: str) -> bool:
    """Whether a run has a whole record: the tag is set last, after the run's end. A copy of its tags is none."""
    return run.data.tags.get(RECORD_TAG) == tag and run.info.status in ("FINISHED", "FAILED")


class Upload:
    """Sends cells to the runs of a tracker."""

    def __init__(self, runs: Runs, warn: Callable[[str], None], *, images: bool) -> None:
        """`images`: slices may be sent whatever their licence, since the tracker's files stay in the results folder."""
        self.runs, self._warn, self._images = runs, warn, images
        self._followed: dict[str, tuple[Any, int]] = {}
        """Cell's folder → its run, and the last step that it has."""
        self.unfinished: set[str] = set()
        """The runs that have no end yet."""

    def forget(self) -> None:
        """Ask anew which runs there are."""
        self.runs.forget()
        self._followed.clear()

    def follow(self, cell: MirroredCell) -> None:
        """Send what the curve of a training has got since the last time."""
        rows = read_rows(cell.place.base / CURVE)
        if cell.folder not in self._followed:
            self._followed[cell.folder] = self._begin(cell, rows)
        run, last = self._followed[cell.folder]
        self._followed[cell.folder] = run, send_rows(self.runs.client, run, rows, last)

    def _begin(self, cell: MirroredCell, rows: Sequence[Row]) -> tuple[Any, int]:
        """The run of a cell that trains, and the last step that it has."""
        run, is_new = self.runs.open(cell)
        last = 0
        if not is_new:
            try:
                if RECORD_TAG in run.data.tags or SENDING in run.data.tags:  # of an earlier training
                    raise OtherCurve
                last = last_step(self.runs.client, run.info.run_id, rows, whole=False)
            except OtherCurve:
                self.runs.delete(run)
                run, _ = self.runs.open(cell)
        if run.info.status != "RUNNING":
            self.runs.client.update_run(run.info.run_id, status="RUNNING")
            self.runs.client.set_tag(run.info.run_id, STATE, "running")
        self.unfinished.add(run.info.run_id)
        return run, last

    def end(self) -> None:
        """End the runs of cells that were stopped."""
        for run_id in sorted(self.unfinished):
            self.runs.stop(run_id)
        self.unfinished.clear()

    def send_patiently(self, cell: MirroredCell, record: AnyRecord, plan: PlanFile | None) -> bool:
        """`send`, once more where it fails: another process may have deleted the run, which was one of two."""
        try:
            return self.send(cell, record, plan)
        except Exception as error:
            if isinstance(error, DeletedExperiment) or not self.runs.tracker.answers():
                raise
            self.forget()
            return self.send(cell, record, plan)

    def send(self, cell: MirroredCell, record: AnyRecord, plan: PlanFile | None) -> bool:
        """Send a record with all that belongs to it; False where the run has it already.

        A run whose content is that of another record is replaced: MLflow keeps the old one among the deleted ones.
        """
        tag, trained = record_tag(cell.place.folder), cell.place.folder == cell.place.base
        started = started_ms(record, trained=trained)
        rows = read_rows(cell.place.base / CURVE) if trained and isinstance(record, DoneRecord) else []
        run, is_new = self.runs.open(cell, started, **{SENDING: tag})
        if has_record(run, tag):
            self.unfinished.discard(run.info.run_id)  # of an attempt whose last answer did not arrive
            if plan is not None and run.data.tags.get(PLAN_TAG) != plan.digest:
                self._send_plan(run.info.run_id, record, plan)
                self.runs.client.set_tag(run.info.run_id, PLAN_TAG, plan.digest)
            return False
        last = 0 if is_new else self._last_step_or_none(run, tag, rows)
        if last is None:
            self.runs.delete(run)
            run, last = self.runs.open(cell, started, **{SENDING: tag})[0], 0
        run_id = run.info.run_id
        self.unfinished.add(run_id)
        if run.data.tags.get(SENDING) != tag:
            self.runs.client.set_tag(run_id, SENDING, tag)
        send_rows(self.runs.client, run, rows, last)
        self._send_content(run_id, record)
        self._send_files(run_id, cell, record, plan)
        if plan is not None:
            self._send_plan(run_id, record, plan)
        self._end(run, record)
        self._set_tags(run_id, {RECORD_TAG: tag, **({PLAN_TAG: plan.digest} if plan else {})})
        self.unfinished.discard(run_id)
        self._followed.pop(cell.folder, None)
        return True

    def _last_step_or_none(self, run: Any, tag: str, rows: Sequence[Row]) -> int | None:
        """The last step that a run has of a record's curve; None where it has content of another record."""
        if RECORD_TAG in run.data.tags or run.data.tags.get(SENDING, tag) != tag:
            return None
        try:
            return last_step(self.runs.client, run.info.run_id, rows, whole=True)
        except OtherCurve:
            return None

    def _end(self, run: Any, record: AnyRecord) -> None:
        status = "FINISHED" if record.state in ("done", "skipped") else "FAILED"
        end = max(written_ms(record), int(run.info.start_time))
        self.runs.client.set_terminated(run.info.run_id, status, end)

    def _send_content(self, run_id: str, record: AnyRecord) -> None:
        from mlflow.entities import Metric, Param, RunTag

        written = written_ms(record)
        params = [Param(name, value) for name, value in parameters(record).items()]
        metrics = [Metric(name, value, written, 0) for name, value in figures(record).items()]
        labels = [RunTag(name, value) for name, value in tags(record).items()]
        for start in range(0, max(map(len, (params, metrics, labels))), _MOST):
            parts = (part[start : start + _MOST] for part in (metrics, params, labels))
            self.runs.client.log_batch(run_id, *parts)

    def _set_tags(self, run_id: str, content: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        self.runs.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in content.items()])

    def _send_files(self, run_id: str, cell: MirroredCell, record: AnyRecord, plan: PlanFile | None) -> None:
        """Send the files of a cell that a results folder needs, its log, and an image where that may be shown."""
        tests = map(cross_scores_name, record.tests if isinstance(record, DoneRecord) else ())
        for name in (RECORD, SCORES, *tests, RADIAL, CURVE, WEIGHTS, LOG):
            path = cell.place.folder / name
            if path.is_file():
                self.runs.client.log_artifact(run_id, str(path))
        has_images = isinstance(record, DoneRecord) and record.checksums.exhibit is not None
        if has_images and (self._images or (plan and plan.plan.protocol.licence)):
            self._send_image(run_id, cell)

    def _send_image(self, run_id: str, cell: MirroredCell) -> None:
        """Send the first slice that the cell keeps as an image; one that cannot be read costs a warning."""
        try:
            exhibit = read_exhibit(cell.place.folder)
        except DamagedFile as error:
            self._warn(f"MLflow gets no image of {cell.name}: {error}. Make it again with: bench score")
            return
        if exhibit is not None:
            self.runs.client.log_image(run_id, slice_image(exhibit.slices[0]), IMAGE)

    def _send_plan(self, run_id: str, record: AnyRecord, plan: PlanFile) -> None:
        """Send the plan that gives the cell's keys, with the methods' files."""
        for digest in plan.sources(record):
            source = plan.path.parent.parent / SOURCES / f"{digest}.zip"
            if source.is_file():
                self.runs.client.log_artifact(run_id, str(source), SOURCES)
        self.runs.client.log_artifact(run_id, str(plan.path), PLANS)
