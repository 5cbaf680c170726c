"""What each of two processes runs for test_non_finite.py: ``python two_processes_non_finite.py <pictures> <folder>``.

Not a test itself: the launcher's environment (RANK, WORLD_SIZE, ...) is set there.
"""

import math
import os
import sys
from pathlib import Path
from typing import Any

import torch
from tiny_runs import WatchedRun, leave_out_plots, tiny

from progcycle.engine.train import train_run
from progcycle.output import console
from progcycle.schedule import Growth


def main(pictures: Path, folder: Path) -> None:
    """A run in which a figure of the second process alone is bad, in two attempts."""
    torch.set_num_threads(1)
    rank = int(os.environ["RANK"])
    leave_out_plots()
    training = {"recovery": {"attempts": 2}, "keep_checkpoints": 99}
    run = WatchedRun(tiny("pggan", pictures, {"training": training}), folder / "run")
    honest = run.trainer.task.loss

    def loss(player: str, reals: Any, growth: Growth, step: int) -> Any:
        total, figures = honest(player, reals, growth, step)
        if rank == 1 and player == "discriminator" and step == 6 and run.attempts.number < 2:
            figures = {**figures, "score/real": figures["score/real"] * math.nan}
        return total, figures

    run.trainer.task.loss = loss  # type: ignore[method-assign]
    train_run(run)
    weights = {f"{n}.{k}": v for n, net in run.trainer.task.networks.items() for k, v in net.state_dict().items()}
    torch.save({"attempt": run.attempts.number, "seen": run.seen, "weights": weights}, folder / f"{rank}.pt")


if __name__ == "__main__":
    with console():
        main(Path(sys.argv[1]), Path(sys.argv[2]))
