"""The paper's other experiments: what is on in which line, written down from the paper and the official Theano code."""

from pathlib import Path
from typing import Any

import pytest

from progcycle.networks import stage_channels
from progcycle.recipe import PgganRecipe, difference, load_recipe
from progcycle.schedule import GrowthSchedule

RECIPES = Path(__file__).parents[2] / "recipes"

# What each line of table 1 is, and the keys in which it differs from the line that it is compared with.
LINES: dict[str, dict[str, Any]] = {
    "a": {
        "grows": False,
        "batch": 64,
        "n_critic": 5,
        "rate": 1e-4,
        "beta2": 0.9,
        "drift": 0,
        "latent": 128,
        "tanh": True,
        "norms": ("batch", "layer"),
        "equalized": False,
        "variation": None,
    }
}
LINES["b"] = LINES["a"] | {"grows": True}
LINES["c"] = LINES["b"] | {"batch": 16}
LINES["d"] = LINES["c"] | {
    "n_critic": 1,
    "beta2": 0.99,
    "drift": 1e-3,
    "latent": 512,
    "tanh": False,
    "norms": ("none", "none"),
}
LINES["e_star"] = LINES["d"] | {"variation": "discrimination"}
LINES["e"] = LINES["d"] | {"variation": "stddev"}
LINES["f"] = LINES["e"] | {"equalized": True, "rate": 1e-3}
LINES["g"] = LINES["f"] | {"norms": ("pixel", "none")}
LINES["h"] = LINES["g"]

STEPS = {
    "b": ("a", {"schedule.start_resolution"}),
    "c": ("b", {"schedule.batch_size.default"}),
    "d": (
        "c",
        {
            "network.generator.latent_size",
            "network.generator.tanh",
            "network.generator.normalization",
            "network.discriminator.normalization",
            "objective.drift",
            "objective.n_critic",
            "optimizer.generator.betas",
            "optimizer.discriminator.betas",
        },
    ),
    "e_star": (
        "d",
        {
            f"network.discriminator.minibatch_discrimination.{k}"
            for k in ("kernels", "dimensions", "init_pictures", "gather")
        },
    ),
    "e": ("d", {"network.discriminator.minibatch_stddev.group"}),
    "f": (
        "e",
        {
            "network.generator.equalized",
            "network.discriminator.equalized",
            "optimizer.generator.lr",
            "optimizer.discriminator.lr",
        },
    ),
    "g": ("f", {"network.generator.normalization"}),
    "h": ("g", {"network.generator.channels.base", "network.discriminator.channels.base", "schedule.total_kimg"}),
}


def read(name: str) -> PgganRecipe:
    recipe = load_recipe(RECIPES / f"{name}.yaml")
    assert isinstance(recipe, PgganRecipe)
    return recipe


def variation(recipe: PgganRecipe) -> str | None:
    if recipe.network.discriminator.minibatch_discrimination is not None:
        return "discrimination"
    return "stddev" if recipe.network.discriminator.minibatch_stddev.group else None


@pytest.mark.parametrize("line", LINES)
def test_table_1(line: str) -> None:
    recipe = read(f"table1_{line}")
    network, objective, optimizer = recipe.network, recipe.objective, recipe.optimizer
    schedule = GrowthSchedule(recipe.schedule, network.base_resolution, recipe.resolution)
    assert LINES[line] == {
        "grows": len({phase.resolution for phase in schedule.phases}) > 1,
        "batch": schedule.at(0).batch_size,
        "n_critic": objective.n_critic,
        "rate": optimizer.generator.lr,
        "beta2": optimizer.discriminator.betas[1],
        "drift": objective.drift,
        "latent": network.generator.latent_size,
        "tanh": network.generator.tanh,
        "norms": (network.generator.normalization, network.discriminator.normalization),
        "equalized": network.generator.equalized,
        "variation": variation(recipe),
    }
    assert optimizer.generator == optimizer.discriminator
    assert objective.loss == "wgan"
    assert objective.gradient_penalty is not None
    assert (objective.gradient_penalty.weight, objective.gradient_penalty.target) == (10, 1)
    assert recipe.data.mirror
    assert (recipe.schedule.rampup_kimg, schedule.total) == (0, 15_000_000 if line == "h" else 10_000_000)
    if variation(recipe) == "stddev":
        assert (network.discriminator.minibatch_stddev.group, network.discriminator.minibatch_stddev.averaging) == (
            "batch",
            "all",
        )
    if variation(recipe) == "discrimination":
        assert network.discriminator.minibatch_discrimination is not None
        assert network.discriminator.minibatch_discrimination.kernels == 100


@pytest.mark.parametrize("line", STEPS)
def test_lines_of_table_1_differ_in_what_they_say(line: str) -> None:
    before, keys = STEPS[line]
    lines = difference(read(f"table1_{before}"), read(f"table1_{line}"))
    changed = {text.partition(":")[0] for text in lines} - {"network.discriminator.minibatch_discrimination"}
    assert changed == keys


