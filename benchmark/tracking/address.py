"""The address of an MLflow tracker, and what of it may be shown: no password, anywhere."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..system.files import digest

OFF = "none"
"""The address that turns mirroring off."""
_USER = re.compile(r"(?<=://)[^/\s]+@")
"""The user of an address, with a password or without."""
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""MLflow's own environment variables, whose values no message may show."""


@dataclass(frozen=True)
class Address:
    """A tracker's address: of a server, or of a database."""

    uri: str

    def __str__(self) -> str:
        return _USER.sub("***@", self.uri)

    __repr__ = __str__

    @property
    def mark(self) -> str:
        """Name of the file that a cell's folder gets when its record has arrived there."""
        return f"mirrored-{digest(_USER.sub('', self.uri))[:12]}"

    @cached_property
    def database(self) -> Path | None:
        """The file of a SQLite database, else None."""
        if not self.uri.startswith("sqlite:///"):
            return None
        return Path(self.uri.removeprefix("sqlite:///").partition("?")[0])

    @property
    def is_server(self) -> bool:
        return self.uri.startswith(("http://", "https://"))

    def hide(self, text: str) -> str:
        """A message without the users and passwords of addresses, and without MLflow's own secrets."""
        for name in _SECRETS:
            if secret := os.environ.get(name):
                text = text.replace(secret, "***")
        return _USER.sub("***@", text)


def address_of(uri: str | None, results: Path) -> Address:
    """The address `uri`, by default the SQLite file in the results folder."""
    return Address(uri or f"sqlite:///{(results / 'mlflow.db').resolve()}")
