"""Recipes with networks that do not grow: their defaults, what is refused, and how it says so."""

from typing import Any

import pytest
import torch
from fake_networks import batch

from progcycle.engine.build import build
from progcycle.errors import UserError
from progcycle.networks import DISCRIMINATORS, TRANSLATORS, ProgressiveTranslator
from progcycle.recipe import CycleganRecipe, RecipeError, dump, load_recipe, merge, validate
from progcycle.schedule import Growth

CLASSIC: dict[str, Any] = {
    "task": "cyclegan",
    "resolution": 32,
    "data": {"root": "nowhere"},
    "network": {"generator": "resnet", "discriminator": "patchgan", "filters": 4},
    "schedule": {"batch_size": 1},
}
PROGRESSIVE = {"network": {"generator": {"name": "progressive", "channels": {"base": 32, "max": 8}}}}


def read(change: dict[str, Any] | None = None) -> CycleganRecipe:
    recipe = validate(merge(CLASSIC, change or {}))
    assert isinstance(recipe, CycleganRecipe)
    return recipe


@pytest.mark.parametrize(("resolution", "blocks"), [(32, 6), (128, 6), (256, 9), (512, 9)])
def test_defaults_are_the_published_ones(resolution: int, blocks: int) -> None:
    network = read({"resolution": resolution}).network
    assert (network.base_resolution, network.generator.residual_blocks) == (resolution, blocks)
    assert (network.generator.normalization, network.discriminator.normalization) == ("instance", "instance")
    assert (network.generator.initialization, network.discriminator.initialization) == ("normal", "normal")
    assert network.discriminator.spectral_norm is False
    assert (network.generator.upsampling, network.discriminator.layers) == ("transposed", 3)


def test_written_keys_stay_and_a_dumped_recipe_is_the_same(tmp_path: Any) -> None:
    options = {"generator": {"residual_blocks": 2}, "discriminator": {"normalization": "none"}, "initialization": "he"}
    recipe = read({"network": options, "resolution": 64})
    network = recipe.network
    assert (network.generator.residual_blocks, network.discriminator.initialization) == (2, "he")
    assert (network.generator.normalization, network.discriminator.normalization) == ("instance", "none")
    (tmp_path / "recipe.yaml").write_text(dump(recipe))
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_a_recipe_that_grows_has_the_defaults_that_it_always_had() -> None:
    network = validate({"task": "cyclegan", "resolution": 32, "data": {"root": "nowhere"}, "network": {}}).network
    assert (network.base_resolution, network.generator.equalized, network.generator.initialization) == (8, True, "he")
    assert (network.discriminator.minibatch_stddev.group, network.generator.normalization) == (4, "pixel")
    assert network == validate({"task": "cyclegan", "resolution": 32, "data": {"root": "nowhere"}}).network


def test_options_reach_the_networks() -> None:
    network = {
        "generator": {"upsampling": "resize"},
        "discriminator": {"filters": 6, "layers": 2, "spectral_norm": True},
    }
    task = build(read({"network": network})).task
    generator, discriminator = (task.specs[name]["arguments"] for name in ("gen_ab", "disc_b"))
    assert generator == {
        "filters": 4, "in_channels": 3, "out_channels": 3, "residual_blocks": 6, "upsampling": "resize",
        "normalize": "instance", "epsilon": 1e-8, "initialization": "normal",
    }  # fmt: skip
    assert discriminator == {
        "filters": 6, "image_channels": 3, "layers": 2, "normalize": "instance", "epsilon": 1e-8, "slope": 0.2,
        "initialization": "normal", "spectral_norm": True,
    }  # fmt: skip
    for name in ("gen_ab", "disc_a"):
        registry: Any = TRANSLATORS if name == "gen_ab" else DISCRIMINATORS
        again = registry[task.specs[name]["name"]](**task.specs[name]["arguments"])
        shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in (again, task.networks[name])]
        assert shapes[0] == shapes[1]
    assert build(read({"network": {"generator": "unet"}})).task.specs["gen_ab"]["arguments"]["halvings"] == 5


