"""Figures of a LAPGAN while it trains: those of all generators, if the run trains all levels up to its finest."""

from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.errors import UserError
from progcycle.evaluation.generator_metrics import generator_evaluator

if TYPE_CHECKING:
    from progcycle.evaluation.sampler import EvaluationCallback
    from progcycle.recipe import LapganRecipe


def lapgan_evaluator(recipe: "LapganRecipe", cache_dir: Path | None = None) -> "EvaluationCallback":
    """The callback that measures a LAPGAN during training.

    Args:
        recipe: a validated recipe with ``training.evaluation``.
        cache_dir: folder of the run's caches of pictures, which are read if they exist.

    Raises:
        UserError: as :func:`generator_evaluator`, or a coarser level than the finest of the run is not trained.
    """
    missing = [side for side in recipe.all_levels if side < recipe.levels[-1] and side not in recipe.levels]
    if missing:
        raise UserError(
            f"training.evaluation: whole pictures are measured, for which this run lacks the level of {missing[0]} px; "
            "leave it out, or train that level too."
        )
    return generator_evaluator(recipe, cache_dir)
