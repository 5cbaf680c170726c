"""What a run leaves behind as it goes: status lines, samples, snapshots, checkpoints; each where the recipe says so."""

import signal
import time
from typing import TYPE_CHECKING

from accelerate.utils import gather_object
from safetensors import SafetensorError

from progcycle.engine import memory, state
from progcycle.engine.alarms import of_pictures, saturation
from progcycle.engine.evaluation import evaluate_now, write_snapshot
from progcycle.engine.meter import peak_memory
from progcycle.engine.page import NAME as PAGE
from progcycle.engine.page import counted, what_is_trained
from progcycle.engine.plots import plot_curves, plot_plan
from progcycle.engine.samples import efforts, panel_of, sample_sheet, spread
from progcycle.engine.trouble import stop_if_trouble
from progcycle.engine.words import folded
from progcycle.output import LOGGER
from progcycle.runtime.checkpoint import folder_name
from progcycle.runtime.stop import StoppedError
from progcycle.schedule import Growth

if TYPE_CHECKING:
    from progcycle.engine.loop import Trainer


def begin(trainer: "Trainer") -> None:
    """Say what is trained, draw its plan, and find out how much longer steps of later stages take."""
    if not trainer.accelerator.is_main_process:
        return
    with trainer.log.drawing("plan.png"):
        plot_plan(trainer.schedule, trainer.run_dir / "plan.png")
    for line in trainer.ground.remarks():
        trainer.log.say(line)
    processes, device = trainer.accelerator.num_processes, trainer.accelerator.device
    pictures = {"train": trainer.ground.sets, "test": trainer.ground.tests, "validate": trainer.ground.validation}
    for line in (
        f"{what_is_trained(trainer)}",
        "; ".join(f"pictures of {domain}: {counted(domain, pictures)}" for domain in trainer.ground.sets),
        f"training on {device.type}, processes: {processes}, precision: {trainer.precision}",
        f"page of the run: {trainer.run_dir / PAGE}",
    ):
        trainer.log.say(folded(line))
    channels = {domain: pictures.options.channels for domain, pictures in trainer.ground.sets.items()}
    trainer.log.time_left.effort = efforts(trainer.sampler, trainer.schedule, channels, processes)


def status(trainer: "Trainer", growth: Growth, pictures: int, seconds: float) -> None:
    """Tell of the steps since the last status line; every process must call this.

    Args:
        trainer: the run.
        growth: of the step just done.
        pictures: shown since the last status line.
        seconds: that they took.

    Raises:
        UserError: a figure was not finite.
    """
    stop_if_trouble(trainer)
    trainer.log.name_broken(gather_object(trainer.broken))
    trainer.broken = []
    extra = {"step": trainer.step, "seconds": round(seconds, 3), "images_per_s": float(f"{pictures / seconds:.4g}")}
    extra["cpu_seconds"] = round(trainer.cpu_seconds, 3)
    if memory := peak_memory(trainer.accelerator.device):
        extra["memory_gb"] = round(memory / 1e9, 3)
    for player, scaler in trainer.scalers.items():
        extra |= {f"{name}/{player}": value for name, value in scaler.figures().items()}
    figures = trainer.meter.means(trainer.accelerator)
    trainer.alarms.look(trainer.nimg, saturation(figures, trainer.recipe.objective))
    extra |= trainer.alarms.figures() | ({"attempt": trainer.attempt} if trainer.attempt else {})
    with trainer.writer.watching():
        trainer.log.status(trainer.nimg, growth, figures, extra)


def save(trainer: "Trainer", before: int, growth: Growth) -> None:
    """Write what is due after a step; every process must call this.

    Args:
        trainer: the run.
        before: pictures shown before the step.
        growth: of the step.

    Raises:
        UserError: something is due, and a figure was not finite.
    """
    options = trainer.recipe.training
    sampled, snapshot, full = (
        trainer.due(before, every) for every in (options.sample_kimg, options.snapshot_kimg, options.checkpoint_kimg)
    )
    evaluation = options.evaluation is not None and trainer.due(before, options.evaluation.every_kimg)
    if sampled or snapshot or full or evaluation:
        stop_if_trouble(trainer)
    if evaluation and trainer.evaluate is not None and trainer.accelerator.is_main_process:
        began = time.perf_counter()
        with memory.told(trainer, growth, "evaluation"):
            evaluate_now(trainer, trainer.evaluate, growth)
        LOGGER.debug(f"evaluated in {time.perf_counter() - began:.1f} s")
    if sampled:
        began = time.perf_counter()
        samples(trainer, growth)
        LOGGER.debug(f"painted samples in {time.perf_counter() - began:.1f} s")
        if trainer.accelerator.is_main_process and trainer.log.stats_path.exists():
            with trainer.log.drawing("curves.png"):
                plot_curves(trainer.log.stats_path, trainer.run_dir / "curves.png")
    if snapshot and trainer.accelerator.is_main_process:
        with trainer.writer.watching():
            write_snapshot(trainer, trainer.run_dir / "snapshots" / folder_name(trainer.nimg), growth)
    if full:
        state.save(trainer)


def last_checkpoint(trainer: "Trainer") -> None:
    """Write a checkpoint, unless one was begun after this very step, and wait for it; every process must call this.

    Raises:
        UserError: a figure was not finite, or the checkpoint cannot be written.
    """
    if trainer.writer.begun_at != trainer.nimg:
        stop_if_trouble(trainer)
        state.save(trainer)
    trainer.writer.finish()


def stop(trainer: "Trainer", number: signal.Signals, growth: Growth) -> None:
    """Leave by a signal that a process has received; every process must call this, all at the same step.

    First a checkpoint is written, unless one was begun after this very step: whoever sent the signal may not wait long.
    Then a snapshot, so that the run can be used as it is now.

    Args:
        trainer: the run.
        number: the signal.
        growth: of the step just done.

    Raises:
        UserError: a figure was not finite, or the checkpoint cannot be written.
        StoppedError: always, if all went well.
    """
    last_checkpoint(trainer)
    if trainer.accelerator.is_main_process:
        snapshot = trainer.run_dir / "snapshots" / folder_name(trainer.nimg)
        try:
            if not snapshot.exists():
                write_snapshot(trainer, snapshot, growth)
        except (OSError, SafetensorError) as error:  # the checkpoint is what counts
            trainer.log.warn(f"the snapshot {snapshot} could not be written ({error}).")
    raise StoppedError(
        number,
        f"stopped by {number.name} at {trainer.nimg / 1000:g} kimg with the checkpoint {trainer.writer.last}; "
        "the same command goes on from there",
    )


def samples(trainer: "Trainer", growth: Growth) -> None:
    """Write a grid of samples, in the first process."""
    if trainer.accelerator.is_main_process:
        sets, count = {**trainer.ground.sets, **trainer.ground.tests}, trainer.recipe.training.sample_count
        with memory.told(trainer, growth, "samples"):
            panel = panel_of(trainer.task, sets, count, growth, trainer.accelerator.device)
            rows = trainer.sampler(growth)(panel)
        if trainer.nimg:  # networks that have not learned anything are no trouble
            shown = trainer.task.shown(rows, lambda domain: spread(sets[domain], count, growth, rows[0].device))
            trainer.alarms.look(trainer.nimg, of_pictures(shown))
        trainer.log.samples(trainer.nimg, sample_sheet(trainer.task, rows, trainer.nimg, growth, trainer.schedule))
