"""Growing discriminators: an encoder trunk, and a head with a statistic of how varied the batch is."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, Self

import torch
from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from torch import Tensor, nn

from progcycle.blocks import (
    EarlierFeatures,
    EqualizedConv2d,
    EqualizedLinear,
    GroupSize,
    Initialization,
    MinibatchDiscrimination,
    Noise,
    Norm,
    in_full_precision,
    minibatch_stddev,
    normalize_spectrally,
    stddev_channels,
    stddev_group,
)
from progcycle.networks.base import Comparison, Network, TaskShape
from progcycle.networks.layers import PLAIN, Activation, Layer, Style, apply_initialization, without_normalization
from progcycle.networks.trunks import Convs, GrowingEncoder, TrunkOptions
from progcycle.resolution import Resolution, Sides
from progcycle.section import Section

INIT_BATCH = 16  # pictures at a time, so that hundreds of large ones need little memory


def _is_averaging(value: str) -> str:
    if not re.fullmatch(r"all|flat|spatial|none|gpool|group[1-9][0-9]*", value):
        raise ValueError("must be all, flat, spatial, none, gpool, or groupK with a number K such as group4")
    return value


def _as_group(value: Any) -> Any:
    if value is False:  # off, as YAML reads it
        return 0
    number = isinstance(value, int) and not isinstance(value, bool)
    if value != "batch" and not (number and value >= 0):
        raise ValueError(f"must be a number of pictures, 0 for off, or batch, got {str(value)[:60]!r}")
    return value


def _as_stddev(value: object) -> object:
    """A lone value is short for the group size."""
    return {"group": value} if isinstance(value, int | float | str) else value


_Group = Annotated[int, Field(ge=0)] | Literal["batch"]
Group = Annotated[_Group, BeforeValidator(_as_group, json_schema_input_type=_Group | Literal[False])]


class MinibatchStddev(Section):
    """Statistic of a group of pictures, appended to the features at the discriminator's base resolution (section 3)."""

    group: Group = Field(4, description="pictures in a group; batch = all of them, 0 = off")
    averaging: Annotated[str, AfterValidator(_is_averaging)] = Field(
        "all", description="all, flat, spatial, none, gpool, or groupK with a number K"
    )
    gather: bool = Field(False, description="group the pictures of all processes together, not each by itself")
    queue: int = Field(
        0, ge=0, le=1 << 20, description="earlier pictures that a batch is compared with too; needs group: batch"
    )

    @model_validator(mode="after")
    def _something_to_compare(self) -> Self:
        if self.group == 1 and self.averaging not in ("flat", "gpool"):
            raise ValueError(
                "group: 1 compares a picture with itself alone, which always gives the same; take 2 or more, or off"
            )
        return self

    @model_validator(mode="after")
    def _no_option_without_effect(self) -> Self:
        for key, usual in (("averaging", "all"), ("gather", False)):
            if not self.group and getattr(self, key) != usual:
                raise ValueError(f"{key} belongs to a statistic, which is off with group: 0; leave it out")
        return self

    @model_validator(mode="after")
    def _one_group(self) -> Self:
        if self.queue and self.group != "batch":
            raise ValueError(
                "queue compares the whole batch with earlier pictures, as one group; set group: batch, or queue: 0"
            )
        if self.queue and self.gather:
            raise ValueError("queue holds earlier pictures of its own process, and gather joins all; choose one")
        return self

    @property
    def comparison(self) -> Comparison | None:
        """How pictures are compared; None where it is off, or where a single picture is compared with a queue."""
        if not self.group or self.queue:
            return None
        return Comparison("minibatch_stddev", self.gather, self.averaging in ("flat", "gpool"), queue=True)


Stddev = Annotated[MinibatchStddev, BeforeValidator(_as_stddev, json_schema_input_type=Group | MinibatchStddev)]


class MinibatchDiscriminationOptions(Section):
    """The alternative of Salimans et al. 2016, section 3.2, before the last layer of a dense head."""

    kernels: int = Field(100, ge=1, le=4096, description="features that it adds")
    dimensions: int = Field(5, ge=1, le=256, description="numbers in which a kernel compares two pictures")
    init_pictures: int = Field(
        500, ge=2, le=1 << 20, description="real pictures that set its scales before the first step"
    )
    gather: bool = Field(False, description="compare the pictures of all processes, not each by itself")


