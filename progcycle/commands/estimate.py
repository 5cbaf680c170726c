"""How long a recipe would train here, and in how much memory: a few steps of every phase, in a process of its own."""

import math
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from progcycle.errors import UserError
from progcycle.runtime.worker_processes import ProcessKilledError, run_in_processes

if TYPE_CHECKING:
    from progcycle.data import Batch, PictureSet
    from progcycle.engine.trainer import Trainer
    from progcycle.schedule import Growth, GrowthSchedule

SECONDS = 1.0  # of steps of one kind, at least one step
SLOW = 60.0  # seconds of a first step that is long enough to go by


@dataclass(frozen=True)
class Estimate:
    """What training would cost on this device.

    Attributes:
        seconds: of the whole plan, without reading the pictures for the first time.
        phases: (kind, px, pictures, seconds for one picture of each domain) of every phase.
        memory: peak in bytes: of the GPU where one trains, else of the process; None if the system does not tell.
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


def estimate(content: Mapping[str, Any]) -> Estimate:
    """Train a recipe for a few steps of every phase, with noise for pictures, and forget them.

    Args:
        content: of a recipe, before validation; its pictures must be there.

    Raises:
        UserError: the recipe cannot be trained, or there is not enough memory for it.
    """
    try:
        ((_, found),) = run_in_processes(measure, {"": (dict(content),)}, 1)
    except ProcessKilledError:
        raise UserError(
            "The steps that were to be timed were ended by the system, which mostly means that there is not enough "
            "memory; choose a smaller --size."
        ) from None
    if isinstance(found, UserError):
        raise found
    assert isinstance(found, Estimate)
    return found


def measure(content: dict[str, Any]) -> Estimate:
    """The same in this process."""
    import contextlib
    import os

    import torch

    from progcycle.engine.build import build
    from progcycle.engine.context import set_up
    from progcycle.engine.trainer import Trainer
    from progcycle.recipe import validate

    recipe = validate(content)
    with tempfile.TemporaryDirectory() as scratch, open(os.devnull, "w") as nowhere:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            built = build(recipe)
            context = set_up(recipe, Path(scratch) / "run", built.schedule, Path(scratch))
            trainer = Trainer(recipe, built, context.accelerator, context.precision)
            begun, busy = time.perf_counter(), time.process_time()
            phases = tuple(_phases(trainer, built.schedule, context.sets))
            busy, begun = time.process_time() - busy, time.perf_counter() - begun
        device = trainer.accelerator.device.type
    memory = torch.cuda.max_memory_reserved() if device == "cuda" else peak_memory()
    total, threads = sum(pictures * seconds for _, _, pictures, seconds in phases), torch.get_num_threads()
    share = min(busy / (begun * threads), 1.0) if device == "cpu" else 1.0
    return Estimate(total, phases, memory, device, threads, share)


def peak_memory() -> int | None:
    """The most memory that this process has held, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _phases(
    trainer: "Trainer", schedule: "GrowthSchedule", sets: "Mapping[str, PictureSet]"
) -> list[tuple[str, int, int, float]]:
    found = []
    for phase in schedule.phases:
        growth = schedule.at((phase.start + phase.end) // 2)
        step = seconds_of_a_step(trainer, growth, noise(sets, growth))
        found.append((phase.kind, phase.resolution, phase.end - phase.start, step / phase.batch_size))
    return found


def seconds_of_a_step(trainer: "Trainer", growth: "Growth", batches: "dict[str, Batch]") -> float:
    """The mean over a whole round of steps, of which some have penalties that the others have not."""
    lazy = trainer.task.lazy
    rounds = len(trainer.task.update_order)
    first = _timed(trainer, growth, batches, [0])
    if first > SLOW:
        return first
    plain = _timed(trainer, growth, batches, list(range(1, rounds + 1)))
    if not lazy:
        return plain
    every = math.lcm(*lazy)
    penalized = _timed(trainer, growth, batches, [every * rounds])
    return plain + max(penalized - plain, 0.0) * sum(1 / each for each in lazy) / len(lazy)


def _timed(trainer: "Trainer", growth: "Growth", batches: "dict[str, Batch]", steps: list[int]) -> float:
    """Seconds of a step, of steps with these numbers, repeated until they have taken long enough to be told."""
    _wait(trainer)
    begun, done = time.perf_counter(), 0
    while not done or (time.perf_counter() - begun < SECONDS and steps != [0]):
        for step in steps:
            trainer.step = step
            trainer.train_step(batches, growth)
            done += 1
        _wait(trainer)
    return (time.perf_counter() - begun) / done


def _wait(trainer: "Trainer") -> None:
    """Until the device has done what it was told to."""
    if trainer.accelerator.device.type == "cuda":
        import torch

        torch.cuda.synchronize()


def noise(sets: "Mapping[str, PictureSet]", growth: "Growth") -> "dict[str, Batch]":
    """A batch of noise for each domain, of the size that training would have at this moment."""
    import torch

    from progcycle.data import Batch

    batches = {}
    for domain, pictures in sets.items():
        shape = (growth.batch_size, pictures.options.channels, growth.resolution, growth.resolution)
        images = torch.randint(0, 256, shape, dtype=torch.uint8)
        positions = tuple(range(growth.batch_size))
        batches[domain] = Batch(images, positions, tuple(map(str, positions)))
    return batches
