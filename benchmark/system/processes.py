"""Processes of our own: children of one forkserver, which run no line of the script that the user started.

Python's own children import the parent's `__main__` once more, so that what is defined there can be unpickled. A script
without `if __name__ == "__main__":` would run a second time in each of them, and of a program from standard input there
is no file to import. Nothing of ours is defined there (methods are files), so our children go without it.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, resource_tracker, spawn, util
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any

from ..errors import BenchError

_ADDRESS_BYTES = 108 if sys.platform == "linux" else 104
"""What a socket's path may take, the zero byte at its end included (sun_path; macOS and the BSDs have 104)."""
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
_starting = threading.RLock()
_modules: dict[str, None] = {}


def forkserver(*modules: str) -> ForkServerContext:
    """The context of all child processes, which start with `modules` imported, in hundredths of a second.

    A process has one forkserver, which holds what was named before it started; children import the rest themselves.
    A child has an empty `__main__`: what it runs and what it is given must come from modules that can be imported.
    Starting one raises BenchError where TMPDIR is too long for a socket and no shorter folder can be written to.
    """
    _modules.update(dict.fromkeys(modules))
    _CONTEXT.set_forkserver_preload([*_modules])
    return _CONTEXT


class ChildDied(BenchError):
    """A child process exited before it sent what was expected; says how."""


class Child:
    """A child process at work, which sends messages."""

    def __init__(self, process: BaseProcess, messages: connection.Connection, seconds: float | None) -> None:
        self._process, self.messages = process, messages
        self._deadline = None if seconds is None else time.monotonic() + seconds

    @property
    def seconds_left(self) -> float | None:
        """Until its messages are too late; None for no bound."""
        return None if self._deadline is None else self._deadline - time.monotonic()

    def receive(self) -> Any:
        """Its next message. Raises TimeoutError once its seconds are over, ChildDied where it exits before."""
        left = self.seconds_left
        if (left is not None and left <= 0) or not self.messages.poll(left):
            raise TimeoutError
        try:
            return self.messages.recv()
        except (EOFError, OSError):  # at the end of a message, or in the middle of one
            self._process.join()
            raise ChildDied(f"its process {_death(self._process.exitcode)}") from None

    def pending(self) -> Iterator[Any]:
        """The messages that have arrived, late or not."""
        with suppress(EOFError, OSError):
            while self.messages.poll():
                yield self.messages.recv()

    @property
    def resident_bytes(self) -> int:
        """The memory that it holds now; 0 once it has ended."""
        import psutil

        try:
            return int(psutil.Process(self._process.pid).memory_info().rss)
        except psutil.Error:
            return 0


