"""From a recipe with a section ``pretraining`` to the recipe of that pre-training alone."""

from progcycle.recipe.networks import MinibatchStddev
from progcycle.recipe.schema import CycleganRecipe, Recipe


def pretraining_recipe(recipe: Recipe) -> CycleganRecipe | None:
    """What pre-trains: the recipe with the schedule and the optimizer of its section ``pretraining``, if it has one.

    There are no discriminators, so that nothing compares the pictures of a batch, and no figures of translation.
    """
    if not isinstance(recipe, CycleganRecipe) or recipe.pretraining is None:
        return None
    options = recipe.pretraining
    schedule = options.schedule or recipe.schedule.scaled(options.share or 1.0)
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
