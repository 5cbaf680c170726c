"""The two growing trunks. Growth is an argument: ``forward(x, stage, alpha)``; nothing in here changes as it grows.

An encoder trunk eats a picture at any stage and ends at the base resolution; a decoder trunk starts there and paints a
picture at any stage. Stage 0 is the base, every stage doubles the resolution, and alpha in [0, 1] is the weight of the
newest stage. How the stages' pictures join is ``rgb``:

* ``replace`` (Karras et al. 2018, figure 2): only the newest to_rgb / from_rgb counts, and takes over from the one
  before through the fade.
* ``sum`` (a Laplacian pyramid; skips of Karras et al. 2020, figure 7): every stage's picture is added to the enlarged
  one before, the newest weighted by alpha, and every from_rgb is added likewise. Nothing learned is faded out.

Both are exact at the ends: a stage at alpha 0 is the stage before, enlarged.
"""

import itertools
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import (
    EqualizedConv2d,
    downsample2x,
    fade_in,
    full_precision,
    in_full_precision,
    pixel_norm,
    upsample2x,
)

Rgb = Literal["replace", "sum"]


def feature_maps(resolution: int, base: int = 8192, decay: float = 1.0, maximum: int = 512) -> int:
    """Channels at a resolution: nf(r - 1) of the official code, resolution = 2^r (Karras et al. 2018, table 2)."""
    return max(1, min(int(base / (resolution / 2) ** decay), maximum))


def stage_channels(base_resolution: int, resolution: int, base: int, decay: float, maximum: int) -> list[int]:
    """Channels of every stage from ``base_resolution`` to ``resolution``, by :func:`feature_maps`."""
    doublings = (resolution // base_resolution).bit_length()
    return [feature_maps(base_resolution << stage, base, decay, maximum) for stage in range(doublings)]


class Layer(nn.Module):
    """Equalized convolution, bias, leaky ReLU (slope 0.2), then pixel norm if ``normalize``; in this order."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int = 3, normalize: bool = False) -> None:
        super().__init__()
        self.conv = EqualizedConv2d(in_channels, out_channels, kernel)
        self.normalize = normalize

    def forward(self, x: Tensor) -> Tensor:  # [N, C_in, H, W] -> [N, C_out, H, W]
        """Apply the layer; the size is kept."""
        x = F.leaky_relu(self.conv(x), 0.2)
        return pixel_norm(x) if self.normalize else x


class GrowingEncoder(nn.Module):
    """From a picture at any stage down to features at the base resolution.

    Args:
        channels: features of every stage, base first.
        image_channels: channels of the pictures.
        rgb: how the stages' from_rgb join, see the module.
        normalize: pixel norm after every convolution (translators) or none (discriminators).
    """

    def __init__(
        self, channels: Sequence[int], image_channels: int = 3, rgb: Rgb = "replace", normalize: bool = False
    ) -> None:
        super().__init__()
        self.rgb = rgb
        self.from_rgb = nn.ModuleList(Layer(image_channels, c, 1, normalize) for c in channels)
        self.blocks = nn.ModuleList(
            nn.Sequential(Layer(wide, wide, normalize=normalize), Layer(wide, narrow, normalize=normalize))
            for narrow, wide in itertools.pairwise(channels)
        )

    def forward(self, x: Tensor, stage: int, alpha: float) -> list[Tensor]:
        """Encode pictures.

        Args:
            x: pictures of the stage's resolution.  # [N, image_channels, H, W]
            stage: growth step; H and W are 2^stage times the base size.
            alpha: weight of the newest stage, in [0, 1].

        Returns:
            Features of the stages 0 to ``stage``, after the blend; entry s has the shape
            [N, channels[s], H / 2^(stage - s), W / 2^(stage - s)], and entry 0 is the encoder's end.
        """
        features = [self.from_rgb[stage](x)]
        for s in range(stage, 0, -1):
            weight = alpha if s == stage else 1.0
            h = downsample2x(self.blocks[s - 1](features[0]))
            x = downsample2x(x)
            if self.rgb == "sum":
                h = full_precision(self.from_rgb[s - 1](x)) + weight * full_precision(h)
            elif weight < 1:
                h = fade_in(self.from_rgb[s - 1](x), h, weight)
            features.insert(0, h)
        return features


class GrowingDecoder(nn.Module):
    """From features at the base resolution up to a picture at any stage.

    Args:
        channels: features of every stage, base first.
        image_channels: channels of the pictures.
        rgb: how the stages' pictures join, see the module.
        skips: whether an encoder's features of the same stage are appended before each stage's first convolution.
        zero: whether the to_rgb layers start from zero weights.
    """

    def __init__(
        self,
        channels: Sequence[int],
        image_channels: int = 3,
        rgb: Rgb = "replace",
        skips: bool = False,
        zero: bool = False,
    ) -> None:
        super().__init__()
        self.rgb = rgb
        self.blocks = nn.ModuleList(
            nn.Sequential(
                Layer(low + (high if skips else 0), high, normalize=True),
                Layer(high, high, normalize=True),
            )
            for low, high in itertools.pairwise(channels)
        )
        self.to_rgb = nn.ModuleList(EqualizedConv2d(c, image_channels, 1, gain=1.0, zero=zero) for c in channels)

    def forward(self, x: Tensor, stage: int, alpha: float, skips: Sequence[Tensor] | None = None) -> Tensor:
        """Paint pictures.

        Args:
            x: features of the base resolution.  # [N, channels[0], H, W]
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1].
            skips: the encoder's features by stage, if the decoder was made with skips.

        Returns:
            Pictures, float32 at least.  # [N, image_channels, H * 2^stage, W * 2^stage]
        """
        picture = in_full_precision(self.to_rgb[0], x) if self.rgb == "sum" or stage == 0 else None
        for s in range(1, stage + 1):
            weight = alpha if s == stage else 1.0
            before, x = x, upsample2x(x)
            if skips is not None:
                x = torch.cat([x, skips[s].to(x.dtype)], dim=1)
            x = self.blocks[s - 1](x)
            if self.rgb == "sum":
                assert picture is not None
                picture = upsample2x(picture) + weight * in_full_precision(self.to_rgb[s], x)
            elif s == stage:
                picture = in_full_precision(self.to_rgb[s], x)
                if weight < 1:
                    picture = fade_in(upsample2x(in_full_precision(self.to_rgb[s - 1], before)), picture, weight)
        assert picture is not None
        return picture
