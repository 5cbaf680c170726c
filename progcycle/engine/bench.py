"""How fast a recipe trains here, stage by stage, and what limits it: the real steps on the real pictures, discarded."""

import contextlib
import json
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from progcycle import __version__
from progcycle.data import Batch, PictureSet, build_loader, resolve_sets
from progcycle.engine.build import build
from progcycle.engine.context import RunContext, cache_folder, loader_workers, set_up
from progcycle.engine.convolution_peak import OperationCounter
from progcycle.engine.description import device_name
from progcycle.engine.formatting import duration, memory_size
from progcycle.engine.initial_weights import in_order
from progcycle.engine.levels import resolve_levels
from progcycle.engine.memory import MemoryAdvice
from progcycle.engine.meter import peak_memory
from progcycle.engine.step_parts import AVERAGES, OPTIMIZER, PENALTIES, REST, StepParts, part_of, without_penalties
from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.recipe import Recipe
from progcycle.resolution import column_width
from progcycle.runtime.measure_precision import device_clock
from progcycle.schedule import Growth, GrowthSchedule, Phase

SECONDS = 80.0  # of measuring; setting up and the last stage's first steps come on top
FADE = 0.15  # share of a phase that fades in, of which only the time is measured
TIMED, SPLIT = 0.6, 0.25  # shares of a stage's time for whole steps and for their parts
FEWEST = 3  # steps of each kind, if one does not take too long
FEW_PICTURES = 4000  # so many are cached for the measurement; more would take minutes
SOON = 10.0  # seconds that a stage may always take
WAIT = "data"
SHORT = {"generators": "gen", "discriminators": "disc", PENALTIES: "pen", OPTIMIZER: "opt", AVERAGES: "ema"}


@dataclass(frozen=True)
class StageSpeed:
    """How fast training is at one stage, in the phase that does not fade, where there is one.

    Attributes:
        part: "" for training, else the name of what goes before, such as ``pretraining``.
        resolution: of the stage; in JSON, pixels of the shorter side.
        batch_size: pictures of one domain a step.
        pictures: of one domain that the plan shows at this resolution.
        step: median seconds of a step, with the wait for its pictures.
        pictures_per_second: of one domain.
        shares: of a step's time, by part, in [0, 1]; ``data`` is the wait for pictures.
        flops: floating-point operations of a step.
        rate: operations a second that the step reaches.
        peak: operations a second of its convolutions alone; None without convolutions.
        memory: peak in bytes; None if the system does not report it.
        seconds: of all pictures of this resolution.
    """

    part: str
    resolution: int
    batch_size: int
    pictures: int
    step: float
    pictures_per_second: float
    shares: Mapping[str, float]
    flops: float
    rate: float
    peak: float | None
    memory: int | None
    seconds: float

    @property
    def of_peak(self) -> float | None:
        """The share of the convolutions' own speed that the step reaches."""
        return None if self.peak is None else self.rate / self.peak


