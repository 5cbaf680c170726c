"""Figures on a device without float64, such as Apple's GPUs: they are computed, and are those of the CPU."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from without_float64 import MPS, OnDevice, WithoutFloat64

from progcycle.blocks.widest import widest
from progcycle.export.interpolation import between_uniform, slerp
from progcycle.export.tiles import Seams
from progcycle.metrics import ms_ssim, pair_similarities, paired_scores, sliced_wasserstein
from progcycle.metrics.translation_scores import copy_score, feature_distance

GENERATOR = torch.Generator().manual_seed(0)
X, Y, Z = (torch.rand(6, 3, 32, 32, generator=GENERATOR) * 2 - 1 for _ in range(3))


@pytest.fixture
def device() -> Iterator[Callable[[Tensor], Tensor]]:
    """Puts a tensor on the device."""
    with WithoutFloat64():
        yield lambda x: x.as_subclass(OnDevice)


def test_the_device_refuses_float64_as_the_real_one_does(device: Callable[[Tensor], Tensor]) -> None:
    x = device(X)
    assert x.device == MPS
    assert (x + 1).device == MPS
    for refused in (lambda: x.double(), lambda: torch.zeros(3, dtype=torch.float64, device=x.device)):
        with pytest.raises(TypeError, match="doesn't support float64"):
            refused()
    assert x.cpu().double().dtype == torch.float64
    assert widest(x).dtype == torch.float32
    assert widest(X).dtype == torch.float64


def test_figures_are_those_of_the_cpu(device: Callable[[Tensor], Tensor]) -> None:
    x, y, z = map(device, (X, Y, Z))
    assert torch.equal(ms_ssim(x, y), ms_ssim(X, Y))
    assert torch.equal(feature_distance(x.flatten(1), y.flatten(1)), feature_distance(X.flatten(1), Y.flatten(1)))
    assert copy_score(x, y, z) == copy_score(X, Y, Z)
    assert paired_scores(x, y).means() == pytest.approx(paired_scores(X, Y).means(), rel=1e-6)


def batches(start: int = 0) -> Callable[[], Iterator[Tensor]]:
    return lambda: iter([X[start : start + 2], Y[start : start + 2]])


def test_metrics_of_sets_are_those_of_the_cpu(device: Callable[[Tensor], Tensor]) -> None:
    assert device(X).device == MPS
    on_cpu, there = (pair_similarities(batches(), 2, 32, where) for where in ("cpu", MPS))
    assert torch.equal(on_cpu, there)
    found = [
        sliced_wasserstein(batches(), [batches(2)], count=4, resolution=32, seed=1, device=where)[0]
        for where in (torch.device("cpu"), MPS)
    ]
    assert found[0].keys() == found[1].keys()
    for level, distance in found[0].items():
        assert found[1][level] == pytest.approx(distance, rel=1e-4)


def test_between_latents_and_over_seams(device: Callable[[Tensor], Tensor]) -> None:
    a, b = X[:2, 0, 0], Y[:2, 0, 0]
    for between in (slerp, between_uniform):
        made = between(device(a), device(b), 0.3)
        assert made.device == MPS
        assert torch.equal(made.cpu(), between(a, b, 0.3))
    on_cpu, there = Seams(), Seams()
    on_cpu.add(X, Y)
    there.add(device(X), device(Y))
    assert there.mean == pytest.approx(on_cpu.mean, rel=1e-6)
