"""Spherical interpolation: hand values, and what makes a great circle one."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from progcycle.export.interpolation import between_uniform, slerp, walk

LENGTHS = [2, 3, 7, 64]


def on_sphere(*numbers: float) -> torch.Tensor:
    """A direction given by hand, at the mean square 1 of the sphere."""
    x = torch.tensor(numbers, dtype=torch.float64)
    return x / x.norm() * math.sqrt(len(numbers))


def angle(a: torch.Tensor, b: torch.Tensor) -> float:
    """Between two vectors, from the chord: exact for small angles too."""
    u, v = (x.double() / x.double().norm() for x in (a, b))
    return 2 * math.atan2(float((u - v).norm()), float((u + v).norm()))


def test_a_quarter_circle_by_hand() -> None:
    a, b = torch.tensor([3.0, 0.0, 0.0]), torch.tensor([0.0, 0.2, 0.0])
    half = math.sqrt(0.5)
    torch.testing.assert_close(slerp(a, b, 0.0), math.sqrt(3) * torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(slerp(a, b, 0.5), math.sqrt(3) * torch.tensor([half, half, 0.0]))
    torch.testing.assert_close(slerp(a, b, 1 / 3), math.sqrt(3) * torch.tensor([math.sqrt(3) / 2, 0.5, 0.0]))
    torch.testing.assert_close(slerp(a, b, 1.0), math.sqrt(3) * torch.tensor([0.0, 1.0, 0.0]))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from(LENGTHS), st.floats(0, 1))
def test_against_the_formula_of_shoemake(seed: int, size: int, t: float) -> None:
    a, b = np.random.default_rng(seed).standard_normal((2, size))
    u, v = a / np.linalg.norm(a), b / np.linalg.norm(b)
    omega = np.arccos(np.clip(u @ v, -1, 1))
    if 1e-3 < omega < np.pi - 1e-3:
        expected = (np.sin((1 - t) * omega) * u + np.sin(t * omega) * v) / np.sin(omega) * np.sqrt(size)
        got = slerp(torch.from_numpy(a), torch.from_numpy(b), t).numpy()
        np.testing.assert_allclose(got, expected, atol=1e-9)


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 10**6), st.sampled_from(LENGTHS), st.floats(0, 1), st.sampled_from([0, 1e-12, 1e-6, 1e-3, 1]))
def test_the_way_stays_on_the_sphere_and_its_angle_grows_evenly(seed: int, size: int, t: float, apart: float) -> None:
    """Also between vectors that are close, equal, nearly opposite or opposite."""
    rng = torch.Generator().manual_seed(seed)
    a, other = torch.randn(2, size, generator=rng, dtype=torch.float64)
    for b in (a + apart * other, -a + apart * other, 5 * (a + apart * other)):
        if b.norm() < 1e-3:
            continue
        point = slerp(a, b, t)
        assert float(point.square().mean()) == pytest.approx(1, abs=1e-9)
        whole = angle(a, b)
        assert angle(a, point) == pytest.approx(t * whole, abs=3e-7)
        assert angle(point, b) == pytest.approx((1 - t) * whole, abs=3e-7)


@pytest.mark.parametrize("size", LENGTHS)
def test_ends_that_are_equal_or_opposite(size: int) -> None:
    a = torch.randn(4, size, generator=torch.Generator().manual_seed(size))
    there = a / a.norm(dim=1, keepdim=True) * math.sqrt(size)
    for t in (0.0, 0.3, 1.0):
        torch.testing.assert_close(slerp(a, 2 * a, t), there)
    torch.testing.assert_close(slerp(a, -a, 1.0), -there)
    half = slerp(a, -a, 0.5)
    assert (half * there).sum(1).abs().max() < 1e-5 * size  # at right angles to both ends
    assert torch.equal(half, slerp(a, -a, 0.5))


def test_rows_are_independent_and_keep_their_dtype() -> None:
    a, b = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    b[1, 2] = a[1, 2]
    both = slerp(a, b, 0.4)
    assert both.dtype == torch.float32
    for i in range(3):
        for j in range(4):
            assert torch.equal(both[i, j], slerp(a[i, j], b[i, j], 0.4))


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        slerp(torch.ones(2), torch.ones(3), 0.5)
    with pytest.raises(ValueError, match="2 or more"):
        slerp(torch.ones(4, 1), torch.ones(4, 1), 0.5)
    with pytest.raises(ValueError, match="no direction"):
        slerp(torch.ones(2, 3), torch.tensor([[1.0, 0, 0], [0, 0, 0]]), 0.5)


def test_a_walk_comes_by_its_keys_and_closes_without_a_repeated_frame() -> None:
    keys = torch.randn(3, 2, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    frames = list(walk(keys, 5))
    assert len(frames) == 15
    sphere = keys / keys.norm(dim=-1, keepdim=True) * math.sqrt(8)
    for i in range(3):
        torch.testing.assert_close(frames[5 * i], sphere[i])
    for row in range(2):
        for i in range(15):  # every step, the last one to the first frame too, is a fifth of its arc
            arc = angle(keys[i // 5, row], keys[(i // 5 + 1) % 3, row])
            assert angle(frames[i][row], frames[(i + 1) % 15][row]) == pytest.approx(arc / 5, abs=1e-9)


def test_a_square_walk_by_hand() -> None:
    frames = list(walk(torch.stack([on_sphere(1, 0)[None], on_sphere(0, 1)[None], on_sphere(-1, 0)[None]]), 2))
    degrees = [round(math.degrees(math.atan2(float(y), float(x))), 6) for ((x, y),) in frames]
    assert degrees[:5] == [0, 45, 90, 135, 180]
    assert abs(degrees[5]) == 90  # back from the opposite side, one way or the other


def test_between_uniform_latents_by_hand() -> None:
    """Half way, both normal variables have the weight sqrt(1/2); of equal numbers that is sqrt(2) of it."""
    a, b = torch.tensor([0.0, 0.5, -0.25]), torch.tensor([0.0, 0.5, 0.25])
    normal = NormalDist()
    x = normal.inv_cdf(0.75)  # 0.5 in [-1, 1] is 0.75 in [0, 1]
    expected = torch.tensor([0.0, 2 * normal.cdf(math.sqrt(2) * x) - 1, 0.0])
    torch.testing.assert_close(between_uniform(a, b, 0.5), expected)
    torch.testing.assert_close(between_uniform(a, b, 0.0), a)
    torch.testing.assert_close(between_uniform(a, b, 1.0), b)
    corners = torch.tensor([-1.0, 1.0])
    for t in (0.0, 0.3, 1.0):
        assert between_uniform(corners, -corners, t).abs().max() <= 1, "finite, and inside"


def test_all_between_uniform_latents_is_uniform() -> None:
    """Where a straight line is not: half way its numbers crowd around 0."""
    a, b = (2 * torch.rand(20_000, generator=torch.Generator().manual_seed(seed)) - 1 for seed in (0, 1))
    quantiles = torch.linspace(0.05, 0.95, 19)
    for t in (0.0, 0.2, 0.5, 0.9):
        found = between_uniform(a, b, t).quantile(quantiles)
        assert (found - (2 * quantiles - 1)).abs().max() < 0.03
    straight = torch.lerp(a, b, 0.5).quantile(quantiles)
    assert (straight - (2 * quantiles - 1)).abs().max() > 0.15


def test_a_walk_of_uniform_latents_comes_by_its_keys() -> None:
    keys = 2 * torch.rand(3, 2, 5, generator=torch.Generator().manual_seed(0)) - 1
    frames = list(walk(keys, 4, "uniform"))
    assert len(frames) == 12
    for i, key in enumerate(keys):
        torch.testing.assert_close(frames[4 * i], key)
