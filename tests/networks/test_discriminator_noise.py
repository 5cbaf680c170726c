"""Noise in whole discriminators: how many columns, which layers, and nothing without it."""

import pytest
import torch
from growing_networks import STAGES, Case, of_kind
from torch import Tensor, nn

from progcycle.blocks import EqualizedConv2d, EqualizedLinear, Noise
from progcycle.networks import PgganDiscriminator, ProgressiveDiscriminator

# Which layers there are, what they read, and how they take it in.
LAYERS = of_kind("discriminator", reads=["head", "convs", "fused", "stddev_group", "averaging", "kernels", "classes"])


class Counting:
    """Stands in for noise: changes nothing and notes what it is given."""

    taken = 0  # columns

    def __init__(self) -> None:
        self.given: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.given.append(x)
        return x


@pytest.mark.parametrize("case", LAYERS)
@torch.no_grad()
def test_noise_size_is_the_number_of_columns_taken(case: Case) -> None:
    network = case.build()
    for stage in range(STAGES):
        x, size = case.inputs(stage), network.noise_size(stage)
        for alpha in (0.0, 0.5, 1.0):
            noise = Noise(torch.zeros(len(x), size), torch.tensor(0.3), "prop")
            network(x, stage, alpha, noise)
            with pytest.raises(ValueError, match="0 columns of noise are left"):
                noise(x)
            with pytest.raises(ValueError, match="columns of noise are left"):
                network(x, stage, alpha, Noise(torch.zeros(len(x), size - 1), torch.tensor(0.3), "prop"))


def test_noise_size_by_hand() -> None:
    channels = [8, 6, 4]
    # Stage 2: 4 + 4 and 6 + 6 in the trunk, 8 + 1 in front of the 3x3 and 8 in front of the 4x4.
    assert [PgganDiscriminator(channels, hidden=9).noise_size(s) for s in range(3)] == [17, 29, 37]
    assert PgganDiscriminator(channels, hidden=9, averaging="spatial").noise_size(0) == 24
    assert [PgganDiscriminator(channels, hidden=9, convs=1).noise_size(s) for s in range(3)] == [9, 15, 19]
    assert [ProgressiveDiscriminator(channels).noise_size(s) for s in range(3)] == [9, 21, 29]


@pytest.mark.parametrize("case", LAYERS)
@torch.no_grad()
def test_noise_reaches_every_convolution_larger_than_a_pixel_and_no_other_layer(case: Case) -> None:
    network = case.build()
    noise = Counting()
    network(case.inputs(2), 2, 0.5, noise)
    parts = [*network.encoder.blocks[:2], network.head]
    layers = [m for part in parts for m in part.modules() if isinstance(m, EqualizedConv2d)]
    wanted = [layer.weight.shape[1] for layer in layers if layer.weight.shape[2] > 1]
    assert sorted(x.shape[1] for x in noise.given) == sorted(wanted)
    assert {layer.weight.shape[2] for layer in layers} <= {1, 3, 4}


@pytest.mark.parametrize("case", LAYERS)
@torch.no_grad()
def test_noise_without_strength_and_no_noise_are_the_same(case: Case) -> None:
    network, x = case.build(), case.inputs(2)
    plain = case.run(network, x, 2, 0.5)
    noise = Noise(torch.randn(len(x), network.noise_size(2)), torch.zeros(()), "prop")
    out = network(x, 2, 0.5, noise)
    assert torch.equal(torch.cat([out[0][:, None], out[1]], 1) if isinstance(out, tuple) else out, plain)


@torch.no_grad()
def test_every_picture_has_noise_of_its_own() -> None:
    torch.manual_seed(0)
    network = PgganDiscriminator([8, 6], hidden=9, stddev_group=0)
    x = torch.randn(1, 3, 8, 8).expand(3, -1, -1, -1)
    normals = torch.randn(3, network.noise_size(1))
    normals[2] = normals[0]
    first, second, third = network(x, 1, 0.5, Noise(normals, torch.tensor(0.2), "prop")).tolist()
    assert first == pytest.approx(third)
    assert abs(first - second) > 1e-3


def test_gradients_pass_through_noise() -> None:
    torch.manual_seed(0)
    network: nn.Module = PgganDiscriminator([8, 6], hidden=9)
    x = torch.randn(4, 3, 8, 8, requires_grad=True)
    logits = network(x, 1, 0.5, Noise(torch.randn(4, network.noise_size(1)), torch.tensor(0.2), "prop"))
    (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    slope.square().sum().backward()
    used = [m for m in network.modules() if isinstance(m, EqualizedConv2d | EqualizedLinear)]
    assert all(m.weight.grad.isfinite().all() and m.weight.grad.any() for m in used)
