"""The networks of DCGAN (Radford et al. 2016) in its two lineages, and the convolutional ones of WGAN-GP.

None of them grows. At R pixels there are log2(R / 4) layers that double or halve the size; the widest has
filters * R / 8 feature maps. Other sizes than powers of two begin and end at another grid than 4x4, see ``grid_of``.
ReLU in generators, leaky ReLU of slope 0.2 in discriminators, tanh at the end.

=================== ============================ ======================== ===============================
                    ``dcgan``                    ``dcgan_theano``         ``wgan_gp``
=================== ============================ ======================== ===============================
from                dcgan.torch, PyTorch's       Newmu/dcgan_code, faces  improved_wgan_training, CIFAR-10
kernels             4x4                          5x5                      5x5
first of generator  4x4 transposed convolution   dense, unit by unit      dense, unit by unit
last of critic      4x4 convolution              dense                    dense
biases              none                         none                     everywhere
weights             N(0, 0.02^2)                 N(0, 0.02^2)             uniform: He, dense ones Glorot
norm of the critic  batch, not of first layer    batch, the same          none
=================== ============================ ======================== ===============================

Batch norm's weights begin at N(1, 0.02^2), in ``wgan_gp`` at 1. Unit by unit means that batch norm has a mean for each
unit of the dense layer, not for each feature map.

TensorFlow pads 5x5 convolutions of stride 2 by 1 in front and 2 behind, torch by 2 and 1: mirror images of each other.
"""

import itertools
import math
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from progcycle.blocks import draw_normal, in_full_precision, make_norm
from progcycle.networks.latent_generator import (
    REFERENCE,
    FixedBatchOptions,
    GeneratorNorm,
    LatentGenerator,
    LatentGeneratorOptions,
    Statistics,
)
from progcycle.networks.one_size import OneSizeOptions, PlainCritic
from progcycle.resolution import Resolution, Sides
from progcycle.rng import Distribution

CriticNorm = Literal["batch", "layer", "none"]
SLOPE = 0.2
SMALLEST = 8  # one doubling from 4x4


def widths(filters: int, resolution: Sides) -> list[int]:
    """Feature maps at 4x4, 8x8 and so on, but for the picture: [4 F, 2 F, F] at 32 px."""
    return [filters << i for i in reversed(range(grid_of(resolution)[1]))]


