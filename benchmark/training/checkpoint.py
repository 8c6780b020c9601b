"""The states of a training on disk: saved every so often, loaded by whoever goes on. No pickle of others is run."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch

from ..system.files import DamagedFile, WorkFolder, set_aside
from ..system.states import read_state, remove_states, states_in, write_state


def save(folder: WorkFolder, step: int, state: Mapping[str, Any]) -> None:
    """Write `state` as that of `step`, complete or not at all, and remove all but the last two."""
    content = io.BytesIO()
    torch.save(dict(state), content)
    write_state(folder, step, content.getbuffer())


def load(folder: WorkFolder, key: str, device: Any, fields: Collection[str] = ()) -> dict[str, Any] | None:
    """The newest whole state that has this `key`, its tensors on `device`; None where there is none.

    One that is damaged, or that lacks one of `fields`, is named and set aside; those of another key are removed.
    """
    for path in states_in(folder.path):
        try:
            state = _read(path, device, {"key", *fields})
        except FileNotFoundError:
            continue
        except DamagedFile as error:
            folder.check()
            print(f"{error}; it is set aside as {set_aside(path, 'damaged').name}", flush=True)
            continue
        if state["key"] == key:
            return state
    remove_states(folder)
    return None


def _read(path: Path, device: Any, fields: Collection[str]) -> dict[str, Any]:
    content = io.BytesIO(read_state(path))
    try:
        state = torch.load(content, map_location=device, weights_only=True)
    except Exception as error:  # of the many that torch and pickle raise
        raise DamagedFile(path, f"it is no state ({type(error).__name__})") from None
    if not isinstance(state, dict) or not state.keys() >= set(fields):
        raise DamagedFile(path, "it is not the state of a training")
    return state
