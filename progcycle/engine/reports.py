"""What a run leaves behind as it goes: status lines, samples, snapshots, checkpoints; each where the recipe says so."""

from pathlib import Path
from typing import TYPE_CHECKING

from accelerate.utils import gather_object

from progcycle.engine import state
from progcycle.engine.checkpoint import folder_name
from progcycle.engine.evaluation import evaluate_now, write_snapshot
from progcycle.engine.plots import plot_curves, plot_plan
from progcycle.engine.samples import panel_of
from progcycle.errors import UserError
from progcycle.schedule import Growth

if TYPE_CHECKING:
    from progcycle.engine.loop import Trainer


def plan(trainer: "Trainer") -> None:
    """Draw the growth plan, in the first process."""
    if trainer.accelerator.is_main_process:
        plot_plan(trainer.schedule, trainer.run_dir / "plan.png")


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
    for player, scaler in trainer.scalers.items():
        extra |= {f"{name}/{player}": value for name, value in scaler.figures().items()}
    trainer.log.status(trainer.nimg, growth, trainer.meter.means(trainer.accelerator), extra)


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
        evaluate_now(trainer, trainer.evaluate, growth)
    if sampled:
        samples(trainer, growth)
        if trainer.accelerator.is_main_process and trainer.log.stats_path.exists():
            plot_curves(trainer.log.stats_path, trainer.run_dir / "curves.png")
    if snapshot and trainer.accelerator.is_main_process:
        write_snapshot(trainer, trainer.run_dir / "snapshots" / folder_name(trainer.nimg), growth)
    if full:
        trainer.last_good = state.save(trainer)


def last_checkpoint(trainer: "Trainer") -> Path:
    """Write a checkpoint, unless one was written after this very step; every process must call this.

    Raises:
        UserError: a figure was not finite.
    """
    if trainer.last_good is None or trainer.last_good.name != folder_name(trainer.nimg):
        stop_if_trouble(trainer)
        trainer.last_good = state.save(trainer)
    return trainer.last_good


def stop_if_trouble(trainer: "Trainer") -> None:
    """Check the figures since the last check; every process must call this.

    Raises:
        UserError: one of them was not finite.
    """
    trouble = trainer.meter.trouble(trainer.accelerator)
    if trouble:
        step, names = trouble
        good = f"the last good checkpoint is {trainer.last_good}" if trainer.last_good else "there is no checkpoint yet"
        raise UserError(
            f"Training stopped: {', '.join(names)} not finite at step {step} (stage {trainer.stage}); {good}. "
            "Lower the learning rate, or use precision bf16 or no."
        )


def samples(trainer: "Trainer", growth: Growth) -> None:
    """Write a grid of samples, in the first process."""
    if trainer.accelerator.is_main_process:
        sets, count = {**trainer.ground.sets, **trainer.ground.tests}, trainer.recipe.training.sample_count
        panel = panel_of(trainer.task, sets, count, growth, trainer.accelerator.device)
        trainer.log.samples(trainer.nimg, trainer.sampler(growth)(panel))
