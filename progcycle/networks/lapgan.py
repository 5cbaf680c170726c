"""The networks of LAPGAN (Denton et al. 2015, section 3, and the authors' code for CIFAR-10 and LSUN).

A picture is made from coarse to fine. The coarsest level paints a small picture from latents. Every other level doubles
it and paints the detail that is missing: I_k = u(I_k+1) + G_k(z_k, u(I_k+1)), u being the enlargement (equation 3). Its
discriminator sees the coarse picture plus the detail, that is, the picture of that level.
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import draw_weight, in_full_precision, upsample2x
from progcycle.networks.base import Network, NetworkOptions, TaskShape
from progcycle.networks.one_size import OneSizeCritic, OneSizeOptions

Pyramid = Literal["box", "bilinear"]
WIDEST = 1 << 14  # hidden units; the layer between two such layers takes 1 GB


def enlarge(x: Tensor, pyramid: Pyramid) -> Tensor:  # [N, C, H, W] -> [N, C, 2H, 2W]
    """The enlargement of a Laplacian pyramid, whose reduction is the mean of 2x2 pixels.

    ``box`` repeats every pixel. ``bilinear`` is the published one: Torch7's ``image.scale`` interpolates between the
    centres of the corner pixels when it enlarges, and takes the mean of an area when it reduces.
    """
    if pyramid == "box":
        return upsample2x(x)
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def drop(x: Tensor, chances: Tensor | None, share: float) -> Tensor:
    """Dropout with given random numbers: set a share of the units to 0, and scale the others up.

    Args:
        x: units, or maps, which are dropped whole.  # [N, C] or [N, C, H, W]
        chances: uniform in [0, 1), of each; None: all stay, as in use.  # [N, C]
        share: of them that is dropped, on average.
    """
    if chances is None or share == 0:
        return x
    kept = (chances >= share).to(x.dtype) / (1 - share)
    return x * kept.reshape(*kept.shape, *[1] * (x.ndim - 2))


def joined(x: Tensor, labels: Tensor | None, classes: int) -> Tensor:
    """Rows with one-hot labels at their end, where there are classes.  # [N, D], [N, K] -> [N, D + K]

    Raises:
        ValueError: labels are missing, of another shape, or given where there are no classes.
    """
    check_labels(x.shape[0], labels, classes)
    return x if labels is None else torch.cat([x, labels.to(x.dtype)], dim=1)


def check_labels(count: int, labels: Tensor | None, classes: int) -> None:
    """Refuse labels that do not fit.

    Raises:
        ValueError: labels are missing, of another shape, or given where there are no classes.
    """
    given = None if labels is None else list(labels.shape)
    if given != ([count, classes] if classes else None):
        raise ValueError(f"a network of {classes} classes got {count} rows and labels {given}")


def spread(network: nn.Module, deviation: float) -> None:
    """Draw the weights of dense layers from N(0, deviation^2); biases are 0."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            draw_weight(module.weight, 0.0, deviation)
            nn.init.zeros_(module.bias)


def check_width(hidden: int) -> None:
    """Refuse layers that are too wide, wherever their width comes from."""
    if hidden > WIDEST:
        raise ValueError(f"hidden: at most {WIDEST} units, got {hidden}")


# --- the coarsest level -------------------------------------------------------------------------------------------


class MlpGeneratorOptions(OneSizeOptions):
    """Options of the dense generator of LAPGAN's coarsest level."""

    latent_size: int = Field(100, ge=1, le=1 << 16, description="random numbers that a picture is painted from")
    hidden: int = Field(8000, ge=1, le=WIDEST, description="units of each of the two hidden layers")


