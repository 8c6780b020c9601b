"""What a command asks for, in full, and whether a plan of it is still valid. Imports no method."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path

from .. import registry
from ..errors import UsageError
from ..protocol import loading as protocols
from ..protocol.block import scale_name
from ..protocol.loading import Loaded
from ..store.plan import Origin, ResolvedRequest
from ..system.files import sha256_of


@dataclass(frozen=True)
class Request:
    """The cells that a command names, as on the command line; what is empty or None is the protocol's."""

    protocol: str
    methods: Sequence[str] = ()
    seeds: Sequence[int] = ()
    scales: Sequence[str] = ()
    limit: int | None = None
    steps: int | None = None
    search: bool = False
    """The protocol's search for learning rates in place of its cells."""
    lr: Mapping[str, float] = field(default_factory=dict)
    """Label → its learning rate, in track equal."""

    @classmethod
    def recalled(cls, asked: ResolvedRequest) -> Request:
        """The request that a plan holds."""
        limit, steps = asked.overrides.get("limit"), asked.overrides.get("steps")
        search = "rates" in asked.overrides
        return cls(asked.protocol, asked.methods, asked.seeds, asked.scales, limit, steps, search, asked.lr)

    def load(self) -> Loaded:
        """The protocol with its overrides. Raises UsageError for what its file does not allow."""
        return protocols.load(self.protocol).override(self.limit, self.steps, self.search)


def request_in_full(request: Request, loaded: Loaded) -> ResolvedRequest:
    """A request in full: what was not given is the protocol's, and files have their absolute paths."""
    return ResolvedRequest(
        protocol=request.protocol if request.protocol in protocols.builtin() else str(loaded.path),
        methods=tuple(map(_absolute, request.methods or loaded.protocol.methods)),
        seeds=tuple(request.seeds),
        scales=tuple(request.scales or map(scale_name, loaded.protocol.scales)),
        overrides=loaded.overrides,
        lr=dict(request.lr),
    )


def _absolute(label: str) -> str:
    """A label that still names its loose file when asked from another folder."""
    name, colon, preset = label.partition(":")
    file = name.removesuffix("+")
    if not file.endswith(".py"):
        return label
    return f"{Path(file).resolve()}{name[len(file) :]}{colon}{preset}"


def is_unchanged(origin: Origin) -> bool:
    """Whether all that a plan was made from is unchanged: code, protocol, split, the methods' sources."""
    if origin.code != code_digest():
        return False
    try:
        sources = registry.methods(origin.loose)
        same_files = all(sha256_of(Path(path)) == digest for path, digest in origin.files.items())
        return same_files and all(sources[name].digest == digest for name, digest in origin.sources.items())
    except (OSError, KeyError, UsageError):
        return False


@cache
def code_digest() -> str:
    """SHA-256 over the package's own Python files, protocols and tables, by name."""
    content = hashlib.sha256()
    for package in ("mrsr_bench", "mrsr_bench.methods", "mrsr_bench.datasets", "mrsr_bench.protocols"):
        root = Path(str(files(package)))
        for path in sorted(path for path in root.rglob("*") if path.suffix in (".py", ".csv", ".yaml")):
            content.update(f"{package}/{path.relative_to(root)}\0".encode() + path.read_bytes())
    return content.hexdigest()
