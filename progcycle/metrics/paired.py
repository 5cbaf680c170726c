"""How close pictures are to their true pairs, pixel by pixel, and whether pairs are true."""

from dataclasses import dataclass

import torch
from torch import Tensor

from progcycle.blocks import to_unit
from progcycle.rng import generator_at

PAIRINGS = 999  # random ones
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
        return {name: float(getattr(self, name).cpu().double().mean()) for name in ("l1", "psnr", "ssim")}


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
    from kornia.metrics import psnr, ssim  # when it is needed, since that takes long

    if pictures.shape != truth.shape or pictures.ndim != 4 or 0 in pictures.shape:
        raise ValueError(f"expected two equal shapes [N, C, H, W], got {list(pictures.shape)} and {list(truth.shape)}")
    x, y = pictures.float(), truth.float()
    l1 = (x - y).abs().mean(dim=(1, 2, 3))
    x, y = to_unit(x), to_unit(y)
    ratios = torch.stack([psnr(x[i], y[i], 1.0) for i in range(len(x))]).clamp(max=PSNR_LIMIT)
    side = min(SSIM_WINDOW, *x.shape[2:])
    similarity = ssim(x, y, side if side % 2 else side - 1, max_val=1.0, padding="valid")
    return PairedScores(l1, ratios, similarity.mean(dim=(1, 2, 3)))


def luma_chroma(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Brightness and colour apart: Y, and Cb and Cr, of ITU-R BT.601 in full range (as JPEG has them).

    Args:
        pictures: RGB in [-1, 1].  # [N, 3, H, W]

    Returns:
        Luma in [-1, 1], and chroma in [-1, 1], 0 for grey.  # [N, 1, H, W], [N, 2, H, W]
    """
    red, green, blue = torch.split(pictures.float(), 1, dim=1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return luma, torch.cat([(blue - luma) / 1.772, (red - luma) / 1.402], dim=1)


def luma_chroma_scores(pictures: Tensor, truth: Tensor) -> dict[str, float]:
    """L1 and SSIM to the true pairs of the luma and of the chroma, means over the pictures.

    ``luma_l1`` and ``luma_ssim`` say whether shapes are right, ``chroma_l1`` and ``chroma_ssim`` whether colours are.
    A grey translation of an RGB picture has the truth's luma at best, and chroma 0.

    Args:
        pictures: RGB in [-1, 1].  # [N, 3, H, W]
        truth: likewise.  # [N, 3, H, W]

    Raises:
        ValueError: the shapes differ, or pictures are not RGB.
    """
    if pictures.shape != truth.shape or pictures.ndim != 4 or pictures.shape[1] != 3:
        raise ValueError(f"expected two equal shapes [N, 3, H, W], got {list(pictures.shape)} and {list(truth.shape)}")
    found: dict[str, float] = {}
    for name, x, y in zip(("luma", "chroma"), luma_chroma(pictures), luma_chroma(truth), strict=True):
        scores = paired_scores(x, y).means()
        found |= {f"{name}_{score}": scores[score] for score in ("l1", "ssim")}
    return found


def gradient_error(pictures: Tensor, truth: Tensor) -> Tensor:
    """How far the steps from pixel to pixel are from those of the true pairs: the sharpness that L1 hardly sees.

    The mean absolute difference of forward differences, (|dx - dx'| + |dy - dy'|) / 2 with dx(i, j) = x(i, j + 1) -
    x(i, j) and dy(i, j) = x(i + 1, j) - x(i, j), each averaged over its own pixels and the channels. A relative of the
    gradient difference loss of Mathieu, Couprie and LeCun 2016 (equation 6), which takes absolute differences first and
    so does not see an edge that goes the wrong way.

    Args:
        pictures: in [-1, 1], of 2 pixels or more a side.  # [N, C, H, W]
        truth: in [-1, 1], the same shape.  # [N, C, H, W]

    Returns:
        0 for equal pictures, up to 4, as of a checkerboard of single pixels and its negative.  # [N] float32

    Raises:
        ValueError: the shapes differ, or a side has no step.
    """
    if pictures.shape != truth.shape or pictures.ndim != 4 or min(pictures.shape[2:]) < 2:
        shapes = f"{list(pictures.shape)} and {list(truth.shape)}"
        raise ValueError(f"expected two equal shapes [N, C, H, W] of 2 pixels a side or more, got {shapes}")
    apart = pictures.float() - truth.float()
    across, down = (apart.diff(dim=dim).abs().mean(dim=(1, 2, 3)) for dim in (3, 2))
    return (across + down) / 2


def pairing_p_value(pictures: Tensor, others: Tensor, seed: int = 0) -> float:
    """Share of random pairings in which two sets are as near to each other as in the order given, or nearer.

    A permutation test (Fisher 1935; Phipson and Smyth 2010 for the 1 that is added): near 0 for true pairs, and evenly
    spread between 0 and 1 where the order means nothing. Near is meant in the sum of squared differences, so that
    what moves all pictures of a set alike, such as a tint, makes no difference.

    Args:
        pictures: in the order of their supposed pairs.  # [N, C, H, W]
        others: the supposed pairs, the same shape.  # [N, C, H, W]
        seed: of the pairings.

    Returns:
        (1 + how many of 999 random pairings are as near) / 1000.

    Raises:
        ValueError: the shapes differ, or there are no pictures.
    """
    if pictures.shape != others.shape or 0 in pictures.shape:
        raise ValueError(f"expected two equal shapes, got {list(pictures.shape)} and {list(others.shape)}")
    x, y = (z.cpu().flatten(1).double() for z in (pictures, others))
    # Squares of a set add up to the same in every pairing: only the products decide.
    alike = ((x - x.mean(dim=0)) @ (y - y.mean(dim=0)).T).numpy()
    rng = generator_at(seed, "metric/pairings", len(x))
    rows = range(len(x))
    given = alike[rows, rows].sum()
    # A pairing that is the given one in another order of adding counts as equally near.
    slack = 1e-9 * abs(alike).sum()
    as_near = sum(alike[rows, rng.permutation(len(x))].sum() >= given - slack for _ in range(PAIRINGS))
    return (1 + int(as_near)) / (1 + PAIRINGS)
