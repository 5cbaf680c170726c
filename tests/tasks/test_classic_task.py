"""Recipes with networks that do not grow: their defaults, what is refused, and how it says so."""

from typing import Any

import pytest
import torch
from fake_networks import batch

from progcycle.engine.build import build
from progcycle.errors import UserError
from progcycle.networks import DISCRIMINATORS, TRANSLATORS, ProgressiveTranslator
from progcycle.recipe import (
    FIXED_DISCRIMINATORS,
    FIXED_GENERATORS,
    CycleganRecipe,
    RecipeError,
    dump,
    load_recipe,
    merge,
    validate,
)

CLASSIC: dict[str, Any] = {
    "task": "cyclegan",
    "resolution": 32,
    "data": {"root": "nowhere"},
    "network": {"generator": "resnet", "discriminator": "patchgan", "filters": 4},
    "schedule": {"batch_size": 1},
}
PROGRESSIVE = {"network": {"generator": "progressive", "channels": {"base": 32, "max": 8}}}


def read(change: dict[str, Any] | None = None) -> CycleganRecipe:
    recipe = validate(merge(CLASSIC, change or {}))
    assert isinstance(recipe, CycleganRecipe)
    return recipe


def test_the_recipe_knows_the_names_of_all_networks_that_do_not_grow() -> None:
    for registry, names in ((TRANSLATORS, FIXED_GENERATORS), (DISCRIMINATORS, FIXED_DISCRIMINATORS)):
        assert {name for name, kind in registry.items() if not getattr(kind, "grows", True)} == set(names)


@pytest.mark.parametrize(("resolution", "blocks"), [(32, 6), (128, 6), (256, 9), (512, 9)])
def test_defaults_are_the_published_ones(resolution: int, blocks: int) -> None:
    network = read({"resolution": resolution}).network
    assert (network.base_resolution, network.residual_blocks) == (resolution, blocks)
    assert (network.normalization.generator, network.normalization.discriminator) == ("instance", "instance")
    assert (network.equalized, network.initialization, network.spectral_norm) == (False, "normal", False)
    assert (network.predict, network.skips, network.minibatch_stddev.group) == ("picture", False, 0)
    assert (network.upsampling, network.patch_layers) == ("transposed", 3)


def test_written_keys_stay_and_a_dumped_recipe_is_the_same(tmp_path: Any) -> None:
    change = {
        "network": {"residual_blocks": 2, "initialization": "he", "normalization": {"discriminator": "none"}},
        "resolution": 64,
    }
    recipe = read(change)
    assert (recipe.network.residual_blocks, recipe.network.initialization) == (2, "he")
    assert (recipe.network.normalization.generator, recipe.network.normalization.discriminator) == ("instance", "none")
    (tmp_path / "recipe.yaml").write_text(dump(recipe))
    assert load_recipe(tmp_path / "recipe.yaml") == recipe


def test_a_recipe_that_grows_has_the_defaults_that_it_always_had() -> None:
    network = validate({"task": "cyclegan", "resolution": 32, "data": {"root": "nowhere"}, "network": {}}).network
    assert (network.base_resolution, network.equalized, network.initialization) == (8, True, "he")
    assert (network.minibatch_stddev.group, network.normalization.generator) == (4, "pixel")
    assert network == validate({"task": "cyclegan", "resolution": 32, "data": {"root": "nowhere"}}).network


def test_options_reach_the_networks() -> None:
    network = {"discriminator_filters": 6, "upsampling": "resize", "patch_layers": 2, "spectral_norm": True}
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
    change: dict[str, Any] = PROGRESSIVE if discriminator == "patchgan" else {
        "network": {"discriminator": "progressive", "channels": {"base": 32, "max": 8}, "equalized": False}
    }  # fmt: skip
    built = build(read(merge(change, {"network": {"base_resolution": base}, "schedule": {"start_resolution": 32}})))
    stages = {4: 4, 32: 1}[base]
    assert [phase.stage for phase in built.schedule.phases] == [stages - 1]
    reals = {"a": batch(torch.rand(2, 3, 32, 32)), "b": batch(torch.rand(2, 3, 32, 32))}
    for player in ("generator", "discriminator"):
        loss, _ = built.task.loss(player, reals, built.schedule.at(0), 0)
        loss.backward()
        assert loss.isfinite()
    assert isinstance(built.task.networks["gen_ab"], ProgressiveTranslator) == (discriminator == "patchgan")
    growing = "gen_ab" if discriminator == "patchgan" else "disc_b"
    assert len(built.task.specs[growing]["arguments"]["channels"]) == stages


