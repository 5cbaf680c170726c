"""The networks of CycleGAN (Zhu et al. 2017, section 7.2) as in its published PyTorch code: they do not grow.

They are called like the growing ones, ``forward(x, stage, alpha)``, but need neither stage nor alpha. In the paper's
words, c7s1-k is a 7x7 convolution with stride 1, dk halves the size, uk doubles it, Rk is a residual block, and Ck is a
4x4 convolution that halves the size, all with k filters.
"""

import itertools
import math
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import Initialization, Norm, in_full_precision, normalize_spectrally
from progcycle.networks.base import Network, TaskShape
from progcycle.networks.fixed import LayerMaker, draw_weights
from progcycle.networks.layers import LayerOptions
from progcycle.resolution import Resolution

Upsampling = Literal["transposed", "resize", "blurred"]
Downsampling = Literal["strided", "blurred"]
WIDEST = 8  # times the filters of the first layer


class ReflectedBlock(nn.Module):
    """Rk: x + f(x), f being two 3x3 convolutions with reflection padding, and a ReLU between them.

    Args:
        channels: C of the input and of the output.
        make: makes the layers.
    """

    def __init__(self, channels: int, make: LayerMaker) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, 3, bias=make.bias) for _ in range(2))
        pads = nn.ReflectionPad2d(1), nn.ReflectionPad2d(1)
        self.layers = nn.Sequential(pads[0], make(first, nn.ReLU()), pads[1], make(second))

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H, W]
        """Apply the block; H and W are at least 2."""
        out: Tensor = x + self.layers(x)
        return out


class BlurredHalving(nn.Module):
    """Every second pixel of features blurred by [1, 2, 1] / 4, mirrored at the borders (Zhang 2019), as in CUT.

    Args:
        channels: C of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H/2, W/2]
        """Halve the size; odd sides are rounded up."""
        row = x.new_tensor([0.25, 0.5, 0.25])
        kernel = torch.outer(row, row).expand(self.channels, 1, 3, 3)
        return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), kernel, stride=2, groups=self.channels)


def _halving(conv: nn.Conv2d, downsampling: Downsampling) -> tuple[nn.Conv2d, list[nn.Module]]:
    """A strided convolution, or one of stride 1 and what halves the size behind its activation."""
    if downsampling == "strided":
        return conv, []
    conv.stride = (1, 1)
    return conv, [BlurredHalving(conv.out_channels)]


class ClassicOptions(LayerOptions):
    """Options of all three networks, with their published defaults."""

    normalization: Norm = Field("instance", description="what follows the convolutions")
    initialization: Initialization = Field("normal", description="normal: weights from N(0, 0.02^2), or he")
    filters: int = Field(64, ge=1, le=1 << 12, description="of the first layer")

    def layers_of(self, shape: TaskShape) -> dict[str, Any]:
        """The keywords that all three constructors take."""
        return {
            "filters": self.filters,
            "normalize": self.normalization,
            "epsilon": self.epsilon,
            "initialization": self.initialization,
            **shape.channels,
        }


class ResnetOptions(ClassicOptions):
    """Options of the ResNet translators."""

    residual_blocks: int = Field(9, ge=0, le=1000, description="default: 6, and 9 from 256 px")
    upsampling: Upsampling = Field(
        "transposed",
        description="transposed convolutions; resize: nearest enlargement and a convolution; blurred: bilinear "
        "enlargement and a convolution, as in CUT",
    )
    downsampling: Downsampling = Field(
        "strided", description="strided convolutions; blurred: every second pixel of blurred features, as in CUT"
    )

    @classmethod
    def defaults(cls, resolution: int) -> dict[str, Any]:
        """Residual blocks as in the paper."""
        return {"residual_blocks": 9 if resolution >= 256 else 6}

    def within_range(self, direction: str = "") -> bool:
        """See :class:`NetworkOptions`; tanh bounds the pictures."""
        return True

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`."""
        return {
            **self.layers_of(shape),
            "residual_blocks": self.residual_blocks,
            "upsampling": self.upsampling,
            **({} if self.downsampling == "strided" else {"downsampling": self.downsampling}),
        }


