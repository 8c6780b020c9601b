"""Brings a tracker to the state of the records, by what it says that it has; marks in cells' folders do not count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import BenchError
from ..store.cell_files import RECORD, inspect_cell
from ..store.locks import holder_of
from ..store.pack import is_member_name
from ..store.plan import View
from ..store.record import AnyRecord
from ..store.results import Store
from ..store.whole_cell import base_of, protocol_folders
from ..system.files import sha256_of, write_text
from .address import address_of
from .plan_files import PlanFile, by_cell, plan_files
from .runs import CELL, ID, PLAN_TAG, MirroredCell, Runs
from .tracker import DeletedExperiment, Tracker
from .upload import Upload, has_record, record_tag


@dataclass
class Synchronised:
    """What a synchronisation has done."""

    records: int = 0
    sent: int = 0
    present: int = 0
    doubles: int = 0
    """Runs that were deleted, since another one stands for their cell."""
    ended: int = 0
    """Runs that had no end, and whose cell nobody works on."""
    missing: list[str] = field(default_factory=list)
    """The cells whose record is not there, and why."""

    def __str__(self) -> str:
        ended = f", {self.ended} stopped runs ended" if self.ended else ""
        missing = f", {len(self.missing)} missing" if self.missing else ""
        doubles = f"{self.doubles} double{'' if self.doubles == 1 else 's'} removed"
        return f"{self.records} records, {self.sent} sent, {self.present} were there, {doubles}{ended}{missing}"


@dataclass(frozen=True)
class _Wanted:
    """A cell with the record that its plan wants."""

    cell: MirroredCell
    record: AnyRecord


def synchronise(results: Path, protocol: str | None, uri: str | None, say: Callable[[str], None]) -> Synchronised:
    """Send what a tracker lacks of the records of a protocol, by default of all, and remove what it has twice.

    `protocol` as `Store.view` takes it; `say` is called with a line for what is left out, and why. Raises BenchError
    where the tracker does not answer, or an experiment was deleted there.
    """
    tracker = Tracker(address_of(uri, results))
    store, total = Store(results), Synchronised()
    names = [protocol] if protocol else protocol_folders(store.runs)
    try:
        with tracker.turn():
            for name in names:
                _Synchronisation(tracker, results, store.view(name), total, say).run()
    except DeletedExperiment as error:
        raise BenchError(f"MLflow at {tracker.address}: {error}") from None
    except BenchError:
        raise
    except Exception as error:
        if not isinstance(error, ImportError) and tracker.answers():
            raise
        raise BenchError(
            f"MLflow at {tracker.address}: {tracker.explain(error)}\n"
            f"Up to here: {total}. The same command sends the rest"
        ) from None
    return total


class _Synchronisation:
    """The records of one protocol's folder."""

    def __init__(
        self, tracker: Tracker, results: Path, view: View, total: Synchronised, say: Callable[[str], None]
    ) -> None:
        self._tracker, self._view, self._total, self._say = tracker, view, total, say
        self._folder = results / "runs" / view.folder.name
        self._runs = Runs(tracker, results / "mlartifacts")
        self._upload = Upload(self._runs, say, images=not tracker.address.is_server)
        self._plans = plan_files(self._folder)
        self._plan_of = by_cell(self._plans)

    def run(self) -> None:
        recorded = self._recorded()
        experiment = self._runs.experiment(self._view.folder.name)
        self._runs.describe(self._view.folder.name, self._plans)
        runs = self._runs_by_cell(experiment)
        for entry in recorded:
            tag = record_tag(entry.cell.place.folder)
            runs_of_cell = runs.pop(entry.cell.identity, [])
            whole = [run for run in runs_of_cell if has_record(run, tag)]
            same = [*whole, *(run for run in runs_of_cell if run not in whole)]
            for double in same[1:]:
                self._runs.delete(double)
                self._total.doubles += 1
            self._send(entry, same[0] if same else None)
        self._end_stopped([run for same in runs.values() for run in same])
        self._verify(experiment, recorded)

    def _recorded(self) -> list[_Wanted]:
        """The cells that have a record under their keys; damaged ones are said, and missing."""
        recorded = list[_Wanted]()
        for planned in self._view.cells:
            place = self._view.place(planned)
            if place is None:
                continue
            cell = MirroredCell(self._folder.name, str(planned.cell), planned.cell.folder, place)
            standing = inspect_cell(cell.place)
            if standing.state == "damaged":
                self._miss(cell.name, standing.why)
            elif standing.record is not None and standing.state not in ("stale", "missing"):
                recorded.append(_Wanted(cell, standing.record))
        self._total.records += len(recorded)
        return recorded

    def _miss(self, name: str, why: str) -> None:
        self._total.missing.append(name)
        self._say(f"not sent: {name}: {why}")

    def _runs_by_cell(self, experiment: str) -> dict[str, list[Any]]:
        """Identity of a cell → its runs, smallest id first."""
        runs: dict[str, list[Any]] = {}
        for run in sorted(self._runs.all(experiment), key=lambda run: str(run.info.run_id)):
            if identity := run.data.tags.get(ID):
                runs.setdefault(identity, []).append(run)
        return runs

    def _send(self, entry: _Wanted, run: Any) -> None:
        cell, plan = entry.cell, self._plan_of.get(entry.cell.folder)
        if run is not None and _is_there(run, cell, plan):
            self._total.present += 1
        else:
            try:
                sent = self._upload.send_patiently(cell, entry.record, plan)
            except Exception as error:
                if isinstance(error, DeletedExperiment) or not self._tracker.answers():
                    raise
                self._miss(cell.name, self._tracker.explain(error))
                return
            self._total.sent += sent
            self._total.present += not sent

    def _end_stopped(self, others: Sequence[Any]) -> None:
        """End the runs without a record whose cell lies here and is worked on by nobody."""
        for run in others:
            name = run.data.tags.get(CELL, "")
            is_name = is_member_name(f"runs/{self._folder.name}/{name}/{RECORD}")
            if run.info.status != "RUNNING" or not is_name or not (self._folder / name).is_dir():
                continue
            if holder_of(self._folder / base_of(name)) is None:
                self._runs.stop(run.info.run_id)
                self._total.ended += 1

    def _verify(self, experiment: str, recorded: Sequence[_Wanted]) -> None:
        """Look again: every record is there, and once. Then marks are written."""
        runs = self._runs_by_cell(experiment)
        for entry in recorded:
            cell, same = entry.cell, runs.get(entry.cell.identity, [])
            if len(same) == 1 and _is_there(same[0], cell, self._plan_of.get(cell.folder)):
                write_text(cell.place.folder / self._tracker.address.mark, sha256_of(cell.place.folder / RECORD))
            elif cell.name not in self._total.missing:
                self._miss(cell.name, f"the tracker has {len(same)} runs of it, or another content; try again")


def _is_there(run: Any, cell: MirroredCell, plan: PlanFile | None) -> bool:
    """Whether a run has the record of its cell and its plan."""
    has_plan = plan is None or run.data.tags.get(PLAN_TAG) == plan.digest
    return has_plan and has_record(run, record_tag(cell.place.folder))
