"""The sections ``pretraining`` and ``warm_start`` of a recipe, and the recipe of pre-training alone."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from progcycle.recipe import CycleganRecipe, Recipe, RecipeError, dump, merge, validate

DOCS = (Path(__file__).parents[2] / "docs" / "training-options.md").read_text(encoding="utf-8")
CONTENT: dict[str, Any] = {"task": "cyclegan", "resolution": 32, "data": {"root": "pictures"}}


def read(change: dict[str, Any]) -> CycleganRecipe:
    recipe = validate(merge(CONTENT, change))
    assert isinstance(recipe, CycleganRecipe)
    return recipe


def before(recipe: Recipe) -> CycleganRecipe:
    found = recipe.preparation_recipe
    assert found is not None
    return found


def test_both_are_off() -> None:
    assert read({}).pretraining is None
    assert read({}).warm_start is None
    assert read({}).preparation_recipe is None
    assert validate({**CONTENT, "task": "pggan", "data": {"path": "pictures"}}).preparation_recipe is None


@pytest.mark.parametrize(
    ("section", "masked", "patch", "share"),
    [
        ({}, 0.4, 0.125, 0.5),
        ({"masked": 0.6, "patch": 0.5, "share": 2}, 0.6, 0.5, 2),
        ({"kind": "autoencoding"}, None, None, 0.5),
        ({"schedule": {"stable_kimg": 3}}, 0.4, 0.125, None),
    ],
)
def test_defaults_are_written_out_and_mean_the_same_when_read_again(
    section: dict[str, Any], masked: float | None, patch: float | None, share: float | None
) -> None:
    recipe = read({"pretraining": section})
    options = recipe.pretraining
    assert options is not None
    assert (options.masked, options.patch, options.share) == (masked, patch, share)
    for again in (validate(yaml.safe_load(dump(recipe))), validate(recipe.model_dump(mode="json"))):
        assert again == recipe
    derived = before(recipe)
    assert validate(yaml.safe_load(dump(derived))) == derived


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pretraining": {"maskd": 0.3}}, "pretraining.maskd: unknown key, did you mean masked?"),
        ({"pretraining": {"kind": "jigsaw"}}, "pretraining.kind: input should be 'inpainting' or 'autoencoding'"),
        ({"pretraining": {"masked": 1}}, "pretraining.masked: input should be less than 1"),
        ({"pretraining": {"masked": 0}}, "pretraining.masked: input should be greater than 0"),
        ({"pretraining": {"patch": 0.3}}, "pretraining: patch must be 0.5, 0.25, 0.125 and so on, got 0.3"),
        (
            {"pretraining": {"kind": "autoencoding", "patch": 0.5}},
            "masked and patch belong to inpainting, not to auto",
        ),
        ({"pretraining": {"share": 0.5, "schedule": {}}}, "pretraining: give schedule or share, not both"),
        ({"pretraining": {"schedule": {"fade": 1}}}, "pretraining.schedule.fade: unknown key"),
        ({"pretraining": 3}, "pretraining: this is a section of keys and values, got a number"),
        ({"warm_start": {}}, "warm_start: give gen_ab, gen_ba or both the run folder of a PG-GAN"),
        ({"warm_start": {"disc_a": "x"}}, "warm_start.disc_a: unknown key"),
        ({"task": "pggan", "data": {"path": "p"}, "warm_start": {"gen_ab": "x"}}, "warm_start: unknown key"),
    ],
)
def test_wrong_values_are_refused(change: dict[str, Any], sentence: str) -> None:
    content = merge(CONTENT, change)
    if content["task"] == "pggan":
        content["data"] = {"path": "p"}
    with pytest.raises(RecipeError) as caught:
        validate(content)
    assert sentence in str(caught.value)


def test_every_length_is_scaled_and_nothing_else() -> None:
    schedule = {
        "start_resolution": 8, "stable_kimg": {"default": 4, 32: 10}, "fade_kimg": 2, "total_kimg": 40,
        "rampup_kimg": 1, "stage_rampup_kimg": 0.5, "decay_kimg": 3, "batch_size": {"default": 4, 32: 2},
        "lr_scale": 0.5, "fade_reals": False,
    }  # fmt: skip
    found = before(read({"schedule": schedule, "pretraining": {"share": 0.25}})).schedule
    assert found.model_dump() == {
        "start_resolution": 8, "stable_kimg": {"default": 1, 32: 2.5}, "fade_kimg": {"default": 0.5}, "total_kimg": 10,
        "rampup_kimg": 0.25, "stage_rampup_kimg": 0.125, "decay_kimg": 0.75, "batch_size": {"default": 4, 32: 2},
        "lr_scale": {"default": 0.5}, "hold_resolution": None, "fade_reals": False,
        "growth": "layers", "new_stage": "random", "old_layers": None,
    }  # fmt: skip


def test_pre_training_has_its_own_schedule_and_optimizer() -> None:
    change = {
        "optimizer": {"generator": {"lr": 0.002}, "discriminator": {"lr": 0.004}},
        "pretraining": {"schedule": {"stable_kimg": 7}, "optimizer": {"lr": 0.01, "betas": [0.9, 0.99]}},
    }
    recipe = read(change)
    derived = before(recipe)
    assert derived.schedule.stable_kimg == {"default": 7}
    assert (derived.optimizer.generator.lr, derived.optimizer.generator.betas) == (0.01, (0.9, 0.99))
    assert recipe.optimizer.generator.lr == 0.002
    assert before(read({**change, "pretraining": {}})).optimizer == recipe.optimizer
    assert derived.network.discriminator.minibatch_stddev.group == 0


@pytest.mark.parametrize("block", re.findall(r"```yaml\n((?:pretraining|warm_start).*?)```", DOCS, re.DOTALL))
def test_examples_in_the_documentation_are_parts_of_recipes(block: str) -> None:
    recipe = read(yaml.safe_load(block))
    assert recipe.pretraining == read({"pretraining": {}}).pretraining or recipe.warm_start is not None
