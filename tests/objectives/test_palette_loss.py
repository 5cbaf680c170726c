"""The palette loss against sorting in numpy and distances known beforehand."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from progcycle.objectives import palette_loss


def directions(count: int, channels: int = 3) -> torch.Tensor:
    torch.manual_seed(1)
    return normalize(torch.randn(count, channels, dtype=torch.float64), dim=1)


def reduced(pictures: np.ndarray, side: int) -> np.ndarray:
    n, c, r, _ = pictures.shape
    return pictures.reshape(n, c, side, r // side, side, r // side).mean(axis=(3, 5))


def by_numpy(fake: np.ndarray, earlier: np.ndarray, real: np.ndarray, along: np.ndarray, sides: list[int]) -> float:
    levels = []
    for side in sides:
        squares = []
        for direction in along:
            new, old, wanted = (
                np.einsum("c,nchw->nhw", direction, reduced(x, side)).reshape(-1) for x in (fake, earlier, real)
            )
            order = np.argsort(np.concatenate([new, old]))
            target = np.empty(len(order))
            target[order] = np.sort(wanted)
            squares.append(np.mean((new - target[: len(new)]) ** 2))
        levels.append(np.mean(squares))
    return float(np.mean(levels))


@pytest.mark.parametrize(("side", "sides"), [(1, [1]), (4, [4, 1]), (8, [8, 2, 1]), (16, [16, 4, 1])])
def test_loss_is_the_mean_over_resolutions_of_sorted_differences(side: int, sides: list[int]) -> None:
    torch.manual_seed(0)
    fake, earlier = torch.randn(2, 3, side, side).double(), torch.randn(3, 3, side, side).double()
    real, along = 2 * torch.randn(5, 3, side, side).double() + 0.3, directions(7)
    expected = by_numpy(fake.numpy(), earlier.numpy(), real.numpy(), along.numpy(), sides)
    assert palette_loss(fake, earlier, real, along).item() == pytest.approx(expected, rel=1e-12)


def test_the_same_colours_in_other_pictures_and_places_cost_nothing() -> None:
    torch.manual_seed(0)
    fake, along = torch.randn(4, 3, 1, 1), directions(8)
    assert palette_loss(fake[:1], fake[1:], fake[[2, 0, 3, 1]], along).item() == pytest.approx(0, abs=1e-12)
    turned = torch.randn(2, 3, 4, 4)
    assert palette_loss(turned, None, turned.flip(0, 2, 3), along).item() == pytest.approx(0, abs=1e-12)


def test_a_colour_that_all_pictures_lack_costs_its_square_along_every_direction() -> None:
    torch.manual_seed(0)
    real, along = torch.rand(3, 3, 8, 8).double(), directions(5)
    shift = torch.tensor([0.5, -0.25, 0.125], dtype=torch.float64)
    loss = palette_loss(real + shift[:, None, None], None, real, along)
    assert loss.item() == pytest.approx((along @ shift).square().mean().item())


def test_only_pictures_whose_rank_asks_for_it_change() -> None:
    fake = torch.tensor([0.0, 0.1]).reshape(2, 1, 1, 1).requires_grad_()
    earlier = torch.tensor([0.05, 0.2]).reshape(2, 1, 1, 1).requires_grad_()
    real = torch.tensor([0.0, 1.0, 0.05, 0.1]).reshape(4, 1, 1, 1)
    loss = palette_loss(fake, earlier, real, torch.ones(1, 1))  # ranks: 0.0, 0.05, 0.1, 0.2 to 0.0, 0.05, 0.1, 1.0
    assert loss.item() == 0
    loss = palette_loss(fake + 0.15, earlier, real, torch.ones(1, 1))  # 0.05, 0.15, 0.2, 0.25: 0.15 to 0.05, 0.25 to 1
    assert loss.item() == pytest.approx((0.1**2 + 0.75**2) / 2)
    loss.backward()
    assert fake.grad is not None
    torch.testing.assert_close(fake.grad.flatten(), torch.tensor([0.1, -0.75]))
    assert earlier.grad is None or not earlier.grad.any()


def test_both_kinds_are_as_many() -> None:
    pictures = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match="3 real pictures for 2 and 2 fakes"):
        palette_loss(pictures, pictures, torch.zeros(3, 3, 4, 4), directions(2))


def test_of_rectangles_and_odd_sides_the_last_colour_is_the_mean_too() -> None:
    """6x10 is halved once, to 3x5, whose halves are not whole: what is compared is each pixel, and the mean."""
    torch.manual_seed(2)
    fake, real = torch.randn(4, 3, 6, 10).double(), torch.randn(4, 3, 6, 10).double()
    along = directions(5)
    found = palette_loss(fake, None, real, along)
    levels = []
    for x, y in ((fake, real), (fake.mean((2, 3)), real.mean((2, 3)))):
        ours, theirs = (torch.einsum("kc,nc...->kn...", along, z).flatten(1).sort(1).values for z in (x, y))
        levels.append((ours - theirs).square().mean())
    assert float(found) == pytest.approx(float(sum(levels)) / 2, rel=1e-9)
    assert float(palette_loss(fake, None, fake.flip(0), along)) == pytest.approx(0, abs=1e-12)
