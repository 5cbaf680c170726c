"""Figures of a BEGAN while it trains: its own measure of convergence, and those of all generators."""

from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.evaluation.generator_metrics import Figures, generator_evaluator

if TYPE_CHECKING:
    from progcycle.evaluation.sampler import EvaluationCallback, Sampler
    from progcycle.recipe import BeganRecipe


def began_evaluator(recipe: "BeganRecipe", cache_dir: Path | None = None) -> "EvaluationCallback":
    """The callback that measures a BEGAN during training.

    ``convergence`` is the mean of M since the last evaluation (Berthelot et al. 2017, section 3.4.1).

    Args:
        recipe: a validated recipe with ``training.evaluation``.
        cache_dir: folder of the run's caches of pictures, which are read if they exist.

    Raises:
        UserError: as :func:`generator_evaluator`.
    """
    return generator_evaluator(recipe, cache_dir, {"convergence": mean_convergence})


def mean_convergence(sample: "Sampler") -> Figures:
    """The mean of M over the steps since the last evaluation."""
    from progcycle.tasks import BeganTask

    task = sample.task
    assert isinstance(task, BeganTask)
    return {"convergence": task.balance.mean_convergence}
