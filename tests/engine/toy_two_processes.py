"""What the test of a task of one's own runs in each of two processes: ``python toy_two_processes.py <pictures> <run>``.

Not a test itself: the launcher's environment (RANK, WORLD_SIZE, ...) is set by test_toy_task.py.
"""

import sys
from pathlib import Path

import torch
from tiny_runs import leave_out_plots, train
from toy_task import registered, toy_content

from progcycle.recipe import validate

if __name__ == "__main__":
    torch.set_num_threads(1)
    leave_out_plots()
    with registered():
        train(validate(toy_content(Path(sys.argv[1]))), Path(sys.argv[2]), stop_before=5)
