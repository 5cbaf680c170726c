"""Fully connected networks: those of WGAN (Arjovsky et al. 2017, section 4.3) and of WGAN-GP's toy experiments."""

import itertools
import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from progcycle.blocks import in_full_precision
from progcycle.networks.base import Network
from progcycle.networks.one_size import OneSizeOptions, PlainCritic
from progcycle.resolution import Resolution, Sides
from progcycle.rng import Distribution

DenseInitialization = Literal["torch", "he"]


class DenseOptions(OneSizeOptions):
    """Options of both networks: four layers with ReLU between them, as published."""

    filters: int = Field(64, ge=1, le=1 << 14, description="units of a layer")
    layers: int = Field(4, ge=2, le=64, description="dense layers, the last one counted in")
    initialization: DenseInitialization = Field(
        "torch", description="torch: its default, as WGAN; he: uniform as He et al., the last as Glorot, as WGAN-GP"
    )


class DenseGeneratorOptions(DenseOptions):
    """Options of the generator."""

    latent_size: int = Field(100, ge=1, le=1 << 16, description="random numbers that a picture is painted from")
    distribution: Distribution = Field("normal", description="of latents: normal, or uniform in [-1, 1]")


class DenseGenerator(Network):
    """Latents to pictures; the output is linear.

    Args:
        resolution: R of squares, or height and width.
        image_channels: channels of the pictures.
        latent_size: numbers in a latent.
        distribution: what latents are drawn from.
        filters: units of a layer.
        layers: how many, the last one counted in.
        initialization: ``torch`` or ``he``.
    """

    Options = DenseGeneratorOptions
    sizes = "one"

    def __init__(
        self,
        resolution: Sides,
        image_channels: int = 3,
        latent_size: int = 100,
        distribution: Distribution = "normal",
        filters: int = 64,
        layers: int = 4,
        initialization: DenseInitialization = "torch",
    ) -> None:
        super().__init__()
        self.latent_size, self.distribution = latent_size, distribution
        self.shape = (image_channels, *Resolution.of(resolution).shape)
        self.body, self.last = _layers(latent_size, filters, layers, math.prod(self.shape), initialization)

    def forward(self, latents: Tensor, stage: int = 0, alpha: float = 1.0) -> Tensor:
        """Paint pictures from latents.

        Args:
            latents: drawn from :attr:`distribution`.  # [N, latent_size]
            stage: not used.
            alpha: not used.

        Returns:
            Pictures in about [-1, 1], float32 at least.  # [N, image_channels, R, R]
        """
        return in_full_precision(self.last, self.body(latents)).reshape(-1, *self.shape)


class DenseDiscriminatorOptions(DenseOptions):
    """Options of the discriminator, or critic."""


class DenseDiscriminator(PlainCritic):
    """Pictures to a logit each.

    Args:
        resolution: R of squares, or height and width.
        image_channels: channels of the pictures.
        filters: units of a layer.
        layers: how many, the last one counted in.
        initialization: ``torch`` or ``he``.
    """

    Options = DenseDiscriminatorOptions

    def __init__(
        self,
        resolution: Sides,
        image_channels: int = 3,
        filters: int = 64,
        layers: int = 4,
        initialization: DenseInitialization = "torch",
    ) -> None:
        super().__init__()
        values = image_channels * Resolution.of(resolution).pixels
        self.body, self.logit = _layers(values, filters, layers, 1, initialization)

    def before_logit(self, x: Tensor) -> Tensor:
        """See :class:`PlainCritic`."""
        h: Tensor = self.body(x.flatten(1))
        return h


@torch.no_grad()
def _layers(
    first: int, filters: int, count: int, last: int, initialization: DenseInitialization
) -> tuple[nn.Sequential, nn.Linear]:
    """All layers but the last, each with its ReLU, and the last."""
    sizes = [first, *[filters] * (count - 1)]
    layers = [nn.Linear(a, b) for a, b in itertools.pairwise(sizes)]
    end = nn.Linear(sizes[-1], last)
    if initialization == "he":
        for layer in layers:
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")  # variance 2 / fan_in
        nn.init.xavier_uniform_(end.weight)
        for layer in (*layers, end):
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*(module for layer in layers for module in (layer, nn.ReLU()))), end
