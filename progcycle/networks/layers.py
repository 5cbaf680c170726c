"""What the networks are made of: a convolution, its normalisation and its leaky ReLU."""

from dataclasses import dataclass, replace
from typing import Final, Literal

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


@dataclass(frozen=True)
class Style:
    """What all layers of a network have in common.

    Attributes:
        normalize: kind of normalisation.
        epsilon: added to the mean square in pixel norm.
        equalized: whether weights are scaled at run time (equalized learning rate) or drawn at their size.
        slope: of the leaky ReLU, where its input is negative.
    """

    normalize: Norm = "none"
    epsilon: float = 1e-8
    equalized: bool = True
    slope: float = 0.2


PLAIN: Final = Style()  # the paper's discriminator
PIXEL_NORM: Final = Style(normalize="pixel")  # the paper's generator


def without(style: Style, *kinds: Norm) -> Style:
    """The style, without normalisation if it is one of these kinds."""
    return replace(style, normalize="none") if style.normalize in kinds else style


def draw(network: nn.Module, initialization: Initialization, equalized: bool) -> None:
    """Draw the weights again, if they are not to be those of the layers themselves (He et al. 2015).

    Raises:
        ValueError: ``normal`` with equalized layers, which would scale the weights once more.
    """
    if initialization == "normal":
        if equalized:
            raise ValueError("initialization 'normal' draws weights at their size, which goes with equalized False")
        draw_normal(network)


class Activation(nn.Module):
    """Leaky ReLU, with pixel norm behind it (Karras et al. 2018, table 2) or another normalisation in front of it.

    Args:
        channels: C of the input.
        style: kind of normalisation, slope.
    """

    def __init__(self, channels: int, style: Style) -> None:
        super().__init__()
        self.slope, self.norm_last = style.slope, style.normalize == "pixel"
        self.norm = make_norm(style.normalize, channels, style.epsilon)

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H, W]
        """Normalise and activate."""
        if self.norm is None:
            return F.leaky_relu(x, self.slope)
        if self.norm_last:
            y: Tensor = self.norm(F.leaky_relu(x, self.slope))
            return y
        return F.leaky_relu(self.norm(x), self.slope)


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
            x = self.fused(x, self.conv.weight * self.conv.scale, self.conv.bias)
        y: Tensor = self.activation(x)
        return y


class Layers(nn.Sequential):
    """Layers in turn, all with the same noise."""

    def forward(self, x: Tensor, noise: Noise | None = None) -> Tensor:  # [N, C_in, H, W] -> [N, C_out, H', W']
        """Apply the layers."""
        for layer in self:
            x = layer(x, noise)
        return x
