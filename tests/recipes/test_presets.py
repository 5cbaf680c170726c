"""The CelebA-HQ recipes against the tables and the schedule of the official code (config.py, train.py)."""

import math
from pathlib import Path

import pytest

from progcycle.recipe import PgganRecipe, load_recipe
from progcycle.schedule import GrowthSchedule

RECIPES = Path(__file__).parents[2] / "recipes"
# name: (base batch, batches by resolution, rates by resolution in 1e-3, kimg of each phase, total kimg, stddev group)
PRESETS = {
    "pggan_celebahq": (
        4,
        {4: 128, 8: 128, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8, 512: 4},
        {1024: 1.5},
        600,
        12000,
        4,
    ),
    "pggan_celebahq_2gpus": (
        8,
        {4: 256, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16, 256: 8},
        {512: 1.5, 1024: 2},
        600,
        12000,
        4,
    ),
    "pggan_celebahq_4gpus": (
        16,
        {4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 16},
        {256: 1.5, 512: 2, 1024: 3},
        600,
        12000,
        4,
    ),
    "pggan_celebahq_8gpus": (
        32,
        {4: 512, 8: 256, 16: 128, 32: 64, 64: 32},
        {128: 1.5, 256: 2, 512: 3, 1024: 3},
        600,
        12000,
        4,
    ),
    "pggan_celebahq_paper": (16, {256: 14, 512: 6, 1024: 3}, {}, 800, 19000, 16),
}


def official_lod(kimg: float, phase_kimg: float) -> float:
    """Level of detail of the official TrainingSchedule: 8 at 4 px, 0 at 1024 px."""
    phase, within = divmod(kimg, 2 * phase_kimg)
    return max(8 - phase - max(within - phase_kimg, 0) / phase_kimg, 0.0)


@pytest.mark.parametrize("name", PRESETS)
def test_growth_batches_and_rates_are_the_official_ones(name: str) -> None:
    base, batches, rates, phase_kimg, total, _ = PRESETS[name]
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    schedule = GrowthSchedule(recipe.schedule, recipe.network.base_resolution, recipe.resolution)
    assert schedule.total == 1000 * total
    for nimg in range(50_000, schedule.total, 7_919):
        growth = schedule.at(nimg)
        lod = official_lod(nimg / 1000, phase_kimg)
        assert 8 - growth.stage + (1 - growth.alpha) == pytest.approx(lod, abs=1e-9)
        resolution = 2 ** (10 - math.floor(lod))
        assert growth.resolution == resolution
        assert growth.batch_size == batches.get(resolution, base)
        assert growth.lr_scale * recipe.optimizer.generator.lr == pytest.approx(1e-3 * rates.get(resolution, 1.0))


@pytest.mark.parametrize("name", PRESETS)
def test_what_all_official_settings_share(name: str) -> None:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert isinstance(recipe, PgganRecipe)
    network, objective = recipe.network, recipe.objective
    assert (network.generator.channels.base, network.generator.channels.decay, network.generator.channels.max) == (
        8192,
        1.0,
        512,
    )
    assert (network.generator.latent_size, network.generator.rgb, network.discriminator.minibatch_stddev.group) == (
        512,
        "replace",
        PRESETS[name][5],
    )
    assert (recipe.resolution, network.base_resolution, recipe.data.mirror) == (1024, 4, True)
    assert (objective.loss, objective.drift) == ("wgan", 1e-3)
    assert objective.gradient_penalty is not None
    assert (objective.gradient_penalty.weight, objective.gradient_penalty.target) == (10, 1)
    for adam in (recipe.optimizer.generator, recipe.optimizer.discriminator):
        assert (adam.lr, adam.betas, adam.eps) == (1e-3, (0.0, 0.99), 1e-8)
    assert recipe.optimizer.reset == "fade_edges"
    assert recipe.training.ema.per_step == 0.999


def test_resampling_is_fused_in_the_tensorflow_code_only() -> None:
    """Its networks have fused_scale = True; the Theano code, and all that extends its run, has layers of their own."""
    fused = {"pggan_celebahq", "pggan_celebahq_2gpus", "pggan_celebahq_4gpus", "pggan_celebahq_8gpus"}
    found = {}
    for path in RECIPES.glob("pggan_*.yaml"):
        recipe = load_recipe(path)
        assert isinstance(recipe, PgganRecipe)
        found[path.stem] = recipe.network.generator.fused_scale
    assert {name for name, value in found.items() if value} == fused
    assert {"pggan_celebahq_paper", "pggan_celebahq_lsgan", "pggan_lsun", "pggan_cifar10"} < found.keys()


def test_the_papers_run_ramps_its_rate_up_over_40_kimg() -> None:
    recipe = load_recipe(RECIPES / "pggan_celebahq_paper.yaml")
    schedule = GrowthSchedule(recipe.schedule, 4, 1024)
    assert schedule.at(0).lr_scale == pytest.approx(math.exp(-5))
    assert schedule.at(20_000).lr_scale == pytest.approx(math.exp(-5 * 0.25))
    assert schedule.at(40_000).lr_scale == 1.0


OFFICIAL = ["pggan_celebahq*", "table1_*", "pggan_lsun*", "pggan_cifar10", "pggan_mnist_*", "cyclegan_classic_horse2*"]
OFFICIAL += ["began_celeba"]


def test_what_claims_published_settings_trains_in_float32_whatever_the_gpu_could_do() -> None:
    found = [path for pattern in OFFICIAL for path in sorted(RECIPES.glob(f"{pattern}.yaml"))]
    assert len(found) == 6 + 9 + 2 + 1 + 8 + 1 + 1
    assert {load_recipe(path).training.precision for path in found} == {"no"}
