"""Discriminators on frozen features, against a plain construction in torch, and what must and must not change them."""

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.blocks import EarlierFeatures
from progcycle.networks import ProjectedDiscriminator, TaskShape
from progcycle.networks.projected import ProjectedOptions
from progcycle.rng import generator_at

TINY: dict[str, Any] = {
    "architecture": "efficientnet-lite0", "feature_resolution": 32, "taps": [2, 4], "mixed_channels": 3, "filters": 4,
}  # fmt: skip
PUBLISHED: dict[str, Any] = {
    "architecture": "efficientnet-lite0", "feature_resolution": 256, "mixed_channels": 64, "mixing_kernel": 1,
    "filters": 512, "taper": True, "normalize": "batch",
}  # fmt: skip
SHAPE = TaskShape(64, 8, 64, {"image_channels": 3}, seed=5)


def tiny(**changes: Any) -> ProjectedDiscriminator:
    torch.manual_seed(0)
    return ProjectedDiscriminator(**{**TINY, **changes})


def pictures(count: int, side: int, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def heads_of(network: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in network.state_dict().items() if key.startswith("heads.")}


def mixing_of(network: nn.Module) -> dict[str, Tensor]:
    return {key: value for key, value in network.state_dict().items() if key.startswith("mixing.")}


# --- construction -------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_published_heads_have_their_number_of_parameters_and_logits() -> None:
    """Counted in the authors' code: four discriminators, without the vectors of spectral norm."""
    network = ProjectedDiscriminator(**PUBLISHED)
    sizes = [sum(p.numel() for p in head.parameters()) for head in network.heads]
    assert sizes == [2_829_120, 2_763_392, 2_631_936, 2_106_880]
    assert sum(p.numel() for p in network.trainable_parameters()) == 10_331_328
    assert network(pictures(1, 64)).shape == (1, 4 * 5 * 5)
    with torch.device("meta"):  # as for a plan: sizes, and no weights
        sizes = [(h.body[0][0].in_channels, len(h.body)) for h in ProjectedDiscriminator(feature_resolution=112).heads]
    assert sizes == [(32, 3), (32, 2), (64, 1), (128, 1)]


def frozen_conv(network: nn.Module, key: str, x: Tensor, padding: int) -> Tensor:
    state = network.state_dict()
    return F.conv2d(x, state[f"mixing.{key}.weight"], state[f"mixing.{key}.bias"], padding=padding)


@torch.no_grad()
@pytest.mark.parametrize("kernel", [1, 3])
def test_construction(kernel: Any) -> None:
    """Enlarge, frozen network, 1x1, up and add from deep to shallow, and the heads' layers one by one."""
    network = tiny(taps=[2, 4, 10], feature_resolution=48, mixing_kernel=kernel, spectral_norm=False).double()
    x = pictures(2, 20).double()
    maps = network.backbone(F.interpolate(x, (48, 48), mode="bilinear", align_corners=False))
    assert [tuple(each.shape[1:]) for each in maps] == [(24, 12, 12), (40, 6, 6), (112, 3, 3)]
    wide = [frozen_conv(network, f"across_channels.{i}", each, 0) for i, each in enumerate(maps)]
    assert [each.shape[1] for each in wide] == [3, 6, 12]
    third, second, first = wide[2], None, None
    up = {"mode": "bilinear", "align_corners": True}
    third = frozen_conv(network, "across_scales.2", F.interpolate(third, (6, 6), **up), kernel // 2)
    second = frozen_conv(network, "across_scales.1", F.interpolate(wide[1] + third, (12, 12), **up), kernel // 2)
    first = frozen_conv(network, "across_scales.0", F.interpolate(wide[0] + second, (24, 24), **up), kernel // 2)
    state, logits = heads_of(network), []
    for i, (h, layers) in enumerate(((first, 2), (second, 1), (third, 0))):
        for j in range(max(layers, 1)):
            key = f"heads.{i}.body.{j}.0"
            h = F.conv2d(h, state[f"{key}.weight"], state[f"{key}.bias"], stride=2 if layers else 1, padding=1)
            h = torch.where(h > 0, h, 0.2 * h)
        assert h.shape[2] == 6
        logits.append(F.conv2d(h, state[f"heads.{i}.logit.weight"]))
    torch.testing.assert_close(network(x), torch.cat([each.flatten(1) for each in logits], dim=1), rtol=1e-6, atol=1e-8)


@torch.no_grad()
def test_without_cross_scale_each_head_sees_the_maps_of_its_tap() -> None:
    network = tiny(cross_scale=False, spectral_norm=False)
    x = pictures(2, 32)
    _, second = network.backbone(x)
    h = frozen_conv(network, "across_channels.1", second, 0)
    h = F.leaky_relu(network.heads[1].body[0][0](h), 0.2)
    torch.testing.assert_close(network(x)[:, -1:], F.conv2d(h, network.heads[1].logit.weight).flatten(1))
    assert [head.body[0][0].in_channels for head in network.heads] == [3, 6]


@torch.no_grad()
def test_one_logit_a_scale() -> None:
    network = tiny(head="logit", spectral_norm=False)
    x = pictures(2, 32)
    assert network(x).shape == (2, 2)
    assert network(pictures(1, 64)).shape == (1, 2)
    head, body = network.heads[0], network.heads[0].body(network.mixing(network.backbone(x))[0])
    dense = F.leaky_relu(F.conv2d(body, head.dense[0].weight, head.dense[0].bias), 0.2).mean(dim=(2, 3))
    torch.testing.assert_close(network(x)[:, 0], dense @ head.logit.weight.flatten())


def test_spectral_norm_is_on_the_heads_alone() -> None:
    network = tiny()
    assert all("original" in name or "bias" in name for name, _ in network.heads.named_parameters())
    assert not any("parametrizations" in name for name, _ in network.backbone.named_parameters())
    weight: Any = network.eval().heads[0].body[0][0].weight
    assert np.linalg.svd(weight.detach().flatten(1).numpy())[1][0] == pytest.approx(1, abs=0.02)


# --- what is frozen -----------------------------------------------------------------------------------------------


def test_mixing_is_drawn_from_the_seed_alone() -> None:
    network, again = tiny(seed=7), ProjectedDiscriminator(**TINY, seed=7)  # torch's own stream is elsewhere now
    other = tiny(seed=8)
    assert all(torch.equal(value, mixing_of(again)[key]) for key, value in mixing_of(network).items())
    assert not any(torch.equal(value, mixing_of(other)[key]) for key, value in mixing_of(network).items())
    bound = 1 / math.sqrt(24)
    drawn = generator_at(7, "projected/across_channels/0").uniform(-bound, bound, (3, 24, 1, 1))
    np.testing.assert_array_equal(mixing_of(network)["mixing.across_channels.0.weight"], drawn.astype(np.float32))
    assert heads_of(tiny(seed=7)).keys() == heads_of(other).keys()
    for key, value in heads_of(tiny(seed=7)).items():  # the heads are weights like others
        assert torch.equal(value, heads_of(other)[key])


def test_training_moves_the_heads_and_nothing_else() -> None:
    network = tiny().train()
    assert not any(module.training for module in network.backbone.modules())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    parameters = network.trainable_parameters()
    assert {id(p) for p in parameters} == {id(p) for p in network.heads.parameters()}
    optimizer = torch.optim.Adam(parameters, 0.1)
    network(pictures(4, 16)).square().mean().backward()
    optimizer.step()
    changed = {key.split(".")[0] for key, value in network.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"heads"}


def test_gradient_to_the_picture_is_that_of_the_function_even_where_heads_are_frozen() -> None:
    network = tiny().double().eval().requires_grad_(False)
    x = pictures(1, 16).double().requires_grad_()
    weights = torch.linspace(-1, 1, network(x).shape[1], dtype=torch.float64)
    (gradient,) = torch.autograd.grad((network(x) * weights).sum(), x)
    direction = pictures(1, 17)[:, :, 1:, 1:].double()
    with torch.no_grad():
        up, down = ((network(x + e * direction) * weights).sum() for e in (1e-6, -1e-6))
    assert (gradient * direction).sum().item() == pytest.approx((up - down).item() / 2e-6, rel=1e-4)
    assert gradient.abs().min() > 0


def test_penalties_differentiate_twice() -> None:
    network = tiny().double().eval()
    x = pictures(2, 16).double().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).mean(1).sum(), x, create_graph=True)
    penalty = gradient.square().sum()
    weight: Any = network.heads[0].body[0][0].parametrizations.weight.original
    (slope,) = torch.autograd.grad(penalty, weight)
    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)

    def at(step: float) -> float:
        moved = copy.deepcopy(network)
        target: Any = moved.heads[0].body[0][0].parametrizations.weight.original
        with torch.no_grad():
            target.add_(step * direction)
        y = x.detach().clone().requires_grad_()
        (g,) = torch.autograd.grad(moved(y).mean(1).sum(), y)
        return g.square().sum().item()

    assert (slope * direction).sum().item() == pytest.approx((at(1e-5) - at(-1e-5)) / 2e-5, rel=1e-3)


# --- pictures -----------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_pictures_of_every_stage_and_of_one_channel() -> None:
    network = tiny().eval()
    assert {network(pictures(2, side), stage, 0.5).shape[1] for stage, side in enumerate((4, 8, 16, 32))} == {50}
    grey = pictures(2, 8, channels=1)
    assert torch.equal(network(grey), network(grey.repeat(1, 3, 1, 1)))
    seen: list[Tensor] = []
    network.backbone.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    large = pictures(1, 40)
    network(large)
    assert torch.equal(seen[-1], large), "what is larger goes in as it is"
    network(pictures(1, 16)[..., :8])
    assert seen[-1].shape == (1, 3, 64, 32)


def test_half_precision_is_for_all_but_the_logits() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert tiny()(pictures(2, 16)).dtype == torch.float32


# --- comparing pictures -------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_statistic_of_every_head_is_compared_and_queued() -> None:
    network = tiny(stddev_group="batch", spectral_norm=False).eval()
    x, y = pictures(2, 32), -pictures(3, 32)
    bodies = [head.body(maps) for head, maps in zip(network.heads, network.mixing(network.backbone(x)), strict=True)]
    before = [head.body(maps) for head, maps in zip(network.heads, network.mixing(network.backbone(y)), strict=True)]
    logits = []
    for head, own, others in zip(network.heads, bodies, before, strict=True):
        stddev = (torch.cat([own, others]).var(0, unbiased=False) + 1e-8).sqrt().mean()
        varied = torch.cat([own, stddev.expand(2, 1, *own.shape[2:])], dim=1)
        logits.append(F.conv2d(head.compared(varied), head.logit.weight).flatten(1))
    first = EarlierFeatures()
    network(y, earlier=first)
    assert first.seen is not None
    assert first.seen.shape == (3, sum(body[0].numel() for body in bodies), 1, 1)
    beside = EarlierFeatures(first.seen)
    torch.testing.assert_close(network(x, earlier=beside), torch.cat(logits, dim=1))
    assert beside.seen is not None
    torch.testing.assert_close(beside.seen.flatten(1), torch.cat([body.flatten(1) for body in bodies], dim=1))
    assert not torch.allclose(network(x), torch.cat(logits, dim=1))
    with pytest.raises(ValueError, match="compare nothing with earlier pictures"):
        tiny()(x, earlier=EarlierFeatures())


@torch.no_grad()
@pytest.mark.parametrize(
    ("options", "apart"), [({}, True), ({"stddev_group": 2}, True), ({"normalize": "batch"}, False)]
)
def test_real_and_fake_in_one_pass(options: dict[str, Any], apart: bool) -> None:
    network = tiny(spectral_norm=False, **options)
    assert network.rows_are_independent(4) == apart
    real, fake = pictures(4, 16), -pictures(4, 16)
    both = network(torch.stack([real, fake], dim=1).flatten(0, 1))
    assert torch.allclose(both[0::2], network(real), rtol=1e-4, atol=1e-5) == apart


# --- a new stage --------------------------------------------------------------------------------------------------


def test_heads_begin_anew_at_a_stage_if_they_are_to() -> None:
    kept, network, again = tiny(), tiny(reset_heads=True, seed=3), tiny(reset_heads=True, seed=3)
    before, frozen = heads_of(network), mixing_of(network)
    for each in (kept, network, again):
        identities = [id(p) for p in each.parameters()]
        with torch.no_grad():
            next(each.heads.parameters()).add_(1)  # training went on differently
        torch.rand(3)
        each.on_new_stage(2)
        assert [id(p) for p in each.parameters()] == identities, "the optimizer holds them"
    assert not any(torch.equal(value, before[key]) for key, value in heads_of(network).items() if "original" in key)
    assert all(torch.equal(value, heads_of(again)[key]) for key, value in heads_of(network).items())
    assert all(torch.equal(value, frozen[key]) for key, value in mixing_of(network).items())
    assert not torch.equal(heads_of(kept)["heads.1.logit.parametrizations.weight.original"], torch.zeros(1))
    second = heads_of(network)
    network.on_new_stage(3)
    assert not torch.equal(next(iter(heads_of(network).values())), next(iter(second.values())))
    unchanged = [torch.equal(value, heads_of(tiny())[key]) for key, value in heads_of(kept).items()]
    assert unchanged.count(False) == 1


# --- options ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"architecture": "resnet18"}, "architecture: resnet18 needs weights"),
        ({"architecture": "resnet18", "weights": "x"}, "architecture: resnet18 needs taps"),
        ({"architecture": "resnet18", "weights": "x", "taps": [3]}, "taps: resnet18 has its parts by name"),
        ({"weights": "x"}, "weights belongs to an architecture of torchvision or timm"),
        ({"taps": ["blocks"]}, "taps: efficientnet-lite1 has its blocks by number"),
        ({"taps": [4, 2]}, "taps go from shallow to deep, each once"),
        ({"taps": [2, 2]}, "taps go from shallow to deep, each once"),
        ({"mixing": {"cross_scale": False, "kernel": 1}}, "kernel is that of the convolutions across scales"),
    ],
)
def test_options_that_contradict_each_other_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ProjectedOptions(name="projected", **options)


