"""What the tests of several processes run in each of two processes: ``python two_processes.py <pictures> <folder>``.

Not a test itself: the launcher's environment (RANK, WORLD_SIZE, ...) is set by test_processes.py.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tiny_runs import TASKS, WatchedTrainer, gradients_at, tiny, train

from progcycle.engine import loop
from progcycle.export import save_snapshot

MOMENTS = (0, 24, 36, 56, 72)  # stable and in mid-fade


def exact(task: str) -> dict[str, Any]:
    """What makes two processes' gradients those of one: nothing that looks at the local batch or at earlier ones."""
    pool = {"pool_size": 0} if task == "cyclegan" else {}
    penalty = {"gradient_penalty": {"weight": 10, "target": 1}}
    return {"network": {"minibatch_stddev": 0}, "objective": {**pool, **penalty}}


def main(pictures: Path, folder: Path) -> None:
    """Write gradients, and the weights after whole and interrupted runs, of this process."""
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])

    def touch(_: Any, path: Path) -> None:
        path.touch()

    for name in ("plot_plan", "plot_curves"):
        setattr(loop, name, touch)
    Accelerator.end_training = lambda self: None  # the processes stay together for the next run
    for task in TASKS:
        trainer = WatchedTrainer(tiny(task, pictures, exact(task)), folder / f"{task}-gradients", save_snapshot)
        gradients = gradients_at(trainer, MOMENTS)
        torch.save(gradients, folder / f"{task}-gradients-{rank}.pt")

        recipe = tiny(task, pictures)
        whole = train(recipe, folder / f"{task}-whole")
        names = {"weights": whole.task.networks, "ema": whole.ema.networks}
        state = {f"{k}.{n}": net.state_dict() for k, networks in names.items() for n, net in networks.items()}
        torch.save({"state": state, "seen": whole.seen}, folder / f"{task}-whole-{rank}.pt")
        train(recipe, folder / f"{task}-parts", stop_before=18)
        train(recipe, folder / f"{task}-parts")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
