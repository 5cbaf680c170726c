"""Detects NaN and infinity in figures and weights whenever something is written, and reports them in the run folder."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from progcycle.blocks import as_numbers, as_shown, to_unit
from progcycle.data import Batch, PictureSet, build_loader
from progcycle.engine.attempts import Attempts
from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.files import atomic_folder, with_default_permissions
from progcycle.resolution import Resolution
from progcycle.runtime.checkpoint import folder_name
from progcycle.runtime.parallel import first_message
from progcycle.schedule import Growth, GrowthSchedule


@dataclass(frozen=True)
class NonFinite:
    """Figures or weights that are not finite.

    Attributes:
        step: number of the first bad step; where weights alone are bad, of the step just done.
        growth: of that step.
        figures: names of the first bad figures, all of one update.
        weights: names of bad weights, ``<network>.<parameter>``, those of averages with ``ema.`` before it.
    """

    step: int
    growth: Growth
    figures: list[str]
    weights: list[str]

    def __str__(self) -> str:
        networks = dict.fromkeys(name.removeprefix("ema.").partition(".")[0] for name in self.weights)
        names = self.figures or [f"weights of {network}" for network in networks]
        return f"{', '.join(names)} not finite at step {self.step} (stage {self.growth.plan_stage})"


def find_non_finite(trainer: Trainer, schedule: GrowthSchedule) -> NonFinite | None:
    """What is not finite, None if all is well; every process must call this, and waits for its device."""
    weights = _bad_weights(trainer)
    found = trainer.meter.first_non_finite(trainer.accelerator)
    if found is None and not weights:
        return None
    step, figures = found or (trainer.step - 1, [])
    _, growth = next(islice(schedule.steps(), max(step, 0), None))
    return NonFinite(step, growth, figures, weights)


def _bad_weights(trainer: Trainer) -> list[str]:
    tensors = dict(_weights(trainer))
    # The largest absolute value of each, in a few kernels for all: unlike a sum it does not overflow.
    largest = torch.stack(torch._foreach_norm(list(tensors.values()), math.inf))
    bad = trainer.accelerator.gather((~largest.isfinite()).int()[None]).sum(dim=0)
    return [name for name, count in zip(tensors, bad.tolist(), strict=True) if count]


def _weights(trainer: Trainer) -> Iterator[tuple[str, Tensor]]:
    """Weights and buffers of all networks and of the averages, by name."""
    for prefix, networks in (("", trainer.task.networks), ("ema.", trainer.ema.networks)):
        for name, network in networks.items():
            for key, value in network.state_dict().items():
                if value.is_floating_point() and value.numel():
                    yield f"{prefix}{name}.{key}", value.float()


# --- report -------------------------------------------------------------------------------------------------------


def write_non_finite_report(
    found: NonFinite,
    trainer: Trainer,
    run_dir: Path,
    sets: Mapping[str, PictureSet],
    schedule: GrowthSchedule,
    attempts: Attempts,
) -> str:
    """Write a report about a bad step and its pictures; every process must call this.

    ``report.json`` holds figures as means over the processes, with non-finite ones as text. The pictures of the step
    are read again. They are in ``pictures.safetensors`` as the loader gave them (uint8, uint16 or float32,
    [N, C, H, W]), and as a grid for each domain.

    Args:
        found: what is not finite.
        trainer: where it was found.
        run_dir: the run folder.
        sets: training pictures by domain.
        schedule: the growth plan.
        attempts: of the run.

    Returns:
        A clause about where the report is.
    """
    figures = trainer.meter.figures_of(found.step, trainer.accelerator)
    words = ""
    if trainer.accelerator.is_main_process:
        try:
            about, batches = _about(trainer, found, figures, attempts), {}
            try:
                batches = batches_of(sets, schedule, found.growth.nimg, attempts.shift)
            except UserError as error:
                about["pictures"] = str(error)
            else:
                about["pictures"] = {domain: _names(batch) for domain, batch in batches.items()}
            words = f"the report is in {_write(run_dir / 'trouble', found, about, batches)}"
        except (OSError, SafetensorError) as error:  # a failed report must not hide what it reports
            words = f"the report could not be written ({' '.join(str(error).split())})"
    return first_message(words)  # of the first process, the only one with a text


def _write(parent: Path, found: NonFinite, about: Mapping[str, Any], batches: Mapping[str, Batch]) -> Path:
    from torchvision.utils import make_grid, save_image  # which imports TorchDynamo: a second or two

    name = folder_name(found.growth.nimg)
    path = next(p for i in range(10**6) if not (p := parent / (f"{name}-{i}" if i else name)).exists())
    with atomic_folder(path) as folder:
        (folder / "report.json").write_text(json.dumps(about, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        pictures = {domain: batch.images for domain, batch in batches.items()}
        with_default_permissions(folder / "pictures.safetensors", partial(save_file, pictures))
        for domain, batch in batches.items():
            columns = math.ceil(len(batch) ** 0.5)
            save_image(
                make_grid(as_shown(to_unit(as_numbers(batch.images))), nrow=columns, padding=0),
                folder / f"{domain}.png",
            )
    return path


def batches_of(sets: Mapping[str, PictureSet], schedule: GrowthSchedule, nimg: int, shift: int) -> dict[str, Batch]:
    """Read again the pictures of the step that began at ``nimg``, of all processes together.

    Args:
        sets: training pictures by domain.
        schedule: the growth plan.
        nimg: pictures shown before the step.
        shift: of the attempt, see :class:`Attempts`.

    Raises:
        UserError: the pictures cannot be read any more.
    """
    loader = build_loader(
        sets, schedule, rank=0, processes=1, start_nimg=nimg, workers=0, pin_memory=False, shift=shift
    )
    try:
        return next(loader)[2]
    finally:
        loader.close()


def _about(trainer: Trainer, found: NonFinite, figures: Mapping[str, float], attempts: Attempts) -> dict[str, Any]:
    growth, factor = found.growth, attempts.lr_factor
    rates = {player: options.lr for player, options in trainer.settings.items()} | dict(trainer.task.rates)
    return {
        "step": found.step,
        "nimg": growth.nimg,
        "stage": growth.plan_stage,
        "resolution": Resolution.of(growth.resolution).label,
        "alpha": growth.progress,
        "fading": growth.fading,
        "batch_size": growth.batch_size,
        "attempt": attempts.number,
        "seed": trainer.recipe.seed,
        "processes": trainer.accelerator.num_processes,
        "precision": trainer.precision.name,
        "noticed": {"step": trainer.step, "nimg": trainer.nimg},
        "not_finite": found.figures,
        "weights_not_finite": found.weights,
        "figures": {name: value if math.isfinite(value) else str(value) for name, value in figures.items()},
        "lr": {name: rate * growth.lr_scale * factor for name, rate in rates.items()},
        "scalers": {player: scaler.figures() for player, scaler in trainer.scalers.items() if scaler.enabled},
    }


def _names(batch: Batch) -> dict[str, Any]:
    """Numbers and names of a batch's pictures; picture i was shown by process i modulo their number."""
    labels = {} if batch.labels is None else {"labels": batch.labels.tolist()}
    return {"positions": list(batch.positions), "names": list(batch.names), **labels}
