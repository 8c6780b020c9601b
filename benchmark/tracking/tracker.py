"""The connection to an MLflow tracker: made once, quiet, with short time limits, and with errors in plain words."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from ..errors import BenchError
from ..store.locks import hold
from .address import Address

_SETTINGS = {
    # A tracker that is down should be noticed in seconds, not after MLflow's minutes of retries.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Its lines "View run …" would stand between ours.
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""MLflow's own settings, where the user has set none."""
_LOCK_SECONDS = 60.0
"""How long the runs that share one database file wait for one another."""
_LONGEST = 300
"""Letters of an error that a message shows."""
_WORDS = {
    "connection refused": "it does not answer (connection refused). Is the server running?",
    "timed out": "it does not answer in time",
    "failed to resolve": "there is no host of this name",
    "name or service not known": "there is no host of this name",
    "remote end closed connection": "it closed the connection",
    "connection reset": "it closed the connection",
    "error code 401": (
        "it wants a user. Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, "
        "in the environment"
    ),
    "error code 403": "it does not allow this user, or this host name (the server's --allowed-hosts)",
    "too many 50": "it answers with errors; its log says why",
    "error code 50": "it answers with errors; its log says why",
}
"""What stands in an error of MLflow → what that means. The first that fits counts."""


class DeletedExperiment(BenchError):
    """An experiment that someone deleted on the server: its name is taken, and nothing can be written there."""

    def __init__(self, name: str, number: str, address: Address) -> None:
        super().__init__(
            f"the experiment '{name}' was deleted there, and its name is taken. Get it back with: "
            f"MLFLOW_TRACKING_URI={address} mlflow experiments restore --experiment-id {number}"
        )


class Tracker:
    """A tracker that is connected to when it is first needed."""

    def __init__(self, address: Address) -> None:
        self.address = address

    @cached_property
    def client(self) -> Any:
        """MLflow's client. Raises ImportError where MLflow is not installed, and whatever MLflow raises."""
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic", "urllib3"):
            logging.getLogger(name).setLevel(logging.ERROR)
        client = MlflowClient(tracking_uri=self.address.uri)
        client.search_experiments(max_results=1)
        return client

    def answers(self) -> bool:
        """Whether it answers now."""
        try:
            self.client.search_experiments(max_results=1)
        except Exception:
            return False
        return True

    def explain(self, error: BaseException) -> str:
        """What an error means, in one line, without secrets."""
        if isinstance(error, ImportError):
            return f"MLflow cannot be imported ({error}); install it with: pip install mlflow"
        if isinstance(error, BenchError):
            return self.address.hide(str(error))
        text = str(error).lower()
        words = next((words for sign, words in _WORDS.items() if sign in text), str(error))
        line = self.address.hide(" ".join(words.split()) or type(error).__name__)
        return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for this process's turn on a database file.

        Else two runs would each overwrite the other's new file, and later time out on writing.
        """
        database = self.address.database
        if database is None:
            yield
            return
        with hold(database.parent, f".{database.name}", wait=_LOCK_SECONDS):
            yield
