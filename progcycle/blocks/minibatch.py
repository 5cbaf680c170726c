"""Layers that measure how varied a batch is: minibatch standard deviation and minibatch discrimination."""

import re
from typing import Literal

import torch
from torch import Tensor, nn

from progcycle.blocks.autocast import full_precision, in_full_precision
from progcycle.blocks.draw import normal_weight
from progcycle.blocks.gather import gather_rows, own_rows

GroupSize = int | Literal["batch"]


def stddev_group(batch: int, group_size: GroupSize) -> int:
    """Smallest divisor of ``batch`` that is at least min(group_size, batch): 14 -> 7, 6 -> 6, 7 -> 7 for size 4.

    "batch" puts all pictures into one group.
    """
    size = batch if group_size == "batch" else group_size
    return next(g for g in range(max(min(size, batch), 1), batch + 1) if batch % g == 0)


def stddev_channels(averaging: str, channels: int) -> int:
    """Number of channels that :func:`minibatch_stddev` appends to ``channels`` features.

    Raises:
        ValueError: the averaging is unknown, or its number of feature groups does not divide ``channels``.
    """
    if averaging in ("all", "flat"):
        return 1
    if averaging in ("spatial", "none", "gpool"):
        return channels
    if (match := re.fullmatch(r"group([1-9]\d*)", averaging)) is None:
        raise ValueError(f"averaging must be all, flat, spatial, none, gpool or groupK, not {averaging!r}")
    if channels % int(match[1]):
        raise ValueError(f"averaging {averaging!r} cannot share {channels} channels out evenly")
    return int(match[1])