def test_the_published_loss() -> None:
    """Zhu et al. 2017, equation 3, with the code's factors: 10 for cycles, 5 for identity, 1/2 for discriminators."""
    objective = {
        "loss": "lsgan", "lsgan_factor": 0.5, "cycle": {"aba": 10, "bab": 10}, "identity": {"a": 0.5, "b": 0.5},
        "pool_size": 0,
    }  # fmt: skip
    built = build(read({"objective": objective}))
    torch.manual_seed(0)
    a, b = (torch.rand(1, 3, 32, 32) * 2 - 1 for _ in range(2))
    networks = built.task.networks.items()
    gen_ab, gen_ba, disc_a, disc_b = (lambda x, net=net: net(x, 0, 1.0) for _, net in networks)  # type: ignore[misc]
    l1, square = torch.nn.functional.l1_loss, torch.nn.functional.mse_loss
    with torch.no_grad():
        fake_a, fake_b = gen_ba(b), gen_ab(a)
        fooled = [disc_a(fake_a), disc_b(fake_b)]
        expected = {
            "generator": sum(square(logits, torch.ones_like(logits)) for logits in fooled)
            + 10 * l1(gen_ba(fake_b), a) + 10 * l1(gen_ab(fake_a), b) + 5 * l1(gen_ba(a), a) + 5 * l1(gen_ab(b), b),
            "discriminator": 0.5 * sum(
                (disc(real) - 1).square().mean() + disc(fake).square().mean()
                for disc, real, fake in ((disc_a, a, fake_a), (disc_b, b, fake_b))
            ),
        }  # fmt: skip
        for player, value in expected.items():
            loss, _ = built.task.loss(player, {"a": batch(a), "b": batch(b)}, built.schedule.at(0), 0)
            torch.testing.assert_close(loss, value)


@pytest.mark.parametrize("base", [4, 32])
@pytest.mark.parametrize("discriminator", ["patchgan", "progressive"])
def test_mixed_pairs_play_where_training_starts_at_the_last_stage(discriminator: str, base: int) -> None:
    growing = "generator" if discriminator == "patchgan" else "discriminator"
    own = {growing: {"name": "progressive", "channels": {"base": 32, "max": 8}}, "base_resolution": base}
    built = build(read({"network": own, "schedule": {"start_resolution": 32}}))
    stages = {4: 4, 32: 1}[base]
    assert [phase.stage for phase in built.schedule.phases] == [stages - 1]
    reals = {"a": batch(torch.rand(2, 3, 32, 32)), "b": batch(torch.rand(2, 3, 32, 32))}
    for player in ("generator", "discriminator"):
        loss, _ = built.task.loss(player, reals, built.schedule.at(0), 0)
        loss.backward()
        assert loss.isfinite()
    assert isinstance(built.task.networks["gen_ab"], ProgressiveTranslator) == (discriminator == "patchgan")
    own_name = "gen_ab" if discriminator == "patchgan" else "disc_b"
    assert len(built.task.specs[own_name]["arguments"]["channels"]) == stages


def test_a_pggan_may_have_patches() -> None:
    content = {
        "task": "pggan", "resolution": 32, "data": {"path": "nowhere"},
        "network": {
            "base_resolution": 32,
            "generator": {"channels": {"base": 32, "max": 8}, "latent_size": 4},
            "discriminator": "patchgan",
        },
    }  # fmt: skip
    task = build(validate(content)).task
    task.loss("discriminator", {"real": batch(torch.rand(2, 3, 32, 32))}, build(validate(content)).schedule.at(0), 0)
    several = merge(content, {"network": {"base_resolution": 4}})
    with pytest.raises(
        UserError,
        match=r"^schedule\.start_resolution: 4 px are too small for the network 'patchgan' .*, which needs 24",
    ):
        build(validate(several))
    built = build(validate(merge(several, {"schedule": {"start_resolution": 32}})))
    assert [phase.stage for phase in built.schedule.phases] == [3]


