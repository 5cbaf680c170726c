"""Numbers that are not finite: found where something is written anyway, and told of in a folder of the run."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor
from torchvision.utils import make_grid, save_image

from progcycle.blocks import levels_to_unit
from progcycle.data import Batch, build_loader
from progcycle.errors import UserError
from progcycle.files import as_others, atomic_folder
from progcycle.runtime.checkpoint import folder_name
from progcycle.runtime.parallel import first_told
from progcycle.schedule import Growth

if TYPE_CHECKING:
    from progcycle.engine.loop import Trainer

# Every attempt has pictures' numbers of its own: beyond all that a plan can have (schedule.total_kimg is at most 1e9).
ATTEMPT = 10**13


@dataclass(frozen=True)
class Trouble:
    """What is not finite.

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
        return f"{', '.join(names)} not finite at step {self.step} (stage {self.growth.stage})"


class GoBackError(Exception):
    """Numbers went bad, and the recipe wants another attempt from the last checkpoint; the text says what happened."""


def stop_if_trouble(trainer: "Trainer") -> None:
    """Check the figures since the last check, and the weights; every process must call this.

    Raises:
        UserError: some of them were not finite; a report is written.
        GoBackError: the same, and ``training.recovery`` has attempts left.
    """
    trouble = find(trainer)
    if trouble is None:
        return
    report = write_report(trainer, trouble)
    trainer.writer.finish()  # the last good one may still be on its way
    recovery = trainer.recipe.training.recovery
    if recovery is not None and trainer.attempt < recovery.attempts:
        raise GoBackError(f"{trouble}; {report}")
    last = trainer.writer.last
    good = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
    tried = f", after {trainer.attempt} attempts to go on from a checkpoint" if trainer.attempt else ""
    more = 1 + (recovery.attempts if recovery else 2)
    raise UserError(
        f"Training stopped: {trouble}{tried}; {good}; {report}. To go on with other pictures and lower learning "
        f"rates, add training.recovery.attempts={more} to the command; or begin anew "
        "with lower rates, or with precision bf16 or no."
    )


def find(trainer: "Trainer") -> Trouble | None:
    """What is not finite, None if all is well; every process must call this, and waits for its device."""
    weights = _bad_weights(trainer)
    found = trainer.meter.trouble(trainer.accelerator)
    if found is None and not weights:
        return None
    step, figures = found or (trainer.step - 1, [])
    _, growth = next(islice(trainer.schedule.steps(), max(step, 0), None))
    return Trouble(step, growth, figures, weights)


def _bad_weights(trainer: "Trainer") -> list[str]:
    tensors = dict(_weights(trainer))
    # The largest absolute value of each, in a few kernels for all: unlike a sum it does not overflow.
    largest = torch.stack(torch._foreach_norm(list(tensors.values()), math.inf))
    bad = trainer.accelerator.gather((~largest.isfinite()).int()[None]).sum(dim=0)
    return [name for name, count in zip(tensors, bad.tolist(), strict=True) if count]


def _weights(trainer: "Trainer") -> Iterator[tuple[str, Tensor]]:
    """Weights and buffers of all networks and of the averages, by name."""
    for prefix, networks in (("", trainer.task.networks), ("ema.", trainer.ema.networks)):
        for name, network in networks.items():
            for key, value in network.state_dict().items():
                if value.is_floating_point() and value.numel():
                    yield f"{prefix}{name}.{key}", value.float()


def lr_factor(trainer: "Trainer") -> float:
    """What all learning rates are multiplied by in the attempt that the run is in; 1 without ``training.recovery``."""
    recovery = trainer.recipe.training.recovery
    return recovery.lr_factor**trainer.attempt if recovery else 1.0


# --- the report ---------------------------------------------------------------------------------------------------


def write_report(trainer: "Trainer", trouble: Trouble) -> str:
    """Write down what is known of a bad step, and the pictures that were shown; every process must call this.

    ``report.json`` holds figures as means over the processes; what is not finite is a text there. The pictures are
    read again, from their numbers. They are in ``pictures.safetensors`` as the loader gave them (uint8, [N, C, H, W]),
    and in a grid for each domain, to look at.

    Returns:
        Some words about where the report is.
    """
    figures = trainer.meter.figures_of(trouble.step, trainer.accelerator)
    words = ""
    if trainer.accelerator.is_main_process:
        try:
            words = f"the report is in {_write(trainer, trouble, figures)}"
        except (OSError, SafetensorError) as error:  # trouble of its own must not hide this one
            words = f"the report could not be written ({' '.join(str(error).split())})"
    return first_told(words)  # of the first process, which alone has some


def _write(trainer: "Trainer", trouble: Trouble, figures: Mapping[str, float]) -> Path:
    parent, name = trainer.run_dir / "trouble", folder_name(trouble.growth.nimg)
    path = next(p for i in range(10**6) if not (p := parent / (f"{name}-{i}" if i else name)).exists())
    about, batches = _about(trainer, trouble, figures), {}
    try:
        batches = batches_of(trainer, trouble.growth.nimg)
    except UserError as error:
        about["pictures"] = str(error)
    else:
        about["pictures"] = {domain: _names(batch) for domain, batch in batches.items()}
    with atomic_folder(path) as folder:
        (folder / "report.json").write_text(json.dumps(about, indent=1, allow_nan=False) + "\n", encoding="utf-8")
        pictures = {domain: batch.images for domain, batch in batches.items()}
        as_others(folder / "pictures.safetensors", partial(save_file, pictures))
        for domain, batch in batches.items():
            columns = math.ceil(len(batch) ** 0.5)
            save_image(make_grid(levels_to_unit(batch.images), nrow=columns, padding=0), folder / f"{domain}.png")
    return path


def batches_of(trainer: "Trainer", nimg: int) -> dict[str, Batch]:
    """The pictures of the step that began at ``nimg``, of all processes together, read once more.

    Raises:
        UserError: they cannot be read any more.
    """
    loader = build_loader(
        trainer.ground.sets,
        trainer.schedule,
        rank=0,
        processes=1,
        start_nimg=nimg,
        workers=0,
        pin_memory=False,
        shift=trainer.attempt * ATTEMPT,
    )
    try:
        return next(loader)[2]
    finally:
        loader.close()


def _about(trainer: "Trainer", trouble: Trouble, figures: Mapping[str, float]) -> dict[str, Any]:
    growth, factor = trouble.growth, lr_factor(trainer)
    return {
        "step": trouble.step,
        "nimg": growth.nimg,
        "stage": growth.stage,
        "resolution": growth.resolution,
        "alpha": growth.alpha,
        "fading": growth.fading,
        "batch_size": growth.batch_size,
        "attempt": trainer.attempt,
        "seed": trainer.recipe.seed,
        "processes": trainer.accelerator.num_processes,
        "precision": trainer.precision.name,
        "noticed": {"step": trainer.step, "nimg": trainer.nimg},
        "not_finite": trouble.figures,
        "weights_not_finite": trouble.weights,
        "figures": {name: value if math.isfinite(value) else str(value) for name, value in figures.items()},
        "lr": {p: getattr(trainer.recipe.optimizer, p).lr * growth.lr_scale * factor for p in trainer.task.players},
        "scalers": {player: scaler.figures() for player, scaler in trainer.scalers.items() if scaler.enabled},
    }


def _names(batch: Batch) -> dict[str, Any]:
    """Numbers and names of a batch's pictures; picture i was shown by process i modulo their number."""
    labels = {} if batch.labels is None else {"labels": batch.labels.tolist()}
    return {"positions": list(batch.positions), "names": list(batch.names), **labels}