class GrowingDiscriminatorOptions(TrunkOptions):
    """Options of a growing discriminator; the paper's has no normalisation (section 4.2)."""

    normalization: Norm = Field("none", description="what follows the convolutions")
    minibatch_stddev: Stddev = MinibatchStddev()
    minibatch_discrimination: MinibatchDiscriminationOptions | None = Field(
        None, description="in place of minibatch_stddev, with a dense head"
    )
    spectral_norm: bool = Field(False, description="weights have a largest singular value of 1 (Miyato et al. 2018)")

    @model_validator(mode="after")
    def _one_statistic(self) -> Self:
        if self.minibatch_discrimination is not None and self.minibatch_stddev.group:
            raise ValueError("minibatch_discrimination takes the place of minibatch_stddev; set minibatch_stddev: 0")
        return self

    def discriminator_arguments(self, shape: TaskShape) -> dict[str, Any]:
        """The keywords of a constructor for the trunk, and for how pictures are compared.

        Raises:
            ValueError: groups of features do not divide those of the base resolution.
        """
        stddev, instead = self.minibatch_stddev, self.minibatch_discrimination
        trunk = self.trunk(shape)
        features = trunk["channels"][0]
        if stddev.group and stddev.averaging.startswith("group") and features % int(stddev.averaging[5:]):
            raise ValueError(
                f"minibatch_stddev.averaging: {stddev.averaging} does not divide the {features} feature maps that the "
                "discriminator has at its base resolution; choose a divisor of them"
            )
        variation = {"kernels": instead.kernels, "dimensions": instead.dimensions} if instead else {"kernels": 0}
        return {
            **trunk,
            "hidden": self.channels.hidden(shape),
            "base_resolution": shape.base_resolution,
            "stddev_group": stddev.group,
            "averaging": stddev.averaging,
            "gather": instead.gather if instead else stddev.gather,
            **variation,
            "spectral_norm": self.spectral_norm,
            "image_channels": shape.channels["image_channels"],
        }

    @property
    def comparison(self) -> Comparison | None:
        """By which of the two pictures are compared."""
        if instead := self.minibatch_discrimination:
            return Comparison("minibatch_discrimination", instead.gather, single_picture=False, queue=False)
        return self.minibatch_stddev.comparison

    @property
    def queue(self) -> int:
        """See ``minibatch_stddev.queue``."""
        return self.minibatch_stddev.queue

    @property
    def init_pictures(self) -> int:
        """See ``minibatch_discrimination.init_pictures``."""
        return self.minibatch_discrimination.init_pictures if self.minibatch_discrimination else 0

    def without_comparison(self) -> Self:
        """Without either of the two."""
        return self.model_copy(update={"minibatch_stddev": MinibatchStddev(group=0), "minibatch_discrimination": None})


@dataclass(frozen=True)
class BatchComparison:
    """How a head compares the pictures of a batch.

    Attributes:
        group: group size of the minibatch statistic (Karras et al. 2018, section 3), 0 for none.
        averaging: what the statistic is averaged over, see :func:`minibatch_stddev`.
        gather: whether the batches of all processes are compared together.
        kernels: kernels of minibatch discrimination (Salimans et al. 2016, section 3.2), 0 for none.
        dimensions: numbers in which a kernel compares two pictures.
    """

    group: GroupSize = 4
    averaging: str = "all"
    gather: bool = False
    kernels: int = 0
    dimensions: int = 5

    def channels(self, features: int) -> int:
        """Channels that :meth:`append` adds to so many features."""
        return stddev_channels(self.averaging, features) if self.group else 0

    def append(
        self, x: Tensor, earlier: EarlierFeatures | None = None
    ) -> Tensor:  # [N, C, H, W] -> [N, C + channels(C), H, W]
        """Append the minibatch statistic, if there is one.

        Raises:
            ValueError: there is something to compare with, but no statistic, or one that cannot take it in.
        """
        if earlier is None:
            return minibatch_stddev(x, self.group, self.averaging, self.gather) if self.group else x
        if not self.group:
            raise ValueError("a head without minibatch statistic compares nothing with earlier pictures")
        earlier.seen = x.detach()
        return minibatch_stddev(x, self.group, self.averaging, self.gather, earlier=earlier.features)

    def independent(self, n: int) -> bool:
        """Whether 2n rows that alternate between two batches of n are compared within each batch only."""
        if self.kernels:
            return False
        if not self.group:
            return True
        return not self.gather and stddev_group(n, self.group) == stddev_group(2 * n, self.group)


