"""mrsr-bench: train and evaluate MR image super-resolution methods under fixed protocols, and print the table.

    import mrsr_bench
    mrsr_bench.run("demo", ["bicubic", "linear"])
    mrsr_bench.table()

In a script, a notebook or a Python shell alike. Cells run in processes of their own, which import nothing of the
script; methods are files that are named in `run`, not classes in it. Such a file imports what it needs from here:

    from mrsr_bench import MethodOptions, Recipe, Scan, Task, TorchMethod
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from .dataset import Archive, Dataset
    from .errors import BenchError, UsageError
    from .method import (
        Array,
        Batch,
        Method,
        MethodOptions,
        Recipe,
        Run,
        Scan,
        Task,
        TorchMethod,
        TrainingSet,
        intensity_scale,
    )
    from .running.outcomes import Outcome, Outcomes
    from .running.progress import Listener
    from .volumes import Volume, VolumeError

__all__ = [
    "Archive",
    "Array",
    "Batch",
    "BenchError",
    "Dataset",
    "Listener",
    "Method",
    "MethodOptions",
    "Outcome",
    "Outcomes",
    "Recipe",
    "Run",
    "Scan",
    "Task",
    "TorchMethod",
    "TrainingSet",
    "UsageError",
    "Volume",
    "VolumeError",
    "figure",
    "intensity_scale",
    "run",
    "table",
]
_MODULES = {
    "dataset": ("Archive", "Dataset"),
    "errors": ("BenchError", "UsageError"),
    "method": (
        *("Array", "Batch", "Method", "MethodOptions", "Recipe", "Run", "Scan", "Task", "TorchMethod", "TrainingSet"),
        "intensity_scale",
    ),
    "running.outcomes": ("Outcome", "Outcomes"),
    "running.progress": ("Listener",),
    "volumes": ("Volume", "VolumeError"),
}
"""Module → the public names that it defines. A module is imported when one of its names is first used."""

if not TYPE_CHECKING:  # a type checker knows the names by the imports above, and refuses all others

    def __getattr__(name: str) -> Any:
        for module, names in _MODULES.items():
            if name in names:
                globals()[name] = value = getattr(import_module(f".{module}", __name__), name)
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


def run(
    protocol: str = "demo",
    methods: Sequence[str] = (),
    *,
    data: str | Path | None = None,
    seeds: Sequence[int] = (),
    scales: Sequence[str] = (),
    lr: Mapping[str, float] | None = None,
    limit: int | None = None,
    steps: int | None = None,
    timeout: float | None = None,
    redo: bool = False,
    results: str | Path = "results",
    keep_volumes: bool = False,
    save_every: float = 60.0,
    deterministic: bool = False,
    threads: int | None = None,
    executor: Literal["local", "ray"] = "local",
    address: str | None = None,
    parallel: int | None = None,
    gpus_per_cell: float = 1.0,
    shard: tuple[int, int] | None = None,
    tracking_uri: str | None = None,
    listener: Listener | None = None,
) -> Outcomes:
    """Train and evaluate methods under a protocol: every cell that is not done yet.

    Parameters are those of `bench run`, whose help explains each; `shard` is (part, parts). Done cells are kept, failed
    ones tried again, killed ones resumed. Returns the outcome of every cell of the request: a list that prints as a
    table. Warns where some are not done, and names them. Raises UsageError for a request that cannot be carried out.
    """
    from .planning.request import Request
    from .running import runner
    from .running.outcomes import Outcomes
    from .running.settings import RunSettings, Shard

    settings = RunSettings(
        data=None if data is None else Path(data),
        results=Path(results),
        timeout=timeout,
        redo=redo,
        keep_volumes=keep_volumes,
        save_every=save_every,
        deterministic=deterministic,
        threads=threads,
        executor=executor,
        address=address,
        parallel=parallel,
        gpus_per_cell=gpus_per_cell,
        shard=Shard(*shard) if shard else None,
        tracking_uri=tracking_uri,
    )
    request = Request(protocol, methods, seeds, scales, limit, steps, lr=lr or {})
    outcomes = Outcomes(runner.run(request, settings, listener))
    if problems := outcomes.problems:
        warnings.warn(problems, stacklevel=2)
    return outcomes


def table(protocol: str | None = None, results: str | Path = "results") -> pd.DataFrame:
    """The table of a protocol, by default the one run last: rows contrast and scale, columns (method, metric).

    `results`: a folder of records, or a pack of them (`bench pack`).
    The caption is in `.attrs["caption"]`; a notebook shows the frame with letters, bold figures and caption. Warns
    where cells have no figure (NaN, or a mean over fewer seeds), and names them as the caption does; cells of a method
    that cannot do the task are not named. Raises BenchError where nothing has been run.
    """
    from .reporting.table import build_table
    from .reporting.table_frame import table_frame
    from .store.results import Store

    built = build_table(Store(Path(results)).view(protocol))
    if gaps := [f"{reason}: {', '.join(cells)}." for reason, cells in built.gaps.items()]:
        warnings.warn("\n".join(gaps), stacklevel=2)
    return table_frame(built)


def figure(name: str, protocol: str | None = None, results: str | Path = "results", **options: Any) -> Figure:
    """A figure for a paper, as `bench figure NAME` draws it: 'visual', 'attention', 'quality' and others.

    A notebook shows it. `protocol` and `results` are those of `table`; `options` are those of the figure, as in
    `figure("visual", methods=["edsr"])`: the parameters of `draw` in its module of `mrsr_bench.figures`. Save it with
    its `savefig`; `bench figure NAME -o FILE` also writes into the file where its content comes from. Raises UsageError
    for an unknown figure, option or name, and BenchError where there is nothing to draw.
    """
    from .figures import draw_figure
    from .figures.picture import shown_in_notebooks
    from .reporting.table import build_table
    from .store.results import Store

    return shown_in_notebooks(draw_figure(name, build_table(Store(Path(results)).view(protocol)), options))
