"""POAN: Hu et al., Pyramid orthogonal attention network based on dual self-similarity, IEEE ICME 2021.

Shapes are (B, C, h, w), C = `features`. The paper publishes no code, and its text, figure 2 and equations leave choices
open. Each is an option here; docs/poan.md gives the evidence for every default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mrsr_bench.method import Array, MethodOptions, Recipe, Scan, Task, TorchMethod
from mrsr_bench.methods._attention import Fusion, PointAttention, PyramidAttention
from mrsr_bench.methods._blocks import (
    ResidualBlock,
    at_least_float32,
    conv,
    full_precision,
    unsupported_scale,
    upsampler,
)


class POANOptions(MethodOptions):
    blocks: int = Field(40, ge=2, multiple_of=2)
    """Residual blocks, half of them before and half after the attention block (section 3.2)."""
    features: int = Field(64, ge=1)
    """C: channels between the first and the last convolution."""
    res_scale: float = Field(1.0, gt=0)
    """Factor of every residual block's branch; not in the paper."""
    point: bool = True
    """Point similarity (equations 1 and 2)."""
    levels: tuple[float, ...] = (1.0, 0.8, 0.6, 0.4)
    """Sizes of the feature pyramid: (1,) is table 2's patch, (0.8, 0.6, 0.4) its pyramid similarity, () neither."""
    pyramid_fusion: Fusion = "joint"
    """joint: one softmax over the patches of all levels; per_level: equation 4 to the letter."""
    reduction: int = Field(2, ge=1)
    """Channels over embedding channels in both kinds of self-similarity; not in the paper, PANet's value."""
    branch_residual: bool = False
    """Add the input to the response of either branch, as non-local networks and PANet do; figure 2 draws none."""
    channel: Literal["ncab", "cab", "none"] = "ncab"
    """Channel attention: from the covariance and not reduced (NCAB), RCAN's CAB in its place (figure 4), or none."""
    newton_schulz_steps: int = Field(5, ge=1)
    """Steps of the covariance root: 5 as in SAN; 8 bring its error from about 20 % to at most a few per cent."""
    gcp: Literal["row_mean", "diag"] = "row_mean"
    """The descriptor of equation 6 from the root: the mean of each row, as in SAN, or the diagonal."""
    z: Literal["normalised", "raw"] = "normalised"
    """The descriptor of equation 6: of length √C, since the text calls it "the normalized vector z", or as it is."""
    gate: Literal["softmax", "softmax_xC", "sigmoid"] = "softmax"
    """NCAB's channel weights: they sum to 1 (equation 6), to C, or each lies between 0 and 1."""
    merge: Literal["add", "concat"] = "add"
    """How NCAB's output meets its input: equation 7 and figure 2 add; the text of section 2.2 says "concatenate"."""
    skip: Literal["head", "image"] = "head"
    """Start of the global skip: behind the first convolution, as in EDSR, or the image, as figure 2 draws it."""
    zero_start: bool = False
    """Start the attention block's last convolution at zero, so that training starts from the plain backbone."""
    tail: Literal["edsr", "espcn"] = "edsr"
    """edsr ends in a convolution; espcn, as figure 2 draws it, in the pixel shuffle."""

    def model_post_init(self, context: Any) -> None:
        if self.features % self.reduction:
            raise ValueError(f"features ({self.features}) must be a multiple of reduction ({self.reduction})")
        if not all(0 < level <= 1 for level in self.levels):
            raise ValueError(f"levels must lie above 0 and at most at 1, not {self.levels}")

    @property
    def spatial(self) -> bool:
        """Whether any self-similarity is on."""
        return self.point or bool(self.levels)


