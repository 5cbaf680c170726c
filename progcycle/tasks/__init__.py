"""Tasks: what is trained, against what, in which order.

A new task is one file here, its recipe class, and one row in each of these dicts: ``TASKS``, ``RECIPES`` of
``progcycle.recipe``, ``MODELS`` of ``progcycle.export`` (what is loaded from its snapshots), and, if it is to be
measured, ``EVALUATORS`` and ``EVALUATIONS`` of ``progcycle.evaluation``. They are looked at when they are needed, so
that a program may add rows of its own. CONTRIBUTING.md walks through it.
"""

from collections.abc import Callable
from typing import Any

from progcycle.tasks.autoencoder import AutoencoderTask
from progcycle.tasks.base import Memory, Round, Shown, Stats, Task, Update, Watched, loss_name
from progcycle.tasks.began import BeganTask
from progcycle.tasks.cyclegan import CycleganTask
from progcycle.tasks.image_pool import ImagePool
from progcycle.tasks.lapgan import LapganTask
from progcycle.tasks.pggan import PgganTask
from progcycle.tasks.pretraining import PretrainingTask

# By the recipe's ``task``, what makes it of a validated recipe.
TASKS: dict[str, Callable[[Any], Task]] = {
    "pggan": PgganTask,
    "cyclegan": CycleganTask,
    "began": BeganTask,
    "autoencoder": AutoencoderTask,
    "lapgan": LapganTask,
}
# What may go before a task, of the recipe that goes before and the task, with the networks that this averages.
PREPARATIONS: dict[str, Callable[[Any, Task], Task]] = {"pretraining": PretrainingTask}

__all__ = [
    "PREPARATIONS",
    "TASKS",
    "AutoencoderTask",
    "BeganTask",
    "CycleganTask",
    "ImagePool",
    "LapganTask",
    "Memory",
    "PgganTask",
    "PretrainingTask",
    "Round",
    "Shown",
    "Stats",
    "Task",
    "Update",
    "Watched",
    "loss_name",
]
