"""The one blend of growth: generators, discriminators and real pictures all fade with it."""

import torch
from torch import Tensor

from progcycle.blocks.precision import full_precision


def fade_in(old: Tensor, new: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) * old + alpha * new (Karras et al. 2018, figure 2), in float32 at least.

    ``torch.lerp`` gives exactly ``old`` at 0 and exactly ``new`` at 1.

    Args:
        old: what the previous stage gives, any shape.
        new: what the new layers give, of the same shape.
        alpha: weight of the new layers, in [0, 1].
    """
    return torch.lerp(full_precision(old), full_precision(new), alpha)
