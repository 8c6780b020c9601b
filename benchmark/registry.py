"""The registry of methods and data sets: found by file name, loaded only when used.

Methods come from the package's `methods/` folder, from loose files (`--methods ./mine.py`) and from installed
packages (entry points in the group `mrsr_bench.methods`). Listing reads files as text and imports nothing.
"""

from __future__ import annotations

import ast
import contextlib
import faulthandler
import hashlib
import importlib.util
import inspect
import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.machinery import ModuleSpec
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal, TypeVar

from .dataset import Dataset
from .errors import BenchError, UsageError, did_you_mean
from .method import Method

T = TypeVar("T")
ENTRY_POINTS = "mrsr_bench.methods"
_IMPORT_SECONDS = 60
_SURVIVED = 77
"""Exit status of a fork in which the import returned or raised, so that it can be repeated in this process."""


class BrokenPlugin(BenchError):
    """A file that does not load as a plugin; only its own cells fail."""


@dataclass(frozen=True)
class Source:
    """Where a method or data set is defined. Picklable: each cell's process loads it again."""

    name: str
    path: Path
    kind: Literal["built-in", "file", "package"]
    module: str = ""
    """Of a package's entry point: the module's full name, so that its relative imports work."""
    attribute: str = ""
    """Of a package's entry point: the class in that module; empty means the only one."""

    @property
    def summary(self) -> str:
        """The first line of the file's docstring, read without importing it."""
        try:
            lines = (ast.get_docstring(ast.parse(self.path.read_text(encoding="utf-8"))) or "").splitlines()
        except (OSError, SyntaxError, UnicodeDecodeError) as error:
            return f"(broken: {error})"
        return lines[0] if lines else ""

    @cached_property
    def contents(self) -> dict[str, bytes]:
        """Name → content of the file and of the shared blocks that it names, or of its whole package; read once."""
        package = self.module.partition(".")[0]
        if package != self.module or (self.module and self.path.stem == "__init__"):
            folder = next(parent for parent in self.path.parents if parent.name == package)
            return {
                path.relative_to(folder.parent).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.py"))
            }
        blocks = {path.name: path.read_bytes() for path in sorted(self.path.parent.glob("_[!_]*.py"))}
        contents, waiting = dict[str, bytes](), [(self.path.name, self.path.read_bytes())]
        while waiting:  # a block may name another
            name, content = waiting.pop(0)
            contents[name] = content
            referenced = [block for block in blocks if block.removesuffix(".py").encode() in content]
            waiting += [(block, blocks.pop(block)) for block in referenced]
        return contents

    @cached_property
    def digest(self) -> str:
        """SHA-256 over `contents`. It is recorded, so that an edit without a new version shows as 'changed'."""
        return hashlib.sha256(b"\0".join(self.contents.values())).hexdigest()


def _built_in_sources(folder: str) -> list[Source]:
    spec = importlib.util.find_spec(f"mrsr_bench.{folder}")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    paths = [path for place in spec.submodule_search_locations for path in sorted(Path(place).glob("*.py"))]
    return [Source(path.stem, path, "built-in") for path in paths if not path.stem.startswith("_")]


def datasets() -> dict[str, Source]:
    """Name → source of every data set."""
    return {source.name: source for source in _built_in_sources("datasets")}


def methods(files: Iterable[str | Path] = ()) -> dict[str, Source]:
    """Name → source of every method: built-in, installed, and the loose `files`.

    Raises UsageError for a missing file and for a name that two sources offer.
    """
    sources: dict[str, Source] = {}
    for source in [
        *_built_in_sources("methods"), *_installed_sources(), *(_loose_source(Path(file)) for file in files)
    ]:  # fmt: skip
        earlier = sources.setdefault(source.name, source)
        if earlier.path.resolve() != source.path.resolve():
            raise UsageError(
                f"method '{source.name}' is offered twice: by {earlier.path} and by {source.path}. Rename one of them"
            )
    return sources


def _installed_sources() -> list[Source]:
    sources = []
    for point in entry_points(group=ENTRY_POINTS):
        spec = _find_spec(point.module)
        if spec is not None and spec.origin is not None:
            sources.append(Source(point.name, Path(spec.origin), "package", point.module, point.attr))
    return sources


