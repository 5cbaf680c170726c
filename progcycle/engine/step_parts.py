"""What the parts of a training step take: timed from outside, so that a training that is not measured pays nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from progcycle.engine.trainer import Trainer
from progcycle.tasks.adversarial_loss import AdversarialLoss

OPTIMIZER, AVERAGES, PENALTIES, REST = "optimizer", "averages", "penalties", "rest"
PENALIZED = ("gradient_penalty", "r1", "r2")  # options of a discriminator's loss


def part_of(player: str) -> str:
    """The part that a player's losses and gradients belong to, such as ``generators``; its own name for others."""
    for kind in ("generator", "discriminator"):
        if player.startswith(kind):
            return f"{kind}s"
    return player


class StepParts:
    """Times the parts of steps.

    Args:
        trainer: does the steps.
        clock: gives seconds, and waits for the device.

    Attributes:
        seconds: spent in each part so far, without what lies outside of all of them.
        penalized: whether a discriminator has penalties on gradients.
    """

    def __init__(self, trainer: Trainer, clock: Callable[[], float]) -> None:
        self.trainer, self.clock = trainer, clock
        self.seconds: dict[str, float] = {}
        self.penalized = False

    def _timed(self, function: Callable[..., Any], part: Callable[..., str]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*arguments: Any, **options: Any) -> Any:
            began = self.clock()
            try:
                return function(*arguments, **options)
            finally:
                name = part(*arguments)
                self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - began

        return timed

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Time the steps inside of the context."""
        trainer, loss = self.trainer, AdversarialLoss.discriminator_loss

        @wraps(loss)
        def watched(own: AdversarialLoss, *arguments: Any, **options: Any) -> Any:
            self.penalized |= any(getattr(own.options, name, None) is not None for name in PENALIZED)
            return loss(own, *arguments, **options)

        gradients = self._timed(trainer.compute_gradients, lambda player, *_: part_of(player))
        with (
            _replaced(trainer, "compute_gradients", gradients),
            _replaced(trainer, "_apply", self._timed(trainer._apply, lambda *_: OPTIMIZER)),
            _replaced(trainer.ema, "update", self._timed(trainer.ema.update, lambda *_: AVERAGES)),
            _replaced(AdversarialLoss, "discriminator_loss", watched),
        ):
            yield


@contextmanager
def without_penalties() -> Iterator[None]:
    """Leave out the penalties on gradients of all discriminators inside of the context."""
    loss = AdversarialLoss.discriminator_loss

    @wraps(loss)
    def bare(own: AdversarialLoss, *arguments: Any, **options: Any) -> Any:
        given = own.options
        there = [name for name in PENALIZED if getattr(given, name, None) is not None]
        own.options = given.model_copy(update=dict.fromkeys(there))
        try:
            return loss(own, *arguments, **options)
        finally:
            own.options = given

    with _replaced(AdversarialLoss, "discriminator_loss", bare):
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Give an object or a class another attribute inside of the context."""
    there, before = name in vars(owner), vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if there:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
