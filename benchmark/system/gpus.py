"""The GPUs of this machine, by the names that give one to a process."""

from __future__ import annotations

import os

VISIBLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> list[str]:
    """The name of each GPU that this process may use, as CUDA_VISIBLE_DEVICES takes it; CUDA is not started."""
    import torch

    number, chosen = torch.cuda.device_count(), os.environ.get(VISIBLE)
    return (chosen.split(",") if chosen else [str(gpu) for gpu in range(number)])[:number]