@pytest.mark.parametrize("line", [line for line in LINES if line != "a"])
def test_growth_of_table_1(line: str) -> None:
    recipe = read(f"table1_{line}")
    phases = GrowthSchedule(recipe.schedule, recipe.network.base_resolution, recipe.resolution).phases
    assert [p.resolution for p in phases] == [4, 8, 8, 16, 16, 32, 32, 64, 64, 128, 128]
    assert {p.end - p.start for p in phases[:-1]} == {800_000}


@pytest.mark.parametrize(("line", "base"), [("a", 2048), ("g", 2048), ("h", 8192)])
def test_widths_of_table_1(line: str, base: int) -> None:
    """Section A.2: half the maps at 16 px, a quarter from 32 px on; 32 maps in the last layers. (h) has them all."""
    channels = read(f"table1_{line}").network.generator.channels
    found = stage_channels(4, 128, channels.base, channels.decay, channels.max)
    assert found == ([512, 512, 256, 128, 64, 32] if base == 2048 else [512, 512, 512, 512, 256, 128])


@pytest.mark.parametrize("line", LINES)
def test_the_average_of_table_1_is_the_official_one(line: str) -> None:
    """0.999 for each 16 real pictures: to the power 20 for 5 x 64 of them, and 5 for 5 x 16."""
    recipe = read(f"table1_{line}")
    half_life = recipe.training.ema.half_life_kimg
    assert half_life is not None
    reals = LINES[line]["batch"] * LINES[line]["n_critic"]
    assert 0.5 ** (reals / (1000 * half_life)) == pytest.approx(0.999 ** (reals / 16), rel=1e-5)


def test_cifar10() -> None:
    recipe = read("pggan_cifar10")
    network, schedule = recipe.network, GrowthSchedule(recipe.schedule, 4, 32)
    assert (network.generator.channels.base, network.generator.channels.max, network.generator.latent_size) == (
        4096,
        128,
        128,
    )
    assert recipe.objective.gradient_penalty is not None
    assert (recipe.objective.gradient_penalty.target, recipe.objective.simultaneous) == (750, True)
    assert (recipe.resolution, recipe.data.mirror, recipe.schedule.rampup_kimg) == (32, False, 0)
    assert {p.end - p.start for p in schedule.phases[:-1]} == {400_000}
    assert (schedule.total, {p.batch_size for p in schedule.phases}) == (20_000_000, {16})


@pytest.mark.parametrize(("name", "mirror"), [("pggan_lsun", False), ("pggan_lsun_100k", True)])
def test_lsun(name: str, mirror: bool) -> None:
    recipe = read(name)
    schedule = GrowthSchedule(recipe.schedule, 4, 256)
    assert (recipe.resolution, recipe.data.mirror, schedule.total) == (256, mirror, 20_000_000)
    assert {p.end - p.start for p in schedule.phases[:-1]} == {800_000}
    assert {p.batch_size for p in schedule.phases} == {16}


@pytest.mark.parametrize("name", ["pggan_celebahq_lsgan", "pggan_emoji_lsgan", "pggan_digits_lsgan"])
def test_lsgan(name: str) -> None:
    objective = read(name).objective
    assert (objective.loss, objective.lsgan_fake_factor, objective.drift) == ("lsgan", 0.1, 0)
    assert objective.gradient_penalty is None
    noise = objective.noise
    assert noise is not None
    assert (noise.mode, noise.gain, noise.limit, noise.exponent, noise.momentum) == ("prop", 0.2, 0.5, 2, 0.9)


@pytest.mark.parametrize("k", [2, 4])
@pytest.mark.parametrize(
    ("name", "norms", "equalized", "stddev", "grows"),
    [
        ("wgan_gp", ("batch", "batch"), False, 0, False),
        ("norm", ("pixel", "none"), True, 0, False),
        ("stddev", ("pixel", "none"), True, "batch", False),
        ("growing", ("pixel", "none"), True, "batch", True),
    ],
)
def test_mnist_modes(k: int, name: str, norms: tuple[str, str], equalized: bool, stddev: Any, grows: bool) -> None:
    recipe = read(f"pggan_mnist_k{k}_{name}")
    network, objective = recipe.network, recipe.objective
    assert (network.generator.normalization, network.discriminator.normalization) == norms
    assert (network.generator.equalized, network.discriminator.minibatch_stddev.group) == (equalized, stddev)
    assert (
        network.generator.latent_size,
        network.generator.convs,
        network.generator.rgb_kernel,
        network.generator.tanh,
    ) == (
        64,
        1,
        3,
        True,
    )
    assert stage_channels(4, 32, network.generator.channels.base, 1, 512) == [64, 32, 16, 8], (
        "the official generator's maps"
    )
    assert network.discriminator.channels is not None
    assert k * network.discriminator.channels.base == network.generator.channels.base
    assert (objective.n_critic, objective.drift) == (5, 0)
    schedule = GrowthSchedule(recipe.schedule, 4, 32)
    resolutions = [4, 8, 8, 16, 16, 32, 32] if grows else [32]
    assert [p.resolution for p in schedule.phases] == resolutions
    assert schedule.total == (15_000_000 if grows else 10_000_000)
    assert {p.batch_size for p in schedule.phases} == {64}
    if grows:
        assert [(p.end - p.start) // 1000 for p in schedule.phases[:-1]] == [500, 2000, 500, 2000, 500, 2000]
