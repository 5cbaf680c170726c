"""Latents of translators: how they change features, and the network that estimates them from a picture."""

from dataclasses import replace
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from progcycle.blocks import EqualizedLinear, downsample2x, full_precision, in_full_precision, pixel_norm
from progcycle.networks.base import Network
from progcycle.networks.layers import PLAIN, Layer
from progcycle.section import Section

REMEMBERED = 512  # real pictures whose latents are drawn from: as many colourings of a drawing


class Latents(Section):
    """Random numbers that a translation is painted from besides its source, for the directions that have them."""

    ab: int | None = Field(None, ge=2, le=512, description="how many of them from A to B; default: none")
    ba: int | None = Field(None, ge=2, le=512, description="the same from B to A")
    drawn: Literal["normal", "real"] = Field(
        "normal",
        description="from where: normal numbers, or the latents that the encoder estimates from real pictures",
    )

    @model_validator(mode="after")
    def _one_direction(self) -> Self:
        if self.ab is None and self.ba is None:
            raise ValueError("give ab, ba or both a number of latents, such as {ab: 8}, or leave latents out")
        return self


class Modulation(nn.Module):
    """Scales and shifts each channel of features by a dense layer of the latents: (1 + scale) x + shift.

    These are the styles of Karras et al. 2019 (section 2), without their instance norm.

    Args:
        latents: numbers of a latent.
        channels: C of the features.
        equalized: whether weights are scaled at run time.
    """

    def __init__(self, latents: int, channels: int, equalized: bool = True) -> None:
        super().__init__()
        self.dense = EqualizedLinear(latents, 2 * channels, gain=1.0, equalized=equalized)

    def forward(self, x: Tensor, latents: Tensor) -> Tensor:
        """Modulate features.

        Args:
            x: features.  # [N, C, H, W]
            latents: with a mean square of 1.  # [N, latents]

        Returns:
            Features of the same shape and type.
        """
        scale, shift = self.dense(latents).to(x.dtype)[:, :, None, None].chunk(2, dim=1)
        y: Tensor = (1 + scale) * x + shift
        return y


class LatentEncoder(Network):
    """Estimates from a translation the latents that it was painted from, as the encoder of BicycleGAN does (Zhu et al.
    2017b).

    It sees each picture reduced to the base resolution. So it costs little, learns nothing anew when a stage opens, and
    latents cannot hide in details: they must change colours or large shapes.

    Args:
        channels: feature maps of its convolutions.
        latents: numbers of a latent.
        image_channels: channels of the pictures.
        equalized: whether weights are scaled at run time.
        slope: of the leaky ReLU.
        remembered: latents of real pictures that are kept, to draw from; 0 for none.
    """

    real: Tensor
    known: Tensor

    def __init__(
        self,
        channels: int,
        latents: int,
        image_channels: int = 3,
        equalized: bool = True,
        slope: float = 0.2,
        remembered: int = 0,
    ) -> None:
        super().__init__()
        self.remembered = remembered
        if remembered:
            self.register_buffer("real", torch.zeros(remembered, latents))  # the newest last
            self.register_buffer("known", torch.zeros((), dtype=torch.long))
        style = replace(PLAIN, equalized=equalized, slope=slope)
        self.latent_size = latents
        self.layers = nn.Sequential(
            Layer(image_channels, channels, 1, style),
            Layer(channels, channels, style=style),
            Layer(channels, channels, style=style),
        )
        self.dense = EqualizedLinear(channels, latents, gain=1.0, equalized=equalized)

    @property
    def any_size(self) -> bool:
        """It is made of convolutions and means."""
        return True

    def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor:
        """Estimate latents.

        Args:
            x: pictures in [-1, 1]; H and W are multiples of 2^stage.  # [N, image_channels, H, W]
            stage: growth step.
            alpha: without effect, as pictures of a stage that fades in are faded already.

        Returns:
            Latents of any length, float32 at least; their direction counts.  # [N, latents]
        """
        for _ in range(stage):
            x = downsample2x(x)
        return in_full_precision(self.dense, self.layers(x).mean(dim=(2, 3)))

    @torch.no_grad()
    def remember(self, estimates: Tensor) -> None:
        """Keep the latents of real pictures, and forget the oldest.  # [N, latents]"""
        new = pixel_norm(full_precision(estimates))[-self.remembered :]
        self.real.copy_(torch.cat([self.real, new.to(self.real)])[-self.remembered :])
        self.known.add_(len(new)).clamp_(max=self.remembered)

    @property
    def kept(self) -> Tensor:
        """The latents of real pictures that are known, the newest last.  # [0 to remembered, latents]"""
        known = int(self.known) if self.remembered else 0
        return self.real[self.remembered - known :] if known else self.dense.weight.new_empty(0, self.latent_size)

    def drawn(self, normals: Tensor) -> Tensor:
        """Latents of real pictures, each chosen by the first number of a row; the rows as they are where none is kept.

        Args:
            normals: N(0, 1).  # [N, latents]

        Returns:
            With a mean square of 1 where they are of real pictures.  # [N, latents]
        """
        kept = self.kept
        if not len(kept):
            return normals
        rank = torch.special.ndtr(normals[:, 0].to(kept)) * len(kept)
        return kept[rank.long().clamp(max=len(kept) - 1)].to(normals)


def drawn_latents(encoder: nn.Module | None, normals: Tensor) -> Tensor:
    """The random latents that normal numbers stand for, see :meth:`LatentEncoder.drawn`; these where there is none.

    Args:
        encoder: of the pictures that are translated to, if any.
        normals: N(0, 1).  # [N, latents]

    Returns:
        Of the same shape.
    """
    return encoder.drawn(normals) if isinstance(encoder, LatentEncoder) else normals