@dataclass(frozen=True)
class Bench:
    """How fast a recipe trains on this device.

    Attributes:
        recipe: its name.
        device: in words.
        precision: number format, and why.
        versions: of what computes.
        stages: the stages that were measured; those of pre-training lead.
        missing: resolutions that would have taken too long.
        share: of this process's threads' time that other programs left to it, in [0, 1]; 1 on a GPU.
        notes: sentences about what is measured otherwise than in a run.
    """

    recipe: str
    device: str
    precision: str
    versions: str
    stages: Sequence[StageSpeed]
    missing: Sequence[int] = ()
    share: float = 1.0
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def seconds(self) -> float | None:
        """Time of the whole plan, without what a run writes; None if a stage is missing."""
        return None if self.missing else sum(stage.seconds for stage in self.stages)

    def content(self) -> dict[str, Any]:
        """All of it, for a JSON file."""
        stages = [{**asdict(stage), "of_peak": stage.of_peak} for stage in self.stages]
        return {**asdict(self), "stages": stages, "seconds": self.seconds}

    def columns(self) -> list[str]:
        """The parts of a step, in the order of a table: the wait for data, the players, what is left over."""
        ends = (PENALTIES, OPTIMIZER, AVERAGES, REST)
        found = dict.fromkeys(name for stage in self.stages for name in stage.shares)
        return [*(n for n in found if n not in ends), *(n for n in ends if n in found)]

    def table(self) -> str:
        """One line a stage."""
        columns = self.columns()
        words = {name: SHORT.get(name, name)[:11] for name in columns}
        widths = {name: max(len(word) + 1, 6) for name, word in words.items()}
        px = column_width((stage.resolution for stage in self.stages), 4)
        head = f"{'px':>{px}}{'batch':>6}{'ms/step':>9}{'img/s':>8}{'of peak':>8}"
        head += "".join(f"{words[name]:>{widths[name]}}" for name in columns) + f"{'memory':>9}{'in all':>13}"
        lines, part = [head], ""
        for stage in self.stages:
            if stage.part != part:
                lines.append(f"{stage.part}:" if stage.part else "training:")
                part = stage.part
            peak = "-" if stage.of_peak is None else f"{stage.of_peak:.0%}"
            line = f"{stage.resolution:{px}}{stage.batch_size:6}{1000 * stage.step:9.1f}"
            line += f"{stage.pictures_per_second:8.1f}{peak:>8}"
            line += "".join(
                f"{f'{stage.shares[name]:.0%}' if name in stage.shares else '-':>{widths[name]}}" for name in columns
            )
            memory = "-" if stage.memory is None else memory_size(stage.memory)
            lines.append(f"{line}{memory:>9}{duration(stage.seconds):>13}")
        return "\n".join(lines)

    def __str__(self) -> str:
        lines = [f"{self.recipe} on {self.device}, precision: {self.precision}", self.table()]
        if self.missing:
            sides = ", ".join(f"{side} px" for side in self.missing)
            lines.append(f"not measured, as it would take longer than --seconds: {sides}")
        else:
            assert self.seconds is not None
            lines.append(f"the whole plan: {duration(self.seconds)}, without evaluations, samples and checkpoints")
        if self.share < 0.9:
            line = f"other programs left these steps {self.share:.0%} of the processor time that they asked for"
            alone = (
                ""
                if self.seconds is None
                else f"; alone, the plan would take about {duration(self.seconds * self.share)}"
            )
            lines.append(line + alone)
        return "\n".join([*lines, *self.notes])


def bench(
    recipe: Recipe, name: str, seconds: float = SECONDS, report: Callable[[str], None] = lambda line: None
) -> Bench:
    """Train a recipe for some steps of every phase on its own pictures, and discard the result.

    Nothing is written but temporary files. A complete cache of the pictures in ``runs/.cache`` is read.

    Args:
        recipe: a validated recipe.
        name: of the recipe, for people.
        seconds: for all steps together.
        report: called with a line as each stage is done.

    Raises:
        UserError: the recipe cannot be trained, or there is not enough memory for it.
    """
    stages: list[StageSpeed] = []
    missing: list[int] = []
    notes: dict[str, None] = {}
    with tempfile.TemporaryDirectory(prefix="progcycle-bench-") as scratch:
        recipe = resolve_levels(recipe, Path(scratch) / "run")
        parts = [(kind or "", part, build(part, kind)) for kind, part in in_order(recipe)]
        budget = _Budget(seconds, [phase for _, _, built in parts for phase in built.schedule.phases])
        spent = taken = 0.0
        for kind, part, built in parts:
            folder, caches = Path(scratch) / (kind or "run"), cache_folder(Path("runs") / name)
            context = set_up(part, folder, built.schedule, caches, built.task.networks)
            if context.accelerator.num_processes > 1:
                raise UserError("progcycle bench measures one process; start it without a launcher.")
            notes |= dict.fromkeys(_cached(context, part, built.schedule, Path(scratch)))
            trainer = Trainer(part, built, context.accelerator, context.precision, compilation=context.compilation)
            measured = _Measured(part, kind, trainer, built.schedule, context, budget)
            busy, began = time.process_time(), time.perf_counter()
            for speed in measured.stages(missing):
                stages.append(speed)
                report(f"{speed.resolution} px: {1000 * speed.step:.1f} ms a step")
            spent, taken = spent + time.process_time() - busy, taken + time.perf_counter() - began
            precision, device = str(context.precision), context.accelerator.device
    share = min(spent / (taken * torch.get_num_threads()), 1.0) if device.type == "cpu" else 1.0
    versions = f"progcycle {__version__}, torch {torch.__version__}"
    return Bench(name, device_name(device), precision, versions, stages, missing, share, list(notes))


