"""The growing networks of the translation task: encoder, decoder and discriminator grow together."""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from progcycle.blocks import EqualizedConv2d, full_precision, in_full_precision, minibatch_stddev
from progcycle.networks.pggan import DenseHead, GrowingDiscriminator
from progcycle.networks.trunks import GrowingDecoder, GrowingEncoder, Layer, Rgb


class ResidualBlock(nn.Module):
    """x + f(x), f being two 3x3 layers with pixel norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Layer(channels, channels, normalize=True),
            Layer(channels, channels, normalize=True),
        )

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H, W]
        """Apply the block."""
        out: Tensor = x + self.layers(x)
        return out


class ProgressiveTranslator(nn.Module):
    """Encoder trunk, residual bottleneck at the base resolution, decoder trunk.

    The input is expected to be faded already, like everything that the networks see: it is not faded again in here.

    Args:
        channels: features of every stage, base first.
        in_channels: channels of the pictures that come in.
        out_channels: channels of the pictures that go out.
        residual_blocks: blocks of the bottleneck.
        skips: hand the encoder's features to the decoder at every stage but the base.
        predict: ``picture``, or ``change``: the decoder paints what is added to the input, starting from nothing
            (its to_rgb layers begin at zero weights).
        rgb: how the stages' pictures join, ``replace`` or ``sum``.

    Raises:
        ValueError: ``predict`` is ``change`` and the channels differ.
    """

    def __init__(
        self,
        channels: Sequence[int],
        in_channels: int = 3,
        out_channels: int = 3,
        residual_blocks: int = 4,
        skips: bool = True,
        predict: Literal["picture", "change"] = "picture",
        rgb: Rgb = "replace",
    ) -> None:
        super().__init__()
        self.change = predict == "change"
        if self.change and in_channels != out_channels:
            raise ValueError(f"predict 'change' needs equal channels, got {in_channels} and {out_channels}")
        self.skips = skips
        self.encoder = GrowingEncoder(channels, in_channels, rgb, normalize=True)
        self.bottleneck = nn.Sequential(*(ResidualBlock(channels[0]) for _ in range(residual_blocks)))
        self.decoder = GrowingDecoder(channels, out_channels, rgb, skips, zero=self.change)

    def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor:
        """Translate pictures.

        Args:
            x: pictures in [-1, 1]; H and W are multiples of 2^stage.  # [N, in_channels, H, W]
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1].

        Returns:
            Pictures in about [-1, 1], float32 at least.  # [N, out_channels, H, W]
        """
        features = self.encoder(x, stage, alpha)
        h = self.bottleneck(features[0])
        painted: Tensor = self.decoder(h, stage, alpha, features if self.skips else None)
        return full_precision(x) + painted if self.change else painted


class PatchHead(nn.Module):
    """A logit for every place of the base grid, as PatchGAN (Isola et al. 2017), with the stddev channel as an option.

    Args:
        channels: features of the base stage.
        stddev_group: group size of the minibatch statistic, 0 for none.
    """

    def __init__(self, channels: int, stddev_group: int = 0) -> None:
        super().__init__()
        self.stddev_group = stddev_group
        self.conv = Layer(channels + (stddev_group > 0), channels)
        self.logit = EqualizedConv2d(channels, 1, 1, gain=1.0)

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, 1, H, W] float32
        """Judge features of the base grid."""
        if self.stddev_group:
            x = minibatch_stddev(x, self.stddev_group)
        return in_full_precision(self.logit, self.conv(x))


class ProgressiveDiscriminator(GrowingDiscriminator):
    """Encoder trunk without normalisation, with a patch head or the dense head of PG-GAN.

    Args:
        channels: features of every stage, base first.
        image_channels: channels of the pictures.
        head: ``patch`` (any picture size) or ``dense`` (the base grid only).
        hidden: features of the dense head's dense layer.
        base_resolution: side of stage 0, for the dense head.
        rgb: how the stages' from_rgb join, ``replace`` or ``sum``.
        stddev_group: group size of the minibatch statistic, 0 for none.
    """

    def __init__(
        self,
        channels: Sequence[int],
        image_channels: int = 3,
        head: Literal["patch", "dense"] = "patch",
        hidden: int = 512,
        base_resolution: int = 8,
        rgb: Rgb = "replace",
        stddev_group: int = 4,
    ) -> None:
        encoder = GrowingEncoder(channels, image_channels, rgb)
        ending: nn.Module = (
            PatchHead(channels[0], stddev_group)
            if head == "patch"
            else DenseHead(channels[0], hidden, base_resolution, stddev_group)
        )
        super().__init__(encoder, ending, stddev_group)
