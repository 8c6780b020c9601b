"""What is asked of a protocol: the trainings that a command stands for, and those that earlier commands stood for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from . import protocol as protocols
from .cell import Training, plan, scale_name
from .errors import BenchError, UsageError
from .protocol import Loaded
from .store.plan import Asked
from .store.results import Store


def request_plan(
    protocol: str,
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (),
    scales: Sequence[str] = (),
    limit: int | None = None,
    steps: int | None = None,
) -> tuple[Loaded, list[Training]]:
    """The protocol with its overrides and the trainings asked for. Raises UsageError for what is not known."""
    loaded = protocols.load(protocol).override(limit, steps)
    return loaded, plan(loaded, methods, seeds, scales)


def asked(protocol: str, loaded: Loaded, methods: Sequence[str], seeds: Sequence[int], scales: Sequence[str]) -> Asked:
    """A request in full: what was not given is the protocol's, and files have their absolute paths."""
    return Asked(
        protocol=protocol if protocol in protocols.builtin() else str(loaded.path),
        methods=tuple(map(_absolute, methods or loaded.protocol.methods)),
        seeds=tuple(seeds or loaded.protocol.seeds),
        scales=tuple(scales or map(scale_name, loaded.protocol.scales)),
        overrides=loaded.overrides,
    )


def _absolute(label: str) -> str:
    """A label that still names its loose file when asked from another folder."""
    name, colon, preset = label.partition(":")
    file = name.removesuffix("+")
    if not file.endswith(".py"):
        return label
    return f"{Path(file).resolve()}{name[len(file) :]}{colon}{preset}"


def recall(store: Store, protocol: str | None, warn: Callable[[str], None]) -> tuple[Loaded, list[Training]]:
    """The trainings that all plans of a protocol stand for under the present code; None means the one asked last.

    `warn` hears of a plan that can no longer be made, as when the file of a method is gone. Raises BenchError where
    none can.
    """
    view, trainings, first = store.view(protocol), dict[Path, Training](), None
    for earlier in view.plans:
        request = earlier.asked
        try:
            loaded, made = request_plan(
                request.protocol, request.methods, request.seeds, request.scales, **request.overrides
            )
        except UsageError as error:
            warn(f"{error}\nAn earlier run asked for this; its cells are passed over")
            continue
        first = first or loaded
        for training in made:
            known = trainings.setdefault(training.base.folder, training)
            trainings[training.base.folder] = replace(known, plus=known.plus or training.plus)
    if first is None:
        raise BenchError(f"no plan of {view.protocol.folder} can be made any more; see the warnings above")
    return first, list(trainings.values())
