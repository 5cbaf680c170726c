"""A section of which only some keys are written keeps the defaults of the others."""

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from progcycle.engine.build import build
from progcycle.engine.ema import ema_factor
from progcycle.recipe import CycleganRecipe, PgganRecipe, RecipeError, merge, override, validate

TASKS: dict[str, dict[str, Any]] = {
    "pggan": {"task": "pggan", "resolution": 32, "data": {"path": "pictures"}},
    "cyclegan": {"task": "cyclegan", "resolution": 32, "data": {"root": "pictures"}},
}


def leaves(section: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key that is not a section, as (its path, its value)."""
    for key, value in section.items():
        if isinstance(value, Mapping) and "default" not in value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


@pytest.mark.parametrize("task", TASKS)
def test_writing_one_key_as_it_is_anyway_changes_nothing(task: str) -> None:
    plain = validate(TASKS[task])
    seen = 0
    for path, value in leaves(plain.model_dump()):
        content: Any = value
        for key in reversed(path):
            content = {key: content}
        assert validate(merge(TASKS[task], content)) == plain, ".".join(path)
        seen += len(path) > 1
    assert seen > 60


def test_terms_of_wgan_stay_beside_another_key() -> None:
    for written in (
        {"gradient_penalty": {"weight": 10}},
        {"n_critic": 5},
        {"simultaneous": True},
        {"loss": "wgan"},
        {},
    ):
        recipe = validate({**TASKS["pggan"], "objective": written})
        assert isinstance(recipe, PgganRecipe)
        assert recipe.objective.drift == 1e-3
        assert recipe.objective.gradient_penalty is not None
        assert (recipe.objective.gradient_penalty.weight, recipe.objective.gradient_penalty.target) == (10, 1)
    target = validate({**TASKS["pggan"], "objective": {"gradient_penalty": {"target": 750}}}).objective
    assert target.gradient_penalty is not None
    assert (target.gradient_penalty.weight, target.gradient_penalty.target, target.drift) == (10, 750, 1e-3)
    none = validate({**TASKS["pggan"], "objective": {"drift": 0}}).objective
    assert none.drift == 0
    assert none.gradient_penalty is not None


@pytest.mark.parametrize("loss", ["lsgan", "non_saturating", "hinge", "relativistic"])
def test_another_loss_has_no_terms_of_wgan_and_can_be_built(loss: str) -> None:
    small = {"channels": {"base": 32, "max": 8}, "generator": {"latent_size": 4}}
    content = {**TASKS["pggan"], "network": small}
    recipe = validate(override(content, [f"objective.loss={loss}"]))
    assert (recipe.objective.gradient_penalty, recipe.objective.drift) == (None, 0)
    build(recipe)
    build(validate(override(content, ["objective.n_critic=5"])))


def test_a_rampup_alone_keeps_the_half_life() -> None:
    """At 10,000 kimg shown a tenth of them would be 1,000 kimg; the default half-life is 10."""
    ema = validate(override(TASKS["pggan"], ["training.ema.rampup=0.1"])).training.ema
    assert (ema.half_life_kimg, ema.rampup, ema.per_step) == (10, 0.1, None)
    assert ema_factor(ema, 10_000_000, 16) == pytest.approx(0.5 ** (16 / 10_000))
    assert ema_factor(ema, 50_000, 16) == pytest.approx(0.5 ** (16 / 5_000))
    assert validate({**TASKS["pggan"], "training": {"ema": {}}}).training.ema.half_life_kimg == 10


def test_an_empty_half_life_leaves_all_to_the_rampup_and_per_step_has_none() -> None:
    ema = validate({**TASKS["pggan"], "training": {"ema": {"half_life_kimg": None}}}).training.ema
    assert ema_factor(ema, 10_000_000, 16) == pytest.approx(0.5 ** (16 / 500_000))
    for written in ({"per_step": 0.999}, {"per_step": 0.999, "half_life_kimg": None}):
        assert validate({**TASKS["pggan"], "training": {"ema": written}}).training.ema.half_life_kimg is None
    with pytest.raises(
        RecipeError, match=r"training\.ema: rampup belongs to half_life_kimg, not to per_step; leave it"
    ):
        validate({**TASKS["pggan"], "training": {"ema": {"per_step": 0.999, "rampup": 0.1}}})


@pytest.mark.parametrize("task", TASKS)
def test_channels_of_discriminators_follow_those_of_the_generators(task: str) -> None:
    network = {"channels": {"base": 512, "decay": 0.5, "max": 64}, "discriminator": {"channels": {"max": 16}}}
    channels = validate({**TASKS[task], "network": network}).network.discriminator.channels
    assert channels is not None
    assert channels.model_dump() == {"base": 512, "decay": 0.5, "max": 16}
    alone = validate(
        {**TASKS[task], "network": {"discriminator": {"channels": {"max": 16}}}}
    ).network.discriminator.channels
    assert alone is not None
    assert (alone.base, alone.max) == ({"pggan": 8192, "cyclegan": 256}[task], 16)


def test_the_optimizer_of_pretraining_follows_that_of_the_generators() -> None:
    adam = {"lr": 0.01, "betas": [0.5, 0.9], "eps": 1e-4}
    content = {"optimizer": {"generator": adam}, "pretraining": {"optimizer": {"lr": 0.1}}}
    recipe = validate({**TASKS["cyclegan"], **content})
    assert isinstance(recipe, CycleganRecipe)
    assert recipe.pretraining is not None
    assert recipe.pretraining.optimizer is not None
    written = recipe.pretraining.optimizer.model_dump(exclude_defaults=True)
    assert written == {"lr": 0.1, "betas": (0.5, 0.9), "eps": 1e-4}
    empty = validate({**TASKS["cyclegan"], "pretraining": None})
    assert isinstance(empty, CycleganRecipe)
    assert empty.pretraining is None
