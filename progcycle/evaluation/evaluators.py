"""Evaluation during training, by task."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progcycle.errors import UserError
from progcycle.evaluation.began_metrics import began_evaluator
from progcycle.evaluation.evaluate_autoencoder import autoencoder_evaluator
from progcycle.evaluation.generator_metrics import generator_evaluator
from progcycle.evaluation.lapgan_metrics import lapgan_evaluator
from progcycle.evaluation.translation_evaluator import TranslationEvaluator

if TYPE_CHECKING:
    from progcycle.evaluation.sampler import EvaluationCallback
    from progcycle.recipe import Recipe

# By task: a function that makes the callback from a recipe with ``training.evaluation`` and the folder of the run's
# caches, which are read if they exist. It checks before training all that can be checked.
EVALUATORS: dict[str, Callable[[Any, Path | None], "EvaluationCallback"]] = {
    "pggan": generator_evaluator,
    "lapgan": lapgan_evaluator,
    "cyclegan": TranslationEvaluator,
    "began": began_evaluator,
    "autoencoder": autoencoder_evaluator,
}


def evaluator(recipe: "Recipe", cache_dir: Path | None = None) -> "EvaluationCallback | None":
    """The callback that measures a run during training; None without ``training.evaluation``.

    Args:
        recipe: a validated recipe.
        cache_dir: folder of the run's caches of pictures, which are read if they exist.

    Raises:
        UserError: the recipe has metrics that cannot be computed, its pictures are missing, or its task has no row in
            ``EVALUATORS``.
    """
    if recipe.training.evaluation is None:
        return None
    if recipe.task not in EVALUATORS:
        raise UserError(
            f"training.evaluation: the task {recipe.task} cannot be measured during training; leave it out."
        )
    return EVALUATORS[recipe.task](recipe, cache_dir)
