"""The residual networks of WGAN-GP for 64 px (Gulrajani et al. 2017, "Good" in the authors' code); they do not grow."""

import itertools
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import downsample2x, in_full_precision, make_norm, upsample2x
from progcycle.networks.dcgan import SMALLEST, CriticNorm, CriticOptions, draw_uniform, grid_of
from progcycle.networks.latent_generator import (
    REFERENCE,
    FixedBatchOptions,
    GeneratorNorm,
    LatentGenerator,
    Statistics,
)
from progcycle.networks.one_size import PlainCritic
from progcycle.resolution import Sides
from progcycle.rng import Distribution

WIDEST = 8  # times the narrowest


def residual_widths(filters: int, resolution: Sides) -> list[int]:
    """Feature maps behind each block of the critic: [2 F, 4 F, 8 F, 8 F] at 64 px, [2 F, 4 F, 4 F] at 32 px."""
    blocks = grid_of(resolution)[1]
    widest = min(1 << (blocks - 1), WIDEST)
    return [filters * min(2 << i, widest) for i in range(blocks)]


class ResidualBlock(nn.Module):
    """shortcut(x) + f(x), f being twice a norm, a ReLU and a 3x3 convolution; the size changes within.

    Enlarging, it does so in front of the first convolution and of the shortcut's; reducing, behind the second one and
    in front of the shortcut's. The first convolution has no bias, and changes the width where the block enlarges.

    Args:
        narrow: C of the input.
        wide: C of the output.
        scale: ``up`` or ``down``.
        norms: of the C of the input, and of that between the convolutions; each none or one.
    """

    def __init__(
        self, narrow: int, wide: int, scale: Literal["up", "down"], norms: tuple[list[nn.Module], list[nn.Module]]
    ) -> None:
        super().__init__()
        self.scale, between = scale, wide if scale == "up" else narrow
        self.norms = nn.ModuleList(nn.Sequential(*norm) for norm in norms)
        self.shortcut = nn.Conv2d(narrow, wide, 1)
        self.first = nn.Conv2d(narrow, between, 3, padding=1, bias=False)
        self.second = nn.Conv2d(between, wide, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # [N, narrow, H, W] -> [N, wide, 2 H or H / 2, 2 W or W / 2]
        """Apply the block."""
        h = F.relu(self.norms[0](x))
        h = self.first(upsample2x(h) if self.scale == "up" else h)
        h = self.second(F.relu(self.norms[1](h)))
        if self.scale == "up":
            y: Tensor = self.shortcut(upsample2x(x)) + h
            return y
        y = self.shortcut(downsample2x(x)) + downsample2x(h)
        return y


class ResidualGeneratorOptions(FixedBatchOptions):
    """Options of the residual generator of WGAN-GP."""


class ResidualGenerator(LatentGenerator):
    """Dense layer to a grid (:func:`grid_of`, 4x4 at powers of two), residual blocks that double the size, norm, ReLU,
    3x3 convolution, tanh.

    Args:
        resolution: R of squares, or height and width.
        image_channels: channels of the pictures.
        latent_size: numbers in a latent.
        distribution: what latents are drawn from.
        filters: feature maps of the last block.
        normalization: ``batch``, ``virtual`` or ``none``.
        statistics: see :class:`LatentGenerator`.
        reference_batch: see there.
    """

    Options = ResidualGeneratorOptions

    def __init__(
        self,
        resolution: Sides = 64,
        image_channels: int = 3,
        latent_size: int = 128,
        distribution: Distribution = "normal",
        filters: int = 64,
        normalization: GeneratorNorm = "batch",
        statistics: Statistics = "batch",
        reference_batch: int = REFERENCE,
    ) -> None:
        super().__init__(latent_size, distribution, normalization, statistics, reference_batch)
        self.smallest, self.grid = SMALLEST, grid_of(resolution)[0]
        maps = [*residual_widths(filters, resolution)[::-1], filters]
        self.stem = nn.Linear(latent_size, self.grid.pixels * maps[0])
        self.blocks = nn.Sequential(
            *(ResidualBlock(a, b, "up", (self.norm(a), self.norm(b))) for a, b in itertools.pairwise(maps))
        )
        self.last_norm = nn.Sequential(*self.norm(filters))
        self.to_rgb = nn.Conv2d(filters, image_channels, 3, padding=1)
        _draw(self, [self.stem])

    def paint(self, x: Tensor) -> Tensor:
        """See :class:`LatentGenerator`."""
        h = self.stem(x)
        h = h.reshape(-1, h.shape[1] // self.grid.pixels, *self.grid.shape)
        h = h.contiguous(memory_format=torch.channels_last)
        h = F.relu(self.last_norm(self.blocks(h)))
        return in_full_precision(self.to_rgb, h).tanh()


class ResidualCriticOptions(CriticOptions):
    """Options of the residual critic of WGAN-GP."""

    normalization: CriticNorm = Field("layer", description="layer or none; batch is not for a gradient penalty")


class ResidualCritic(PlainCritic):
    """3x3 convolution, residual blocks that halve the size down to the grid of :func:`grid_of`, dense layer.

    Args:
        resolution: R of squares, or height and width.
        image_channels: channels of the pictures.
        filters: feature maps of the first layer.
        normalization: ``layer``, ``batch`` or ``none``.
    """

    Options = ResidualCriticOptions

    def __init__(
        self, resolution: Sides = 64, image_channels: int = 3, filters: int = 64, normalization: CriticNorm = "layer"
    ) -> None:
        super().__init__()
        self.smallest, self.normalization = SMALLEST, normalization
        maps = [filters, *residual_widths(filters, resolution)]

        def norm(channels: int) -> list[nn.Module]:
            made = make_norm(normalization, channels)
            return [] if made is None else [made]

        self.from_rgb = nn.Conv2d(image_channels, filters, 3, padding=1)
        self.blocks = nn.Sequential(
            *(ResidualBlock(a, b, "down", (norm(a), norm(a))) for a, b in itertools.pairwise(maps))
        )
        self.logit = nn.Linear(grid_of(resolution)[0].pixels * maps[-1], 1)
        _draw(self, [self.from_rgb, self.logit])

    def before_logit(self, x: Tensor) -> Tensor:
        """See :class:`PlainCritic`."""
        h: Tensor = self.blocks(self.from_rgb(x))
        return h.flatten(1)


def _draw(network: nn.Module, glorot: list[Any]) -> None:
    """Draw all weights: as He et al. where a ReLU is in front, as Glorot and Bengio in the given and the shortcuts."""
    shortcuts = [module.shortcut for module in network.modules() if isinstance(module, ResidualBlock)]
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            draw_uniform(module, glorot=any(module is other for other in [*glorot, *shortcuts]))
