"""Losses of what a translator paints, beside the adversarial one (Zhu et al. 2017)."""

from torch import Tensor
from torch.nn.functional import l1_loss

from progcycle.blocks import downsample2x, full_precision


def cycle_loss(real: Tensor, rec: Tensor, scales: int = 1) -> Tensor:
    """E |rec - real|, rec being there and back again (equation 2).

    With several scales, the mean of that over so many resolutions, each half of the one before: colours and large
    shapes then count more than where every pixel lies.

    Args:
        real: real pictures.  # [N, C, H, W]
        rec: the same after both translators.  # [N, C, H, W]
        scales: resolutions at which they are compared; H and W are multiples of 2^(scales - 1).
    """
    real, rec = full_precision(real), full_precision(rec)
    loss = l1_loss(rec, real)
    for _ in range(scales - 1):
        real, rec = downsample2x(real), downsample2x(rec)
        loss = loss + l1_loss(rec, real)
    return loss / scales


def identity_loss(real: Tensor, idt: Tensor) -> Tensor:
    """E |idt - real|, idt being a picture of the target domain after the translator (section 5.2).

    Args:
        real: pictures that are in the target domain already.  # [N, C, H, W]
        idt: the same, translated.  # [N, C, H, W]
    """
    return l1_loss(full_precision(idt), full_precision(real))


def reconstruction_loss(real: Tensor, restored: Tensor) -> Tensor:
    """E |restored - real|, restored being painted from a part of the picture, or from all of it (Torbunov et al. 2023).

    Args:
        real: real pictures.  # [N, C, H, W]
        restored: what a translator makes of what it sees of them.  # [N, C, H, W]
    """
    return l1_loss(full_precision(restored), full_precision(real))


def range_loss(fake: Tensor) -> Tensor:
    """E max(0, |fake| - 1)^2: how far a picture leaves [-1, 1]; the mean of all its values.

    A network that cuts its pictures off at black and white learns nothing where it is cut off. This loss holds them
    near the range, and every pixel goes on learning.

    Args:
        fake: what a translator painted.  # [N, C, H, W]
    """
    return (full_precision(fake).abs() - 1).clamp(min=0).square().mean()
