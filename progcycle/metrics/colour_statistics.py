"""Colours of sets of pictures, and the translator that only matches them."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ColourStatistics:
    """Mean and standard deviation of every channel over all pixels of a set.  # each [C] float64"""

    mean: Tensor
    deviation: Tensor


def colour_statistics(batches: Iterable[Tensor]) -> ColourStatistics:
    """Statistics of a set of pictures, all pixels alike.

    Args:
        batches: pictures.  # each [N, C, H, W]

    Raises:
        ValueError: there are no pictures.
    """
    count, total, power = 0, torch.zeros(()), torch.zeros(())
    for batch in batches:
        x = batch.cpu().double()
        count += x.numel() // x.shape[1]
        total, power = total + x.sum(dim=(0, 2, 3)), power + x.square().sum(dim=(0, 2, 3))
    if not count:
        raise ValueError("there are no pictures to take statistics of")
    mean = total / count
    return ColourStatistics(mean, (power / count - mean**2).clamp(min=0).sqrt())


def match_colours(pictures: Tensor, own: ColourStatistics, wanted: ColourStatistics) -> Tensor:
    """Pictures with the mean and deviation of every channel of their set moved to those of another set.

    As Reinhard et al. 2001, but in RGB. One line per channel for the whole set, so it is a translator that knows the
    training sets' colours and nothing else. A channel of one value in its set keeps its scale.

    Args:
        pictures: in [-1, 1].  # [N, C, H, W]
        own: statistics of the set that the pictures belong to.
        wanted: statistics to move to.

    Returns:
        Pictures in [-1, 1], clamped.  # [N, C, H, W] float32

    Raises:
        ValueError: the channels differ.
    """
    if not pictures.shape[1] == len(own.mean) == len(wanted.mean):
        raise ValueError(f"{pictures.shape[1]} channels against {len(own.mean)} and {len(wanted.mean)}")
    # Squares that cancel leave a deviation of about 1e-8 to a channel of one value.
    scale = torch.where(own.deviation > 1e-6, wanted.deviation / own.deviation, 1.0)
    shift = wanted.mean - own.mean * scale
    scale, shift = (v.to(pictures.device, torch.float32).reshape(1, -1, 1, 1) for v in (scale, shift))
    return (pictures.float() * scale + shift).clamp(-1, 1)
