"""What each of two processes runs for test_watch.py and tests/chaos: ``python two_processes_one_dies.py <pictures>
<whole> <run> <victim> <step>``.

Not a test itself: the launcher's environment (RANK, WORLD_SIZE, ...) is set there. It trains in the folder ``whole``,
and then in ``run``, where the victim kills itself before the step; a folder of the name ``-`` is left out.
"""

import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from tiny_runs import leave_out_plots, tiny

from progcycle.engine import train as train_module
from progcycle.engine.run import Run
from progcycle.output import console

TRAINING = {"checkpoint_kimg": 0.008, "keep_checkpoints": 99}


def main(pictures: Path, whole: Path, run: Path, victim: int, step: int) -> None:
    """Train in one folder or both."""
    torch.set_num_threads(1)
    leave_out_plots()
    train_step = Run.train_step

    def deadly(training: Run, *arguments: Any) -> None:
        if training.run_dir == run and training.trainer.step == step and int(os.environ["RANK"]) == victim:
            os.kill(os.getpid(), signal.SIGKILL)
        train_step(training, *arguments)

    Run.train_step = deadly  # type: ignore[method-assign]
    Accelerator.end_training = lambda self: None  # the processes stay together for the next run
    for folder in (whole, run):
        if folder != Path("-"):
            random.seed(1)
            np.random.seed(1)
            torch.manual_seed(1)
            recipe = tiny("pggan", pictures, {"training": TRAINING, "data": {"workers": 1}})
            train_module.train(recipe, folder)


if __name__ == "__main__":
    with console():
        main(*(Path(each) for each in sys.argv[1:4]), *(int(each) for each in sys.argv[4:]))
