"""A decoder with the stages of another paints what the other paints."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from progcycle.blocks import upsample2x
from progcycle.networks import GrowingDecoder, Style, copy_stages
from progcycle.networks.pggan import PgganGenerator

CHANNELS = [8, 7, 6, 5]  # at 4, 8, 16, 32 px
TRANSLATOR = CHANNELS[1:]  # at 8, 16, 32 px


def decoder(channels: list[int] = TRANSLATOR, **options: Any) -> GrowingDecoder:
    return randomized(GrowingDecoder(channels, **{"skips": True, **options}))


def randomized(network: Any) -> Any:
    """With biases and scales that are not 0 and 1."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return network


def silenced(network: GrowingDecoder, channels: list[int] = TRANSLATOR) -> GrowingDecoder:
    """A copy whose convolutions do not hear the skips."""
    deaf = copy.deepcopy(network)
    with torch.no_grad():
        for low, block in zip(channels, deaf.blocks, strict=False):
            first: Any = block[0]  # type: ignore[index]
            first.conv.weight[:, low:] = 0
    return deaf


def skips(x: Tensor, channels: list[int] = TRANSLATOR) -> list[Tensor]:
    return [torch.randn(len(x), c, x.shape[2] << s, x.shape[3] << s) for s, c in enumerate(channels)]


def copied(source: GrowingDecoder, target: GrowingDecoder, base: int = 4, top: int = 32, to_rgb: bool = True) -> Any:
    return copy_stages(source, target, source_base=base, target_base=8, top=top, to_rgb=to_rgb)


def compare(source: GrowingDecoder, target: GrowingDecoder, stage: int, alpha: float) -> None:
    """Pictures of a source that begins at 4 px and of a target at 8 px, from the same features of 8 px; in float64."""
    source.double()
    x = torch.randn(3, CHANNELS[0], 4, 4, dtype=torch.float64)
    features = source.blocks[0](x if source.fused else upsample2x(x))
    expected = source(x, stage + 1, alpha)
    if source.rgb == "sum":  # the target has no picture of 4 px to begin with
        expected = expected - upsampled(source.to_rgb[0](x), stage + 1)
    found = silenced(target).double()(features, stage, alpha, skips(features))
    assert expected.abs().mean() > 0.1
    assert (found - expected).norm() < 1e-6 * expected.norm()


@pytest.mark.parametrize("rgb", ["replace", "sum"])
@pytest.mark.parametrize(
    ("equalized", "stage", "alpha"),
    [
        ((True, True), 0, 1.0),
        ((True, True), 2, 0.6),
        ((True, True), 2, 1.0),
        ((False, True), 2, 0.6),
        ((True, False), 2, 0.6),
    ],
)
def test_from_the_same_features_both_paint_the_same_picture(
    rgb: Any, equalized: tuple[bool, bool], stage: int, alpha: float
) -> None:
    torch.manual_seed(0)
    generator = randomized(PgganGenerator(CHANNELS, latent_size=5, rgb=rgb, equalized=equalized[0]))
    target = decoder(rgb=rgb, style=Style("pixel", equalized=equalized[1]))
    assert copied(generator.decoder, target) == [8, 16, 32]
    compare(generator.decoder, target, stage, alpha)


def upsampled(x: Tensor, times: int) -> Tensor:
    for _ in range(times):
        x = upsample2x(x)
    return x


def test_what_reads_the_skips_keeps_its_values_and_sizes_are_effective() -> None:
    """Fan-in differs: 9 * 7 there, 9 * (7 + 6) here."""
    torch.manual_seed(1)
    source, target = decoder(CHANNELS, skips=False), decoder()
    before = copy.deepcopy(target)
    copied(source, target)
    layer, own, old = (d.blocks[i][0] for d, i in ((source, 1), (target, 0), (before, 0)))  # type: ignore[index]
    assert layer.conv.scale / own.conv.scale == pytest.approx((13 / 7) ** 0.5)
    torch.testing.assert_close(own.conv.weight[:, :7] * own.conv.scale, layer.conv.weight * layer.conv.scale)
    assert torch.equal(own.conv.weight[:, 7:], old.conv.weight[:, 7:])
    assert torch.equal(own.conv.bias, layer.conv.bias)


def test_without_to_rgb_the_change_stays_nothing() -> None:
    source, target = randomized(GrowingDecoder(CHANNELS)), GrowingDecoder(TRANSLATOR, skips=True, zero=True)
    assert copied(source, target, to_rgb=False) == [16, 32]
    x = torch.randn(2, 7, 8, 8)
    assert not target(x, 2, 1.0, skips(x)).any()
    torch.testing.assert_close(target.blocks[1][1].conv.weight, source.blocks[2][1].conv.weight)  # type: ignore[index]


