"""What the test of BEGAN runs in each of two processes: ``python began_two_processes.py <pictures> <folder>``.

Not a test itself: the launcher's environment (RANK, WORLD_SIZE, ...) is set by test_began_runs.py.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from tiny_runs import WatchedRun, began, gradients_at, leave_out_plots, train

MOMENTS = (0, 4, 24, 36, 56)  # stable and in mid-fade
# Of batch norm each process would have its own statistics.
EXACT: dict[str, Any] = {"network": {"discriminator": {"normalization": "none"}}}

if __name__ == "__main__":
    pictures, folder = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    leave_out_plots()
    end_training = Accelerator.end_training
    Accelerator.end_training = lambda self: None  # the processes stay together for the next run
    run = WatchedRun(began(pictures, EXACT), folder / "gradients")
    found = gradients_at(run, MOMENTS) | {"k": run.trainer.task.balance.at(10**6)}  # type: ignore[attr-defined]
    torch.save(found, folder / f"gradients-{os.environ['RANK']}.pt")
    Accelerator.end_training = end_training
    train(began(pictures, EXACT), folder / "run", stop_before=12)
