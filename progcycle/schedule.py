"""The state of growth after n pictures: a pure function, so that none of it needs saving.

The order is that of the official code (Karras et al. 2018, appendix A.1): train the first resolution (stable), then
for each doubling fade the new layers in and train on (fade, then stable), and stay at the last one to the end. The last
one is the final resolution, or the one where the schedule holds: then the networks keep stages that are never used.

Growth by size has the same phases, but the networks are whole from the start and see smaller pictures: only the real
pictures fade.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from progcycle.errors import UserError
from progcycle.recipe import Recipe, Schedule, by_resolution, check_grid, check_plan
from progcycle.resolution import Resolution, column_width


@dataclass(frozen=True)
class Growth:
    """The state of growth at one step.

    Attributes:
        stage: growth step of the networks, 0 at their base resolution.
        resolution: of the pictures; as a number, pixels of the shorter side.
        alpha: weight of the newest layers, in [0, 1]; 1 when nothing is fading.
        batch_size: real pictures of one domain in this step, all processes together.
        lr_scale: factor on every player's learning rate.
        nimg: real pictures of one domain shown before the step.
        fading: whether the step lies in a fade, whose alpha is 0 at its first picture and never 1.
        fade_reals: whether real pictures are faded as the networks are.
        fade: of growth by size, how far the real pictures have been faded in, in [0, 1]; None: as the networks are.
        old_lr_scale: factor on the learning rates of the layers of earlier stages, beside ``lr_scale``.
        doublings: of growth by size, the stage of the plan: ``stage`` is the networks' last one throughout.
    """

    stage: int
    resolution: int
    alpha: float
    batch_size: int = 1
    lr_scale: float = 1.0
    nimg: int = 0
    fading: bool = False
    fade_reals: bool = True
    fade: float | None = None
    doublings: int | None = None
    old_lr_scale: float = 1.0

    @property
    def plan_stage(self) -> int:
        """The stage of the plan, which rises by one at every doubling of the resolution."""
        return self.stage if self.doublings is None else self.doublings

    @property
    def progress(self) -> float:
        """How far the newest resolution has been faded in, in [0, 1]; 1 when nothing is fading."""
        return self.alpha if self.fade is None else self.fade

    @property
    def reals_alpha(self) -> float:
        """How far the newest detail of real pictures has been faded in, in [0, 1]."""
        return self.progress if self.fade_reals else 1.0


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which one resolution fades in or is stable; counts are pictures.

    ``stage`` is that of the plan, see :attr:`Growth.plan_stage`.
    """

    kind: str
    stage: int
    resolution: Resolution
    start: int
    end: int
    batch_size: int
    lr_scale: float


