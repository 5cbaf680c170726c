"""From a recipe to the parts of a run. Names and combinations are checked here, with one-line errors."""

from dataclasses import dataclass

import torch

from progcycle.engine.new_stages import NewStages
from progcycle.engine.trainable import Trainable
from progcycle.errors import UserError
from progcycle.networks import Comparison, Network, Trunk
from progcycle.recipe import Recipe, by_resolution, options_in
from progcycle.rng import address
from progcycle.schedule import GrowthSchedule, Phase
from progcycle.tasks import PREPARATIONS, TASKS, Task


@dataclass(frozen=True)
class Built:
    """Schedule and task of a recipe, what of its networks is trained, and how new stages begin; on the CPU."""

    schedule: GrowthSchedule
    task: Task
    trainable: Trainable
    new_stages: NewStages


def build(recipe: Recipe, preparation: str | None = None) -> Built:
    """Make the schedule and the task, weights initialised from the recipe's seed.

    Args:
        recipe: a validated recipe.
        preparation: name of a pre-training task with the same networks, which then replaces the recipe's task.

    Raises:
        UserError: an impossible plan, an unknown name, a combination without meaning, or a player that has nothing to
            train, or no settings in the recipe's ``optimizer``.
        TypeError: a task has a network that is no :class:`Network`.
    """
    schedule = GrowthSchedule.of(recipe)
    # Only the weights' initial values come from torch's own stream; the caller's stream is left as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(address(recipe.seed, "init") % 2**63)
        task = TASKS[recipe.task](recipe)
        if preparation is not None:
            task = PREPARATIONS[preparation](recipe, task)
    for name, network in task.networks.items():
        if not isinstance(network, Network):
            raise TypeError(f"the network {name} of task {recipe.task} is no progcycle.networks.Network")
    recipe.optimizer.of_players(task.players)
    _checkpoint_activations(recipe, task)
    return Built(schedule, task, Trainable(task.networks, task.players), NewStages(recipe, schedule, task))


def _checkpoint_activations(recipe: Recipe, task: Task) -> None:
    """Tell the trunks of growing networks which stages are computed again, see :class:`Trunk`."""
    side, key = recipe.training.checkpoint_activations, "training.checkpoint_activations"
    if side is None:
        return
    stages = range((recipe.resolution // recipe.network.base_resolution).bit_length())
    first = next((stage for stage in stages if recipe.network.base_resolution << stage >= side), None)
    end = recipe.schedule.hold_resolution or recipe.resolution
    if first is None or side > end:
        raise UserError(f"{key}: pictures have {int(end)} px at most, so that {side} changes nothing; lower it.")
    trunks = [
        (name, trunk) for name, net in task.networks.items() for trunk in net.modules() if isinstance(trunk, Trunk)
    ]
    if not trunks:
        raise UserError(f"{key}: none of the networks grows, and only stages can be computed again; leave it out.")
    for name, trunk in trunks:
        if any(True for _ in trunk.buffers()):
            raise UserError(
                f"{key}: {name} has batch norm or spectral_norm, whose memory would move twice where layers are "
                "computed again; leave it out, or use another normalization."
            )
        trunk.recomputed_from = first


def check_batches(recipe: Recipe, schedule: GrowthSchedule, processes: int) -> None:
    """Check that every batch of the plan can be divided over the processes and into parts that fit a device.

    Raises:
        UserError: a batch cannot be divided, and the sentence names the nearest that can; or pictures are computed one
            by one though something compares them.
    """
    singles: dict[int, Phase] = {}  # the first phase in which pictures are computed one by one, by pictures of a device
    for phase in schedule.phases:
        if phase.batch_size % processes:
            nearest = max(round(phase.batch_size / processes), 1) * processes
            raise UserError(
                f"schedule.batch_size: {phase.batch_size} pictures at {phase.resolution} px cannot be divided over "
                f"{processes} processes; the nearest that can is {nearest}."
            )
        local = phase.batch_size // processes
        if local == count_parts(recipe, phase.resolution, local):
            singles.setdefault(local, phase)
    for local, phase in singles.items():
        _check_comparison(recipe, phase.resolution, local, processes)
    if singles:
        _check_batch_norm(recipe, *next(iter(singles.items())))


def _check_comparison(recipe: Recipe, resolution: int, local: int, processes: int) -> None:
    """Refuse pictures that are compared, but computed one by one.

    Args:
        recipe: the recipe.
        resolution: where this is so.
        local: pictures of a device there.
        processes: how many there are; they may be compared together.
    """
    for place, options in options_in(recipe.network).items():
        comparison = options.comparison
        if comparison is not None and not (comparison.gather and processes > 1):
            key = ".".join(map(str, ("network", *place, comparison.key)))
            _refuse_single_picture(key, comparison, resolution, local, processes)


def _refuse_single_picture(compared: str, comparison: Comparison, resolution: int, local: int, processes: int) -> None:
    if local > 1:
        raise UserError(
            f"training.max_batch_per_device: at {resolution} px a device's {local} pictures could only be computed one "
            f"by one, but {compared} compares at least two; allow more, or choose a batch size with a divisor "
            "that fits."
        )
    if comparison.single_picture:
        return
    remedies = [f"choose at least {2 * processes}"]
    if processes > 1:
        remedies.append(f"compare the pictures of all processes ({compared}.gather: true)")
    if comparison.queue:
        remedies.append(f"compare with earlier pictures ({compared}: {{group: batch, queue: 8}})")
    remedies.append(f"set {compared} to off" if comparison.queue else f"leave {compared} out")
    raise UserError(
        f"schedule.batch_size: at {resolution} px a device has a single picture, but {compared} compares "
        f"at least two; {', '.join(remedies[:-1])}, or {remedies[-1]}."
    )


def _check_batch_norm(recipe: Recipe, local: int, phase: Phase) -> None:
    """Refuse batch norm that would have one number a channel."""
    with torch.device("meta"):
        task = build(recipe).task
    for player, names in task.players.items():
        for name in (name for name in names if task.networks[name].needs_two_pictures):
            key = "schedule.batch_size" if local == 1 else "training.max_batch_per_device"
            network = task.keys.get(name, f"network.{player}")
            raise UserError(
                f"{key}: at {phase.resolution} px pictures are computed one by one, of which "
                f"{network}.normalization: batch has a single number a channel in a dense layer; allow two or "
                "more, or choose another normalization."
            )


def count_parts(recipe: Recipe, resolution: int, local_batch: int) -> int:
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


def count_parameters(network: Network) -> int:
    """Number of numbers in a network that training may change."""
    return sum(p.numel() for name, p in network.named_parameters() if name not in network.frozen)
