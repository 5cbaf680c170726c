"""What each of two processes runs for test_watchdog.py: ``python two_processes_failing.py <pictures> <whole> <run>
<danger> <step>``.

Not a test itself: the launcher's environment (RANK, WORLD_SIZE, ...) is set there. It trains in the folder ``whole``,
and then in ``run``, where danger comes to the second process at the step: it is killed (``kill``), stands still
(``stop``), or waits for pictures for ever (``starve``). A folder of the name ``-`` is left out.
"""

import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from tiny_runs import leave_out_plots, tiny

from progcycle.commands.cli import guarded
from progcycle.data import PictureSet, loader
from progcycle.engine import train as train_module
from progcycle.engine.run import Run
from progcycle.runtime import failures
from progcycle.runtime.stop import StoppedError

TRAINING = {"checkpoint_kimg": 0.008, "keep_checkpoints": 99}


def endanger(run: Path, danger: str, step: int) -> None:
    """Let the second process come into danger."""
    train_step, read = Run.train_step, PictureSet.training

    def deadly(training: Run, *arguments: Any) -> None:
        if training.run_dir == run and training.trainer.step == step and danger in ("kill", "stop"):
            os.kill(os.getpid(), signal.SIGKILL if danger == "kill" else signal.SIGSTOP)
        train_step(training, *arguments)

    def starving(pictures: PictureSet, position: int, resolution: int) -> Any:
        if position >= 4 * step:
            Path(run, "starves").touch()
            time.sleep(1000)
        return read(pictures, position, resolution)

    Run.train_step = deadly  # type: ignore[method-assign]
    if danger == "starve":
        PictureSet.training = starving  # type: ignore[method-assign]


def main(pictures: Path, whole: Path, run: Path, danger: str, step: int) -> int:
    """Train in one folder or both."""
    torch.set_num_threads(1)
    leave_out_plots()
    loader.POLL_SECONDS = 0.2
    torch.utils.data.dataloader._utils.MP_STATUS_CHECK_INTERVAL = 0.2  # type: ignore[attr-defined]
    failures.TIMEOUTS = replace(failures.TIMEOUTS, beat=0.5, silence=3.0 if danger == "stop" else 300.0)
    Accelerator.end_training = lambda self: None  # the processes stay together for the next run
    for folder in (whole, run):
        if folder != Path("-"):
            if folder == run and int(os.environ["RANK"]) == 1:
                endanger(run, danger, step)
            random.seed(1)
            np.random.seed(1)
            torch.manual_seed(1)
            recipe = tiny("pggan", pictures, {"training": TRAINING, "data": {"workers": 1}})
            try:
                train_module.train(recipe, folder, signals=True)
            except StoppedError as stopped:
                print(stopped, flush=True)
                return stopped.exit_code
    return 0


if __name__ == "__main__":
    places = [Path(each) for each in sys.argv[1:4]]
    sys.exit(guarded(lambda _: main(*places, sys.argv[4], int(sys.argv[5])))([]))
