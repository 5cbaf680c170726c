"""Sample sheets: what the averaged networks make of fixed inputs, and how long sampling takes."""

import time
from collections.abc import Callable, Mapping, Sequence

import torch
from PIL import Image
from torch import Tensor

from progcycle.data import PictureSet, as_reals, collate
from progcycle.engine.memory import is_out_of_memory
from progcycle.evaluation.sampler import Sampler
from progcycle.export.contact_sheet import sheet
from progcycle.export.tensor_images import to_pil
from progcycle.resolution import Resolution
from progcycle.schedule import Growth, GrowthSchedule
from progcycle.tasks import Task

SMALLEST, LARGEST = 96, 256  # pixels of a side on a sheet; a picture is never made smaller than it is
COLUMNS = 12  # of a sheet with a column for each class
LONG = 0.5  # seconds of sampling, to find out how long it takes


def evenly_spaced(pictures: PictureSet, count: int, growth: Growth, device: torch.device) -> Tensor:
    """Up to ``count`` pictures from all over a set, as the networks see them.  # [n, C, H, W]"""
    count = min(count, len(pictures))
    # Spread over the set: neighbours in name order are often alike.
    samples = [pictures.plain(i * len(pictures) // count, growth.resolution) for i in range(count)]
    return as_reals(collate(samples).images.to(device), growth)


def make_panel(
    task: Task, sets: Mapping[str, PictureSet], count: int, growth: Growth, device: torch.device
) -> dict[str, Tensor]:
    """The panel of a run: the same pictures or latents in every sample grid, from the first stage to the last.

    Args:
        task: defines the panel.
        sets: pictures to choose from, by domain.
        count: columns, or fewer where a domain has fewer pictures.
        growth: where growth stands.
        device: where pictures are made ready.
    """
    columns = min(count, *(len(pictures) for pictures in sets.values()))
    return task.panel(count, lambda domain: evenly_spaced(sets[domain], columns, growth, device))


def sample_sheet(
    task: Task, rows: Sequence[Tensor], nimg: int, growth: Growth, schedule: GrowthSchedule
) -> Image.Image:
    """A sheet of samples: rows with their names, or one kind of picture about square or by class; a title on top.

    Args:
        task: that they are of.
        rows: what :meth:`Task.sample` gave.  # each [n, C, H, W]
        nimg: pictures shown.
        growth: of the step just done.
        schedule: the growth plan; its last resolution decides how large pictures are on all sheets of a run.
    """
    pictures = [to_pil(row) for row in rows]
    names, header = list(task.row_names()), None
    if not names:
        (made,) = pictures
        classes = list(task.classes) if len(task.classes) <= min(len(made), COLUMNS) else []
        columns = len(classes) or max(1, round(len(made) ** 0.5))
        pictures, header = [made[i : i + columns] for i in range(0, len(made), columns)], classes or None
    final, now = (Resolution.of(at.resolution).longer for at in (schedule.final, growth))
    tile = max(now, min(final * max(1, round(SMALLEST / final)), LARGEST))
    title = f"{nimg / 1000:g} kimg, {growth.resolution} px" + f", alpha {growth.progress:.2f}" * growth.fading
    return sheet(pictures, header, tile, side=names or None, title=title)


def sampling_costs(
    sampler: Callable[[Growth], Sampler], schedule: GrowthSchedule, channels: Mapping[str, int], processes: int
) -> dict[int, float]:
    """Time to sample as many pictures as a step trains on, at each stage; the run is not changed.

    Above a stage that takes long, or that runs out of memory, each stage is assumed to take twice as long.

    Args:
        sampler: gives the sampler of a moment of growth.
        schedule: the growth plan.
        channels: of the pictures, by domain.
        processes: that a batch is divided over.

    Returns:
        Seconds by stage.
    """
    phases = {phase.stage: phase for phase in schedule.phases}
    found: dict[int, float] = {}
    longest = LONG if len(phases) == 1 else 0.0
    device = sampler(schedule.at(0)).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        for stage, phase in sorted(phases.items()):
            taken = None
            if longest < LONG:
                taken = _effort(sampler(schedule.at(phase.end - 1)), phase.batch_size // processes, channels)
            longest = taken or 2 * longest or LONG
            found[stage] = longest
    return found


def _effort(sampler: Sampler, count: int, channels: Mapping[str, int]) -> float | None:
    shape = Resolution.of(sampler.growth.resolution).shape
    panel = sampler.task.panel(count, lambda domain: torch.zeros(count, channels[domain], *shape))
    taken: list[float] = []
    try:
        while len(taken) < 2 or (len(taken) < 4 and sum(taken) < LONG / 4):
            began = time.perf_counter()
            for row in sampler(panel):
                float(row.sum())  # waits for the device
            taken.append(time.perf_counter() - began)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None
    return min(taken)
