"""Minibatch discrimination against loops in float64, its start from real pictures, and its derivatives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from progcycle.blocks import MinibatchDiscrimination


def values(layer: MinibatchDiscrimination) -> list[np.ndarray]:
    return [p.detach().double().numpy() for p in (layer.theta, layer.log_scale, layer.bias)]


def distances(x: np.ndarray, theta: np.ndarray, log_scale: np.ndarray) -> np.ndarray:
    """|M_ib - M_jb|_1 for all kernels b and pictures i, j, by the definition."""
    n, (features, kernels, dimensions) = len(x), theta.shape
    m = np.zeros((n, kernels, dimensions))
    for b in range(kernels):
        for d in range(dimensions):
            column = theta[:, b, d]
            weight = column * np.exp(log_scale[b, d]) / np.sqrt(sum(column[f] ** 2 for f in range(features)))
            m[:, b, d] = x @ weight
    out = np.zeros((kernels, n, n))
    for i in range(n):
        for j in range(n):
            out[:, i, j] = np.abs(m[i] - m[j]).sum(axis=1)
    return out


def nearness(distance: np.ndarray) -> np.ndarray:
    """Sum over the other pictures of exp(-distance).  # [B, N, N] -> [N, B]"""
    kernels, n, _ = distance.shape
    out = np.zeros((n, kernels))
    for i in range(n):
        for j in range(n):
            if j != i:
                out[i] += np.exp(-distance[:, i, j])
    return out


def layer_of(features: int, kernels: int, dimensions: int, seed: int = 0) -> MinibatchDiscrimination:
    """A layer with scales and biases of all sizes."""
    torch.manual_seed(seed)
    layer = MinibatchDiscrimination(features, kernels, dimensions)
    nn.init.normal_(layer.log_scale, std=0.5)
    nn.init.normal_(layer.bias)
    return layer


@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 6),
    features=st.integers(1, 7),
    kernels=st.integers(1, 4),
    dimensions=st.integers(1, 5),
    seed=st.integers(0, 2**31),
)
def test_kernels_are_their_definition(n: int, features: int, kernels: int, dimensions: int, seed: int) -> None:
    layer = layer_of(features, kernels, dimensions, seed)
    x = torch.randn(n, features)
    theta, log_scale, bias = values(layer)
    out = layer(x)
    assert out.shape == (n, features + kernels)
    assert torch.equal(out[:, :features], x)
    expected = nearness(distances(x.double().numpy(), theta, log_scale)) + bias
    np.testing.assert_allclose(out[:, features:].detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_equal_pictures_count_and_far_ones_do_not() -> None:
    layer = MinibatchDiscrimination(3, 2, 4)
    near = layer(torch.ones(5, 3))[:, 3:]
    torch.testing.assert_close(near, torch.full_like(near, 5 - 1 - 1))  # four others, bias -1
    far = layer(1e4 * torch.arange(5.0).reshape(5, 1) * torch.ones(1, 3))[:, 3:]
    assert torch.equal(far, torch.full_like(far, -1))


def test_start_of_the_weights() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(100)
    assert {name: tuple(p.shape) for name, p in layer.named_parameters()} == {
        "theta": (100, 100, 5),
        "log_scale": (100, 5),
        "bias": (100,),
    }
    assert not list(layer.buffers())
    assert layer.theta.mean().item() == pytest.approx(0, abs=1e-3)
    assert layer.theta.std().item() == pytest.approx(0.05, rel=0.01)
    assert not layer.log_scale.any()
    assert torch.equal(layer.bias, torch.full((100,), -1.0))


@settings(deadline=None, max_examples=20)
@given(
    n=st.integers(2, 9),
    size=st.sampled_from([1e-3, 1.0, 50.0]),
    scaled=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_initialize_sets_the_distances_and_the_mean(n: int, size: float, scaled: bool, seed: int) -> None:
    layer = layer_of(6, 4, 3, seed)
    if not scaled:
        nn.init.zeros_(layer.log_scale)
    x = size * torch.randn(n, 6)
    theta, before, _ = values(layer)
    layer.initialize(x)
    same_theta, log_scale, bias = values(layer)
    assert (same_theta == theta).all()
    change = log_scale - before
    np.testing.assert_allclose(change, np.broadcast_to(change[:, :1], change.shape), atol=1e-5)  # one for each kernel
    distance = distances(x.double().numpy(), theta, log_scale)
    nearest = [[min(distance[b, i, j] for j in range(n) if j != i) for i in range(n)] for b in range(4)]
    np.testing.assert_allclose(0.5 * np.mean(nearest, axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(nearness(distance).mean(axis=0) + bias, 0, atol=1e-4)
    torch.testing.assert_close(layer(x)[:, 6:].mean(dim=0), torch.zeros(4), rtol=0, atol=1e-4)


def test_initialize_takes_features_of_half_precision_under_autocast() -> None:
    layer = layer_of(6, 4, 3)
    x = torch.randn(5, 6).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer.initialize(x)
    torch.testing.assert_close(layer(x.float())[:, 6:].mean(dim=0), torch.zeros(4), rtol=0, atol=1e-5)


def test_initialize_needs_two_pictures_that_differ() -> None:
    layer = MinibatchDiscrimination(3, 2, 2)
    with pytest.raises(ValueError, match="needs 2 to begin with, not 1"):
        layer.initialize(torch.randn(1, 3))
    with pytest.raises(ValueError, match="all alike"):
        layer.initialize(torch.ones(4, 3))
    assert not layer.log_scale.any()


def test_derivatives_agree_with_finite_differences() -> None:
    layer = layer_of(3, 2, 2).double()
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    weights = {name: p.detach().requires_grad_(True) for name, p in layer.named_parameters()}

    def run(x: Tensor, *given: Tensor) -> Tensor:
        out = torch.func.functional_call(layer, dict(zip(weights, given, strict=True)), (x,))
        assert isinstance(out, Tensor)
        return out

    assert torch.autograd.gradcheck(run, (x, *weights.values()))
    assert torch.autograd.gradgradcheck(run, (x, *weights.values()))


def test_derivatives_of_equal_pictures_are_finite() -> None:
    layer = layer_of(3, 2, 2)
    x = torch.ones(4, 3, requires_grad=True)
    (first,) = torch.autograd.grad(layer(x)[:, 3:].sum() + (x**3).sum(), x, create_graph=True)
    seconds = torch.autograd.grad(first.square().sum(), [x, layer.theta], allow_unused=True, materialize_grads=True)
    assert first.isfinite().all()
    assert all(second.isfinite().all() for second in seconds)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kernels_of_half_precision_are_computed_in_float32(dtype: torch.dtype) -> None:
    layer = layer_of(6, 4, 3)
    x = torch.randn(5, 6).to(dtype)
    with torch.autocast("cpu", dtype=dtype):
        out = layer(x)
    assert out.dtype == dtype
    assert torch.equal(out, layer(x.float()).to(dtype))
