"""The two growing trunks. Growth is an argument: ``forward(x, stage, alpha)``; nothing in here changes as it grows.

An encoder trunk takes a picture at any stage and ends at the base resolution; a decoder trunk starts there and paints a
picture at any stage. Stage 0 is the base, every stage doubles the resolution, and alpha in [0, 1] is the weight of the
newest stage. How the stages' pictures join is ``rgb``:

* ``replace`` (Karras et al. 2018, figure 2): only the newest to_rgb / from_rgb counts, and takes over from the one
  before through the fade.
* ``sum`` (a Laplacian pyramid; skips of Karras et al. 2020, figure 7): every stage's picture is added to the enlarged
  one before, the newest weighted by alpha, and every from_rgb is added likewise. Nothing learned is faded out.
* ``features``: as ``replace``, but a decoder's newest features are blended with the enlarged ones before, as those of
  an encoder always are, and what paints them changes from the old to_rgb to the new one.

All are exact at the ends: a stage at alpha 0 is the stage before, enlarged. With ``smooth`` it is enlarged otherwise
than the real pictures are: the fade begins with a slight blur of what is painted where ``smooth`` is true, and with the
same picture, but for rounding, when it is made small again, where it is ``mean_preserving``.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from progcycle.blocks import (
    EqualizedConv2d,
    Noise,
    downsample2x,
    fade_in,
    full_precision,
    in_full_precision,
    is_end,
    mean_preserving_upsample2x,
    smooth_upsample2x,
    upsample2x,
)
from progcycle.networks.base import TaskShape
from progcycle.networks.layers import PIXEL_NORM, PLAIN, Layer, Layers, Style, StyleOptions, without_normalization
from progcycle.section import Section

Rgb = Literal["replace", "sum", "features"]
Convs = Literal[1, 2]
Smooth = bool | Literal["mean_preserving"]


def feature_maps(resolution: int, base: int = 8192, decay: float = 1.0, maximum: int = 512) -> int:
    """Channels at a resolution: nf(r - 1) of the official code, resolution = 2^r (Karras et al. 2018, table 2)."""
    return max(1, min(int(base / (resolution / 2) ** decay), maximum))


def stage_channels(base_resolution: int, resolution: int, base: int, decay: float, maximum: int) -> list[int]:
    """Channels of every stage from ``base_resolution`` to ``resolution``, by :func:`feature_maps`."""
    doublings = (resolution // base_resolution).bit_length()
    return [feature_maps(base_resolution << stage, base, decay, maximum) for stage in range(doublings)]


class Channels(Section):
    """Feature maps at a resolution R: min(base / (R / 2) ** decay, max), as in the official code.

    Where a translator's recipe leaves out ``base`` or ``max``, it gets them by its resolution.
    """

    base: int = Field(8192, ge=1, le=1 << 24, description="see the formula; 8192 gives 16 maps at 1024 px")
    decay: float = Field(1.0, ge=0, le=10, description="1 halves the maps at each doubling of R")
    max: int = Field(512, ge=1, le=1 << 16, description="the most maps at any R")

    def by_stage(self, shape: TaskShape) -> list[int]:
        """Feature maps of every stage, base first."""
        return stage_channels(shape.base_resolution, shape.resolution, self.base, self.decay, self.max)

    def hidden(self, shape: TaskShape) -> int:
        """Features of a dense layer behind the base resolution: the feature maps of one stage further."""
        return feature_maps(shape.base_resolution // 2, self.base, self.decay, self.max)


class TrunkOptions(StyleOptions):
    """Options of a network that has a growing trunk."""

    channels: Channels = Channels()
    rgb: Rgb = Field(
        "replace",
        description="the new to_rgb replaces the old, sum: is added to it; features: as replace, and features fade",
    )

    def trunk(self, shape: TaskShape) -> dict[str, Any]:
        """The keywords of a network's constructor for its trunk.

        Raises:
            ValueError: features are to be blended that are not equally many.
        """
        channels = self.channels.by_stage(shape)
        if self.rgb == "features" and len(set(channels)) > 1:
            raise ValueError(
                f"rgb: features blends the feature maps of two stages, which must be equally many (they are "
                f"{', '.join(map(str, channels))}); set channels.decay: 0, or use rgb: replace"
            )
        return {"channels": channels, "rgb": self.rgb, **self.style()}


def check_blend(rgb: Rgb, rgb_kernel: int) -> None:
    """Refuse what would not open as the stage before.

    Raises:
        ValueError: features are to be blended, and to_rgb sees their neighbours.
    """
    if rgb == "features" and rgb_kernel != 1:
        raise ValueError(f"rgb: features needs to_rgb layers of a single place: rgb_kernel: 1, not {rgb_kernel}")


class Trunk(nn.Module):
    """What both trunks can do: forget activations of large stages, and compute them again in the backward pass.

    Nothing else changes, to the bit: what is random in a network is given to it.

    Attributes:
        recomputed_from: the first stage where this is so; None: at none.
    """

    recomputed_from: int | None = None

    def _at_stage(self, stage: int, function: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        """``function(*inputs)``; at recomputed stages, only the inputs are kept for the backward pass."""
        if self.recomputed_from is None or stage < self.recomputed_from or not torch.is_grad_enabled():
            return function(*inputs)
        result: Tensor = checkpoint(function, *inputs, use_reentrant=False, preserve_rng_state=False)
        return result


class GrowingEncoder(Trunk):
    """From a picture at any stage down to features at the base resolution.

    Args:
        channels: features of every stage, base first.
        image_channels: channels of the pictures.
        rgb: how the stages' from_rgb join, see the module.
        style: of all layers; of its normalisations, only pixel norm follows from_rgb too.
        convs: 3x3 convolutions of a stage.
        fused: whether the last convolution of a stage and the pooling behind it are one strided convolution, in front
            of bias and activation (the official TensorFlow code); that is another function than the paper's.
    """

    def __init__(
        self,
        channels: Sequence[int],
        image_channels: int = 3,
        rgb: Rgb = "replace",
        style: Style = PLAIN,
        convs: Convs = 2,
        fused: bool = False,
    ) -> None:
        super().__init__()
        self.rgb, self.fused = rgb, fused
        # As layer norm in the official Theano code: what takes the mean out would hide a picture's colour.
        first = without_normalization(style, "batch", "instance", "layer")
        self.from_rgb = nn.ModuleList(Layer(image_channels, c, 1, first) for c in channels)
        self.blocks = nn.ModuleList(
            Layers(
                *(Layer(wide, wide, style=style) for _ in range(convs - 1)),
                Layer(wide, narrow, style=style, scale="down" if fused else None),
            )
            for narrow, wide in itertools.pairwise(channels)
        )

    def newest(self, stage: int) -> dict[str, nn.Module]:
        """What only counts from a stage on: the stage's block, and its from_rgb."""
        return _newest(stage, self.blocks, from_rgb=self.from_rgb)

    def noise_size(self, stage: int) -> int:
        """Columns of noise that :meth:`forward` takes at a stage: the input channels of all its 3x3 convolutions."""
        layers = (layer for block in self.blocks[:stage] for layer in block.modules() if isinstance(layer, Layer))
        return sum(layer.conv.in_channels for layer in layers)

    def forward(self, x: Tensor, stage: int, alpha: float | Tensor, noise: Noise | None = None) -> list[Tensor]:
        """Encode pictures.

        Args:
            x: pictures of the stage's resolution.  # [N, image_channels, H, W]
            stage: growth step; H and W are 2^stage times the base size.
            alpha: weight of the newest stage, in [0, 1]; a tensor without dimensions where the network is compiled.
            noise: multiplies the input of every 3x3 convolution, the newest stage first.

        Returns:
            Features of the stages 0 to ``stage``, after the blend; entry s has the shape
            [N, channels[s], H / 2^(stage - s), W / 2^(stage - s)], and entry 0 is the encoder's end.
        """
        features = [self._at_stage(stage, self.from_rgb[stage], x)]
        for s in range(stage, 0, -1):
            weight = alpha if s == stage else 1.0
            h = self._at_stage(s, partial(self._reduced, s, noise, noise.taken if noise else 0), features[0])
            x = downsample2x(x)
            if self.rgb == "sum":
                h = full_precision(self.from_rgb[s - 1](x)) + weight * full_precision(h)
            elif not is_end(weight, 1):
                h = fade_in(self.from_rgb[s - 1](x), h, weight)
            features.insert(0, h)
        return features

    def _reduced(self, stage: int, noise: Noise | None, taken: int, x: Tensor) -> Tensor:
        """A stage's block and the pooling behind it; ``taken`` columns of the noise are those of the stages before."""
        if noise is not None:
            noise.taken = taken
        h: Tensor = self.blocks[stage - 1](x, noise)
        return h if self.fused else downsample2x(h)


