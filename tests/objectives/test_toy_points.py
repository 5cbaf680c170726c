"""The toy experiments of WGAN-GP in seconds: they fail if the penalty, or its weight, were another one."""

from typing import Any

import numpy as np
import pytest
from scripts import load_script

from progcycle.recipe import Adversarial
from progcycle.recipe.objectives import GradientPenalty


@pytest.fixture(scope="module")
def toys() -> Any:
    return load_script("docs/toy_points.py")


@pytest.mark.parametrize("weight", [10.0, 2.0])
def test_the_critic_measures_how_far_points_were_moved(weight: float, toys: Any) -> None:
    """Points moved by v: a critic of slope s along v gives s |v| - lambda (s - 1)^2, most at s = 1 + |v| / (2 lambda).

    |v| is 2, along neither axis. With a norm of each channel by itself s would be more; without a penalty, endless.
    """
    moved = np.array([1.2, 1.6])
    objective = Adversarial(loss="wgan", gradient_penalty=GradientPenalty(weight=weight))
    toy = toys.Toy(lambda rng, n: 0.3 * rng.standard_normal((n, 2)) + moved, 32, 3e-3, objective, batch=64)
    found = [toy.update_critic(toys.pixels(0.3 * toy.rng.standard_normal((64, 2)))) for _ in range(250)]
    assert np.mean(found[-60:]) == pytest.approx(2 * (1 + 2 / (2 * weight)), rel=0.08)


def test_all_modes_of_the_ring_are_found_and_few_without_the_penalty(toys: Any) -> None:
    def found(weight: float, updates: int) -> tuple[int, float]:
        objective = Adversarial(loss="wgan", gradient_penalty=GradientPenalty(weight=weight), n_critic=5)
        toy = toys.Toy(toys.ring, 64, 3e-3, objective, batch=128)
        for _ in range(updates):
            toy.update()
        made = toy.sample(2000).detach().flatten(1).numpy()
        modes: tuple[int, float] = toys.modes(made, toys.RING, near=0.25)
        return modes

    count, share = found(0.1, 220)
    assert count >= 7
    assert share > 0.4, "a uniform square of the same size has 0.2"
    without, near = found(1e-9, 80)
    assert without <= 4
    assert near < share / 2


def test_points_are_those_of_the_experiments(toys: Any) -> None:
    """Centres at 2 (cos, sin) / 1.414, and at 2 {-2..2}^2 / 2.828; the roll at radii of 1.5 pi to 4.5 pi, over 7.5."""
    rng = np.random.default_rng(0)
    assert toys.modes(toys.ring(rng, 4000), toys.RING, near=0.1) == (8, 1.0)
    assert toys.modes(toys.grid(rng, 4000), toys.GRID, near=0.1) == (25, 1.0)
    np.testing.assert_allclose(np.linalg.norm(toys.RING, axis=1), 1.414, rtol=1e-3)
    assert np.abs(toys.GRID).max() == pytest.approx(2**0.5, rel=1e-3)
    radii = np.linalg.norm(toys.swiss_roll(rng, 4000), axis=1) * 7.5
    assert radii.min() > 1.5 * np.pi - 1.2
    assert radii.max() < 4.5 * np.pi + 1.2
