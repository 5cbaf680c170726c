"""Pictures made a little worse, so that nothing too faint to be seen can be hidden in them."""

import torch
from torch import Tensor

from progcycle.blocks.autocast import full_precision
from progcycle.blocks.levels import rounded_to_levels


def rounded(x: Tensor) -> Tensor:
    """Pictures as they would be saved: cut to [-1, 1], and the nearest of 256 levels 2/255 apart.

    The gradient goes straight through (Bengio et al. 2013), beyond [-1, 1] too, where it is the only way
    back.

    Args:
        x: pictures in about [-1, 1].  # [N, C, H, W]

    Returns:
        Pictures in [-1, 1], float32 at least.  # [N, C, H, W]
    """
    x = full_precision(x)
    return rounded_to_levels(x) + (x - x.detach())  # the bracket is 0, with a gradient


def blurred(x: Tensor) -> Tensor:
    """Every pixel mixed with its eight neighbours by the binomial weights (1, 2, 1) x (1, 2, 1) / 16.

    Borders are mirrored, the outermost row standing once.

    Args:
        x: pictures of at least 2x2 pixels.  # [N, C, H, W]

    Returns:
        Pictures, float32 at least.  # [N, C, H, W]
    """
    x = full_precision(x)
    for dim in (2, 3):
        size = x.shape[dim]
        # Mirrored by hand: the backward of torch's padding is not deterministic on GPUs.
        wide = torch.cat([x.narrow(dim, 1, 1), x, x.narrow(dim, size - 2, 1)], dim)
        x = (wide.narrow(dim, 0, size) + 2 * x + wide.narrow(dim, 2, size)) / 4
    return x


def noisy(x: Tensor, normals: Tensor, std: float) -> Tensor:
    """x + std * n, a normal for every number of a picture.

    Args:
        x: pictures.  # [N, C, H, W]
        normals: standard normals.  # [N, C * H * W]
        std: standard deviation of what is added; 2/255 is a level of 8 bits.

    Returns:
        Pictures, float32 at least.  # [N, C, H, W]
    """
    return full_precision(x) + std * full_precision(normals).reshape(x.shape)
