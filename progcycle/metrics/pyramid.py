"""The Laplacian pyramid of Burt and Adelson 1983, as the sliced Wasserstein distance of Karras et al. 2018 takes it."""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor

from progcycle.resolution import Resolution

SMALLEST = 16  # pixels that the shorter side of the last level has at least


def pyramid_levels(resolution: int) -> tuple[Resolution, ...]:
    """The size of every level, from ``resolution`` down to 16 px, or to where halves would be smaller or not whole.

    Raises:
        ValueError: ``resolution`` is below 16.
    """
    if resolution < SMALLEST:
        raise ValueError(f"a pyramid needs pictures of {SMALLEST} px or more, got {resolution} px")
    return tuple(Resolution.of(resolution).halves(SMALLEST))


def laplacian_pyramid(pictures: Tensor, wanted: Collection[int]) -> Iterator[tuple[int, Tensor]]:
    """Levels of the pyramid, from fine to coarse.

    A level is what the picture has and the next smaller one has not, x - up(down(x)); the last one, of 16 px
    where sides are powers of two, is the small picture itself.

    Args:
        pictures: grey levels.  # [N, C, H, W] floating point
        wanted: the levels to give, in pixels of the shorter side.

    Yields:
        Pixels of the shorter side, and the level.  # [N, C, h, w]

    Raises:
        ValueError: a side is below 16.
    """
    x = pictures
    levels = pyramid_levels(Resolution(*pictures.shape[-2:]))
    for level in levels:
        if level < min(wanted):
            return
        last = level == levels[-1]
        smaller = x if last else pyramid_down(x)
        if level in wanted:
            yield level, x if last else x - pyramid_up(smaller)
        x = smaller


def pyramid_down(x: Tensor) -> Tensor:  # [N, C, 2H, 2W] -> [N, C, H, W]
    """Filter with the outer product of (1, 4, 6, 4, 1) / 16 and keep every second pixel.

    Borders are mirrored without repeating the pixels of the edge.
    """
    return _halve(_halve(x, 3), 2)


def pyramid_up(x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, 2H, 2W]
    """Put zeros between the pixels and filter as :func:`pyramid_down` does, times 4.

    Borders of the picture with zeros are mirrored without repeating the pixels of its edge.
    """
    return _double(_double(x, 2), 3)


def _halve(x: Tensor, dim: int) -> Tensor:
    even, odd = torch.unflatten(x, dim, (-1, 2)).unbind(dim + 1)  # pixels 0, 2, 4, ... and 1, 3, 5, ...
    n = even.shape[dim]
    # The filter on pixel 2i: even pixels i - 1, i, i + 1 weigh 1, 6, 1 and odd pixels i - 1, i weigh 4, 4.
    y = 6 * even
    y.narrow(dim, 1, n - 1).add_(even.narrow(dim, 0, n - 1))
    y.narrow(dim, 0, 1).add_(even.narrow(dim, 1, 1))  # mirrored: pixel -2 is pixel 2
    y.narrow(dim, 0, n - 1).add_(even.narrow(dim, 1, n - 1))
    y.narrow(dim, n - 1, 1).add_(even.narrow(dim, n - 1, 1))  # pixel 2n is pixel 2n - 2
    y.add_(odd, alpha=4)
    y.narrow(dim, 1, n - 1).add_(odd.narrow(dim, 0, n - 1), alpha=4)
    y.narrow(dim, 0, 1).add_(odd.narrow(dim, 0, 1), alpha=4)  # pixel -1 is pixel 1
    result: Tensor = y.mul_(1 / 16)
    return result


def _double(x: Tensor, dim: int) -> Tensor:
    n = x.shape[dim]
    shape = list(x.shape)
    shape.insert(dim + 1, 2)
    y = x.new_empty(shape)
    even, odd = y.unbind(dim + 1)
    # The filter on pixels with zeros between them, times 2 a side: 1, 6, 1 over 8, and 4, 4 over 8.
    torch.mul(x, 6, out=even)
    even.narrow(dim, 1, n - 1).add_(x.narrow(dim, 0, n - 1))
    even.narrow(dim, 0, 1).add_(x.narrow(dim, 1, 1))  # mirrored: pixel -2 is pixel 2
    even.narrow(dim, 0, n - 1).add_(x.narrow(dim, 1, n - 1))
    even.narrow(dim, n - 1, 1).add_(x.narrow(dim, n - 1, 1))  # pixel 2n is pixel 2n - 2
    even.mul_(1 / 8)
    torch.mul(x, 0.5, out=odd)
    odd.narrow(dim, 0, n - 1).add_(x.narrow(dim, 1, n - 1), alpha=0.5)
    odd.narrow(dim, n - 1, 1).add_(x.narrow(dim, n - 1, 1), alpha=0.5)
    return y.flatten(dim, dim + 1)