class _Budget:
    """The time left for the phases that are still to be measured; what one leaves over, the next ones have."""

    def __init__(self, seconds: float, phases: Sequence[Phase]) -> None:
        self.seconds, self.until = seconds, math.inf
        self.weight = sum(map(self.of, phases))

    @staticmethod
    def of(phase: Phase) -> float:
        return FADE if phase.kind == "fade" else 1.0

    @property
    def left(self) -> float:
        return max(self.until - time.perf_counter(), 0.0)

    def take(self, phase: Phase) -> float:
        """Seconds for a phase, which is measured next; from the first one on the time counts."""
        if self.until == math.inf:
            self.until = time.perf_counter() + self.seconds
        share = self.of(phase) / self.weight
        self.weight -= self.of(phase)
        return share * self.left


def _cached(context: RunContext, recipe: Recipe, schedule: GrowthSchedule, scratch: Path) -> Iterator[str]:
    """Where there is no whole cache of the runs here, make one in a temporary folder, or yield a note."""
    resolutions = sorted({phase.resolution for phase in schedule.phases})
    for domain, pictures in context.sets.items():
        _, lacking = pictures.cache_bytes(resolutions)
        if not lacking:
            continue
        if len(pictures) <= FEW_PICTURES:
            data = recipe.data.model_copy(update={"cache_dir": None})
            made = resolve_sets(data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=scratch)[domain]
            made.prepare(resolutions, progress=True)
            context.sets[domain] = made
        else:
            yield (
                f"domain {domain}: its {len(pictures):,} pictures are not cached yet and were read from their files; "
                "training caches them first, and then waits less"
            )


@dataclass
class _Times:
    """Seconds of steps: waits for pictures, and the steps without them."""

    waits: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)  # by the clock of the device


