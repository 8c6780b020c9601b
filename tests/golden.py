"""The rule of the golden outputs: weights and inputs by closed formulas, and how outputs are compared with the file."""

from __future__ import annotations

import math
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def filled(module: M) -> M:
    """Weights by the closed formula of the golden file, in float64."""
    for p in module.parameters():
        n = p.numel()
        wave = torch.sin(0.7 * torch.arange(n, dtype=torch.float64) + 0.1 * n).reshape(p.shape)
        wave = wave / math.sqrt(p[0].numel()) if p.dim() == 4 else 0.05 * wave
        p.data = (torch.full_like(wave, 0.25) if n == 1 else wave).float()
    return module.double()


def image(channels: int, rows: int, columns: int) -> Tensor:
    c, h, w = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (channels, rows, columns)), indexing="ij")
    return (0.5 + 0.5 * torch.sin(0.3 * h + 0.17 * w + 0.9 * c + 0.05 * h * w))[None]


def assert_golden(out: Tensor, expected: dict[str, Any]) -> None:
    out = out.detach()
    rows, columns = out.shape[2:]
    middle = out[0, 0, rows // 2, columns // 2]
    values = [out.mean(), out.std(), out.flatten()[0], middle, out.flatten()[-1]]
    assert list(out.shape) == expected["shape"]
    wanted = [expected[key] for key in ("mean", "std", "first", "mid", "last")]
    assert [float(v) for v in values] == pytest.approx(wanted, rel=1e-6, abs=1e-6)
