"""How long a recipe would train here, and in how much memory: a few steps of every phase, in a process of its own."""

import contextlib
import math
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from progcycle.data import Batch, PictureSet
from progcycle.engine.build import build
from progcycle.engine.context import set_up
from progcycle.engine.formatting import duration, in_parts, memory_size
from progcycle.engine.initial_weights import in_order
from progcycle.engine.memory import MemoryAdvice
from progcycle.engine.meter import peak_memory
from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.recipe import Recipe
from progcycle.resolution import Resolution, column_width
from progcycle.runtime.worker_processes import ProcessKilledError, run_in_processes
from progcycle.schedule import Growth, GrowthSchedule

SECONDS = 1.0  # of steps of one kind, at least one step
SLOW = 60.0  # seconds of a first step after which no more are timed


@dataclass(frozen=True)
class StageCost:
    """What training at one resolution costs.

    Attributes:
        part: of the run: "" for training, else the name of what goes before, such as ``pretraining``.
        resolution: of the pictures.
        pictures: of one domain that are shown there.
        picture: seconds that one picture of each domain takes.
        seconds: that all of them take.
        share: of the whole run's time, in [0, 1].
        relative: ``picture`` as a multiple of that at the last resolution of the part.
    """

    part: str
    resolution: int
    pictures: int
    picture: float
    seconds: float
    share: float
    relative: float


@dataclass(frozen=True)
class Estimate:
    """What training would cost on this device. As text: the time, the memory and the device.

    Attributes:
        seconds: of the whole plan, pre-training included, without reading the pictures for the first time.
        phases: (kind, px, pictures, seconds for one picture of each domain) of every phase; those of pre-training lead.
        memory: peak in bytes: of the GPU where one trains, else of the process; None if the system does not report it.
        device: cpu, cuda, ...
        threads: of a CPU that the steps ran in.
        share: of these threads' time that other work on the machine left to the steps, in [0, 1]; 1 on a GPU.
    """

    seconds: float
    phases: tuple[tuple[str, int, int, float], ...]
    memory: int | None
    device: str
    threads: int
    share: float = 1.0

    @property
    def stages(self) -> tuple[StageCost, ...]:
        """The cost of every resolution, fade and stable phase together; those of pre-training lead.

        Growing can save time only where pictures of early stages cost much less than those of the last one.
        """
        totals: dict[tuple[str, int], tuple[int, float]] = {}
        for kind, resolution, pictures, picture in self.phases:
            key = kind.rpartition(" ")[0], resolution
            before, spent = totals.get(key, (0, 0.0))
            totals[key] = before + pictures, spent + pictures * picture
        last = {part: spent / pictures for (part, _), (pictures, spent) in totals.items()}
        return tuple(
            StageCost(
                part,
                resolution,
                pictures,
                spent / pictures,
                spent,
                spent / self.seconds,
                spent / pictures / last[part],
            )
            for (part, resolution), (pictures, spent) in totals.items()
        )

    def table(self) -> str:
        """The costs of the stages as text, one line a resolution."""
        px = column_width((stage.resolution for stage in self.stages), 6)
        head = f"{'px':>{px}}{'kimg':>10}{'ms a picture':>15}{'of the last':>13}{'time':>14}{'share':>8}"
        rows = (
            f"{stage.resolution:{px}}{stage.pictures / 1000:10.1f}{1000 * stage.picture:15.1f}{stage.relative:13.2f}"
            f"{duration(stage.seconds):>14}{stage.share:8.0%}"
            for stage in self.stages
        )
        return "\n".join([head, *in_parts(zip((stage.part for stage in self.stages), rows, strict=True))])

    def __str__(self) -> str:
        where = self.device if self.device != "cpu" else f"cpu, {self.threads} thread{'s' * (self.threads != 1)}"
        memory = "" if self.memory is None else f" and {memory_size(self.memory)} of memory"
        return f"{duration(self.seconds)}{memory} on this device ({where})"


