"""Going back to the last checkpoint when numbers go bad, for another attempt with other pictures and a lower rate."""

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from progcycle.data import Batch, build_loader
from progcycle.engine import state
from progcycle.engine.guard import guard
from progcycle.engine.parallel import speaking
from progcycle.engine.setup import loader_workers
from progcycle.engine.trouble import ATTEMPT, GoBackError, lr_factor
from progcycle.errors import UserError
from progcycle.output import steady_output
from progcycle.schedule import Growth

if TYPE_CHECKING:
    from progcycle.engine.loop import Trainer

Batches = Generator[tuple[int, Growth, dict[str, Batch]], None, None]


@steady_output()
@guard()
def train(trainer: "Trainer") -> None:
    """Train to the end of the plan, from the last checkpoint again as often as ``training.recovery`` allows.

    Raises:
        UserError, StoppedError: as :meth:`Trainer.run`.
    """
    while True:
        batches = speaking(trainer.accelerator, _batches(trainer))
        trainer.log.start(trainer.nimg)
        try:
            trainer.steps(batches)
            return
        except GoBackError as error:
            trouble = str(error)
        finally:
            batches.close()
        _go_back(trainer, trouble)


def _batches(trainer: "Trainer") -> Batches:
    """This process's batches from where the run stands, and the growth that goes with them.

    In another attempt all pictures have other numbers, and with them another order, other crops, latents and noise:
    everything random is addressed by the number of its picture. Learning rates are lower.
    """
    recipe, accelerator = trainer.recipe, trainer.accelerator
    loader = build_loader(
        trainer.ground.sets,
        trainer.schedule,
        rank=accelerator.process_index,
        processes=accelerator.num_processes,
        start_nimg=trainer.nimg,
        workers=loader_workers(recipe, accelerator),
        pin_memory=accelerator.device.type == "cuda",
        shift=trainer.attempt * ATTEMPT,
    )
    factor = lr_factor(trainer)
    try:
        for nimg, growth, batches in loader:
            yield nimg, replace(growth, lr_scale=growth.lr_scale * factor), batches
    finally:
        loader.close()


def _go_back(trainer: "Trainer", trouble: str) -> None:
    """Bring everything back to the newest whole checkpoint and begin the next attempt; every process must call this."""
    attempt, recovery = trainer.attempt + 1, trainer.recipe.training.recovery
    assert recovery is not None
    trainer.clock.stop()
    trainer.log.close()
    trainer.log.say(
        f"warning: {trouble}; going back to the last checkpoint, attempt {attempt} of {recovery.attempts}: other "
        f"pictures, learning rates multiplied by {recovery.lr_factor**attempt:g}"
    )
    trainer.votes.forget()
    trainer.meter.load_state_dict({})
    if not state.resume(trainer):
        raise UserError(f"Training stopped: {trouble}; there is no checkpoint in {trainer.run_dir} to go back to.")
    trainer.attempt = attempt
    with trainer.writer.watching():
        state.note_attempt(trainer)
