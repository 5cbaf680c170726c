"""From a recipe to the parts of a run. Names and combinations are checked here, with one-line errors."""

from dataclasses import dataclass

import torch
from torch import nn

from progcycle.errors import UserError
from progcycle.recipe import Recipe, by_resolution
from progcycle.rng import address
from progcycle.schedule import GrowthSchedule
from progcycle.tasks import PREPARATIONS, TASKS, Task


@dataclass(frozen=True)
class Parts:
    """Schedule and task of a recipe, on the CPU."""

    schedule: GrowthSchedule
    task: Task


def build(recipe: Recipe, preparation: str | None = None) -> Parts:
    """Make the schedule and the task, weights initialised from the recipe's seed.

    Args:
        recipe: a validated recipe.
        preparation: name of what goes before the recipe's task, with the same networks, in place of the task.

    Raises:
        UserError: an impossible plan, an unknown name, or a combination without meaning.
    """
    schedule = GrowthSchedule.of(recipe)
    # Only the weights' initial values come from torch's own stream; the caller's stream is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(address(recipe.seed, "init") % 2**63)
        task: Task = TASKS[recipe.task](recipe)  # type: ignore[arg-type]
        if preparation is not None:
            task = PREPARATIONS[preparation](recipe, task)  # type: ignore[arg-type]
    return Parts(schedule, task)


def check_batches(recipe: Recipe, schedule: GrowthSchedule, processes: int) -> None:
    """Check that every batch of the plan can be divided over the processes and into parts that fit a device.

    Raises:
        UserError: a batch cannot be divided; the sentence names the nearest that can.
    """
    stddev, instead = recipe.network.minibatch_stddev, recipe.network.minibatch_discrimination
    # With a queue, a single picture is compared with earlier ones.
    alone = bool(stddev.group) and not stddev.queue
    compared = "minibatch_discrimination" if instead else "minibatch_stddev" if alone else None
    together = processes if (instead or stddev).gather else 1  # processes whose pictures are compared
    for phase in schedule.phases:
        if phase.batch_size % processes:
            nearest = max(round(phase.batch_size / processes), 1) * processes
            raise UserError(
                f"schedule.batch_size: {phase.batch_size} pictures at {phase.resolution} px cannot be divided over "
                f"{processes} processes; the nearest that can is {nearest}."
            )
        local = phase.batch_size // processes
        if compared and 1 == together * (local // parts(recipe, phase.resolution, local)) < local:
            raise UserError(
                f"training.max_batch_per_device: at {phase.resolution} px a device's {local} pictures could only be "
                f"computed one by one, which leaves nothing for network.{compared} to see; allow more, or choose a "
                "batch size with a divisor that fits."
            )


def parts(recipe: Recipe, resolution: int, local_batch: int) -> int:
    """Number of equal parts that a device's batch is computed in, so that none exceeds ``max_batch_per_device``.

    Args:
        recipe: the recipe.
        resolution: pixels of a side at the moment.
        local_batch: pictures of one domain on this device.
    """
    table = recipe.training.max_batch_per_device
    if table is None or (resolution not in table and "default" not in table):
        return 1
    limit = by_resolution(table, resolution)
    return next(n for n in range(1, local_batch + 1) if local_batch % n == 0 and local_batch // n <= limit)


def count_parameters(network: nn.Module) -> int:
    """Number of trainable numbers in a network."""
    return sum(p.numel() for p in network.parameters())
