"""The colours of a set of pictures: which hues and how much colour, how many colours a picture has, how they vary.

Colour here is chroma, the largest of red, green and blue minus the smallest, each in [0, 1] (saturation times value in
HSV). Hues are weighted by it, for the hue and the saturation of nearly black pixels are noise.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from progcycle.blocks import max_level, to_unit

HUES = 360  # bins of a degree; a pure hue lies in the middle of one
FLAT = 0.125  # in [0, 1]; 2x2 pixels that differ by no more in any channel are flat, which edges are not
APART = 15.0  # of CIE L*a*b*; nearer colours count as one
FEWEST = 0.01  # share of a picture that a colour has at least
FINE = 32  # levels of a channel that colours are collected in before they are compared
BATCH = 64  # pictures at a time


@dataclass(frozen=True)
class Palette:
    """The colours of a set of RGB pictures.

    Attributes:
        hue_sums: chroma of every picture by degree of hue.  # [N, 360] float64
        chroma_counts: pixels of every picture by level of chroma.  # [N, 256] float64
        colours: distinct colours of every picture, see :func:`count_colours`.  # [N] int64
        means: mean colour of every picture, in [0, 1].  # [N, 3] float64
    """

    hue_sums: Tensor
    chroma_counts: Tensor
    colours: Tensor
    means: Tensor

    @property
    def hues(self) -> Tensor:
        """Share of each degree in the chroma of all pixels; zeros for pictures without any.  # [360] float64"""
        total = self.hue_sums.sum(dim=0)
        return total / total.sum() if total.any() else total

    @property
    def chromas(self) -> Tensor:
        """Share of each level of chroma in all pixels.  # [256] float64"""
        total = self.chroma_counts.sum(dim=0)
        return total / total.sum()

    def of(self, rows: Tensor) -> "Palette":
        """The palette of some of the pictures, by their numbers.  # [n] int64"""
        return Palette(self.hue_sums[rows], self.chroma_counts[rows], self.colours[rows], self.means[rows])

    @property
    def mean_chroma(self) -> float:
        """Mean over all pixels: 0 for grey, 1 for pure colours."""
        return float(self.chromas @ torch.linspace(0, 1, len(self.chromas), dtype=torch.float64))

    @property
    def colour_spread(self) -> float:
        """Standard deviation over the pictures of their mean colour, the mean of the three channels."""
        return float(self.means.std(dim=0, correction=0).mean())

    def figures(self) -> dict[str, float]:
        """What one set has by itself, by name."""
        return {
            "colours": float(self.colours.double().mean()),
            "mean_chroma": self.mean_chroma,
            "colour_spread": self.colour_spread,
        }


def palette(pictures: Tensor) -> Palette:
    """The colours of a set.

    Args:
        pictures: in [-1, 1].  # [N, 3, H, W]

    Raises:
        ValueError: there are no pictures, or they are not RGB.
    """
    from kornia.color import rgb_to_hsv  # when it is needed, since that takes long

    if pictures.ndim != 4 or pictures.shape[1] != 3 or 0 in pictures.shape:
        raise ValueError(f"expected RGB pictures [N, 3, H, W], got {list(pictures.shape)}")
    steps = max_level()
    found: list[tuple[Tensor, ...]] = []
    for batch in torch.split(pictures, BATCH):
        x = to_unit(batch.cpu().float()).clamp(0, 1)
        chroma = (x.amax(dim=1) - x.amin(dim=1)).flatten(1).double()
        hue = torch.rad2deg(rgb_to_hsv(x)[:, 0]).round().long().flatten(1) % HUES
        hues = torch.zeros(len(x), HUES, dtype=torch.float64).scatter_add_(1, hue, chroma)
        levels = (chroma * steps).round().long()
        chromas = torch.zeros(len(x), steps + 1, dtype=torch.float64).scatter_add_(1, levels, torch.ones_like(chroma))
        found.append((hues, chromas, count_colours(batch), x.mean(dim=(2, 3)).double()))
    return Palette(*(torch.cat(parts) for parts in zip(*found, strict=True)))


