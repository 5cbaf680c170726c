"""Growth plans of equal cost: the time of a picture in every phase, and the plan that fits a budget."""

import time
from collections.abc import Iterator
from pathlib import Path

from progcycle.recipe import Recipe

WARM_UP = 4  # steps that are not counted, since the first ones allocate
STEPS = 16  # steps that are counted at least; lazy penalties are due every 8th or 16th
SECONDS = 4.0  # CPU time that is counted at least
LONG = 1000.0  # factor that makes every phase long enough to be probed


def with_fixed_precision(recipe: Recipe) -> Recipe:
    """A recipe with float32 in place of precision auto, since rows may come from several machines."""
    if recipe.training.precision != "auto":
        return recipe
    return recipe.model_copy(update={"training": recipe.training.model_copy(update={"precision": "no"})})


def with_minimal_output(recipe: Recipe, points: int = 1) -> Recipe:
    """A recipe that saves and draws only what a study needs: evenly spaced snapshots, and no evaluation."""
    total = length(recipe)

    def every(parts: int) -> float:
        return -(-total // parts) / 1000

    training = recipe.training.model_copy(
        update={
            "status_kimg": every(50),
            "sample_kimg": every(1),
            "checkpoint_kimg": every(8),
            "snapshot_kimg": every(points),
            "evaluation": None,
        }
    )
    return recipe.model_copy(update={"training": training})


def length(recipe: Recipe) -> int:
    """Pictures of a domain in the whole plan."""
    from progcycle.schedule import GrowthSchedule

    return GrowthSchedule.of(recipe).total


def probe(recipe: Recipe, folder: Path) -> list[tuple[str, int, float]]:
    """CPU seconds that training takes for a picture of each domain, in every phase of a plan, pre-training included.

    Args:
        recipe: a validated recipe.
        folder: a run folder that does not exist; the caches of pictures are next to it.

    Returns:
        A row for each phase: its name, its length in pictures, seconds for a picture.
    """
    import torch

    from progcycle.engine.initial_weights import in_order

    torch.set_num_threads(1)
    found: list[tuple[str, int, float]] = []
    for name, part in in_order(recipe):
        found += [(f"{name or ''} {phase}".strip(), n, cost) for phase, n, cost in _probe(part, folder, name)]
    return found


def _probe(recipe: Recipe, folder: Path, preparation: str | None) -> Iterator[tuple[str, int, float]]:
    from progcycle.data import build_loader
    from progcycle.engine.build import build
    from progcycle.engine.context import prepare_data, set_up
    from progcycle.engine.trainer import Trainer
    from progcycle.schedule import GrowthSchedule

    plan = GrowthSchedule.of(recipe)
    recipe = with_fixed_precision(recipe).stretched(LONG)
    built = build(recipe, preparation)
    context = set_up(recipe, folder, built.schedule)
    trainer = Trainer(recipe, built, context.accelerator, context.precision)
    prepare_data(context, built.schedule)
    for phase, long in zip(plan.phases, built.schedule.phases, strict=True):
        loader = build_loader(
            context.sets, built.schedule, rank=0, processes=1, start_nimg=long.start, workers=0, pin_memory=False
        )
        started, shown = 0.0, 0
        for step, (_, growth, batches) in enumerate(loader):
            if step == WARM_UP:
                started, shown = time.process_time(), 0
            if step >= WARM_UP + STEPS and time.process_time() - started >= SECONDS:
                break
            trainer.train_step(batches, growth)
            shown += growth.batch_size
        spent = time.process_time() - started
        loader.close()
        yield f"{phase.resolution} px {phase.kind}", phase.end - phase.start, spent / shown


def factor_for(probed: list[tuple[str, int, float]], seconds: float) -> float:
    """The factor for a plan's lengths with which it takes so many seconds."""
    return seconds / sum(pictures * each for _, pictures, each in probed)
