"""Equalized learning rate (Karras et al. 2018, section 4.1): weights drawn from N(0, 1), scaled when used.

With ``equalized=False`` the same weights are scaled once, when drawn (He et al. 2015), and then used as they are.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks.draw import normal_weight

_scaled: dict[Tensor, Tensor] | None = None  # by weight, inside of scaling_once()


@contextmanager
def scaling_once() -> Iterator[None]:
    """Scale every equalized weight once inside of the context, however many passes use it; it must not change there.

    A backward pass through these passes belongs into the context too, where activations are computed again in it.
    """
    global _scaled
    before, _scaled = _scaled, {}
    try:
        yield
    finally:
        _scaled = before


class _Equalized(nn.Module):
    """A layer whose weights are scaled when used.

    Attributes:
        scale: factor of the weights.
    """

    weight: nn.Parameter
    scale: float

    def scaled_weight(self) -> Tensor:
        """The weights as they are used."""
        weight = self.weight
        if self.scale == 1.0:  # also with spectral norm, which estimates anew in every use
            return weight
        if torch.compiler.is_compiling() or _scaled is None:  # compilers join the product with what comes next
            return weight * self.scale
        scaled = _scaled.get(weight)
        if scaled is None or (torch.is_grad_enabled() and weight.requires_grad and not scaled.requires_grad):
            # This overload saves nothing for the backward pass: layers that are recomputed find the product here.
            scaled = _scaled[weight] = torch.ops.aten.mul.Scalar(weight, self.scale)
        return scaled


class EqualizedConv2d(_Equalized):
    """Convolution with stride 1 and 'same' zero padding (or none) whose weights are scaled at run time.

    The weights are w ~ N(0, 1) and are used as w * gain / sqrt(fan_in), fan_in = kernel^2 * in_channels (He et al.
    2015), so that Adam's step has the same relative size in every layer.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel: side of a square kernel, odd when padded; or height and width of one that is not padded.
        gain: factor of He's constant; sqrt(2) before a leaky ReLU, 1 for a linear layer.
        padding: zeros on each side; default kernel // 2, which keeps the size.
        zero: start from zero weights, for layers that must begin as "no contribution".
        equalized: False draws w ~ N(0, gain^2 / fan_in) and uses it unscaled.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        gain: float = math.sqrt(2),
        padding: int | None = None,
        zero: bool = False,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        shape = (out_channels, in_channels, height, width)
        he = gain / math.sqrt(height * width * in_channels)
        drawn, self.scale = (1.0, he) if equalized else (he, 1.0)
        self.weight = nn.Parameter(torch.zeros(shape) if zero else normal_weight(shape, drawn))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.padding = height // 2 if padding is None else padding
        self.in_channels, self.zero = in_channels, zero

    def forward(self, x: Tensor) -> Tensor:  # [N, C_in, H, W] -> [N, C_out, H, W]
        """Convolve; the size is kept with the default padding."""
        return F.conv2d(x, self.scaled_weight(), self.bias, padding=self.padding)


class EqualizedLinear(_Equalized):
    """Dense layer whose weights are scaled at run time, as in :class:`EqualizedConv2d`; fan_in = in_features.

    Args:
        in_features: size of the input rows.
        out_features: size of the output rows.
        gain: factor of He's constant; sqrt(2) before a leaky ReLU, 1 for a linear layer.
        bias: whether a bias is added.
        equalized: False draws w ~ N(0, gain^2 / fan_in) and uses it unscaled.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        gain: float = math.sqrt(2),
        bias: bool = True,
        equalized: bool = True,
    ) -> None:
        super().__init__()
        he = gain / math.sqrt(in_features)
        drawn, self.scale = (1.0, he) if equalized else (he, 1.0)
        self.weight = nn.Parameter(normal_weight((out_features, in_features), drawn))
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None

    def forward(self, x: Tensor) -> Tensor:  # [N, in_features] -> [N, out_features]
        """Multiply, and add the bias if there is one."""
        return F.linear(x, self.scaled_weight(), self.bias)
