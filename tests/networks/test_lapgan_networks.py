"""The networks of LAPGAN: sizes as in the authors' code, layers against numpy and plain torch, dropout, the pyramid."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from progcycle.blocks import downsample2x, from_levels, to_levels
from progcycle.networks import (
    LapganDiscriminator,
    LapganGenerator,
    LargeLapganDiscriminator,
    LargeLapganGenerator,
    LevelGenerator,
    MlpDiscriminator,
    MlpGenerator,
    Network,
)
from progcycle.networks.lapgan import Pyramid, drop, enlarge

PYRAMIDS: tuple[Pyramid, ...] = ("box", "bilinear")


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("kind", "arguments", "parameters"),
    [
        (LapganGenerator, (28,), 218_179),
        (LapganDiscriminator, (14,), 107_905),
        (LapganDiscriminator, (28,), 113_729),
        (LapganDiscriminator, (16,), 108_353),
        (LapganDiscriminator, (32,), 116_545),
        (MlpGenerator, (8,), 66_352_192),
        (MlpDiscriminator, (8,), 2_872_001),
        (LargeLapganDiscriminator, (32,), 873_761),
    ],
)
def test_sizes_are_the_published_ones(kind: type[Network], arguments: tuple[int, ...], parameters: int) -> None:
    with torch.device("meta"):
        assert size(kind(*arguments)) == parameters


def test_sizes_with_classes_and_of_the_large_level() -> None:
    with torch.device("meta"):
        assert size(LapganGenerator(28, classes=10)) == 229_939
        assert size(LapganDiscriminator(28, classes=10)) == 123_953
        large = LargeLapganGenerator(32)
        assert size(large) - size(large.norm) == 1_090_995
        assert large.norm.weight.numel() + large.norm.bias.numel() == 6


def torch7_scale(row: np.ndarray, length: int) -> np.ndarray:
    """``image.scale`` of Torch7 along the last axis: between the outermost pixels' centres, or means of areas."""
    before = row.shape[-1]
    if length > before:
        where = np.arange(length) * (before - 1) / (length - 1)
        first = np.minimum(where.astype(int), before - 2)
        rest = where - first
        return (1 - rest) * row[..., first] + rest * row[..., first + 1]
    found, scale = [], before / length
    for i in range(length):
        cover = np.clip(
            np.minimum(np.arange(before) + 1, (i + 1) * scale) - np.maximum(np.arange(before), i * scale), 0, 1
        )
        found.append((row * cover).sum(-1) / cover.sum())
    return np.stack(found, axis=-1)


def both_ways(picture: np.ndarray, length: int) -> np.ndarray:
    return np.swapaxes(torch7_scale(np.swapaxes(torch7_scale(picture, length), -1, -2), length), -1, -2)


def test_bilinear_pyramids_are_those_of_the_published_code() -> None:
    picture = torch.rand(2, 3, 16, 16, dtype=torch.float64) * 2 - 1
    small = both_ways(picture.numpy(), 8)
    torch.testing.assert_close(downsample2x(picture), torch.from_numpy(small))
    torch.testing.assert_close(enlarge(torch.from_numpy(small), "bilinear"), torch.from_numpy(both_ways(small, 16)))
    assert not torch.allclose(enlarge(torch.from_numpy(small), "box"), torch.from_numpy(both_ways(small, 16)))