class ResnetTranslator(Network):
    """c7s1-F, d2F, d4F, residual blocks R4F, u2F, uF, c7s1-out, tanh; the paper has 6 blocks at 128 px, 9 from 256 px.

    Args:
        filters: F.
        in_channels: channels of the pictures that come in.
        out_channels: channels of the pictures that go out.
        residual_blocks: how many.
        upsampling: ``transposed`` convolutions as published, or ``resize``: nearest enlargement, reflection padding and
            a 3x3 convolution, which leaves no checkerboard (Odena et al. 2016); or ``blurred``: bilinear enlargement
            and a 3x3 convolution with zeros around.
        downsampling: ``strided`` convolutions as published, or ``blurred``: stride 1, and :class:`BlurredHalving`
            behind the ReLU.
        normalize: kind of normalisation.
        epsilon: added to the mean square in pixel norm.
        initialization: ``he``, or ``normal`` for the published N(0, 0.02^2).
    """

    Options = ResnetOptions
    sizes = "any"

    def __init__(
        self,
        filters: int = 64,
        in_channels: int = 3,
        out_channels: int = 3,
        residual_blocks: int = 9,
        upsampling: Upsampling = "transposed",
        normalize: Norm = "instance",
        epsilon: float = 1e-8,
        initialization: Initialization = "he",
        downsampling: Downsampling = "strided",
    ) -> None:
        super().__init__()
        # Reflection needs more pixels than it adds on a side, and these norms more than one.
        self.smallest = 8 if residual_blocks or normalize in ("batch", "instance") else 4
        make, widths = LayerMaker(normalize, epsilon), [filters, 2 * filters, 4 * filters]
        self.encoder = nn.Sequential(
            nn.ReflectionPad2d(3), make(nn.Conv2d(in_channels, filters, 7, bias=make.bias), nn.ReLU())
        )
        for narrow, wide in itertools.pairwise(widths):
            conv = nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=make.bias)
            conv, behind = _halving(conv, downsampling)
            self.encoder.extend([make(conv, nn.ReLU()), *behind])
        self.bottleneck = nn.Sequential(*(ReflectedBlock(widths[-1], make) for _ in range(residual_blocks)))
        self.decoder = nn.Sequential(
            *(
                layer
                for wide, narrow in itertools.pairwise(reversed(widths))
                for layer in _doubling(wide, narrow, upsampling, make)
            ),
            nn.ReflectionPad2d(3),
        )
        self.to_rgb = nn.Conv2d(filters, out_channels, 7)
        draw_weights(self, initialization, last=self.to_rgb)

    def multiple(self, stage: int) -> int:
        """What the sides of pictures are multiples of."""
        return 4

    def forward(self, x: Tensor, stage: int = 0, alpha: float = 1.0) -> Tensor:
        """Translate pictures.

        Args:
            x: pictures in [-1, 1]; H and W are multiples of 4, and at least 8.  # [N, in_channels, H, W]
            stage: not used.
            alpha: not used.

        Returns:
            Pictures in [-1, 1], float32 at least.  # [N, out_channels, H, W]
        """
        h = self.decoder(self.bottleneck(self.encoder(x)))
        return in_full_precision(self.to_rgb, h).tanh()


def _doubling(wide: int, narrow: int, upsampling: Upsampling, make: LayerMaker) -> list[nn.Module]:
    """Uk."""
    if upsampling == "transposed":
        conv = nn.ConvTranspose2d(wide, narrow, 3, stride=2, padding=1, output_padding=1, bias=make.bias)
        return [make(conv, nn.ReLU())]
    if upsampling == "blurred":
        smooth = nn.Upsample(scale_factor=2, mode="bilinear")
        return [smooth, make(nn.Conv2d(wide, narrow, 3, padding=1, bias=make.bias), nn.ReLU())]
    enlarge = nn.Upsample(scale_factor=2, mode="nearest")
    return [enlarge, nn.ReflectionPad2d(1), make(nn.Conv2d(wide, narrow, 3, bias=make.bias), nn.ReLU())]


