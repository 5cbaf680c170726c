"""How close pictures are to their true pairs, pixel by pixel."""

from dataclasses import dataclass

import torch
from kornia.metrics import psnr, ssim
from torch import Tensor

PSNR_LIMIT = 100.0  # dB given to equal pictures, whose PSNR is infinite
SSIM_WINDOW = 11  # Wang et al. 2004


@dataclass(frozen=True)
class PairedScores:
    """Scores of every picture against its true pair.

    Attributes:
        l1: mean absolute difference of pictures in [-1, 1]: 0 for equal, 2 for black against white.  # [N]
        psnr: peak signal-to-noise ratio in dB, at most 100.  # [N]
        ssim: structural similarity (Wang et al. 2004), 1 for equal pictures.  # [N]
    """

    l1: Tensor
    psnr: Tensor
    ssim: Tensor

    def means(self) -> dict[str, float]:
        """Mean of every score over the pictures."""
        return {name: float(getattr(self, name).double().mean()) for name in ("l1", "psnr", "ssim")}


def paired_scores(pictures: Tensor, truth: Tensor) -> PairedScores:
    """Compare pictures with their true pairs.

    SSIM uses a Gaussian window (sigma 1.5) of 11 pixels, or the largest odd number that fits smaller pictures, without
    padding.

    Args:
        pictures: in [-1, 1].  # [N, C, H, W]
        truth: in [-1, 1], the same shape.  # [N, C, H, W]

    Raises:
        ValueError: the shapes differ, or there are no pictures.
    """
    if pictures.shape != truth.shape or pictures.ndim != 4 or 0 in pictures.shape:
        raise ValueError(f"expected two equal shapes [N, C, H, W], got {list(pictures.shape)} and {list(truth.shape)}")
    x, y = pictures.float(), truth.float()
    l1 = (x - y).abs().mean(dim=(1, 2, 3))
    x, y = (x + 1) / 2, (y + 1) / 2
    ratios = torch.stack([psnr(x[i], y[i], 1.0) for i in range(len(x))]).clamp(max=PSNR_LIMIT)
    side = min(SSIM_WINDOW, *x.shape[2:])
    similarity = ssim(x, y, side if side % 2 else side - 1, max_val=1.0, padding="valid")
    return PairedScores(l1, ratios, similarity.mean(dim=(1, 2, 3)))


def join(parts: list[PairedScores]) -> PairedScores:
    """Scores of several batches as one.

    Raises:
        RuntimeError: there are none.
    """
    return PairedScores(*(torch.cat([getattr(p, name) for p in parts]) for name in ("l1", "psnr", "ssim")))
