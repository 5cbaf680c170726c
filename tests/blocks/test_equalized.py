"""Equalized layers against loops in float64, and the variance they promise."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from progcycle.blocks import EqualizedConv2d, EqualizedLinear, normalize_spectrally, scaling_once


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, padding: int) -> np.ndarray:
    """Cross-correlation with zero padding, one output pixel after the other."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    k = weight.shape[-1]
    height, width = x.shape[2] - k + 1, x.shape[3] - k + 1
    out = np.empty((x.shape[0], weight.shape[0], height, width))
    for i in range(height):
        for j in range(width):
            out[:, :, i, j] = np.einsum("nchw,ochw->no", x[:, :, i : i + k, j : j + k], weight) + bias
    return out


@pytest.mark.parametrize(
    ("kernel", "padding", "used", "gain"),
    [
        *((*place, math.sqrt(2)) for place in ((1, None, 0), (3, None, 1), (5, None, 2), (4, 0, 0), (3, 0, 0))),
        (3, 0, 0, 1),
    ],
)
def test_conv_is_a_convolution_with_scaled_weights(kernel: int, padding: int | None, used: int, gain: float) -> None:
    torch.manual_seed(kernel)
    layer = EqualizedConv2d(3, 5, kernel, gain, padding)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(2, 3, 6, 7)
    weight = layer.weight.detach().double().numpy() * gain / math.sqrt(kernel * kernel * 3)
    expected = convolve(x.double().numpy(), weight, layer.bias.detach().double().numpy(), used)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("gain", [math.sqrt(2), 1.0, math.sqrt(2) / 4])
def test_linear_is_a_product_with_scaled_weights(gain: float) -> None:
    torch.manual_seed(0)
    layer = EqualizedLinear(7, 4, gain)
    torch.nn.init.normal_(layer.bias)
    x = torch.randn(5, 7)
    weight = layer.weight.detach().double().numpy() * gain / math.sqrt(7)
    expected = x.double().numpy() @ weight.T + layer.bias.detach().double().numpy()
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-5, atol=1e-5)


def test_linear_without_bias_has_one_parameter() -> None:
    assert [name for name, _ in EqualizedLinear(3, 2, bias=False).named_parameters()] == ["weight"]


@pytest.mark.parametrize("gain", [math.sqrt(2), 1.0, math.sqrt(2) / 4])
def test_linear_gives_variance_gain_squared(gain: float) -> None:
    torch.manual_seed(1)
    out = EqualizedLinear(256, 256, gain)(torch.randn(256, 256))
    assert out.var().item() == pytest.approx(gain**2, rel=0.05)


@pytest.mark.parametrize(("kernel", "channels", "gain"), [(1, 128, 1.0), (3, 64, math.sqrt(2))])
def test_conv_gives_variance_gain_squared(kernel: int, channels: int, gain: float) -> None:
    torch.manual_seed(2)
    layer = EqualizedConv2d(channels, 96, kernel, gain, padding=0)  # padding would lower the variance at the border
    assert layer(torch.randn(8, channels, 12, 12)).var().item() == pytest.approx(gain**2, rel=0.05)


def test_weights_start_as_unit_normals_and_biases_at_zero() -> None:
    torch.manual_seed(3)
    for layer in (EqualizedConv2d(64, 64, 3), EqualizedLinear(200, 200)):
        assert layer.weight.mean().item() == pytest.approx(0, abs=0.02)
        assert layer.weight.std().item() == pytest.approx(1, abs=0.02)
        assert not layer.bias.any()


def test_zero_layer_gives_zero_but_learns() -> None:
    layer = EqualizedConv2d(2, 3, 1, zero=True)
    out = layer(torch.randn(1, 2, 4, 4))
    assert not out.any()
    out.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.abs().min() > 0


