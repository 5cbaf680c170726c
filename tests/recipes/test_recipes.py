"""Every recipe that the library ships is loaded, built and trained for a few steps at reduced size."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_runs import STEPS, stats, train, write_pictures

import progcycle
from progcycle.engine.build import build, check_batches
from progcycle.export import load
from progcycle.recipe import Pictures, Recipe, load_recipe
from progcycle.recipe.networks import options_in

FOLDER = Path(progcycle.__file__).parents[1] / "recipes"
RECIPES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize(("name", "blocks"), [("openmoji", 6), ("emoji", 6), ("horse2zebra", 9)])
def test_the_classic_recipes_are_the_published_method(name: str, blocks: int) -> None:
    """Zhu et al. 2017, sections 4 and 7.1, and the authors' code: the rate falls over the second half; no averages."""
    recipe = load_recipe(FOLDER / f"cyclegan_classic_{name}.yaml")
    assert recipe.task == "cyclegan"
    net, objective, schedule = recipe.network, recipe.objective, recipe.schedule
    assert (net.generator.name, net.generator.residual_blocks, net.generator.filters, net.generator.upsampling) == (
        "resnet",
        blocks,
        64,
        "transposed",
    )
    assert (net.discriminator.name, net.discriminator.layers, net.generator.initialization) == ("patchgan", 3, "normal")
    assert (net.generator.normalization, net.discriminator.normalization) == ("instance", "instance")
    assert (objective.loss, objective.lsgan_factor, objective.pool_size) == ("lsgan", 0.5, 50)
    assert objective.cycle.aba == objective.cycle.bab == ((0, 10),)
    assert objective.identity.a == objective.identity.b == ((0, 0.5),)  # times the cycle's
    assert [objective.gradient_penalty, objective.r1, objective.r2, objective.augment] == [None] * 4
    for player in (recipe.optimizer.generator, recipe.optimizer.discriminator):
        assert (player.lr, player.betas) == (0.0002, (0.5, 0.999))
    assert (recipe.optimizer.reset, recipe.training.ema.per_step) == ("never", 0)
    (length,) = schedule.stable_kimg.values()
    assert (schedule.batch_size, schedule.decay_kimg) == ({"default": 1}, length / 2)


def test_began_celeba_is_the_published_method() -> None:
    """Berthelot et al. 2017, section 4.1, with the rates of the usual port: Adam 8e-5, halved each 100,000 steps."""
    recipe: Any = load_recipe(FOLDER / "began_celeba.yaml")
    for network in (recipe.network.generator, recipe.network.discriminator):
        options = (network.name, network.filters, network.latent_size, network.skips, network.vanishing_kimg)
        assert options == ("began", 128, 64, False, 0)
    assert recipe.network.generator.distribution == "uniform"
    assert recipe.objective.model_dump() == {
        "gamma": 0.5, "lambda_k": 0.001, "k_rule": "published", "k_on_new_stage": "keep",
    }  # fmt: skip
    for player in (recipe.optimizer.generator, recipe.optimizer.discriminator):
        assert (player.name, player.lr, player.betas) == ("adam", 8e-5, (0.5, 0.999))
    halving = recipe.optimizer.halving
    assert (halving.every_kimg * 1000, halving.floor) == (100_000 * 16, 2e-5)
    assert (recipe.schedule.batch_size, recipe.training.ema.per_step) == ({"default": 16}, 0)


def test_the_experiment_of_the_article_has_its_settings() -> None:
    """As in github-pengge/PyTorch-progressive_growing_of_gans, train_began.py, but for widths and lengths."""
    recipe: Any = load_recipe(FOLDER / "began_emoji_article.yaml")
    generator, discriminator = recipe.optimizer.generator, recipe.optimizer.discriminator
    assert (generator.lr, discriminator.lr) == (1e-3, 2e-4)
    assert generator.betas == discriminator.betas == (0.0, 0.99)
    assert (recipe.objective.gamma, recipe.objective.lambda_k) == (0.75, 0.001)
    assert recipe.objective.k_rule == "article"
    assert recipe.network.discriminator.normalization == "batch"
    assert recipe.network.discriminator.latent_size == 2048
    assert recipe.schedule.batch_size == {4: 32, 8: 32, 16: 32, 32: 16}
    repaired: Any = load_recipe(FOLDER / "began_emoji_article.yaml", ["objective.k_rule=published"])
    assert repaired.objective.k_rule == "published"


