"""Distances of features against float64 numpy written from the definitions, against scipy, and by their statistics."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from progcycle.metrics import distances as module
from progcycle.metrics import frechet_distance, kernel_distance, kernel_distance_spread


def sample(n: int, d: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.uniform(-1, 1, (d, d)) + shift


def kid_by_hand(x: np.ndarray, y: np.ndarray) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float((sum(p * q for p, q in zip(a, b, strict=True)) / len(a) + 1) ** 3)

    n, m = len(x), len(y)
    within_x = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return within_x + within_y - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


@pytest.mark.parametrize("rows", [3, 1024])
def test_kernel_distance_by_hand(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(module, "ROWS", rows)
    x, y = sample(7, 5, 0), sample(9, 5, 1, 0.3)
    found = kernel_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert found == pytest.approx(kid_by_hand(x, y), rel=1e-10)
    assert kernel_distance(torch.from_numpy(y), torch.from_numpy(x)) == pytest.approx(found, rel=1e-10)


def test_kernel_distance_is_that_of_torchmetrics() -> None:
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = (torch.from_numpy(sample(20, 6, seed)) for seed in (2, 3))
    assert kernel_distance(x, y) == pytest.approx(float(kid.poly_mmd(x, y)), rel=1e-10)


def test_spread_is_the_jackknife() -> None:
    x, y = torch.from_numpy(sample(6, 4, 4)), torch.from_numpy(sample(8, 4, 5, 0.5))

    def without(i: int, rows: torch.Tensor) -> torch.Tensor:
        return torch.cat([rows[:i], rows[i + 1 :]])

    left = np.array([kernel_distance(without(i, x), y) for i in range(6)])
    right = np.array([kernel_distance(x, without(i, y)) for i in range(8)])
    variance = 5 / 6 * ((left - left.mean()) ** 2).sum() + 7 / 8 * ((right - right.mean()) ** 2).sum()
    assert kernel_distance_spread(x, y) == pytest.approx(variance**0.5, rel=1e-9)


def test_kernel_distance_is_unbiased_and_its_spread_is_its_standard_error() -> None:
    rng = np.random.default_rng(6)

    def draw(shift: float) -> tuple[float, float]:
        x, y = (torch.from_numpy(rng.standard_normal((40, 3)) + s) for s in (0.0, shift))
        return kernel_distance(x, y), kernel_distance_spread(x, y)

    same = np.array([draw(0.0)[0] for _ in range(300)])
    assert abs(same.mean()) < 4 * same.std() / 300**0.5
    found = np.array([draw(1.0) for _ in range(300)])
    assert found[:, 1].mean() == pytest.approx(found[:, 0].std(), rel=0.25)


@pytest.mark.parametrize(("n", "m", "d"), [(30, 40, 5), (5, 30, 8), (4, 6, 10)])
def test_frechet_distance_against_scipy(n: int, m: int, d: int) -> None:
    x, y = sample(n, d, 7), sample(m, d, 8, 0.2)
    cx, cy = np.cov(x.T), np.cov(y.T)
    root = np.trace(np.real(sqrtm(cx @ cy)))
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx) + np.trace(cy) - 2 * root
    # The root of a singular product is only known to the root of the precision.
    tolerance = 1e-8 if min(n, m) > d else 1e-5
    assert frechet_distance(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected, rel=tolerance)


def test_frechet_distance_is_that_of_torchmetrics() -> None:
    fid = pytest.importorskip("torchmetrics.image.fid")
    x, y = (torch.from_numpy(sample(50, 4, seed)) for seed in (9, 10))
    expected = fid._compute_fid(x.mean(dim=0), torch.cov(x.T), y.mean(dim=0), torch.cov(y.T))
    assert frechet_distance(x, y) == pytest.approx(float(expected), rel=1e-8)


def test_equal_sets() -> None:
    x = torch.from_numpy(sample(20, 4, 11))
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-10)
    assert kernel_distance(x, x) < 0  # unbiased for independent samples, which these are not


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((1, 4), (3, 4)), ((3, 4), (0, 4)), ((3,), (3,))])
def test_shapes_are_checked(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    x, y = (torch.zeros(shape) for shape in shapes)
    for distance in (kernel_distance, frechet_distance):
        with pytest.raises(ValueError, match="expected features"):
            distance(x, y)
    with pytest.raises(ValueError, match="three rows"):
        kernel_distance_spread(torch.zeros(2, 4), torch.zeros(3, 4))
