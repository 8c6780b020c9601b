"""mrsr-bench: train and evaluate MR image super-resolution methods under fixed protocols, and print the table.

    import mrsr_bench
    mrsr_bench.run("demo", ["bicubic", "linear"])
    mrsr_bench.table()

In a script, a notebook or a Python shell alike. Cells run in processes of their own, which import nothing of the
script; methods are files that are named in `run`, not classes in it.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from .running.outcomes import Outcomes
    from .running.progress import Listener

__all__ = ["run", "table"]


def run(
    protocol: str = "demo",
    methods: Sequence[str] = (),
    *,
    data: str | Path | None = None,
    seeds: Sequence[int] = (),
    scales: Sequence[str] = (),
    limit: int | None = None,
    steps: int | None = None,
    timeout: float | None = None,
    redo: bool = False,
    results: str | Path = "results",
    keep_volumes: bool = False,
    save_every: float = 60.0,
    deterministic: bool = False,
    threads: int | None = None,
    tracking_uri: str | None = None,
    listener: Listener | None = None,
) -> Outcomes:
    """Train and evaluate methods under a protocol: every cell that is not done yet.

    Parameters are those of `bench run`, whose help says what each is for. Done cells are kept, failed ones tried again,
    killed ones resumed. Returns the outcome of every cell asked for: a list that prints as a table. Warns where some
    are not done, and names them. Raises UsageError for a request that cannot be carried out.
    """
    from .running import runner
    from .running.outcomes import Outcomes

    outcomes = Outcomes(
        runner.run(
            protocol,
            methods,
            data=data,
            seeds=seeds,
            scales=scales,
            limit=limit,
            steps=steps,
            timeout=timeout,
            redo=redo,
            results=results,
            keep_volumes=keep_volumes,
            save_every=save_every,
            deterministic=deterministic,
            threads=threads,
            tracking_uri=tracking_uri,
            listener=listener,
        )
    )
    if problems := outcomes.problems:
        warnings.warn(problems, stacklevel=2)
    return outcomes


_NO_GAP = ("Skipped", "The method's file has changed since")
"""What a caption says about cells that no further run fills, or that have their figure."""


def table(protocol: str | None = None, results: str | Path = "results") -> pd.DataFrame:
    """The table of a protocol, by default the one run last: rows contrast and scale, columns (method, metric).

    `results`: a folder of records, or a pack of them (`bench pack`).
    The caption is in `.attrs["caption"]`. Warns where cells have no figure (NaN, or a mean over fewer seeds), and names
    them as the caption does; those of a method that cannot do the task are not among them. Raises BenchError where
    nothing has been run.
    """
    from .reporting.frames import frame_of
    from .reporting.table import build
    from .store.results import Store

    built = build(Store(Path(results)).view(protocol))
    if gaps := [f"{why}: {', '.join(cells)}." for why, cells in built.absent.items() if why not in _NO_GAP]:
        warnings.warn("\n".join(gaps), stacklevel=2)
    return frame_of(built)
