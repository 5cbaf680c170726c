"""The networks of BEGAN (Berthelot et al. 2017, section 3.1): a decoder, and an auto-encoder whose half is like it.

They work at one size. All convolutions are 3x3 with an ELU behind them, there is no normalisation, and the dense layers
are linear. The decoder begins with 8x8 places and paints from n feature maps at every resolution; the encoder has n
more of them at each.
"""

from typing import Any, Final

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import blend, in_full_precision, is_end, upsample2x
from progcycle.networks.base import Network, NetworkOptions, TaskShape
from progcycle.resolution import Resolution, Sides
from progcycle.rng import Distribution

GRID: Final = 8  # places of a side where the decoder begins and the encoder ends; at other sizes than 8 * 2^n, 9 to 15


class BeganOptions(NetworkOptions):
    """Options of both networks."""

    filters: int = Field(
        64, ge=1, le=1 << 12, description="n: feature maps of the decoder; the encoder's are n, 2n, ..."
    )
    latent_size: int = Field(64, ge=1, le=1 << 16, description="numbers of a latent, or of the bottleneck")
    skips: bool = Field(False, description="the decoder's first maps, enlarged, join those of every resolution")
    vanishing_kimg: float = Field(
        0.0,
        ge=0,
        le=60_000,
        description="residuals around the layers, whose weight falls from 1 to 0 over so many kimg",
    )

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`."""
        if self.skips and rounds_of(shape.resolution) == 1:
            raise ValueError(f"skips: at {shape.resolution} px there is no later resolution to skip to; leave it out")
        return {"resolution": shape.resolution, **super().arguments(shape)}


class BeganGeneratorOptions(BeganOptions):
    """Options of the generator."""

    distribution: Distribution = Field("uniform", description="of latents: uniform in [-1, 1], or normal")


class EluConv(nn.Module):
    """3x3 convolution and ELU, with a residual around them while that has weight: c x + (1 - c) layer(x).

    Args:
        in_channels: C of the input.
        out_channels: C of the output; another number than ``in_channels``, or a stride, leaves no place for a residual.
        stride: 2 halves the size.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
        self.keeps_shape = in_channels == out_channels and stride == 1

    def forward(self, x: Tensor, carry: float | Tensor = 0.0) -> Tensor:
        """Apply the layer.

        Args:
            x: features.  # [N, in_channels, H, W]
            carry: c, weight of the residual, in [0, 1].

        Returns:
            Features.  # [N, out_channels, H, W], or half the size
        """
        y = F.elu(self.conv(x))
        return blend(y, x.to(y.dtype), carry) if not is_end(carry, 0) and self.keeps_shape else y


class TwoLayers(nn.Sequential):
    """Two layers in turn, with the same weight of their residuals."""

    def forward(self, x: Tensor, carry: float | Tensor = 0.0) -> Tensor:  # [N, C_in, H, W] -> [N, C_out, H, W]
        """Apply both."""
        for layer in self:
            x = layer(x, carry)
        return x


class BeganDecoder(nn.Module):
    """From latents to pictures: a dense layer, and two convolutions at every resolution from 8 px on.

    Args:
        resolution: pixels of a side, or height and width.
        filters: n, feature maps.
        latent_size: numbers of a latent.
        image_channels: channels of the pictures.
        skips: whether the first maps, enlarged, join the input of every later resolution.
    """

    def __init__(self, resolution: Sides, filters: int, latent_size: int, image_channels: int, skips: bool) -> None:
        super().__init__()
        self.filters, self.skips, self.grid = filters, skips, grid_of(resolution)
        self.dense = nn.Linear(latent_size, filters * self.grid.pixels)
        wide = 2 * filters if skips else filters
        self.rounds = nn.ModuleList(
            TwoLayers(EluConv(wide if i else filters, filters), EluConv(filters, filters))
            for i in range(rounds_of(resolution))
        )
        self.to_rgb = nn.Conv2d(filters, image_channels, 3, padding=1)

    def forward(self, latents: Tensor, carry: float | Tensor = 0.0) -> Tensor:
        """Paint pictures; ``carry`` as in :class:`EluConv`.  # [N, latent_size] -> [N, image_channels, R, R]"""
        x = in_full_precision(self.dense, latents).reshape(-1, self.filters, *self.grid.shape)
        start = x = x.contiguous(memory_format=torch.channels_last)
        for i, layers in enumerate(self.rounds):
            if i:
                x, start = upsample2x(x), upsample2x(start) if self.skips else start
                x = torch.cat([x, start.to(x.dtype)], dim=1) if self.skips else x
            x = layers(x, carry)
        return in_full_precision(self.to_rgb, x)


class BeganBase(Network):
    """What both networks have in common: they work at one size, and what vanishes is told by the pictures shown.

    Args:
        vanishing_kimg: thousands of pictures in which the residuals vanish; 0: there are none.
    """

    sizes = "one"
    smallest = GRID

    def __init__(self, vanishing_kimg: float) -> None:
        super().__init__()
        self.vanishing_kimg = vanishing_kimg

    def options_at(self, nimg: int) -> dict[str, Any]:
        """``carry``, the weight of the residuals (section 3.5.1)."""
        return {"carry": max(1 - nimg / (1000 * self.vanishing_kimg), 0.0)} if self.vanishing_kimg else {}

    def draw(self) -> None:
        """Draw all weights as Glorot and Bengio 2010 do, uniformly, as the layers of the usual port; biases are 0."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all have one


class BeganGenerator(BeganBase):
    """The generator: :class:`BeganDecoder`, without an activation at its end.

    Args:
        resolution: pixels of a side, at least 8; or height and width.
        filters: n, feature maps.
        latent_size: numbers of a latent.
        image_channels: channels of the pictures.
        skips: whether the first maps, enlarged, join those of every resolution.
        vanishing_kimg: thousands of pictures in which residuals around the layers vanish; 0: there are none.
        distribution: what latents are drawn from.
    """

    Options = BeganGeneratorOptions

    def __init__(
        self,
        resolution: Sides,
        filters: int = 64,
        latent_size: int = 64,
        image_channels: int = 3,
        skips: bool = False,
        vanishing_kimg: float = 0.0,
        distribution: Distribution = "uniform",
    ) -> None:
        super().__init__(vanishing_kimg)
        self.latent_size, self.distribution = latent_size, distribution
        self.decoder = BeganDecoder(resolution, filters, latent_size, image_channels, skips)
        self.draw()

    def forward(self, latents: Tensor, stage: int, alpha: float, carry: float | Tensor = 0.0) -> Tensor:
        """Paint pictures from latents.

        Args:
            latents: uniform in [-1, 1], or N(0, I).  # [N, latent_size]
            stage, alpha: without effect, as it does not grow.
            carry: weight of the residuals, in [0, 1].

        Returns:
            Pictures in about [-1, 1], float32 at least.  # [N, image_channels, R, R]
        """
        y: Tensor = self.decoder(latents, carry)
        return y


class BeganAutoencoder(BeganBase):
    """The discriminator: it encodes pictures in ``latent_size`` numbers, and restores them from these alone.

    Args:
        resolution, filters, latent_size, image_channels, skips, vanishing_kimg: as of :class:`BeganGenerator`.
    """

    Options = BeganOptions

    def __init__(
        self,
        resolution: Sides,
        filters: int = 64,
        latent_size: int = 64,
        image_channels: int = 3,
        skips: bool = False,
        vanishing_kimg: float = 0.0,
    ) -> None:
        super().__init__(vanishing_kimg)
        rounds = rounds_of(resolution)
        layers = [EluConv(image_channels, filters)]
        for i in range(rounds):
            narrow, wide = filters * max(i, 1), filters * (i + 1)
            layers += [EluConv(narrow, wide), EluConv(wide, wide)]
            layers += [EluConv(wide, wide, stride=2)] if i + 1 < rounds else []
        self.encoder = nn.ModuleList(layers)
        self.dense = nn.Linear(rounds * filters * grid_of(resolution).pixels, latent_size)
        self.decoder = BeganDecoder(resolution, filters, latent_size, image_channels, skips)
        self.draw()

    def encode(self, x: Tensor, carry: float | Tensor = 0.0) -> Tensor:  # [N, image_channels, R, R] -> [N, latent_size]
        """The bottleneck of pictures, float32 at least."""
        for layer in self.encoder:
            x = layer(x, carry)
        return in_full_precision(self.dense, x.flatten(1))

    def forward(self, x: Tensor, stage: int, alpha: float, carry: float | Tensor = 0.0) -> Tensor:
        """Restore pictures.

        Args:
            x: pictures in [-1, 1].  # [N, image_channels, R, R]
            stage, alpha: without effect, as it does not grow.
            carry: weight of the residuals, in [0, 1].

        Returns:
            Pictures of the same shape, float32 at least.
        """
        y: Tensor = self.decoder(self.encode(x, carry), carry)
        return y


def rounds_of(resolution: Sides) -> int:
    """Resolutions from 8 px on, each with its layers; one at least."""
    return max((int(Resolution.of(resolution)) // GRID).bit_length(), 1)


def grid_of(resolution: Sides) -> Resolution:
    """Where the decoder begins and the encoder ends; 8x8 at 8, 16, 32, 64, ... px.

    Raises:
        ValueError: its sides, doubled, do not give those of the resolution.
    """
    size = Resolution.of(resolution)
    doublings = rounds_of(size) - 1
    if ((size >> doublings) << doublings).shape != size.shape:
        raise ValueError(
            f"name: began halves pictures {doublings} times, which leaves a rest at {size} px; choose progressive, or "
            f"a resolution of multiples of {1 << doublings} px"
        )
    return Resolution(GRID) if size < GRID else size >> doublings
