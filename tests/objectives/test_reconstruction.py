"""Cycle and identity losses by hand."""

import pytest
import torch

from progcycle.objectives import cycle_loss, identity_loss


@pytest.mark.parametrize("loss", [cycle_loss, identity_loss])
def test_loss_is_the_mean_absolute_difference(loss) -> None:  # type: ignore[no-untyped-def]
    real = torch.tensor([0.0, 1.0, -1.0, 0.5]).reshape(1, 1, 2, 2)
    other = torch.tensor([0.5, 1.0, 1.0, 0.25]).reshape(1, 1, 2, 2)
    assert loss(real, other).item() == (0.5 + 0 + 2 + 0.25) / 4
    assert loss(real, real).item() == 0


@pytest.mark.parametrize("loss", [cycle_loss, identity_loss])
def test_loss_is_float32_for_half_precision_pictures(loss) -> None:  # type: ignore[no-untyped-def]
    real = torch.full((1, 1, 4, 4), 1.0, dtype=torch.bfloat16)
    close = torch.full((1, 1, 4, 4), 1.0 + 2**-7, dtype=torch.bfloat16)
    assert loss(real, close).dtype == torch.float32
    assert loss(real, close).item() == 2**-7


def test_cycle_loss_trains_the_reconstruction() -> None:
    rec = torch.zeros(2, 1, 2, 2, requires_grad=True)
    cycle_loss(torch.ones(2, 1, 2, 2), rec).backward()
    assert torch.equal(rec.grad, torch.full((2, 1, 2, 2), -1 / 8))
