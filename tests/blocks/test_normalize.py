"""Normalisations against loops in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from progcycle.blocks import Norm, make_norm, pixel_norm

KINDS: tuple[Norm, ...] = ("pixel", "batch", "instance", "layer")


def test_pixel_norm_scales_every_pixel_by_its_own_features() -> None:
    torch.manual_seed(0)
    x = 3 * torch.randn(2, 5, 3, 4)
    a = x.double().numpy()
    expected = np.empty_like(a)
    for n in range(2):
        for i in range(3):
            for j in range(4):
                feature = a[n, :, i, j]
                expected[n, :, i, j] = feature / np.sqrt((feature**2).sum() / 5 + 1e-8)
    np.testing.assert_allclose(pixel_norm(x).numpy(), expected, rtol=1e-5, atol=1e-5)


def plain(x: torch.Tensor) -> torch.Tensor:
    """The formula, differentiated operation by operation."""
    return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()


@pytest.mark.parametrize("shape", [(2, 5, 3, 2), (3, 4)])
def test_both_derivatives_of_pixel_norm(shape: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pixel_norm, (x,))
    assert torch.autograd.gradgradcheck(pixel_norm, (x,))
    g = torch.randn(shape, dtype=torch.float64)
    for function in (pixel_norm, plain):
        (slope,) = torch.autograd.grad(function(x), x, g, create_graph=True)
        second = torch.autograd.grad((slope**3).sum(), x)[0]
        if function is pixel_norm:
            ours = slope.detach(), second
    torch.testing.assert_close(ours, (slope.detach(), second), rtol=1e-12, atol=1e-12)


def test_pixel_norm_is_one_step_of_the_backward_pass() -> None:
    x = torch.randn(2, 5, 3, 2, requires_grad=True)
    before = pixel_norm(x).grad_fn.next_functions
    assert [type(function).__name__ for function, _ in before if function is not None] == ["AccumulateGrad"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_derivative_of_pixel_norm_in_half_precision(dtype: torch.dtype) -> None:
    torch.manual_seed(2)
    x, g = (torch.randn(2, 16, 3, 3).to(dtype) for _ in range(2))
    x = 300 * x if dtype == torch.float16 else x  # whose squares overflow
    ours, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    pixel_norm(ours).backward(g)
    plain(exact).backward(g.double())
    assert ours.grad is not None
    assert exact.grad is not None
    assert ours.grad.dtype == dtype
    largest = exact.grad.abs().max().item()
    torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=0.02, atol=0.01 * largest)


def test_pixel_norm_of_latents_gives_mean_square_one() -> None:
    torch.manual_seed(0)
    torch.testing.assert_close(pixel_norm(7 * torch.randn(4, 512)).square().mean(1), torch.ones(4))


def test_pixel_norm_epsilon_keeps_zero_finite() -> None:
    x = torch.zeros(1, 3, 2, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(pixel_norm(x).sum(), x)
    torch.testing.assert_close(gradient, torch.full_like(x, 1e4))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("size", [1e-4, 1.0, 6e4])
def test_pixel_norm_in_half_precision_neither_overflows_nor_vanishes(
    dtype: torch.dtype, tolerance: float, size: float
) -> None:
    torch.manual_seed(0)
    x = (size * (0.5 + 0.5 * torch.rand(2, 16, 3, 3))).to(dtype)
    out = pixel_norm(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), pixel_norm(x.double()), rtol=tolerance, atol=tolerance)


def test_pixel_norm_as_a_module_has_no_parameters_and_takes_its_epsilon() -> None:
    norm = make_norm("pixel", 3, epsilon=0.25)
    assert norm is not None
    assert not list(norm.state_dict())
    x = torch.randn(2, 3, 4, 4)
    assert torch.equal(norm(x), pixel_norm(x, 0.25))


def test_no_norm_is_no_module() -> None:
    assert make_norm("none", 3) is None


def test_an_unknown_norm_is_refused() -> None:
    unknown: Any = "group"
    with pytest.raises(ValueError, match="'group'"):
        make_norm(unknown, 3)


def made(kind: Norm, channels: int, seed: int = 0) -> nn.Module:
    """A norm with random weights and biases."""
    norm = make_norm(kind, channels)
    assert norm is not None
    torch.manual_seed(seed)
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    return norm


def normalized(norm: nn.Module, kind: Norm, a: np.ndarray) -> np.ndarray:
    """By the definition: every set of numbers that share mean and variance, one after the other."""
    n, c = a.shape[:2]
    sets = {
        "batch": [np.s_[:, j] for j in range(c)],
        "instance": [np.s_[i, j] for i in range(n) for j in range(c)],
        "layer": [np.s_[i] for i in range(n)],
    }[kind]
    out = np.empty_like(a)
    for s in sets:
        out[s] = (a[s] - a[s].mean()) / np.sqrt(((a[s] - a[s].mean()) ** 2).mean() + 1e-5)
    weight, bias = (p.detach().double().numpy().reshape(1, c, 1, 1) for p in norm.parameters())
    return out * weight + bias


@pytest.mark.parametrize("kind", ["batch", "instance", "layer"])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(2, 5)),
    seed=st.integers(0, 2**31),
)
def test_norm_is_its_definition(
    kind: Norm, memory: torch.memory_format, shape: tuple[int, int, int, int], seed: int
) -> None:
    norm = made(kind, shape[1], seed)
    x = (2 + 3 * torch.randn(shape, dtype=torch.float64)).contiguous(memory_format=memory)
    expected = normalized(norm, kind, x.numpy())
    np.testing.assert_allclose(norm.double()(x).detach().numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", ["batch", "instance", "layer"])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_norm_in_float32(kind: Norm, memory: torch.memory_format) -> None:
    norm = made(kind, 7)
    x = (2 + 3 * torch.randn(4, 7, 8, 6)).contiguous(memory_format=memory)
    expected = normalized(norm, kind, x.double().numpy())
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["batch", "instance", "layer"])
def test_norms_start_with_weight_one_and_bias_zero_for_each_channel(kind: Norm) -> None:
    norm = make_norm(kind, 3)
    assert norm is not None
    weights = dict(norm.named_parameters())
    assert torch.equal(weights["weight"], torch.ones(3))
    assert torch.equal(weights["bias"], torch.zeros(3))
    assert len(weights) == 2


@pytest.mark.parametrize("pictures", [1, 3])
def test_instance_norm_of_one_pixel_is_the_bias_and_passes_no_gradient(pictures: int) -> None:
    norm = made("instance", 4)
    x = (1000 * torch.randn(pictures, 4, 1, 1)).requires_grad_(True)
    out = norm(x)
    bias = dict(norm.named_parameters())["bias"]
    assert torch.equal(out, bias.reshape(1, 4, 1, 1).expand(pictures, 4, 1, 1))
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.equal(gradient, torch.zeros_like(x))


def test_batch_norm_uses_running_statistics_in_eval_mode_only() -> None:
    norm = made("batch", 2)
    assert {name for name, _ in norm.named_buffers()} == {"running_mean", "running_var", "num_batches_tracked"}
    x = 5 + torch.randn(8, 2, 3, 3)
    trained = norm(x)
    np.testing.assert_allclose(
        trained.detach().numpy(), normalized(norm, "batch", x.double().numpy()), rtol=1e-5, atol=1e-5
    )
    state = dict(norm.named_buffers())
    a = x.double().numpy()
    mean, var = 0.1 * a.mean(axis=(0, 2, 3)), 0.9 + 0.1 * a.var(axis=(0, 2, 3), ddof=1)
    np.testing.assert_allclose(state["running_mean"].numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(state["running_var"].numpy(), var, rtol=1e-5)
    weight, bias = (p.detach().double().numpy().reshape(1, 2, 1, 1) for p in norm.parameters())
    expected = (a - mean.reshape(1, 2, 1, 1)) / np.sqrt(var.reshape(1, 2, 1, 1) + 1e-5) * weight + bias
    norm.eval()
    np.testing.assert_allclose(norm(x).detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(state["running_mean"].numpy(), mean, rtol=1e-5)  # eval mode leaves them


@pytest.mark.parametrize("kind", ["instance", "layer"])
def test_norms_of_single_pictures_have_no_buffers(kind: Norm) -> None:
    assert not list(made(kind, 2).buffers())


@pytest.mark.parametrize("kind", KINDS)
def test_norms_derivatives_agree_with_finite_differences(kind: Norm) -> None:
    norm = made(kind, 2).double()
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    weights = {name: p.detach().requires_grad_(True) for name, p in norm.named_parameters()}

    def run(x: torch.Tensor, *values: torch.Tensor) -> torch.Tensor:
        out = torch.func.functional_call(norm, dict(zip(weights, values, strict=True)), (x,))
        assert isinstance(out, torch.Tensor)
        return out

    assert torch.autograd.gradcheck(run, (x, *weights.values()))
    assert torch.autograd.gradgradcheck(run, (x, *weights.values()))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_norms_of_half_precision_are_computed_in_float32(kind: Norm, dtype: torch.dtype, tolerance: float) -> None:
    norm = made(kind, 3)
    x = (6e4 * torch.rand(4, 3, 3, 3)).to(dtype)  # squares and sums are beyond float16
    with torch.autocast("cpu", dtype=dtype):
        out = norm(x)
    assert out.dtype == dtype
    torch.testing.assert_close(out.double(), norm.double()(x.double()), rtol=tolerance, atol=tolerance)
