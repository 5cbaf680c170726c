"""Stopping on a signal: the step is finished, a checkpoint is written, and all processes stop at the same step."""

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from progcycle.runtime.launcher import Launcher

# A terminal that is closed and a connection that is lost send SIGHUP; clusters announce a
# preemption with SIGUSR1 or SIGUSR2; SIGXCPU comes at a soft limit of processor time. Windows has none of these four.
NAMES = ("SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP", "SIGUSR2", "SIGXCPU")
SIGNALS = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))
HINT = b"\nstopping after this step and its checkpoint; Ctrl-C again stops at once\n"


class StoppedError(Exception):
    """A run was stopped by a signal and its checkpoint is written; the text says so.

    Args:
        number: the signal.
        text: one sentence.
    """

    def __init__(self, number: signal.Signals, text: str) -> None:
        super().__init__(text)
        self.number = number

    @property
    def exit_code(self) -> int:
        """Exit code by convention: 128 + the number of the signal."""
        return 128 + self.number


class StoppedWhileWaitingError(Exception):
    """A signal arrived between two steps, while the process was waiting for its loader.

    Args:
        number: the signal.
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"{number.name} while waiting for pictures")
        self.number = number


class StopSignals:
    """Records stop signals of this process, so that the step can be finished first.

    Args:
        enabled: whether to install handlers; a run inside another program leaves the program's handlers in place.

    Attributes:
        received: the first signal that arrived, or None.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.received: signal.Signals | None = None
        self._launcher: Launcher | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Install the handlers, in the main thread only, and restore the earlier ones at the end.

        Outside the context a signal ends the process as usual, as there is no step to finish. A signal that arrived too
        late for the last step is sent again at the end.
        """
        if not self.enabled or threading.current_thread() is not threading.main_thread():
            yield
            return
        # What was ignored before, as SIGINT is in the background of a script and SIGHUP under nohup, stays ignored.
        heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
        before = {number: signal.signal(number, self._remember) for number in heard}
        self._launcher = Launcher()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)
            self._launcher = None
        if self.received is not None:
            os.kill(os.getpid(), self.received)

    def _remember(self, number: int, _: FrameType | None) -> None:
        self.received = self.received or signal.Signals(number)
        if number == signal.SIGINT:
            # The default action of the kernel works even while the interpreter is inside a long library call.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if os.environ.get("RANK", "0") == "0":
                # print is not safe here: the signal may have come in the middle of another one. A reader of the output
                # may have had the same Ctrl-C, and be gone.
                with suppress(OSError):
                    os.write(2, HINT)

    def votes(self) -> list[bool]:
        """For each of ``SIGNALS``, whether this process has received it."""
        if self._launcher is not None and self._launcher.has_gone:
            # It was killed; or, with one process, accelerate launch received a signal, and it forwards none.
            self.received = self.received or signal.SIGTERM
        return [number == self.received for number in SIGNALS]


def agreed_signal(votes: Sequence[float]) -> signal.Signals | None:
    """The signal that all processes stop on, or None.

    Args:
        votes: share of the processes that have received each of ``SIGNALS``, see :meth:`StopSignals.votes`.
    """
    return next((signal.Signals(number) for number, share in zip(SIGNALS, votes, strict=True) if share > 0), None)
