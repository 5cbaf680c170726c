"""PG-GAN as in the paper's table 2 and the official code: counts and gains."""

import math

import pytest
import torch

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


def shaken(network: torch.nn.Module) -> torch.nn.Module:
    """The network with biases that matter."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network


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
