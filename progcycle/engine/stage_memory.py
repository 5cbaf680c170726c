"""How much memory a training step needs at every stage, found without computing it: tensors that have sizes only."""

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from progcycle.data import Batch
from progcycle.engine.build import build, check_batches, count_parts
from progcycle.engine.formatting import in_parts, memory_size
from progcycle.engine.initial_weights import in_order
from progcycle.engine.precision import DISPLAY_NAMES, Precision, has_bf16
from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.recipe import Recipe
from progcycle.resolution import Resolution, column_width
from progcycle.schedule import Growth, GrowthSchedule

DEVICES = (8, 16, 24, 80)  # GB of devices that a plan is made for
LIBRARIES = 0.8e9  # bytes that CUDA and its libraries take on a GPU
USABLE = 0.9  # share of the rest that tensors may take: allocators keep some blocks that fit nothing


@dataclass(frozen=True)
class StageMemory:
    """What tensors take at their peak in a step at one stage: ``fixed + pictures * each``.

    Attributes:
        part: of the run: "" for training, else the name of what goes before, such as ``pretraining``.
        resolution: pixels of the shorter side.
        batch_size: pictures of one domain a step.
        at_a_time: pictures of one domain that are computed at a time, as the recipe has it.
        fixed: bytes whatever their number: weights, gradients, moments, averages.
        each: bytes of a picture of each domain: activations.
    """

    part: str
    resolution: int
    batch_size: int
    at_a_time: int
    fixed: float
    each: float

    def peak(self, pictures: int | None = None) -> float:
        """Bytes of a step that computes so many pictures at a time; default: as many as the recipe has it."""
        return self.fixed + self.each * (self.at_a_time if pictures is None else pictures)


@dataclass(frozen=True)
class MemoryPlan:
    """The memory of tensors at every stage, and what fits devices.

    Attributes:
        stages: those of pre-training lead.
        precision: the number format.
        proposals: by GB of a device, what the command needs: overrides of ``training.max_batch_per_device``; () if
            whole batches fit; None if the smallest parts do not.
    """

    stages: Sequence[StageMemory]
    precision: str
    proposals: Mapping[int, tuple[str, ...] | None]

    def __str__(self) -> str:
        px = column_width((stage.resolution for stage in self.stages), 6)
        head = f"{'px':>{px}}{'batch':>7}{'at a time':>11}{'fixed':>10}{'a picture':>12}{'peak':>10}"
        rows = (
            f"{stage.resolution:{px}}{stage.batch_size:7}{stage.at_a_time:11}{memory_size(stage.fixed):>10}"
            f"{f'{stage.each / 1e6:,.1f} MB':>12}{memory_size(stage.peak()):>10}"
            for stage in self.stages
        )
        lines = [f"memory of tensors in {self.precision}, by one process:", head]
        lines += in_parts(zip((stage.part for stage in self.stages), rows, strict=True))
        alike: dict[tuple[str, ...] | None, list[int]] = {}
        for size, overrides in self.proposals.items():
            alike.setdefault(overrides, []).append(size)
        for overrides, sizes in alike.items():
            words = " ".join(overrides) if overrides else "whole batches fit"
            if overrides is None:
                words = "too small; choose a smaller network, or end growth earlier (schedule.hold_resolution)"
            lines.append(f"a GPU of {' or '.join(map(str, sizes))} GB: {words}")
        return "\n".join(lines)


def plan_memory(recipe: Recipe, devices: Sequence[int] = DEVICES) -> MemoryPlan:
    """Find the memory of every stage, and the largest parts of a batch that fit some devices. No picture is read.

    The steps of training are gone through with tensors that have sizes and no content, and what lives at the same time
    is added up. Workspaces of libraries are not in it.

    Args:
        recipe: a validated recipe; ``precision: auto`` counts as bf16 where this machine has a GPU for it, else as
            float32, which takes more.
        devices: their memory in GB of 10^9 bytes.

    Raises:
        UserError: the recipe cannot be trained.
    """
    choice = recipe.training.precision
    if choice == "auto":
        choice = "bf16" if torch.cuda.is_available() and has_bf16(torch.device("cuda")) else "no"
    stages = [stage for kind, part in in_order(recipe) for stage in _stages(part, kind, choice)]
    schedule = GrowthSchedule.of(recipe)
    proposals = {size: _proposal(recipe, schedule, stages, USABLE * (1e9 * size - LIBRARIES)) for size in devices}
    return MemoryPlan(stages, DISPLAY_NAMES.get(choice, choice), proposals)


