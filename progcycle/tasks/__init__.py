"""Tasks: what is trained, against what, in which order. A new task is one file and one line here."""

from progcycle.tasks.base import Round, Shown, Stats, Task, Update
from progcycle.tasks.cyclegan import CycleganTask
from progcycle.tasks.image_pool import ImagePool
from progcycle.tasks.pggan import PgganTask
from progcycle.tasks.pretraining import PretrainingTask

TASKS: dict[str, type[PgganTask] | type[CycleganTask]] = {"pggan": PgganTask, "cyclegan": CycleganTask}
# What may go before a task, with the networks that it averages.
PREPARATIONS: dict[str, type[PretrainingTask]] = {"pretraining": PretrainingTask}

__all__ = [
    "PREPARATIONS",
    "TASKS",
    "CycleganTask",
    "ImagePool",
    "PgganTask",
    "PretrainingTask",
    "Round",
    "Shown",
    "Stats",
    "Task",
    "Update",
]