def test_lapgan_cifar10_is_the_published_method() -> None:
    """Denton et al. 2015, and the authors' code: scripts/train_cifar_coarse_to_fine.lua and train_cifar.lua."""
    recipe: Any = load_recipe(FOLDER / "lapgan_cifar10.yaml")
    assert recipe.levels == recipe.all_levels == (8, 16, 32)
    network = recipe.network
    assert (network.generator.filters, network.generator.pyramid) == (64, "bilinear")
    assert (network.discriminator.filters, network.discriminator.dropout) == (64, 0.5)
    assert (network.coarsest_generator.latent_size, network.coarsest_generator.hidden) == (100, 8000)
    assert (network.coarsest_discriminator.hidden, network.coarsest_discriminator.dropout) == (1600, 0.5)
    generator, discriminator = recipe.optimizer.generator, recipe.optimizer.discriminator
    assert (generator.name, generator.lr, generator.dampened) == ("sgd", 0.02, True)
    assert discriminator == generator.model_copy(update={"lr": 0.01}), "of a sum in place of a mean"
    epoch = 2 * 45  # kimg, with the generators' steps
    assert generator.momentum == ((0, 0.5), (pytest.approx(epoch * (0.7 - 0.5) / 0.0008), 0.7))
    assert recipe.schedule.batch_size == {8: 50, "default": 64}, "real ones, and as many fakes"
    assert recipe.training.ema.per_step == 0


