"""The losses of BEGAN worked out from its networks; what it refuses; the sample sheet."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from progcycle.data import Batch
from progcycle.engine.build import build
from progcycle.errors import UserError
from progcycle.recipe import RecipeError, load_recipe, merge, validate
from progcycle.rng import uniforms
from progcycle.schedule import Growth
from progcycle.tasks import BeganTask

FIXED: dict[str, Any] = {
    "task": "began",
    "resolution": 16,
    "seed": 4,
    "data": {"path": "nowhere"},
    "network": {"filters": 2, "latent_size": 3},
}
GROWING = merge(
    FIXED,
    {
        "network": {
            "filters": None,
            "base_resolution": 4,
            "channels": {"base": 16, "max": 4},
            "equalized": False,
            "initialization": "normal",  # small weights: the first fakes are grey, so that k rises
            "generator": "progressive",
            "discriminator": "progressive",
        }
    },
)
GROWING["network"].pop("filters")
AT = Growth(2, 16, 1.0, batch_size=4, nimg=8)


def made(content: dict[str, Any], **changes: Any) -> BeganTask:
    torch.manual_seed(0)
    task = BeganTask(validate(merge(content, changes)))  # type: ignore[arg-type]
    for network in task.networks.values():
        network.double()
    return task


def batch(first: int = 8) -> Batch:
    torch.manual_seed(first)
    return Batch(torch.rand(4, 3, 16, 16).double() * 2 - 1, tuple(range(first, first + 4)), ("x",) * 4)


def losses(task: BeganTask, reals: Batch, growth: Growth = AT) -> tuple[Tensor, Tensor]:
    """L(x) and L(G(z)) by the definition."""
    drawn = 2 * uniforms(4, "latent/generator", reals.positions, 3).double() - 1
    at = (growth.stage, growth.alpha)
    fake = task.generator(drawn, *at, **task.generator.options_at(growth.nimg))
    found = [
        (x - task.discriminator(x, *at, **task.discriminator.options_at(growth.nimg))).abs().mean()
        for x in (reals.images, fake)
    ]
    return found[0], found[1]


@pytest.mark.parametrize("content", [FIXED, GROWING], ids=["fixed", "growing"])
def test_losses_and_figures_are_those_of_the_paper(content: dict[str, Any]) -> None:
    task = made(content, objective={"gamma": 0.6, "lambda_k": 0.25})
    reals = {"real": batch()}
    real, fake = losses(task, reals["real"])
    loss, stats = task.loss("discriminator", reals, AT, 0)
    torch.testing.assert_close(loss, real, msg="k is 0")
    of_generator, _ = task.loss("generator", reals, AT, 0)
    torch.testing.assert_close(of_generator, fake)
    k = 0.25 * (0.6 * real - fake).item()
    assert k > 0
    loss, stats = task.loss("discriminator", reals, AT, 1)
    torch.testing.assert_close(loss, real - k * fake, rtol=1e-6, atol=0)
    figures = {name: value.item() for name, value in stats.items()}
    assert figures == pytest.approx(
        {
            "reconstruction/real": real.item(),
            "reconstruction/fake": fake.item(),
            "convergence": (real + (0.6 * real - fake).abs()).item(),
            "balance/k": k,
            "balance/ratio": (fake / real).item(),
        },
        rel=1e-5,
    )


def test_both_players_see_the_same_fakes_and_each_gets_its_own_gradient() -> None:
    task, reals = made(FIXED, objective={"lambda_k": 1}), {"real": batch()}
    task.balance.k = torch.tensor(0.5)
    real, fake = losses(task, reals["real"])
    expected = torch.autograd.grad(real - 0.5 * fake, list(task.discriminator.parameters()), retain_graph=True)
    loss, _ = task.loss("discriminator", reals, AT, 0)
    found = torch.autograd.grad(loss, list(task.discriminator.parameters()))
    torch.testing.assert_close(found, expected)
    expected = torch.autograd.grad(fake, list(task.generator.parameters()))
    loss, _ = task.loss("generator", reals, AT, 0)
    torch.testing.assert_close(torch.autograd.grad(loss, list(task.generator.parameters())), expected)
    assert task.update_order == ((("discriminator", "generator"),),), "from the same state"


def test_what_vanishes_follows_the_pictures_shown() -> None:
    task, reals = made(FIXED, network={"vanishing_kimg": 0.016}), {"real": batch()}
    real, fake = losses(task, reals["real"])  # after 8 pictures half of it
    assert task.generator.options_at(8) == {"carry": 0.5}
    torch.testing.assert_close(task.loss("discriminator", reals, AT, 0)[0], real)
    torch.testing.assert_close(task.loss("generator", reals, AT, 0)[0], fake)
    sharp = made(FIXED)
    assert not torch.allclose(losses(sharp, reals["real"])[0], real)


def test_learning_rates_are_halved_to_a_floor() -> None:
    task = made(FIXED, optimizer={"halving": {"every_kimg": 1, "floor": 3e-5}})
    rates = [task.learning_rate(1e-4, Growth(0, 16, 1.0, nimg=nimg)) for nimg in (0, 999, 1000, 2000, 90000)]
    assert rates == pytest.approx([1e-4, 1e-4, 5e-5, 3e-5, 3e-5])
    assert made(FIXED).learning_rate(1e-4, AT) == 1e-4


def test_the_sheet_shows_what_is_generated_and_what_is_restored() -> None:
    task = made(GROWING, network={"discriminator": {"normalization": "batch"}})
    real = batch().images[:3]
    panel = task.panel(16, lambda _: real)
    assert panel["latents"].shape == (3, 3)
    assert panel["latents"].abs().max() <= 1
    panel["latents"] = panel["latents"].double()
    statistics = [buffer.clone() for buffer in task.discriminator.buffers()]
    rows = task.sample({"generator": task.generator}, panel, AT)
    assert len(rows) == len(task.row_names()) == 4
    assert torch.equal(rows[2], real)
    assert task.discriminator.training
    assert all(torch.equal(*pair) for pair in zip(statistics, task.discriminator.buffers(), strict=True))
    with torch.no_grad():
        restored = task.discriminator.eval()(rows[0], 2, 1.0)
    torch.testing.assert_close(rows[1], restored)
    assert len(task.sample({"generator": task.generator}, {"latents": panel["latents"]}, AT)) == 1


@pytest.mark.parametrize(
    ("content", "change", "sentence"),
    [
        (FIXED, {"objective": {"gamma": 0}}, "objective.gamma: input should be greater than 0 (got '0')"),
        (FIXED, {"objective": {"gamma": 1.5}}, "objective.gamma: input should be less than or equal to 1"),
        (FIXED, {"objective": {"gamma": float("nan")}}, "objective.gamma: input should be a finite number"),
        (FIXED, {"objective": {"gamma": "much"}}, "objective.gamma: input should be a valid number"),
        (FIXED, {"objective": {"lambda_k": -1}}, "objective.lambda_k: input should be greater than 0"),
        (FIXED, {"objective": {"k_rule": "paper"}}, "objective.k_rule: input should be 'published' or 'article'"),
        (FIXED, {"objective": {"k_on_new_stage": "half"}}, "objective.k_on_new_stage: input should be 'keep' or"),
        (FIXED, {"objective": {"loss": "wgan"}}, "objective.loss: unknown key"),
        (
            FIXED,
            {"objective": {"k_on_new_stage": "reset"}},
            "objective.k_on_new_stage: training has one stage, so that none opens; leave it out",
        ),
        (FIXED, {"optimizer": {"halving": {}}}, "optimizer.halving: give one of stall_kimg and every_kimg"),
        (
            FIXED,
            {"optimizer": {"halving": {"stall_kimg": 1, "every_kimg": 1}}},
            "optimizer.halving: give one of stall_kimg and every_kimg",
        ),
        (
            FIXED,
            {"optimizer": {"halving": {"stall_kimg": 1, "floor": 0.1}}},
            "optimizer: halving.floor: 0.1 is not below generator.lr, which is 0.0001; lower it, or leave halving out",
        ),
        (FIXED, {"optimizer": {"halving": {"stall_kimg": 0}}}, "optimizer.halving.stall_kimg: input should be greater"),
        (FIXED, {"data": {"labels": "folders"}}, "data.labels: unknown key"),
        (FIXED, {"data": {"validation": 0.1}}, "data: nothing of a generator is measured on held-out pictures"),
        (FIXED, {"network": {"filters": 0}}, "network.filters: input should be greater than or equal to 1"),
        (
            FIXED,
            {"network": {"latent_size": 10**9}},
            "network.latent_size: input should be less than or equal to 65536",
        ),
        (FIXED, {"network": {"vanishing_kimg": -1}}, "network.vanishing_kimg: input should be greater than or equal"),
        (FIXED, {"network": {"rgb": "sum"}}, "network.rgb: unknown key"),
        (
            FIXED,
            {"network": {"generator": "pggan"}},
            "network.generator: there is no 'pggan'; did you mean",
        ),
        (
            GROWING,
            {"network": {"generator": {"slope": 0.1}}},
            "network.generator: slope belongs to nonlinearity: leaky_relu, not to elu; leave it out",
        ),
        (GROWING, {"network": {"generator": {"skips": True}}}, "network.generator.skips: unknown key"),
        (GROWING, {"network": {"generator": {"distribution": "cube"}}}, "network.generator.distribution: input should"),
    ],
)
def test_keys_are_refused_in_one_sentence(content: dict[str, Any], change: dict[Any, Any], sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        validate(merge(content, change))
    assert str(caught.value).startswith(f"recipe: {sentence}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "change", "sentence"),
    [
        (
            FIXED,
            {"resolution": 4},
            "resolution: 4 px are too small for the network 'began' of network.generator,",
        ),
        (
            {**FIXED, "resolution": 8},
            {"network": {"skips": True}},
            "network.generator.skips: at 8 px there is no later resolution to skip to; leave it out.",
        ),
        (
            FIXED,
            {"network": {"base_resolution": 8}},
            "schedule.start_resolution: the network 'began' of network.generator works at one size, so that this must",
        ),
        (GROWING, {"schedule": {"growth": "size"}}, "schedule.growth: size shows a whole network smaller pictures"),
        (FIXED, {"schedule": {"new_stage": "copy"}}, ""),  # nothing opens, so that nothing is wrong
    ],
)
def test_combinations_without_meaning_are_refused(
    content: dict[str, Any], change: dict[Any, Any], sentence: str
) -> None:
    recipe = validate(merge(content, change))
    with torch.device("meta"):
        if not sentence:
            build(recipe)
            return
        with pytest.raises(UserError) as caught:
            build(recipe)
    assert str(caught.value).startswith(sentence)


def test_one_rule_of_halving_takes_the_place_of_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(
        "task: began\nresolution: 32\ndata: {path: x}\noptimizer: {halving: {stall_kimg: 5, floor: 1e-5}}\n"
    )
    recipe: Any = load_recipe(tmp_path / "a.yaml", ["optimizer.halving.every_kimg=7"])
    assert recipe.optimizer.halving.model_dump() == {"stall_kimg": None, "every_kimg": 7, "floor": 1e-5}