class _Measured:
    """The stages of one training.

    Args:
        recipe: of it.
        kind: "" for the task, or the name of what goes before.
        trainer: does the steps.
        schedule: the plan.
        context: with the pictures.
        budget: of all trainings.
    """

    def __init__(
        self,
        recipe: Recipe,
        kind: str,
        trainer: Trainer,
        schedule: GrowthSchedule,
        context: RunContext,
        budget: _Budget,
    ) -> None:
        self.recipe, self.kind, self.trainer, self.schedule = recipe, kind, trainer, schedule
        self.context, self.budget = context, budget
        self.device = context.accelerator.device
        self.clock = device_clock(self.device)
        self.memory = MemoryAdvice(recipe, schedule, context.accelerator, lambda: None)
        lazy, rounds, usual = trainer.task.lazy, len(trainer.task.update_order), trainer.task.usual_step()
        # Steps of one kind; those with lazy penalties, and how often these come.
        self.plain = [usual + step for step in range(1, rounds + 1)]
        self.penalized = [math.lcm(*lazy) * rounds] if lazy else []
        self.frequency = sum(1 / each for each in lazy) / len(lazy) if lazy else 0.0

    def stages(self, missing: list[int]) -> Iterator[StageSpeed]:
        """Measure one stage after the other, from the smallest.

        Args:
            missing: gets the resolutions that would take too long.
        """
        before: tuple[float, float] | None = None  # pixels and seconds of a step at the stage before
        for resolution in sorted({phase.resolution for phase in self.schedule.phases}):
            phases = [phase for phase in self.schedule.phases if phase.resolution == resolution]
            seconds = [self.budget.take(phase) for phase in phases]
            pixels = float(phases[-1].batch_size * resolution.pixels)
            if missing or (before and 3 * before[1] * pixels / before[0] > max(2 * self.budget.left, SOON)):
                missing.append(resolution)
                continue
            speed = self._stage(phases, seconds)
            before = pixels, speed.step
            yield speed

    def _stage(self, phases: Sequence[Phase], seconds: Sequence[float]) -> StageSpeed:
        """Measure one resolution: the last phase in full, the time of the others."""
        main, allowed = phases[-1], seconds[-1]
        steps: dict[Phase, float] = {}
        with self.memory.explain(self.schedule.at(main.start)), contextlib.closing(_Pictures(self, main)) as pictures:
            _reset_peak_memory(self.device)
            counters = {kind: self._counted(pictures, numbers) for kind, numbers in self._kinds().items()}
            if self.trainer.compiled.networks:  # counting has run them uncompiled
                self._timed(pictures, [n for numbers in self._kinds().values() for n in numbers], 0.0, fewest=1)
            timed = {
                kind: self._timed(pictures, numbers, TIMED * allowed * (1.0 if kind == "plain" else 0.3))
                for kind, numbers in self._kinds().items()
            }
            shares = self._shares(pictures, SPLIT * allowed)
            memory = _peak(self.device)
            flops = self._mean({kind: counter.flops for kind, counter in counters.items()})
            peak = counters["plain"].peak(self.device, self.clock, (1 - TIMED - SPLIT) * allowed)
        wait = statistics.median(timed["plain"].waits)
        computing = self._mean({kind: statistics.median(each.steps) for kind, each in timed.items()})
        own = self._mean({kind: statistics.median(each.own) for kind, each in timed.items()})
        steps[main] = step = wait + computing
        for phase, few in zip(phases[:-1], seconds[:-1], strict=True):
            with contextlib.closing(_Pictures(self, phase)) as others:
                self._timed(others, self.plain[:1], 0.0, fewest=1)  # compiles
                faded = self._timed(others, self.plain, few)
            steps[phase] = statistics.median(faded.waits) + statistics.median(faded.steps)
            steps[phase] += max(computing - statistics.median(timed["plain"].steps), 0.0)  # what lazy penalties add
        return StageSpeed(
            self.kind,
            main.resolution,
            main.batch_size,
            sum(phase.end - phase.start for phase in phases),
            step,
            main.batch_size / step,
            {WAIT: wait / step, **{name: share * computing / step for name, share in shares.items()}},
            flops,
            flops / own,
            peak,
            memory,
            sum(steps[phase] * (phase.end - phase.start) / phase.batch_size for phase in phases),
        )

    def _kinds(self) -> dict[str, list[int]]:
        return {"plain": self.plain, **({"penalized": self.penalized} if self.penalized else {})}

    def _mean(self, of: Mapping[str, float]) -> float:
        """The mean over steps, of which some have penalties that the others have not."""
        return of["plain"] + max(of.get("penalized", of["plain"]) - of["plain"], 0.0) * self.frequency

    def _counted(self, pictures: "_Pictures", numbers: Sequence[int]) -> OperationCounter:
        """Operations of the mean of some steps, which are the first of their kind."""
        counter = OperationCounter()
        for number in numbers:
            growth, batches = pictures.next()
            with counter:
                self._step(number, growth, batches)
        counter.flops = round(counter.flops / len(numbers))
        return counter

    def _timed(self, pictures: "_Pictures", numbers: Sequence[int], seconds: float, fewest: int = FEWEST) -> _Times:
        """Time whole steps for some seconds, with the wait for their pictures."""
        times, began = _Times(), time.perf_counter()
        while (
            (taken := time.perf_counter() - began) < seconds
            or not times.steps
            or (len(times.steps) < fewest * len(numbers) and taken < 3 * seconds)
        ):
            for number in numbers:
                start = time.perf_counter()
                growth, batches = pictures.next()
                ready, own = time.perf_counter(), self.clock()
                self._step(number, growth, batches)
                times.own.append(self.clock() - own)
                times.steps.append(time.perf_counter() - ready)
                times.waits.append(ready - start)
        return times

    def _shares(self, pictures: "_Pictures", seconds: float) -> dict[str, float]:
        """Shares of a step's time by part, of the mean step."""
        found: dict[str, dict[str, float]] = {}
        wholes: dict[str, float] = {}
        for kind, numbers in self._kinds().items():
            parts, whole, steps = self._split(pictures, numbers, seconds / 2)
            if parts.penalized:
                with without_penalties():
                    bare, _, bare_steps = self._split(pictures, numbers, seconds / 4)
                of = part_of("discriminator")
                extra = max(parts.seconds[of] / steps - bare.seconds[of] / bare_steps, 0.0) * steps
                parts.seconds[of] -= extra
                parts.seconds[PENALTIES] = extra
            parts.seconds[REST] = max(whole - sum(parts.seconds.values()), 0.0)
            found[kind] = {name: value / steps for name, value in parts.seconds.items()}
            wholes[kind] = sum(found[kind].values())
        names = dict.fromkeys(name for each in found.values() for name in each)
        means = {name: self._mean({kind: each.get(name, 0.0) for kind, each in found.items()}) for name in names}
        total = sum(means.values())
        return {name: value / total for name, value in means.items()}

    def _split(self, pictures: "_Pictures", numbers: Sequence[int], seconds: float) -> tuple[StepParts, float, int]:
        """Time the parts of some steps; also gives the time of all of them, and their number."""
        parts, whole, steps, began = StepParts(self.trainer, self.clock), 0.0, 0, time.perf_counter()
        with parts.timing():
            while not steps or time.perf_counter() - began < seconds:
                for number in numbers:
                    growth, batches = pictures.next()
                    start = self.clock()
                    self._step(number, growth, batches)
                    whole += self.clock() - start
                    steps += 1
        return parts, whole, steps

    def _step(self, number: int, growth: Growth, batches: Mapping[str, Batch]) -> None:
        self.trainer.step = number
        self.trainer.train_step(batches, growth)
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class _Pictures:
    """The batches of a phase by the loader of training, from its first step on, and again from there at its end."""

    def __init__(self, measured: _Measured, phase: Phase) -> None:
        self.measured, self.phase = measured, phase
        self._batches = self._from_start()

    def _from_start(self) -> Iterator[tuple[int, Growth, dict[str, Batch]]]:
        measured = self.measured
        sets: Mapping[str, PictureSet] = measured.context.sets
        accelerator = measured.context.accelerator
        return build_loader(
            sets,
            measured.schedule,
            rank=0,
            processes=1,
            start_nimg=self.phase.start,
            workers=loader_workers(measured.recipe, accelerator),
            pin_memory=accelerator.device.type == "cuda",
        )

    def next(self) -> tuple[Growth, dict[str, Batch]]:
        """The growth and the pictures of the next step."""
        for _ in range(2):
            nimg, growth, batches = next(self._batches, (self.phase.end, None, {}))
            if nimg < self.phase.end and growth is not None:
                return growth, batches
            self.close()
            self._batches = self._from_start()
        raise AssertionError("a phase has at least one step")

    def close(self) -> None:
        """Shut the loader down."""
        self._batches.close()  # type: ignore[attr-defined]  # a generator


