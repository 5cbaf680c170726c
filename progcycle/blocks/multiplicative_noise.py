"""Multiplicative noise on a discriminator's features (Karras et al. 2018, appendix B)."""

import math
from typing import Literal

import torch
from torch import Tensor

from progcycle.blocks.autocast import full_precision

NoiseMode = Literal["prop", "mul", "drop"]


def gdrop(x: Tensor, normals: Tensor, strength: Tensor | float, mode: NoiseMode) -> Tensor:
    """Multiply every feature map by a random factor, one for each picture and channel; a strength of 0 leaves x as is.

    With a standard normal n and strength s, the factor is

    * ``prop``: 1 + s sqrt(C) n, what the paper's networks were trained with;
    * ``mul``: (1 + s)^n;
    * ``drop``: 1 / (1 - s) with probability 1 - s (where Phi(n) < 1 - s), else 0; from s = 1 on always 0.

    The factors are computed in float32 at least; x keeps its type.

    Args:
        x: features of shape [N, C, H, W].
        normals: standard normals of shape [N, C].
        strength: of the noise, a number or a tensor without dimensions, at least 0.
        mode: one of the above.

    Raises:
        ValueError: the normals are not of shape [N, C], or the mode is unknown.
    """
    if normals.shape != x.shape[:2]:
        raise ValueError(f"features of shape {tuple(x.shape)} do not take normals of shape {tuple(normals.shape)}")
    n = full_precision(normals)
    s = torch.as_tensor(strength, dtype=n.dtype, device=n.device)
    if mode == "prop":
        factor = 1 + s * math.sqrt(x.shape[1]) * n
    elif mode == "mul":
        factor = (1 + s) ** n
    elif mode == "drop":
        # Compared as normals: Phi(n) rounds to 1 for a large n, which would be dropped even at strength 0.
        factor = torch.where(n < torch.special.ndtri(1 - s), 1 / (1 - s), 0)
    else:
        raise ValueError(f"noise must be prop, mul or drop, not {mode!r}")
    return x * factor[:, :, None, None].to(x.dtype)


class Noise:
    """The noise of one forward pass: every call takes the next columns of the normals, so a new pass needs a new one.

    Args:
        normals: standard normals for all layers of the network.  # [N, total]
        strength: of the noise, without dimensions.
        mode: see :func:`gdrop`.
    """

    def __init__(self, normals: Tensor, strength: Tensor, mode: NoiseMode) -> None:
        self.normals = normals
        self.strength = strength
        self.mode = mode
        self.taken = 0

    def __call__(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H, W]
        """Put noise on features with the next C columns of the normals.

        Raises:
            ValueError: fewer than C columns are left, or there is not one row for every picture.
        """
        end = self.taken + x.shape[1]
        if end > self.normals.shape[1]:
            left = self.normals.shape[1] - self.taken
            raise ValueError(f"{left} columns of noise are left for {x.shape[1]} channels: each pass needs its own")
        columns = self.normals[:, self.taken : end]
        self.taken = end
        return gdrop(x, columns, self.strength, self.mode)