class UnetOptions(ClassicOptions):
    """Options of the U-Net translators."""

    slope: float = Field(0.2, ge=0, lt=1, description="of the leaky ReLU on the way down")

    def within_range(self, direction: str = "") -> bool:
        """See :class:`NetworkOptions`; tanh bounds the pictures."""
        return True

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`; pictures are halved until they are one pixel, or a side is odd."""
        common = math.gcd(*Resolution.of(shape.resolution).shape)
        halvings = (common & -common).bit_length() - 1  # twos in both sides
        if halvings < 2:
            raise ValueError(
                f"name: {self.name} halves pictures twice at least, which leaves a rest at {shape.resolution} px; "
                "choose another, or a resolution of multiples of 4 px"
            )
        return {**self.layers_of(shape), "slope": self.slope, "halvings": halvings}


class UnetTranslator(Network):
    """The U-Net of pix2pix (Isola et al. 2017, section 6.1.1): 4x4 convolutions down to one pixel and up again, skips.

    F, 2F, 4F and then 8F features on the way down. Neither the outermost layers nor the single pixel are normalised.

    Args:
        halvings: from the resolution to one pixel, 8 at 256 px; or to an odd side, 6 to 3x3 at 192 px.
        filters: F.
        in_channels: channels of the pictures that come in.
        out_channels: channels of the pictures that go out.
        normalize: kind of normalisation.
        epsilon: added to the mean square in pixel norm.
        slope: of the leaky ReLU on the way down; on the way up it is a ReLU.
        initialization: ``he``, or ``normal`` for the published N(0, 0.02^2).

    Raises:
        ValueError: less than two halvings.
    """

    Options = UnetOptions
    sizes = "one"

    def __init__(
        self,
        halvings: int,
        filters: int = 64,
        in_channels: int = 3,
        out_channels: int = 3,
        normalize: Norm = "instance",
        epsilon: float = 1e-8,
        slope: float = 0.2,
        initialization: Initialization = "he",
    ) -> None:
        super().__init__()
        if halvings < 2:
            raise ValueError(f"a U-Net halves its pictures twice at least, got {halvings}")
        self.smallest, self.slope = 1 << halvings, slope
        make, plain = LayerMaker(normalize, epsilon), LayerMaker("none", epsilon)
        widths = [filters * min(1 << i, WIDEST) for i in range(halvings)]
        inner = list(itertools.pairwise(widths))
        self.down = nn.ModuleList([plain(nn.Conv2d(in_channels, filters, 4, stride=2, padding=1))])
        for i, (narrow, wide) in enumerate(inner):
            single = i == len(inner) - 1  # one pixel in training: its mean is itself
            conv = nn.Conv2d(narrow, wide, 4, stride=2, padding=1, bias=make.bias)
            self.down.append((plain if single else make)(conv))
        self.up = nn.ModuleList()  # innermost first; all but that one take a skip too
        for i, (narrow, wide) in enumerate(reversed(inner)):
            self.up.append(make(nn.ConvTranspose2d(wide << (i > 0), narrow, 4, stride=2, padding=1, bias=make.bias)))
        self.to_rgb = nn.ConvTranspose2d(2 * filters, out_channels, 4, stride=2, padding=1)
        draw_weights(self, initialization, last=self.to_rgb)

    def multiple(self, stage: int) -> int:
        """What the sides of pictures are multiples of."""
        return self.smallest

    def forward(self, x: Tensor, stage: int = 0, alpha: float = 1.0) -> Tensor:
        """Translate pictures.

        Args:
            x: pictures in [-1, 1]; H and W are multiples of 2^halvings.  # [N, in_channels, H, W]
            stage: not used.
            alpha: not used.

        Returns:
            Pictures in [-1, 1], float32 at least.  # [N, out_channels, H, W]
        """
        features = [self.down[0](x)]
        for layer in self.down[1:]:
            features.append(layer(F.leaky_relu(features[-1], self.slope)))
        h = features.pop()
        for layer in self.up:
            h = torch.cat([features.pop(), layer(F.relu(h))], dim=1)
        return in_full_precision(self.to_rgb, F.relu(h)).tanh()


class PatchDiscriminatorOptions(ClassicOptions):
    """Options of PatchGAN."""

    layers: int = Field(
        3, ge=0, le=8, description="layers that halve the size; 3 see patches of 70x70, 0 single pixels (PixelGAN)"
    )
    slope: float = Field(0.2, ge=0, lt=1, description="of the leaky ReLU, where its input is negative")
    spectral_norm: bool = Field(False, description="weights have a largest singular value of 1 (Miyato et al. 2018)")
    downsampling: Downsampling = Field(
        "strided", description="strided convolutions; blurred: every second pixel of blurred features, as in CUT"
    )

    @model_validator(mode="after")
    def _something_to_halve(self) -> Self:
        if not self.layers and self.downsampling != "strided":
            raise ValueError("downsampling is of layers that halve the size, and layers is 0; leave one of them out")
        return self

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`."""
        return {
            **self.layers_of(shape),
            "layers": self.layers,
            "slope": self.slope,
            "spectral_norm": self.spectral_norm,
            **({} if self.downsampling == "strided" else {"downsampling": self.downsampling}),
        }


def _convolutions(filters: int, image_channels: int, layers: int, bias: bool) -> list[nn.Conv2d]:
    """Those of a PatchGAN; the last one makes the logits. ``bias``: of those that are normalised."""
    if not layers:
        return [
            nn.Conv2d(image_channels, filters, 1),
            nn.Conv2d(filters, 2 * filters, 1, bias=bias),
            nn.Conv2d(2 * filters, 1, 1, bias=bias),  # as in the published code
        ]
    widths = [filters * min(1 << i, WIDEST) for i in range(layers + 1)]
    return [
        nn.Conv2d(image_channels, filters, 4, stride=2, padding=1),
        *(
            nn.Conv2d(narrow, wide, 4, stride=2 if i < layers else 1, padding=1, bias=bias)
            for i, (narrow, wide) in enumerate(itertools.pairwise(widths), start=1)
        ),
        nn.Conv2d(widths[-1], 1, 4, padding=1),
    ]


class PatchDiscriminator(Network):
    """PatchGAN (Isola et al. 2017, section 6.1.2): C64-C128-C256-C512, then a logit for every place.

    The last C keeps the size. A logit sees 70x70 pixels with three layers, 16, 34 and 142 with 1, 2 and 4. With none it
    sees a single one, by 1x1 convolutions, C64-C128: the PixelGAN of the same section, which judges colours alone.

    Args:
        filters: of the first layer.
        image_channels: channels of the pictures.
        layers: convolutions that halve the size; behind them are one more and the logits. With 0 all are 1x1.
        normalize: kind of normalisation, but for the first layer.
        epsilon: added to the mean square in pixel norm.
        slope: of the leaky ReLU.
        initialization: ``he``, or ``normal`` for the published N(0, 0.02^2).
        spectral_norm: whether every layer's weights have a largest singular value of 1.
        downsampling: ``strided`` convolutions, or ``blurred``: stride 1, and :class:`BlurredHalving` behind.
    """

    Options = PatchDiscriminatorOptions
    sizes = "any"

    def __init__(
        self,
        filters: int = 64,
        image_channels: int = 3,
        layers: int = 3,
        normalize: Norm = "instance",
        epsilon: float = 1e-8,
        slope: float = 0.2,
        initialization: Initialization = "he",
        spectral_norm: bool = False,
        downsampling: Downsampling = "strided",
    ) -> None:
        super().__init__()
        self.smallest = 3 << layers if layers else 1  # 3x3 after the halvings, 2x2 after one more, and one logit
        self.batch_norm = normalize == "batch"
        make, plain = LayerMaker(normalize, epsilon), LayerMaker("none", epsilon)
        *convs, logit = _convolutions(filters, image_channels, layers, make.bias)
        self.body = nn.Sequential()
        for i, conv in enumerate(convs):
            conv, behind = _halving(conv, downsampling if conv.stride == (2, 2) else "strided")
            self.body.extend([(make if i else plain)(conv, nn.LeakyReLU(slope)), *behind])
        self.logit = logit
        draw_weights(self, initialization, last=self.logit)
        if spectral_norm:
            normalize_spectrally(self)

    def forward(self, x: Tensor, stage: int = 0, alpha: float = 1.0) -> Tensor:
        """Judge pictures.

        Args:
            x: pictures in [-1, 1].  # [N, image_channels, H, W]
            stage: not used.
            alpha: not used.

        Returns:
            Logits, float32 at least.  # [N, 1, H / 2^layers - 2, W / 2^layers - 2], without layers [N, 1, H, W]
        """
        return in_full_precision(self.logit, self.body(x))

    def logit_layer(self) -> nn.Module:
        """The last layer."""
        return self.logit

    def rows_are_independent(self, n: int) -> bool:
        """Whether one pass over 2n rows that alternate real, fake gives the logits of two passes over n rows each."""
        return not self.batch_norm
