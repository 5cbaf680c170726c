"""A recipe's whole training: pre-training in a folder of its own where the recipe has it, then the task."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from progcycle.engine import memory
from progcycle.engine.build import Parts, build
from progcycle.engine.folder import claim, has_checkpoint
from progcycle.engine.loop import Trainer
from progcycle.engine.setup import Ground, cache_of, set_up
from progcycle.engine.start import NAME
from progcycle.errors import UserError
from progcycle.evaluation import evaluator
from progcycle.export import warm_start
from progcycle.recipe import Recipe, pretraining_recipe
from progcycle.runtime.guard import guard
from progcycle.runtime.lock import RunLock


@contextmanager
def _in_section() -> Iterator[None]:
    """Errors about the schedule name the key that it comes from."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{NAME}.{error}" if str(error).startswith("schedule") else str(error)) from None


def build_pretraining(recipe: Recipe) -> Parts | None:
    """Schedule and task of a recipe's pre-training, see :func:`build`; None if it has none.

    Raises:
        UserError: as :func:`build`.
    """
    before = pretraining_recipe(recipe)
    if before is None:
        return None
    with _in_section():
        return build(before, NAME)


def check(recipe: Recipe, run_dir: Path) -> Ground:
    """Check what can be checked of a run and its pre-training before the first step; nothing is written.

    Args:
        recipe: a validated recipe.
        run_dir: the run folder.

    Returns:
        What the run stands on, see :func:`set_up`.

    Raises:
        UserError: anything that cannot work.
    """
    with torch.device("meta"):
        built, first = build(recipe), build_pretraining(recipe)
    evaluator(recipe, cache_of(run_dir))  # whether it can measure what the recipe asks for
    ground = set_up(recipe, run_dir, built.schedule)
    before = pretraining_recipe(recipe)
    if has_checkpoint(run_dir, recipe):
        return ground
    begins = run_dir
    if before is not None and first is not None:
        begins = run_dir / NAME
        with _in_section():
            set_up(before, begins, first.schedule, cache_of(run_dir))
    if not has_checkpoint(begins, before or recipe):
        start_from = warm_start(recipe)
        if start_from is not None:  # tried out on networks without memory
            start_from(built.task.networks)
    return ground


@guard()
def train(recipe: Recipe, run_dir: Path, signals: bool = False) -> Trainer:
    """Train what a recipe describes, or go on with it, from pre-training to the end.

    Pre-training is a run in ``<run_dir>/pretraining``. The networks of the task begin from its averages; once the task
    itself has a checkpoint, pre-training is never looked at again.

    Args:
        recipe, run_dir, signals: see :class:`Trainer`.

    Returns:
        The trainer of the task, at the end.

    Raises:
        UserError: as :class:`Trainer`; what the task would refuse is refused before pre-training.
        StoppedError: a signal stopped the run, and its checkpoint is written.
    """
    before = pretraining_recipe(recipe)
    with memory.told_elsewhere(), RunLock(run_dir) as lock:
        safety: dict[str, Any] = {"signals": signals, "lock": lock}
        if before is None or has_checkpoint(run_dir, recipe):
            trainer = Trainer(recipe, run_dir, **safety)
        else:
            with torch.device("meta"):
                built = build(recipe)
            evaluator(recipe, cache_of(run_dir))
            set_up(recipe, run_dir, built.schedule)
            _pretrain(recipe, before, run_dir, safety)
            trainer = Trainer(recipe, run_dir, **safety)
        trainer.run()
    return trainer


def _pretrain(recipe: Recipe, before: Recipe, run_dir: Path, options: Mapping[str, Any]) -> None:
    with _in_section():
        trainer = Trainer(
            before,
            run_dir / NAME,
            preparation=NAME,
            cache_dir=cache_of(run_dir),
            **options,
        )
    claim(run_dir, recipe, trainer.accelerator)  # from now on the folder belongs to this recipe
    trainer.log.say(f"pre-training for {trainer.schedule.total / 1000:g} kimg in {trainer.run_dir}")
    trainer.run(last=False)
