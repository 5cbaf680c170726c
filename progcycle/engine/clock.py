"""CPU time of a run over all its resumptions, and the estimated time to its end."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from progcycle.schedule import Growth, GrowthSchedule

FIXED = 0.4  # of a step at the first stage does not grow with the stage: optimizers, Python
MEMORY = 0.97  # weight of the steps so far, one step later


class CpuClock:
    """CPU time of this process while it trains, summed over its threads.

    The loader's worker processes and the other processes of the run are not counted. With one process and
    ``data.workers: 0``, the default on a CPU, there are none. Time on a GPU is not CPU time either.

    Args:
        others: returns the CPU time so far of threads that are not to be counted.

    Attributes:
        seconds: counted so far; a resumed run continues from the value in its checkpoint.
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
        """Restore what :meth:`state_dict` returned; an unknown time counts as 0."""
        self.seconds = float(state["cpu_seconds"] or 0.0)

    def _now(self) -> float:
        # This thread may be interrupted between two readings while others work: their mean is the best estimate.
        before, now, after = self._others(), time.process_time(), self._others()
        return now - (before + after) / 2

    def start(self) -> None:
        """Count from now on."""
        if self._since is None:
            self._since = self._now()

    def stop(self) -> None:
        """Stop counting until the next start."""
        self._counted, self._since = self.seconds, None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend counting inside the context."""
        self.stop()
        yield
        self.start()


class TimeLeft:
    """How long the rest of a run takes, given that later stages cost more.

    The time of a step is measured as a stage trains: the mean of about its last 30 steps. For a later stage it is
    predicted from that stage's ``cost``, which is measured once: ``fixed + slope * cost``. The two coefficients are
    fitted to the stages trained so far and scaled to match the newest exactly. While only one stage has been trained,
    the fixed part is assumed to be ``FIXED`` of a step at the plan's first stage.

    Overhead between the steps (evaluations, samples, checkpoints) is included: it is assumed to keep its share of the
    time.

    Args:
        schedule: the growth plan.

    Attributes:
        cost: relative cost of a step by stage, in any unit; see :func:`progcycle.engine.samples.sampling_costs`.
            Until it is measured, each stage is assumed to cost twice as much as the one before: four times the pixels,
            half the feature maps.
        nimg: pictures shown so far, updated by :meth:`step`.
    """

    def __init__(self, schedule: GrowthSchedule) -> None:
        self.schedule = schedule
        self.cost: Mapping[int, float] = {p.stage: p.batch_size * int(p.resolution) for p in schedule.phases}
        self.nimg = 0
        self.steps: dict[int, _Mean] = {}
        self._training = self._overhead = 0.0

    def step(self, growth: Growth, seconds: float) -> None:
        """Record the duration of a step."""
        self.steps.setdefault(growth.plan_stage, _Mean()).add(seconds)
        self.nimg = growth.nimg + growth.batch_size
        self._training += seconds

    @property
    def settled(self) -> bool:
        """Whether enough steps were measured for an estimate: at least 10, and 10 seconds."""
        return self._training >= 10 and sum(mean.count for mean in self.steps.values()) >= 10

    def add_overhead(self, seconds: float) -> None:
        """Record time spent between the steps."""
        self._overhead += seconds

    def left(self) -> float | None:
        """Seconds to the end of the plan, overhead between the steps included; None before the first step."""
        if not self.steps:
            return None
        newest = max(self.steps)
        predicted = self._predicted(newest)
        seconds = 0.0
        for phase in self.schedule.phases:
            steps = max(phase.end - max(phase.start, self.nimg), 0) / phase.batch_size
            each = self.steps[phase.stage].value if phase.stage in self.steps else predicted(phase.stage)
            seconds += steps * each
        return seconds * (1 + self._overhead / self._training) if self._training else seconds

    def _predicted(self, newest: int) -> Callable[[int], float]:
        fixed, slope = self._fit()
        scale = self.steps[newest].value / (fixed + slope * self.cost[newest])
        return lambda stage: scale * (fixed + slope * self.cost[stage])

    def _fit(self) -> tuple[float, float]:
        """The fixed part and the slope; both are at least 0, one is above 0, and only their ratio matters."""
        if len(self.steps) == 1:
            return FIXED * self.cost[self.schedule.phases[0].stage], 1 - FIXED
        # Least squares of the relative errors.
        cost = np.array([self.cost[stage] for stage in self.steps])
        taken = np.array([mean.value for mean in self.steps.values()])
        (fixed, slope), *_ = np.linalg.lstsq(np.stack([1 / taken, cost / taken], axis=1), np.ones(len(taken)))
        if slope <= 0:
            return 1.0, 0.0
        return max(float(fixed), 0.0), float(slope)


class _Mean:
    """A mean that forgets exponentially. The first value, a slow warm-up step, is dropped once there is another."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._weight = 0.0

    def add(self, value: float) -> None:
        """Add a value."""
        self.count += 1
        if self.count == 2:
            self._sum = self._weight = 0.0
        self._sum, self._weight = MEMORY * self._sum + value, MEMORY * self._weight + 1

    @property
    def value(self) -> float:
        """The mean."""
        return self._sum / self._weight