def test_a_pggan_may_have_patches_at_its_single_stage() -> None:
    content = {
        "task": "pggan", "resolution": 32, "data": {"path": "nowhere"},
        "network": {
            "discriminator": "patchgan", "base_resolution": 32, "minibatch_stddev": 0,
            "latent_size": 4, "channels": {"base": 32, "max": 8},
        },
    }  # fmt: skip
    task = build(validate(content)).task
    task.loss("discriminator", {"real": batch(torch.rand(2, 3, 32, 32))}, build(validate(content)).schedule.at(0), 0)
    several = merge(content, {"network": {"base_resolution": 4}})
    with pytest.raises(
        UserError, match=r"^schedule\.start_resolution: the network 'patchgan' of network\.discriminator does"
    ):
        build(validate(several))
    built = build(validate(merge(several, {"schedule": {"start_resolution": 32}})))
    assert [phase.stage for phase in built.schedule.phases] == [3]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"network": {"base_resolution": 8}},
            "network.base_resolution: the network 'resnet' of network.generator does not grow, nor does another, so "
            "that this must be the resolution, 32, and not 8.",
        ),
        (
            {"network": {"generator": "progressive"}},
            "schedule.start_resolution: the network 'patchgan' of network.discriminator does not grow, so that this "
            "must be the resolution, 32.",
        ),
        (
            {"resolution": 16},
            "resolution: 16 px are too small for the network 'patchgan' of network.discriminator, which needs 24; "
            "raise it, or lower network.patch_layers, which is 3.",
        ),
        (
            {"resolution": 4, "network": {"patch_layers": 1}},
            "resolution: 4 px are too small for the network 'resnet' of network.generator, which needs 8; raise it.",
        ),
        ({"network": {"skips": True}}, "network.skips: the network 'resnet' of network.generator has no such option"),
        ({"network": {"generator": "unet", "skips": False}}, "network.skips: the network 'unet' of"),
        ({"network": {"generator": "unet", "residual_blocks": 3}}, "network.residual_blocks: the network 'unet' of"),
        ({"network": {"generator": "unet", "upsampling": "resize"}}, "network.upsampling: the network 'unet' of"),
        ({"network": {"predict": "change"}}, "network.predict: the network 'resnet' of network.generator has no such"),
        ({"network": {"head": "dense"}}, "network.head: the network 'patchgan' of network.discriminator has no such"),
        ({"network": {"minibatch_stddev": 4}}, "network.minibatch_stddev: the network 'patchgan' of"),
        (
            {"network": {"minibatch_discrimination": {}}},
            "network.minibatch_discrimination: it judges whole pictures, not the patches",
        ),
        ({"network": {"rgb": "sum"}}, "network.rgb: neither 'resnet' nor 'patchgan' would use it; leave it out."),
        ({"network": {"channels": {"base": 64}}}, "network.channels: neither 'resnet' nor 'patchgan' would use it"),
        (
            {"network": {"discriminator_channels": {"base": 64}}},
            "network.discriminator_channels: neither 'resnet' nor 'patchgan' would use it",
        ),
        ({"network": {"equalized": True, "initialization": "he"}}, "network.equalized: neither 'resnet' nor"),
        (
            merge(PROGRESSIVE, {"network": {"discriminator_filters": 8}, "schedule": {"start_resolution": 32}}),
            "network.filters: neither 'progressive' nor 'patchgan' would use it",
        ),
        (
            {"objective": {"loss": "lsgan", "noise": {}}},
            "objective.noise: the network of network.discriminator has no place for it; leave it out.",
        ),
    ],
)
def test_what_means_nothing_is_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        build(read(change))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", [{"patch_layers": 2}, {"filters": 32}, {"discriminator_filters": 8}])
def test_growing_networks_refuse_keys_of_the_others(key: dict[str, Any]) -> None:
    content = {**CLASSIC, "network": key}
    with pytest.raises(UserError, match=rf"network\.{next(iter(key))}: .*leave it out"):
        build(validate(content))


@pytest.mark.parametrize(
    "content",
    [
        CLASSIC | {"network": CLASSIC["network"] | {"equalized": True}},
        CLASSIC | {"network": {"initialization": "normal"}},
    ],
)
def test_weights_at_their_size_do_not_go_with_equalized(content: dict[str, Any]) -> None:
    with pytest.raises(RecipeError, match="network: initialization: normal draws weights at their size; set equalized"):
        validate(content)
