"""The plans that runs carry, and the times at which they were requested."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..store.plan import PLANS, Plan, read_plan
from ..store.record import AnyRecord, DoneRecord
from ..system.files import DamagedFile


@dataclass(frozen=True)
class PlanFile:
    """A plan in a protocol's folder."""

    path: Path
    time: str
    """Of its last request."""
    plan: Plan

    @property
    def digest(self) -> str:
        return self.path.stem

    def sources(self, record: AnyRecord) -> list[str]:
        """The digests of the methods' files behind a record of this plan."""
        columns = [column.source_digest for column in self.plan.columns if column.label == record.label]
        return list(dict.fromkeys([*sources_of(record), *columns]))


def sources_of(record: AnyRecord) -> list[str]:
    """The digests of the methods' files that a record names."""
    fit = record.fit if isinstance(record, DoneRecord) else None
    return [record.source_digest, *([fit.source_digest] if fit else [])]


def plan_files(folder: Path) -> list[PlanFile]:
    """The plans below a protocol's folder that can be read, the one requested last first."""
    files = list[PlanFile]()
    for path in (folder / PLANS).glob("*.json"):
        try:
            files.append(PlanFile(path, *read_plan(path)))
        except (FileNotFoundError, DamagedFile):
            continue
    return sorted(files, key=lambda file: file.time, reverse=True)


def by_cell(files: Iterable[PlanFile]) -> dict[str, PlanFile]:
    """A cell's folder → the plan that gives its keys: of several the one requested last, as in a view."""
    plans: dict[str, PlanFile] = {}
    for file in files:
        for cell in file.plan.cells:
            plans.setdefault(cell.folder, file)
    return plans
