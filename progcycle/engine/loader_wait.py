"""Waiting before a step, perhaps for ever: for pictures, and for the other processes; signals are heard meanwhile."""

import signal
from collections.abc import Callable

from progcycle.runtime import rendezvous
from progcycle.runtime.stop import StoppedWhileWaitingError, agreed_signal
from progcycle.schedule import Growth

PATIENCE = 60.0  # seconds of waiting for pictures, until a word is said


class LoaderWait:
    """What happens while a loader is waited for.

    Args:
        asked: which signals this process has received, see :meth:`StopSignals.votes`.
        say: told once that it takes long.

    Attributes:
        growth: of the last step, if there was one.
    """

    def __init__(self, asked: Callable[[], list[bool]], say: Callable[[str], None]) -> None:
        self.asked, self.say, self.told = asked, say, False
        self.growth: Growth | None = None

    def __call__(self, seconds: float) -> None:
        """Look around after so many seconds of waiting for pictures.

        Raises:
            StoppedWhileWaitingError: a signal has come, to this process or to another one that waits.
        """
        if seconds > PATIENCE and not self.told:
            self.told = True
            self.say(f"waiting for pictures for {seconds:.0f} s; is the disk slow, or lost?")
        number, meeting = agreed_signal(self.asked()), rendezvous.current
        if stopped := number if meeting is None else meeting.while_waiting(number):
            raise StoppedWhileWaitingError(signal.Signals(stopped))

    def meet(self) -> None:
        """Wait for the other processes: for their pictures, and for what the first one does alone.

        Raises:
            StoppedWhileWaitingError: as above.
        """
        meeting = rendezvous.current
        if meeting is not None and (stopped := meeting.begin_step(lambda: agreed_signal(self.asked()))):
            raise StoppedWhileWaitingError(signal.Signals(stopped))
