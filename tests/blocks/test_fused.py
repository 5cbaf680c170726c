"""Fused convolutions against the two layers that they stand for."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from progcycle.blocks import conv2d_downsample, downsample2x, upsample2x, upsample_conv2d

Tensors = tuple[Tensor, Tensor, Tensor]
Convolution = Callable[..., Tensor]


def random_layer(n: int, c_in: int, c_out: int, h: int, w: int, seed: int, dtype: torch.dtype) -> Tensors:
    """Features, kernel and bias that ask for gradients."""
    torch.manual_seed(seed)
    shapes = ((n, c_in, h, w), (c_out, c_in, 3, 3), (c_out,))
    x, weight, bias = (torch.randn(shape, dtype=dtype).requires_grad_(True) for shape in shapes)
    return x, weight, bias


def separate_up(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(upsample2x(x), weight, bias, padding=1)


def separate_down(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return downsample2x(F.conv2d(x, weight, padding=1)) + bias[:, None, None]


PAIRS = [(upsample_conv2d, separate_up), (conv2d_downsample, separate_down)]


@pytest.mark.parametrize(("fused", "separate"), PAIRS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@settings(deadline=None, max_examples=25)
@given(
    n=st.integers(1, 3),
    c_in=st.integers(1, 5),
    c_out=st.integers(1, 5),
    h=st.integers(2, 7),
    w=st.integers(2, 7),
    last=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_fused_is_the_two_layers_with_borders_and_gradients(
    fused: Convolution,
    separate: Convolution,
    dtype: torch.dtype,
    tolerance: float,
    n: int,
    c_in: int,
    c_out: int,
    h: int,
    w: int,
    last: bool,
    seed: int,
) -> None:
    x, weight, bias = random_layer(n, c_in, c_out, h, w, seed, dtype)
    laid_out = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    out, expected = fused(laid_out, weight, bias), separate(x, weight, bias)
    torch.testing.assert_close(out, expected, rtol=tolerance, atol=tolerance * 10)
    direction = torch.randn_like(expected)
    gradients, wanted = (torch.autograd.grad((y * direction).sum(), (x, weight, bias)) for y in (out, expected))
    torch.testing.assert_close(gradients, wanted, rtol=10 * tolerance, atol=100 * tolerance)


def test_one_pixel_can_be_enlarged() -> None:
    x, weight, bias = random_layer(1, 2, 3, 1, 1, 0, torch.float64)
    torch.testing.assert_close(upsample_conv2d(x, weight, bias), separate_up(x, weight, bias))


def test_kernels_by_hand() -> None:
    weight = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)  # 1 2 3 / 4 5 6 / 7 8 9
    point = torch.zeros(1, 1, 3, 3)
    point[0, 0, 1, 1] = 1
    up = upsample_conv2d(point, weight, None)[0, 0, 1:5, 1:5]
    summed = torch.tensor([[9.0, 17, 15, 7], [15, 28, 24, 11], [9, 16, 12, 5], [3, 5, 3, 1]])
    assert torch.equal(up, summed)
    mean = torch.tensor([[1.0, 3, 5, 3], [5, 12, 16, 9], [11, 24, 28, 15], [7, 15, 17, 9]]) / 4
    x = torch.randn(1, 1, 4, 4)
    padded = F.pad(x, (1, 1, 1, 1))
    expected = torch.stack([(padded[0, 0, i : i + 4, j : j + 4] * mean).sum() for i in (0, 2) for j in (0, 2)])
    torch.testing.assert_close(conv2d_downsample(x, weight, None).flatten(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fused", [upsample_conv2d, conv2d_downsample])
def test_no_bias_is_a_bias_of_zero(fused: Convolution) -> None:
    x, weight, bias = random_layer(2, 3, 4, 4, 4, 0, torch.float32)
    assert torch.equal(fused(x, weight, None), fused(x, weight, torch.zeros_like(bias)))


@pytest.mark.parametrize("fused", [upsample_conv2d, conv2d_downsample])
def test_derivatives_agree_with_finite_differences(fused: Convolution) -> None:
    layer = random_layer(1, 2, 1, 2, 2, 0, torch.float64)
    assert torch.autograd.gradcheck(fused, layer)
    assert torch.autograd.gradgradcheck(fused, layer)