def reduced(path: Path, data: Path) -> Recipe:
    """A recipe with its own networks, losses and options, but tiny: 16 px, few channels, 22 steps.

    A recipe that does not grow stays one that does not grow; other keys that are sizes or lengths are replaced.
    """
    recipe = load_recipe(path)
    if recipe.task == "lapgan":
        return reduced_pyramid(path, data)
    grows = (recipe.schedule.start_resolution or recipe.network.base_resolution) < recipe.resolution
    one = recipe.task == "autoencoder"
    fixed = not one and recipe.network.generator.name in ("resnet", "began")
    one_size = recipe.task == "pggan" and recipe.network.generator.name != "pggan"
    base = 16 if fixed or one_size else int(min(recipe.network.base_resolution, 8))
    start = base if grows else 16
    doublings = (16 // start).bit_length() - 1
    schedule = {
        "start_resolution": start,
        "stable_kimg": 0.088 - 0.032 * doublings if doublings < 2 else 0.016,
        "fade_kimg": 0.02 if doublings else 0,
        "total_kimg": 0.088,
        "batch_size": 4,
        "rampup_kimg": min(recipe.schedule.rampup_kimg, 0.02),
        "stage_rampup_kimg": min(recipe.schedule.stage_rampup_kimg, 0.008),
        "decay_kimg": min(recipe.schedule.decay_kimg, 0.02),
    }
    changes: dict[str, Any] = {
        "resolution": 16,
        "network.base_resolution": base,
        "data.workers": 0,
        "training.max_batch_per_device": 2 if recipe.training.max_batch_per_device else None,
        "training.precision": "no",
        "training.trackers": [],
        "training.sample_count": 2,
    }
    discriminator = None if one else recipe.network.discriminator
    every = {place: options for place, options in options_in(recipe.network).items() if place[0] == "discriminator"}
    staged = one or any(hasattr(options, "channels") for options in every.values())
    wide = "network" if staged else "network.generator"  # discriminators without stages have no such option
    changes |= (
        {"network.filters": 4, **({} if recipe.task == "began" else {"network.discriminator.layers": 2})}
        if fixed
        else {"network.generator.filters": 4, "network.discriminator.filters": 4}
        if one_size
        else {f"{wide}.channels.base": 32, f"{wide}.channels.max": 8}
    )
    for place, options in every.items():
        key = ".".join(map(str, ("network", *place)))
        if options.name == "projected":
            changes[f"{key}.feature_resolution"] = 64
        elif options.name == "patchgan" and not fixed:
            changes |= {f"{key}.filters": 4, f"{key}.layers": 2}
    if recipe.schedule.hold_resolution:
        schedule["hold_resolution"] = max(start, 8)
    changes |= {f"schedule.{key}": value for key, value in schedule.items()}
    changes |= {f"training.{key}_kimg": 0.044 for key in ("status", "sample", "checkpoint", "snapshot")}
    channels = getattr(discriminator, "channels", None)
    if channels and channels != recipe.network.generator.channels:
        changes |= {"network.discriminator.channels.base": 16, "network.discriminator.channels.max": 4}
    if getattr(discriminator, "minibatch_discrimination", None):
        changes |= {
            f"network.discriminator.minibatch_discrimination.{k}": v
            for k, v in {"kernels": 4, "init_pictures": 6}.items()
        }
    if recipe.training.evaluation:
        changes |= {"training.evaluation": None}  # a test of the commands
    if one:
        changes |= {"data.path": str(data / "trainA"), "data.test_path": None, "network.autoencoder.latent_size": 8}
        loads: dict[str, Pictures] = {"data": recipe.data}
    elif recipe.task in ("pggan", "began"):
        pictures = data / ("classes" if recipe.data.label_source else "trainA")
        changes |= {"data.path": str(pictures), "data.test_path": None, "network.generator.latent_size": 8}
        loads = {"data": recipe.data}
    else:
        paths = {f"data.{d}.{k}": None for d in "ab" for k in ("path", "test_path")}
        changes |= {
            "data.root": str(data),
            "data.validation": 0,
            **paths,
            "network.generator.residual_blocks": min(recipe.network.generator.residual_blocks, 1),
        }
        loads = {"data.a": recipe.data.a, "data.b": recipe.data.b}
    for where, options in loads.items():
        changes[f"{where}.load_resolution"] = 20 if options.load_resolution else None
    return load_recipe(path, [f"{key}={written(value)}" for key, value in changes.items()])


def reduced_pyramid(path: Path, data: Path) -> Recipe:
    """The same of a pyramid: two levels."""
    short = {
        "resolution": 16,
        "data.path": str(data / "trainA"),
        "data.workers": 0,
        "network.generator.filters": 4,
        "network.discriminator.filters": 4,
        "network.coarsest_generator.hidden": 6,
        "network.coarsest_discriminator.hidden": 6,
        "schedule.stable_kimg": 0.088,
        "schedule.batch_size": 4,
        "schedule.decay_kimg": 0,
        "training.precision": "no",
        "training.sample_count": 2,
        **{f"training.{key}_kimg": 0.044 for key in ("status", "sample", "checkpoint", "snapshot")},
    }
    return load_recipe(path, [f"{key}={written(value)}" for key, value in short.items()])


def written(value: Any) -> str:
    """A value as it is written on a command line."""
    return (
        value
        if isinstance(value, str)
        else yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()
    )


# What trains like another one: they differ in their data, and in how large, long or strong something is.
TWINS = {
    "cyclegan_classic_openmoji": "cyclegan_classic_emoji",
    "cyclegan_openmoji_long": "cyclegan_openmoji",
    "cyclegan_kai_128": "cyclegan_kai_64",
    "cyclegan_photos_64": "cyclegan_openmoji_64",
    "cyclegan_photos_128": "cyclegan_openmoji",
    "cyclegan_photos_256": "cyclegan_openmoji",
    "dcgan_celeba": "dcgan_emoji",
    "wgan_gp_emoji": "wgan_gp_cifar10",
    "pggan_celebahq_2gpus": "pggan_celebahq",
    "pggan_celebahq_4gpus": "pggan_celebahq",
    "pggan_celebahq_8gpus": "pggan_celebahq",
    "pggan_emoji_long": "pggan_emoji",
    "pggan_lsun_100k": "pggan_celebahq_paper",
    "table1_c": "table1_b",
    "table1_h": "table1_g",
} | {f"pggan_mnist_k4_{way}": f"pggan_mnist_k2_{way}" for way in ("growing", "norm", "stddev", "wgan_gp")}


def switches(value: Any) -> Any:
    """The content of a recipe without its numbers, but for whether they are 0."""
    if isinstance(value, dict):
        of_resolutions = value and all(key == "default" or str(key).isdigit() for key in value)
        return {switches(v) for v in value.values()} if of_resolutions else {k: switches(v) for k, v in value.items()}
    if isinstance(value, list):
        return [switches(v) for v in value]
    return value != 0 if type(value) in (int, float) else value


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    for seed, name in enumerate(("trainA", "trainB", "testA", "testB")):
        write_pictures(root / name, 6, seed, side=24)
    for seed, name in enumerate(("cat", "dog", "owl")):
        write_pictures(root / "classes" / name, 2, seed, side=24)
    return root


def test_there_are_recipes() -> None:
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_builds_at_full_size(path: Path, data: Path) -> None:
    recipe = load_recipe(path)
    if recipe.task == "pggan" and recipe.data.labels:  # how many classes there are is read from the pictures' names
        recipe = load_recipe(path, [f"data.path={data / 'classes'}"])
    with torch.device("meta"):
        built = build(recipe)
    check_batches(recipe, built.schedule, processes=1)
    assert built.schedule.final.resolution == (recipe.schedule.hold_resolution or recipe.resolution)
    schema, first = path.read_text(encoding="utf-8").splitlines()[:2]
    assert schema == "# yaml-language-server: $schema=schema.json"
    assert first.startswith("# "), "the first line says what the recipe is for"


@pytest.mark.parametrize(("name", "twin"), TWINS.items())
def test_twins_switch_the_same_on(name: str, twin: str, data: Path) -> None:
    both = (reduced(FOLDER / f"{stem}.yaml", data).model_dump(mode="json") for stem in (name, twin))
    first, second = map(switches, both)
    assert first == second


@pytest.mark.parametrize("path", [p for p in RECIPES if p.stem not in TWINS], ids=lambda p: p.stem)
def test_trains_at_reduced_size(path: Path, data: Path, tmp_path: Path, no_plots: None) -> None:
    training = train(reduced(path, data), tmp_path / "run")
    assert training.trainer.step == STEPS
    assert [line["nimg"] for line in stats(tmp_path / "run")] == [44, 88]
    assert load(tmp_path / "run").config.resolution == 16
