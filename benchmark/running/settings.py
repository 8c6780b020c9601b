"""How a request is carried out: where data and results are, what is done again, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from ..system.cores import core_share


class Shard(NamedTuple):
    """Part `part` of `parts`, from 1 to `parts`."""

    part: int
    parts: int

    def __str__(self) -> str:
        return f"{self.part}/{self.parts}"


@dataclass(frozen=True)
class RunSettings:
    """How cells are run; what is run is a `planning.request.Request`. Picklable."""

    data: Path | None = None
    """Folder of the protocol's data set; None: $MRSR_DATA/<data set>."""
    results: Path = Path("results")
    timeout: float | None = None
    """Seconds that one training may take; None: no limit."""
    redo: bool = False
    """Run stale cells again."""
    keep_volumes: bool = False
    """Write each predicted test volume beside its record."""
    save_every: float = 60.0
    """Seconds between two states of a training on disk."""
    deterministic: bool = False
    """On a GPU, use only operations that give the same bits each time; a job that needs another one fails."""
    threads: int | None = None
    """CPU threads of a training that begins; None: see `system.cores.threads_to_take`."""
    executor: Literal["local", "ray"] = "local"
    """Who runs the trainings: this machine, or a Ray cluster."""
    address: str | None = None
    """Of the Ray cluster, or 'auto'; None: one is started on this machine."""
    parallel: int | None = None
    """How many trainings run side by side, here each with such a part of the cores. None: one; with Ray as many as its
    nodes have room for."""
    gpus_per_cell: float = 1.0
    """Side by side: the part of a GPU, up to 1, that a training counts as."""
    tracking_uri: str | None = None
    """MLflow tracker; 'none': no mirror; None: mlflow.db in the results folder."""
    shard: Shard | None = None
    """The part of the request's trainings that is done here; None: all."""
    score_only: bool = False
    """Score recorded cells again from kept volumes or weights; train nothing."""

    @property
    def sharers(self) -> int:
        """How many parts the cores of this machine are shared in."""
        return (self.parallel or 1) if self.executor == "local" else 1

    @property
    def known_threads(self) -> int | None:
        """The CPU threads of each training, where they follow from the settings alone."""
        if self.threads is None and self.executor == "ray":
            return 1
        return self.threads or (core_share(self.sharers) if self.sharers > 1 else None)