@pytest.mark.parametrize("pyramid", PYRAMIDS)
def test_perfect_details_rebuild_a_picture(pyramid: Pyramid, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the rounding of float32, as I - u(d(I)) is rounded, and so is the sum; all grey levels are exact."""
    levels = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    pictures = [from_levels(levels)]
    while pictures[-1].shape[-1] > 8:
        pictures.append(downsample2x(pictures[-1]))
    rebuilt = pictures.pop()
    for truth in reversed(pictures):
        level = LapganGenerator(truth.shape[-1], filters=2, pyramid=pyramid)
        detail = truth - level.enlarged(downsample2x(truth))
        monkeypatch.setattr(level, "detail", lambda *_, detail=detail: detail)
        rebuilt = level(rebuilt, 0, 1.0, latents=torch.zeros(3, level.latent_size))
    assert (rebuilt - pictures[0]).abs().max() <= 2**-22
    assert torch.equal(to_levels(rebuilt), levels)


def test_a_level_adds_what_it_paints_from_noise_and_the_enlarged_picture() -> None:
    level = LapganGenerator(16, filters=5)
    coarse, latents = torch.rand(2, 3, 8, 8) * 2 - 1, torch.rand(2, 256) * 2 - 1
    with torch.no_grad():
        made = level(coarse, 0, 1.0, latents=latents)
        enlarged = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
        first, _, second, _ = level.body
        h = torch.cat([latents.reshape(2, 1, 16, 16), enlarged], 1)
        h = F.conv2d(h, first.weight, first.bias, padding=3).relu()  # type: ignore[arg-type]
        h = F.conv2d(h, second.weight, second.bias, padding=3).relu()  # type: ignore[arg-type]
        detail = F.conv2d(h, level.to_rgb.weight, level.to_rgb.bias, padding=2)
    torch.testing.assert_close(made, enlarged + detail)


def test_the_class_is_a_plane_of_its_own() -> None:
    level, judge = LapganGenerator(16, filters=4, classes=3), LapganDiscriminator(16, filters=4, classes=3)
    labels, picture = torch.eye(3)[:2], torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        inputs = level.inputs(picture, torch.zeros(2, 256), labels)
        assert level.plane is not None
        weight, bias = level.plane.dense.weight, level.plane.dense.bias
        for i in range(2):  # a one-hot row picks a column
            torch.testing.assert_close(inputs[i, 1], (weight[:, i] + bias).relu().reshape(16, 16))
        assert torch.equal(inputs[:, 2:], picture)
        assert not torch.allclose(judge(picture, labels=labels), judge(picture, labels=labels.flip(0)))
    for call in (
        lambda: judge(picture),
        lambda: judge(picture, labels=torch.eye(4)[:2]),
        lambda: LapganDiscriminator(16, filters=4)(picture, labels=labels),
        lambda: level(picture[..., ::2, ::2], 0, 1.0, latents=torch.zeros(2, 256)),
        lambda: MlpGenerator(8, hidden=3, classes=3)(torch.zeros(2, 100)),
    ):
        with pytest.raises(ValueError, match="classes got 2 rows and labels"):
            call()


def test_the_dense_networks_against_numpy() -> None:
    generator, judge = MlpGenerator(4, 1, 6, hidden=5, classes=2), MlpDiscriminator(4, 1, hidden=5, classes=2)
    z, labels = torch.rand(3, 6) * 2 - 1, torch.eye(2)[[0, 1, 1]]
    weights = {name: value.detach().double().numpy() for name, value in generator.named_parameters()}

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return np.asarray(x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"])

    h = np.maximum(dense(np.concatenate([z.double().numpy(), labels.double().numpy()], 1), "first"), 0)
    expected = dense(1 / (1 + np.exp(-dense(h, "second"))), "picture").reshape(3, 1, 4, 4)
    made = generator(z, labels=labels)
    np.testing.assert_allclose(made.detach().numpy(), expected, atol=1e-5)
    weights = {name: value.detach().double().numpy() for name, value in judge.named_parameters()}
    x = np.concatenate([expected.reshape(3, 16), labels.double().numpy()], 1)
    logits = dense(np.maximum(dense(np.maximum(dense(x, "first"), 0), "second"), 0), "logit")
    np.testing.assert_allclose(judge(made, labels=labels).detach().numpy(), logits, atol=1e-6)


def test_weights_of_the_dense_networks_are_drawn_as_published() -> None:
    generator, judge = MlpGenerator(8, hidden=400), MlpDiscriminator(8, hidden=400)
    for network, deviation in ((generator, 0.05), (judge, 0.005)):
        layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
        assert len(layers) == 3
        assert not any(layer.bias.any() for layer in layers)
        drawn = torch.cat([layer.weight.flatten() for layer in layers])
        assert drawn.std().item() == pytest.approx(deviation, rel=0.02)


def test_dropout_takes_given_numbers_and_keeps_the_mean() -> None:
    x = torch.ones(4, 5000)
    chances = torch.rand(4, 5000)
    dropped = drop(x, chances, 0.25)
    assert torch.equal(dropped == 0, chances < 0.25)
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean() == pytest.approx(1, rel=0.02)
    assert drop(x, None, 0.25) is x
    maps = drop(torch.ones(2, 3, 4, 4), torch.tensor([[0.1, 0.9, 0.6], [0.9, 0.1, 0.1]]), 0.5)
    assert maps.flatten(2).amin(2).tolist() == maps.flatten(2).amax(2).tolist() == [[0, 2, 2], [2, 0, 0]]


@pytest.mark.parametrize("kind", [LapganDiscriminator, MlpDiscriminator])
def test_discriminators_drop_in_training_only(kind: type[LapganDiscriminator] | type[MlpDiscriminator]) -> None:
    judge, x = kind(16), torch.rand(2, 3, 16, 16)
    count = judge.dropout_size(0)
    with torch.no_grad():
        assert torch.equal(judge(x, dropout=torch.ones(2, count) * 0.49), judge.logit.bias.expand(2, 1)), "all dropped"
        thinned = judge(x, dropout=torch.rand(2, count))
        assert not torch.equal(thinned, judge(x))
        assert torch.equal(judge(x), judge.eval()(x))
    assert kind(16, dropout=0.0).dropout_size(0) == 0


def test_the_large_level_in_use_and_in_training() -> None:
    level = LargeLapganGenerator(16)
    coarse, latents = torch.rand(4, 3, 8, 8) * 2 - 1, torch.rand(4, level.latent_size) * 2 - 1
    assert level.latent_size == 256 + 368 + 224
    with torch.no_grad():
        other = latents.clone()
        other[:, 256:] = -other[:, 256:]  # other maps are dropped
        assert not torch.allclose(level(coarse, 0, 1.0, latents=latents), level(coarse, 0, 1.0, latents=other))
        level.eval()
        assert torch.equal(level(coarse, 0, 1.0, latents=latents), level(coarse, 0, 1.0, latents=other))
        made = level(coarse[:1], 0, 1.0, latents=latents[:1])
        torch.testing.assert_close(made, level(coarse, 0, 1.0, latents=latents)[:1])
        assert LargeLapganDiscriminator(16)(made).shape == (1, 1)


def test_pairs_of_maps_become_the_root_of_their_squares(monkeypatch: pytest.MonkeyPatch) -> None:
    level, seen = LargeLapganGenerator(16).eval(), []
    level.convs[3].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    before: list[torch.Tensor] = []
    level.norms[2].register_forward_hook(lambda *args: before.append(args[2]))
    with torch.no_grad():
        level(torch.rand(1, 3, 8, 8), 0, 1.0, latents=torch.zeros(1, level.latent_size))
    for i in (0, 63):
        pair = before[0][0, 2 * i : 2 * i + 2].double()
        torch.testing.assert_close(seen[0][0, i].double(), (pair[0] ** 2 + pair[1] ** 2).clamp(min=1e-12).sqrt())


def test_too_wide_layers_are_refused() -> None:
    with torch.device("meta"):
        for kind in (MlpGenerator, MlpDiscriminator):
            with pytest.raises(ValueError, match="hidden: at most 16384 units, got 16385"):
                kind(8, hidden=16385)


def test_noise_is_uniform() -> None:
    for network in (MlpGenerator(8, hidden=4), LapganGenerator(16, filters=2), LargeLapganGenerator(16)):
        assert network.distribution == "uniform", "in [-1, 1], as the authors draw"
    assert isinstance(LapganGenerator(16, filters=2), LevelGenerator)
