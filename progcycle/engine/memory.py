"""Running out of memory: reported in one sentence with a change of the recipe that helps and that the run accepts."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from accelerate import Accelerator

from progcycle.engine.build import build, check_batches, count_parts
from progcycle.errors import UserError
from progcycle.output import LOGGER
from progcycle.recipe import Recipe
from progcycle.resolution import Resolution
from progcycle.schedule import Growth, GrowthSchedule

# Messages of libraries without an exception class for it: torch on CPUs and MPS, C++, cuBLAS and cuDNN.
OUT_OF_MEMORY_MESSAGES = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "ALLOC_FAILED")
Work = Literal["training", "samples", "evaluation"]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY_MESSAGES)


@contextmanager
def explain_out_of_memory(sentence: Callable[[str], str]) -> Iterator[None]:
    """Report in one sentence that memory ran out inside the context.

    Args:
        sentence: makes the sentence from the message of the error.

    Raises:
        UserError: there is not enough memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(sentence(str(error).strip().split("\n")[0].rstrip("."))) from None


def setup_advice(reason: str) -> str:
    """The sentence for memory that runs out outside the training steps: for networks, checkpoints, or caches."""
    return (
        f"There is not enough memory to prepare the run ({reason}); stop other programs that use it, use a "
        "device with more, or a smaller network (network.channels, network.filters) with another --run-dir."
    )


@dataclass(frozen=True)
class MemoryAdvice:
    """Reports that memory ran out during a run, and suggests a change of its recipe that helps.

    Attributes:
        recipe: of the run.
        schedule: its growth plan.
        accelerator: the processes.
        begun_at: pictures shown at the newest checkpoint; None if there is none yet.
        prepares: whether another training follows in the same networks, by the same recipe.
    """

    recipe: Recipe
    schedule: GrowthSchedule
    accelerator: Accelerator
    begun_at: Callable[[], int | None]
    prepares: bool = False

    def explain(self, growth: Growth, work: Work = "training") -> AbstractContextManager[None]:
        """Report in one sentence that memory ran out, see :func:`explain_out_of_memory`; checkpoints stay.

        Args:
            growth: of the step.
            work: what is being done.
        """

        def sentence(_: str) -> str:
            told = self._sentence(growth, work)
            if not self.accelerator.is_main_process:  # the command prints errors of the first process only
                LOGGER.error(f"error in process {self.accelerator.process_index}: {told}")
            return told

        return explain_out_of_memory(sentence)

    def _sentence(self, growth: Growth, work: Work) -> str:
        local = growth.batch_size // self.accelerator.num_processes
        count = local // count_parts(self.recipe, growth.resolution, local)
        if work == "samples":
            count = self.recipe.training.sample_count
        doing = {
            "training": f"training on {count} picture{'s' * (count > 1)} at a time",
            "samples": f"a grid of {count} samples",
            "evaluation": "training.evaluation",
        }
        return (
            f"The device {self.accelerator.device} does not have enough memory for {doing[work]} at stage "
            f"{growth.plan_stage} ({growth.resolution} px); {self._advice(growth, work, local, count)}."
        )

    def _advice(self, growth: Growth, work: Work, local: int, count: int) -> str:
        if work == "evaluation":
            change: str | None = "training.evaluation=null"
        elif work == "samples":
            change = f"training.sample_count={count // 2}" if count > 1 else None
        else:
            change = self._smaller_parts(growth, local, count) or self._computed_again(growth)
        if change is None:
            change = self._no_further(growth)
        smaller = (
            "a smaller network (network.channels, network.filters) with another --run-dir, or a device with more memory"
        )
        if change is None:
            return f"the batch cannot be split further, so use {smaller}"
        begun = self.begun_at()
        then = (
            "starts from the beginning, as there is no checkpoint yet"
            if begun is None
            else "resumes from the newest checkpoint"
        )
        if change.startswith("schedule"):
            return f"the batch cannot be split further; use {smaller}, or end growth before this stage with {change}"
        return f"add {change} to the command, which then {then}"

    def _smaller_parts(self, growth: Growth, local: int, count: int) -> str | None:
        """The change that lets a device compute its batch in the next smaller parts, at all stages if possible."""
        key, recipe = "training.max_batch_per_device", self.recipe
        table = recipe.training.max_batch_per_device or {}
        # Pictures that pre-training computes one by one may have to be compared in training.
        least = 2 if self.prepares else 1
        for size in (size for size in range(count - 1, least - 1, -1) if local % size == 0):
            everywhere = {f"{key}={size}": {"default": size}} if set(table) <= {"default"} else {}
            here = {f"{key}.{int(growth.resolution)}={size}": {**table, int(growth.resolution): size}}
            for change, limits in {**everywhere, **here}.items():
                options = recipe.training.model_copy(update={"max_batch_per_device": limits})
                changed = recipe.model_copy(update={"training": options})
                try:
                    check_batches(changed, self.schedule, self.accelerator.num_processes)
                except UserError:
                    continue
                return change
        return None

    def _computed_again(self, growth: Growth) -> str | None:
        """The change that keeps no activations of the large stages, where networks have stages and can do so."""
        key, base, options = "checkpoint_activations", self.recipe.network.base_resolution, self.recipe.training
        side = int(max(2 * base, growth.resolution // 4))
        now = getattr(options, key)
        if side > growth.resolution or (now is not None and now <= side):
            return None
        changed = self.recipe.model_copy(update={"training": options.model_copy(update={key: side})})
        try:
            with torch.device("meta"):
                build(changed)
        except UserError:
            return None
        return f"training.{key}={side}"

    def _no_further(self, growth: Growth) -> str | None:
        """The change that ends growth below this stage, if what is trained until now allows it."""
        recipe, half = self.recipe, Resolution.of(growth.resolution) // 2
        if self.prepares:
            return None
        try:
            options = recipe.schedule.model_copy(update={"hold_resolution": half})
            held = GrowthSchedule(options, recipe.network.base_resolution, recipe.resolution)
        except UserError:
            return None
        done = self.begun_at() or 0
        return f"schedule.hold_resolution={int(half)}" if self.schedule.first_difference(held, done) is None else None
