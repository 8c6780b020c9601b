"""mrsr-bench: train and evaluate MR image super-resolution methods under fixed protocols, and print the table.

    import mrsr_bench
    mrsr_bench.run("demo", ["bicubic", "linear"])
    mrsr_bench.table()

In a script, call `run` below `if __name__ == "__main__":`, since cells run in processes of their own.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["run", "table"]


def run(protocol: str = "demo", methods: list[str] | tuple[str, ...] = (), **options: Any) -> Any:
    """Train and evaluate methods under a protocol; see `mrsr_bench.runner.run`."""
    from .runner import run

    return run(protocol, methods, **options)


def table(protocol: str | None = None, results: str | Path = "results") -> pd.DataFrame:
    """The table of a protocol, by default the one run last: rows contrast and scale, columns (method, metric).

    The caption is in `.attrs["caption"]`. Raises BenchError where nothing has been run.
    """
    from .reporting.table import build
    from .request import recall
    from .store.results import Store

    store = Store(Path(results))
    return build(store, *recall(store, protocol)).frame()
