"""Waiting before a step, without a time limit, for pictures and for other processes, while signals are handled."""

import signal
from collections.abc import Callable

from progcycle.runtime import rendezvous
from progcycle.runtime.stop import StoppedWhileWaitingError, agreed_signal
from progcycle.schedule import Growth

PATIENCE = 60.0  # seconds of waiting for pictures before a line is logged


class LoaderWait:
    """Called while the loader is waited for: handles signals, and logs a line if it takes long.

    Args:
        signals: returns which signals this process has received, see :meth:`StopSignals.votes`.
        report: called with a line once if it takes long.

    Attributes:
        growth: of the last step, if there was one.
    """

    def __init__(self, signals: Callable[[], list[bool]], report: Callable[[str], None]) -> None:
        self.signals, self.report, self.reported = signals, report, False
        self.growth: Growth | None = None

    def __call__(self, seconds: float) -> None:
        """Check for signals after so many seconds of waiting for pictures.

        Raises:
            StoppedWhileWaitingError: this process, or another one that waits, has received a signal.
        """
        if seconds > PATIENCE and not self.reported:
            self.reported = True
            self.report(f"waiting for pictures for {seconds:.0f} s; check whether their disk is slow or disconnected")
        number, meeting = agreed_signal(self.signals()), rendezvous.current
        if stopped := number if meeting is None else meeting.while_waiting(number):
            raise StoppedWhileWaitingError(signal.Signals(stopped))

    def wait_for_processes(self) -> None:
        """Wait until the other processes have their pictures, and the first one has done what only it does.

        Raises:
            StoppedWhileWaitingError: as above.
        """
        meeting = rendezvous.current
        if meeting is not None and (stopped := meeting.begin_step(lambda: agreed_signal(self.signals()))):
            raise StoppedWhileWaitingError(signal.Signals(stopped))
