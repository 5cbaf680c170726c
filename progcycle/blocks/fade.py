"""The one blend of growth: generators, discriminators and real pictures all fade with it."""

import torch
from torch import Tensor

from progcycle.blocks.autocast import full_precision
from progcycle.blocks.resample import downsample2x, upsample2x


def is_end(weight: float | Tensor, end: float) -> bool:
    """Whether the weight of a blend is a constant, 0 or 1, so that one side is not needed.

    Args:
        weight: a number, or in a compiled network a tensor without dimensions, whose value may be any.
        end: 0 or 1.
    """
    return not isinstance(weight, Tensor) and weight == end


def fade_in(old: Tensor, new: Tensor, alpha: float | Tensor) -> Tensor:
    """(1 - alpha) * old + alpha * new (Karras et al. 2018, figure 2), in float32 at least.

    ``torch.lerp`` gives exactly ``old`` at 0 and exactly ``new`` at 1.

    Args:
        old: what the previous stage gives, any shape.
        new: what the new layers give, of the same shape.
        alpha: weight of the new layers, in [0, 1]; a number, or a tensor without dimensions.
    """
    return blend(full_precision(old), full_precision(new), alpha)


def blend(old: Tensor, new: Tensor, weight: float | Tensor) -> Tensor:
    """(1 - weight) * old + weight * new, for tensors of one type and shape; the weight may have another type."""
    return torch.lerp(old, new, weight.to(old.dtype) if isinstance(weight, Tensor) else weight)


def fade_reals(pictures: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) * up(down(x)) + alpha * x: real pictures with the detail that the networks show in mid-fade.

    Karras et al. 2018, section 2 and figure 2.

    Args:
        pictures: of even sides.  # [N, C, H, W]
        alpha: weight of the new layers, in [0, 1].
    """
    return fade_in(upsample2x(downsample2x(pictures)), pictures, alpha)
