"""A loss on the colours of translations as a set: sliced Wasserstein distance (Bonneel et al. 2015)."""

from torch import Tensor

from progcycle.blocks import downsample2x, full_precision
from progcycle.objectives.sliced_wasserstein import sliced_wasserstein

STEP = 2  # halvings from one resolution that colours are compared at to the next


def palette_loss(fake: Tensor, earlier_fake: Tensor | None, real: Tensor, directions: Tensor) -> Tensor:
    """Mean squared distance from each colour of fakes to the real colour of the same rank, along random directions.

    All fakes, new and earlier, are ranked together, and so are all real pictures; the nth colour is to be the nth. So
    it says nothing of any one picture: all together are to have the colours of the real ones, as often as these. It is
    the mean over resolutions, each a quarter of the one before, down to a picture's mean colour: of pixels alone, every
    picture might have all colours.

    Args:
        fake: new fakes.  # [N, C, H, W]
        earlier_fake: without history; None for none.  # [M, C, H, W]
        real: real pictures, as many as fakes in all.  # [N + M, C, H, W]
        directions: unit vectors of colours.  # [K, C]

    Raises:
        ValueError: not as many real pictures as fakes.
    """
    others = fake[:0] if earlier_fake is None else earlier_fake.to(fake)
    if len(real) != len(fake) + len(others):
        raise ValueError(f"{len(real)} real pictures for {len(fake)} and {len(others)} fakes")
    mine, others, real = full_precision(fake), full_precision(others), full_precision(real)
    levels = []
    while True:
        levels.append(sliced_wasserstein(*(_projected(pictures, directions) for pictures in (mine, others, real))))
        if max(mine.shape[2:]) == 1:
            break
        for _ in range(STEP):
            mine, others, real = _half(mine), _half(others), _half(real)
    total: Tensor = sum(levels[1:], levels[0]) / len(levels)
    return total


def _half(pictures: Tensor) -> Tensor:
    """Half the size; the mean colour where halves are not whole.  # [N, C, H, W] -> [N, C, H / 2, W / 2], or 1 x 1"""
    whole = all(side % 2 == 0 for side in pictures.shape[2:])
    return downsample2x(pictures) if whole else pictures.mean((2, 3), keepdim=True)


def _projected(pictures: Tensor, directions: Tensor) -> Tensor:
    """[N, C, H, W] -> [K, N H W]"""
    return directions.to(pictures) @ pictures.transpose(0, 1).flatten(1)
