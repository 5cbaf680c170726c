"""Weights from a normal distribution.

On the meta device, where networks are only planned or get the weights of a file, none are drawn: for these functions
PyTorch would import its compiler there, which takes longer than all else that a command does before it begins.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


def normal_weight(shape: Sequence[int], deviation: float) -> Tensor:
    """A new weight from N(0, deviation^2), on the default device."""
    if torch.get_default_device().type == "meta":
        return torch.empty(shape)
    return torch.randn(shape) * deviation


def draw_weight(weight: Tensor, mean: float, deviation: float) -> None:
    """Draw a weight again, in place, from N(mean, deviation^2)."""
    if not weight.is_meta:
        nn.init.normal_(weight, mean, deviation)
