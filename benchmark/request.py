"""What was asked of a protocol: the plan of a command, and the one that stands behind a protocol's records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import protocol as protocols
from .cell import Training, plan, scale_name
from .errors import BenchError, UsageError
from .protocol import Loaded
from .store.results import REQUEST, Store


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


def remember(
    store: Store,
    loaded: Loaded,
    protocol: str,
    methods: Sequence[str],
    seeds: Sequence[int],
    scales: Sequence[str],
) -> None:
    """Note the request: a later `bench table` or `bench status` shows all that was ever asked under this protocol."""
    before = store.request(loaded.folder) or {"methods": [], "seeds": [], "scales": []}
    builtin = protocol in protocols.builtin()
    request = {
        "protocol": protocol if builtin else str(loaded.path),
        "methods": list(dict.fromkeys([*before["methods"], *map(_absolute, methods or loaded.protocol.methods)])),
        "seeds": sorted({*before["seeds"], *(seeds or loaded.protocol.seeds)}),
        "scales": sorted({*before["scales"], *(scales or (scale_name(f) for f in loaded.protocol.scales))}),
        "overrides": loaded.overrides,
    }
    store.remember(loaded, request)


def _absolute(label: str) -> str:
    """A label that still names its loose file when asked from another folder."""
    name, colon, preset = label.partition(":")
    file = name.removesuffix("+")
    if not file.endswith(".py"):
        return label
    return f"{Path(file).resolve()}{name[len(file) :]}{colon}{preset}"


def recall(store: Store, protocol: str | None) -> tuple[Loaded, list[Training]]:
    """The plan that stands behind a protocol's records; None means the protocol run last.

    `protocol` may be a name, a path, or a folder below results/runs such as demo~steps=10.
    """
    folder = protocol or store.last()
    if folder is None:
        raise BenchError(f"nothing has been run yet below {store.runs}; start with: bench run")
    if Path(folder).suffix in (".yaml", ".yml"):
        folder = protocols.load(folder).folder
    request = store.request(folder)
    if request is None:
        return request_plan(protocol or folder)
    asked = (request[name] for name in ("protocol", "methods", "seeds", "scales"))
    try:
        return request_plan(*asked, **request["overrides"])
    except UsageError as error:
        where = store.runs / folder / REQUEST
        raise UsageError(f"{error}\nAn earlier run asked for this: put it back, or take it out of {where}") from None
