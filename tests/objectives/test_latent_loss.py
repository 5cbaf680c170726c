"""The prior loss against sorting in numpy and distances known beforehand."""

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from progcycle.objectives import prior_loss


def latents(seed: int, count: int, size: int = 4) -> torch.Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def by_numpy(new: np.ndarray, old: np.ndarray, drawn: np.ndarray, along: np.ndarray) -> float:
    unit = [x / np.sqrt((x**2).mean(axis=1, keepdims=True)) for x in (new, old, drawn)]
    squares = []
    for direction in along:
        mine, others, wanted = (x @ direction for x in unit)
        order = np.argsort(np.concatenate([mine, others]))
        target = np.empty(len(order))
        target[order] = np.sort(wanted)
        squares.append(np.mean((mine - target[: len(mine)]) ** 2))
    return float(np.mean(squares))


def test_loss_is_the_mean_of_sorted_differences_of_normalised_latents() -> None:
    new, old, drawn, along = 3 * latents(0, 5) + 1, 0.1 * latents(1, 7), latents(2, 12), normalize(latents(3, 6), dim=1)
    expected = by_numpy(new.numpy(), old.numpy(), drawn.numpy(), along.numpy())
    assert prior_loss(new, old, drawn, along).item() == pytest.approx(expected, rel=1e-6)
    alone = by_numpy(new.numpy(), old[:0].numpy(), drawn[:5].numpy(), along.numpy())
    assert prior_loss(new, None, drawn[:5], along).item() == pytest.approx(alone, rel=1e-6)


def test_the_same_latents_cost_nothing_in_any_order_and_of_any_length() -> None:
    z, along = latents(0, 6), normalize(latents(1, 5), dim=1)
    lengths = torch.tensor([0.5, 1, 2, 3, 4, 5], dtype=torch.float64)[:, None]
    assert prior_loss(lengths[:2] * z[:2], z[2:], z[[3, 0, 5, 1, 4, 2]], along).item() == pytest.approx(0, abs=1e-12)


def test_latents_that_are_all_alike_spread_out() -> None:
    """The encoder of a set whose pictures look alike to it learns to tell them apart."""
    z = (latents(0, 64) * torch.tensor([0.05, 0.05, 0.05, 0.05]) + torch.tensor([1.0, 0, 0, 0])).requires_grad_()
    optimizer = torch.optim.Adam([z], lr=0.05)
    for step in range(300):
        optimizer.zero_grad()
        loss = prior_loss(z, None, latents(100 + step, 64), normalize(latents(step, 16), dim=1))
        loss.backward()
        optimizer.step()
    unit = normalize(z.detach(), dim=1) * 2
    assert unit.mean(0).abs().max() < 0.2
    assert torch.linalg.eigvalsh(unit.T.cov()).min() > 0.6  # 1 on the sphere


def test_another_number_of_random_latents_is_refused() -> None:
    with pytest.raises(ValueError, match="5 points are compared with 4"):
        prior_loss(latents(0, 2), latents(1, 3), latents(2, 4), latents(3, 6))
