"""The augmentation of one discriminator's pictures, and how often it is applied (ADA, Karras et al. 2020)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from progcycle.blocks import NUMBERS, augment, full_precision, sum_over_processes
from progcycle.recipe import Adaptive, DiscriminatorAugment
from progcycle.rng import uniforms
from progcycle.tasks.base import Stats, to_match

NO_STEP = -1  # no step is being observed


class ProbabilityController:
    """The probability of augmentation, from how well the discriminator knows real pictures.

    p += sign(r - target) * pictures / (1000 kimg), within 0 and maximum, every few steps (Karras et al. 2020, section 3
    and appendix B). r is the mean sign of D(real) - midpoint since p last moved, over all logits of all parts of the
    batches and of all processes. p moves when the next step begins, so that a step has one p. Everything stays on the
    device and nothing waits for it.

    Args:
        options: the ``objective.augment.adaptive`` section of a recipe.
        start: probability at first.
        midpoint: between the logits of fake and real pictures that the loss aims at.
    """

    def __init__(self, options: Adaptive, start: float, midpoint: float) -> None:
        self.options, self.midpoint = options, midpoint
        self.p = torch.tensor(start)
        # Sum of the signs and their number, since p last moved, in this process; both are whole numbers.
        self.signs, self.logits = torch.zeros(()), torch.zeros(())
        self.pictures = self.steps = 0  # since p last moved, in all processes
        self.step = NO_STEP

    def probability(self, step: int) -> Tensor:
        """p in a step; every process must ask at the same moment.

        Args:
            step: number of the step, which never falls.

        Returns:
            A number from 0 to maximum.  # []
        """
        if self.step not in (NO_STEP, step):
            self._end_step()
        return self.p

    @torch.no_grad()
    def observe(self, logits: Tensor, step: int, pictures: int) -> Tensor:
        """Note what the discriminator says of real pictures.

        Args:
            logits: of some of the step's real pictures, of any shape.
            step: number of the step, which never falls.
            pictures: real pictures of the whole step, in all processes.

        Returns:
            r of these logits.  # []
        """
        self.probability(step)
        if self.step == NO_STEP:
            self.step, self.steps, self.pictures = step, self.steps + 1, self.pictures + pictures
        # A step that overflowed in half precision is skipped by the optimizers too.
        known = ~logits.isnan()
        signs, count = torch.where(known, (logits.float() - self.midpoint).sign(), 0).sum(), known.sum()
        self.signs = self.signs.to(logits.device, non_blocking=True) + signs
        self.logits = self.logits.to(logits.device, non_blocking=True) + count
        return signs / count

    @torch.no_grad()
    def _end_step(self) -> None:
        self.step = NO_STEP
        if self.steps < self.options.every:
            return
        signs, logits = sum_over_processes(torch.stack([self.signs, self.logits]))
        most = self.pictures / (1000 * self.options.kimg)
        p = self.p.to(signs.device, non_blocking=True)
        # 0 / 0 where nothing is known, whose sign is NaN or 0: p stays.
        direction = torch.where(logits > 0, (signs / logits - self.options.target).sign(), 0)
        self.p = (p + most * direction).clamp(0, self.options.maximum)
        self.signs, self.logits = torch.zeros_like(signs), torch.zeros_like(logits)
        self.pictures = self.steps = 0

    def state_dict(self) -> dict[str, Tensor]:
        """p, and what was observed since it last moved; without collective calls."""
        counts = {"pictures": self.pictures, "steps": self.steps, "step": self.step}
        tensors = {"p": self.p, "signs": self.signs, "logits": self.logits}
        return tensors | {key: torch.tensor(value) for key, value in counts.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.p, self.signs, self.logits = (state[key].clone() for key in ("p", "signs", "logits"))
        self.pictures, self.steps, self.step = (int(state[key]) for key in ("pictures", "steps", "step"))


class Augmenter:
    """Augments what one discriminator sees; which picture gets what is addressed by its position.

    Args:
        options: the ``objective.augment`` section of a recipe.
        midpoint: see :class:`ProbabilityController`; None for a loss without one, which is never adaptive.
        seed: seed of the run.
        suffix: of the discriminator, such as ``_a``.

    Raises:
        ValueError: adaptive, with a loss that has no midpoint.
    """

    def __init__(self, options: DiscriminatorAugment, midpoint: float | None, seed: int, suffix: str) -> None:
        self.options, self.seed, self.suffix = options, seed, suffix
        self.controller: ProbabilityController | None = None
        if options.adaptive is not None:
            if midpoint is None:
                raise ValueError("adaptive augmentation needs a loss whose logits have a midpoint")
            self.controller = ProbabilityController(options.adaptive, options.start, midpoint)

    def __call__(self, pictures: Tensor, purpose: str, positions: Sequence[int], step: int) -> Tensor:
        """Augment pictures.

        Args:
            pictures: in [-1, 1].  # [N, C, H, W]
            purpose: who sees what, such as ``discriminator/real``, part of the random address.
            positions: global sample index of each row.
            step: number of the step, which never falls.

        Returns:
            Pictures of the same shape and type.  # [N, C, H, W]
        """
        numbers = uniforms(self.seed, f"augment/{purpose}{self.suffix}", positions, sum(NUMBERS.values()))
        numbers = to_match(numbers, full_precision(pictures))  # half precision would round them to 1
        shown = augment(pictures, numbers, self._probability(step, pictures), self.options.policy)
        return shown.contiguous(memory_format=torch.channels_last)

    def _probability(self, step: int, like: Tensor) -> Tensor | float:
        return (
            self.options.start
            if self.controller is None
            else self.controller.probability(step).to(like.device, non_blocking=True)
        )

    def observe(self, logits: Tensor, step: int, pictures: int) -> Stats:
        """Note what the discriminator says of real pictures, if the probability follows it; figures to log.

        Args:
            logits: see :meth:`ProbabilityController.observe`.
            step: number of the step.
            pictures: real pictures of the whole step, in all processes.
        """
        if self.controller is None:
            return {}
        r = self.controller.observe(logits, step, pictures)
        return {
            f"augment/probability{self.suffix}": self.controller.p.to(r.device, non_blocking=True),
            f"augment/r{self.suffix}": r,
        }