@pytest.mark.parametrize(
    ("channels", "base", "top", "expected", "new"),
    [
        (CHANNELS, 4, 16, [8, 16], [32]),  # it has been trained to 16 px
        (CHANNELS[:3], 4, 16, [8, 16], [32]),  # it ends at 16 px
        (CHANNELS[2:], 16, 32, [16, 32], [16]),  # it begins at 16 px, which nothing of it enlarges to
    ],
)
def test_stages_that_it_lacks_stay_as_they_are(
    channels: list[int], base: int, top: int, expected: list[int], new: list[int]
) -> None:
    source, target = decoder(channels, skips=False), decoder()
    before = copy.deepcopy(target)
    assert copied(source, target, base, top) == expected
    for i, r in enumerate((16, 32)):
        same = torch.equal(target.blocks[i][1].conv.weight, before.blocks[i][1].conv.weight)  # type: ignore[index]
        assert same is (r in new)
    for i, r in enumerate((8, 16, 32)):
        assert torch.equal(target.to_rgb[i].weight, before.to_rgb[i].weight) is (r not in expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["batch", "instance", "layer"])
def test_normalisations_come_along(kind: Any) -> None:
    torch.manual_seed(2)
    source, target = (decoder(c, skips=s, style=Style(kind)) for c, s in ((CHANNELS, False), (TRANSLATOR, True)))
    source(torch.randn(4, 8, 4, 4), 3, 1.0)  # moves running statistics, if there are some
    source.eval()
    target.eval()
    copied(source, target)
    compare(source, target, 2, 1.0)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"channels": [8, 7, 9, 5]}, r"it has another number of feature maps at 16 px \(9\) than the translator \(6\)"),
        ({"image_channels": 1}, r"another number of channels of a picture \(1\) than the translator \(3\)"),
        ({"rgb": "sum"}, r"another rgb \(sum\) than the translator \(replace\)"),
        ({"tanh": True}, r"another tanh \(True\) than the translator \(False\)"),
        ({"rgb_kernel": 3}, r"another rgb_kernel \(3\) than the translator \(1\)"),
        ({"convs": 1}, r"another number of convolutions of a stage \(1\) than the translator \(2\)"),
        ({"style": Style("pixel", slope=0.1)}, r"another slope \(0.1\) than the translator \(0.2\)"),
        ({"style": Style("pixel", 1e-4)}, r"another normalization.epsilon \(0.0001\) than the translator \(1e-08\)"),
        ({"style": Style("batch")}, r"another normalization \(batch\) than the translator \(pixel\)"),
        ({"style": Style("layer")}, r"another normalization \(layer\) than the translator \(pixel\)"),
        ({"style": Style("instance")}, r"another normalization \(instance\) than the translator \(pixel\)"),
        ({"style": Style()}, r"another normalization \(none\) than the translator \(pixel\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_copied(source: dict[str, Any], words: str) -> None:
    target = decoder()
    before = copy.deepcopy(target.state_dict())
    with pytest.raises(ValueError, match=words):
        copied(GrowingDecoder(**{"channels": CHANNELS, **source}), target)
    assert all(torch.equal(value, before[key]) for key, value in target.state_dict().items())


@pytest.mark.parametrize(("base", "top"), [(4, 8), (32, 64), (64, 128)])
def test_a_decoder_without_a_common_stage_is_refused(base: int, top: int) -> None:
    words = rf"no stage to copy: it has been trained from {base} to {top} px, and the translator enlarges from 8 to 32"
    with pytest.raises(ValueError, match=words):
        copied(GrowingDecoder([7, 6]), decoder(), base, top)


def test_a_fused_decoder_is_the_same_function() -> None:
    torch.manual_seed(3)
    source, target = randomized(GrowingDecoder(CHANNELS, fused=True)), decoder()
    copied(source, target)
    compare(source, target, 2, 0.5)


def test_nothing_is_copied_into_networks_without_memory_but_all_is_checked() -> None:
    with torch.device("meta"):
        target: nn.Module = GrowingDecoder(TRANSLATOR, skips=True)
    assert isinstance(target, GrowingDecoder)
    assert copied(GrowingDecoder(CHANNELS), target) == [8, 16, 32]
    assert all(parameter.is_meta for parameter in target.parameters())
