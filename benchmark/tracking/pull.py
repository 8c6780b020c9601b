"""Records from a tracker: downloaded into a folder of their own, checked there, and merged like an unpacked folder.

What comes from a tracker is untrusted. Only files are asked for whose names a results folder can have, none may be
larger than in a pack, nothing of them is run, and all checksums count.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any

from ..errors import BenchError, UsageError
from ..store.cell_files import RADIAL, RECORD, SCORES, WEIGHTS, read_record
from ..store.cross_tests import cross_scores_name
from ..store.merging import Merged, merge
from ..store.method_sources import SOURCES
from ..store.pack import MAX_TOTAL, is_member_name, max_bytes
from ..store.plan import PLANS, read_plan
from ..store.record import AnyRecord, DoneRecord
from ..store.results import Store, check_folder
from ..system.files import DamagedFile, read_sealed, write_sealed
from ..system.limits import file_size_limit
from ..system.parallel import thread_pool
from ..system.training_states import CURVE
from .address import Address
from .plan_files import PlanFile, sources_of
from .runs import CELL, PLAN_TAG, PLAN_TIME, PROTOCOL_TAG, RECORD_TAG, WRITTEN, Runs
from .tracker import DeletedExperiment, Tracker

Say = Callable[[str], None]
_AT_ONCE = 8
"""Cells that are downloaded at once: a request waits more than it works."""
_MOST = 2**30
"""Bytes of any file, whatever the tracker states; what a file of its name may have is looked at when it is there."""


def pull(uri: str, results: Path, protocol: str | None, say: Say) -> Merged:
    """Merge what a tracker has of an experiment, by default of all of this suite, into a results folder.

    `say` is called with a line for all that is not taken, and why. Raises BenchError where the tracker does not answer
    or has nothing, and where the folder cannot be written.
    """
    check_folder(results)
    Store(results).check_writable()
    tracker = Tracker(Address(uri))
    with tempfile.TemporaryDirectory(dir=results, prefix=".pull~") as folder:
        try:
            with tracker.turn(), file_size_limit(_MOST):
                lost = _download(tracker, Path(folder), protocol, say)
        except BenchError:
            raise
        except Exception as error:
            raise BenchError(f"MLflow at {tracker.address}: {tracker.explain(error)}") from None
        merged = merge([Path(folder)], results, say)
        merged.damaged += lost
        return merged


def _download(tracker: Tracker, folder: Path, protocol: str | None, say: Say) -> list[str]:
    """Lay out what there is as a results folder; the cells that cannot be had."""
    experiments = list(_experiments(tracker, protocol))
    if not experiments:
        subject = f"no experiment '{protocol}'" if protocol else "no experiment of this suite"
        raise UsageError(f"MLflow at {tracker.address} has {subject}. See its page for the names")
    download = _Download(tracker, folder, say)
    for experiment in experiments:
        download.experiment(experiment)
    if not download.cells:
        raise BenchError(f"MLflow at {tracker.address} has no records there that can be had")
    return download.lost


def _experiments(tracker: Tracker, protocol: str | None) -> Iterator[Any]:
    """The experiments to get. Raises DeletedExperiment."""
    if protocol:
        experiment = tracker.client.get_experiment_by_name(protocol)
        if experiment is not None and experiment.lifecycle_stage != "active":
            raise DeletedExperiment(protocol, str(experiment.experiment_id), tracker.address)
        yield from [experiment] if experiment is not None else []
        return
    token = None
    while True:
        page = tracker.client.search_experiments(page_token=token)
        yield from (experiment for experiment in page if PROTOCOL_TAG in experiment.tags)
        token = page.token
        if not token:
            return


class _Download:
    """Lays out the files of runs as a results folder."""

    def __init__(self, tracker: Tracker, folder: Path, say: Say) -> None:
        self._tracker, self._folder, self._say = tracker, folder, say
        self._runs = Runs(tracker, folder)
        self._bytes = 0
        self._sharing = Lock()
        self.cells = 0
        self.lost: list[str] = []

    def experiment(self, experiment: Any) -> None:
        name = str(experiment.name)
        newest: dict[str, Any] = {}
        """Cell's folder → the run whose record was written last."""
        for run in self._runs.all(experiment.experiment_id):
            cell, tags = run.data.tags.get(CELL, ""), run.data.tags
            if RECORD_TAG not in tags:
                continue
            if not is_member_name(f"runs/{name}/{cell}/{RECORD}"):
                self._say(f"not taken: run {run.info.run_id}: {name}/{cell} cannot be the folder of a cell")
                self.lost.append(f"{name}/{cell}")
            elif cell not in newest or newest[cell].data.tags.get(WRITTEN, "") < tags.get(WRITTEN, ""):
                newest[cell] = run
        with thread_pool(_AT_ONCE, waiting=True) as pool:
            for cell, why in pool.map(lambda pair: self._cell_or_why(name, *pair), sorted(newest.items())):
                if why is None:
                    self.cells += 1
                else:
                    self._say(f"not taken: {name}/{cell}: {self._tracker.address.hide(why)}")
                    self.lost.append(f"{name}/{cell}")
        self._renew_times(self._folder / "runs" / name, experiment.tags)

    def _cell_or_why(self, experiment: str, cell: str, run: Any) -> tuple[str, str | None]:
        """Get a cell; returns it with the reason where it cannot be had."""
        try:
            self._cell(run, f"runs/{experiment}", cell)
        except DamagedFile as error:
            (self._folder / "runs" / experiment / cell / RECORD).unlink(missing_ok=True)
            return cell, error.reason
        return cell, None

    def _cell(self, run: Any, protocol: str, cell: str) -> None:
        run_id = run.info.run_id
        artifacts = {file.path: file for file in self._tracker.client.list_artifacts(run_id) if not file.is_dir}
        self._file(run_id, RECORD, f"{protocol}/{cell}/{RECORD}")
        record = read_record(self._folder / protocol / cell)
        if record is None:
            raise DamagedFile(Path(cell, RECORD), "it is empty")
        for name in _files_of(record):
            if name in artifacts:
                self._file(run_id, name, f"{protocol}/{cell}/{name}", artifacts[name].file_size or 0)
        plan = f"{PLANS}/{run.data.tags.get(PLAN_TAG, '')}.json"
        sources = [f"{SOURCES}/{digest}.zip" for digest in sources_of(record)]
        if self._shared(run_id, protocol, plan):
            path = self._folder / protocol / plan
            with suppress(DamagedFile):  # the merge says so
                sources = [f"{SOURCES}/{digest}.zip" for digest in PlanFile(path, *read_plan(path)).sources(record)]
        if any(not (self._folder / protocol / name).exists() for name in sources):
            kept = {file.path for file in self._tracker.client.list_artifacts(run_id, SOURCES)}
            for name in sources:
                if name in kept:
                    self._shared(run_id, protocol, name)

    def _shared(self, run_id: str, protocol: str, name: str) -> bool:
        """Get a plan or a source, which several runs carry, once; whether it is there."""
        target = f"{protocol}/{name}"
        if not is_member_name(target):
            return False
        with self._sharing:
            if not (self._folder / target).exists():
                self._file(run_id, name, target)
        return True

    def _file(self, run_id: str, artifact: str, target: str, size: int = 0) -> None:
        """Download a file to its place. Raises DamagedFile for a name or a size that a pack cannot have.

        `size`: what the tracker states, which is not trusted.
        """
        path = self._folder / target
        if not is_member_name(target):
            raise DamagedFile(path, f"a results folder cannot have a file {target!r}")
        most = max(0, min(max_bytes(target), MAX_TOTAL - self._bytes))
        if size > most:
            raise DamagedFile(path, f"{artifact} has {size} bytes, more than {most}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as temporary:
            try:
                found = Path(self._tracker.client.download_artifacts(run_id, artifact, temporary))
            except Exception as error:
                if not self._tracker.answers():
                    raise
                raise DamagedFile(path, f"{artifact} cannot be had: {self._tracker.explain(error)}") from None
            if not found.is_file() or found.is_symlink():
                raise DamagedFile(path, f"{artifact} is no file there")
            if (size := found.stat().st_size) > most:
                raise DamagedFile(path, f"{artifact} has {size} bytes, more than {most}")
            self._bytes += size
            found.rename(path)

    def _renew_times(self, folder: Path, tags: dict[str, str]) -> None:
        """Give plans the time of their last request, which the experiment knows."""
        for path in (folder / PLANS).glob("*.json"):
            with suppress(DamagedFile):  # the merge says so
                later = tags.get(f"{PLAN_TIME}{path.stem}", "")
                if later > read_plan(path)[0]:
                    write_sealed(path, {**read_sealed(path), "time": later})


def _files_of(record: AnyRecord) -> list[str]:
    """The names of the files that may belong to a record, but for images."""
    tests = record.tests if isinstance(record, DoneRecord) else ()
    return [SCORES, *map(cross_scores_name, tests), RADIAL, CURVE, WEIGHTS]