class MlpGenerator(Network):
    """Latents and classes -> dense, ReLU -> dense, sigmoid -> dense: a picture, without bounds. N(0, 0.05^2).

    Args:
        resolution: pixels of a side.
        image_channels: channels of the pictures.
        latent_size: numbers in a latent.
        hidden: units of each hidden layer.
        classes: number of classes whose one-hot labels join the latents, 0 for none.

    Raises:
        ValueError: more hidden units than ``WIDEST``.
    """

    squares = True
    Options = MlpGeneratorOptions
    sizes = "one"
    has_classes = True
    distribution = "uniform"

    def __init__(
        self, resolution: int, image_channels: int = 3, latent_size: int = 100, hidden: int = 8000, classes: int = 0
    ) -> None:
        super().__init__()
        check_width(hidden)
        self.smallest, self.latent_size, self.classes = resolution, latent_size, classes
        self.shape = (image_channels, resolution, resolution)
        self.first = nn.Linear(latent_size + classes, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.picture = nn.Linear(hidden, math.prod(self.shape))
        spread(self, 0.05)

    def forward(self, latents: Tensor, stage: int = 0, alpha: float = 1.0, labels: Tensor | None = None) -> Tensor:
        """Paint pictures from latents.

        Args:
            latents: uniform in [-1, 1].  # [N, latent_size]
            stage: not used.
            alpha: not used.
            labels: one-hot rows, if there are classes.  # [N, classes]

        Returns:
            Pictures in about [-1, 1], float32 at least.  # [N, C, R, R]

        Raises:
            ValueError: labels do not fit.
        """
        x = joined(latents, labels, self.classes)
        h = self.second(F.relu(self.first(x))).sigmoid()
        return in_full_precision(self.picture, h).reshape(-1, *self.shape)


class MlpDiscriminatorOptions(OneSizeOptions):
    """Options of the dense discriminator of LAPGAN's coarsest level."""

    hidden: int = Field(1600, ge=1, le=WIDEST, description="units of each of the two hidden layers")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of the hidden units that is dropped in training")


class MlpDiscriminator(OneSizeCritic):
    """A picture and classes -> dense, ReLU, dropout, twice -> dense: a logit. Weights from N(0, 0.005^2).

    Args:
        resolution: pixels of a side.
        image_channels: channels of the pictures.
        hidden: units of each hidden layer.
        dropout: share of them that is dropped in training.
        classes: number of classes whose one-hot labels join the pixels, 0 for none.

    Raises:
        ValueError: more hidden units than ``WIDEST``.
    """

    squares = True
    Options = MlpDiscriminatorOptions
    has_classes = True
    told_classes = True

    def __init__(
        self, resolution: int, image_channels: int = 3, hidden: int = 1600, dropout: float = 0.5, classes: int = 0
    ) -> None:
        super().__init__()
        check_width(hidden)
        self.smallest, self.hidden, self.dropout, self.classes = resolution, hidden, dropout, classes
        self.first = nn.Linear(image_channels * resolution**2 + classes, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.logit = nn.Linear(hidden, 1)
        spread(self, 0.005)

    def dropout_size(self, stage: int) -> int:
        """The hidden units."""
        return 2 * self.hidden if self.dropout else 0

    def forward(
        self,
        x: Tensor,
        stage: int = 0,
        alpha: float = 1.0,
        labels: Tensor | None = None,
        dropout: Tensor | None = None,
    ) -> Tensor:
        """Judge pictures.

        Args:
            x: pictures in [-1, 1].  # [N, C, R, R]
            stage: not used.
            alpha: not used.
            labels: one-hot rows, if there are classes.  # [N, classes]
            dropout: uniform numbers in [0, 1) in training, for :func:`drop`; None: nothing is.  # [N, 2 hidden]

        Returns:
            Logits, float32 at least.  # [N, 1]

        Raises:
            ValueError: labels do not fit.
        """
        first, second = (None, None) if dropout is None else dropout.chunk(2, dim=1)
        h = drop(F.relu(self.first(joined(x.flatten(1), labels, self.classes))), first, self.dropout)
        h = drop(F.relu(self.second(h)), second, self.dropout)
        return in_full_precision(self.logit, h)


# --- the other levels ---------------------------------------------------------------------------------------------


class ClassPlane(nn.Module):
    """One-hot labels as a map: a dense layer to its pixels, and a ReLU.

    Args:
        classes: number of classes.
        side: pixels of a side.
    """

    def __init__(self, classes: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.dense = nn.Linear(classes, side * side)

    def forward(self, labels: Tensor) -> Tensor:  # [N, K] -> [N, 1, R, R]
        """The maps of some labels."""
        return F.relu(self.dense(labels)).reshape(-1, 1, self.side, self.side)


class LevelOptions(OneSizeOptions):
    """Options of all generators of a level above the coarsest."""

    pyramid: Pyramid = Field("box", description="how coarse pictures are enlarged: box repeats pixels; bilinear")


class LevelGenerator(Network):
    """A generator of a level above the coarsest: doubles a picture, and paints what :meth:`detail` gives over it.

    Args:
        resolution: pixels of a side of the level.
        pyramid: how coarse pictures are enlarged.
        classes: number of classes, 0 for none.
    """

    sizes = "one"
    has_classes = True
    distribution = "uniform"
    Options: ClassVar[type[NetworkOptions]] = LevelOptions

    def __init__(self, resolution: int, pyramid: Pyramid, classes: int) -> None:
        super().__init__()
        self.side, self.pyramid, self.classes = resolution, pyramid, classes
        self.smallest = resolution
        self.latent_size = resolution * resolution
        self.plane = ClassPlane(classes, resolution) if classes else None

    def enlarged(self, coarse: Tensor) -> Tensor:  # [N, C, R/2, R/2] -> [N, C, R, R]
        """The coarse picture at the size of the level."""
        return enlarge(coarse, self.pyramid)

    def inputs(self, enlarged: Tensor, latents: Tensor, labels: Tensor | None) -> Tensor:
        """The plane of noise, that of the class, and the enlarged picture.  # [N, 1 (+ 1) + C, R, R]

        Raises:
            ValueError: labels do not fit.
        """
        check_labels(len(enlarged), labels, self.classes)
        noise = latents[:, : self.side**2].to(enlarged.dtype)
        maps = [noise.reshape(-1, 1, self.side, self.side)]
        if self.plane is not None and labels is not None:
            maps.append(self.plane(labels.to(enlarged.dtype)).to(enlarged.dtype))
        return torch.cat([*maps, enlarged], dim=1).contiguous(memory_format=torch.channels_last)

    def detail(self, enlarged: Tensor, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """What the enlarged picture lacks.  # [N, C, R, R] -> [N, C, R, R] float32 at least"""
        raise NotImplementedError

    def forward(
        self, coarse: Tensor, stage: int, alpha: float, latents: Tensor, labels: Tensor | None = None
    ) -> Tensor:
        """Paint the picture of this level from that of the level below.

        Args:
            coarse: pictures in about [-1, 1].  # [N, C, R/2, R/2]
            stage: not used.
            alpha: not used.
            latents: uniform in [-1, 1]; the plane of noise.  # [N, latent_size]
            labels: one-hot rows, if there are classes.  # [N, classes]

        Returns:
            Pictures in about [-1, 1], float32 at least.  # [N, C, R, R]

        Raises:
            ValueError: labels do not fit.
        """
        enlarged = self.enlarged(coarse)
        return enlarged + self.detail(enlarged, latents, labels)


class LapganGeneratorOptions(LevelOptions):
    """Options of the generator of a level as published for CIFAR-10."""

    filters: int = Field(64, ge=1, le=1 << 12, description="of the two hidden layers; the paper's LSUN code has 128")


class LapganGenerator(LevelGenerator):
    """7x7 convolution, ReLU, 7x7, ReLU, 5x5: the detail. No normalisation; weights as torch draws them.

    Args:
        resolution: pixels of a side of the level.
        image_channels: channels of the pictures.
        filters: of the hidden layers.
        pyramid: how coarse pictures are enlarged.
        classes: number of classes, whose plane joins that of the noise; 0 for none.
    """

    Options = LapganGeneratorOptions

    def __init__(
        self,
        resolution: int,
        image_channels: int = 3,
        filters: int = 64,
        pyramid: Pyramid = "box",
        classes: int = 0,
    ) -> None:
        super().__init__(resolution, pyramid, classes)
        self.body = nn.Sequential(
            nn.Conv2d(1 + bool(classes) + image_channels, filters, 7, padding=3),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 7, padding=3),
            nn.ReLU(),
        )
        self.to_rgb = nn.Conv2d(filters, image_channels, 5, padding=2)

    def detail(self, enlarged: Tensor, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """See :meth:`LevelGenerator.detail`."""
        return in_full_precision(self.to_rgb, self.body(self.inputs(enlarged, latents, labels)))


def check_side(name: str, side: int, least: int) -> None:
    """Refuse pictures that are too small for a discriminator."""
    if side < least:
        raise ValueError(
            f"name: {name} needs pictures of {least} px or more, and these have {side}; choose another network, or "
            "larger pictures (of a pyramid, a higher network.base_resolution)"
        )


class LapganDiscriminatorOptions(OneSizeOptions):
    """Options of the discriminator of a level as published for CIFAR-10."""

    filters: int = Field(64, ge=1, le=1 << 12, description="of both convolutions")
    dropout: float = Field(0.5, ge=0, lt=1, description="share of the last features that is dropped in training")

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`."""
        check_side(self.name, shape.resolution, LapganDiscriminator.least_side)
        return super().arguments(shape)


class LapganDiscriminator(OneSizeCritic):
    """5x5 convolution, ReLU, 5x5 with stride 2, ReLU, dropout, dense: a logit. No padding; weights as torch draws them.

    Args:
        resolution: pixels of a side of the level; at least 9.
        image_channels: channels of the pictures.
        filters: of both convolutions.
        dropout: share of the last features that is dropped in training.
        classes: number of classes, whose plane joins the picture; 0 for none.
    """

    squares = True
    Options = LapganDiscriminatorOptions
    has_classes = True
    told_classes = True
    least_side: ClassVar[int] = 9

    def __init__(
        self,
        resolution: int,
        image_channels: int = 3,
        filters: int = 64,
        dropout: float = 0.5,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.smallest, self.dropout, self.classes = resolution, dropout, classes
        self.plane = ClassPlane(classes, resolution) if classes else None
        self.first = nn.Conv2d(image_channels + bool(classes), filters, 5)
        self.second = nn.Conv2d(filters, filters, 5, stride=2)
        self.features = filters * ((resolution - 4 - 5) // 2 + 1) ** 2
        self.logit = nn.Linear(self.features, 1)

    def dropout_size(self, stage: int) -> int:
        """The last features."""
        return self.features if self.dropout else 0

    def forward(
        self,
        x: Tensor,
        stage: int = 0,
        alpha: float = 1.0,
        labels: Tensor | None = None,
        dropout: Tensor | None = None,
    ) -> Tensor:
        """Judge pictures, which are coarse ones plus their detail.

        Args:
            x: pictures in about [-1, 1].  # [N, C, R, R]
            stage: not used.
            alpha: not used.
            labels: one-hot rows, if there are classes.  # [N, classes]
            dropout: uniform numbers in [0, 1) in training, for :func:`drop`; None: nothing is.  # [N, features]

        Returns:
            Logits, float32 at least.  # [N, 1]

        Raises:
            ValueError: labels do not fit.
        """
        check_labels(x.shape[0], labels, self.classes)
        if self.plane is not None and labels is not None:
            x = torch.cat([x, self.plane(labels.to(x.dtype)).to(x.dtype)], dim=1)
        h = F.relu(self.second(F.relu(self.first(x))))
        return in_full_precision(self.logit, drop(h.flatten(1), dropout, self.dropout))


# --- the large level of LSUN --------------------------------------------------------------------------------------

WIDTHS, DROPPED = (64, 368, 128, 224), 0.5


class LargeLapganGeneratorOptions(LevelOptions):
    """Options of the large generator of a level, as published for LSUN."""


class LargeLapganGenerator(LevelGenerator):
    """The large level of the LSUN code: grouped convolutions, batch norm behind the ReLU, dropout of whole maps.

    7x7 to 64; 7x7 in 4 groups to 368, dropout; 7x7 in 4 groups to 128, then the root of the sum of squares of every
    pair of maps, 64; 5x5 in 2 groups to 224, dropout; 7x7 to the picture. Batch norm has no weights, but for the last.
    The uniform numbers of dropout are the last ones of the latents.

    Args:
        resolution: pixels of a side of the level.
        image_channels: channels of the pictures.
        pyramid: how coarse pictures are enlarged.
        classes: number of classes, whose plane joins that of the noise; 0 for none.
    """

    Options = LargeLapganGeneratorOptions
    needs_two_pictures = False  # batch norm sees many pixels of each

    def __init__(self, resolution: int, image_channels: int = 3, pyramid: Pyramid = "box", classes: int = 0) -> None:
        super().__init__(resolution, pyramid, classes)
        self.latent_size += WIDTHS[1] + WIDTHS[3]
        sizes = [1 + bool(classes) + image_channels, *WIDTHS[:3]]
        convs = [nn.Conv2d(a, b, 7, padding=3, groups=g) for a, b, g in zip(sizes, sizes[1:], (1, 4, 4), strict=False)]
        convs.append(nn.Conv2d(WIDTHS[2] // 2, WIDTHS[3], 5, padding=2, groups=2))
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width, affine=False) for width in WIDTHS])
        self.to_rgb = nn.Conv2d(WIDTHS[3], image_channels, 7, padding=3)
        self.norm = nn.BatchNorm2d(image_channels)

    def detail(self, enlarged: Tensor, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """See :meth:`LevelGenerator.detail`."""
        chances: list[Tensor | None] = [None] * len(WIDTHS)
        if self.training:
            uniform = (1 + latents[:, self.side**2 :]) / 2
            chances[1], chances[3] = torch.split(uniform, [WIDTHS[1], WIDTHS[3]], dim=1)
        h = self.inputs(enlarged, latents, labels)
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            h = drop(norm(F.relu(conv(h))), chances[i], DROPPED)
            if i == len(WIDTHS) - 2:
                h = torch.unflatten(h, 1, (-1, 2)).square().sum(2).clamp(min=1e-12).sqrt()
        return in_full_precision(self.norm, in_full_precision(self.to_rgb, h))


class LargeLapganDiscriminatorOptions(OneSizeOptions):
    """Options of the large discriminator of a level, as published for LSUN."""

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`."""
        check_side(self.name, shape.resolution, LargeLapganDiscriminator.least_side)
        return super().arguments(shape)


class LargeLapganDiscriminator(OneSizeCritic):
    """3x3 convolution to 48, ReLU; 5x5 in 4 groups to 448, ReLU; 7x7 in 16 groups to 416, ReLU; dense. No padding.

    Args:
        resolution: pixels of a side of the level; at least 13.
        image_channels: channels of the pictures.
    """

    squares = True
    Options = LargeLapganDiscriminatorOptions
    least_side: ClassVar[int] = 13
    widths: ClassVar[Sequence[int]] = (48, 448, 416)

    def __init__(self, resolution: int, image_channels: int = 3) -> None:
        super().__init__()
        self.smallest = resolution
        first, second, third = self.widths
        self.body = nn.Sequential(
            nn.Conv2d(image_channels, first, 3),
            nn.ReLU(),
            nn.Conv2d(first, second, 5, groups=4),
            nn.ReLU(),
            nn.Conv2d(second, third, 7, groups=16),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.logit = nn.Linear(third * (resolution - 12) ** 2, 1)

    def forward(self, x: Tensor, stage: int = 0, alpha: float = 1.0) -> Tensor:
        """Judge pictures.

        Args:
            x: pictures in about [-1, 1].  # [N, C, R, R]
            stage: not used.
            alpha: not used.

        Returns:
            Logits, float32 at least.  # [N, 1]
        """
        return in_full_precision(self.logit, self.body(x))