class GrowthSchedule:
    """The growth plan of a run.

    Args:
        options: the ``schedule`` section of a recipe.
        base_resolution: resolution of the networks' stage 0.
        resolution: final resolution of the networks; growth ends there, or at ``hold_resolution``.

    Raises:
        UserError: the plan is impossible (the base, doubled, is not the resolution; it starts above its end or, growing
            by layers, below the networks' base; it holds where there is no stage, has no pictures, or ends before the
            last resolution is faded in).
    """

    def __init__(self, options: Schedule, base_resolution: int, resolution: int) -> None:
        base_resolution, resolution = Resolution.of(base_resolution), Resolution.of(resolution)
        start = options.start_resolution or base_resolution
        for name, value in (("network.base_resolution", base_resolution), ("schedule.start_resolution", start)):
            if value > resolution:
                raise UserError(f"{name}: {value} must be at most the resolution {resolution}.")
        try:
            check_grid(base_resolution, resolution)
            check_plan(options, resolution, base_resolution)
        except ValueError as error:
            raise UserError(f"{error}.") from None
        by_size = options.growth == "size"
        if start < base_resolution and not by_size:
            raise UserError(
                f"schedule.start_resolution: {start} is below network.base_resolution, which is {base_resolution}."
            )
        last_resolution = _end_of_growth(options, start, resolution)
        resolutions = [start << i for i in range(_doublings(start, last_resolution) + 1)]
        _check_complete(options, resolutions)
        lowest = min(start, base_resolution)
        phases = list(_phases(options, resolutions, first_stage=_doublings(lowest, start)))
        self.total = round(1000 * options.total_kimg) if options.total_kimg else sum(p.end - p.start for p in phases)
        if not phases:
            raise UserError("schedule: every phase has a length of 0; give stable_kimg or fade_kimg a length.")
        last = phases[-1]
        if last.resolution != last_resolution:
            raise UserError(f"schedule: {last_resolution} px has neither a fade nor a stable phase; give it a length.")
        grown = last.end if last.kind == "fade" else last.start
        if self.total <= grown:
            raise UserError(
                f"schedule.total_kimg: training ends at {self.total / 1000:g} kimg, but {last_resolution} px is grown "
                f"only after {grown / 1000:g} kimg; raise it, or shorten fade_kimg and stable_kimg."
            )
        self.phases = tuple(_fit_to(phases, self.total))
        self.options = options
        self.whole = _doublings(base_resolution, resolution) if by_size else None  # the networks' stage throughout

    @classmethod
    def of(cls, recipe: Recipe) -> "GrowthSchedule":
        """The growth plan of a recipe.

        Raises:
            UserError: see the class.
        """
        return cls(recipe.schedule, recipe.network.base_resolution, recipe.resolution)

    @property
    def final(self) -> Growth:
        """Growth at the end of training."""
        return self.at(self.total - 1)

    def phase_at(self, nimg: int) -> Phase:
        """The phase that the picture number ``nimg`` belongs to; the last one from the end on."""
        return next((p for p in self.phases if nimg < p.end), self.phases[-1])

    def at(self, nimg: int) -> Growth:
        """Growth after ``nimg`` real pictures (of one domain, all processes together).

        Raises:
            ValueError: ``nimg`` is negative.
        """
        if nimg < 0:
            raise ValueError(f"nimg counts pictures and cannot be negative, got {nimg}")
        phase = self.phase_at(nimg)
        fading = phase.kind == "fade"
        alpha = min((nimg - phase.start) / (phase.end - phase.start), 1.0) if fading else 1.0
        lr_scale = phase.lr_scale * self._lr_factor(nimg, phase)
        fade_reals = self.options.fade_reals
        growth = Growth(phase.stage, phase.resolution, alpha, phase.batch_size, lr_scale, nimg, fading, fade_reals)
        if self.options.old_layers is not None and nimg < self._alone_until(phase):
            growth = replace(growth, old_lr_scale=self.options.old_layers.lr_scale)
        if self.whole is None:
            return growth
        return replace(growth, stage=self.whole, alpha=1.0, fade=alpha, doublings=phase.stage)

    def stage_before(self, stage: int) -> int | None:
        """The stage of the plan that was trained before another one; None before the first."""
        return max((p.stage for p in self.phases if p.stage < stage), default=None)

    def opening(self, growth: Growth) -> str:
        """How a stage that opens begins, in words to follow a line about it."""
        words = ["as a copy of the stage before"] if self.options.new_stage == "copy" else []
        if growth.old_lr_scale < 1:
            how = f"learn at {growth.old_lr_scale:g} of the rate" if growth.old_lr_scale else "stand still"
            until = self._alone_until(self.phase_at(growth.nimg)) / 1000
            words.append(f"layers of earlier stages {how} up to {until:g} kimg")
        return "".join(f", {word}" for word in words)

    def _alone_until(self, phase: Phase) -> float:
        """Pictures up to which the layers of earlier stages are slowed; 0 at the first stage, which has none."""
        own = [p for p in self.phases if p.stage == phase.stage]
        options = self.options.old_layers
        if options is None or self.stage_before(phase.stage) is None:
            return 0.0
        return own[0].start + options.share * (own[-1].end - own[0].start)

    def _lr_factor(self, nimg: int, phase: Phase) -> float:
        """Ramp-ups exp(-5 (1 - t)^2), as in the original Theano code, and the linear decay at the end."""
        factor = _ramp(nimg, self.options.rampup_kimg)
        opened = min(p.start for p in self.phases if p.stage == phase.stage)
        if opened > 0:
            factor *= _ramp(nimg - opened, self.options.stage_rampup_kimg)
        decay = 1000 * self.options.decay_kimg
        left = max(self.total - nimg, 0)
        return factor * (left / decay if left < decay else 1.0)

    def steps(self, nimg: int = 0, end: int | None = None) -> Iterator[tuple[int, Growth]]:
        """All steps from ``nimg`` on, as (pictures shown before the step, growth), up to ``end`` or the plan's end."""
        while nimg < (self.total if end is None else end):
            growth = self.at(nimg)
            yield nimg, growth
            nimg += growth.batch_size

    def first_difference(self, other: "GrowthSchedule", end: int) -> int | None:
        """The first step before ``end`` pictures that is not the same in another plan; None if all are.

        Plans are compared as functions of the pictures shown, not key by key: the same lengths may be written in
        different ways, and beyond ``end`` the plans may differ.
        """
        nimg = 0
        while nimg < end:
            growth = self.at(nimg)
            if nimg >= min(self.total, other.total) or growth != other.at(nimg):
                return nimg
            # Within equal phases, outside of ramps and decay, single steps need not be compared.
            alike = self.phase_at(nimg) == other.phase_at(nimg) or not growth.fading
            same_until = min(self._constant_until(nimg), other._constant_until(nimg)) if alike else nimg
            nimg += max(-(-(same_until - nimg) // growth.batch_size), 1) * growth.batch_size
        return None

    def _constant_until(self, nimg: int) -> int:
        """Where, from ``nimg`` on, the phase or a factor on learning rates changes next; ``nimg`` if at once."""
        phase = self.phase_at(nimg)
        decay = math.floor(self.total - 1000 * self.options.decay_kimg)
        alone = math.floor(self._alone_until(phase))
        if nimg <= alone:
            decay = min(decay, alone)
        return min(phase.end, decay) if self._lr_factor(nimg, phase) == 1 else nimg

    def table(self) -> str:
        """The plan as text, one line a phase."""
        px = column_width((phase.resolution for phase in self.phases), 6, gap=2)
        head = (
            f"{'phase':8}{'stage':>6}{'px':>{px}}{'from kimg':>12}{'to kimg':>12}{'batch':>7}{'lr x':>7}{'steps':>10}"
        )
        lines = [
            f"{p.kind:8}{p.stage:6}{p.resolution:{px}}{p.start / 1000:12.1f}{p.end / 1000:12.1f}{p.batch_size:7}"
            f"{p.lr_scale:7.2f}{-(-(p.end - p.start) // p.batch_size):10}"
            for p in self.phases
        ]
        return "\n".join([head, *lines])


def _doublings(low: Resolution, high: Resolution) -> int:
    """How often a resolution is doubled to get to another."""
    return (int(high) // int(low)).bit_length() - 1


def _ramp(nimg: float, length_kimg: float) -> float:
    t = nimg / (1000 * length_kimg) if length_kimg > 0 else 1.0
    return 1.0 if t >= 1 else math.exp(-5 * (1 - t) ** 2)


def _end_of_growth(options: Schedule, start: Resolution, resolution: Resolution) -> Resolution:
    """The resolution at which growth ends: ``hold_resolution``, or the networks' final one."""
    hold = options.hold_resolution
    if hold is None:
        return resolution
    if hold > resolution:
        raise UserError(f"schedule.hold_resolution: {hold} is above the resolution, which is {resolution}.")
    if hold < start:
        raise UserError(f"schedule.hold_resolution: {hold} is below the resolution where training starts, {start}.")
    return hold


def _check_complete(options: Schedule, resolutions: list[Resolution]) -> None:
    """Every resolution needs a length, a batch size and a scale; the first one never fades in."""
    for name in ("stable_kimg", "fade_kimg", "batch_size", "lr_scale"):
        table, needed = getattr(options, name), resolutions[1:] if name == "fade_kimg" else resolutions
        missing = [] if "default" in table else [r for r in needed if r not in table]
        if missing:
            raise UserError(
                f"schedule.{name}: there is no value for {missing[0]} px and no default; give "
                f"schedule.{name}.{int(missing[0])} one."
            )


def _phases(options: Schedule, resolutions: list[Resolution], first_stage: int) -> Iterator[Phase]:
    """The plan given by the lengths, before it is fitted to ``total_kimg``; phases without pictures are left out."""
    clock = 0
    for i, res in enumerate(resolutions):
        batch, scale = by_resolution(options.batch_size, res), by_resolution(options.lr_scale, res)
        for kind, table in (("fade", options.fade_kimg), ("stable", options.stable_kimg)):
            length = 0 if kind == "fade" and i == 0 else round(1000 * by_resolution(table, res))
            if length:
                yield Phase(kind, first_stage + i, res, clock, clock + length, batch, scale)
                clock += length


def _fit_to(phases: list[Phase], total: int) -> Iterator[Phase]:
    """Cut or stretch the last stable phase, or append one, so that the plan ends at ``total`` pictures."""
    *before, last = phases
    yield from before
    if last.kind == "stable":
        yield replace(last, end=total)
    else:
        yield last
        yield replace(last, kind="stable", start=last.end, end=total)
