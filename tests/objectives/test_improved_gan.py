"""Label smoothing and feature matching, against numbers worked out by hand and numpy in float64."""

import importlib
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from progcycle.objectives import (
    ADVERSARIAL,
    feature_matching,
    smoothed_discriminator,
    smoothed_generator,
    undecided_logit,
    undecided_loss,
)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("target", [0.9, 0.75, 1.0])
def test_smoothed_losses_against_cross_entropies_in_float64(target: float) -> None:
    real, fake = np.array([2.0, -1.0, 0.5]), np.array([-3.0, 0.25, 1.0])
    p, q = _sigmoid(real), _sigmoid(fake)
    expected = -np.mean(target * np.log(p) + (1 - target) * np.log(1 - p)) - np.mean(np.log(1 - q))
    ours = smoothed_discriminator(torch.from_numpy(real), torch.from_numpy(fake), target)
    assert ours.item() == pytest.approx(expected, rel=1e-12)
    aimed = -np.mean(target * np.log(q) + (1 - target) * np.log(1 - q))
    assert smoothed_generator(torch.from_numpy(fake), target).item() == pytest.approx(aimed, rel=1e-12)
    if target == 1:
        pair = ADVERSARIAL["non_saturating"]
        assert ours.item() == pytest.approx(pair.discriminator(torch.from_numpy(real), torch.from_numpy(fake)).item())


def test_only_reals_are_smoothed_and_the_best_logit_of_a_real_is_that_of_the_target() -> None:
    real = torch.tensor([math.log(0.9 / 0.1)], dtype=torch.float64, requires_grad=True)
    fake = torch.tensor([-50.0], dtype=torch.float64)
    smoothed_discriminator(real, fake, 0.9).backward()
    assert real.grad is not None
    assert abs(real.grad.item()) < 1e-12
    assert smoothed_discriminator(real.detach(), fake, 0.9).item() == pytest.approx(
        -0.9 * math.log(0.9) - 0.1 * math.log(0.1)
    )


@pytest.mark.parametrize("target", [0.9, 0.75, 1.0])
def test_the_loss_of_an_undecided_discriminator_is_the_least_of_all_constants(target: float) -> None:
    constants = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    losses = torch.stack([smoothed_discriminator(c[None], c[None], target) for c in constants])
    best = int(losses.argmin())
    assert undecided_loss(target) == pytest.approx(losses[best].item(), rel=1e-6)
    assert undecided_logit(target) == pytest.approx(constants[best].item(), abs=1e-3)


def test_feature_matching_by_hand() -> None:
    """Means (2, 0) and (-1, 1): differences 3 and -1, of mean 2, and of mean square 5."""
    real: Tensor = torch.tensor([[1.0, 4.0], [3.0, -4.0]])
    fake = torch.tensor([[0.0, 0.0], [-2.0, 2.0]], requires_grad=True)
    loss = feature_matching(real, fake)
    assert loss.item() == pytest.approx(2.0)
    (gradient,) = torch.autograd.grad(loss, fake)
    assert gradient.tolist() == [[-0.25, 0.25]] * 2  # -sign(difference) / (N features)
    squared = feature_matching(real, fake, "l2")
    assert squared.item() == pytest.approx(5.0)
    (gradient,) = torch.autograd.grad(squared, fake)
    assert gradient.tolist() == [[-1.5, 0.5]] * 2  # -2 difference / (N features)


def test_feature_matching_of_two_processes_is_that_of_the_joined_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean of both gradients is the joint one, though the differences of one process alone have other signs."""
    torch.manual_seed(0)
    real, fake = torch.randn(4, 3, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    joint = feature_matching(real, fake)
    (expected,) = torch.autograd.grad(joint, fake)
    own = [(real[half] - fake[half]).mean(0).detach() for half in (slice(2), slice(2, 4))]
    assert any((own[0] * own[1] < 0).tolist())
    module = importlib.import_module("progcycle.objectives.feature_matching")
    monkeypatch.setattr(module, "world_size", lambda: 2)
    found = []
    for i, half in enumerate((slice(2), slice(2, 4))):
        monkeypatch.setattr(module, "sum_over_processes", lambda x, other=own[1 - i]: x + other)
        loss = feature_matching(real[half], fake[half])
        assert loss.item() == pytest.approx(joint.item())
        (gradient,) = torch.autograd.grad(loss, fake)
        found.append(gradient[half] / 2)  # averaged over the processes
    torch.testing.assert_close(torch.cat(found), expected)
