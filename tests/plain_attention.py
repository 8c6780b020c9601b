"""Patch attention as PANet's released module computes it: the oracle of the tests and the other side of the benchmark.

Key patches are the filters of a convolution with the query, whose softmax over the filters is deconvolved with the
value patches. Every score of a sample is in memory at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mrsr_bench.methods import _attention


def plain_patch_attention(
    query: Tensor, keys: Sequence[Tensor], values: Sequence[Tensor], softmax_scale: float
) -> Tensor:
    """(B, V, h, w) of query (B, E, h, w) and the levels' keys (B, E, h_l, w_l) and values (B, V, h_l, w_l)."""
    outputs = []
    for b in range(len(query)):
        key, value = (torch.cat([_filters(level[b : b + 1]) for level in levels]) for levels in (keys, values))
        key = key / key.flatten(1).norm(dim=1).clamp(min=1e-4)[:, None, None, None]
        weights = torch.softmax(softmax_scale * F.conv2d(query[b : b + 1], key, padding=1), 1)
        outputs.append(F.conv_transpose2d(weights, value, padding=1))
    return torch.cat(outputs)


def plain(module: nn.Module, x: Tensor) -> Tensor:
    """The output of a module, with the plain form wherever it attends to patches."""
    forms = dict.fromkeys(("streamed_patch_attention", "fused_patch_attention"), plain_patch_attention)
    with patch.multiple(_attention, **forms):
        return module(x)


def _filters(level: Tensor) -> Tensor:
    """The 3×3 patches of (1, C, h, w) as (h·w, C, 3, 3)."""
    return F.unfold(level, 3, padding=1)[0].T.reshape(-1, level.shape[1], 3, 3)
