"""Sliced Wasserstein distance of two sets of points, squared (Bonneel et al. 2015)."""

import torch
from torch import Tensor


def sliced_wasserstein(mine: Tensor, others: Tensor, wanted: Tensor) -> Tensor:
    """Mean squared distance, along each direction, from each point of a set to the wanted one of the same rank.

    Args:
        mine: points that learn, along K directions.  # [K, N]
        others: points of the same set that are ranked with them, and do not learn.  # [K, M]
        wanted: points of the other set.  # [K, N + M]

    Raises:
        ValueError: the sets differ in size.
    """
    order = torch.cat([mine.detach(), others], dim=1).argsort(dim=1, stable=True)
    if order.shape != wanted.shape:
        raise ValueError(f"{order.shape[1]} points are compared with {wanted.shape[1]}")
    ranks = order.argsort(dim=1)[:, : mine.shape[1]]
    return (mine - wanted.sort(dim=1).values.gather(1, ranks)).square().mean()