def grid_of(resolution: Sides) -> tuple[Resolution, int]:
    """The grid that pictures of a resolution begin or end at, with a shorter side of 4 to 7, and its doublings.

    Raises:
        ValueError: no such grid, doubled, gives the resolution.
    """
    size = Resolution.of(resolution)
    doublings = (max(int(size), SMALLEST) // 4).bit_length() - 1
    grid = size >> doublings
    if size >= SMALLEST and (grid << doublings).shape != size.shape:
        raise ValueError(
            f"name: this network halves pictures {doublings} times, which leaves a rest at {size} px; choose another, "
            f"or a resolution of multiples of {1 << doublings} px"
        )
    return grid, doublings


@torch.no_grad()
def draw_uniform(layer: nn.Module, glorot: bool = False) -> None:
    """Draw weights as the code of WGAN-GP does, uniformly, with variance 4 / (fan_in + fan_out), or 2 with Glorot.

    With stride s, fan_out is divided by s^2, and of a transposed convolution fan_in is. Biases are 0.

    Args:
        layer: a convolution or a dense layer.
        glorot: for a layer without a ReLU behind it (Glorot and Bengio 2010), and not as He et al. 2015.
    """
    if isinstance(layer, nn.Linear):
        fan_in, fan_out = float(layer.in_features), float(layer.out_features)
    else:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        area, steps = math.prod(layer.kernel_size), math.prod(layer.stride)
        fan_in, fan_out = layer.in_channels * area, layer.out_channels * area
        if layer.transposed:
            fan_in /= steps
        else:
            fan_out /= steps
    bound = math.sqrt(3 * (2 if glorot else 4) / (fan_in + fan_out))
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class ConvolutionalGenerator(LatentGenerator):
    """A generator of one of the lineages; see the table above.

    Args:
        kernel: side of the kernels that double the size: 4, with a 4x4 transposed convolution first, or 5, with a dense
            layer first whose units are normalised each by itself.
        bias: whether layers have biases.
        resolution: R of squares, or height and width.
        image_channels: channels of the pictures.
        filters: feature maps in front of the last layer.
        options: see :class:`LatentGenerator`.
    """

    def __init__(
        self, kernel: Literal[4, 5], bias: bool, resolution: Sides, image_channels: int, filters: int, **options: Any
    ) -> None:
        super().__init__(**options)
        self.smallest, maps = SMALLEST, widths(filters, resolution)
        self.grid = grid_of(resolution)[0]
        self.stem: nn.Module
        if kernel == 4:
            self.stem = nn.ConvTranspose2d(self.latent_size, maps[0], self.grid.shape, bias=bias)
        else:
            self.stem = nn.Linear(self.latent_size, self.grid.pixels * maps[0], bias=bias)
            self.needs_two_pictures = self.normalization == "batch"
        self.stem_norm = nn.Sequential(*self.norm(maps[0] if kernel == 4 else self.grid.pixels * maps[0]), nn.ReLU())
        self.body = nn.Sequential()
        for wide, narrow in itertools.pairwise(maps):
            self.body.extend([_doubling(wide, narrow, kernel, bias), *self.norm(narrow), nn.ReLU()])
        self.to_rgb = _doubling(maps[-1], image_channels, kernel, bias)

    def paint(self, x: Tensor) -> Tensor:
        """See :class:`LatentGenerator`."""
        if isinstance(self.stem, nn.Linear):
            units = self.stem_norm(self.stem(x)[:, :, None, None])
            h = units.reshape(-1, units.shape[1] // self.grid.pixels, *self.grid.shape)
        else:
            h = self.stem_norm(self.stem(x[:, :, None, None]))
        h = self.body(h.contiguous(memory_format=torch.channels_last))
        return in_full_precision(self.to_rgb, h).tanh()


def _doubling(wide: int, narrow: int, kernel: int, bias: bool) -> nn.ConvTranspose2d:
    padding, more = (1, 0) if kernel == 4 else (2, 1)
    return nn.ConvTranspose2d(wide, narrow, kernel, stride=2, padding=padding, output_padding=more, bias=bias)


class ConvolutionalDiscriminator(PlainCritic):
    """A discriminator, or critic, of one of the lineages; see the table above.

    Args:
        kernel: side of the kernels that halve the size: 4, with a 4x4 convolution last, or 5, with a dense layer last.
        bias: whether layers have biases.
        resolution: R of squares, or height and width.
        image_channels: channels of the pictures.
        filters: feature maps of the first layer.
        normalization: ``batch``, ``layer`` or ``none``, but for the first layer and the last.
        epsilon: of batch norm, added to the variance.
    """

    def __init__(
        self,
        kernel: Literal[4, 5],
        bias: bool,
        resolution: Sides,
        image_channels: int,
        filters: int,
        normalization: CriticNorm,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.smallest, self.normalization = SMALLEST, normalization
        maps = widths(filters, resolution)[::-1]
        self.body = nn.Sequential(_halving(image_channels, maps[0], kernel, bias), nn.LeakyReLU(SLOPE))
        for narrow, wide in itertools.pairwise(maps):
            norm = make_norm(normalization, wide)
            if isinstance(norm, nn.BatchNorm2d):
                norm.eps = epsilon
            behind = [] if norm is None else [norm]
            self.body.extend([_halving(narrow, wide, kernel, bias), *behind, nn.LeakyReLU(SLOPE)])
        grid = grid_of(resolution)[0]
        self.logit = (
            nn.Conv2d(maps[-1], 1, grid.shape, bias=bias)
            if kernel == 4
            else nn.Linear(grid.pixels * maps[-1], 1, bias=bias)
        )

    def before_logit(self, x: Tensor) -> Tensor:
        """See :class:`PlainCritic`."""
        h: Tensor = self.body(x)
        return h.flatten(1) if isinstance(self.logit, nn.Linear) else h


def _halving(narrow: int, wide: int, kernel: int, bias: bool) -> nn.Conv2d:
    return nn.Conv2d(narrow, wide, kernel, stride=2, padding=kernel // 2 - (kernel == 4), bias=bias)


class CriticOptions(OneSizeOptions):
    """Options of discriminators that do not grow."""

    filters: int = Field(64, ge=1, le=1 << 12, description="feature maps of the first layer")
    normalization: CriticNorm = Field("batch", description="batch, layer or none; not of the first layer")


# --- dcgan ----------------------------------------------------------------------------------------------------------


class DcganGeneratorOptions(LatentGeneratorOptions):
    """Options of the generator of dcgan.torch; the paper's latents are uniform."""

    latent_size: int = Field(100, ge=1, le=1 << 16, description="random numbers that a picture is painted from")


class DcganGenerator(ConvolutionalGenerator):
    """The generator of dcgan.torch and of PyTorch's examples; arguments as :class:`ConvolutionalGenerator` has them."""

    Options = DcganGeneratorOptions

    def __init__(
        self,
        resolution: Sides = 64,
        image_channels: int = 3,
        latent_size: int = 100,
        distribution: Distribution = "normal",
        filters: int = 64,
        normalization: GeneratorNorm = "batch",
        statistics: Statistics = "running",
        reference_batch: int = REFERENCE,
    ) -> None:
        super().__init__(
            4, False, resolution, image_channels, filters, latent_size=latent_size, distribution=distribution,
            normalization=normalization, statistics=statistics, reference_batch=reference_batch,
        )  # fmt: skip
        draw_normal(self)


class DcganDiscriminatorOptions(CriticOptions):
    """Options of the discriminator of dcgan.torch."""


class DcganDiscriminator(ConvolutionalDiscriminator):
    """The discriminator of dcgan.torch; arguments as :class:`ConvolutionalDiscriminator` has them."""

    Options = DcganDiscriminatorOptions

    def __init__(
        self, resolution: Sides = 64, image_channels: int = 3, filters: int = 64, normalization: CriticNorm = "batch"
    ) -> None:
        super().__init__(4, False, resolution, image_channels, filters, normalization)
        draw_normal(self)


# --- dcgan_theano ---------------------------------------------------------------------------------------------------

THEANO_EPSILON = 1e-8


class TheanoDcganGeneratorOptions(FixedBatchOptions):
    """Options of the generator of the authors' Theano code, for faces."""

    latent_size: int = Field(100, ge=1, le=1 << 16, description="random numbers that a picture is painted from")
    distribution: Distribution = Field("uniform", description="of latents: uniform in [-1, 1], or normal")
    filters: int = Field(128, ge=1, le=1 << 12, description="feature maps in front of the last layer")


class TheanoDcganGenerator(ConvolutionalGenerator):
    """The generator of the authors' Theano code; arguments as :class:`ConvolutionalGenerator` has them."""

    Options = TheanoDcganGeneratorOptions

    def __init__(
        self,
        resolution: Sides = 64,
        image_channels: int = 3,
        latent_size: int = 100,
        distribution: Distribution = "uniform",
        filters: int = 128,
        normalization: GeneratorNorm = "batch",
        statistics: Statistics = "batch",
        reference_batch: int = REFERENCE,
    ) -> None:
        super().__init__(
            5, False, resolution, image_channels, filters, latent_size=latent_size, distribution=distribution,
            normalization=normalization, statistics=statistics, reference_batch=reference_batch,
            epsilon=THEANO_EPSILON,
        )  # fmt: skip
        draw_normal(self)


class TheanoDcganDiscriminatorOptions(CriticOptions):
    """Options of the discriminator of the authors' Theano code."""

    filters: int = Field(128, ge=1, le=1 << 12, description="feature maps of the first layer")


class TheanoDcganDiscriminator(ConvolutionalDiscriminator):
    """The discriminator of the authors' Theano code; arguments as :class:`ConvolutionalDiscriminator` has them."""

    Options = TheanoDcganDiscriminatorOptions

    def __init__(
        self, resolution: Sides = 64, image_channels: int = 3, filters: int = 128, normalization: CriticNorm = "batch"
    ) -> None:
        super().__init__(5, False, resolution, image_channels, filters, normalization, THEANO_EPSILON)
        draw_normal(self)


# --- wgan_gp --------------------------------------------------------------------------------------------------------


class WganGpGeneratorOptions(FixedBatchOptions):
    """Options of the generator of WGAN-GP for CIFAR-10; that for MNIST has no norm, and pictures of one channel."""

    filters: int = Field(128, ge=1, le=1 << 12, description="feature maps in front of the last layer")


class WganGpGenerator(ConvolutionalGenerator):
    """The generator of WGAN-GP for CIFAR-10; arguments as :class:`ConvolutionalGenerator` has them."""

    Options = WganGpGeneratorOptions

    def __init__(
        self,
        resolution: Sides = 32,
        image_channels: int = 3,
        latent_size: int = 128,
        distribution: Distribution = "normal",
        filters: int = 128,
        normalization: GeneratorNorm = "batch",
        statistics: Statistics = "batch",
        reference_batch: int = REFERENCE,
    ) -> None:
        super().__init__(
            5, True, resolution, image_channels, filters, latent_size=latent_size, distribution=distribution,
            normalization=normalization, statistics=statistics, reference_batch=reference_batch,
        )  # fmt: skip
        _draw(self)


class WganGpCriticOptions(CriticOptions):
    """Options of the critic of WGAN-GP for CIFAR-10 and MNIST."""

    filters: int = Field(128, ge=1, le=1 << 12, description="feature maps of the first layer")
    normalization: CriticNorm = Field("none", description="layer or none; batch is not for a gradient penalty")


class WganGpCritic(ConvolutionalDiscriminator):
    """The critic of WGAN-GP for CIFAR-10; arguments as :class:`ConvolutionalDiscriminator` has them."""

    Options = WganGpCriticOptions

    def __init__(
        self, resolution: Sides = 32, image_channels: int = 3, filters: int = 128, normalization: CriticNorm = "none"
    ) -> None:
        super().__init__(5, True, resolution, image_channels, filters, normalization)
        _draw(self)


def _draw(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            draw_uniform(module, glorot=isinstance(module, nn.Linear))
