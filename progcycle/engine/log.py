"""The log of a run: status lines, stats.jsonl, sample grids, trackers."""

import json
import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from PIL import Image
from tqdm import tqdm

from progcycle.engine.clock import TimeLeft
from progcycle.engine.formatting import duration, memory_size, position, status_line, wrapped
from progcycle.engine.meter import peak_memory
from progcycle.engine.trackers import track, track_samples
from progcycle.files import atomic_file
from progcycle.output import LOGGER, SafeStream, bars_hidden, in_notebook, safe_output
from progcycle.schedule import Growth, GrowthSchedule
from progcycle.tasks import Task

# Figures that differ between two identical runs; memory_gb is the peak of this process.
TIMES = ("time", "seconds", "images_per_s", "cpu_seconds", "memory_gb")


class RunLog:
    """Everything that the first process writes for people; on the others every call does nothing.

    Args:
        accelerator: the processes and their trackers.
        run_dir: the run folder.
        schedule: the growth plan, for the progress bar and the time left.
    """

    def __init__(self, accelerator: Accelerator, run_dir: Path, schedule: GrowthSchedule) -> None:
        self.accelerator, self.run_dir, self.schedule = accelerator, run_dir, schedule
        self.main = accelerator.is_main_process
        self.stats_path = run_dir / "stats.jsonl"
        self.bar: Any = None
        self.time_left = TimeLeft(schedule)
        self.estimate_pending = True
        self.broken: dict[str, None] = {}
        self.reported_failures: set[str] = set()

    def info(self, text: str) -> None:
        """Log a line, above the progress bar if there is one; where it cannot be written, nothing happens."""
        if self.main:
            with safe_output():
                if self.bar is not None:
                    self.bar.clear()
                level = logging.WARNING if text.startswith("warning:") else logging.INFO
                LOGGER.log(level, text, extra={"training": True})
                if self.bar is not None:
                    self.bar.refresh()

    def warning(self, text: str) -> None:
        """Log a warning among the other lines."""
        self.info(f"warning: {text}")

    def start(self, nimg: int) -> None:
        """Show a progress bar on a terminal or in a notebook, starting at ``nimg`` pictures."""
        if self.main:
            self.bar = _Bar(self.schedule.total, nimg, self.time_left)

    def progress(self, pictures: int) -> None:
        """Advance the progress bar; log the estimated time once, as soon as it is reliable."""
        if self.bar is not None:
            self.bar.update(pictures)
        if self.estimate_pending and self.time_left.settled:
            self.estimate_pending = False
            if (left := self.time_left.left()) is not None:
                memory = peak_memory(self.accelerator.device)
                words = f", {memory_size(memory)} of memory so far" if memory else ""
                self.info(f"about {duration(left)} left{words}")

    def close(self) -> None:
        """Close the progress bar."""
        if self.bar is not None:
            self.bar.close()

    def report_broken(self, sentences: Iterable[str]) -> None:
        """Log every broken picture once, with their count."""
        for sentence in sentences:
            if sentence not in self.broken:
                self.broken[sentence] = None
                self.warning(f"{sentence.rstrip('.')} (replaced by the next one; {len(self.broken)} so far)")

    def state_dict(self) -> dict[str, int]:
        """Bytes of stats.jsonl so far."""
        return {"stats_bytes": self._length()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Truncate stats.jsonl to its length at a checkpoint."""
        self.truncate(int(state["stats_bytes"]))

    def truncate(self, length: int) -> None:
        """Truncate stats.jsonl to a number of bytes."""
        if self.main and self._length() > length:
            with self.stats_path.open("r+b") as file:
                file.truncate(length)

    def _length(self) -> int:
        return self.stats_path.stat().st_size if self.stats_path.exists() else 0

    def status(
        self, nimg: int, growth: Growth, figures: Mapping[str, float], extra: Mapping[str, float], task: Task
    ) -> None:
        """Append a line to stats.jsonl, print the status line and feed the trackers.

        Args:
            nimg: pictures shown.
            growth: growth of the step just done.
            figures: means since the last status line.
            extra: values of the moment, the times of ``TIMES`` among them.
            task: selects the figures of the status line.
        """
        if not self.main:
            return
        self._record(nimg, growth, {"lr_scale": growth.lr_scale, **figures, **extra})
        left, self.estimate_pending = self.time_left.left(), False
        self.info(status_line(nimg, self.schedule.total, growth, task.status(figures), extra, left, task.symbols))

    def evaluation(self, nimg: int, growth: Growth, figures: Mapping[str, float], extra: Mapping[str, float]) -> None:
        """Append a line ``metric/<name>`` to stats.jsonl, print it and feed the trackers.

        Args:
            nimg: pictures shown.
            growth: growth of the step just done.
            figures: of quality, by name; those that are not finite are printed only.
            extra: values of the moment, not printed.
        """
        if not self.main:
            return
        finite = {f"metric/{name}": value for name, value in figures.items() if math.isfinite(value)}
        self._record(nimg, growth, {**finite, **extra})
        words = (f"{name} {value:.4g}" for name, value in figures.items())
        self.info(wrapped(f"kimg {position(nimg, self.schedule.total)}", words))

    def _record(self, nimg: int, growth: Growth, figures: Mapping[str, float]) -> None:
        stage, resolution = growth.plan_stage, int(growth.resolution)
        place = {"nimg": nimg, "stage": stage, "resolution": resolution, "alpha": growth.progress}
        length = self._length()
        try:
            with self.stats_path.open("a") as file:
                file.write(json.dumps({"time": round(time.time()), **place, **figures}) + "\n")
        except OSError:  # on a full disk a part of the line may be there
            with suppress(OSError):
                self.truncate(length)
            raise
        track(self.accelerator, {**place, **figures}, nimg, self.warning)

    def samples(self, nimg: int, sheet: Image.Image) -> None:
        """Write a sheet of samples, and show it to the trackers."""
        if not self.main:
            return
        with (
            self.tolerating_failure("samples"),
            atomic_file(self.run_dir / "samples" / f"nimg-{nimg:012d}.png") as path,
        ):
            sheet.save(path)
        if self.accelerator.trackers:
            track_samples(self.accelerator, np.asarray(sheet), nimg, self.warning)

    @contextmanager
    def tolerating_failure(self, what: str) -> Iterator[None]:
        """Go on without a picture of the run that cannot be drawn or written; every reason is logged once.

        Args:
            what: the picture, such as ``curves.png``.
        """
        try:
            yield
        except Exception as error:  # a full disk, a folder in its place, a font, no memory
            why = f"{what} could not be drawn ({' '.join(str(error).split()) or type(error).__name__})"
            # Messages of the system contain a temporary file name that changes each time.
            kind = f"{what} {error.errno}" if isinstance(error, OSError) else why
            if kind not in self.reported_failures:
                self.reported_failures.add(kind)
                self.warning(f"{why}; training goes on")


class _Bar(tqdm):  # type: ignore[type-arg]
    """A progress bar with the same time estimate as the status lines."""

    def __init__(self, total: int, nimg: int, time_left: TimeLeft) -> None:
        self.time_left = time_left
        super().__init__(
            total=total,
            initial=nimg,
            file=SafeStream(sys.stderr),
            dynamic_ncols=True,
            disable=bars_hidden() or sys.stderr is None or not (sys.stderr.isatty() or in_notebook()),
            bar_format="{percentage:3.0f} %|{bar}| {position} kimg{left}",
        )

    @property
    def format_dict(self) -> dict[str, Any]:
        """Values for ``bar_format``."""
        known = super().format_dict
        left = self.time_left.left()
        words = "" if left is None else f", {duration(left)} left"
        return {**known, "position": position(known["n"], known["total"]), "left": words}
