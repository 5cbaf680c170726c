"""A description of a run for people: for the start of its log, for its page, and for the commands that come next."""

import platform
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from progcycle import __version__
from progcycle.engine.context import RunContext
from progcycle.engine.trainer import Trainer
from progcycle.evaluation import EVALUATIONS
from progcycle.export import MODELS
from progcycle.recipe import Recipe, dump
from progcycle.schedule import GrowthSchedule


@dataclass(frozen=True)
class RunDescription:
    """Facts that do not change while a run trains.

    Attributes:
        what: task, resolutions, length and size, in a line.
        pictures: by domain, how many there are, and for what use.
        facts: name and value: device, precision, data, versions and so on.
        recipe: as YAML.
        next_commands: what can be done with the finished run, and the command for it.
    """

    what: str
    pictures: Mapping[str, str]
    facts: Sequence[tuple[str, str]]
    recipe: str
    next_commands: Sequence[tuple[str, str]]


def describe_run(
    recipe: Recipe,
    run_dir: Path,
    preparation: str | None,
    schedule: GrowthSchedule,
    context: RunContext,
    trainer: Trainer,
) -> RunDescription:
    """Describe a run.

    Args:
        recipe: of the run.
        run_dir: the run folder.
        preparation: name of the training that replaces the recipe's task.
        schedule: the growth plan.
        context: processes, precision and pictures.
        trainer: with the networks.
    """
    uses = {"train": context.sets, "test": context.tests, "validate": context.validation}
    pictures = {domain: picture_counts(domain, uses) for domain in context.sets}
    counts = trainer.trainable.counts()
    sides = sorted({phase.resolution for phase in schedule.phases})
    grows = f"from {sides[0]} to {sides[-1].words}" if len(sides) > 1 else f"at {sides[0].words}"
    name = f"{preparation} of {recipe.task}" if preparation else recipe.task
    what = (
        f"{name} {grows}, {schedule.total / 1000:g} kimg, {sum(counts.values()):,} parameters "
        f"in {len(counts)} network{'s' * (len(counts) > 1)}"
    )
    facts = [
        ("Device", device_name(context.accelerator.device)),
        ("Processes", str(context.accelerator.num_processes)),
        ("Precision", str(context.precision)),
        ("Pictures", "; ".join(f"{domain}: {words}" for domain, words in pictures.items())),
        ("Parameters", ", ".join(f"{name} {size:,}" for name, size in counts.items())),
        ("Seed", str(recipe.seed)),
        ("Versions", f"progcycle {__version__}, torch {torch.__version__}, Python {platform.python_version()}"),
    ]
    return RunDescription(
        what, pictures, facts, dump(recipe), [] if preparation else next_commands(recipe.task, run_dir, context)
    )


def picture_counts(domain: str, pictures: Mapping[str, Mapping[str, Any]]) -> str:
    """How many pictures of a domain there are for each use: train, test, validate."""
    return ", ".join(f"{len(sets[domain]):,} to {use}" for use, sets in pictures.items() if domain in sets)


def device_name(device: torch.device) -> str:
    """The name of a device, for people."""
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    threads = torch.get_num_threads()
    return f"{device.type}, {threads} thread{'s' * (threads > 1)}" if device.type == "cpu" else str(device)


def next_commands(task: str, run: Path, context: RunContext) -> list[tuple[str, str]]:
    """What can be done with a finished run of a task, and the command for it."""
    sets, tests = context.sets, context.tests
    model = MODELS.get(task)
    if model is None:
        return []
    if model.command == "translate":
        folders = [str(path) for path in (tests.get("a") or sets["a"]).paths]
        paint = _command("translate", run, *folders[:1], run / "translated", "--direction", "ab", "--grid")
        found = [("translate", paint)]
        return [*found, ("measure it", _command("evaluate", run))] if {"a", "b"} <= set(tests) else found
    measure = [("measure them", _command("evaluate", run))] if task in EVALUATIONS else []
    if model.command == "generate":
        paint = _command("generate", run, "--out", run / "generated", "--count", "16", "--grid")
        return [("paint pictures", paint), *measure]
    show = _command("progression", run, "--out", run / "progression.png")
    return [*([("see its pictures", show)] if model.examples is not None else []), *measure]


def _command(name: str, *words: str | Path) -> str:
    return f"progcycle {name} {shlex.join(str(word) for word in words)}"
