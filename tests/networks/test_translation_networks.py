"""What is particular to translators and their discriminators."""

import pytest
import torch

from progcycle.blocks import Noise, downsample2x, pixel_norm, smooth_upsample2x, upsample2x
from progcycle.networks import GrowingEncoder, ProgressiveDiscriminator, ProgressiveTranslator
from progcycle.networks.progressive import ResidualBlock

CHANNELS = [8, 6, 4]


@torch.no_grad()
def test_change_starts_as_the_identity() -> None:
    x = torch.rand(2, 3, 16, 24) * 2 - 1
    for rgb in ("replace", "sum"):
        network = ProgressiveTranslator(CHANNELS, predict="change", rgb=rgb)
        for alpha in (0.0, 0.4, 1.0):
            assert torch.equal(network(x, 2, alpha), x)


@torch.no_grad()
def test_picture_does_not_start_as_the_identity() -> None:
    x = torch.rand(2, 3, 16, 24) * 2 - 1
    assert not torch.allclose(ProgressiveTranslator(CHANNELS, predict="picture")(x, 2, 1.0), x)


def test_change_with_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="equal channels, got 1 and 3"):
        ProgressiveTranslator(CHANNELS, in_channels=1, out_channels=3, predict="change")


@torch.no_grad()
def test_change_is_added_to_the_input() -> None:
    torch.manual_seed(0)
    change, picture = (ProgressiveTranslator(CHANNELS, predict=kind) for kind in ("change", "picture"))
    change.load_state_dict(picture.state_dict())
    x = torch.rand(2, 3, 16, 24) * 2 - 1
    assert torch.equal(change(x, 2, 0.4), x + picture(x, 2, 0.4))


@torch.no_grad()
@pytest.mark.parametrize("predict", ["picture", "change"])
def test_bounded_pictures_are_cut_off_at_black_and_white(predict: str) -> None:
    torch.manual_seed(0)
    free, bounded = (ProgressiveTranslator(CHANNELS, predict=predict, bounded=on) for on in (False, True))
    for parameter in free.parameters():  # a change begins as nothing
        torch.nn.init.normal_(parameter)
    bounded.load_state_dict(free.state_dict())
    x = torch.rand(2, 3, 16, 24) * 2 - 1
    pictures = free(x, 2, 0.4)
    assert pictures.abs().max() > 1, "otherwise nothing is tested"
    assert torch.equal(bounded(x, 2, 0.4), pictures.clamp(-1, 1))


@torch.no_grad()
@pytest.mark.parametrize("rgb", ["replace", "sum"])
@pytest.mark.parametrize("stage", [1, 2])
def test_smooth_translators_open_a_stage_with_the_smoothly_enlarged_translation(rgb: str, stage: int) -> None:
    torch.manual_seed(0)
    network = ProgressiveTranslator(CHANNELS, predict="picture", rgb=rgb, smooth=True)
    x = torch.rand(2, 3, 4 << stage - 1, 6 << stage - 1) * 2 - 1
    opened = network(upsample2x(x), stage, 0.0)
    torch.testing.assert_close(opened, smooth_upsample2x(network(x, stage - 1, 1.0)))
    with pytest.raises(AssertionError):
        torch.testing.assert_close(opened, upsample2x(network(x, stage - 1, 1.0)))


@torch.no_grad()
@pytest.mark.parametrize("predict", ["picture", "change"])
@pytest.mark.parametrize("rgb", ["replace", "sum"])
@pytest.mark.parametrize("stage", [1, 2])
def test_a_mean_preserving_stage_opens_as_the_one_before_made_small(rgb: str, predict: str, stage: int) -> None:
    """What a discriminator sees at alpha 0 is reduced; bilinear enlargement alone makes it jump."""
    jumps = {}
    for smooth in (True, "mean_preserving"):
        torch.manual_seed(0)
        network = ProgressiveTranslator(CHANNELS, predict=predict, rgb=rgb, smooth=smooth).double()
        for parameter in network.decoder.to_rgb.parameters():
            torch.nn.init.normal_(parameter)  # those of predict: change begin at zero
        x = torch.rand(2, 3, 4 << stage - 1, 6 << stage - 1, dtype=torch.float64) * 2 - 1
        opened, before = network(upsample2x(x), stage, 0.0), network(x, stage - 1, 1.0)
        jumps[smooth] = (downsample2x(opened) - before).abs().mean().item()
        network.bounded = True
        cut, before = network(upsample2x(x), stage, 0.0), network(x, stage - 1, 1.0)
        jumps[smooth, "bounded"] = (downsample2x(cut) - before).abs().mean().item()
    assert jumps["mean_preserving"] < 1e-14 < 0.05 < jumps[True]
    assert jumps["mean_preserving", "bounded"] < jumps[True, "bounded"] / 2


