"""PG-GAN as in the paper's table 2 and the official code: counts, gains, order of operations."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from progcycle.networks import PgganDiscriminator, PgganGenerator, feature_maps, stage_channels

PAPER = stage_channels(4, 1024, 8192, 1.0, 512)


def test_channels_of_the_paper() -> None:
    assert PAPER == [512, 512, 512, 512, 256, 128, 64, 32, 16]
    # The networks of the paper's table 1 (fmap_base 2048) and those for CIFAR-10 (4096, at most 128).
    assert feature_maps(128, base=2048) == 32
    assert stage_channels(4, 32, 4096, 1.0, 128) == [128, 128, 128, 128]
    assert stage_channels(8, 8, 8192, 1.0, 512) == [512]
    assert feature_maps(64, decay=0.5) == 512
    assert feature_maps(1024, base=16) == 1, "never without features"


def test_parameter_counts_at_1024() -> None:
    with torch.device("meta"):
        generator, discriminator = PgganGenerator(PAPER), PgganDiscriminator(PAPER, hidden=512)
    assert sum(p.numel() for p in generator.parameters()) == 23_079_115
    assert sum(p.numel() for p in discriminator.parameters()) == 23_087_249


def test_run_time_scales_are_gain_over_root_fan_in() -> None:
    generator, discriminator = PgganGenerator([16, 8], latent_size=12), PgganDiscriminator([16, 8], hidden=10)
    scales = {
        name: module.scale
        for prefix, network in (("G.", generator), ("D.", discriminator))
        for name, module in ((prefix + n, m) for n, m in network.named_modules())
        if hasattr(module, "scale")
    }
    root2 = math.sqrt(2)
    expected = {
        "G.dense": root2 / 4 / math.sqrt(12),
        "G.conv.conv": root2 / math.sqrt(9 * 16),
        "G.decoder.blocks.0.0.conv": root2 / math.sqrt(9 * 16),
        "G.decoder.blocks.0.1.conv": root2 / math.sqrt(9 * 8),
        "G.decoder.to_rgb.0": 1 / math.sqrt(16),
        "G.decoder.to_rgb.1": 1 / math.sqrt(8),
        "D.encoder.from_rgb.0.conv": root2 / math.sqrt(3),
        "D.encoder.from_rgb.1.conv": root2 / math.sqrt(3),
        "D.encoder.blocks.0.0.conv": root2 / math.sqrt(9 * 8),
        "D.encoder.blocks.0.1.conv": root2 / math.sqrt(9 * 8),
        "D.head.conv.conv": root2 / math.sqrt(9 * 17),
        "D.head.dense": root2 / math.sqrt(16 * 16),
        "D.head.logit": 1 / math.sqrt(10),
    }
    assert scales == pytest.approx(expected)


class ByHand:
    """The official forward passes from the weights alone, in float64; only the newest to_rgb / from_rgb is used."""

    def __init__(self, network: torch.nn.Module) -> None:
        self.state = {name: value.detach().double() for name, value in network.state_dict().items()}

    def conv(self, x: Tensor, name: str, gain: float = math.sqrt(2), padding: int | None = None) -> Tensor:
        weight = self.state[f"{name}.weight"]
        scaled = weight * gain / math.sqrt(weight[0].numel())
        padding = weight.shape[-1] // 2 if padding is None else padding
        return F.conv2d(x, scaled, padding=padding) + self.state[f"{name}.bias"].reshape(1, -1, 1, 1)

    @staticmethod
    def pixel_norm(x: Tensor) -> Tensor:
        return x / torch.sqrt((x**2).mean(1, keepdim=True) + 1e-8)

    @staticmethod
    def leaky(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    def generator(self, z: Tensor, stage: int) -> Tensor:
        dense = self.state["dense.weight"]
        x = self.pixel_norm(z) @ (dense * math.sqrt(2) / 4 / math.sqrt(dense.shape[1])).T
        x = x.reshape(z.shape[0], -1, 4, 4) + self.state["bias"]
        x = self.pixel_norm(self.leaky(x))
        x = self.pixel_norm(self.leaky(self.conv(x, "conv.conv")))
        for block in range(stage):
            x = torch.from_numpy(np.repeat(np.repeat(x.numpy(), 2, 2), 2, 3))
            for layer in range(2):
                x = self.pixel_norm(self.leaky(self.conv(x, f"decoder.blocks.{block}.{layer}.conv")))
        return self.conv(x, f"decoder.to_rgb.{stage}", gain=1.0)

    def discriminator(self, x: Tensor, stage: int) -> Tensor:
        x = self.leaky(self.conv(x, f"encoder.from_rgb.{stage}.conv"))
        for block in reversed(range(stage)):
            for layer in range(2):
                x = self.leaky(self.conv(x, f"encoder.blocks.{block}.{layer}.conv"))
            x = F.avg_pool2d(x, 2)
        statistic = torch.sqrt(((x - x.mean(0)) ** 2).mean(0) + 1e-8).mean()  # one group: the whole batch of four
        x = torch.cat([x, statistic.expand(x.shape[0], 1, *x.shape[2:])], 1)
        x = self.leaky(self.conv(x, "head.conv.conv"))
        x = self.leaky(self.conv(x, "head.dense", padding=0)).flatten(1)
        logit = self.state["head.logit.weight"]
        return (x @ (logit / math.sqrt(logit.shape[1])).T + self.state["head.logit.bias"]).squeeze(1)


def shaken(network: torch.nn.Module) -> torch.nn.Module:
    """The network with biases that matter."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network


@pytest.mark.parametrize("stage", [0, 1, 2])
@torch.no_grad()
def test_generator_equals_the_paper_written_by_hand(stage: int) -> None:
    torch.manual_seed(0)
    network, z = shaken(PgganGenerator([8, 6, 5], latent_size=7)), torch.randn(3, 7)
    expected = ByHand(network).generator(z.double(), stage)
    assert expected.shape == (3, 3, 4 << stage, 4 << stage)
    torch.testing.assert_close(network(z, stage, 1.0).double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("stage", [0, 1, 2])
@torch.no_grad()
def test_discriminator_equals_the_paper_written_by_hand(stage: int) -> None:
    torch.manual_seed(0)
    network, x = shaken(PgganDiscriminator([8, 6, 5], hidden=9)), torch.randn(4, 3, 4 << stage, 4 << stage)
    expected = ByHand(network).discriminator(x.double(), stage)
    torch.testing.assert_close(network(x, stage, 1.0).double(), expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_generator_output_is_linear_and_not_squashed() -> None:
    torch.manual_seed(0)
    network = shaken(PgganGenerator([8], latent_size=7))
    z = torch.randn(2, 7)
    picture = network(z, 0, 1.0)
    network.decoder.to_rgb[0].weight *= 100
    network.decoder.to_rgb[0].bias *= 100
    torch.testing.assert_close(network(z, 0, 1.0), 100 * picture)
    assert picture.abs().max() > 1


@torch.no_grad()
def test_latents_are_normalised() -> None:
    torch.manual_seed(0)
    network, z = PgganGenerator([8, 6], latent_size=64), torch.randn(2, 64)
    torch.testing.assert_close(network(1000 * z, 1, 1.0), network(z, 1, 1.0))
    assert not torch.allclose(network(-z, 1, 1.0), network(z, 1, 1.0))
