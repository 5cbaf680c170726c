"""Normalisation of features: the paper's pixel norm, and the usual ones that it is compared with."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from progcycle.blocks.autocast import full_precision, in_full_precision

EPSILON = 1e-5  # of all but pixel norm
Norm = Literal["pixel", "batch", "instance", "layer", "none"]


def pixel_norm(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Scale the feature vector of every pixel to a mean square of 1 (Karras et al. 2018, section 4.2).

    The mean is taken in float32 at least, where neither the square overflows nor epsilon vanishes; x keeps its type.

    Args:
        x: features of shape [N, C, ...]; latents [N, C] too.
        epsilon: added to the mean square.
    """
    if torch.is_grad_enabled() and x.requires_grad:
        y: Tensor = _PixelNorm.apply(x, epsilon)
        return y
    return x * _inverse_root_mean_square(x, epsilon).to(x.dtype)


def _inverse_root_mean_square(x: Tensor, epsilon: float) -> Tensor:  # [N, C, ...] -> [N, 1, ...]
    return torch.rsqrt(full_precision(x).square().mean(dim=1, keepdim=True) + epsilon)


class _PixelNorm(torch.autograd.Function):
    """The same with its derivative in one formula, which takes half the time of those of its operations."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, epsilon: float) -> Tensor:
        r = _inverse_root_mean_square(x, epsilon)
        y = x * r.to(x.dtype)
        ctx.save_for_backward(x, y, r)
        ctx.epsilon = epsilon
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        x, y, r = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated itself: r depends on x
            r = _inverse_root_mean_square(x, ctx.epsilon)
            y = full_precision(x) * r
        g, y = full_precision(grad), full_precision(y)
        return (torch.addcmul(g, y, (g * y).mean(dim=1, keepdim=True), value=-1) * r).to(x.dtype), None


def make_norm(kind: Norm, channels: int, epsilon: float = 1e-8, affine: bool = True) -> nn.Module | None:
    """The normalisation of that name, for features of shape [N, C, H, W]; all are computed in float32 at least.

    * ``pixel``: :func:`pixel_norm`, without parameters.
    * ``batch``: each channel over the pictures of this process's batch and their pixels (Ioffe and Szegedy 2015). It
      keeps running statistics, which are used in eval mode only.
    * ``instance``: each channel of each picture by itself.
    * ``layer``: all channels of each picture together, as in the critic of Gulrajani et al. 2017.
    * ``none``: nothing, which is None.

    All but the first end with a weight and a bias for each channel, 1 and 0 at the start.

    Args:
        kind: one of the above.
        channels: C of the features.
        epsilon: of pixel norm; the others have their usual 1e-5.
        affine: whether instance norm ends with weight and bias, which Zhu et al. 2017 leave out.

    Raises:
        ValueError: the kind is unknown.
    """
    if kind == "none":
        return None
    if kind == "pixel":
        return PixelNorm(epsilon)
    if kind == "batch":
        return BatchNorm(channels)
    if kind not in ("instance", "layer"):
        raise ValueError(f"normalization must be pixel, batch, instance, layer or none, not {kind!r}")
    if kind == "layer":
        return PictureNorm(channels, groups=1)
    return PictureNorm(channels, groups=channels, affine=affine)


class PixelNorm(nn.Module):
    """:func:`pixel_norm` as a module."""

    def __init__(self, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:  # [N, C, ...] -> [N, C, ...]
        """Scale every pixel's features to a mean square of 1."""
        return pixel_norm(x, self.epsilon)


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation in float32 at least; the result has the type of its input."""

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H, W]
        """Normalise each channel by the batch, in eval mode by the running statistics."""
        return in_full_precision(super().forward, x).to(x.dtype)


class PictureNorm(nn.Module):
    """Normalise groups of successive channels in each picture by itself, then scale and shift each channel, if affine.

    As many groups as channels is instance norm, one group is layer norm. Computed in float32 at least.
    """

    def __init__(self, channels: int, groups: int, affine: bool = True) -> None:
        super().__init__()
        self.channels, self.groups = channels, groups
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H, W]
        """Normalise; the result has the type of ``x``."""
        return in_full_precision(self._normalize, x).to(x.dtype)

    def _normalize(self, x: Tensor) -> Tensor:
        if x[0].numel() == self.groups:  # a number alone is its own mean: group_norm would enlarge rounding errors
            none = x - x
            if self.weight is None or self.bias is None:
                return none
            return none * self.weight[:, None, None] + self.bias[:, None, None]
        return torch.group_norm(x, self.groups, self.weight, self.bias, eps=EPSILON)
