"""3×3 patch attention over several levels, streamed: the plain form's function without its score matrix.

Plain form (Mei et al., PANet, arXiv:2004.13824): every query pixel p and key pixel m stand for their 3×3 patches,

    score[p, m] = factor[m] · Σ_d query[p + d] · key[m + d],      weight = softmax of the scores over m,
    out[x]      = Σ_d Σ_m weight[x − d, m] · value[m + d],

d in {−1, 0, 1}², everything zero outside its own image. Both sums over d run along a diagonal of the pairs (p, m): the
scores are the diagonal 3×3 box of the 1×1 correlations, and `out` sums the 1×1 values under the diagonal box of the
weights. That takes (E + V) multiplications a pair in place of 9·(E + V), and only three rows of queries at a time.

Keys lie in a flat layout (`flat`): levels one after the other, each framed by a row of zeros above and below and a
column of zeros at its right. A step along a row of every level is then a step of 1 in the layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

_BLOCK_BYTES = 16 << 20
"""Most bytes of one row of scores. Eight such buffers live in inference, sixteen in training. On 2 cores (LR 64 to 120)
4 to 64 MiB ran equally fast."""
_FEWEST_COLUMNS = 8
"""Columns of queries in a block, however many keys there are."""
_HALO = 2
"""Columns beside a block that its output depends on: one for the weights' box, one for the scores'."""


def flat(levels: Sequence[Tensor]) -> Tensor:
    """Maps (B, C, h_l, w_l) of all levels to the flat layout (B, C, L), zero in the frames."""
    return torch.cat([F.pad(x, (0, 1, 1, 1)).flatten(2) for x in levels], 2)


def patch_attention(
    query: Tensor, key: Tensor, value: Tensor, factor: Tensor, sizes: Sequence[Sequence[int]]
) -> Tensor:
    """The `out` (B, V, h, w) of query (B, E, h, w) and, in the flat layout, key (B, E, L), value (B, V, L) and factor
    (B, L).

    `sizes` are the levels' (h_l, w_l). float32 or float64, all tensors alike; differentiable in all of them. Memory is
    bounded whatever the number of queries; only the tensors themselves grow.
    """
    rows = query.permute(0, 2, 3, 1).contiguous()
    sides = [n for size in sizes for n in size]
    return _attend(rows, key.contiguous(), value.contiguous(), factor.contiguous(), sides).permute(0, 3, 1, 2)


class _Levels:
    """Where the levels lie in the flat layout."""

    def __init__(self, sides: Sequence[int]) -> None:
        self.inner: list[tuple[int, int, int]] = []
        """Per level: start and end of its rows without the frame's, and the step from one row to the next."""
        self.length = 0
        for rows, columns in zip(sides[::2], sides[1::2], strict=True):
            step = columns + 1
            self.inner.append((self.length + step, self.length + (rows + 1) * step, step))
            self.length += (rows + 2) * step

    def frame(self, like: Tensor) -> Tensor:
        """(L,): −∞ in the frames, where no key is, else 0."""
        out = like.new_full((self.length,), -torch.inf)
        for start, end, step in self.inner:
            out[start:end].view(-1, step)[:, :-1] = 0
        return out


class _Band:
    """Three successive rows of pairs (query, key), each (B, n, L) between two columns of zeros; all zero at first."""

    def __init__(self, samples: int, columns: int, levels: _Levels, like: Tensor) -> None:
        self.levels = levels
        self.rows = [like.new_zeros(samples, columns + 2, levels.length) for _ in range(3)]

    def push(self) -> Tensor:
        """A place (B, n, L) for the next row, that of the oldest one."""
        self.rows.append(self.rows.pop(0))
        return self.rows[-1][:, 1:-1]

    def box(self, out: Tensor, spare: Tensor) -> Tensor:
        """(B, n, L), in `out`: the 3×3 sums along the diagonals around the middle row.

        `out` and `spare` are (B, n + 2, L), `spare` zero in the frames' rows.
        """
        above, middle, below = self.rows
        for start, end, step in self.levels.inner:
            up, down = above[..., start - step : end - step], below[..., start + step : end + step]
            torch.add(up, down, out=spare[..., start:end])
            spare[..., start:end] += middle[..., start:end]
        # One query to the right and one key to the right is a step of L + 1 in memory. Neither wraps around: columns
        # of zeros lie between the samples, and frames between the rows of keys.
        source, target, step = spare.view(-1), out.view(-1), self.levels.length + 1
        torch.add(source[: -2 * step], source[2 * step :], out=target[step:-step])
        target[step:-step] += source[step:-step]
        target[:step] = target[-step:] = 0
        return out[:, 1:-1]


