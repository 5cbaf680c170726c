"""Multi-scale structural similarity of pairs of pictures (Wang et al. 2003), as PG-GAN measures variation with it.

High similarity between random pairs of a generator's pictures is a sign of mode collapse (Odena et al. 2017). It does
not measure their quality.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from progcycle.blocks import max_level
from progcycle.metrics.picture_batches import PictureBatches, rebatch

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, fine to coarse
SMALLEST = 16  # pixels per side
WINDOW, SIGMA = 11, 1.5
C1, C2 = (0.01 * max_level()) ** 2, (0.03 * max_level()) ** 2
MIDDLE = max_level() / 2  # variances are computed around it, where float32 has more digits


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Similarity of every picture with its partner: contrast and structure at scales 1 to 4, and all of SSIM at 5.

    At every scale the window is a Gaussian of min(11, H, W) pixels, whose sigma is 1.5 at 11 pixels and shrinks with
    it, without padding. Between scales 2x2 pixels are averaged, the last row and column of an odd size doubled.
    Means are over a pair's pixels and channels, and are cut off below 0 before they are raised to their weights.

    Args:
        x: grey levels from 0 to 255, uint8 or floating point.  # [N, 1 or 3, H, W]
        y: the partners, of the same shape.  # [N, 1 or 3, H, W]

    Returns:
        From 0 to 1, which only equal pictures have.  # [N] float64

    Raises:
        ValueError: the shapes differ, are not those of grey or RGB pictures, or a side is below 16 px.
    """
    if x.shape != y.shape or x.ndim != 4 or x.shape[1] not in (1, 3) or min(x.shape[2:]) < SMALLEST:
        raise ValueError(
            f"expected two equal shapes [N, 1 or 3, H, W] with sides from {SMALLEST} px on, "
            f"got {list(x.shape)} and {list(y.shape)}"
        )
    a, b = x.float() - MIDDLE, y.float() - MIDDLE
    result = torch.ones(len(a), dtype=torch.float64)
    for scale, weight in enumerate(WEIGHTS, start=1):
        last = scale == len(WEIGHTS)
        result *= _similarity(a, b, whole=last).clamp(min=0) ** weight
        if not last:
            a, b = _halve(a), _halve(b)
    return result


def pair_similarities(
    source: PictureBatches, pairs: int, resolution: int, device: torch.device | str = "cpu"
) -> Tensor:
    """MS-SSIM of the pictures 0 and 1, 2 and 3, ... of a source, whose order must be random.

    Args:
        source: gives at least 2 * ``pairs`` pictures.
        pairs: how many.
        resolution: of the pictures.
        device: where to compute.

    Returns:
        One number a pair; the metric is their mean.  # [pairs] float64, on the CPU

    Raises:
        ValueError: the pictures are below 16 px or not as they should be, or too few.
    """
    found = rebatch(source, 2 * pairs, resolution, torch.device(device))
    return torch.cat([ms_ssim(piece[0::2], piece[1::2]).cpu() for piece in found])


def _similarity(a: Tensor, b: Tensor, whole: bool) -> Tensor:
    """SSIM of pairs, or only its contrast and structure; grey levels are counted from the middle.

    Returns:
        One number a pair, on the CPU.  # [N] float64
    """
    n, channels, height, width = a.shape
    side = min(WINDOW, height, width)
    fields = torch.cat([a, b, a * a, b * b, a * b], dim=1).reshape(-1, 1, height, width)
    window = _window(side).to(a.device)
    fields = F.conv2d(F.conv2d(fields, window.reshape(1, 1, 1, side)), window.reshape(1, 1, side, 1))
    mean_a, mean_b, aa, bb, ab = fields.reshape(n, 5, channels, *fields.shape[2:]).unbind(1)
    covariance = ab - mean_a * mean_b
    variances = (aa - mean_a * mean_a) + (bb - mean_b * mean_b)  # so that equal pictures give exactly 1
    result = (2 * covariance + C2) / (variances + C2)
    if whole:
        mean_a, mean_b = mean_a + MIDDLE, mean_b + MIDDLE
        result = result * ((2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1))
    return result.mean(dim=(1, 2, 3)).cpu().double()  # not every accelerator has float64


def _window(side: int) -> Tensor:
    """A Gaussian around the middle of ``side`` pixels, which lies between two where the side is even.  # [side]"""
    t = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    g = torch.exp(-(t**2) / (2 * (SIGMA * side / WINDOW) ** 2))
    return (g / g.sum()).float()


def _halve(x: Tensor) -> Tensor:
    x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2), mode="replicate")
    return F.avg_pool2d(x, 2)
