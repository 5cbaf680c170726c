"""Precision, recall, density and coverage by hand, against float64 numpy from the definitions, and by statistics."""

import numpy as np
import pytest
import torch
from torch import Tensor

from progcycle.metrics import ManifoldOverlap, manifold_overlap
from progcycle.metrics import manifold as module


def column(*numbers: float) -> Tensor:
    return torch.tensor(numbers)[:, None]


def by_definition(made: np.ndarray, real: np.ndarray, k: int, density_k: int) -> ManifoldOverlap:
    """Every distance by itself, and every ball in turn."""

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.sqrt(((a - b) ** 2).sum()))

    def radius(i: int, x: np.ndarray, k: int) -> float:
        return sorted(distance(x[i], x[j]) for j in range(len(x)) if j != i)[k - 1]

    def inside(point: np.ndarray, x: np.ndarray, k: int) -> int:
        return sum(distance(point, x[i]) <= radius(i, x, k) for i in range(len(x)))

    n, m = len(made), len(real)
    return ManifoldOverlap(
        precision=sum(inside(a, real, k) > 0 for a in made) / n,
        recall=sum(inside(b, made, k) > 0 for b in real) / m,
        density=sum(inside(a, real, density_k) for a in made) / (density_k * n),
        coverage=sum(any(distance(a, real[j]) <= radius(j, real, density_k) for a in made) for j in range(m)) / m,
    )


@pytest.mark.parametrize("cells", [1, 30, 1 << 24])
@pytest.mark.parametrize(("k", "density_k"), [(1, 2), (3, 5), (4, 1)])
def test_overlap_by_definition(monkeypatch: pytest.MonkeyPatch, cells: int, k: int, density_k: int) -> None:
    monkeypatch.setattr(module, "CELLS", cells)
    rng = np.random.default_rng(0)
    made, real = rng.standard_normal((17, 4)) * 0.8 + 0.4, rng.standard_normal((13, 4))
    found = manifold_overlap(torch.from_numpy(made), torch.from_numpy(real), k, density_k)
    expected = by_definition(made, real, k, density_k)
    assert found.figures() == pytest.approx(expected.figures(), abs=1e-12)
    assert 0 < found.precision < 1 or 0 < found.recall < 1, "else this compares nothing"


def test_overlap_on_a_line() -> None:
    """Real balls have the radius 1; of the generated ones, that of 0.5 reaches 9.5 far and the others 1."""
    found = manifold_overlap(column(0.5, 10, 11, 12), column(0, 1, 2, 3), k=1, density_k=1)
    assert found == ManifoldOverlap(precision=1 / 4, recall=1.0, density=2 / 4, coverage=2 / 4)


def test_a_surface_is_inside() -> None:
    """Of 0, 1 and 2 the balls with k = 1 reach from -1 to 3; 3 and -1 lie on surfaces, at equal distances."""
    found = manifold_overlap(column(-1, 3, 3.001), column(0, 1, 2), k=1, density_k=1)
    assert found.precision == pytest.approx(2 / 3)


def test_few_pictures_over_and_over_have_precision_and_no_recall() -> None:
    """Balls of equal pictures have the radius 0, which rounding does not change, however long the features are."""
    real = 1e3 + torch.randn(40, 64, generator=torch.Generator().manual_seed(0))
    found = manifold_overlap(real[:1].expand(20, -1), real)
    assert found.precision == 1
    assert found.recall == pytest.approx(1 / 40), "the one that is repeated"
    assert found.coverage < 0.5
    assert manifold_overlap(real, real).figures() == pytest.approx(
        {"precision": 1, "recall": 1, "density": 1 + 1 / 5, "coverage": 1}, abs=0.2
    )


def test_noise_around_real_pictures_has_recall_and_little_precision() -> None:
    rng = torch.Generator().manual_seed(1)
    real, wide = torch.randn(200, 16, generator=rng), 3 * torch.randn(200, 16, generator=rng)
    found = manifold_overlap(wide, real)
    assert found.precision < 0.1
    assert found.recall > 0.9


def test_sets_of_one_distribution_have_the_expected_density_and_coverage() -> None:
    """Naeem et al. 2020, lemma 2: coverage 1 - (n-1)...(n-k) / ((2n-1)...(2n-k)) for n and n; density 1."""
    n, k = 150, 5
    rng = torch.Generator().manual_seed(2)
    found = [
        manifold_overlap(*(torch.randn(n, 3, generator=rng, dtype=torch.float64) for _ in range(2))) for _ in range(20)
    ]
    expected = 1 - np.prod([(n - i) / (2 * n - i) for i in range(1, k + 1)])
    assert np.mean([each.coverage for each in found]) == pytest.approx(expected, abs=0.01)
    assert np.mean([each.density for each in found]) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("shapes", [((4, 3), (9, 3)), ((9, 3), (5, 3)), ((9, 3), (9, 2)), ((9,), (9,))])
def test_sets_that_do_not_fit(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match=r"rows of each set|expected features"):
        manifold_overlap(*(torch.zeros(shape) for shape in shapes))