class Children:
    """Processes of a block, at work side by side."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._context = forkserver(*preload)
        self._children: list[Child] = []

    def start(self, function: Callable[..., None], *arguments: Any, seconds: float | None = None) -> Child:
        """Run `function(connection, *arguments)` in a process of its own.

        What the function sends over the connection, `receive` gives. `seconds`: how long messages may take, counted
        from the start; None for no bound.
        """
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=function, args=(theirs, *arguments))
        process.start()
        theirs.close()
        child = Child(process, ours, seconds)
        self._children.append(child)
        return child

    def ready(self, seconds: float | None = None) -> list[Child]:
        """The children whose `receive` returns or raises at once, in order; waits for one, at most so many seconds."""
        bounds = [child.seconds_left for child in self._children]
        left = [bound for bound in (seconds, *bounds) if bound is not None]
        messages = connection.wait([child.messages for child in self._children], max(0.0, min(left)) if left else None)
        return [
            child
            for child in self._children
            if child.messages in messages or (child.seconds_left is not None and child.seconds_left <= 0)
        ]

    def stop(self, *chosen: Child, grace: float) -> None:
        """End some: by SIGTERM to each, then, by SIGKILL, those that are alive after `grace` seconds, or at once."""
        alive = [child._process for child in chosen if child._process.is_alive()]
        if grace:
            for process in alive:
                process.terminate()
            end = time.monotonic() + grace
            for process in alive:
                process.join(max(0.0, end - time.monotonic()))
        for process in alive:
            if process.is_alive():
                process.kill()
                process.join()
        for child in chosen:
            child.messages.close()
            self._children.remove(child)


@contextmanager
def children(*, preload: Sequence[str] = (), grace: float = 0.0) -> Iterator[Children]:
    """Processes that end with the block at the latest, all at once.

    `preload`: modules that the forkserver should hold. `grace`: seconds that they may take to end once they got
    SIGTERM; 0 for SIGKILL at once.
    """
    group = Children(preload)
    try:
        yield group
    finally:
        group.stop(*group._children, grace=grace)


@contextmanager
def child(
    function: Callable[..., None],
    *arguments: Any,
    preload: Sequence[str] = (),
    seconds: float | None = None,
    grace: float = 0.0,
) -> Iterator[Child]:
    """One process of `children`, which ends with the block at the latest."""
    with children(preload=preload, grace=grace) as group:
        yield group.start(function, *arguments, seconds=seconds)


def _death(code: int | None) -> str:
    """How a process ended that should have sent a message, e.g. 'was killed by SIGSEGV'."""
    if code is None or code >= 0:
        return f"exited without a message (exit status {code})"
    name = signal.Signals(-code).name
    return f"was killed by {name}" + ("; the system may have run out of memory" if name == "SIGKILL" else "")


def warm_up(*modules: str) -> None:
    """Start the forkserver, which imports `modules` while the caller goes on; else the first child waits for that."""
    forkserver(*modules)
    with _our_way():
        ensure_running()


@contextmanager
def _our_way() -> Iterator[None]:
    """Processes that are started meanwhile are started in our way."""
    resource_tracker.ensure_running()  # which would unblock SIGINT, were it started below
    with (
        _starting,
        _blocked(signal.SIGINT),
        _changed(spawn, "get_preparation_data", _without_main),
        _changed(connection, "arbitrary_address", _short_enough),
    ):
        yield


class _QuietProcess(ForkServerProcess):
    """A process that is started in our way; the first one starts the forkserver too.

    Both have SIGINT blocked: Ctrl-C reaches all processes of a terminal, and the driver alone decides what it means.
    """

    @staticmethod
    def _Popen(process_obj: BaseProcess) -> Any:
        with _our_way():
            return ForkServerProcess._Popen(process_obj)


class _Context(ForkServerContext):
    Process = _QuietProcess


_CONTEXT = _Context()


@contextmanager
def _blocked(number: signal.Signals) -> Iterator[None]:
    """Block a signal for this thread, and for good in what is started meanwhile; it is delivered afterwards."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextmanager
def _changed(module: ModuleType, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """Let `change` have the results of a function of `module`, for this thread only and until the block is left.

    In place of another `sys.modules["__main__"]`, which all threads would see: one of them may be unpickling.
    """
    function, thread = getattr(module, name), threading.get_ident()

    def changed(*arguments: Any) -> Any:
        result = function(*arguments)
        return change(result) if threading.get_ident() == thread else result

    try:
        setattr(module, name, changed)
        yield
    finally:
        setattr(module, name, function)


def _without_main(preparation: dict[str, Any]) -> dict[str, Any]:
    """What a child prepares (`multiprocessing.spawn.get_preparation_data`), less the import of the parent's `__main__`.

    The forkserver, which is given some of the same, learns nothing of it either.
    """
    return {name: value for name, value in preparation.items() if not name.startswith("init_main_from_")}


def _short_enough(address: str | bytes) -> str | bytes:
    """The address of the forkserver's socket: where its path is too long, one in a folder of ours.

    It lies in TMPDIR, which may be of any length, as under Slurm. Only the socket moves: TMPDIR stays what it is. The
    folder is the user's alone, since who can connect can run code; it is removed when this process ends.
    """
    if len(os.fsencode(address)) < _ADDRESS_BYTES:
        return address
    for parent in _SHORT_FOLDERS:
        try:
            folder = tempfile.mkdtemp(prefix="mrsr-", dir=parent)
        except OSError:
            continue
        util.Finalize(None, shutil.rmtree, args=(folder, True), exitpriority=-100)  # not in a fork of this process
        return os.path.join(folder, "socket")
    raise BenchError(
        f"TMPDIR is too long: processes talk over a socket in it, whose path may have {_ADDRESS_BYTES - 1} bytes and "
        f"would be {os.fsdecode(address)}. None of {', '.join(_SHORT_FOLDERS)} can be written to in its place. Set "
        "TMPDIR to a folder with a shorter path"
    )
