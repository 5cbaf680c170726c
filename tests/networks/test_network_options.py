"""Options of the layers, one by one: normalisation and where it is, slope, equalized, fused, tanh, kernels."""

import re
from typing import Any

import numpy as np
import pytest
import torch
from growing_networks import REGISTRIES, Case, of_kind
from torch import Tensor, nn

from progcycle.networks import (
    GrowingDecoder,
    PgganDiscriminator,
    PgganGenerator,
    ProgressiveDiscriminator,
    ProgressiveTranslator,
    Style,
)
from progcycle.networks.layers import Layer

CHANNELS = [8, 6, 4]


def shaken(network: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network.double()


# Over which sides of [N, C, H, W] each kind takes mean and variance.
SIDES = {"batch": (0, 2, 3), "instance": (2, 3), "layer": (1, 2, 3)}


@pytest.mark.parametrize("kind", ["none", "pixel", "batch", "instance", "layer"])
@pytest.mark.parametrize("slope", [0.0, 0.3])
@torch.no_grad()
def test_pixel_norm_follows_the_activation_and_the_others_precede_it(kind: Any, slope: float) -> None:
    layer = shaken(Layer(5, 6, style=Style(kind, epsilon=0.5, slope=slope)))
    x = torch.randn(3, 5, 7, 4).double()
    y = layer.conv(x).numpy()
    if kind in SIDES:
        mean, variance = (f(y, axis=SIDES[kind], keepdims=True) for f in (np.mean, np.var))
        weight, bias = (
            w.numpy().reshape(1, 6, 1, 1) for w in (layer.activation.norm.weight, layer.activation.norm.bias)
        )
        y = (y - mean) / np.sqrt(variance + 1e-5) * weight + bias
    y = np.where(y > 0, y, slope * y)
    if kind == "pixel":
        y = y / np.sqrt((y**2).mean(1, keepdims=True) + 0.5)
    torch.testing.assert_close(layer(x), torch.from_numpy(y))


def norms(network: nn.Module) -> set[str]:
    """Where a network has scale and shift of a norm; a running number stands for every block or layer."""
    found = (re.fullmatch(r"(.*)\.?activation\.norm\.weight", name) for name, _ in network.named_parameters())
    return {re.sub(r"\d+", "i", match[1].rstrip(".")) for match in found if match}


@pytest.mark.parametrize("kind", ["batch", "instance", "layer"])
def test_norms_are_behind_every_convolution_but_from_rgb_to_rgb_and_single_pixels(kind: Any) -> None:
    assert norms(PgganGenerator(CHANNELS, normalize=kind)) == {"", "conv", "decoder.blocks.i.i"}
    dense = {"head"} - ({"head"} if kind == "instance" else set())
    assert norms(PgganDiscriminator(CHANNELS, 9, normalize=kind)) == {"encoder.blocks.i.i", "head.conv", *dense}
    assert norms(ProgressiveDiscriminator(CHANNELS, normalize=kind)) == {"encoder.blocks.i.i", "head.conv"}
    blocks = {"encoder.blocks.i.i", "bottleneck.i.layers.i", "decoder.blocks.i.i"}
    assert norms(ProgressiveTranslator(CHANNELS, normalize=kind)) == blocks


@torch.no_grad()
def test_instance_norm_does_not_silence_a_dense_head() -> None:
    torch.manual_seed(0)
    network = PgganDiscriminator(CHANNELS, hidden=9, normalize="instance", stddev_group=0)
    logits = network(torch.randn(4, 3, 16, 16), 2, 1.0)
    assert logits.std() > 1e-3


@torch.no_grad()
def test_batch_norm_uses_its_memory_in_evaluation_only() -> None:
    torch.manual_seed(0)
    network, z = PgganGenerator(CHANNELS, latent_size=7, normalize="batch"), torch.randn(64, 7)
    for _ in range(100):  # the memory comes to hold the statistics of this batch
        trained = network(z, 2, 0.5)
    evaluated = network.eval()(z, 2, 0.5)
    torch.testing.assert_close(evaluated, trained, rtol=0.02, atol=0.02)
    torch.testing.assert_close(network(z[:1], 2, 0.5), evaluated[:1], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(network.train()(z[:2], 2, 0.5), evaluated[:2], atol=0.1)


@pytest.mark.parametrize("case", of_kind(*REGISTRIES, reads=["head", "convs"]))
@torch.no_grad()
def test_slope_and_epsilon_reach_every_layer(case: Case) -> None:
    network = case.build(slope=0.7, epsilon=0.03, normalize="pixel")
    assert {m.slope for m in network.modules() if hasattr(m, "slope")} == {0.7}
    assert {m.epsilon for m in network.modules() if hasattr(m, "epsilon")} == {0.03}


@torch.no_grad()
def test_epsilon_of_the_latents_too() -> None:
    network = shaken(PgganGenerator([8], latent_size=7, epsilon=0.5, normalize="none"))
    z = torch.randn(2, 7).double()
    x = z / (z.square().mean(1, keepdim=True) + 0.5).sqrt()
    plain = PgganGenerator([8], latent_size=7, epsilon=0.0, normalize="none").double()
    plain.load_state_dict(network.state_dict())
    plain.dense.register_forward_pre_hook(lambda module, inputs: (x,))
    torch.testing.assert_close(network(z, 0, 1.0), plain(z, 0, 1.0))


def everything(network: nn.Module) -> Tensor:
    return torch.cat([parameter.flatten() for parameter in network.parameters()])


# Gains differ from layer to layer, and fan-ins with what a layer reads besides.
LAYERS = [
    "head",
    "convs",
    "rgb_kernel",
    "fused",
    "skips",
    "predict",
    "classes",
    "kernels",
    "averaging",
    "spectral_norm",
]


@pytest.mark.parametrize("case", of_kind(*REGISTRIES, reads=LAYERS))
@torch.no_grad()
def test_without_equalized_training_begins_with_the_same_function(case: Case) -> None:
    scaled, plain = case.fresh(equalized=True), case.fresh(equalized=False)
    x = case.inputs(2)
    torch.testing.assert_close(case.run(plain, x, 2, 0.5), case.run(scaled, x, 2, 0.5), rtol=1e-3, atol=1e-3)
    assert {m.scale for m in plain.modules() if hasattr(m, "scale")} == {1.0}
    assert not torch.allclose(everything(plain), everything(scaled))


@pytest.mark.parametrize("rgb", ["replace", "sum"])
@pytest.mark.parametrize("convs", [1, 2])
@torch.no_grad()
def test_fused_generator_equals_the_plain_one(rgb: Any, convs: Any) -> None:
    plain = shaken(PgganGenerator(CHANNELS, latent_size=7, rgb=rgb, convs=convs))
    fused = PgganGenerator(CHANNELS, latent_size=7, rgb=rgb, convs=convs, fused=True).double()
    fused.load_state_dict(plain.state_dict())
    z = torch.randn(3, 7).double()
    for stage in range(3):
        for alpha in (0.4, 1.0):
            torch.testing.assert_close(fused(z, stage, alpha), plain(z, stage, alpha), rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_one_convolution_a_stage() -> None:
    generator = PgganGenerator(CHANNELS, latent_size=7, convs=1)
    discriminator = PgganDiscriminator(CHANNELS, hidden=9, convs=1)
    convolutions = {
        name: tuple(parameter.shape[:2])
        for network in (generator, discriminator)
        for name, parameter in network.named_parameters()
        if parameter.ndim == 4 and parameter.shape[2] == 3
    }
    assert convolutions == {
        "decoder.blocks.0.0.conv.weight": (6, 8),
        "decoder.blocks.1.0.conv.weight": (4, 6),
        "encoder.blocks.0.0.conv.weight": (8, 6),
        "encoder.blocks.1.0.conv.weight": (6, 4),
    }


@torch.no_grad()
def test_tanh_bounds_every_picture_before_the_blend() -> None:
    torch.manual_seed(0)
    plain = PgganGenerator(CHANNELS, latent_size=7, rgb_kernel=3)
    bounded = PgganGenerator(CHANNELS, latent_size=7, rgb_kernel=3, tanh=True)
    assert {tuple(layer.weight.shape[2:]) for layer in plain.decoder.to_rgb} == {(3, 3)}
    bounded.load_state_dict(plain.state_dict())
    z = torch.randn(3, 7)
    torch.testing.assert_close(bounded(z, 2, 1.0), plain(z, 2, 1.0).tanh())
    old, new = (plain(z, 2, alpha).tanh() for alpha in (0.0, 1.0))
    torch.testing.assert_close(bounded(z, 2, 0.3), 0.7 * old + 0.3 * new)


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="tanh would bound every detail"):
        PgganGenerator(CHANNELS, tanh=True, rgb="sum")
    with pytest.raises(ValueError, match="no place for skips"):
        GrowingDecoder(CHANNELS, skips=True, fused=True)
    with pytest.raises(ValueError, match="not 'group'"):
        PgganGenerator(CHANNELS, normalize="group")  # type: ignore[arg-type]


DIFFERENTIATED = ["rgb", "head", "stddev_group", "averaging", "kernels", "normalize", "fused", "convs", "spectral_norm"]


@pytest.mark.parametrize("case", of_kind("discriminator", reads=DIFFERENTIATED))
def test_gradient_penalty_has_gradients_in_every_variant(case: Case) -> None:
    network, x = case.build(), case.inputs(2).requires_grad_()
    (slope,) = torch.autograd.grad(case.run(network, x, 2, 0.4).sum(), x, create_graph=True)
    slope.square().sum().backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(bool(gradient.any()) for gradient in gradients) >= 4
