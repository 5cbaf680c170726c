"""The probability of augmentation against plain floats, what it settles at, and its memory."""

import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from progcycle.recipe import Adaptive, DiscriminatorAugment
from progcycle.tasks.augment_controller import Augmenter, ProbabilityController


def controller(start: float = 0.0, midpoint: float = 0.0, **options: Any) -> ProbabilityController:
    return ProbabilityController(Adaptive(**options), start, midpoint)


def p_after(one: ProbabilityController, step: int) -> float:
    return one.probability(step).item()


def test_paper_by_hand() -> None:
    """Target 0.6, every 4 steps, 500 kimg from 0 to 1: with 64 pictures a step p moves by 4 * 64 / 500000."""
    one, seen = controller(), []
    for step in range(24):
        seen.append(p_after(one, step))
        one.observe(torch.ones(16), step, 64)
    move = 256 / 500_000
    expected = [move * (step // 4) for step in range(24)]
    assert seen == pytest.approx(expected, rel=1e-5)


class Reference:
    """The rule of the paper in Python floats, from all logits of all steps."""

    def __init__(self, start: float, midpoint: float, target: float, kimg: float, every: int, maximum: float) -> None:
        self.p, self.midpoint, self.target = start, midpoint, target
        self.kimg, self.every, self.maximum = kimg, every, maximum
        self.window: list[list[float]] = []
        self.pictures = 0

    def step(self, logits: list[float], pictures: int) -> None:
        self.window.append(logits)
        self.pictures += pictures
        if len(self.window) < self.every:
            return
        signs = [math.copysign(1, x - self.midpoint) if x != self.midpoint else 0 for each in self.window for x in each]
        direction = math.copysign(1, sum(signs) / len(signs) - self.target)
        self.p = min(max(self.p + direction * self.pictures / (1000 * self.kimg), 0.0), self.maximum)
        self.window, self.pictures = [], 0


CASES = [
    {"start": 0.0, "midpoint": 0.0, "target": 0.25, "kimg": 1.0, "every": 4, "maximum": 0.8},
    {"start": 0.3, "midpoint": 0.5, "target": 0.05, "kimg": 0.2, "every": 1, "maximum": 1.0},
    {"start": 0.1, "midpoint": 0.0, "target": 0.1, "kimg": 1.0, "every": 3, "maximum": 0.2},
]


@pytest.mark.parametrize("case", CASES)
def test_against_floats(case: dict[str, Any]) -> None:
    rng = random.Random(0)
    one, reference, seen = controller(**case), Reference(**case), set()
    for step in range(200):
        parts = [[rng.gauss(0.6 * math.sin(step / 20), 1) for _ in range(7)] for _ in range(rng.randint(1, 3))]
        pictures = rng.choice([8, 16])
        for part in parts:
            assert p_after(one, step) == pytest.approx(reference.p, abs=1e-5)
            one.observe(torch.tensor(part), step, pictures)
        reference.step([x for part in parts for x in part], pictures)
        seen.add(round(reference.p, 4))
    assert len(seen) >= 5
    assert max(seen) <= case["maximum"]


@pytest.mark.parametrize("slope", [0.8, 1.6])
def test_settles_where_the_discriminator_is_as_sure_as_the_target(slope: float) -> None:
    """A discriminator whose r falls as p rises: r = 1 - slope p, so that r is 0.6 at p = 0.4 / slope."""
    torch.manual_seed(0)
    one, seen = controller(kimg=10.0, maximum=1.0), []
    for step in range(2000):
        p = p_after(one, step)
        logits = torch.where(torch.rand(64) < (2 - slope * p) / 2, 1.0, -1.0)  # r of them is 1 - slope p
        one.observe(logits, step, 64)
        seen.append(p)
    later = torch.tensor(seen[1000:])
    assert later.mean().item() == pytest.approx(0.4 / slope, abs=0.05)
    assert later.std() < 0.05
    assert abs(1 - slope * later.mean().item() - 0.6) < 0.06


def test_a_discriminator_that_learns_is_held_at_the_target() -> None:
    """Reals are bright on the left, fakes on the right. At p a share p / 2 is mirrored, so that the best r is 1 - p."""
    options = DiscriminatorAugment(policy=["flip"], adaptive=Adaptive(kimg=10.0, every=4, target=0.6))
    one, disc = Augmenter(options, midpoint=0.0, seed=0, suffix=""), nn.Linear(16, 1)
    nn.init.zeros_(disc.weight)
    optimizer = torch.optim.Adam(disc.parameters(), lr=0.01)
    left = torch.tensor([0.5, 0.5, -0.5, -0.5]).expand(32, 1, 4, 4)
    noise = torch.Generator().manual_seed(0)
    seen: list[tuple[float, float]] = []
    for step in range(600):
        positions = range(32 * step, 32 * step + 32)
        shown = [
            one(pictures + 0.1 * torch.randn(32, 1, 4, 4, generator=noise), purpose, positions, step).flatten(1)
            for pictures, purpose in ((left, "real"), (-left, "fake"))
        ]
        real, fake = (disc(pictures) for pictures in shown)
        figures = one.observe(real, step, 32)
        seen.append((figures["augment/probability"].item(), figures["augment/r"].item()))
        optimizer.zero_grad()
        (softplus(-real) + softplus(fake)).mean().backward()
        optimizer.step()
    p, r = torch.tensor(seen[300:]).mean(dim=0).tolist()
    assert seen[0][0] == 0
    assert (p, r) == pytest.approx((0.4, 0.6), abs=0.05)


@pytest.mark.parametrize(("sign", "start", "end"), [(1.0, 0.5, 0.7), (-1.0, 0.5, 0.0)])
def test_stays_within_bounds(sign: float, start: float, end: float) -> None:
    one = controller(start, maximum=0.7, kimg=0.1, every=1)
    for step in range(60):
        assert 0 <= p_after(one, step) <= 0.7
        one.observe(torch.full((4,), sign), step, 8)
    assert p_after(one, 60) == pytest.approx(end)


def test_the_midpoint_is_between_the_targets_of_the_loss() -> None:
    for midpoint, r in ((0.0, 1.0), (0.5, 0.0)):
        logits = torch.tensor([0.2, 0.4, 0.6, 0.8])
        assert controller(midpoint=midpoint).observe(logits, 0, 4).item() == r


def test_patches_count_alike_and_a_part_is_as_good_as_a_whole() -> None:
    logits = torch.randn(8, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    whole, parts = controller(target=0.0, every=1), controller(target=0.0, every=1)
    whole.observe(logits, 0, 8)
    for chunk in logits.split([3, 1, 4]):
        parts.observe(chunk, 0, 8)
    assert whole.signs == parts.signs == logits.sign().sum()
    assert whole.logits == parts.logits == 200
    assert p_after(whole, 1) == p_after(parts, 1)


def test_a_step_has_one_probability_and_others_do_not_move_it() -> None:
    one = controller(kimg=1.0, every=1)
    one.observe(torch.ones(4), 3, 100)
    assert [p_after(one, 3), p_after(one, 3)] == [0, 0]
    assert [p_after(one, 4), p_after(one, 5), p_after(one, 9)] == pytest.approx([0.1] * 3)


@pytest.mark.parametrize("logits", [torch.full((4,), math.nan), torch.empty(0)])
def test_an_overflow_does_not_stay(logits: Tensor) -> None:
    one = controller(kimg=1.0, every=1)
    one.observe(torch.ones(4), 0, 100)
    one.observe(logits, 1, 100)
    assert p_after(one, 2) == pytest.approx(0.1)
    one.observe(torch.tensor([1.0, math.nan]), 2, 100)
    assert p_after(one, 3) == pytest.approx(0.2), "the others count"


def test_exactly_at_the_target_nothing_moves() -> None:
    one = controller(0.5, target=0.6, every=1, kimg=0.1)
    one.observe(torch.tensor([1.0] * 8 + [-1.0] * 2), 0, 10)
    assert p_after(one, 1) == 0.5


def test_memory_is_exact_in_the_middle_of_a_step_and_of_a_window() -> None:
    rng = random.Random(1)
    steps = [[torch.tensor([rng.gauss(0.3, 1) for _ in range(3)]) for _ in range(3)] for _ in range(40)]

    def run(restore_after: tuple[int, int] | None) -> list[float]:
        one, seen = controller(target=0.1, kimg=0.3, every=4), []
        for step, parts in enumerate(steps):
            for part, logits in enumerate(parts):
                seen.append(p_after(one, step))
                one.observe(logits, step, 9)
                if (step, part) == restore_after:
                    state = one.state_dict()
                    assert all(isinstance(value, Tensor) for value in state.values())
                    one = controller(target=0.1, kimg=0.3, every=4)
                    one.load_state_dict(state)
                    for value in state.values():
                        value.fill_(99)
        return seen

    straight = run(None)
    assert len(set(straight)) > 2
    for place in ((0, 0), (3, 1), (3, 2), (5, 2), (9, 0)):
        assert run(place) == straight


def test_nothing_has_a_history() -> None:
    one = controller(every=1)
    r = one.observe(torch.ones(4, requires_grad=True), 0, 4)
    assert not r.requires_grad
    assert not one.probability(1).requires_grad
