"""Going back to the last checkpoint when numbers go bad, for another attempt with other pictures and a lower rate."""

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING

from progcycle.data import Batch, LoaderError, build_loader, dead_worker
from progcycle.engine import reports, state
from progcycle.engine.page import Figures
from progcycle.engine.setup import loader_workers
from progcycle.engine.trouble import ATTEMPT, GoBackError, lr_factor
from progcycle.errors import UserError
from progcycle.output import steady_output
from progcycle.runtime.guard import guard
from progcycle.runtime.parallel import speaking
from progcycle.runtime.stop import StoppedWaitingError, agreed
from progcycle.schedule import Growth

if TYPE_CHECKING:
    from progcycle.engine.loop import Trainer

PATIENCE = 60.0  # seconds of waiting for pictures, until a word is said
GRACE = 15.0  # seconds for pictures after a signal, with several processes; launchers kill after 30

Batches = Generator[tuple[int, Growth, dict[str, Batch]], None, None]


@steady_output()
@guard()
def train(trainer: "Trainer") -> None:
    """Train to the end of the plan, from the last checkpoint again as often as ``training.recovery`` allows.

    Raises:
        UserError, StoppedError: as :meth:`Trainer.run`.
    """
    while True:
        waiting = _Waiting(trainer)
        batches = speaking(trainer.accelerator, _batches(trainer, waiting))
        trainer.log.start(trainer.nimg)
        try:
            _steps(trainer, batches, waiting)
            return
        except GoBackError as error:
            trouble = str(error)
        finally:
            batches.close()
        _go_back(trainer, trouble)


def _steps(trainer: "Trainer", batches: Batches, waiting: "_Waiting") -> None:
    """Do the steps; where the loader ends them, nothing of those that are done is lost.

    Raises:
        GoBackError: numbers went bad, be it found only as the last checkpoint was due.
        UserError, StoppedError: as :meth:`Trainer.run`.
    """
    try:
        trainer.steps(batches)
    except StoppedWaitingError as error:
        reports.stop(trainer, error.number, waiting.growth or trainer.schedule.at(trainer.nimg))
    except LoaderError:
        if trainer.accelerator.num_processes == 1:
            reports.last_checkpoint(trainer)
        raise
    except RuntimeError as error:
        raise dead_worker(error) or error from None


def _batches(trainer: "Trainer", waiting: "_Waiting") -> Batches:
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
        waiting=waiting,
        tell=trainer.log.say,
    )
    factor = lr_factor(trainer)
    try:
        for nimg, growth, batches in loader:
            waiting.growth = growth
            yield nimg, replace(growth, lr_scale=growth.lr_scale * factor), batches
    finally:
        loader.close()


class _Waiting:
    """What happens while a loader is waited for, perhaps for ever: signals are heard, and a word is said.

    Attributes:
        growth: of the last step, if there was one.
    """

    def __init__(self, trainer: "Trainer") -> None:
        self.trainer, self.told = trainer, False
        self.asked: float | None = None  # seconds of waiting when a signal was heard
        self.growth: Growth | None = None

    def __call__(self, seconds: float) -> None:
        """Look around after so many seconds of waiting.

        Raises:
            StoppedWaitingError: a signal has come, and there are no other processes to agree with.
            UserError: it has come, the others wait for this one, and pictures do not come.
        """
        if seconds > PATIENCE and not self.told:
            self.told = True
            self.trainer.log.say(f"waiting for pictures for {seconds:.0f} s; is the disk slow, or lost?")
        number = agreed(self.trainer.stop.votes())
        if number is None:
            return
        if self.trainer.accelerator.num_processes == 1:
            raise StoppedWaitingError(number)
        self.asked = seconds if self.asked is None else self.asked
        if seconds - self.asked > GRACE:
            raise UserError(
                f"Stopped by {number.name} while waiting for pictures, without a checkpoint; the same command goes on "
                "from the last one."
            )


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
    # stats.jsonl was cut, and may be as long as before when the page looks at it again.
    trainer.page.figures = Figures(trainer.log.stats_path)
    trainer.attempt = attempt
    with trainer.writer.watching():
        state.note_attempt(trainer)