@pytest.mark.parametrize(
    ("options", "shape", "words"),
    [
        (
            {"minibatch_stddev": {"averaging": "group3"}},
            SHAPE,
            r"^minibatch_stddev\.averaging: group3 does not divide the 64",
        ),
        ({"reset_heads": True}, TaskShape(64, 64, 64, grows=False), r"^reset_heads .* training has one stage"),
        ({"feature_resolution": 32}, SHAPE, r"^feature_resolution: 32 px leave maps of 2 px a side.* 4; raise it, or"),
        ({"feature_resolution": 64, "taper": True, "taps": [20]}, SHAPE, r"^taper: no head halves its maps twice"),
        ({"architecture": "resnet18", "weights": "/x", "taps": ["layer1"]}, SHAPE, r"^weights: there is no file /x$"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], shape: TaskShape, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ProjectedDiscriminator(**ProjectedOptions(name="projected", **options).arguments(shape))


def test_options_reach_the_constructor() -> None:
    options = ProjectedOptions(
        name="projected", architecture="efficientnet-lite0", taps=[1, 2], feature_resolution=32, filters=6, taper=True,
        mixing={"channels": 5, "kernel": 1}, head="logit", normalization="layer", slope=0.3, spectral_norm=False,
        minibatch_stddev={"group": "batch", "averaging": "group2", "queue": 9}, reset_heads=True,
    )  # fmt: skip
    arguments = options.arguments(SHAPE)
    assert arguments == {
        "architecture": "efficientnet-lite0", "weights": None, "taps": [1, 2], "feature_resolution": 32,
        "mixed_channels": 5, "cross_scale": True, "mixing_kernel": 1, "head": "logit", "filters": 6, "taper": True,
        "normalize": "layer", "slope": 0.3, "spectral_norm": False, "stddev_group": "batch", "averaging": "group2",
        "gather": False, "reset_heads": True, "seed": 5,
    }  # fmt: skip
    assert (options.queue, options.comparison) == (9, None)
    assert options.without_comparison().arguments(SHAPE)["stddev_group"] == 0
    assert ProjectedOptions(name="projected").comparison is None
    compared = ProjectedOptions(name="projected", minibatch_stddev=4).comparison
    assert compared is not None
    assert compared == ("minibatch_stddev", False, False, True)
