"""Cycle, identity and range losses by hand."""

import pytest
import torch

from progcycle.objectives import cycle_loss, identity_loss, range_loss


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


def test_cycle_loss_at_several_scales_by_hand() -> None:
    rec = torch.tensor([[4.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [0.0, -8.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    rec = rec.reshape(1, 1, 4, 4)
    real = torch.zeros(1, 1, 4, 4)
    fine, half, quarter = 16 / 16, (1 + 1 + 2 + 0) / 4, 0.0  # halves: 1, 1, -2, 0
    for scales, expected in ((1, fine), (2, (fine + half) / 2), (3, (fine + half + quarter) / 3)):
        assert cycle_loss(real, rec, scales).item() == pytest.approx(expected)
        assert cycle_loss(real + 5, rec + 5, scales).item() == pytest.approx(expected)


def test_colours_weigh_the_same_at_every_scale_and_fine_patterns_at_the_finest_only() -> None:
    real = torch.zeros(2, 3, 8, 8)
    board = torch.tensor([1.0, -1.0]).repeat(4)
    assert cycle_loss(real, real + 0.5, 4).item() == 0.5
    assert cycle_loss(real, (board * board[:, None]).expand_as(real), 4).item() == 0.25


def test_gradients_of_several_scales_agree_with_finite_differences() -> None:
    torch.manual_seed(0)
    real, rec = torch.randn(2, 1, 1, 4, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: cycle_loss(real, x, 3), (rec.requires_grad_(True),))


def test_range_loss_is_the_mean_square_of_what_lies_outside() -> None:
    fake = torch.tensor([0.5, -1.0, 1.5, -3.0], requires_grad=True)
    loss = range_loss(fake.reshape(1, 1, 2, 2))
    assert loss.item() == (0.5**2 + 2**2) / 4
    loss.backward()
    assert fake.grad is not None
    assert fake.grad.tolist() == [0, 0, 2 * 0.5 / 4, -2 * 2 / 4]  # it leads back, from both sides
