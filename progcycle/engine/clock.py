"""What training costs: the processor time of a run, over all its resumptions."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CpuClock:
    """CPU time of this process, all its threads together, while it trains.

    What worker processes of the loader and other processes of the run use is not counted: with ``data.workers: 0``,
    the default on a CPU, and one process, this is all there is. Work of a GPU is not CPU time either.

    Args:
        others: CPU time so far of threads that are not counted.

    Attributes:
        seconds: counted so far; a resumed run goes on from what its checkpoint says.
    """

    def __init__(self, others: Callable[[], float] = float) -> None:
        self._others = others
        self._counted = 0.0
        self._since: float | None = None

    @property
    def seconds(self) -> float:
        """CPU time so far; it grows while the clock runs."""
        return self._counted + (0.0 if self._since is None else self._now() - self._since)

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._counted = value
        if self._since is not None:
            self._since = self._now()

    def _now(self) -> float:
        # This thread may be held up between two readings, while others work: half-way between those is the likeliest.
        before, now, after = self._others(), time.process_time(), self._others()
        return now - (before + after) / 2

    def start(self) -> None:
        """Count from now on."""
        if self._since is None:
            self._since = self._now()

    def stop(self) -> None:
        """Count no more until the next start."""
        self._counted, self._since = self.seconds, None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count what happens inside."""
        self.stop()
        yield
        self.start()
