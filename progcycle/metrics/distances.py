"""Distances between two sets of features: kernel (as in KID) and Frechet (as in FID)."""

import math

import torch
from torch import Tensor

ROWS = 1024  # of a kernel matrix at a time


def kernel_distance(x: Tensor, y: Tensor) -> float:
    """Squared maximum mean discrepancy of all rows, with the kernel (x.y / D + 1)^3 (Binkowski et al. 2018).

    The estimate is unbiased: 0 on average for two samples of one distribution, however small, and thus often below 0.

    Args:
        x: features of one set.  # [N, D]
        y: features of the other.  # [M, D]

    Raises:
        ValueError: the shapes do not fit, or a set has fewer than two rows.
    """
    own_x, own_y, rows, _ = _kernel_sums(x, y)
    n, m = len(own_x), len(own_y)
    return float(own_x.sum() / (n * (n - 1)) + own_y.sum() / (m * (m - 1)) - 2 * rows.sum() / (n * m))


def kernel_distance_spread(x: Tensor, y: Tensor) -> float:
    """Standard error of :func:`kernel_distance`, by the jackknife over the rows of both sets (Arvesen 1969).

    Every row is left out in turn; the sums of the kernel matrices give the remainder.

    Args:
        x: features of one set.  # [N, D]
        y: features of the other.  # [M, D]

    Raises:
        ValueError: the shapes do not fit, or a set has fewer than three rows.
    """
    if min(len(x), len(y)) < 3:
        raise ValueError(f"a standard error needs three rows of each set, got {len(x)} and {len(y)}")
    own_x, own_y, rows, columns = _kernel_sums(x, y)
    variance = _jackknife(own_x, rows, len(y)) + _jackknife(own_y, columns, len(x))
    return math.sqrt(variance)


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Squared Frechet distance of two normal distributions fitted to the rows (Heusel et al. 2017, equation 6).

    |mean difference|^2 + tr(Cx + Cy - 2 (Cx Cy)^(1/2)); the last trace is the nuclear norm of X Y^T, X and Y being the
    centred rows over sqrt(N - 1), and their triangular factors give it too. With few rows for the dimensions it is
    mostly bias.

    Args:
        x: features of one set.  # [N, D]
        y: features of the other.  # [M, D]

    Raises:
        ValueError: the shapes do not fit, or a set has fewer than two rows.
    """
    x, y = _checked(x, y)
    centred = [(rows - rows.mean(dim=0)) / (len(rows) - 1) ** 0.5 for rows in (x, y)]
    traces = sum(rows.square().sum() for rows in centred)
    factors = [torch.linalg.qr(rows, mode="r").R for rows in centred]
    overlap = torch.linalg.svdvals(factors[0] @ factors[1].T).sum()
    gap = (x.mean(dim=0) - y.mean(dim=0)).square().sum()
    return max(float(gap + traces - 2 * overlap), 0.0)


def _checked(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2:
        raise ValueError(f"expected features [N, D] and [M, D] from two rows on, got {list(x.shape)}, {list(y.shape)}")
    return x.cpu().double(), y.cpu().double()  # not every accelerator has float64


def _kernel_sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Row sums of the kernel within x and within y, without the diagonals; its row and column sums between them."""
    x, y = _checked(x, y)
    own_x, own_y = (_rows(a, a)[0] - _kernel((a * a).sum(dim=1), a.shape[1]) for a in (x, y))
    return (own_x, own_y, *_rows(x, y))


def _rows(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = [], torch.zeros(len(y), dtype=torch.float64)
    for some in torch.split(x, ROWS):
        kernel = _kernel(some @ y.T, x.shape[1])
        rows.append(kernel.sum(dim=1))
        columns += kernel.sum(dim=0)
    return torch.cat(rows), columns


def _kernel(products: Tensor, dimensions: int) -> Tensor:
    return (products / dimensions + 1) ** 3


def _jackknife(own: Tensor, cross: Tensor, others: int) -> float:
    """Variance of the distance from one set's rows, by their sums in the kernels within and between."""
    n = len(own)
    within = (own.sum() - 2 * own) / ((n - 1) * (n - 2))
    between = (cross.sum() - cross) / ((n - 1) * others)
    without = within - 2 * between  # the other set's own part is the same in all
    return float((n - 1) / n * (without - without.mean()).square().sum())
