"""The networks of BEGAN: sizes as published, what vanishes and skips by hand, continuity of those that grow."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import downsample2x, fade_reals, upsample2x
from progcycle.networks import BeganAutoencoder, BeganGenerator, GrowingAutoencoder, GrowingGenerator
from progcycle.objectives import reconstruction_loss

CHANNELS = [8, 6, 4]


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shaken(network: Any) -> Any:
    """With nothing left at zero, where a test could not fail."""
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.0, 0.3)
    return network.eval()


@pytest.mark.parametrize(
    ("filters", "resolution", "generator", "autoencoder"),
    [
        (128, 64, 1_716_611, 13_405_379),
        (64, 64, 563_395, 4_011_651),
        (128, 128, 2_011_779, 23_221_443),
        (64, 32, 489_539, 2_310_979),
        (16, 32, 80_915, 342_787),
        (32, 64, 207_971, 1_333_091),
    ],
)
def test_they_have_as_many_parameters_as_the_port(
    filters: int, resolution: int, generator: int, autoencoder: int
) -> None:
    """Worked out from the layers of carpedm20/BEGAN-tensorflow, latents of 64 numbers."""
    with torch.device("meta"):
        assert count(BeganGenerator(resolution, filters)) == generator
        assert count(BeganAutoencoder(resolution, filters)) == autoencoder


def _conv(x: Tensor, layer: Any, stride: int = 1) -> Tensor:
    return F.elu(F.conv2d(x, layer.conv.weight, layer.conv.bias, stride=stride, padding=1))


@torch.no_grad()
def test_the_autoencoder_is_the_published_function() -> None:
    """Layer by layer at 32 px: dense layers and the last convolution are linear, sizes are halved by stride."""
    network = shaken(BeganAutoencoder(32, 3, latent_size=5)).double()
    x = torch.rand(2, 3, 32, 32).double() * 2 - 1
    layers = list(network.encoder)
    assert [layer.conv.out_channels for layer in layers] == [3, 3, 3, 3, 6, 6, 6, 9, 9]
    y = x
    for i, layer in enumerate(layers):
        y = _conv(y, layer, stride=2 if i in (3, 6) else 1)
    assert y.shape == (2, 9, 8, 8)
    code = F.linear(y.flatten(1), network.dense.weight, network.dense.bias)
    torch.testing.assert_close(network.encode(x), code)
    decoder = network.decoder
    y = F.linear(code, decoder.dense.weight, decoder.dense.bias).reshape(2, 3, 8, 8)
    for i, layers in enumerate(decoder.rounds):
        y = y.repeat_interleave(2, 2).repeat_interleave(2, 3) if i else y
        for layer in layers:
            y = _conv(y, layer)
    expected = F.conv2d(y, decoder.to_rgb.weight, decoder.to_rgb.bias, padding=1)
    torch.testing.assert_close(network(x, 0, 1.0), expected)


@torch.no_grad()
def test_skips_join_the_first_maps_to_every_later_resolution() -> None:
    network = shaken(BeganGenerator(32, 3, latent_size=5, skips=True)).double()
    z = torch.rand(2, 5).double() * 2 - 1
    decoder = network.decoder
    first = y = F.linear(z, decoder.dense.weight, decoder.dense.bias).reshape(2, 3, 8, 8)
    for i, layers in enumerate(decoder.rounds):
        if i:
            times = 2**i
            enlarged = first.repeat_interleave(times, 2).repeat_interleave(times, 3)
            y = torch.cat([y.repeat_interleave(2, 2).repeat_interleave(2, 3), enlarged], dim=1)
        for layer in layers:
            y = _conv(y, layer)
    expected = F.conv2d(y, decoder.to_rgb.weight, decoder.to_rgb.bias, padding=1)
    torch.testing.assert_close(network(z, 0, 1.0), expected)
    # Each later resolution has a first layer that reads twice as many maps: 2 * 3 * 3 * 9 weights more.
    assert count(network) - count(BeganGenerator(32, 3, latent_size=5)) == 2 * 3 * 3 * 9


@torch.no_grad()
def test_residuals_vanish_as_pictures_are_shown() -> None:
    network = shaken(BeganGenerator(16, 3, latent_size=5, vanishing_kimg=2.0)).double()
    assert [network.options_at(nimg)["carry"] for nimg in (0, 500, 2000, 9000)] == [1, 0.75, 0, 0]
    assert BeganGenerator(16, 3, latent_size=5).options_at(500) == {}
    z = torch.rand(2, 5).double() * 2 - 1
    y = network.decoder.dense(z).reshape(2, 3, 8, 8)
    for i, layers in enumerate(network.decoder.rounds):
        y = upsample2x(y) if i else y
        for layer in layers:
            y = 0.75 * y + 0.25 * _conv(y, layer)
    torch.testing.assert_close(network(z, 0, 1.0, carry=0.75), network.decoder.to_rgb(y))
    # At 1 nothing but the dense layer and the last convolution is left.
    start = upsample2x(network.decoder.dense(z).reshape(2, 3, 8, 8))
    torch.testing.assert_close(network(z, 0, 1.0, carry=1.0), network.decoder.to_rgb(start))
    torch.testing.assert_close(network(z, 0, 1.0, carry=0.0), network(z, 0, 1.0), rtol=0, atol=0)


@torch.no_grad()
def test_of_the_encoder_layers_of_one_shape_have_residuals() -> None:
    network = shaken(BeganAutoencoder(16, 2, latent_size=5)).double()
    x = torch.rand(2, 3, 16, 16).double() * 2 - 1
    y = x
    for layer, stride in zip(network.encoder, (1, 1, 1, 2, 1, 1), strict=True):
        same = stride == 1 and layer.conv.in_channels == layer.conv.out_channels
        y = 0.5 * y + 0.5 * _conv(y, layer) if same else _conv(y, layer, stride)
    torch.testing.assert_close(network.encode(x, carry=0.5), network.dense(y.flatten(1)))
    assert [layer.keeps_shape for layer in network.encoder] == [False, True, True, False, False, True]


def test_weights_are_those_of_glorot_and_biases_zero() -> None:
    torch.manual_seed(0)
    network = BeganAutoencoder(32, 16)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            area = module.weight[0, 0].numel() if isinstance(module, nn.Conv2d) else 1
            bound = (6 / (area * (module.weight.shape[0] + module.weight.shape[1]))) ** 0.5
            assert 0.97 * bound < module.weight.abs().max() <= bound
            assert not module.bias.any()


VARIANTS: list[dict[str, Any]] = [
    {},
    {"rgb": "sum"},
    {"normalize": "pixel", "convs": 1},
    {"normalize": "batch", "nonlinearity": "leaky_relu", "rgb_kernel": 1},
    {"equalized": False, "initialization": "normal"},
]


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize("stage", [1, 2])
@torch.no_grad()
def test_a_stage_opens_with_the_restored_reduced_picture(options: dict[str, Any], stage: int) -> None:
    """D(x, s, 0) == up(D(down(x), s - 1, 1)) to the bit, for any picture, and likewise G."""
    x = torch.rand(3, 3, 4 << stage, 4 << stage) * 2 - 1
    network = shaken(GrowingAutoencoder(CHANNELS, 7, **options))
    before = network(downsample2x(x), stage - 1, 1.0)
    assert torch.equal(network(x, stage, 0.0), upsample2x(before))
    assert not torch.allclose(network(x, stage, 0.5), upsample2x(before))
    generator, z = shaken(GrowingGenerator(CHANNELS, 7, **options)), torch.rand(3, 7)
    assert torch.equal(generator(z, stage, 0.0), upsample2x(generator(z, stage - 1, 1.0)))


@pytest.mark.parametrize("stage", [1, 2])
@torch.no_grad()
def test_both_losses_go_on_through_an_opening(stage: int) -> None:
    """At alpha 0, L(x) and L(G(z)) are those of the stage before; of sharp pictures L(x) would not be."""
    network, generator = shaken(GrowingAutoencoder(CHANNELS, 7)), shaken(GrowingGenerator(CHANNELS, 7))
    sharp, z = torch.rand(3, 3, 4 << stage, 4 << stage) * 2 - 1, torch.rand(3, 7)

    def loss(pictures: Tensor, stage: int, alpha: float) -> Tensor:
        return reconstruction_loss(pictures, network(pictures, stage, alpha))

    before = loss(downsample2x(sharp), stage - 1, 1.0)
    torch.testing.assert_close(loss(fade_reals(sharp, 0.0), stage, 0.0), before, rtol=1e-6, atol=0)
    assert loss(sharp, stage, 0.0) > 1.01 * before
    fakes = (loss(generator(z, s, alpha), s, alpha) for s, alpha in ((stage, 0.0), (stage - 1, 1.0)))
    torch.testing.assert_close(*fakes, rtol=1e-6, atol=0)


@torch.no_grad()
def test_the_bottleneck_has_one_size_at_every_stage() -> None:
    network = shaken(GrowingAutoencoder(CHANNELS, 7))
    for stage in range(3):
        assert network.encode(torch.rand(2, 3, 4 << stage, 4 << stage), stage, 1.0).shape == (2, 7)
    fixed = BeganAutoencoder(32, 2, latent_size=7)
    assert fixed.encode(torch.rand(2, 3, 32, 32)).shape == (2, 7)


@torch.no_grad()
def test_a_copied_stage_changes_nothing_at_alpha_0() -> None:
    network = shaken(GrowingAutoencoder([6, 6, 6], 7))
    x = torch.rand(2, 3, 16, 16)
    before = network(x, 2, 0.0)
    assert set(network.newest(2)) == {"encoder.from_rgb", "encoder.block", "decoder.to_rgb", "decoder.block"}
    network.copy_stage(2)
    assert torch.equal(network(x, 2, 0.0), before)
    assert torch.equal(network.encoder.blocks[1][0].conv.weight, network.encoder.blocks[0][0].conv.weight)


@pytest.mark.parametrize(
    "make",
    [
        lambda: BeganAutoencoder(16, 2, image_channels=1),
        lambda: GrowingAutoencoder(CHANNELS, 7, image_channels=1),
    ],
)
@torch.no_grad()
def test_grey_pictures_stay_grey(make: Callable[[], nn.Module]) -> None:
    assert make()(torch.rand(2, 1, 16, 16), 2, 1.0).shape == (2, 1, 16, 16)
