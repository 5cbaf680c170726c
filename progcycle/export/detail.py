"""A change painted at the training scale, added to a picture of any size along that picture's own edges.

A guided filter (He, Sun and Tang 2013) explains the change by the picture: within a few pixels it is taken as a linear
function of the picture's colours. The slopes are found on the small picture, where the network worked, and only they
are enlarged; the full picture goes into them (He and Sun 2015, "Fast Guided Filter", arXiv 1505.00996). So the radius
is in pixels of training for pictures of any size, edges stay as sharp as in the picture, and a full pixel
costs little. Unlike a filter, which takes the linear part alone, the rest of the change is enlarged too, bilinearly:
nothing that the network painted is smoothed away, and at the size of training the result is the network's picture.
"""

import math
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

RADIUS = 2  # of the neighbourhoods, in pixels of the training scale
EPSILON = 0.01  # below this variance the guide counts as flat; of numbers in [-1, 1], so a deviation of 13 grey levels
BAND = 1 << 20  # pixels that are worked on at a time
MAPS = 4  # times as much as a picture is what its slopes take

Rows = Callable[[int, int], Tensor]
"""The rows from a first to below a last of pictures, which need not exist as a whole.  # [N, C, last - first, W]"""


class Enlarged:
    """Maps enlarged to a height and width a few rows at a time, as ``F.interpolate`` does it at once.

    Args:
        maps: what to enlarge.  # [N, C, h, w]
        height: of the whole.
        width: of the whole.
        mode: of the interpolation.
    """

    def __init__(self, maps: Tensor, height: int, width: int, mode: Literal["bilinear", "bicubic"]) -> None:
        self.maps, self.height, self.width, self.mode = maps, height, width, mode

    def __call__(self, first: int, last: int) -> Tensor:
        """The rows from ``first`` to below ``last``.  # [N, C, last - first, W]"""
        maps, small = self.maps, self.maps.shape[2]
        # By numpy: far down in a long picture float32 loses the place, and not every accelerator has float64.
        places = (np.arange(first, last) + 0.5) * small / self.height - 0.5
        above = np.floor(places)
        t = places - above
        rows = maps.new_zeros(())
        for offset, weight in _cubic(t) if self.mode == "bicubic" else [(0, 1 - t), (1, t)]:
            index = torch.from_numpy((above.astype(np.int64) + offset).clip(0, small - 1)).to(maps.device)
            share = torch.from_numpy(weight.astype(np.float32)[:, None]).to(maps)
            rows = rows + maps.index_select(2, index) * share
        return F.interpolate(rows, (last - first, self.width), mode=self.mode, align_corners=False)


def _cubic(t: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Taps of the cubic convolution of Keys 1981 with a = -3/4, as ``F.interpolate`` has it."""
    a = -0.75

    def near(x: np.ndarray) -> np.ndarray:
        y: np.ndarray = ((a + 2) * x - (a + 3)) * x * x + 1
        return y

    def far(x: np.ndarray) -> np.ndarray:
        y: np.ndarray = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return y

    return [(-1, far(t + 1)), (0, near(t)), (1, near(1 - t)), (2, far(2 - t))]


def fit_slopes(guide: Tensor, change: Tensor, radius: int = RADIUS, epsilon: float = EPSILON) -> Tensor:
    """How a change follows the colours of a guide around every pixel.

    The slopes of He, Sun and Tang 2013, equation 19, averaged as in equation 21; with one channel, equations 5 and 8.

    Args:
        guide: pictures.  # [N, G, h, w]
        change: what is to be explained.  # [N, C, h, w]
        radius: of the square neighbourhoods, which end at the border.
        epsilon: variance below which the guide counts as flat.

    Returns:
        Slopes: change[c] varies by slope[c, g] as guide[g] varies by 1.  # [N, C, G, h, w]
    """

    def covariance(x: Tensor, y: Tensor) -> Tensor:  # [N, X, h, w], [N, Y, h, w] -> [N, h, w, X, Y]
        products = (x[:, :, None] * y[:, None]).flatten(1, 2)
        both = _mean(products, radius).reshape(x.shape[0], x.shape[1], y.shape[1], *x.shape[2:])
        return (both - _mean(x, radius)[:, :, None] * _mean(y, radius)[:, None]).permute(0, 3, 4, 1, 2)

    variance = covariance(guide, guide) + epsilon * torch.eye(guide.shape[1])
    slope = torch.linalg.solve(variance, covariance(guide, change)).permute(0, 4, 3, 1, 2)  # [N, C, G, h, w]
    return _mean(slope.flatten(1, 2), radius).reshape(slope.shape)


def _slopes_of_rows(guide: Tensor, change: Tensor, first: int, last: int) -> Tensor:
    """The rows from ``first`` to below ``last`` of :func:`fit_slopes`, which two neighbourhoods reach."""
    top, bottom = max(first - 2 * RADIUS, 0), min(last + 2 * RADIUS, guide.shape[2])
    slope = fit_slopes(guide[:, :, top:bottom].cpu(), change[:, :, top:bottom].cpu())
    return slope[..., first - top : last - top, :].to(guide.device)


def _mean(x: Tensor, radius: int) -> Tensor:
    return F.avg_pool2d(x, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)


def add_change(full: Rows, height: int, width: int, small: Tensor, change: Tensor) -> Rows:
    """Pictures with a change that was found at a smaller scale.

    Args:
        full: the pictures, in [-1, 1].  # [N, C, height, width]
        height: of the full pictures, at least that of the small ones.
        width: of the full pictures, likewise.
        small: the same pictures at the training scale.  # [N, C, h, w]
        change: what is to be added to them.  # [N, C, h, w]

    Returns:
        The changed pictures, clamped to [-1, 1].  # [N, C, height, width]
    """
    channels = change.shape[1]
    maps = []
    for i, j in bands(small.shape[2], len(small) * small.shape[3] * MAPS):
        slope = _slopes_of_rows(small, change, i, j)
        rest = change[:, :, i:j] - (slope * small[:, None, :, i:j]).sum(dim=2)
        maps.append(torch.cat([slope.flatten(1, 2), rest], dim=1))
    enlarged = Enlarged(torch.cat(maps, dim=2), height, width, "bilinear")

    def rows(first: int, last: int) -> Tensor:
        x, maps = full(first, last), enlarged(first, last)
        slope = maps[:, :-channels].reshape(x.shape[0], channels, channels, *x.shape[2:])
        return (x + (slope * x[:, None]).sum(dim=2) + maps[:, -channels:]).clamp(-1, 1)

    return rows


def bands(height: int, width: int) -> Iterator[tuple[int, int]]:
    """Rows from top to bottom, about a million pixels at a time: (first, last) with ``last`` one below.

    Args:
        height: of the pictures.
        width: of all pictures side by side.
    """
    step = max(1, BAND // width)
    for i in range(math.ceil(height / step)):
        yield i * step, min((i + 1) * step, height)