def palette_distances(first: Palette, second: Palette) -> dict[str, float]:
    """How far the colours of two sets lie apart, by name.

    Returns:
        ``hue_distance``: degrees that chroma has to move round the circle on the mean, 0 to 180; left out where a set
        has none. ``chroma_distance``: the same of the pixels' chroma, 0 to 1. Both are Wasserstein-1 distances.
    """
    found = {"chroma_distance": line_distance(first.chromas, second.chromas)}
    if first.hues.sum() > 0 and second.hues.sum() > 0:
        found["hue_distance"] = circle_distance(first.hues, second.hues)
    return found


def line_distance(first: Tensor, second: Tensor) -> float:
    """Wasserstein-1 distance of two histograms over [0, 1], whose bins stand at equal steps from 0 to 1.

    Args:
        first: shares that add up to 1.  # [K] float64
        second: likewise.  # [K] float64
    """
    return float((first - second).cumsum(0)[:-1].abs().mean())


def circle_distance(first: Tensor, second: Tensor) -> float:
    """Wasserstein-1 distance of two histograms round a circle of 360 degrees (Werman et al. 1986).

    Mass may go either way round: the sum of |F - G - m| over the bins, F and G being cumulated from any place on, is
    least for the median m.

    Args:
        first: shares that add up to 1.  # [K] float64
        second: likewise.  # [K] float64

    Returns:
        Degrees, 0 to 180.
    """
    ahead = (first - second).cumsum(0)
    return float((ahead - ahead.median()).abs().mean() * 360)


def count_colours(pictures: Tensor) -> Tensor:
    """How many distinct colours each picture has.

    Only flat pixels count: those of any 2x2 block whose pixels are alike to 1/8 in every channel. So an edge has no
    colours of its own, however it is smoothed. The most frequent colour takes all that are nearer to it than 15 in
    CIE L*a*b* (CIE 1976), then the most frequent of the rest, and so on; those that then have less than 1 % of the
    picture are left out.

    Args:
        pictures: in [-1, 1], of 2 px or more a side.  # [N, 3, H, W]

    Returns:
        Counts, 0 where nothing is flat.  # [N] int64
    """
    from kornia.color import rgb_to_lab

    x = to_unit(pictures.cpu().float()).clamp(0, 1)
    blocks = torch.stack([x[..., i : i - 1 or None, j : j - 1 or None] for i in (0, 1) for j in (0, 1)])
    alike = ((blocks.amax(0) - blocks.amin(0)).amax(1) <= FLAT)[:, None].float()
    # A pixel belongs to up to four blocks.
    flat = F.max_pool2d(F.pad(alike, (1, 1, 1, 1)), 2, 1)[:, 0] > 0
    lab = rgb_to_lab(x).permute(0, 2, 3, 1)
    cells = (x * (FINE - 1)).round().long().permute(0, 2, 3, 1) @ torch.tensor([FINE * FINE, FINE, 1])
    return torch.tensor(
        [_count(lab[i][flat[i]].numpy(), cells[i][flat[i]].numpy(), flat[i].numel()) for i in range(len(x))]
    )


def _count(lab: np.ndarray, cells: np.ndarray, pixels: int) -> int:
    """Distinct colours of one picture's flat pixels.  # [n, 3], [n]"""
    if not len(cells):
        return 0
    _, which, sizes = np.unique(cells, return_inverse=True, return_counts=True)
    centres = np.stack([np.bincount(which, lab[:, k], minlength=len(sizes)) / sizes for k in range(3)], axis=1)
    found, left = 0, sizes.astype(np.float64)
    while left.any():
        near = np.linalg.norm(centres - centres[left.argmax()], axis=1) < APART
        found += left[near].sum() >= FEWEST * pixels
        left[near] = 0
    return int(found)