@pytest.mark.parametrize("growing", ["generator", "discriminator"])
def test_a_network_of_any_size_plays_at_every_stage_of_a_growing_one(growing: str) -> None:
    own = {
        growing: {"name": "progressive", "channels": {"base": 32, "max": 8}},
        "base_resolution": 8,
        **({"discriminator": {"layers": 1}} if growing == "generator" else {}),
    }
    built = build(read({"network": own}))
    assert [phase.resolution for phase in built.schedule.phases] == [8, 16, 16, 32, 32]
    for stage, alpha in ((0, 1.0), (1, 0.5), (2, 1.0)):
        growth = Growth(stage=stage, resolution=8 << stage, alpha=alpha, batch_size=2, nimg=0)
        reals = {domain: batch(torch.rand(2, 3, 8 << stage, 8 << stage)) for domain in ("a", "b")}
        for player in ("generator", "discriminator"):
            loss, _ = built.task.loss(player, reals, growth, 0)
            loss.backward()
            assert loss.isfinite()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"network": {"base_resolution": 8}, "schedule": {"start_resolution": 32}},
            "network.base_resolution: no network here grows, so that this must be where training starts, 32, and not 8",
        ),
        (
            {"network": {"base_resolution": 8}},
            "schedule.start_resolution: 8 px are too small for the network 'patchgan' of network.discriminator",
        ),
        (
            {"network": {"generator": "unet", "base_resolution": 8, "discriminator": {"layers": 1}}},
            "schedule.start_resolution: the network 'unet' of network.generator works at one size, so that this must "
            "be the resolution, 32, and not 8.",
        ),
        (
            {"resolution": 16},
            "resolution: 16 px are too small for the network 'patchgan' of network.discriminator, which needs 24; "
            "raise it, or lower network.discriminator.layers, which is 3.",
        ),
        (
            {"resolution": 4, "network": {"discriminator": {"layers": 1}}},
            "resolution: 4 px are too small for the network 'resnet' of network.generator, which needs 8; raise it.",
        ),
        ({"network": {"generator": {"skips": True}}}, "network.generator.skips: unknown key"),
        ({"network": {"generator": {"name": "unet", "residual_blocks": 3}}}, "network.generator.residual_blocks: unk"),
        ({"network": {"generator": {"name": "unet", "upsampling": "resize"}}}, "network.generator.upsampling: unknown"),
        ({"network": {"generator": {"predict": "change"}}}, "network.generator.predict: unknown key"),
        ({"network": {"discriminator": {"head": "dense"}}}, "network.discriminator.head: unknown key"),
        (
            {"network": {"discriminator": {"minibatch_stddev": 4}}},
            "network.discriminator.minibatch_stddev: unknown key",
        ),
        ({"network": {"rgb": "sum"}}, "network.rgb: unknown key"),
        ({"network": {"discriminator": {"channels": {"base": 64}}}}, "network.discriminator.channels: unknown key"),
        ({"network": {"equalized": True}}, "network.equalized: unknown key"),
        (
            {"network": {"residual_blocks": 3}},
            "network.residual_blocks: not every network here has this option; write network.generator.resid",
        ),
        (
            {"network": {"generator": {"filters": 8}, "discriminator": {"filters": 8}}},
            "network.filters: every network has its own value for it; leave it out",
        ),
        ({"network": {"slope": 0.3}}, "network.slope: not every network here has this option; write network.discrimin"),
        (
            {"objective": {"loss": "lsgan", "noise": {}}},
            "objective.noise: the network of network.discriminator, with its options, has no "
            "place for it; leave it out.",
        ),
    ],
)
def test_what_means_nothing_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises((UserError, RecipeError)) as caught:
        build(validate(_written_in_one_place(CLASSIC, change)))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def _written_in_one_place(base: Any, change: Any) -> Any:
    """Both as one file would have them, where nothing switches anything off; a name alone is that of a section."""
    if not isinstance(change, dict):
        return change
    old = base if isinstance(base, dict) else {"name": base} if isinstance(base, str) else {}
    return {**old, **{key: _written_in_one_place(old.get(key), value) for key, value in change.items()}}


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_growing_networks_refuse_keys_of_the_others(player: str) -> None:
    content = {**CLASSIC, "network": {player: {"filters": 32}}}
    with pytest.raises(RecipeError, match=rf"network\.{player}\.filters: unknown key"):
        validate(content)


@pytest.mark.parametrize("player", ["generator", "discriminator"])
def test_weights_at_their_size_do_not_go_with_equalized(player: str) -> None:
    content = {**CLASSIC, "network": {player: {"initialization": "normal"}}}
    with pytest.raises(
        RecipeError, match=rf"network\.{player}: initialization: normal draws weights at their size; set equalized"
    ):
        validate(content)