def estimate(recipe: Recipe) -> Estimate:
    """Train a recipe for a few steps of every phase, with noise in place of pictures, and discard the result.

    Args:
        recipe: a validated recipe; its pictures must be there.

    Raises:
        UserError: the recipe cannot be trained, or there is not enough memory for it.
    """
    try:
        ((_, found),) = run_in_processes(measure, {"": (recipe,)}, 1)
    except ProcessKilledError:
        raise UserError(
            "The system ended the process that timed a few steps, which mostly means that there is not enough memory; "
            "choose a smaller resolution."
        ) from None
    if isinstance(found, UserError):
        raise found
    assert isinstance(found, Estimate)
    return found


def measure(recipe: Recipe) -> Estimate:
    """The same in this process."""
    with tempfile.TemporaryDirectory() as scratch, open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            begun, busy = time.perf_counter(), time.process_time()
            phases: list[tuple[str, int, int, float]] = []
            for name, part in in_order(recipe):
                built = build(part, name)
                folder = Path(scratch) / (name or "run")
                context = set_up(part, folder, built.schedule, Path(scratch), built.task.networks)
                trainer = Trainer(part, built, context.accelerator, context.precision)
                phases += _phases(trainer, built.schedule, context.sets, "" if name is None else f"{name} ")
            busy, begun = time.process_time() - busy, time.perf_counter() - begun
        device = trainer.accelerator.device
    # On a GPU what the allocator has reserved counts: other programs cannot have it.
    memory = torch.cuda.max_memory_reserved() if device.type == "cuda" else peak_memory(device)
    total, threads = sum(pictures * seconds for _, _, pictures, seconds in phases), torch.get_num_threads()
    share = min(busy / (begun * threads), 1.0) if device.type == "cpu" else 1.0
    return Estimate(total, tuple(phases), memory, device.type, threads, share)


def _phases(
    trainer: Trainer, schedule: GrowthSchedule, sets: Mapping[str, PictureSet], prefix: str
) -> list[tuple[str, int, int, float]]:
    found: list[tuple[str, int, int, float]] = []
    for phase in schedule.phases:
        growth = schedule.at((phase.start + phase.end) // 2)
        with MemoryAdvice(trainer.recipe, schedule, trainer.accelerator, lambda: None).explain(growth):
            step = seconds_of_a_step(trainer, growth, noise(sets, growth))
        found.append((f"{prefix}{phase.kind}", phase.resolution, phase.end - phase.start, step / phase.batch_size))
    return found


def seconds_of_a_step(trainer: Trainer, growth: Growth, batches: dict[str, Batch]) -> float:
    """The mean over a whole round of steps, of which some have penalties that the others have not."""
    lazy = trainer.task.lazy
    rounds, usual = len(trainer.task.update_order), trainer.task.usual_step()
    first = _timed(trainer, growth, batches, [0])
    if first > SLOW:
        return first
    plain = _timed(trainer, growth, batches, [usual + step for step in range(1, rounds + 1)])
    if not lazy:
        return plain
    every = math.lcm(*lazy)
    penalized = _timed(trainer, growth, batches, [every * rounds])
    return plain + max(penalized - plain, 0.0) * sum(1 / each for each in lazy) / len(lazy)


def _timed(trainer: Trainer, growth: Growth, batches: dict[str, Batch], steps: list[int]) -> float:
    """Seconds of a step, of steps with these numbers, repeated for long enough to be measured."""
    _wait(trainer)
    begun, done = time.perf_counter(), 0
    while not done or (time.perf_counter() - begun < SECONDS and steps != [0]):
        for step in steps:
            trainer.step = step
            trainer.train_step(batches, growth)
            done += 1
        _wait(trainer)
    return (time.perf_counter() - begun) / done


def _wait(trainer: Trainer) -> None:
    """Wait until the device has finished its work."""
    device = trainer.accelerator.device.type
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def noise(sets: Mapping[str, PictureSet], growth: Growth) -> dict[str, Batch]:
    """A batch of noise for each domain, of the size that training would have at this moment."""
    batches = {}
    for domain, pictures in sets.items():
        shape = (growth.batch_size, pictures.options.channels, *Resolution.of(growth.resolution).shape)
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
        positions = tuple(range(growth.batch_size))
        labels = torch.arange(growth.batch_size) % len(pictures.classes) if pictures.classes else None
        batches[domain] = Batch(images, positions, tuple(map(str, positions)), labels)
    return batches
