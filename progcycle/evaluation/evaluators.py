"""Which figures a run measures while it trains, by task."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progcycle.errors import UserError
from progcycle.evaluation.generator_metrics import generator_evaluator
from progcycle.evaluation.translation_evaluator import TranslationEvaluator

if TYPE_CHECKING:
    from progcycle.evaluation.sampler import EvaluationCallback
    from progcycle.recipe import Recipe

# By task, what makes the callback behind ``training.evaluation`` of a recipe that asks for it, and of the folder of the
# run's caches, which are read where they are there. It checks all that can be checked before training.
EVALUATORS: dict[str, Callable[[Any, Path | None], "EvaluationCallback"]] = {
    "pggan": generator_evaluator,
    "cyclegan": TranslationEvaluator,
}


def evaluator(recipe: "Recipe", cache_dir: Path | None = None) -> "EvaluationCallback | None":
    """The callback behind ``training.evaluation``, or None if the recipe does not ask for one.

    Args:
        recipe: a validated recipe.
        cache_dir: folder of the run's caches of pictures, which are read where they are there.

    Raises:
        UserError: the recipe asks for metrics that cannot be computed, its pictures are missing, or nothing is known
            of how its task is measured.
    """
    if recipe.training.evaluation is None:
        return None
    if recipe.task not in EVALUATORS:
        raise UserError(f"training.evaluation: the task {recipe.task} has no figures while it trains; leave it out.")
    return EVALUATORS[recipe.task](recipe, cache_dir)
