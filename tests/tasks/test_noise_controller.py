"""The strength of a discriminator's noise against plain floats, and its memory."""

import math
import random

import pytest
import torch

from progcycle.recipe import DiscriminatorNoise
from progcycle.tasks.noise_controller import NoiseController


class Reference:
    """Karras et al. 2018, appendix B, in Python floats: everything observed in a step is averaged, then taken in."""

    def __init__(self, gain: float, limit: float, exponent: float, momentum: float) -> None:
        self.gain, self.limit, self.exponent, self.momentum = gain, limit, exponent, momentum
        self.mean = 0.0

    def strength(self) -> float:
        return self.gain * max(0.0, self.mean - self.limit) ** self.exponent

    def step(self, signals: list[float]) -> None:
        d = min(max(sum(signals) / len(signals), 0.0), 1.0)
        self.mean = self.momentum * self.mean + (1 - self.momentum) * d


OPTIONS = [
    {"gain": 0.2, "limit": 0.5, "exponent": 2.0, "momentum": 0.9},  # the paper's
    {"gain": 1.5, "limit": 0.0, "exponent": 1.0, "momentum": 0.0},
    {"gain": 0.7, "limit": 0.3, "exponent": 0.5, "momentum": 0.5},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_against_floats(options: dict[str, float]) -> None:
    rng = random.Random(0)
    controller, reference = NoiseController(DiscriminatorNoise.model_validate(options)), Reference(**options)
    strengths = []
    for step in range(60):
        strengths.append(reference.strength())
        signals = [rng.uniform(-0.5, 2.0) for _ in range(rng.randint(1, 4))]
        for signal in signals:
            assert controller.strength(step).item() == pytest.approx(strengths[-1], rel=1e-4, abs=1e-6)
            controller.observe(torch.tensor(signal), step)
        reference.step(signals)
    assert len({round(s, 6) for s in strengths}) > 20, "the strength moves"
    assert controller.strength(60).item() == pytest.approx(reference.strength(), rel=1e-4, abs=1e-6)


def test_paper_by_hand() -> None:
    """gain 0.2, limit 0.5, exponent 2, momentum 0.9: after n steps of D(real) = 1, d' is 1 - 0.9^n."""
    controller = NoiseController(DiscriminatorNoise())
    for step in range(20):
        expected = 0.2 * max(0.0, 0.5 - 0.9**step) ** 2
        assert controller.strength(step).item() == pytest.approx(expected, abs=1e-6)
        controller.observe(torch.tensor(1.0), step)
    assert controller.strength(20).item() > 0.02


def test_the_mean_is_clipped_not_each_part() -> None:
    """So that a batch in parts, or over processes, counts as the whole one."""
    whole, parts = (NoiseController(DiscriminatorNoise(momentum=0.5)) for _ in range(2))
    whole.observe(torch.tensor(0.9), 0)
    for signal in (1.6, 0.2):
        parts.observe(torch.tensor(signal), 0)
    for controller in (whole, parts):
        controller.strength(1)
    assert [parts.mean.item(), whole.mean.item()] == pytest.approx([0.45, 0.45])


def test_steps_without_an_observation_change_nothing() -> None:
    controller = NoiseController(DiscriminatorNoise(momentum=0.5))
    controller.observe(torch.tensor(1.0), 3)
    for step in (4, 5, 9):
        controller.strength(step)
    assert controller.mean.item() == 0.5
    controller.observe(torch.tensor(1.0), 9)
    controller.observe(torch.tensor(1.0), 10)  # without asking for the strength in between
    controller.strength(11)
    assert controller.mean.item() == pytest.approx(0.875)


@pytest.mark.parametrize(("bad", "expected"), [(math.nan, 0.5), (math.inf, 0.75), (-math.inf, 0.25)])
def test_an_overflow_does_not_stay(bad: float, expected: float) -> None:
    controller = NoiseController(DiscriminatorNoise(momentum=0.5))
    controller.observe(torch.tensor(1.0), 0)
    controller.observe(torch.tensor(bad), 1)
    controller.strength(2)
    assert controller.mean.item() == expected


def test_memory_is_exact_in_the_middle_of_a_step() -> None:
    rng = random.Random(1)
    signals = [[rng.random() for _ in range(3)] for _ in range(8)]

    def run(restore_after: tuple[int, int] | None) -> list[float]:
        controller = NoiseController(DiscriminatorNoise(momentum=0.8, limit=0.1))
        seen = []
        for step, parts in enumerate(signals):
            for part, signal in enumerate(parts):
                seen.append(controller.strength(step).item())
                controller.observe(torch.tensor(signal), step)
                if (step, part) == restore_after:
                    state = controller.state_dict()
                    assert all(isinstance(value, torch.Tensor) for value in state.values())
                    controller = NoiseController(controller.options)
                    controller.load_state_dict(state)
                    for value in state.values():
                        value.fill_(99)
        return seen

    straight = run(None)
    for place in ((0, 0), (3, 1), (5, 2)):
        assert run(place) == straight


def test_nothing_has_a_history() -> None:
    controller = NoiseController(DiscriminatorNoise())
    controller.observe(torch.tensor(0.9, requires_grad=True), 0)
    assert not controller.strength(1).requires_grad
