"""The networks of PG-GAN (Karras et al. 2018, appendix A.1, table 2)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import EqualizedConv2d, EqualizedLinear, in_full_precision, minibatch_stddev, pixel_norm
from progcycle.networks.trunks import GrowingDecoder, GrowingEncoder, Layer, Rgb


class PgganGenerator(nn.Module):
    """Latent stem and decoder trunk; the output is linear (no tanh).

    Args:
        channels: features of every stage, base first.
        latent_size: numbers in a latent.
        base_resolution: side of stage 0.
        image_channels: channels of the pictures.
        rgb: how the stages' pictures join, ``replace`` (the paper) or ``sum``.
    """

    def __init__(
        self,
        channels: Sequence[int],
        latent_size: int = 512,
        base_resolution: int = 4,
        image_channels: int = 3,
        rgb: Rgb = "replace",
    ) -> None:
        super().__init__()
        self.latent_size, self.base_resolution = latent_size, base_resolution
        # sqrt(2) / 4 at 4x4: the paper's layer is a 4x4 convolution of a 1x1 map, with that fan-in.
        self.dense = EqualizedLinear(
            latent_size, channels[0] * base_resolution**2, math.sqrt(2) / base_resolution, bias=False
        )
        self.bias = nn.Parameter(torch.zeros(channels[0], 1, 1))
        self.conv = Layer(channels[0], channels[0], normalize=True)
        self.decoder = GrowingDecoder(channels, image_channels, rgb)

    def forward(self, latents: Tensor, stage: int, alpha: float) -> Tensor:
        """Paint pictures from latents.

        Args:
            latents: drawn from N(0, I); normalised here to a mean square of 1.  # [N, latent_size]
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1].

        Returns:
            Pictures in about [-1, 1], float32 at least.  # [N, image_channels, R, R], R = base_resolution * 2^stage
        """
        x = self.dense(pixel_norm(latents))
        x = x.reshape(-1, self.bias.shape[0], self.base_resolution, self.base_resolution)
        x = x.contiguous(memory_format=torch.channels_last)
        x = pixel_norm(F.leaky_relu(x + self.bias, 0.2))
        picture: Tensor = self.decoder(self.conv(x), stage, alpha)
        return picture


class DenseHead(nn.Module):
    """The end of PG-GAN's discriminator: stddev channel, 3x3, all of the base grid at once, one logit.

    Args:
        channels: features of the base stage.
        hidden: features of the dense layer.
        base_resolution: side of the base grid.
        stddev_group: group size of the minibatch statistic, 0 for none.
    """

    def __init__(self, channels: int, hidden: int, base_resolution: int = 4, stddev_group: int = 4) -> None:
        super().__init__()
        self.stddev_group = stddev_group
        self.conv = Layer(channels + (stddev_group > 0), channels)
        self.dense = EqualizedConv2d(channels, hidden, base_resolution, padding=0)
        self.logit = EqualizedLinear(hidden, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:  # [N, C, R, R] -> [N] float32
        """Judge features of the base grid."""
        if self.stddev_group:
            x = minibatch_stddev(x, self.stddev_group)
        x = F.leaky_relu(self.dense(self.conv(x)), 0.2).flatten(1)
        return in_full_precision(self.logit, x).squeeze(1)


class GrowingDiscriminator(nn.Module):
    """Encoder trunk without normalisation, and a head on its features of the base resolution.

    Args:
        encoder: the trunk.
        head: features of the base grid to logits.
        stddev_group: group size of the head's minibatch statistic, 0 for none.
    """

    def __init__(self, encoder: GrowingEncoder, head: nn.Module, stddev_group: int) -> None:
        super().__init__()
        self.stddev_group = stddev_group
        self.encoder, self.head = encoder, head

    def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor:
        """Judge pictures.

        Args:
            x: pictures in [-1, 1]; H and W are multiples of 2^stage.  # [N, image_channels, H, W]
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1].

        Returns:
            Logits, float32 at least: [N] with a dense head, [N, 1, H / 2^stage, W / 2^stage] with a patch head.
        """
        logits: Tensor = self.head(self.encoder(x, stage, alpha)[0])
        return logits


class PgganDiscriminator(GrowingDiscriminator):
    """Encoder trunk without normalisation, and the dense head.

    Args:
        channels: features of every stage, base first.
        hidden: features of the head's dense layer.
        base_resolution: side of stage 0.
        image_channels: channels of the pictures.
        rgb: how the stages' from_rgb join, ``replace`` (the paper) or ``sum``.
        stddev_group: group size of the minibatch statistic, 0 for none.
    """

    def __init__(
        self,
        channels: Sequence[int],
        hidden: int,
        base_resolution: int = 4,
        image_channels: int = 3,
        rgb: Rgb = "replace",
        stddev_group: int = 4,
    ) -> None:
        encoder = GrowingEncoder(channels, image_channels, rgb)
        super().__init__(encoder, DenseHead(channels[0], hidden, base_resolution, stddev_group), stddev_group)
