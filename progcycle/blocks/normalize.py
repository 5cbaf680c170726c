"""Normalisation and the statistic that shows a discriminator how varied a batch is."""

import torch
from torch import Tensor

from progcycle.blocks.precision import full_precision


def pixel_norm(x: Tensor, epsilon: float = 1e-8) -> Tensor:
    """Scale the feature vector of every pixel to a mean square of 1 (Karras et al. 2018, section 4.2).

    The mean is taken in float32 at least, where neither the square overflows nor epsilon vanishes; x keeps its type.

    Args:
        x: features of shape [N, C, ...]; latents [N, C] too.
        epsilon: added to the mean square.
    """
    mean_square = full_precision(x).square().mean(dim=1, keepdim=True)
    return x * torch.rsqrt(mean_square + epsilon).to(x.dtype)


def stddev_group(batch: int, group_size: int) -> int:
    """Smallest divisor of ``batch`` that is at least min(group_size, batch): 14 -> 7, 6 -> 6, 7 -> 7 for size 4."""
    return next(g for g in range(max(min(group_size, batch), 1), batch + 1) if batch % g == 0)


def minibatch_stddev(x: Tensor, group_size: int = 4, epsilon: float = 1e-8) -> Tensor:
    """Append one channel: the standard deviation over a group of pictures, averaged over channels and pixels.

    Karras et al. 2018, section 3. The groups are strided as in the official code: with M groups, picture i is grouped
    with i + M, i + 2M, ... The variance is biased and computed in float32 at least. A group of one gives sqrt(epsilon).

    Args:
        x: features of shape [N, C, H, W].
        group_size: pictures in a group, see :func:`stddev_group`.
        epsilon: added to the variance, which keeps all derivatives finite.

    Returns:
        Features of shape [N, C + 1, H, W], of the type of ``x``.
    """
    n, c, h, w = x.shape
    group = stddev_group(n, group_size)
    y = full_precision(x).reshape(group, n // group, c, h, w)  # [G, M, C, H, W]
    variance = (y - y.mean(dim=0, keepdim=True)).square().mean(dim=0)  # [M, C, H, W]
    statistic = (variance + epsilon).sqrt().mean(dim=(1, 2, 3))  # [M]
    channel = statistic.repeat(group).reshape(n, 1, 1, 1).expand(n, 1, h, w)
    return torch.cat([x, channel.to(x.dtype)], dim=1)