class DualSelfSimilarity(nn.Module):
    """PDSB, section 2.1 and equation 5: a 1×1 convolution of the point and the pyramid response, side by side."""

    def __init__(self, options: POANOptions) -> None:
        super().__init__()
        features, parts = options.features, 0
        self.residual = options.branch_residual
        self.branches = nn.ModuleList()
        if options.point:
            self.branches.append(PointAttention(features, options.reduction))
            parts += 1
        if options.levels:
            fusion = options.pyramid_fusion
            self.branches.append(PyramidAttention(features, options.levels, options.reduction, fusion))
            parts += len(options.levels) if fusion == "per_level" else 1
        self.fuse = conv(parts * features, features, 1)  # F_c of equation 5

    def forward(self, x: Tensor) -> Tensor:
        responses = torch.cat([branch(x) for branch in self.branches], 1)
        if self.residual:
            responses = responses + x.repeat(1, responses.shape[1] // x.shape[1], 1, 1)
        return self.fuse(responses)


def covariance(x: Tensor) -> Tensor:
    """Σ of equation 6: the (B, C, C) covariance of the channels over all h·w pixels, normalised by 1/(h·w)."""
    pixels = x.flatten(2)
    pixels = pixels - pixels.mean(2, keepdim=True)
    return pixels @ pixels.transpose(1, 2) / pixels.shape[2]


def matrix_root(matrix: Tensor, steps: int, eps: float = 1e-5) -> Tensor:
    """Σ^α of equation 6 with α = 1/2, of symmetric positive semi-definite (B, C, C), by coupled Newton-Schulz steps.

    As in Dai et al., SAN, CVPR 2019 (second-order channel attention), which the paper cites. With `eps` added to the
    trace, value and gradient stay finite for a constant feature map, whose covariance is zero.
    """
    trace = matrix.diagonal(dim1=1, dim2=2).sum(1)[:, None, None] + eps
    identity = torch.eye(matrix.shape[1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    root, inverse = matrix / trace, identity
    for _ in range(steps):
        update = (3 * identity - inverse @ root) / 2
        root, inverse = root @ update, update @ inverse
    return trace.sqrt() * root


def of_unit_mean_square(z: Tensor, eps: float = 1e-12) -> Tensor:
    """(B, C) at length √C, so that its components are about 1; zero stays zero, with a finite gradient."""
    return z / (z.square().sum(1, keepdim=True) + eps).sqrt() * z.shape[1] ** 0.5


class NCAB(nn.Module):
    """Non-reduction channel attention, section 2.2 and equation 6: x times weights of its channels' covariance.

    The descriptor z (B, C, 1, 1) comes from the covariance's root; two 1×1 convolutions that keep C make weights of it.
    """

    def __init__(self, options: POANOptions) -> None:
        super().__init__()
        self.steps, self.gcp, self.gate = options.newton_schulz_steps, options.gcp, options.gate
        self.normalised = options.z == "normalised"
        self.weigh = nn.Sequential(
            conv(options.features, options.features, 1),  # F_E
            nn.ReLU(),
            conv(options.features, options.features, 1),  # F_S
        )

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            root = matrix_root(covariance(at_least_float32(x)), self.steps)
            z = root.mean(2) if self.gcp == "row_mean" else root.diagonal(dim1=1, dim2=2)
            z = of_unit_mean_square(z) if self.normalised else z
        logits = at_least_float32(self.weigh(z[:, :, None, None]))
        weights = logits.sigmoid() if self.gate == "sigmoid" else logits.softmax(1)
        if self.gate == "softmax_xC":
            weights = weights * x.shape[1]
        return weights.to(x.dtype) * x


class CAB(nn.Sequential):
    """The channel attention that figure 4 compares with: the mean of each channel, reduced by 16 (RCAN, equation 7)."""

    def __init__(self, features: int) -> None:
        inner = max(1, features // 16)
        layers = nn.AdaptiveAvgPool2d(1), conv(features, inner, 1), nn.ReLU(), conv(inner, features, 1), nn.Sigmoid()
        super().__init__(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * x


class POAB(nn.Module):
    """The pyramid orthogonal attention block, equation 7 and figure 2: x + conv(x' + NCAB(x')), x' = conv(PDSB(x)).

    Without spatial attention x' = x; without channel attention conv(x') alone is added (the rows of table 3).
    """

    def __init__(self, options: POANOptions) -> None:
        super().__init__()
        features = options.features
        self.spatial, self.channel = nn.Sequential(), None
        if options.spatial:
            self.spatial = nn.Sequential(DualSelfSimilarity(options), conv(features, features, 1))
        if options.channel != "none":
            self.channel = NCAB(options) if options.channel == "ncab" else CAB(features)
        self.concat = options.merge == "concat" and self.channel is not None
        self.out = conv((1 + self.concat) * features, features, 1)
        if options.zero_start:
            for parameter in self.out.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        merged = spatial = self.spatial(x)
        if self.channel is not None:
            weighted = self.channel(spatial)
            merged = torch.cat([weighted, spatial], 1) if self.concat else weighted + spatial
        return x + self.out(merged)


class POANNetwork(nn.Module):
    """(B, 1, h, w) to (B, 1, s·h, s·w), s = 2, 3 or 4: EDSR with a POAB in the middle of its blocks (section 2.3)."""

    def __init__(self, scale: int, options: POANOptions) -> None:
        super().__init__()
        features, half = options.features, options.blocks // 2
        attention = [POAB(options)] if options.spatial or options.channel != "none" else []
        self.from_image = options.skip == "image"
        self.head = conv(1, features, 3)
        self.body = nn.Sequential(
            *(ResidualBlock(features, options.res_scale) for _ in range(half)),
            *attention,
            *(ResidualBlock(features, options.res_scale) for _ in range(half)),
            conv(features, features, 3),
        )
        if options.tail == "edsr":
            self.tail = upsampler(features, scale)
        else:
            self.tail = nn.Sequential(conv(features, scale**2, 3), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        shallow = self.head(x)
        return self.tail((x if self.from_image else shallow) + self.body(shallow))

    def parts(self) -> dict[str, nn.Module]:
        """The modules whose output POAN's maps show, by name; nothing without an attention block."""
        names = {PointAttention: "point", PyramidAttention: "pyramid", NCAB: "channel", CAB: "channel"}
        parts = {names[type(module)]: module for module in self.modules() if type(module) in names}
        blocks = [module for module in self.body if isinstance(module, ResidualBlock)]
        return {"features": blocks[len(blocks) // 2 - 1], **parts} if parts else {}


class POAN(TorchMethod):
    """POAN, 40 blocks of 64 features; `baseline` has the backbone of EDSR's baseline.

    The paper's training: L1, Adam 1e-4 halved every 200 of 1000 epochs, batches of 96 LR patches of 64×64 (a smaller
    slice gives its shorter side), torch's initialisation, no pre-upsampling, every scale from scratch. Departures: an
    epoch, whose length is not given, counts as 1000 steps, as in PANet's options; a batch is run in parts of 16, since
    no one card of the paper's kind holds 96.
    """

    version = "2"
    paper = "Hu et al., Pyramid orthogonal attention network based on dual self-similarity, IEEE ICME 2021"
    Options = POANOptions
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "baseline": {"blocks": 16},
        "tiny": {"blocks": 8, "features": 32},
    }
    idle_parameters: ClassVar[dict[str, str]] = {
        "*.key.bias": "point similarity: it adds the same to a query's every score, to which softmax is blind",
    }
    recipe = Recipe(batch=96, micro_batch=16, lr_patch=64)
    options: POANOptions

    def unsupported(self, task: Task) -> str | None:
        return super().unsupported(task) or unsupported_scale(task)

    def build(self, task: Task) -> POANNetwork:
        return POANNetwork(task.scale, self.options)

    def maps(self, scan: Scan, task: Task) -> Mapping[str, Array]:
        """Figure 4's: mean magnitude over the channels of the features before the attention block and of its parts.

        features, point, pyramid, channel (after NCAB or CAB): those that the options have; (D, h, w). None of tiles.
        """
        assert isinstance(self.network, POANNetwork)
        return {} if task.tiles else self.magnitudes(self.network.parts(), scan, task)