def _blocks(query: Tensor, length: int) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Parts of the work whose rows of pairs fit `_BLOCK_BYTES`: samples, columns with their halo, and, of those, the
    columns in their midst as counted in the part and in the image."""
    batch, _, width, _ = query.shape
    column = length * query.element_size()
    side = max(_FEWEST_COLUMNS, _BLOCK_BYTES // column - 2 * (_HALO + 1))
    samples = max(1, _BLOCK_BYTES // (column * (width + 2)))
    for first in range(0, batch, samples):
        for start in range(0, width, side):
            end = min(start + side, width)
            left, right = max(0, start - _HALO), min(width, end + _HALO)
            part = slice(first, first + samples)
            yield part, slice(left, right), slice(start - left, end - left), slice(start, end)


@torch.library.custom_op("mrsr_bench::patch_attention", mutates_args=())
def _attend(query: Tensor, key: Tensor, value: Tensor, factor: Tensor, sides: list[int]) -> Tensor:
    """(B, h, w, V) of query (B, h, w, E), key (B, E, L), value (B, V, L) and factor (B, L)."""
    levels = _Levels(sides)
    frame, height = levels.frame(query), query.shape[1]
    out = query.new_empty(*query.shape[:3], value.shape[1])
    for samples, columns, kept, place in _blocks(query, levels.length):
        q, k, v, f = query[samples, :, columns], key[samples], value[samples].mT, factor[samples, None]
        correlations, weights = (_Band(len(q), q.shape[2], levels, query) for _ in range(2))
        scores, spare = (torch.zeros_like(correlations.rows[0]) for _ in range(2))
        for y in range(height + 2):  # row y of correlations, y − 1 of weights, y − 2 of the output
            row = correlations.push()
            row.zero_() if y >= height else torch.bmm(q[:, y], k, out=row)
            if y == 0:
                continue
            row = weights.push()
            if y > height:
                row.zero_()
            else:
                box = correlations.box(scores, spare)
                torch.softmax(torch.addcmul(frame, box, f, out=box), 2, out=row)
            if y > 1:
                out[samples, y - 2, place] = torch.bmm(weights.box(scores, spare)[:, kept], v)
    return out


@torch.library.custom_op("mrsr_bench::patch_attention_backward", mutates_args=())
def _attend_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, factor: Tensor, sides: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and factor. The weights are computed again, row by row."""
    levels = _Levels(sides)
    frame, height = levels.frame(query), query.shape[1]
    dquery, dkey, dvalue, dfactor = (torch.zeros_like(t) for t in (query, key, value, factor))
    for samples, columns, kept, place in _blocks(query, levels.length):
        q, g, k, v = query[samples, :, columns], grad[samples, :, columns], key[samples], value[samples]
        f = factor[samples, None]
        correlations, pulled, weights, pushed = (_Band(len(q), q.shape[2], levels, query) for _ in range(4))
        first, second, spare = (torch.zeros_like(correlations.rows[0]) for _ in range(3))
        for y in range(height + 2):
            correlation, pull = correlations.push(), pulled.push()
            if y < height:
                torch.bmm(q[:, y], k, out=correlation)
                torch.bmm(g[:, y], v, out=pull)
            else:
                correlation.zero_(), pull.zero_()
            if y == 0:
                continue
            weight, push = weights.push(), pushed.push()
            if y > height:
                weight.zero_(), push.zero_()
            else:
                box = correlations.box(first, spare)
                torch.softmax(torch.addcmul(frame, box, f, out=push), 2, out=weight)
                dweight = pulled.box(second, spare)
                torch.mul(dweight, weight, out=push)
                mean = push.sum(2, keepdim=True)
                push.addcmul_(weight, mean, value=-1)  # of the scores
                dfactor[samples] += torch.mul(push, box, out=box)[:, kept].sum(1)
                push *= f  # of the box of the correlations
            if y > 1:
                box = weights.box(first, spare)[:, kept]
                dvalue[samples].baddbmm_(g[:, y - 2, kept].mT, box)
                box = pushed.box(first, spare)[:, kept]
                dkey[samples].baddbmm_(q[:, y - 2, kept].mT, box)
                dquery[samples, y - 2, place] = torch.bmm(box, k.mT)
    return dquery, dkey, dvalue, dfactor


@_attend.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, factor: Tensor, sides: list[int]) -> Tensor:
    return query.new_empty(*query.shape[:3], value.shape[1])


@_attend_backward.register_fake
def _(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, factor: Tensor, sides: list[int]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value), torch.empty_like(factor)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:4])
    ctx.sides = inputs[4]


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    return *_attend_backward(grad.contiguous(), *ctx.saved_tensors, ctx.sides), None


_attend.register_autograd(_differentiate, setup_context=_keep)


@register_flop_formula(torch.ops.mrsr_bench.patch_attention)
def _plain_flops(query: Any, key: Any, value: Any, factor: Any, sides: list[int], *_: Any, **__: Any) -> int:
    """Of the plain form, which is what the definition says: 9·(E + V) multiply-adds a pair."""
    batch, height, width, inner = query
    keys = sum(rows * columns for rows, columns in zip(sides[::2], sides[1::2], strict=True))
    return int(2 * 9 * (inner + value[1]) * batch * height * width * keys)
