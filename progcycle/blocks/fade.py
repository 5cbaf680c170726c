"""The one blend of growth: generators, discriminators and real pictures all fade with it."""

import torch
from torch import Tensor

from progcycle.blocks.autocast import full_precision
from progcycle.blocks.resample import downsample2x, upsample2x


def fade_in(old: Tensor, new: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) * old + alpha * new (Karras et al. 2018, figure 2), in float32 at least.

    ``torch.lerp`` gives exactly ``old`` at 0 and exactly ``new`` at 1.

    Args:
        old: what the previous stage gives, any shape.
        new: what the new layers give, of the same shape.
        alpha: weight of the new layers, in [0, 1].
    """
    return torch.lerp(full_precision(old), full_precision(new), alpha)


def fade_reals(pictures: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) * up(down(x)) + alpha * x: real pictures with the detail that the networks show in mid-fade.

    Karras et al. 2018, section 2 and figure 2.

    Args:
        pictures: of even sides.  # [N, C, H, W]
        alpha: weight of the new layers, in [0, 1].
    """
    return fade_in(upsample2x(downsample2x(pictures)), pictures, alpha)
