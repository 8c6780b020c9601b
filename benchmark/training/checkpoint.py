"""The states of a training on disk: saved every so often, loaded by the run that goes on. No foreign pickle is run."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..system.files import DamagedFile, WorkFolder, set_aside
from ..system.training_states import read_state, remove_states, states_in, write_state


@dataclass(frozen=True)
class Checkpoints:
    """Where the states of one training lie, and how often one is written."""

    folder: WorkFolder
    key: str
    """All that decides the training: a state of another key is another training's."""
    seconds: float = 60.0
    """Between two states; a killed training loses no more."""

    def save(self, step: int, state: Mapping[str, Any]) -> None:
        """Write `state` as that of `step`, complete or not at all, and remove all but the last two."""
        content = io.BytesIO()
        torch.save({"key": self.key, **state}, content)
        write_state(self.folder, step, content.getbuffer())

    def load(self, device: Any, fields: Collection[str] = ()) -> dict[str, Any] | None:
        """The newest whole state, its tensors on `device`; None where there is none.

        A state that is damaged or lacks one of `fields` is set aside, and the log names it; if there is none of this
        key, the states of others are removed.
        """
        for path in states_in(self.folder.path):
            try:
                state = _read(path, device, {"key", *fields})
            except FileNotFoundError:
                continue
            except DamagedFile as error:
                self.folder.check()
                print(f"{error}; it is set aside as {set_aside(path, 'damaged').name}", flush=True)
                continue
            if state["key"] == self.key:
                return state
        remove_states(self.folder)
        return None


def _read(path: Path, device: Any, fields: Collection[str]) -> dict[str, Any]:
    content = io.BytesIO(read_state(path))
    try:
        state = torch.load(content, map_location=device, weights_only=True)
    except Exception as error:  # of the many that torch and pickle raise
        raise DamagedFile(path, f"it is not a state ({type(error).__name__})") from None
    if not isinstance(state, dict) or not state.keys() >= set(fields):
        raise DamagedFile(path, "it is not the state of a training")
    return state
