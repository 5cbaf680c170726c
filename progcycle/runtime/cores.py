"""How many processor cores this process may use, and how many of them other programs leave free."""

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil  # type: ignore[import-untyped]

CGROUPS = Path("/sys/fs/cgroup")
SHORTEST = 0.3  # seconds over which the use of cores is known well enough; the kernel counts in steps of 0.01
SLACK = 0.5  # cores that may be missing before a line says so


def usable_cores() -> float:
    """The cores that this process may use: those of the machine, less what affinity and its control group withhold."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(float(cores), cgroup_limit())


def cgroup_limit(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> float:
    """Cores' worth of time that the control groups of this process allow; infinity without a limit.

    Args:
        root: where control groups are mounted.
        own: the file that names those of this process.
    """
    folders = [root, root / "cpu"]  # in a container its own group is the root
    try:
        for line in own.read_text(encoding="utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers in ("", "cpu", "cpu,cpuacct"):
                base = root if not controllers else root / "cpu"
                group = Path(name.lstrip("/"))
                folders += [base / part for part in (group, *group.parents)]
    except (OSError, ValueError):
        pass
    return min((limit for folder in folders for limit in (_version_2(folder), _version_1(folder))), default=math.inf)


def _version_2(folder: Path) -> float:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return math.inf if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


def _version_1(folder: Path) -> float:
    try:
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf


class CoreUse:
    """How many cores other programs have used since this was made.

    Args:
        sample: gives seconds since some moment, seconds of processor time that all programs of the machine have used,
            and those of this process.
    """

    def __init__(self, sample: Callable[[], tuple[float, float, float]] | None = None) -> None:
        self._sample = sample or _sample
        self._began = self._sample()

    def of_others(self, alike: int = 1) -> float | None:
        """Cores in use by other programs, on average; None if too little time has passed to say.

        Args:
            alike: processes of this run on this machine, which have done the same as this one.
        """
        seconds, busy, own = (now - before for now, before in zip(self._sample(), self._began, strict=True))
        return max((busy - alike * own) / seconds, 0.0) if seconds >= SHORTEST else None


def _sample() -> tuple[float, float, float]:
    times = psutil.cpu_times()._asdict()
    # Times of guests are in those of users too.
    idle = ("idle", "iowait", "guest", "guest_nice")
    return time.monotonic(), sum(value for name, value in times.items() if name not in idle), time.process_time()


since_import = CoreUse()  # a few seconds before training begins, in which other libraries are imported


def local_processes(processes: int, environment: Mapping[str, str] = os.environ) -> int:
    """How many processes of a run are on this machine.

    Args:
        processes: of the whole run.
        environment: variables of the launcher.
    """
    count = environment.get("LOCAL_WORLD_SIZE", "")
    return int(count) if processes > 1 and count.isdigit() else processes


def crowded_cores(
    threads: int,
    processes: int = 1,
    cores: float | None = None,
    machine: int | None = None,
    others: float | None = None,
) -> list[str]:
    """A warning where training asks for more threads than there are free cores; no line if all is well.

    Args:
        threads: of each process.
        processes: of the run on this machine.
        cores: that may be used; default: :func:`usable_cores`.
        machine: cores that there are; default: those of this one.
        others: cores in use by other programs, anywhere on it; default: measured since this module was imported.
    """
    asked = threads * processes
    if asked == 1:
        return []
    if others is None:
        others = since_import.of_others(processes) or 0.0
    cores = usable_cores() if cores is None else cores
    free = max(min(cores, (machine or os.cpu_count() or 1) - others), 0.0)
    if asked <= free + SLACK:
        return []
    better = max(int(free + SLACK) // processes, 1)
    each = f" in each of {processes} processes" if processes > 1 else ""
    advice = f"try OMP_NUM_THREADS={better}" if better < threads else "start fewer processes"
    return [
        f"warning: training asks for {threads} thread{'s' * (threads > 1)}{each}, but only {free:.1f} of {cores:g} "
        f"cores are free; threads wait for each other, and on a busy core a step can take several times as long: "
        f"{advice}."
    ]
