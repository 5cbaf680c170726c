"""From a recipe with a section ``pretraining`` to the recipe of that pre-training alone."""

from collections.abc import Mapping
from typing import Any

from progcycle.recipe.networks import MinibatchStddev
from progcycle.recipe.schema import CycleganRecipe, Recipe, Schedule

LENGTHS = ("stable_kimg", "fade_kimg", "total_kimg", "rampup_kimg", "stage_rampup_kimg", "decay_kimg")


def pretraining_recipe(recipe: Recipe) -> CycleganRecipe | None:
    """What pre-trains: the recipe with the schedule and the optimizer of its section ``pretraining``, if it has one.

    There are no discriminators, so that nothing compares the pictures of a batch, and no figures of translation.
    """
    if not isinstance(recipe, CycleganRecipe) or recipe.pretraining is None:
        return None
    options = recipe.pretraining
    schedule = options.schedule or _scaled(recipe.schedule, options.share or 1.0)
    generator = options.optimizer or recipe.optimizer.generator
    network = {"minibatch_stddev": MinibatchStddev(group=0), "minibatch_discrimination": None}
    return recipe.model_copy(
        update={
            "schedule": schedule,
            "optimizer": recipe.optimizer.model_copy(update={"generator": generator}),
            "network": recipe.network.model_copy(update=network),
            "training": recipe.training.model_copy(update={"evaluation": None}),
        }
    )


def _scaled(schedule: Schedule, share: float) -> Schedule:
    """The schedule with every length multiplied by ``share``."""

    def shorter(length: Any) -> Any:
        if isinstance(length, Mapping):
            return {key: shorter(value) for key, value in length.items()}
        return None if length is None else share * length

    return schedule.model_copy(update={key: shorter(getattr(schedule, key)) for key in LENGTHS})