STDDEV: Final = BatchComparison()


class DenseHead(nn.Module):
    """The end of PG-GAN's discriminator: minibatch statistic, 3x3, all of the base grid at once, one logit.

    Args:
        channels: features of the base stage.
        hidden: features of the dense layer.
        base_resolution: side of the base grid, or its height and width.
        variation: how pictures are compared.
        style: of the layers; instance norm leaves out the dense layer, whose maps are single pixels.
        convs: 2, or 1 to leave out the 3x3 convolution.
        classes: logits of classes besides (Odena et al. 2017).
    """

    def __init__(
        self,
        channels: int,
        hidden: int,
        base_resolution: Sides = 4,
        variation: BatchComparison = STDDEV,
        style: Style = PLAIN,
        convs: Convs = 2,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.variation, self.classes = variation, classes
        varied = channels + variation.channels(channels)
        self.conv = Layer(varied, channels, style=style) if convs == 2 else None
        features = varied if self.conv is None else channels
        self.noise_size = features if self.conv is None else varied + features
        self.dense = EqualizedConv2d(
            features, hidden, Resolution.of(base_resolution).shape, padding=0, equalized=style.equalized
        )
        self.activation = Activation(hidden, without_normalization(style, "instance"))
        kernels = variation.kernels
        self.discrimination = (
            MinibatchDiscrimination(hidden, kernels, variation.dimensions, variation.gather) if kernels else None
        )
        self.logit = EqualizedLinear(hidden + kernels, 1 + classes, gain=1.0, equalized=style.equalized)

    def features(self, x: Tensor, noise: Noise | None = None, earlier: EarlierFeatures | None = None) -> Tensor:
        """What pictures are judged by, each by itself but for the minibatch statistic.

        Args:
            x: features of the base grid.  # [N, C, H, W]
            noise: multiplies the inputs of the 3x3 and the dense layer.
            earlier: what the minibatch statistic compares them with besides.

        Returns:
            The activated dense layer.  # [N, hidden]
        """
        x = self.variation.append(x, earlier)
        x = x if self.conv is None else self.conv(x, noise)
        x = x if noise is None else noise(x)
        y: Tensor = self.activation(self.dense(x)).flatten(1)
        return y

    def forward(
        self, x: Tensor, noise: Noise | None = None, earlier: EarlierFeatures | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Judge features of the base grid.

        Args:
            x: features.  # [N, C, R, R]
            noise: see :meth:`features`.
            earlier: see :meth:`features`.

        Returns:
            Logits [N], or those and the logits of classes [N, classes]; float32 at least.
        """
        x = self.features(x, noise, earlier)
        x = x if self.discrimination is None else self.discrimination(x)
        x = in_full_precision(self.logit, x)
        return (x[:, 0], x[:, 1:]) if self.classes else x.squeeze(1)


class PatchHead(nn.Module):
    """A logit for every place of the base grid, as PatchGAN (Isola et al. 2017), with the statistic as an option.

    Args:
        channels: features of the base stage.
        variation: how pictures are compared; minibatch discrimination needs the dense head.
        style: of the 3x3 layer.

    Raises:
        ValueError: minibatch discrimination is asked for.
    """

    def __init__(self, channels: int, variation: BatchComparison = STDDEV, style: Style = PLAIN) -> None:
        super().__init__()
        if variation.kernels:
            raise ValueError("minibatch discrimination compares whole pictures, which a patch head never sees at once")
        self.variation = variation
        self.noise_size = channels + variation.channels(channels)
        self.conv = Layer(self.noise_size, channels, style=style)
        self.logit = EqualizedConv2d(channels, 1, 1, gain=1.0, equalized=style.equalized)

    def forward(self, x: Tensor, noise: Noise | None = None, earlier: EarlierFeatures | None = None) -> Tensor:
        """Judge features of the base grid.

        Args:
            x: features.  # [N, C, H, W]
            noise: multiplies the input of the 3x3 layer.
            earlier: what the minibatch statistic compares them with besides.

        Returns:
            Logits, float32 at least.  # [N, 1, H, W]
        """
        return in_full_precision(self.logit, self.conv(self.variation.append(x, earlier), noise))


class GrowingDiscriminator(Network):
    """Encoder trunk, and a head on its features of the base resolution.

    It needs two pictures at a time where batch norm of a dense layer has one number of each picture in a channel.

    Args:
        encoder: the trunk.
        head: features of the base grid to logits.
        style: of their layers.
        initialization: ``he``, or ``normal`` for N(0, 0.02^2) without equalized.
        spectral_norm: whether every layer's weights have a largest singular value of 1.

    Raises:
        ValueError: ``normal`` with equalized.
    """

    def __init__(
        self,
        encoder: GrowingEncoder,
        head: DenseHead | PatchHead,
        style: Style,
        initialization: Initialization = "he",
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.head = encoder, head
        self.batch_norm = style.normalize == "batch"
        self.needs_two_pictures = self.batch_norm and isinstance(head, DenseHead)
        apply_initialization(self, initialization, style.equalized)
        if spectral_norm:
            normalize_spectrally(self)

    def forward(
        self, x: Tensor, stage: int, alpha: float, noise: Noise | None = None, earlier: EarlierFeatures | None = None
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Judge pictures.

        Args:
            x: pictures in [-1, 1]; H and W are multiples of 2^stage.  # [N, image_channels, H, W]
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1].
            noise: multiplies the input of every convolution larger than 1x1, the dense layer's included (Karras et al.
                2018, appendix B); made of N rows of :meth:`noise_size` numbers.
            earlier: features of the base resolution that the minibatch statistic compares the pictures' own with, as
                constants; the pass leaves the own ones there.

        Returns:
            Logits, float32 at least: [N] with a dense head, [N, 1, H / 2^stage, W / 2^stage] with a patch head; with
            classes, those and the logits of the classes [N, classes].

        Raises:
            ValueError: the noise has too few columns, or the head cannot compare with earlier pictures.
        """
        logits: Tensor | tuple[Tensor, Tensor] = self.head(self.encoder(x, stage, alpha, noise)[0], noise, earlier)
        return logits

    @property
    def any_size(self) -> bool:
        """With a patch head; a dense layer is as large as the base grid."""
        return isinstance(self.head, PatchHead)

    def newest(self, stage: int) -> dict[str, nn.Module]:
        """Of the trunk."""
        return self.encoder.newest(stage)

    def noise_size(self, stage: int) -> int | None:
        """Random numbers for a picture that :meth:`forward` takes from its noise at a stage."""
        return self.encoder.noise_size(stage) + self.head.noise_size

    def logit_layer(self) -> nn.Module | None:
        """The last layer of the head."""
        return self.head.logit

    def rows_are_independent(self, n: int) -> bool:
        """Whether one pass over 2n rows that alternate real, fake gives the logits of two passes over n rows each.

        The strided groups of the minibatch statistic then hold one kind only, provided that the doubled batch is
        grouped like the single one; batch norm and minibatch discrimination mix all rows, and so does gathering.
        With spectral norm, which improves its estimate in every pass, the logits differ by that.
        """
        return not self.batch_norm and self.head.variation.independent(n)

    @torch.no_grad()
    def initialize(self, pictures: Tensor, stage: int, alpha: float) -> None:
        """Scale minibatch discrimination to real pictures, if the head has it (Salimans and Kingma 2016).

        Args:
            pictures: in [-1, 1], the more the better.  # [N, image_channels, H, W]
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1].
        """
        head = self.head
        if isinstance(head, DenseHead) and head.discrimination is not None:
            parts = list(torch.split(pictures, INIT_BATCH))
            if len(parts) > 1 and len(parts[-1]) == 1:  # too few for batch norm
                parts[-2:] = [torch.cat(parts[-2:])]
            features = [head.features(self.encoder(part, stage, alpha)[0]) for part in parts]
            head.discrimination.initialize(torch.cat(features))
