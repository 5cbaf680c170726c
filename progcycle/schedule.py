"""Where growth stands after n pictures: a pure function, so there is nothing of it to save.

The order is that of the official code (Karras et al. 2018, appendix A.1): train the first resolution (stable), then
for each doubling fade the new layers in and train on (fade, then stable), and stay at the last one to the end.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from progcycle.errors import UserError
from progcycle.recipe import Schedule, by_resolution


@dataclass(frozen=True)
class Growth:
    """The state of growth at one step.

    Attributes:
        stage: growth step of the networks, 0 at their base resolution.
        resolution: pixels of a side.
        alpha: weight of the newest layers, in [0, 1]; 1 when nothing is fading.
        batch_size: real pictures of one domain in this step, all processes together.
        lr_scale: factor on every player's learning rate.
        nimg: real pictures of one domain shown before the step.
        fading: whether the step lies in a fade (its first step has alpha 0, never 1).
    """

    stage: int
    resolution: int
    alpha: float
    batch_size: int = 1
    lr_scale: float = 1.0
    nimg: int = 0
    fading: bool = False


@dataclass(frozen=True)
class Phase:
    """A stretch of training in which one resolution fades in or is stable; counts are pictures."""

    kind: str
    stage: int
    resolution: int
    start: int
    end: int
    batch_size: int
    lr_scale: float


class GrowthSchedule:
    """The growth plan of a run.

    Args:
        options: the ``schedule`` section of a recipe.
        base_resolution: resolution of the networks' stage 0.
        resolution: final resolution.

    Raises:
        UserError: the plan is impossible (it starts above its end or below the networks' base, has no pictures, or
            ends before the last resolution is faded in).
    """

    def __init__(self, options: Schedule, base_resolution: int, resolution: int) -> None:
        start = options.start_resolution or base_resolution
        for name, value in (("network.base_resolution", base_resolution), ("schedule.start_resolution", start)):
            if value & (value - 1) or not base_resolution <= value <= resolution:
                raise UserError(
                    f"{name}: {value} must be a power of two between the base resolution {base_resolution} and the "
                    f"final resolution {resolution}."
                )
        doublings = (resolution // start).bit_length()
        resolutions = [start * 2**i for i in range(doublings)]
        for name in ("stable_kimg", "fade_kimg", "batch_size", "lr_scale"):
            table = getattr(options, name)
            missing = [r for r in resolutions if r not in table and "default" not in table]
            if name == "fade_kimg":
                missing = [r for r in missing if r != start]
            if missing:
                raise UserError(f"schedule.{name}: there is no value for {missing[0]} px and no default.")
        first_stage = (start // base_resolution).bit_length() - 1
        phases: list[Phase] = []
        clock = 0
        for i, res in enumerate(resolutions):
            for kind, table in (("fade", options.fade_kimg), ("stable", options.stable_kimg)):
                if kind == "fade" and i == 0:
                    continue
                length = round(1000 * by_resolution(table, res))
                if length:
                    batch, scale = by_resolution(options.batch_size, res), by_resolution(options.lr_scale, res)
                    phases.append(Phase(kind, first_stage + i, res, clock, clock + length, batch, scale))
                    clock += length
        self.total = clock if options.total_kimg is None else round(1000 * options.total_kimg)
        grown = max((p.end for p in phases if p.kind == "fade"), default=0)
        if not phases or self.total < 1:
            raise UserError("schedule: every phase has a length of 0; give stable_kimg or total_kimg.")
        if self.total <= grown and len(resolutions) > 1:
            raise UserError(
                f"schedule.total_kimg: training ends at {self.total / 1000:g} kimg, before {resolution} px has faded "
                f"in (at {grown / 1000:g} kimg); raise it, or shorten fade_kimg and stable_kimg."
            )
        if phases[-1].resolution != resolution:
            raise UserError(f"schedule: {resolution} px has neither a fade nor a stable phase; give it a length.")
        self.phases = tuple(_fit_to(phases, self.total))
        self.options = options

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
        return Growth(phase.stage, phase.resolution, alpha, phase.batch_size, lr_scale, nimg, fading)

    def _lr_factor(self, nimg: int, phase: Phase) -> float:
        """Ramp-ups exp(-5 (1 - t)^2), as in the original Theano code, and the linear decay at the end."""
        factor = _ramp(nimg, self.options.rampup_kimg)
        opened = min(p.start for p in self.phases if p.stage == phase.stage)
        if opened > 0:
            factor *= _ramp(nimg - opened, self.options.stage_rampup_kimg)
        decay = 1000 * self.options.decay_kimg
        left = self.total - nimg
        return factor * (max(left, 0) / decay if left < decay else 1.0)

    def steps(self, nimg: int = 0, end: int | None = None) -> Iterator[tuple[int, Growth]]:
        """All steps from ``nimg`` on, as (pictures shown before the step, growth), up to ``end`` or the plan's end."""
        while nimg < (self.total if end is None else end):
            growth = self.at(nimg)
            yield nimg, growth
            nimg += growth.batch_size

    def table(self) -> str:
        """The plan as text, one line a phase."""
        head = f"{'phase':8}{'stage':>6}{'px':>6}{'from kimg':>12}{'to kimg':>12}{'batch':>7}{'lr x':>7}{'steps':>10}"
        lines = [
            f"{p.kind:8}{p.stage:6}{p.resolution:6}{p.start / 1000:12.1f}{p.end / 1000:12.1f}{p.batch_size:7}"
            f"{p.lr_scale:7.2f}{-(-(p.end - p.start) // p.batch_size):10}"
            for p in self.phases
        ]
        return "\n".join([head, *lines])


def _ramp(nimg: float, length_kimg: float) -> float:
    t = nimg / (1000 * length_kimg) if length_kimg > 0 else 1.0
    return 1.0 if t >= 1 else math.exp(-5 * (1 - t) ** 2)


def _fit_to(phases: list[Phase], total: int) -> Iterator[Phase]:
    """Cut or stretch the last stable phase so that the plan ends at ``total`` pictures."""
    for phase in phases[:-1]:
        if phase.start < total:
            yield replace(phase, end=min(phase.end, total))
    last = phases[-1]
    if last.kind == "stable":
        yield replace(last, end=total)
    else:
        yield last
        if total > last.end:
            yield replace(last, kind="stable", start=last.end, end=total)
