"""The networks of PG-GAN (Karras et al. 2018, appendix A.1, table 2)."""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from progcycle.blocks import EqualizedLinear, GroupSize, Initialization, Norm, pixel_norm
from progcycle.networks.base import Network, TaskShape
from progcycle.networks.discriminator import (
    BatchComparison,
    DenseHead,
    GrowingDiscriminator,
    GrowingDiscriminatorOptions,
)
from progcycle.networks.layers import Activation, Layer, Style, apply_initialization
from progcycle.networks.trunks import Convs, GrowingDecoder, GrowingEncoder, Rgb, TrunkOptions, check_blend
from progcycle.resolution import Resolution, Sides


class PgganGeneratorOptions(TrunkOptions):
    """Options of the generator of PG-GAN; latents always have pixel norm."""

    always_normed: ClassVar[bool] = True
    latent_size: int = Field(512, ge=1, le=1 << 16, description="random numbers that a picture is painted from")
    convs: Convs = Field(2, description="3x3 convolutions of a stage")
    rgb_kernel: Literal[1, 3] = Field(1, description="side of the to_rgb kernels")
    tanh: bool = Field(False, description="bound pictures by tanh; the paper's are linear")
    fused_scale: bool = Field(False, description="one strided convolution for resampling and the 3x3 beside it")
    dense_bias: Literal["channel", "unit"] = Field(
        "channel", description="of the first layer: one for each feature map, or for each unit as in pytorch_GAN_zoo"
    )

    @model_validator(mode="after")
    def _whole_pictures(self) -> Self:
        if self.tanh and self.rgb == "sum":
            raise ValueError("tanh bounds a whole picture, not the sum of rgb: sum; use replace")
        check_blend(self.rgb, self.rgb_kernel)
        return self

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`."""
        return {
            "base_resolution": shape.base_resolution,
            **shape.channels,
            "convs": self.convs,
            "fused": self.fused_scale,
            "classes": shape.classes,
            **self.trunk(shape),
            "latent_size": self.latent_size,
            "rgb_kernel": self.rgb_kernel,
            "tanh": self.tanh,
            **({} if self.dense_bias == "channel" else {"dense_bias": self.dense_bias}),
        }


class PgganGenerator(Network):
    """Latent stem and decoder trunk; the output is linear, unless ``tanh``.

    Args:
        channels: features of every stage, base first.
        latent_size: numbers in a latent.
        base_resolution: side of stage 0, or its height and width.
        image_channels: channels of the pictures.
        rgb: how the stages' pictures join, ``replace`` (the paper), ``sum`` or ``features``.
        normalize: kind of normalisation; latents always have pixel norm.
        epsilon: added to the mean square in pixel norm.
        equalized: whether weights are scaled at run time.
        slope: of the leaky ReLU.
        convs: 3x3 convolutions of a stage; with 1, the base stage has none, as in the MNIST networks of appendix D.
        rgb_kernel: side of the to_rgb kernels.
        tanh: whether each to_rgb is bounded by tanh.
        fused: whether enlargements are fused with the convolutions behind them; the same function.
        classes: number of classes whose one-hot labels join the latents, 0 for none.
        initialization: ``he``, or ``normal`` for N(0, 0.02^2) without equalized.
        dense_bias: of the first layer: one for each ``channel``, or for each ``unit``.

    Raises:
        ValueError: ``tanh`` with ``rgb`` = ``sum``, ``normal`` with equalized, or ``rgb`` = ``features`` with channels
            that differ or ``rgb_kernel`` = 3.
    """

    Options = PgganGeneratorOptions
    has_classes = True

    def __init__(
        self,
        channels: Sequence[int],
        latent_size: int = 512,
        base_resolution: Sides = 4,
        image_channels: int = 3,
        rgb: Rgb = "replace",
        normalize: Norm = "pixel",
        epsilon: float = 1e-8,
        equalized: bool = True,
        slope: float = 0.2,
        convs: Convs = 2,
        rgb_kernel: Literal[1, 3] = 1,
        tanh: bool = False,
        fused: bool = False,
        classes: int = 0,
        initialization: Initialization = "he",
        dense_bias: Literal["channel", "unit"] = "channel",
    ) -> None:
        super().__init__()
        style = Style(normalize, epsilon, equalized, slope)
        self.latent_size, self.classes = latent_size, classes
        self.base_resolution, self.epsilon = Resolution.of(base_resolution), epsilon
        # sqrt(2) / 4 at 4x4: the paper's layer is a 4x4 convolution of a 1x1 map, with that fan-in.
        cells = self.base_resolution.pixels
        gain = math.sqrt(2) / math.sqrt(cells)
        self.dense = EqualizedLinear(latent_size + classes, channels[0] * cells, gain, bias=False, equalized=equalized)
        sides = self.base_resolution.shape if dense_bias == "unit" else (1, 1)
        self.bias = nn.Parameter(torch.zeros(channels[0], *sides))
        self.activation = Activation(channels[0], style)
        self.conv = Layer(channels[0], channels[0], style=style) if convs == 2 else None
        self.decoder = GrowingDecoder(
            channels,
            image_channels,
            rgb,
            style=style,
            convs=convs,
            fused=fused,
            rgb_kernel=rgb_kernel,
            tanh=tanh,
        )
        apply_initialization(self, initialization, equalized)

    def forward(self, latents: Tensor, stage: int, alpha: float, labels: Tensor | None = None) -> Tensor:
        """Paint pictures from latents.

        Args:
            latents: drawn from N(0, I); normalised here to a mean square of 1.  # [N, latent_size]
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1].
            labels: one-hot rows, if there are classes; normalised together with the latents, as in the official
                TensorFlow code.  # [N, classes]

        Returns:
            Pictures in about [-1, 1], float32 at least.  # [N, image_channels, H, W], base_resolution * 2^stage

        Raises:
            ValueError: labels are missing, of another shape, or given to a generator without classes.
        """
        x = pixel_norm(self._with_labels(latents, labels), self.epsilon)
        x = self.dense(x).reshape(-1, self.bias.shape[0], *self.base_resolution.shape)
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.activation(x + self.bias)
        picture: Tensor = self.decoder(x if self.conv is None else self.conv(x), stage, alpha)
        return picture

    def newest(self, stage: int) -> dict[str, nn.Module]:
        """Of the trunk."""
        return self.decoder.newest(stage)

    def growing_decoder(self) -> GrowingDecoder:
        """The decoder trunk."""
        return self.decoder

    def _with_labels(self, latents: Tensor, labels: Tensor | None) -> Tensor:
        given = None if labels is None else list(labels.shape)
        if given != ([latents.shape[0], self.classes] if self.classes else None):
            raise ValueError(f"a generator of {self.classes} classes got {latents.shape[0]} latents and labels {given}")
        return latents if labels is None else torch.cat([latents, labels.to(latents.dtype)], dim=1)


class PgganDiscriminatorOptions(GrowingDiscriminatorOptions):
    """Options of the discriminator of PG-GAN."""

    convs: Convs = Field(2, description="3x3 convolutions of a stage; with 1, the head has none")
    fused_scale: bool = Field(False, description="one strided convolution for resampling and the 3x3 beside it")

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`."""
        return {
            **self.discriminator_arguments(shape),
            "convs": self.convs,
            "fused": self.fused_scale,
            "classes": shape.classes,
        }


class PgganDiscriminator(GrowingDiscriminator):
    """Encoder trunk, and the dense head; by default without normalisation.

    Args:
        channels: features of every stage, base first.
        hidden: features of the head's dense layer.
        base_resolution: side of stage 0, or its height and width.
        image_channels: channels of the pictures.
        rgb: how the stages' from_rgb join, ``replace`` (the paper) or ``sum``.
        stddev_group: group size of the minibatch statistic, 0 for none.
        averaging: what the statistic is averaged over.
        gather: whether the batches of all processes are compared together.
        kernels: kernels of minibatch discrimination, 0 for none.
        dimensions: numbers in which a kernel compares two pictures.
        normalize: kind of normalisation; the paper has none.
        epsilon: added to the mean square in pixel norm.
        equalized: whether weights are scaled at run time.
        slope: of the leaky ReLU.
        convs: 3x3 convolutions of a stage; with 1, the head has none.
        fused: whether convolutions are fused with the pooling behind them, see :class:`GrowingEncoder`.
        classes: number of classes to tell apart besides (Odena et al. 2017), 0 for none.
        initialization: ``he``, or ``normal`` for N(0, 0.02^2) without equalized.
        spectral_norm: whether every layer's weights have a largest singular value of 1.

    Raises:
        ValueError: an unknown ``averaging``, groups of features that do not divide the channels, or ``normal`` with
            equalized.
    """

    Options = PgganDiscriminatorOptions
    has_classes = True

    def __init__(
        self,
        channels: Sequence[int],
        hidden: int,
        base_resolution: Sides = 4,
        image_channels: int = 3,
        rgb: Rgb = "replace",
        stddev_group: GroupSize = 4,
        averaging: str = "all",
        gather: bool = False,
        kernels: int = 0,
        dimensions: int = 5,
        normalize: Norm = "none",
        epsilon: float = 1e-8,
        equalized: bool = True,
        slope: float = 0.2,
        convs: Convs = 2,
        fused: bool = False,
        classes: int = 0,
        initialization: Initialization = "he",
        spectral_norm: bool = False,
    ) -> None:
        style = Style(normalize, epsilon, equalized, slope)
        variation = BatchComparison(stddev_group, averaging, gather, kernels, dimensions)
        encoder = GrowingEncoder(channels, image_channels, rgb, style, convs, fused)
        head = DenseHead(channels[0], hidden, base_resolution, variation, style, convs, classes)
        super().__init__(encoder, head, style, initialization, spectral_norm)
