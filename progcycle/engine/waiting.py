"""Waiting for pictures, perhaps for ever: signals are heard meanwhile, and a word is said."""

from collections.abc import Callable

from accelerate import Accelerator

from progcycle.errors import UserError
from progcycle.runtime.stop import StoppedWaitingError, agreed
from progcycle.schedule import Growth

PATIENCE = 60.0  # seconds of waiting for pictures, until a word is said
GRACE = 15.0  # seconds for pictures after a signal, with several processes; launchers kill after 30


class Waiting:
    """What happens while a loader is waited for.

    Args:
        accelerator: the processes.
        asked: which signals this process has received, see :meth:`StopSignals.votes`.
        say: told once that it takes long.

    Attributes:
        growth: of the last step, if there was one.
    """

    def __init__(self, accelerator: Accelerator, asked: Callable[[], list[bool]], say: Callable[[str], None]) -> None:
        self.accelerator, self.asked, self.say, self.told = accelerator, asked, say, False
        self.since: float | None = None  # seconds of waiting when a signal was heard
        self.growth: Growth | None = None

    def __call__(self, seconds: float) -> None:
        """Look around after so many seconds of waiting.

        Raises:
            StoppedWaitingError: a signal has come, and there are no other processes to agree with.
            UserError: it has come, the others wait for this one, and pictures do not come.
        """
        if seconds > PATIENCE and not self.told:
            self.told = True
            self.say(f"waiting for pictures for {seconds:.0f} s; is the disk slow, or lost?")
        number = agreed(self.asked())
        if number is None:
            return
        if self.accelerator.num_processes == 1:
            raise StoppedWaitingError(number)
        self.since = seconds if self.since is None else self.since
        if seconds - self.since > GRACE:
            raise UserError(
                f"Stopped by {number.name} while waiting for pictures, without a checkpoint; the same command goes on "
                "from the last one."
            )
