"""Who runs jobs: this machine, or a cluster."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from ..events import Event
from ..job import Job


class Executor(Protocol):
    """Runs jobs."""

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Event]]:
        """Yield every job's events, first Started, last Ended, mixed. Leaving the iterator ends the running jobs."""
        ...
