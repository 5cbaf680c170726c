"""The changes of size that growth is made of."""

from torch import Tensor
from torch.nn import functional as F


def upsample2x(x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, 2H, 2W]
    """Double the size by repeating every pixel (nearest neighbour), as in Karras et al. 2018, figure 2."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def downsample2x(x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H/2, W/2]
    """Halve the size by averaging 2x2 pixels (box).

    The mean of four equal numbers is exact in floating point: downsample2x(upsample2x(x)) is x to the bit.
    """
    return F.avg_pool2d(x, 2)


def smooth_upsample2x(x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, 2H, 2W]
    """Enlarge by bilinear interpolation: no blocks, but :func:`downsample2x` of it is a slightly blurred ``x``."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def mean_preserving_upsample2x(x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, 2H, 2W]
    """Enlarge by bilinear interpolation, and correct every block of 2x2 pixels to the mean that it had in ``x``.

    :func:`downsample2x` of it is ``x`` but for rounding, where that of :func:`smooth_upsample2x` is blurred.
    """
    u = smooth_upsample2x(x)
    return u + upsample2x(x - downsample2x(u))
