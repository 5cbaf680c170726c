"""Latents of translators: how they change features, and the network that estimates them from a picture."""

from dataclasses import replace
from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from progcycle.blocks import (
    EqualizedLinear,
    downsample2x,
    full_precision,
    gather_rows,
    in_full_precision,
    pixel_norm,
)
from progcycle.networks.base import Network
from progcycle.networks.layers import PLAIN, Layer
from progcycle.section import Section

REMEMBERED = 512  # real pictures whose latents are drawn from: as many colourings of a drawing
SIDE = 8  # pixels at which sources are compared


class Latents(Section):
    """Random numbers that a translation is painted from besides its source, for the directions that have them."""

    ab: int | None = Field(None, ge=2, le=512, description="how many of them from A to B; default: none")
    ba: int | None = Field(None, ge=2, le=512, description="the same from B to A")
    drawn: Literal["normal", "real"] = Field(
        "normal",
        description="from where: normal numbers, or the latents that the encoder estimates from real pictures",
    )
    neighbours: int | None = Field(
        None,
        ge=1,
        le=REMEMBERED,
        description="with drawn: real, only those of so many real pictures whose translations back are most like the "
        "source; default: those of all",
    )

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.ab is None and self.ba is None:
            raise ValueError("give ab, ba or both a number of latents, such as {ab: 8}, or leave latents out")
        if self.neighbours is not None and self.drawn != "real":
            raise ValueError("neighbours are real pictures, whose latents are drawn with drawn: real; set it too")
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
        neighbours: of how many of these one is drawn, those whose sources are most like the one that is translated; 0
            for all.
        source_channels: channels of the sources that are kept to be compared; 0 without neighbours.
    """

    real: Tensor
    known: Tensor
    sources: Tensor

    def __init__(
        self,
        channels: int,
        latents: int,
        image_channels: int = 3,
        equalized: bool = True,
        slope: float = 0.2,
        remembered: int = 0,
        neighbours: int = 0,
        source_channels: int = 0,
    ) -> None:
        super().__init__()
        self.remembered, self.neighbours = remembered, neighbours
        if remembered:
            self.register_buffer("real", torch.zeros(remembered, latents))  # the newest last
            self.register_buffer("known", torch.zeros((), dtype=torch.long))
        if neighbours:
            self.register_buffer("sources", torch.zeros(remembered, source_channels, SIDE, SIDE))
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
    def remember(self, estimates: Tensor, sources: Tensor) -> None:
        """Keep the latents of real pictures, those of all processes, and forget the oldest.

        Args:
            estimates: latents of any length.  # [N, latents]
            sources: the translations back of these pictures.  # [N, source_channels, H, W]
        """
        new = gather_rows(pixel_norm(full_precision(estimates)))
        self._keep(self.real, new)
        if self.neighbours:
            self._keep(self.sources, gather_rows(_small(sources)))
        self.known.add_(len(new)).clamp_(max=self.remembered)

    def _keep(self, memory: Tensor, new: Tensor) -> None:
        memory.copy_(torch.cat([memory, new.to(memory)])[-self.remembered :])

    @property
    def kept(self) -> Tensor:
        """The latents of real pictures that are known, the newest last.  # [0 to remembered, latents]"""
        known = int(self.known) if self.remembered else 0
        return self.real[self.remembered - known :] if known else self.dense.weight.new_empty(0, self.latent_size)

    @property
    def kept_sources(self) -> Tensor:
        """With neighbours, the sources of ``kept``.  # [0 to remembered, source_channels, SIDE, SIDE]"""
        return self.sources[self.remembered - len(self.kept) :]

    @torch.no_grad()
    def drawn(self, normals: Tensor, sources: Tensor | None = None) -> Tensor:
        """Latents of real pictures, each chosen by the first number of a row; the rows as they are where none is kept.

        Args:
            normals: N(0, 1); one row does for several sources.  # [1 or N, latents]
            sources: the pictures that are translated, one or as many; with neighbours, each gets a latent of one of
                them, without sources one of all.  # [1 or N, source_channels, H, W]

        Returns:
            With a mean square of 1 where they are of real pictures.  # [1 or N, latents]
        """
        if not self.remembered:
            return normals
        share, known = torch.special.ndtr(normals[:, 0].to(self.real)), self.known.long()  # snapshots hold floats
        if sources is None or not self.neighbours:
            numbers = self.remembered - known + _place(share, known)
        else:
            near = self._nearest(sources)
            count = max(len(share), len(near))
            place = _place(share, known.clamp(max=self.neighbours)).expand(count)
            numbers = near.expand(count, -1).gather(1, place[:, None])[:, 0]
        chosen = self.real[numbers.clamp(max=self.remembered - 1)].to(normals)
        return torch.where((known > 0).to(normals.device), chosen, normals)

    def _nearest(self, sources: Tensor) -> Tensor:
        """Which sources that are kept differ least from some, by squares; no device is waited for.

        Returns:
            The nearest first.  # [N, neighbours]
        """
        apart = torch.cdist(
            _small(sources).to(self.sources).flatten(1),
            self.sources.flatten(1),
            compute_mode="donot_use_mm_for_euclid_dist",
        )
        empty = torch.arange(self.remembered, device=apart.device) < self.remembered - self.known
        return apart.masked_fill(empty, float("inf")).topk(self.neighbours, largest=False).indices


def _place(share: Tensor, count: Tensor) -> Tensor:
    """Which of ``count`` things shares in [0, 1] stand for; 0 where there is none."""
    return torch.minimum((share * count).long(), count - 1).clamp(min=0)


def _small(pictures: Tensor) -> Tensor:
    """Means of areas, whatever the size.  # [N, C, SIDE, SIDE]"""
    return nn.functional.adaptive_avg_pool2d(full_precision(pictures), SIDE)


def drawn_latents(encoder: nn.Module | None, normals: Tensor, sources: Tensor | None = None) -> Tensor:
    """The random latents that normal numbers stand for, see :meth:`LatentEncoder.drawn`; these where there is none.

    Args:
        encoder: of the pictures that are translated to, if any.
        normals: N(0, 1).  # [1 or N, latents]
        sources: the pictures that are translated.  # [1 or N, C, H, W]

    Returns:
        One row for all pictures, or one for each.  # [1 or N, latents]
    """
    return encoder.drawn(normals, sources) if isinstance(encoder, LatentEncoder) else normals
