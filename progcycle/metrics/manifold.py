"""How far two sets of features overlap, by the distances to nearest neighbours.

A set's manifold is taken to be the union of balls around its features, each as large as the distance to its k-th
nearest neighbour in the set (Kynkaanniemi et al. 2019).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

NEIGHBOURS = 3  # k of precision and recall, as published
DENSITY_NEIGHBOURS = 5  # k of density and coverage, as published
CELLS = 1 << 24  # distances at a time
ROUNDING = 1e-12  # of a squared distance, as a share of the squared lengths that it is computed from


@dataclass(frozen=True)
class ManifoldOverlap:
    """How far generated features overlap with real ones.

    Attributes:
        precision: share of the generated features that lie in a ball of a real one: how many look real.
        recall: share of the real features that lie in a ball of a generated one: how much of them is generated.
        density: mean number of real balls that a generated feature lies in, over k (Naeem et al. 2020). About 1 for
            sets of one distribution; it can be above 1. Unlike precision, one outlier among the real ones says little.
        coverage: share of the real features whose ball has a generated one in it (Naeem et al. 2020).
    """

    precision: float
    recall: float
    density: float
    coverage: float

    def figures(self) -> dict[str, float]:
        """The figures by name."""
        return dict(vars(self))


def manifold_overlap(
    made: Tensor, real: Tensor, k: int = NEIGHBOURS, density_k: int = DENSITY_NEIGHBOURS
) -> ManifoldOverlap:
    """Precision, recall, density and coverage of generated features (Kynkaanniemi et al. 2019, Naeem et al. 2020).

    All four depend on how many features there are, so compare them at equal counts only. What lies on the surface of
    a ball lies in it.

    Args:
        made: features of generated pictures.  # [N, D]
        real: features of real ones.  # [M, D]
        k: neighbours whose distance is the radius of a ball, for precision and recall.
        density_k: the same for density and coverage.

    Raises:
        ValueError: the shapes do not fit, or a set has no k neighbours.
    """
    most = max(k, density_k)
    if made.ndim != 2 or real.ndim != 2 or made.shape[1] != real.shape[1] or min(k, density_k) < 1:
        raise ValueError(f"expected features [N, D] and [M, D] and k from 1 on, got {list(made.shape)}, {real.shape}")
    if min(len(made), len(real)) <= most:
        raise ValueError(f"{most} neighbours need {most + 1} rows of each set, got {len(made)} and {len(real)}")
    made, real = made.cpu().double(), real.cpu().double()  # not every accelerator has float64
    made_radii, real_radii = _radii(made, [k])[0], _radii(real, [k, density_k])
    precise = inside = 0
    recalled = torch.zeros(len(real), dtype=torch.bool)
    covered = torch.zeros(len(real), dtype=torch.bool)
    for rows, squares, slack in _squared_distances(made, real):
        least = squares - slack
        precise += int((least <= real_radii[0]).any(dim=1).sum())
        recalled |= (least <= made_radii[rows, None]).any(dim=0)
        dense = least <= real_radii[1]
        inside += int(dense.sum())
        covered |= dense.any(dim=0)
    return ManifoldOverlap(
        precision=precise / len(made),
        recall=float(recalled.double().mean()),
        density=inside / (density_k * len(made)),
        coverage=float(covered.double().mean()),
    )


def _radii(x: Tensor, neighbours: list[int]) -> list[Tensor]:
    """Squared distances of every row to its k-th nearest other, for each k.  # [N, D] -> [N] each"""
    found = []
    for rows, squares, _ in _squared_distances(x, x):
        squares[torch.arange(len(squares)), torch.arange(len(x))[rows]] = torch.inf  # none is its own neighbour
        nearest = squares.topk(max(neighbours), dim=1, largest=False).values
        found.append(nearest[:, [k - 1 for k in neighbours]])
    return list(torch.cat(found).T)


def _squared_distances(x: Tensor, y: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Squared distances of some rows of x at a time to all of y, and how much rounding may have added to them."""
    lengths = y.square().sum(dim=1)
    step = max(CELLS // len(y), 1)
    for first in range(0, len(x), step):
        some = x[first : first + step]
        sums = some.square().sum(dim=1)[:, None] + lengths
        yield slice(first, first + step), (sums - 2 * some @ y.T).clamp_(min=0), ROUNDING * sums
