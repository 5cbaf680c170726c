"""Real pictures as the discriminators see them at a moment of growth."""

from torch import Tensor

from progcycle.blocks.fade import fade_reals
from progcycle.blocks.levels import as_numbers
from progcycle.blocks.resample import downsample2x
from progcycle.schedule import Growth


def as_reals(images: Tensor, growth: Growth) -> Tensor:
    """Scale pictures to [-1, 1], reduce them to the stage and fade them as the networks fade.

    While a stage fades in they are ``fade_reals(x, growth.reals_alpha)``.

    Args:
        images: uint8, uint16 (levels of a window), or floating point already in [-1, 1]; any device. If the smaller
            side is larger than the stage's resolution, both sides are box-reduced by the largest power of two that
            does not go below it.
        growth: gives the resolution, alpha, and whether to fade.  # [N, C, H, W] -> [N, C, h, w] float32

    Raises:
        ValueError: another dtype or shape, or sides that the reduction does not divide.
    """
    if images.ndim != 4:
        raise ValueError(f"expected pictures [N, C, H, W], got a tensor of shape {tuple(images.shape)}")
    x = as_numbers(images).float()
    while min(x.shape[-2:]) >= 2 * growth.resolution:
        if x.shape[-2] % 2 or x.shape[-1] % 2:
            height, width = images.shape[-2:]
            raise ValueError(f"pictures of {width}x{height} px cannot be halved down to {growth.resolution} px")
        x = downsample2x(x)
    fades = growth.reals_alpha < 1 and growth.plan_stage > 0
    halves = x.shape[-2] % 2 == 0 and x.shape[-1] % 2 == 0
    return fade_reals(x, growth.reals_alpha) if fades and halves else x
