"""Tasks: what is trained, against what, in which order. A new task is one file and one line here."""

from progcycle.tasks.base import Round, Stats, Task, Update
from progcycle.tasks.cyclegan import CycleganTask
from progcycle.tasks.image_pool import ImagePool
from progcycle.tasks.pggan import PgganTask

TASKS: dict[str, type[PgganTask] | type[CycleganTask]] = {"pggan": PgganTask, "cyclegan": CycleganTask}

__all__ = ["TASKS", "CycleganTask", "ImagePool", "PgganTask", "Round", "Stats", "Task", "Update"]
