"""The layers that the networks are made of, against the same operations one by one."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from progcycle.blocks import Norm
from progcycle.networks.layers import Activation, Layer, Style


def test_an_activation_works_in_place() -> None:
    x = torch.randn(2, 3, 4, 4)
    expected = torch.where(x > 0, x, 0.2 * x)
    y = Activation(3, Style())(x)
    assert y.data_ptr() == x.data_ptr()
    torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("normalize", ["none", "pixel", "instance", "batch", "layer"])
@pytest.mark.parametrize("slope", [0.2, 0.0])
def test_derivatives_of_a_layer_do_not_need_what_it_overwrites(normalize: Norm, slope: float) -> None:
    torch.manual_seed(0)
    layer = Layer(2, 3, style=Style(normalize, slope=slope)).double()
    x = torch.randn(2, 2, 4, 4, dtype=torch.float64, requires_grad=True)

    def plain(x: Tensor) -> Tensor:
        y = F.conv2d(x, layer.conv.weight * layer.conv.scale, layer.conv.bias, padding=1)
        norm = layer.activation.norm
        if normalize == "pixel":
            y = F.leaky_relu(y, slope)
            return y / (y.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()
        return F.leaky_relu(y if norm is None else norm(y), slope)

    found = []
    for function in (layer, plain):
        (first,) = torch.autograd.grad(function(x).pow(3).sum(), x, create_graph=True)
        found.append((first.detach(), *torch.autograd.grad(first.square().sum(), [x, layer.conv.weight])))
    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-9)
