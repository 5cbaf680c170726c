"""A 3x3 convolution and the change of size beside it as one strided 4x4 convolution (``fused_scale``, official code).

Both resamplings repeat or average 2x2 pixels, so they turn the 3x3 kernel into a 4x4 one: the sum of its four shifts.
"""

from torch import Tensor
from torch.nn import functional as F


def upsample_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same as a 3x3 convolution, zero padding 1, of the enlarged picture ``upsample2x(x)``; borders included.

    Args:
        x: features of shape [N, C_in, H, W].
        weight: kernel of shape [C_out, C_in, 3, 3].
        bias: of shape [C_out], or none.

    Returns:
        Features of shape [N, C_out, 2H, 2W].
    """
    kernel = 4 * _mean_of_shifts(weight).flip(2, 3).transpose(0, 1)  # a transposed convolution turns its kernel
    return F.conv_transpose2d(x, kernel, bias, stride=2, padding=1)


def conv2d_downsample(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The same as ``downsample2x`` of a 3x3 convolution with zero padding 1, then the bias.

    With an activation between convolution and pooling it would be another function: here it comes after both.

    Args:
        x: features of shape [N, C_in, H, W].
        weight: kernel of shape [C_out, C_in, 3, 3].
        bias: of shape [C_out], or none.

    Returns:
        Features of shape [N, C_out, H / 2, W / 2].
    """
    return F.conv2d(x, _mean_of_shifts(weight), bias, stride=2, padding=1)


def _mean_of_shifts(weight: Tensor) -> Tensor:
    """Mean of the kernel at the four corners of a larger one.  # [..., 3, 3] -> [..., 4, 4]"""
    return F.avg_pool2d(weight, 2, stride=1, padding=1)
