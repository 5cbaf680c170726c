"""What the networks are made of: a convolution, its normalisation and its leaky ReLU."""

from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import (
    EqualizedConv2d,
    Initialization,
    Noise,
    Norm,
    conv2d_downsample,
    draw_normal,
    make_norm,
    upsample_conv2d,
)
from progcycle.networks.base import NetworkOptions

EPSILON: Final = 1e-8
SLOPE: Final = 0.2
Nonlinearity = Literal["leaky_relu", "elu"]


@dataclass(frozen=True)
class Style:
    """What all layers of a network have in common.

    Attributes:
        normalize: kind of normalisation.
        epsilon: added to the mean square in pixel norm.
        equalized: whether weights are scaled at run time (equalized learning rate) or drawn at their size.
        slope: of the leaky ReLU, where its input is negative.
        nonlinearity: the leaky ReLU, or ELU (Clevert et al. 2016).
    """

    normalize: Norm = "none"
    epsilon: float = 1e-8
    equalized: bool = True
    slope: float = SLOPE
    nonlinearity: Nonlinearity = "leaky_relu"


class LayerOptions(NetworkOptions):
    """Options of a network made of convolutions, normalisations and activations.

    Attributes:
        always_normed: whether there is a pixel norm, whatever ``normalization`` says.
    """

    always_normed: ClassVar[bool] = False
    normalization: Norm = Field("pixel", description="what follows the convolutions; default: the network's own")
    epsilon: float = Field(EPSILON, gt=0, description="added to the mean square in pixel norm; 1e-4 suits fp16")
    initialization: Initialization = Field("he", description="he, or normal: weights from N(0, 0.02^2)")

    @model_validator(mode="after")
    def _epsilon_of_pixel_norm(self) -> Self:
        if self.epsilon != EPSILON and self.normalization != "pixel" and not self.always_normed:
            raise ValueError(
                "epsilon belongs to pixel norm, which this network does not have; leave it out, or write it under the "
                "network that has"
            )
        return self


class StyleOptions(LayerOptions):
    """Options of a network whose layers all have a :class:`Style`."""

    equalized: bool = Field(True, description="equalized learning rate; false: He initialisation, used as it is")
    slope: float = Field(SLOPE, ge=0, lt=1, description="of the leaky ReLU, where its input is negative")
    initialization: Initialization = Field(
        "he", description="he, or normal: weights from N(0, 0.02^2), with equalized: false"
    )

    @model_validator(mode="after")
    def _weights_at_their_size(self) -> Self:
        if self.initialization == "normal" and self.equalized:
            raise ValueError("initialization: normal draws weights at their size; set equalized: false with it")
        return self

    def style(self) -> dict[str, object]:
        """The keywords of a network's constructor for its :class:`Style` and its first weights."""
        return {
            "normalize": self.normalization,
            "epsilon": self.epsilon,
            "equalized": self.equalized,
            "slope": self.slope,
            "initialization": self.initialization,
        }


PLAIN: Final = Style()  # the paper's discriminator
PIXEL_NORM: Final = Style(normalize="pixel")  # the paper's generator


def without_normalization(style: Style, *kinds: Norm) -> Style:
    """The style, without normalisation if it is one of these kinds."""
    return replace(style, normalize="none") if style.normalize in kinds else style


def apply_initialization(network: nn.Module, initialization: Initialization, equalized: bool) -> None:
    """Draw the weights again, if they are not to be those of the layers themselves (He et al. 2015).

    Raises:
        ValueError: ``normal`` with equalized layers, which would scale the weights once more.
    """
    if initialization == "normal":
        if equalized:
            raise ValueError("initialization 'normal' draws weights at their size, which goes with equalized False")
        draw_normal(network)


class Activation(nn.Module):
    """Leaky ReLU or ELU, with pixel norm behind it (Karras et al. 2018, table 2) or another norm in front of it.

    It takes what a layer has just computed, and may overwrite it, which saves memory and time.

    Args:
        channels: C of the input.
        style: kind of normalisation, nonlinearity, slope.
    """

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.slope, self.norm_last = style.slope, style.normalize == "pixel"
        self.elu = style.nonlinearity == "elu"
        self.norm = make_norm(style.normalize, channels, style.epsilon)

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H, W]
        """Normalise and activate."""
        if self.norm is None:
            return self._activated(x)
        if self.norm_last:
            y: Tensor = self.norm(self._activated(x))
            return y
        return self._activated(self.norm(x))

    def _activated(self, x: Tensor) -> Tensor:
        return F.elu(x) if self.elu else F.leaky_relu(x, self.slope, inplace=True)


class Layer(nn.Module):
    """Equalized convolution with bias, and its :class:`Activation`.

    Args:
        in_channels: C of the input.
        out_channels: C of the output.
        kernel: side of the kernel; 3 with a ``scale``.
        style: of the layer.
        scale: ``up`` or ``down`` makes the change of size a part of the convolution: nearest enlargement in front of
            it, 2x2 means behind it.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int = 3,
        style: Style = PLAIN,
        scale: Literal["up", "down"] | None = None,
    ) -> None:
        super().__init__()
        self.conv = EqualizedConv2d(in_channels, out_channels, kernel, equalized=style.equalized)
        self.activation = Activation(out_channels, style)
        self.fused = {"up": upsample_conv2d, "down": conv2d_downsample, None: None}[scale]

    def forward(self, x: Tensor, noise: Noise | None = None) -> Tensor:
        """Apply the layer.

        Args:
            x: features.  # [N, in_channels, H, W]
            noise: multiplies the input.

        Returns:
            Features; H' and W' are H and W, doubled or halved by ``scale``.  # [N, out_channels, H', W']
        """
        x = x if noise is None else noise(x)
        if self.fused is None:
            x = self.conv(x)
        else:
            x = self.fused(x, self.conv.scaled_weight(), self.conv.bias)
        y: Tensor = self.activation(x)
        return y


class Layers(nn.Sequential):
    """Layers in turn, all with the same noise."""

    def forward(self, x: Tensor, noise: Noise | None = None) -> Tensor:  # [N, C_in, H, W] -> [N, C_out, H', W']
        """Apply the layers."""
        for layer in self:
            x = layer(x, noise)
        return x