def _reset_peak_memory(device: torch.device) -> None:
    """Let the peak begin anew, where the system can."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with contextlib.suppress(OSError):  # Linux
            Path("/proc/self/clear_refs").write_text("5")


def _peak(device: torch.device) -> int | None:
    """The most memory since it was reset."""
    if device.type != "cuda":
        with contextlib.suppress(OSError, ValueError, StopIteration):
            lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
            return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    return peak_memory(device)


# --- comparisons ------------------------------------------------------------------------------------------------------


def recorded_speed(path: Path) -> dict[tuple[str, int], float]:
    """Pictures a second by part and resolution, of an earlier measurement or of a run.

    Args:
        path: a JSON file that ``progcycle bench --out`` wrote, or a run folder, whose log is read: medians of its
            status lines, of stable phases where there are some.

    Raises:
        UserError: it is neither.
    """
    if path.is_dir():
        found = {("", side): speed for side, speed in _speed_of_run(path / "stats.jsonl").items()}
        before = _speed_of_run(path / "pretraining" / "stats.jsonl")
        found |= {("pretraining", side): speed for side, speed in before.items()}
        if not found:
            raise UserError(f"{path} has no status lines of training, from which speeds could be read.")
        return found
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {(s["part"], int(s["resolution"])): float(s["pictures_per_second"]) for s in content["stages"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} is no result of progcycle bench; give a file that --out wrote, or a run folder."
        ) from None


def _speed_of_run(stats: Path) -> dict[int, float]:
    speeds: dict[int, dict[bool, list[float]]] = {}
    with contextlib.suppress(OSError):
        for line in stats.read_text(encoding="utf-8").splitlines():
            try:
                status = json.loads(line)
                speed, side, stable = float(status["images_per_s"]), int(status["resolution"]), status["alpha"] == 1
            except (ValueError, KeyError, TypeError):  # a line of an evaluation, or one cut short
                continue
            speeds.setdefault(side, {}).setdefault(stable, []).append(speed)
    return {side: statistics.median(kinds.get(True) or kinds[False]) for side, kinds in speeds.items()}


def comparison(found: Bench, earlier: Mapping[tuple[str, int], float]) -> str:
    """How fast each stage is against an earlier speed, one line a stage that both have.

    Raises:
        UserError: they have no stage in common.
    """
    lines = []
    for stage in found.stages:
        before = earlier.get((stage.part, stage.resolution))
        if before:
            ratio = stage.pictures_per_second / before
            words = f"{stage.part} " * bool(stage.part)
            lines.append(f"{words}{stage.resolution} px: {before:.1f} img/s then, {ratio:.2f} times as fast now")
    if not lines:
        raise UserError("--against: there is no stage that both have.")
    return "\n".join(lines)
