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
    return F.conv_transpose2d(x, upsampling_kernel(weight), bias, stride=2, padding=1)


def upsampling_kernel(weight: Tensor) -> Tensor:
    """The kernel of :func:`upsample_conv2d`, for a transposed convolution.  # [O, I, 3, 3] -> [I, O, 4, 4]"""
    return 4 * downsampling_kernel(weight).flip(2, 3).transpose(0, 1)  # a transposed convolution turns its kernel


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
    return F.conv2d(x, downsampling_kernel(weight), bias, stride=2, padding=1)


def downsampling_kernel(weight: Tensor) -> Tensor:
    """The kernel of :func:`conv2d_downsample`: the mean of the 3x3 one at the corners of a larger one.

    # [O, I, 3, 3] -> [O, I, 4, 4]
    """
    return F.avg_pool2d(weight, 2, stride=1, padding=1)
