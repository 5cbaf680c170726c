"""A decoder and an auto-encoder made of the growing trunks, for BEGAN: they grow where its own networks do not.

The bottleneck lies at the base resolution, so that it has the same size at every stage: encoder trunk, ``latent_size``
numbers, decoder trunk.
"""

from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from progcycle.blocks import EqualizedLinear, Initialization, Norm, in_full_precision
from progcycle.networks.base import Network, TaskShape
from progcycle.networks.layers import SLOPE, Layer, Layers, Nonlinearity, Style, apply_initialization
from progcycle.networks.trunks import Convs, GrowingDecoder, GrowingEncoder, Rgb, TrunkOptions, check_blend
from progcycle.resolution import Resolution, Sides
from progcycle.rng import Distribution


class GrowingAutoencoderOptions(TrunkOptions):
    """Options of both networks."""

    normalization: Norm = Field("none", description="what follows the convolutions; default: none, as in BEGAN")
    nonlinearity: Nonlinearity = Field("elu", description="elu, or leaky_relu")
    latent_size: int = Field(64, ge=1, le=1 << 16, description="numbers of a latent, or of the bottleneck")
    convs: Convs = Field(2, description="3x3 convolutions of a stage")
    rgb_kernel: Literal[1, 3] = Field(3, description="side of the to_rgb kernels")

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.slope != SLOPE and self.nonlinearity == "elu":
            raise ValueError("slope belongs to nonlinearity: leaky_relu, not to elu; leave it out")
        check_blend(self.rgb, self.rgb_kernel)
        return self

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`."""
        return {
            "base_resolution": shape.base_resolution,
            **shape.channels,
            **self.trunk(shape),
            "nonlinearity": self.nonlinearity,
            "latent_size": self.latent_size,
            "convs": self.convs,
            "rgb_kernel": self.rgb_kernel,
        }


class GrowingGeneratorOptions(GrowingAutoencoderOptions):
    """Options of the generator."""

    distribution: Distribution = Field("uniform", description="of latents: uniform in [-1, 1], or normal")

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`."""
        return {**super().arguments(shape), "distribution": self.distribution}


class LatentDecoder(nn.Module):
    """From latents to pictures: a linear dense layer, convolutions at the base resolution, and the decoder trunk.

    Args:
        channels: features of every stage, base first.
        latent_size: numbers of a latent.
        base_resolution: side of stage 0, or its height and width.
        image_channels: channels of the pictures.
        rgb: how the stages' pictures join.
        style: of all layers but the dense one and the to_rgb, which are linear.
        convs: 3x3 convolutions of a stage, the base included.
        rgb_kernel: side of the to_rgb kernels.
    """

    def __init__(
        self,
        channels: Sequence[int],
        latent_size: int,
        base_resolution: Sides,
        image_channels: int,
        rgb: Rgb,
        style: Style,
        convs: Convs,
        rgb_kernel: Literal[1, 3],
    ) -> None:
        super().__init__()
        self.base_resolution = Resolution.of(base_resolution)
        features = channels[0] * self.base_resolution.pixels
        self.dense = EqualizedLinear(latent_size, features, gain=1.0, equalized=style.equalized)
        self.base = Layers(*(Layer(channels[0], channels[0], style=style) for _ in range(convs)))
        self.decoder = GrowingDecoder(channels, image_channels, rgb, style=style, convs=convs, rgb_kernel=rgb_kernel)

    def forward(self, latents: Tensor, stage: int, alpha: float) -> Tensor:
        """Paint pictures of a stage.  # [N, latent_size] -> [N, image_channels, H, W]"""
        x, grid = in_full_precision(self.dense, latents), self.base_resolution
        x = x.reshape(-1, x.shape[1] // grid.pixels, *grid.shape)
        picture: Tensor = self.decoder(self.base(x.contiguous(memory_format=torch.channels_last)), stage, alpha)
        return picture


class GrowingGenerator(Network):
    """The generator: :class:`LatentDecoder`.

    Args:
        channels: features of every stage, base first.
        latent_size: numbers of a latent.
        base_resolution: side of stage 0, or its height and width.
        image_channels: channels of the pictures.
        rgb: how the stages' pictures join, ``replace``, ``sum`` or ``features``.
        normalize: kind of normalisation.
        epsilon: added to the mean square in pixel norm.
        equalized: whether weights are scaled at run time.
        slope: of the leaky ReLU.
        nonlinearity: ELU, or the leaky ReLU.
        convs: 3x3 convolutions of a stage.
        rgb_kernel: side of the to_rgb kernels.
        initialization: ``he``, or ``normal`` for N(0, 0.02^2) without equalized.
        distribution: what latents are drawn from.

    Raises:
        ValueError: ``normal`` with equalized, or ``rgb`` = ``features`` with channels that differ or an ``rgb_kernel``
            of 3.
    """

    Options = GrowingGeneratorOptions

    def __init__(
        self,
        channels: Sequence[int],
        latent_size: int = 64,
        base_resolution: Sides = 4,
        image_channels: int = 3,
        rgb: Rgb = "replace",
        normalize: Norm = "none",
        epsilon: float = 1e-8,
        equalized: bool = True,
        slope: float = SLOPE,
        nonlinearity: Nonlinearity = "elu",
        convs: Convs = 2,
        rgb_kernel: Literal[1, 3] = 3,
        initialization: Initialization = "he",
        distribution: Distribution = "uniform",
    ) -> None:
        super().__init__()
        style = Style(normalize, epsilon, equalized, slope, nonlinearity)
        self.latent_size, self.distribution = latent_size, distribution
        self.painter = LatentDecoder(
            channels, latent_size, base_resolution, image_channels, rgb, style, convs, rgb_kernel
        )
        apply_initialization(self, initialization, equalized)

    def newest(self, stage: int) -> dict[str, nn.Module]:
        """Of the trunk."""
        return self.painter.decoder.newest(stage)

    def growing_decoder(self) -> GrowingDecoder:
        """The decoder trunk."""
        return self.painter.decoder

    def forward(self, latents: Tensor, stage: int, alpha: float) -> Tensor:
        """Paint pictures from latents.

        Args:
            latents: uniform in [-1, 1], or N(0, I).  # [N, latent_size]
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1].

        Returns:
            Pictures in about [-1, 1], float32 at least.  # [N, image_channels, H, W], base_resolution * 2^stage
        """
        picture: Tensor = self.painter(latents, stage, alpha)
        return picture


class GrowingAutoencoder(Network):
    """The discriminator: encoder trunk, ``latent_size`` numbers, :class:`LatentDecoder`.

    At alpha 0 it restores the picture that the stage before made of the reduced one, enlarged, whatever the picture:
    D(x, s, 0) = up(D(down(x), s - 1, 1)).

    Args:
        channels: features of every stage, base first, of both trunks.
        latent_size: numbers of the bottleneck.
        base_resolution, image_channels, rgb, normalize, epsilon, equalized, slope, nonlinearity, convs, rgb_kernel,
            initialization: as of :class:`GrowingGenerator`.

    Raises:
        ValueError: see there.
    """

    Options = GrowingAutoencoderOptions

    def __init__(
        self,
        channels: Sequence[int],
        latent_size: int = 64,
        base_resolution: Sides = 4,
        image_channels: int = 3,
        rgb: Rgb = "replace",
        normalize: Norm = "none",
        epsilon: float = 1e-8,
        equalized: bool = True,
        slope: float = SLOPE,
        nonlinearity: Nonlinearity = "elu",
        convs: Convs = 2,
        rgb_kernel: Literal[1, 3] = 3,
        initialization: Initialization = "he",
    ) -> None:
        super().__init__()
        style = Style(normalize, epsilon, equalized, slope, nonlinearity)
        self.encoder = GrowingEncoder(channels, image_channels, rgb, style, convs)
        self.base = Layers(*(Layer(channels[0], channels[0], style=style) for _ in range(convs)))
        self.dense = EqualizedLinear(
            channels[0] * Resolution.of(base_resolution).pixels, latent_size, gain=1.0, equalized=equalized
        )
        self.painter = LatentDecoder(
            channels, latent_size, base_resolution, image_channels, rgb, style, convs, rgb_kernel
        )
        apply_initialization(self, initialization, equalized)

    def newest(self, stage: int) -> dict[str, nn.Module]:
        """Of both trunks."""
        trunks: dict[str, GrowingEncoder | GrowingDecoder] = {"encoder": self.encoder, "decoder": self.painter.decoder}
        return {f"{name}.{key}": m for name, trunk in trunks.items() for key, m in trunk.newest(stage).items()}

    def encode(self, x: Tensor, stage: int, alpha: float) -> Tensor:
        """The bottleneck of pictures, float32 at least.  # [N, image_channels, H, W] -> [N, latent_size]"""
        x = self.base(self.encoder(x, stage, alpha)[0])
        return in_full_precision(self.dense, x.flatten(1))

    def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor:
        """Restore pictures.

        Args:
            x: pictures in [-1, 1].  # [N, image_channels, H, W], base_resolution * 2^stage
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1].

        Returns:
            Pictures of the same shape, float32 at least.
        """
        picture: Tensor = self.painter(self.encode(x, stage, alpha), stage, alpha)
        return picture