# --- one step ---------------------------------------------------------------------------------------------------------


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the bytes of all tensors that are made inside of it and live at the same time.

    Attributes:
        now: bytes that live.
        peak: the most so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._living: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute as without it, and count what is new."""
        output = func(*args, **(kwargs or {}))
        if not func._schema.name.endswith("_"):  # changes its argument, and returns it
            for each in tree_iter(output):
                if isinstance(each, Tensor):
                    self._add(each)
        return output

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key in self._living:  # a view
            return

        def gone(_: Any) -> None:
            if self._living.pop(key, None) is not None:
                self.now -= size

        self._living[key] = weakref.ref(storage, gone)
        self.now += size
        self.peak = max(self.peak, self.now)


def _stages(recipe: Recipe, kind: str | None, precision: str) -> Iterator[StageMemory]:
    """Each resolution of one training, in its fade where it has one: both outputs are computed then."""
    built = build(recipe, kind)
    options = recipe.training.model_copy(update={"max_batch_per_device": None})
    # Moments that are cleared as a stage opens are there again after a step.
    keeping = recipe.optimizer.model_copy(update={"reset": "never"})
    whole = recipe.model_copy(update={"training": options, "optimizer": keeping})
    accelerator = Accelerator(cpu=True)
    # Numbers of fp16 are as large as those of bf16, which a CPU knows too.
    same_size = Precision("no" if precision == "no" else "bf16", torch.device("cpu"))
    trainer = Trainer(whole, built, accelerator, same_size)
    with FakeTensorMode(allow_non_fake_inputs=True), LiveBytes() as live:
        weights = _held(trainer)
        resolutions = sorted({phase.resolution for phase in built.schedule.phases})
        for resolution in resolutions:
            phase = next(phase for phase in built.schedule.phases if phase.resolution == resolution)
            growth = built.schedule.at((phase.start + phase.end) // 2)
            part = _at_a_time(recipe, growth)
            if resolution == resolutions[0]:
                _step(trainer, growth, part, live)  # makes moments
            # Those of new layers are made by the first of these; the recipe's own number of pictures comes last.
            two, one = (weights + _step(trainer, growth, count, live) for count in (2 * part, part))
            each = (two - one) / part
            yield StageMemory(kind or "", int(resolution), growth.batch_size, part, one - part * each, each)


def _held(trainer: Trainer) -> int:
    """Bytes of weights and their averages."""
    networks = [*trainer.task.networks.values(), *trainer.ema.networks.values()]
    tensors = (tensor for network in networks for tensor in (*network.parameters(), *network.buffers()))
    return sum(tensor.numel() * tensor.element_size() for tensor in {id(each): each for each in tensors}.values())


def _at_a_time(recipe: Recipe, growth: Growth) -> int:
    return growth.batch_size // count_parts(recipe, growth.resolution, growth.batch_size)


def _step(trainer: Trainer, growth: Growth, pictures: int, live: LiveBytes) -> int:
    """The peak of a step with all its penalties."""
    rounds, lazy = len(trainer.task.update_order), trainer.task.lazy
    numbers = {math.lcm(*lazy) * rounds if lazy else trainer.task.usual_step()}
    if rounds > 1:
        numbers.add(trainer.task.usual_step() + rounds - 1)  # the last round of an order updates every player
    peak = 0
    for number in sorted(numbers):
        live.peak = live.now
        trainer.step = number
        trainer.train_step(_blank(trainer, growth, pictures), growth)
        peak = max(peak, live.peak)
    return peak


def _blank(trainer: Trainer, growth: Growth, pictures: int) -> dict[str, Batch]:
    shape, classes = Resolution.of(growth.resolution).shape, len(trainer.task.classes)
    positions = tuple(range(pictures))
    found = {}
    for domain, options in trainer.recipe.data.domains.items():
        images = torch.zeros((pictures, options.channels, *shape), dtype=torch.uint8)
        labels = torch.arange(pictures) % classes if classes else None
        found[domain] = Batch(images, positions, tuple(map(str, positions)), labels)
    return found


# --- devices ----------------------------------------------------------------------------------------------------------


def _proposal(
    recipe: Recipe, schedule: GrowthSchedule, stages: Sequence[StageMemory], room: float
) -> tuple[str, ...] | None:
    """Overrides with which every stage fits, with parts as large as possible; None if there are none."""
    limits: dict[int, int] = {}
    for resolution in dict.fromkeys(stage.resolution for stage in stages):
        here = [stage for stage in stages if stage.resolution == resolution]
        batch = here[-1].batch_size
        if all(stage.peak(stage.batch_size) <= room for stage in here):
            continue
        for size in (size for size in range(batch - 1, 0, -1) if batch % size == 0):
            if all(stage.peak(size) <= room for stage in here) and _allowed(recipe, schedule, {resolution: size}):
                limits[resolution] = size
                break
        else:
            return None
    return tuple(f"training.max_batch_per_device.{side}={size}" for side, size in limits.items())


def _allowed(recipe: Recipe, schedule: GrowthSchedule, limits: Mapping[int, int]) -> bool:
    options = recipe.training.model_copy(update={"max_batch_per_device": dict(limits)})
    try:
        check_batches(recipe.model_copy(update={"training": options}), schedule, 1)
    except UserError:
        return False
    return True
