"""Which of the 1,000 modes of stacked digits a generator has found (Metz et al. 2017, Karras et al. 2018)."""

from dataclasses import dataclass

import torch
from torch import Tensor

MODES = 1000


@dataclass(frozen=True)
class ModeCoverage:
    """How pictures spread over the modes. Divergences are in nats.

    Attributes:
        pictures: how many there were.
        modes: modes that at least one picture has.
        kl: Kullback-Leibler divergence of the pictures from the uniform distribution over all 1,000 modes,
            sum p ln(1000 p). A mode without pictures adds its limit, 0, so that the sum over the modes found, which
            the original takes, is the same number. 0 is best, ln 1000 = 6.91 is one single mode.
        kl_found: the same from the uniform distribution over the modes found, sum p ln(modes p): how unevenly these
            are hit, however many are missing. kl = kl_found + ln(1000 / modes).
    """

    pictures: int
    modes: int
    kl: float
    kl_found: float


def mode_coverage(predictions: Tensor) -> ModeCoverage:
    """Count the modes of stacked digits; the mode of (r, g, b) is r + 10 g + 100 b.

    Args:
        predictions: the digit of every channel, whole numbers from 0 to 9.  # [N, 3]

    Raises:
        ValueError: there are no pictures, or the numbers are no digits.
    """
    if predictions.ndim != 2 or predictions.shape[1] != 3 or not len(predictions) or predictions.is_floating_point():
        raise ValueError(f"expected whole numbers [N, 3], got {predictions.dtype} of shape {list(predictions.shape)}")
    if int(predictions.min()) < 0 or int(predictions.max()) > 9:
        raise ValueError(f"digits go from 0 to 9, got {int(predictions.min())} to {int(predictions.max())}")
    modes = (predictions.cpu().long() * torch.tensor([1, 10, 100])).sum(dim=1)
    counts = torch.bincount(modes, minlength=MODES)
    p = counts[counts > 0].double() / len(modes)
    found = len(p)
    return ModeCoverage(
        pictures=len(modes),
        modes=found,
        kl=float((p * (p * MODES).log()).sum()),
        kl_found=float((p * (p * found).log()).sum()),
    )
