"""The adversarial games against numbers worked out by hand."""

import math

import pytest
import torch
from torch import Tensor

from progcycle.objectives import ADVERSARIAL, drift, lsgan_discriminator

REAL, FAKE = torch.tensor([2.0, 0.5]), torch.tensor([-1.0, 3.0])


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


# (loss of the discriminator, loss of the generator) at the logits above.
BY_HAND = {
    "wgan": (1.0 - 1.25, -1.0),
    "lsgan": ((1 + 0.25) / 2 + (1 + 9) / 2, (4 + 4) / 2),
    "non_saturating": (
        (softplus(-2) + softplus(-0.5)) / 2 + (softplus(-1) + softplus(3)) / 2,
        (softplus(1) + softplus(-3)) / 2,
    ),
    "hinge": ((0 + 0.5) / 2 + (0 + 4) / 2, -1.0),
    "relativistic": ((softplus(-3) + softplus(2.5)) / 2, (softplus(3) + softplus(-2.5)) / 2),
}


def test_every_game_has_a_hand_worked_number() -> None:
    assert set(ADVERSARIAL) == set(BY_HAND)


@pytest.mark.parametrize("name", BY_HAND)
def test_losses_equal_the_hand_worked_numbers(name: str) -> None:
    game, (discriminator, generator) = ADVERSARIAL[name], BY_HAND[name]
    assert game.discriminator(REAL, FAKE).item() == pytest.approx(discriminator, rel=1e-6)
    assert game.generator(REAL, FAKE).item() == pytest.approx(generator, rel=1e-6)


def test_the_fake_half_of_lsgan_may_count_less() -> None:
    assert lsgan_discriminator(REAL, FAKE, 0.1).item() == pytest.approx((1 + 0.25) / 2 + 0.1 * (1 + 9) / 2)


@pytest.mark.parametrize("name", BY_HAND)
def test_patch_maps_are_averaged(name: str) -> None:
    def patches(logits: Tensor) -> Tensor:
        return logits.reshape(2, 1, 1, 1).expand(2, 1, 3, 5)

    game = ADVERSARIAL[name]
    torch.testing.assert_close(game.discriminator(patches(REAL), patches(FAKE)), game.discriminator(REAL, FAKE))
    torch.testing.assert_close(game.generator(patches(REAL), patches(FAKE)), game.generator(REAL, FAKE))


@pytest.mark.parametrize("name", BY_HAND)
def test_descending_moves_the_logits_the_right_way(name: str) -> None:
    real, fake = REAL.clone().requires_grad_(), FAKE.clone().requires_grad_()
    slope_real, slope_fake = torch.autograd.grad(ADVERSARIAL[name].discriminator(real, fake), (real, fake))
    # lsgan pulls logits towards 1 and 0, from whichever side.
    wanted_real, wanted_fake = (REAL - 1, FAKE) if name == "lsgan" else (-torch.ones(2), torch.ones(2))
    assert (slope_real * wanted_real >= 0).all()
    assert (slope_fake * wanted_fake >= 0).all()
    assert slope_real.any()
    assert slope_fake.any()
    (slope,) = torch.autograd.grad(ADVERSARIAL[name].generator(REAL, fake), fake)
    assert (slope * (FAKE - 1 if name == "lsgan" else -torch.ones(2)) > 0).all()


def test_only_paired_games_need_the_real_logits() -> None:
    for name, game in ADVERSARIAL.items():
        assert game.paired is (name == "relativistic")
        if game.paired:
            with pytest.raises(ValueError, match="needs the logits of real pictures"):
                game.generator(None, FAKE)
        else:
            torch.testing.assert_close(game.generator(None, FAKE), game.generator(REAL, FAKE))


def test_large_logits_stay_finite() -> None:
    for game in ADVERSARIAL.values():
        huge = torch.tensor([1e4, -1e4])
        assert game.discriminator(huge, -huge).isfinite()
        assert game.generator(huge, -huge).isfinite()


def test_drift_is_the_mean_square_of_the_real_logits() -> None:
    assert drift(REAL).item() == pytest.approx((4 + 0.25) / 2)