def minibatch_stddev(
    x: Tensor,
    group_size: GroupSize = 4,
    averaging: str = "all",
    gather: bool = False,
    epsilon: float = 1e-8,
    earlier: Tensor | None = None,
) -> Tensor:
    """Append channels that hold the standard deviation over a group of pictures (Karras et al. 2018, section 3).

    The groups are strided as in the official code: with M groups, picture i is grouped with i + M, i + 2M, ... The
    variance is biased and computed in float32 at least. A group of one gives sqrt(epsilon), in all but two modes.

    ========== ================================ ==================================== ========
    averaging  standard deviation over          then the mean over                   channels
    ========== ================================ ==================================== ========
    all        the group                        channels and pixels (the paper)      1
    spatial    the group                        pixels                               C
    groupK     the group                        pixels and C / K successive channels K
    none       the group                        nothing                              C
    gpool      the group and pixels             nothing                              C
    flat       the group, channels and pixels   nothing                              1
    ========== ================================ ==================================== ========

    Args:
        x: features of shape [N, C, H, W].
        group_size: pictures in a group, see :func:`stddev_group`.
        averaging: one of the table.
        gather: form the groups from the joined batch of all processes, see :func:`gather_rows`.
        epsilon: added to the variance, which keeps all derivatives finite.
        earlier: features of earlier pictures, which form the one group together with all of ``x`` (UVCGAN
            v2, Torbunov et al. 2023); nothing is appended to them.  # [M, C, H, W]

    Returns:
        Features of shape [N, C + :func:`stddev_channels`, H, W], of the type of ``x``.

    Raises:
        ValueError: see :func:`stddev_channels`; or there are earlier pictures and more groups than one, or ``gather``.
    """
    n, c, h, w = x.shape
    if earlier is not None:
        if group_size != "batch" or gather:
            raise ValueError("earlier pictures are compared with one batch as a whole: group_size 'batch', no gather")
        rows = torch.cat([full_precision(x), full_precision(earlier)])[:, None]  # [G, 1, C, H, W]
        return torch.cat([x, _statistic(rows, averaging, epsilon).expand(n, -1, h, w).to(x.dtype)], dim=1)
    y = gather_rows(full_precision(x)) if gather else full_precision(x)
    group = stddev_group(len(y), group_size)
    y = y.reshape(group, len(y) // group, c, h, w)  # [G, M, C, H, W]
    statistic = _statistic(y, averaging, epsilon).repeat(group, 1, 1, 1)
    channels = (own_rows(statistic) if gather else statistic).expand(n, -1, h, w)
    return torch.cat([x, channels.to(x.dtype)], dim=1)


def _statistic(y: Tensor, averaging: str, epsilon: float) -> Tensor:
    """The new channels of every group; sides that are constant are 1.  # [G, M, C, H, W] -> [M, S, 1 | H, 1 | W]"""
    over = {"flat": (0, 2, 3, 4), "gpool": (0, 3, 4)}.get(averaging, (0,))
    variance = (y - y.mean(dim=over, keepdim=True)).square().mean(dim=over, keepdim=True)
    stddev = (variance + epsilon).sqrt().squeeze(0)  # [M, 1 | C, 1 | H, 1 | W]
    if averaging in ("flat", "gpool", "none"):
        return stddev
    _, m, c, h, w = y.shape
    shares = stddev_channels(averaging, c)
    return stddev.reshape(m, shares, c // shares, h, w).mean(dim=(2, 3, 4))[:, :, None, None]


class EarlierFeatures:
    """Features of earlier pictures that a forward pass is compared with, and a place for its own.

    Args:
        features: of earlier pictures, without history; None where there are none yet.  # [M, C, H, W]

    Attributes:
        seen: features of the pictures of the pass, without history; None before the pass.  # [N, C, H, W]
    """

    def __init__(self, features: Tensor | None = None) -> None:
        self.features = features
        self.seen: Tensor | None = None


class MinibatchDiscrimination(nn.Module):
    """Append how near the other pictures of the batch are, kernel by kernel (Salimans et al. 2016, section 3.2).

    A kernel b sees picture i as a few numbers M_ib = x_i W_b. Its feature is

        o_b(x_i) = sum over j != i of exp(-|M_ib - M_jb|_1), plus a bias,

    computed in float32 at least. The weights are normalised as in the authors' code, W = theta exp(log_scale) / |theta|
    with the norm taken over the features.

    Args:
        features: F, size of the input rows.
        kernels: B, number of features appended.
        dimensions: numbers in which a kernel compares two pictures.
        gather: compare with the pictures of all processes, see :func:`gather_rows`.
    """

    def __init__(self, features: int, kernels: int = 100, dimensions: int = 5, gather: bool = False) -> None:
        super().__init__()
        self.theta = nn.Parameter(normal_weight((features, kernels, dimensions), 0.05))
        self.log_scale = nn.Parameter(torch.zeros(kernels, dimensions))
        self.bias = nn.Parameter(torch.full((kernels,), -1.0))
        self.gather = gather

    def forward(self, x: Tensor) -> Tensor:  # [N, F] -> [N, F + B]
        """Append the kernels' features; the result has the type of ``x``."""
        return torch.cat([x, in_full_precision(self._nearness, x).to(x.dtype)], dim=1)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Set scales and biases by the features of real pictures, before training (the authors' code).

        Afterwards half the distance to the nearest other picture is 1 on average, and a kernel's feature is 0 on
        average, over these pictures. Processes are not joined: give each the same pictures.

        Args:
            x: features of at least two pictures.  # [N, F]

        Raises:
            ValueError: there are fewer than two pictures, or a kernel cannot tell any two apart.
        """
        if len(x) < 2:
            raise ValueError(f"minibatch discrimination compares pictures: it needs 2 to begin with, not {len(x)}")
        in_full_precision(self._initialize, x)

    def _initialize(self, x: Tensor) -> Tensor:
        m = self._project(x).transpose(0, 1)  # [B, N, dimensions]
        distance = torch.cdist(m, m, p=1)  # [B, N, N]
        distance.diagonal(dim1=1, dim2=2).fill_(torch.inf)
        scale = 0.5 * distance.amin(dim=2).mean(dim=1)  # [B]
        if not (scale > 0).all():
            raise ValueError("minibatch discrimination cannot begin: the pictures given are all alike")
        self.log_scale.sub_(scale.log()[:, None])
        self.bias.copy_(-torch.exp(-distance / scale[:, None, None]).sum(dim=2).mean(dim=1))
        return self.bias

    def _project(self, x: Tensor) -> Tensor:  # [N, F] -> [N, B, dimensions]
        weight = self.theta * (self.log_scale.exp() / self.theta.square().sum(dim=0).sqrt())
        return (x @ weight.flatten(1)).reshape(-1, *self.log_scale.shape)

    def _nearness(self, x: Tensor) -> Tensor:  # [N, F] -> [N, B]
        own = self._project(x)
        everyone = gather_rows(own) if self.gather else own  # [N * P, B, dimensions]
        distance = (own[:, None] - everyone[None]).abs().sum(dim=3)  # [N, N * P, B]
        numbers = torch.arange(len(everyone), device=x.device)
        itself = (own_rows(numbers) if self.gather else numbers)[:, None] == numbers  # [N, N * P]
        return torch.exp(-distance).masked_fill(itself[:, :, None], 0).sum(dim=1) + self.bias
