"""A trained network upscales a volume: in whole slices or tiles, several at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

_PIXELS = 2**16
"""LR pixels that a network gets at once, more only where one sample has more: four slices of 120×120."""


def enlarge(network: nn.Module, samples: Tensor, scale: int, device: str, tiles: tuple[int, int] | None) -> Tensor:
    """Upscale (N, d, h, w) to (N, d, s·h, s·w) in float32; `tiles` as in `method.Task`.

    Every HR pixel comes from one forward pass: where tiles overlap, from the one whose middle is nearer.
    """
    count, depth, rows, columns = samples.shape
    side, overlap = tiles or (max(rows, columns), 0)
    output = torch.empty(count, depth, scale * rows, scale * columns)
    for top, from_row, to_row in spans(rows, side, overlap):
        for left, from_column, to_column in spans(columns, side, overlap):
            part = samples[:, :, top : top + side, left : left + side]
            inner = (
                ...,
                slice(scale * (from_row - top), scale * (to_row - top)),
                slice(scale * (from_column - left), scale * (to_column - left)),
            )
            outer = ..., slice(scale * from_row, scale * to_row), slice(scale * from_column, scale * to_column)
            at_once = max(1, _PIXELS // (part.shape[2] * part.shape[3]))
            with torch.inference_mode():
                for batch, upscaled in zip(part.split(at_once), output.split(at_once), strict=True):
                    upscaled[outer] = network(batch.to(device))[inner].float().cpu()
    return output


def magnitudes(
    network: nn.Module, modules: Mapping[str, nn.Module], samples: Tensor, device: str
) -> dict[str, np.ndarray]:
    """What `modules` put out for (N, d, h, w): name → (N, h', w') float32, |values| averaged over channels.

    Every sample goes through the network whole.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in modules}

    def keep(name: str, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found[name].append(output.detach().float().abs().mean(1).cpu())

    hooks = [module.register_forward_hook(partial(keep, name)) for name, module in modules.items()]
    try:
        with torch.inference_mode():
            for sample in samples.split(1):
                network(sample.to(device))
    finally:
        for hook in hooks:
            hook.remove()
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def spans(length: int, side: int, overlap: int) -> Iterator[tuple[int, int, int]]:
    """The tiles along an axis: the start of each, and the start and end (exclusive) of the pixels that it gives.

    Tiles are evenly spaced, neighbours share at least `overlap` pixels, and every pixel is given by exactly one tile.
    """
    number = -(-(length - overlap) // (side - overlap)) if length > side else 1
    starts = [round(index * (length - side) / max(1, number - 1)) for index in range(number)]
    borders = [(start + side + following) // 2 for start, following in pairwise(starts)]
    yield from zip(starts, [0, *borders], [*borders, length], strict=True)
