"""Penalties on gradients against torch's own second derivatives, in float64."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint_sequential

from progcycle.blocks import InputGradients
from progcycle.objectives import zero_centred


def critic() -> nn.Sequential:
    """Convolutions of every form that networks here have, between a leaky ReLU and what is curved."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.LeakyReLU(0.2),
        nn.Conv2d(8, 8, 4, stride=2, padding=1, groups=2),
        nn.Tanh(),
        nn.Conv2d(8, 4, 3, padding=2, dilation=2, bias=False),
        nn.LeakyReLU(0.1),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 1, (2, 3)),
    ).double()


def gradients(
    network: nn.Sequential, context: AbstractContextManager[Any], recompute: bool = False
) -> dict[str, Tensor]:
    """Of a loss of the slope at a picture, and of the output, with respect to the picture and all weights."""
    network.zero_grad()
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    with context:
        y = checkpoint_sequential(network, 3, x, use_reentrant=False) if recompute else network(x)
        (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    (slope.square().sum() + slope.pow(3).sum() + y.square().sum()).backward()
    found = {name: parameter.grad for name, parameter in network.named_parameters()}
    return {"slope": slope.detach(), "x": x.grad, **found}  # type: ignore[dict-item]


@pytest.mark.parametrize("recompute", [False, True], ids=["kept", "checkpointed"])
def test_they_are_those_of_torch(recompute: bool) -> None:
    network = critic()
    expected, ours = gradients(network, nullcontext()), gradients(network, InputGradients(), recompute)
    assert min(each.abs().max() for each in expected.values()) > 1e-4
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-14)


class Kernels(TorchDispatchMode):
    """The sides of the kernels of all convolutions, and how many backward passes of some there were."""

    def __init__(self) -> None:
        super().__init__()
        self.sides: set[int] = set()
        self.backward = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket is torch.ops.aten.convolution:
            self.sides.add(args[1].shape[-1])
        self.backward += func.overloadpacket is torch.ops.aten.convolution_backward
        return func(*args, **(kwargs or {}))


def test_a_penalty_needs_no_kernel_as_large_as_the_picture_and_no_pass_of_zeros() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 3, padding=1))
    x = torch.randn(2, 3, 16, 16)
    with Kernels() as kernels:
        zero_centred(network, x, 1.0).backward()
    assert kernels.sides == {3}
    assert kernels.backward == 2 + 2, "of the inputs, and then of the weights alone"
    assert all(parameter.grad is not None for parameter in (network[0].weight, network[2].weight))