@pytest.mark.parametrize("gain", [math.sqrt(2), 1.0, math.sqrt(2) / 4])
def test_without_equalization_the_weights_are_drawn_at_their_size_and_used_as_they_are(gain: float) -> None:
    torch.manual_seed(4)
    conv, linear = EqualizedConv2d(64, 96, 3, gain, equalized=False), EqualizedLinear(256, 256, gain, equalized=False)
    for layer, fan_in in ((conv, 9 * 64), (linear, 256)):
        assert layer.scale == 1
        assert layer.weight.mean().item() == pytest.approx(0, abs=0.02 * gain / math.sqrt(fan_in))
        assert layer.weight.std().item() == pytest.approx(gain / math.sqrt(fan_in), rel=0.02)
        assert layer.bias is not None
        assert not layer.bias.any()
    x, y = torch.randn(2, 64, 5, 5), torch.randn(3, 256)
    expected = convolve(x.double().numpy(), conv.weight.detach().double().numpy(), np.zeros(96), 1)
    np.testing.assert_allclose(conv(x).detach().numpy(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        linear(y).detach().numpy(), y.double().numpy() @ linear.weight.detach().double().numpy().T, rtol=1e-5, atol=1e-5
    )


def test_both_ways_begin_as_the_same_function_under_the_same_names() -> None:
    x = torch.randn(2, 6, 4, 4)
    layers = []
    for equalized in (True, False):
        torch.manual_seed(5)
        layers.append(EqualizedConv2d(6, 3, 3, equalized=equalized))
    assert layers[0].state_dict().keys() == layers[1].state_dict().keys()
    torch.testing.assert_close(layers[0](x), layers[1](x))


def test_a_zero_layer_is_zero_without_equalization_too() -> None:
    assert not EqualizedConv2d(2, 3, 1, zero=True, equalized=False).weight.any()


def test_weights_are_scaled_once_inside_of_the_context_and_in_every_pass_outside() -> None:
    for layer in (EqualizedConv2d(2, 3, 3), EqualizedLinear(4, 5)):
        assert layer.scaled_weight() is not layer.scaled_weight()
        with scaling_once():
            with torch.no_grad():
                fixed = layer.scaled_weight()
                assert layer.scaled_weight() is fixed
            weight = layer.scaled_weight()
            assert weight.requires_grad, "what was made for a pass without gradients has none"
            assert layer.scaled_weight() is weight
            with torch.no_grad():
                assert layer.scaled_weight() is weight
        assert layer.scaled_weight() is not weight
        torch.testing.assert_close(weight, layer.weight * layer.scale)
        layer.weight.data += 1
        with scaling_once():
            torch.testing.assert_close(layer.scaled_weight(), layer.weight * layer.scale)


def twice(layers: torch.nn.Sequential, x: Tensor, recompute: bool = False) -> list[Tensor]:
    """Gradients of a loss of two passes, one through the other, and of the squared gradient of their result."""
    layers.zero_grad()
    x = x.clone().requires_grad_()
    passed = x
    for _ in range(2):
        passed = checkpoint(layers, passed, use_reentrant=False) if recompute else layers(passed)
    (slope,) = torch.autograd.grad(passed.square().sum(), x, create_graph=True)
    (passed.sum() + slope.square().sum()).backward()
    return [parameter.grad for parameter in layers.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "checkpointed"])
def test_gradients_of_weights_scaled_once_are_those_of_plain_ones(recompute: bool) -> None:
    torch.manual_seed(6)
    layers = torch.nn.Sequential(EqualizedConv2d(2, 3, 3), torch.nn.Tanh(), EqualizedConv2d(3, 2, 1)).double()
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64)
    plain = twice(layers, x)
    with scaling_once():
        once = twice(layers, x, recompute)
    assert len(once) == len(plain) == 4
    for ours, theirs in zip(once, plain, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_spectral_norm_still_estimates_in_every_pass() -> None:
    torch.manual_seed(7)
    layer = EqualizedConv2d(4, 4, 3)
    network = torch.nn.Sequential(layer)
    normalize_spectrally(network)
    layer.parametrizations.weight[0].inner._u.copy_(torch.eye(4)[0])  # far from the end of the iteration
    with scaling_once():
        first = layer.scaled_weight()
        assert not torch.equal(layer.scaled_weight(), first)