@torch.no_grad()
def test_skips_reach_the_decoder_at_every_stage_but_the_base() -> None:
    torch.manual_seed(0)
    with_skips = ProgressiveTranslator(CHANNELS, predict="picture", skips=True)
    without = ProgressiveTranslator(CHANNELS, predict="picture", skips=False)
    features = with_skips.encoder(torch.rand(1, 3, 16, 16), 2, 1.0)
    h = with_skips.bottleneck(features[0])
    other = [features[0], features[1], torch.zeros_like(features[2])]
    assert not torch.allclose(with_skips.decoder(h, 2, 1.0, features), with_skips.decoder(h, 2, 1.0, other))
    other = [features[0], torch.zeros_like(features[1]), features[2]]
    assert not torch.allclose(with_skips.decoder(h, 2, 1.0, features), with_skips.decoder(h, 2, 1.0, other))
    counts = [sum(p.numel() for p in network.decoder.parameters()) for network in (with_skips, without)]
    assert counts[0] - counts[1] == 9 * (6 * 6 + 4 * 4)


@torch.no_grad()
@pytest.mark.parametrize("rgb", ["replace", "sum"])
def test_encoder_hands_out_features_of_every_stage(rgb: str) -> None:
    encoder = GrowingEncoder(CHANNELS, rgb=rgb)
    features = encoder(torch.rand(2, 3, 16, 24), 2, 0.5)
    assert [tuple(f.shape) for f in features] == [(2, 8, 4, 6), (2, 6, 8, 12), (2, 4, 16, 24)]


@torch.no_grad()
def test_encoder_blends_the_block_with_the_reduced_picture() -> None:
    torch.manual_seed(0)
    x = torch.rand(2, 3, 8, 8)
    for rgb in ("replace", "sum"):
        encoder = GrowingEncoder(CHANNELS[:2], rgb=rgb)
        new = downsample2x(encoder.blocks[0](encoder.from_rgb[1](x)))
        old = encoder.from_rgb[0](downsample2x(x))
        expected = 0.7 * old + 0.3 * new if rgb == "replace" else old + 0.3 * new
        torch.testing.assert_close(encoder(x, 1, 0.3)[0], expected)


@torch.no_grad()
def test_residual_block_adds_two_normalised_layers() -> None:
    torch.manual_seed(0)
    block, x = ResidualBlock(6), torch.randn(2, 6, 5, 5)
    h = x
    for layer in block.layers:
        h = pixel_norm(torch.nn.functional.leaky_relu(layer.conv(h), 0.2))
    torch.testing.assert_close(block(x), x + h)


@torch.no_grad()
def test_patch_head_gives_a_logit_for_every_place_of_the_base_grid() -> None:
    discriminator = ProgressiveDiscriminator(CHANNELS)
    assert discriminator(torch.rand(2, 3, 16, 24), 2, 1.0).shape == (2, 1, 4, 6)
    assert ProgressiveDiscriminator(CHANNELS, head="dense", base_resolution=4)(
        torch.rand(2, 3, 16, 16), 2, 1.0
    ).shape == (2,)


@torch.no_grad()
@pytest.mark.parametrize("head", ["patch", "dense"])
def test_stddev_group_zero_makes_logits_independent_of_the_batch(head: str) -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 3, 16, 16)
    for group, independent in ((0, True), (4, False)):
        discriminator = ProgressiveDiscriminator(CHANNELS, head=head, base_resolution=4, stddev_group=group)
        alone = discriminator(x[:1], 2, 1.0)
        assert torch.allclose(discriminator(x, 2, 1.0)[:1], alone, atol=1e-5) is independent


@torch.no_grad()
@pytest.mark.parametrize("head", ["patch", "dense"])
@pytest.mark.parametrize("scales", [1, 2, 3, 7])
def test_several_scales_are_the_stages_before_each_by_itself(head: str, scales: int) -> None:
    torch.manual_seed(0)
    one, several = (
        ProgressiveDiscriminator(CHANNELS, head=head, hidden=7, base_resolution=8, rgb="sum", scales=n)
        for n in (1, scales)
    )
    several.load_state_dict(one.state_dict())  # no weights of its own
    for stage, alpha in ((2, 0.3), (2, 1.0), (1, 0.6), (0, 1.0)):
        x = torch.rand(4, 3, 8 << stage, 8 << stage) * 2 - 1
        told = [one(x, stage, alpha)]
        for s in range(stage - 1, max(stage - scales, -1), -1):
            x_smaller = torch.nn.functional.avg_pool2d(x, 2 ** (stage - s))
            told.append(one(x_smaller, s, 1.0))
        actual = several(x, stage, alpha)
        k, places = min(scales, stage + 1), () if head == "dense" else (8, 8)
        assert actual.shape == ((4, *places) if scales == 1 and head == "dense" else (4, k, *places))
        expected = torch.stack([verdict.reshape(4, -1) for verdict in told], dim=1)
        torch.testing.assert_close(actual.reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)


def test_several_scales_learn_of_each_of_them() -> None:
    torch.manual_seed(0)
    network = ProgressiveDiscriminator(CHANNELS, rgb="replace", scales=2)
    network(torch.rand(4, 3, 32, 32), 2, 1.0).sum().backward()
    used = [conv.conv.weight.grad is not None for conv in network.encoder.from_rgb]
    assert used == [False, True, True], "with replace, the from_rgb of the stage before is used by its own scale alone"


def test_several_scales_do_not_take_what_is_made_for_one() -> None:
    network = ProgressiveDiscriminator(CHANNELS, scales=2)
    assert network.noise_size(2) is None
    noise = Noise(torch.zeros(4, 99), torch.tensor(0.1), "prop")
    with pytest.raises(ValueError, match="one scale"):
        network(torch.rand(4, 3, 32, 32), 2, 1.0, noise)
