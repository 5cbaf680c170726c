"""A stage at alpha 0 is the stage before, to the bit: for every network in the registries and the options of trunks."""

from typing import Any

import pytest
import torch
from growing_networks import CASES, REGISTRIES, STAGES, Case, of_kind
from torch import Tensor

from progcycle.blocks import downsample2x, upsample2x
from progcycle.networks.trunks import GrowingDecoder

pytestmark = pytest.mark.filterwarnings("error")
grown = pytest.mark.parametrize("stage", [1, STAGES - 1])  # the newest stage alone, and above older ones
# What the trunks read. A head, or what is done with a picture afterwards, has the same input in both stages.
PAINTS = of_kind("generator", reads=["rgb", "normalize", "convs", "fused", "tanh", "rgb_kernel"])
TRANSLATES = of_kind("translator", reads=["rgb", "skips", "predict", "normalize", "bounded", "latents"])
RESTORES = of_kind("autoencoder", reads=["rgb", "normalize", "convs"])
JUDGES = of_kind("discriminator", reads=["rgb", "normalize", "convs", "fused", "spectral_norm"])


ONE_SIZE = ("dcgan", "dcgan_theano", "lapgan_mlp", "mlp", "wgan_gp", "wgan_gp_residual")
OTHERS = {  # see test_classic.py, test_projected.py, test_began.py, test_dcgan.py and test_lapgan_networks.py
    *((kind, name) for kind in ("generator", "discriminator") for name in ONE_SIZE),
    *(("translator", name) for name in ("resnet", "unet")),
    *(("discriminator", name) for name in ("lapgan", "lapgan_large", "patchgan", "projected")),
    ("autoencoder", "began"),
}


def test_every_entry_of_the_registries_is_tested() -> None:
    """A network that says that it does not grow must stand above: saying so is not enough to get out of the tests."""
    entries = {(kind, name) for kind, registry in REGISTRIES.items() for name in registry}
    assert {(case.kind, case.name) for case in CASES} == entries - OTHERS
    assert entries >= OTHERS


def is_as(case: Case, made: Tensor, expected: Tensor) -> bool:
    """To the bit; where features are enlarged and then painted, not before, but for rounding."""
    if case.value("rgb") == "features" and case.kind != "discriminator":
        return torch.allclose(made, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))
    return torch.equal(made, expected)


@grown
@pytest.mark.parametrize("case", PAINTS)
@torch.no_grad()
def test_generator_opens_a_stage_with_the_enlarged_picture(case: Case, stage: int) -> None:
    network, z = case.build(), case.inputs(stage)
    before = case.run(network, z, stage - 1, 1.0)
    assert is_as(case, case.run(network, z, stage, 0.0), upsample2x(before))
    assert not torch.allclose(case.run(network, z, stage, 0.5), upsample2x(before))


@grown
@pytest.mark.parametrize("case", JUDGES)
@torch.no_grad()
def test_discriminator_opens_a_stage_judging_the_reduced_picture(case: Case, stage: int) -> None:
    network, x = case.build(), case.inputs(stage)
    before = case.run(network, downsample2x(x), stage - 1, 1.0)
    assert torch.equal(case.run(network, x, stage, 0.0), before)
    assert not torch.allclose(case.run(network, x, stage, 0.5), before)


@grown
@pytest.mark.parametrize("case", TRANSLATES + RESTORES)
@torch.no_grad()
def test_what_turns_pictures_into_pictures_opens_a_stage_with_the_enlarged_one(case: Case, stage: int) -> None:
    network = case.build()
    x = upsample2x(downsample2x(case.inputs(stage)))
    before = case.run(network, downsample2x(x), stage - 1, 1.0)
    assert is_as(case, case.run(network, x, stage, 0.0), upsample2x(before))
    assert not torch.allclose(case.run(network, x, stage, 0.5), upsample2x(before))


@pytest.mark.parametrize("case", of_kind("translator", predict="picture", reads=["rgb", "skips"]))
@pytest.mark.parametrize(("in_channels", "out_channels"), [(1, 3), (3, 1)])
@torch.no_grad()
def test_translator_between_grey_and_colour_is_continuous(case: Case, in_channels: int, out_channels: int) -> None:
    stage = STAGES - 1
    network = case.build(in_channels=in_channels, out_channels=out_channels)
    x = upsample2x(downsample2x(case.inputs(stage, in_channels)))
    picture = case.run(network, x, stage, 0.0)
    assert picture.shape == (x.shape[0], out_channels, *x.shape[2:])
    assert is_as(case, picture, upsample2x(case.run(network, downsample2x(x), stage - 1, 1.0)))


@grown
@pytest.mark.parametrize(
    "case",
    [
        c
        for rgb in ("replace", "features")
        for c in of_kind(*REGISTRIES, rgb=rgb, reads=["skips", "predict", "fused", "tanh"])
    ],
)
@torch.no_grad()
def test_nothing_but_a_sum_needs_any_older_layer_at_alpha_one(case: Case, stage: int) -> None:
    network, x = case.build(), case.inputs(stage)
    full, fading = case.run(network, x, stage, 1.0), case.run(network, x, stage, 0.5)
    poisoned = 0
    for name, parameter in network.named_parameters():
        if any(f"{layer}.{old}." in name for layer in ("to_rgb", "from_rgb") for old in range(stage)):
            parameter.fill_(float("nan"))
            poisoned += 1
    assert poisoned
    assert torch.equal(case.run(network, x, stage, 1.0), full)
    assert fading.isfinite().all()
    assert case.run(network, x, stage, 0.5).isnan().any()


@grown
@pytest.mark.parametrize(
    "case", [c for rgb in ("replace", "sum") for c in of_kind("generator", rgb=rgb, reads=["tanh"])]
)
@torch.no_grad()
def test_generator_is_linear_in_alpha(case: Case, stage: int) -> None:
    network, z = case.build(), case.inputs(stage)
    old, new = (case.run(network, z, stage, alpha).double() for alpha in (0.0, 1.0))
    for alpha in (0.25, 0.7):
        expected = (1 - alpha) * old + alpha * new
        torch.testing.assert_close(case.run(network, z, stage, alpha).double(), expected, rtol=1e-5, atol=1e-4)


@grown
@torch.no_grad()
def test_features_fade_between_the_stages_and_so_does_what_paints_them(stage: int) -> None:
    """By hand: h = (1 - a) up(h_old) + a block(up(h_old)); picture = (1 - a) old_to_rgb(h) + a new_to_rgb(h)."""
    torch.manual_seed(3)
    decoder = GrowingDecoder([5] * STAGES, rgb="features").double()
    x, alpha = torch.randn(2, 5, 3, 2, dtype=torch.float64), 0.3
    before = x
    for block in decoder.blocks[: stage - 1]:
        before = block(upsample2x(before))
    enlarged = before.repeat_interleave(2, 2).repeat_interleave(2, 3)
    h = 0.7 * enlarged + 0.3 * decoder.blocks[stage - 1](enlarged)
    expected = 0.7 * decoder.to_rgb[stage - 1](h) + 0.3 * decoder.to_rgb[stage](h)
    torch.testing.assert_close(decoder(x, stage, alpha), expected)


@pytest.mark.parametrize(
    "options",
    [{"channels": [5, 4]}, {"channels": [5, 5], "rgb_kernel": 3}, {"channels": [5, 5], "smooth": "mean_preserving"}],
)
def test_features_that_cannot_be_blended_exactly_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="rgb 'features' needs equal channels"):
        GrowingDecoder(**options, rgb="features")