def _find_spec(module: str) -> ModuleSpec | None:
    """A module's spec. Unlike `importlib.util.find_spec` this imports no parent package, which might be broken."""
    spec: ModuleSpec | None = None
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        place = spec.submodule_search_locations if spec else None
        if end > 1 and place is None:
            return None
        finders = (finder.find_spec for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next(filter(None, (find(".".join(parts[:end]), place) for find in finders)), None)
    return spec


def _loose_source(path: Path) -> Source:
    if not path.is_file():
        raise UsageError(f"no such method file: {path}")
    return Source(path.stem, path.resolve(), "file")


def find_source(name: str, sources: dict[str, Source], category: str) -> Source:
    """The source called `name`. Raises UsageError, which says what was sought (`category`) and the nearest name."""
    if name not in sources:
        raise UsageError(f"unknown {category} '{name}'. {did_you_mean(name, sources)}")
    return sources[name]


def load_method(source: Source) -> type[Method]:
    """The method class that a source defines. Raises BrokenPlugin with the reason."""
    return _load_class(source, source.digest, Method)


def load_dataset(source: Source) -> type[Dataset]:
    """The data set class that a source defines. Raises BrokenPlugin with the reason."""
    return _load_class(source, source.digest, Dataset)


@cache
def _load_class(source: Source, digest: str, base: type[T]) -> type[T]:
    try:
        module = _import_module(source, "methods" if base is Method else "datasets")
    except (Exception, SystemExit) as error:
        raise BrokenPlugin(f"{source.path} does not import: {type(error).__name__}: {error}") from error
    classes = _plugin_classes(module, source.attribute, base)
    if len(classes) != 1:
        names = ", ".join(cls.__name__ for cls in classes) or "none"
        expected = f"as {source.attribute} a" if source.attribute else "exactly one"
        raise BrokenPlugin(f"{source.path} must define {expected} subclass of {base.__name__}; it defines {names}")
    if inspect.isabstract(classes[0]):
        missing = ", ".join(name for name, value in inspect.getmembers(classes[0]) if _is_abstract(value))
        raise BrokenPlugin(f"{source.path}: {classes[0].__name__} does not define {missing}")
    return classes[0]


def _plugin_classes(module: ModuleType, attribute: str, base: type[T]) -> list[type[T]]:
    """The subclass of `base` that an entry point names, or all that the module itself defines."""
    if attribute:
        value = getattr(module, attribute, None)
        return [value] if isinstance(value, type) and issubclass(value, base) else []
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]


def _is_abstract(value: object) -> bool:
    return bool(getattr(value, "__isabstractmethod__", False))


def _import_module(source: Source, folder: str) -> ModuleType:
    if source.kind == "built-in":
        return importlib.import_module(f"mrsr_bench.{folder}.{source.name}")
    if multiprocessing.parent_process() is None:
        _try_import_in_fork(source)
    if source.module:
        return importlib.import_module(source.module)
    name = f"mrsr_bench_plugin_{source.name}"
    spec = importlib.util.spec_from_file_location(name, source.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _try_import_in_fork(source: Source) -> None:
    """Import a foreign file in a fork, so that an import that crashes, exits or hangs ends the fork and not the suite.

    Planning needs the class itself in the driver's process: its options, recipe and `unsupported` decide keys and
    cells. No `except` protects that process from a segmentation fault, `os._exit` or an endless loop, which would all
    cost every cell of a run and not only those of the file. Hence the import is tried here and then repeated in the
    driver. The process of a training imports once: its crash costs only its own cells. Raises ImportError.
    """
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        faulthandler.disable()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_IMPORT_SECONDS)
        with contextlib.suppress(BaseException):  # an exception is reported by the import that follows
            if source.module:
                importlib.import_module(source.module)
            else:
                runpy.run_path(str(source.path))
        os._exit(_SURVIVED)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGALRM:
            raise ImportError(f"the import takes over {_IMPORT_SECONDS} s")
        raise ImportError(f"the import ends its process: {signal.Signals(number).name}")
    if (code := os.waitstatus_to_exitcode(status)) != _SURVIVED:
        raise ImportError(f"the import ends its process: exit status {code}")