class GrowingDecoder(Trunk):
    """From features at the base resolution up to a picture at any stage.

    Args:
        channels: features of every stage, base first.
        image_channels: channels of the pictures.
        rgb: how the stages' pictures join, see the module.
        skips: whether an encoder's features of the same stage are appended before each stage's first convolution.
        zero: whether the to_rgb layers start from zero weights.
        style: of all layers but the to_rgb, which are linear.
        convs: 3x3 convolutions of a stage.
        fused: whether the enlargement and the convolution behind it are one transposed convolution; the same function.
        rgb_kernel: side of the to_rgb kernels.
        tanh: whether each to_rgb is bounded by tanh, before the blend.
        smooth: whether features and pictures are enlarged by bilinear interpolation, not by repeating pixels;
            ``mean_preserving``: pictures so that their 2x2 means stay.

    Raises:
        ValueError: ``fused`` with ``skips``, which come in between, or with ``smooth``; ``tanh`` with ``rgb`` =
            ``sum``, whose pictures are details of either sign; or ``rgb`` = ``features`` with channels that differ, or
            where a picture of enlarged features is not the enlarged picture.
    """

    def __init__(
        self,
        channels: Sequence[int],
        image_channels: int = 3,
        rgb: Rgb = "replace",
        skips: bool = False,
        zero: bool = False,
        style: Style = PIXEL_NORM,
        convs: Convs = 2,
        fused: bool = False,
        rgb_kernel: Literal[1, 3] = 1,
        tanh: bool = False,
        smooth: Smooth = False,
    ) -> None:
        super().__init__()
        if fused and smooth:
            raise ValueError("a fused decoder enlarges by repeating pixels; it cannot be smooth")
        if fused and skips:
            raise ValueError("a fused decoder has no place for skips between the enlargement and the convolution")
        if tanh and rgb == "sum":
            raise ValueError("tanh would bound every detail of a sum of pictures; use rgb 'replace'")
        if rgb == "features" and (len(set(channels)) > 1 or rgb_kernel != 1 or smooth == "mean_preserving"):
            raise ValueError("rgb 'features' needs equal channels, rgb_kernel 1, and features enlarged as pictures are")
        self.rgb, self.fused, self.tanh = rgb, fused, tanh
        self.enlarge = smooth_upsample2x if smooth else upsample2x
        self.enlarge_picture = mean_preserving_upsample2x if smooth == "mean_preserving" else self.enlarge
        self.blocks = nn.ModuleList(
            Layers(
                Layer(low + (high if skips else 0), high, style=style, scale="up" if fused else None),
                *(Layer(high, high, style=style) for _ in range(convs - 1)),
            )
            for low, high in itertools.pairwise(channels)
        )
        self.to_rgb = nn.ModuleList(
            EqualizedConv2d(c, image_channels, rgb_kernel, gain=1.0, zero=zero, equalized=style.equalized)
            for c in channels
        )

    def forward(self, x: Tensor, stage: int, alpha: float | Tensor, skips: Sequence[Tensor] | None = None) -> Tensor:
        """Paint pictures.

        Args:
            x: features of the base resolution.  # [N, channels[0], H, W]
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1]; a tensor without dimensions where the network is compiled.
            skips: the encoder's features by stage, if the decoder was made with skips.

        Returns:
            Pictures, float32 at least.  # [N, image_channels, H * 2^stage, W * 2^stage]
        """
        picture = self._painted(x, 0) if self.rgb == "sum" or stage == 0 else None
        for s in range(1, stage + 1):
            weight = alpha if s == stage else 1.0
            before = x
            x = self._at_stage(s, partial(self._enlarged, s), x, None if skips is None else skips[s])
            if self.rgb == "sum":
                assert picture is not None
                picture = self.enlarge_picture(picture) + weight * self._painted(x, s)
            elif s == stage:
                picture = self._painted(x, s) if is_end(weight, 1) else self._faded(before, x, s, weight)
        assert picture is not None
        return picture

    def newest(self, stage: int) -> dict[str, nn.Module]:
        """What only counts from a stage on: the stage's block, and its to_rgb."""
        return _newest(stage, self.blocks, to_rgb=self.to_rgb)

    def _enlarged(self, stage: int, x: Tensor, skip: Tensor | None) -> Tensor:
        """The enlargement and a stage's block behind it."""
        x = x if self.fused else self.enlarge(x)
        if skip is not None:
            x = torch.cat([x, skip.to(x.dtype)], dim=1)
        features: Tensor = self.blocks[stage - 1](x)
        return features

    def _faded(self, before: Tensor, x: Tensor, stage: int, alpha: float | Tensor) -> Tensor:
        """A picture between two stages, from the features of both."""
        if self.rgb == "replace":
            return fade_in(self.enlarge_picture(self._painted(before, stage - 1)), self._painted(x, stage), alpha)
        # A 1x1 to_rgb and the enlargement may change places, so that this too begins as the enlarged picture.
        x = fade_in(self.enlarge(before), x, alpha)
        return fade_in(self._painted(x, stage - 1), self._painted(x, stage), alpha)

    def _painted(self, x: Tensor, stage: int) -> Tensor:
        picture = self._at_stage(stage, partial(in_full_precision, self.to_rgb[stage]), x)
        return picture.tanh() if self.tanh else picture


def _newest(stage: int, blocks: nn.ModuleList, **rgb: nn.ModuleList) -> dict[str, nn.Module]:
    found = {name: layers[stage] for name, layers in rgb.items()}
    return {**found, "block": blocks[stage - 1]} if stage else found
