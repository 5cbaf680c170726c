"""What the tests of several processes run in each of two processes: ``python two_processes.py <pictures> <folder>``.

Not a test itself: the launcher's environment (RANK, WORLD_SIZE, ...) is set by test_processes.py.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tiny_runs import TASKS, WatchedRun, full, gradients_at, leave_out_plots, projected, tiny, tiny_pyramid, train
from torch.distributed import distributed_c10d

from progcycle.engine import train as train_module
from progcycle.output import console
from progcycle.recipe import Recipe, merge, validate

MOMENTS = (0, 24, 36, 56, 72)  # stable and in mid-fade
# Pre-training of 3 steps and training of 10, each with a tracker.
PRETRAINED: dict[str, Any] = {
    "schedule": {"stable_kimg": 0.008, "fade_kimg": 0.008},
    "pretraining": {"schedule": {"stable_kimg": 0.004, "fade_kimg": 0, "batch_size": 4}},
    "training": {"trackers": ["tensorboard"]},
}


def exact(task: str, data: Path) -> dict[Any, Any]:
    """What makes two processes' gradients those of one: nothing that looks at the local batch or at earlier ones.

    But with labels and noise, and with what compares the joined batch: minibatch stddev, or minibatch discrimination.
    """
    variation = "minibatch_stddev" if task == "pggan" else "minibatch_discrimination"
    group = {"group": 4} if task == "pggan" else {}
    own = {
        "network": {
            "generator": {"normalization": "pixel"},
            "discriminator": {variation: {"gather": True, **group}},
        },
        "objective": {"gradient_penalty": {"weight": 10, "target": 1}, **({} if task == "pggan" else {"pool_size": 0})},
    }
    return merge(full(task, data), own)


def several(data: Path) -> dict[Any, Any]:
    """:func:`exact` for translators, with a second discriminator of B whose weight is a share of the gradients."""
    second = {"name": "progressive", "channels": {"base": 16, "max": 4}, "minibatch_stddev": 0, "reduce": 2}
    first = exact("cyclegan", data)
    one = tiny("cyclegan", data, first).network.discriminator.model_dump()  # type: ignore[attr-defined]
    both = {"a": one, "b": [one, {**second, "weight": [[0, 0.2], [0.06, 3]]}]}
    network = {**first["network"], "discriminator": both}
    return {**first, "network": network, "objective": {**first["objective"], "balance": {}}}


def together(task: str, data: Path) -> dict[Any, Any]:
    """Everything, batch norm too, whose running statistics are means over the processes."""
    return full(task, data)


def pyramid(data: Path) -> Recipe:
    """A LAPGAN that lasts until the last of the moments."""
    return validate(merge(tiny_pyramid(data), {"schedule": {"stable_kimg": 0.088}}))


def main(pictures: Path, folder: Path) -> None:
    """Write gradients, and the weights after whole and interrupted runs, of this process."""
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    leave_out_plots()
    end_training = Accelerator.end_training
    Accelerator.end_training = lambda self: None  # the processes stay together for the next run
    recipes = {task: tiny(task, pictures, exact(task, pictures)) for task in TASKS}
    recipes |= {"several": tiny("cyclegan", pictures, several(pictures)), "lapgan": pyramid(pictures)}
    for name, recipe in recipes.items():
        gradients = gradients_at(WatchedRun(recipe, folder / f"{name}-gradients"), MOMENTS)
        torch.save(gradients, folder / f"{name}-gradients-{rank}.pt")
    for task in TASKS:
        group = distributed_c10d._get_default_group()._get_backend(torch.device("cpu"))
        (folder / f"patience-{rank}.txt").write_text(str(group.options._timeout.total_seconds()))

        recipe = tiny(task, pictures, together(task, pictures))
        whole = train(recipe, folder / f"{task}-whole")
        names = {"weights": whole.trainer.task.networks, "ema": whole.trainer.ema.networks}
        state = {f"{k}.{n}": net.state_dict() for k, networks in names.items() for n, net in networks.items()}
        torch.save({"state": state, "seen": whole.seen}, folder / f"{task}-whole-{rank}.pt")
        train(recipe, folder / f"{task}-parts", stop_before=18)
        train(recipe, folder / f"{task}-parts")

    frozen = train(tiny("pggan", pictures, projected()), folder / "projected").trainer.task.networks
    torch.save(frozen["discriminator"].state_dict(), folder / f"projected-{rank}.pt")

    Accelerator.end_training = end_training  # now they part for good, but not between these two runs
    train_module.train(tiny("cyclegan", pictures, PRETRAINED), folder / "pretrained")


if __name__ == "__main__":
    with console():
        main(Path(sys.argv[1]), Path(sys.argv[2]))
