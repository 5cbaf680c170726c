"""What training costs: the processor time of a run over all its resumptions, and the time that is left of it."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from progcycle.schedule import Growth, GrowthSchedule

FIXED = 0.4  # of a step at the first stage does not grow with the stage: optimizers, Python
MEMORY = 0.97  # weight of the steps so far, one step later


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

    def state_dict(self) -> dict[str, float | None]:
        """The time so far."""
        return {"cpu_seconds": self.seconds}

    def load_state_dict(self, state: Mapping[str, float | None]) -> None:
        """Restore what :meth:`state_dict` gave; where the time is not known, count from here."""
        self.seconds = float(state["cpu_seconds"] or 0.0)

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


class TimeLeft:
    """How long the rest of a run takes, given that later stages cost more.

    The rate of a stage is measured as it trains: the mean of about its last 30 steps. What a step of a later stage
    will take is told from ``effort``, measured for each stage once: ``fixed + slope * effort``. The two numbers come of
    the stages trained so far, scaled to fit the newest exactly. As long as that is the only one, the fixed part is
    taken to be ``FIXED`` of a step at the plan's first stage.

    What goes on beside the steps (evaluations, samples, checkpoints) is counted in: it is taken to go on growing with
    the time of the steps.

    Args:
        schedule: the growth plan.

    Attributes:
        effort: by stage, what tells how much longer a step takes there than elsewhere, in any unit; see
            :func:`progcycle.engine.samples.efforts`. Until it is measured each stage counts twice the one before:
            four times the pixels, half the feature maps.
        nimg: pictures shown so far, moved on by :meth:`step`.
    """

    def __init__(self, schedule: GrowthSchedule) -> None:
        self.schedule = schedule
        self.effort: Mapping[int, float] = {p.stage: p.batch_size * p.resolution for p in schedule.phases}
        self.nimg = 0
        self.steps: dict[int, _Mean] = {}
        self._training = self._beside = 0.0

    def step(self, growth: Growth, seconds: float) -> None:
        """Take in a step that took so many seconds."""
        self.steps.setdefault(growth.stage, _Mean()).add(seconds)
        self.nimg = growth.nimg + growth.batch_size
        self._training += seconds

    @property
    def settled(self) -> bool:
        """Whether there were enough steps to tell a time: 10 in 10 seconds."""
        return self._training >= 10 and sum(mean.count for mean in self.steps.values()) >= 10

    def beside(self, seconds: float) -> None:
        """Take in what went on beside the steps."""
        self._beside += seconds

    def left(self) -> float | None:
        """Seconds to the end of the plan, all that goes on beside the steps included; None before the first step."""
        if not self.steps:
            return None
        newest = max(self.steps)
        predicted = self._predicted(newest)
        seconds = 0.0
        for phase in self.schedule.phases:
            steps = max(phase.end - max(phase.start, self.nimg), 0) / phase.batch_size
            each = self.steps[phase.stage].value if phase.stage in self.steps else predicted(phase.stage)
            seconds += steps * each
        return seconds * (1 + self._beside / self._training) if self._training else seconds

    def _predicted(self, newest: int) -> Callable[[int], float]:
        fixed, slope = self._fit()
        scale = self.steps[newest].value / (fixed + slope * self.effort[newest])
        return lambda stage: scale * (fixed + slope * self.effort[stage])

    def _fit(self) -> tuple[float, float]:
        """The fixed part of a step and the slope, both at least 0, one above; their scale has no meaning."""
        if len(self.steps) == 1:
            return FIXED * self.effort[self.schedule.phases[0].stage], 1 - FIXED
        # Least squares of the relative errors.
        effort = np.array([self.effort[stage] for stage in self.steps])
        taken = np.array([mean.value for mean in self.steps.values()])
        (fixed, slope), *_ = np.linalg.lstsq(np.stack([1 / taken, effort / taken], axis=1), np.ones(len(taken)))
        if slope <= 0:
            return 1.0, 0.0
        return max(float(fixed), 0.0), float(slope)


class _Mean:
    """A mean in which old values fade; the first one, which is slow to start, counts as long as it is alone."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._weight = 0.0

    def add(self, value: float) -> None:
        """Take in a value."""
        self.count += 1
        if self.count == 2:
            self._sum = self._weight = 0.0
        self._sum, self._weight = MEMORY * self._sum + value, MEMORY * self._weight + 1

    @property
    def value(self) -> float:
        """The mean."""
        return self._sum / self._weight
