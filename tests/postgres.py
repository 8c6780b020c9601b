"""A PostgreSQL cluster and an MLflow server on it, in temporary folders, on 127.0.0.1: as a team runs them."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
USER = "postgres"
"""Runs the cluster where the tests run as root, whom initdb refuses; Debian's package makes this user."""


def lacking() -> str | None:
    """What is missing for a server, and how to get it; None where all is there."""
    if _programs() is None:
        return "needs PostgreSQL: apt-get install postgresql (or PGBIN=<folder with initdb>)"
    if importlib.util.find_spec("psycopg2") is None:
        return "needs psycopg2: pip install psycopg2-binary"
    if os.geteuid() == 0 and USER not in {entry.pw_name for entry in pwd.getpwall()}:
        return f"needs the user '{USER}', since root may not run PostgreSQL: apt-get install postgresql"
    return None


def _programs() -> Path | None:
    """The folder of initdb and postgres, of the newest version that is installed."""
    if folder := os.environ.get("PGBIN"):
        return Path(folder)
    folders = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found := shutil.which("initdb"):
        folders.append(Path(found).resolve().parent)
    return max(
        folders, key=lambda path: [int(part) for part in path.parent.name.split(".") if part.isdecimal()], default=None
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return int(listener.getsockname()[1])


def wait_until(is_true: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, f"{what} has not come within {seconds:g} s"
        time.sleep(0.1)


@contextmanager
def cluster() -> Iterator[str]:
    """A new cluster; its address with user and password, as MLflow takes it. Its files are removed at the end."""
    programs, port, password = _programs(), free_port(), secrets.token_hex(8)
    assert programs is not None
    who: dict[str, Any] = {}
    folder = Path(tempfile.mkdtemp(prefix="mrsr-postgres-"))
    try:
        if os.geteuid() == 0:
            owner = pwd.getpwnam(USER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
            who = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
        data, key = folder / "data", folder / "password"
        key.write_text(password, encoding="utf-8")
        key.chmod(0o644)
        initdb = [programs / "initdb", "-D", data, "-U", "bench", "-A", "scram-sha-256", f"--pwfile={key}"]
        initdb += ["-E", "UTF8", "--locale=C", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **who)
        settings = {"listen_addresses": HOST, "port": port, "unix_socket_directories": folder, "fsync": "off"}
        options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd=folder, **who
            )
        try:
            wait_until(lambda: _listens(port), 60, "PostgreSQL")
            # SQLAlchemy 2.1 takes the bare name `postgresql` for psycopg 3.
            yield f"postgresql+psycopg2://bench:{password}@{HOST}:{port}/postgres"
        finally:
            server.send_signal(signal.SIGINT)  # ends at once, connections too
            server.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


class MlflowServer:
    """An MLflow server that can be stopped, killed and started again; artifacts go through it."""

    def __init__(self, database: str, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.port = free_port()
        self.uri = f"http://{HOST}:{self.port}"
        self._database, self._folder = database, folder
        quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self._environment = {**os.environ, **quiet, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self._database]
        command += ["--artifacts-destination", str(self._folder / "artifacts"), "--serve-artifacts"]
        command += ["--host", HOST, "--port", str(self.port), "--workers", "2", *options]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=self._environment
            )
        wait_until(self._is_healthy, 180, f"the MLflow server (its log: {self._folder / 'server.log'})")

    def _is_healthy(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "server.log").read_text(encoding="utf-8")[-3000:]
        with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
            return bool(answer.status == 200)
        return False

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """End the server and its workers."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, with_signal)
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # what is left of its workers
        self._process = None
        wait_until(lambda: not _listens(self.port), 30, "the end of the server")
