"""Whole networks against numpy, in float64: at 4, 8 and 32 px, in the fade and after it, with options."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy_pggan import Array, NumpyPggan
from torch import Tensor, nn

from progcycle.blocks import Noise
from progcycle.networks import PgganDiscriminator, PgganGenerator

CHANNELS = [8, 7, 6, 5, 4]
LATENT = 7
# The base, its first stage in the fade, and one above others in the fade and after it.
growth = pytest.mark.parametrize(("stage", "alpha"), [(0, 1.0), (1, 0.3), (3, 0.3), (3, 1.0)])
# What follows the trunk of a discriminator, or comes before that of a generator, does not know the stage.
once = pytest.mark.parametrize(("stage", "alpha"), [(2, 0.3)])


def shaken(network: nn.Module) -> nn.Module:
    """The network in float64 with random weights, and biases that matter."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network.double()


def pictures(stage: int, n: int = 8) -> Tensor:
    torch.manual_seed(1)
    return torch.rand(n, 3, 4 << stage, 4 << stage, dtype=torch.float64) * 2 - 1


def latents(n: int = 3) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(n, LATENT, dtype=torch.float64)


def assert_equal(found: Tensor, expected: Array, tolerance: float = 1e-9) -> None:
    assert found.shape == expected.shape
    torch.testing.assert_close(found.double(), torch.from_numpy(expected), rtol=tolerance, atol=tolerance)


@growth
@pytest.mark.parametrize("options", [{}, {"convs": 1, "slope": 0.3, "tanh": True}, {"equalized": False}], ids=str)
@torch.no_grad()
def test_generator(options: dict[str, Any], stage: int, alpha: float) -> None:
    network = shaken(PgganGenerator(CHANNELS, LATENT, **options))
    expected = NumpyPggan(network, **options).generator(latents().numpy(), stage, alpha)
    assert expected.shape == (3, 3, 4 << stage, 4 << stage)
    assert_equal(network(latents(), stage, alpha), expected)


@growth
@torch.no_grad()
def test_fused_generator_is_the_same_function(stage: int, alpha: float) -> None:
    network = shaken(PgganGenerator(CHANNELS, LATENT, fused=True))
    expected = NumpyPggan(network).generator(latents().numpy(), stage, alpha)
    assert_equal(network(latents(), stage, alpha), expected)


@growth
@pytest.mark.parametrize(
    "options",
    [{}, {"convs": 1, "slope": 0.3}, {"equalized": False}, {"fused": True}, {"fused": True, "convs": 1}],
    ids=str,
)
@torch.no_grad()
def test_discriminator(options: dict[str, Any], stage: int, alpha: float) -> None:
    network = shaken(PgganDiscriminator(CHANNELS, hidden=9, **options))
    x = pictures(stage)
    expected = NumpyPggan(network, **options).discriminator(x.numpy(), stage, alpha)
    assert_equal(network(x, stage, alpha), expected[:, 0])


@growth
@torch.no_grad()
def test_both_in_float32(stage: int, alpha: float) -> None:
    generator, discriminator = shaken(PgganGenerator(CHANNELS, LATENT)), shaken(PgganDiscriminator(CHANNELS, hidden=9))
    expected = NumpyPggan(generator).generator(latents().numpy(), stage, alpha)
    assert_equal(generator.float()(latents().float(), stage, alpha), expected, 1e-4)
    expected = NumpyPggan(discriminator).discriminator(pictures(stage).numpy(), stage, alpha)[:, 0]
    scale = np.abs(expected).max()  # logits are sums of large numbers
    assert_equal(discriminator.float()(pictures(stage).float(), stage, alpha) / scale, expected / scale, 1e-5)


@torch.no_grad()
def test_references_differ_where_the_functions_do() -> None:
    """Otherwise the tests above could not tell the options apart."""
    network, x = shaken(PgganDiscriminator(CHANNELS, hidden=9)), pictures(2).numpy()
    plain = NumpyPggan(network).discriminator(x, 2, 0.3)
    for options in ({"fused": True}, {"slope": 0.3}, {"group": 8}, {"equalized": False}):
        assert not np.allclose(NumpyPggan(network, **options).discriminator(x, 2, 0.3), plain, rtol=1e-3)
    assert not np.allclose(NumpyPggan(network).discriminator(x, 2, 0.4), plain, rtol=1e-3)


@once
@torch.no_grad()
def test_classes_of_the_discriminator(stage: int, alpha: float) -> None:
    network, x = shaken(PgganDiscriminator(CHANNELS, hidden=9, classes=4)), pictures(stage)
    expected = NumpyPggan(network).discriminator(x.numpy(), stage, alpha)
    logits, classes = network(x, stage, alpha)
    assert_equal(logits, expected[:, 0])
    assert_equal(classes, expected[:, 1:])


@once
@torch.no_grad()
def test_labels_are_normalised_together_with_the_latents(stage: int, alpha: float) -> None:
    network, labels = shaken(PgganGenerator(CHANNELS, LATENT, classes=4)), torch.eye(4)[[2, 0, 2]]
    both = np.concatenate([latents().numpy(), labels.numpy()], axis=1).astype(float)
    assert_equal(network(latents(), stage, alpha, labels), NumpyPggan(network).generator(both, stage, alpha))


@growth
@pytest.mark.parametrize("options", [{}, {"convs": 1}, {"fused": True}], ids=str)
@torch.no_grad()
def test_noise_multiplies_the_input_of_every_3x3_and_4x4_convolution(
    options: dict[str, Any], stage: int, alpha: float
) -> None:
    network, x = shaken(PgganDiscriminator(CHANNELS, hidden=9, **options)), pictures(stage)
    strength, normals = 0.2, torch.randn(8, network.noise_size(stage), dtype=torch.float64)
    columns = iter(normals.numpy().T)

    def disturb(features: Array) -> Array:
        channels = features.shape[1]
        drawn = np.stack([next(columns) for _ in range(channels)], axis=1)  # [N, C]
        return features * (1 + strength * np.sqrt(channels) * drawn)[:, :, None, None]

    expected = NumpyPggan(network, disturb=disturb, **options).discriminator(x.numpy(), stage, alpha)
    assert next(columns, None) is None, "noise_size is exactly what is used"
    noise = Noise(normals, torch.tensor(strength, dtype=torch.float64), "prop")
    found = network(x, stage, alpha, noise)
    assert_equal(found, expected[:, 0])
    assert not torch.allclose(found, network(x, stage, alpha), rtol=1e-2)
