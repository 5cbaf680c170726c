"""How much noise a discriminator sees: the more, the better it knows real pictures (Karras et al. 2018, appendix B)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from progcycle.blocks import sum_over_processes
from progcycle.recipe import DiscriminatorNoise

NO_STEP = -1  # no step is being observed


class NoiseController:
    """The strength of the noise in one discriminator, from a running mean of how well it does.

    strength = gain * max(0, d' - limit)^exponent and d' = momentum * d' + (1 - momentum) * d, where d is the mean of
    what was observed in one step, over the parts of its batch and over the processes, clipped to [0, 1]. d' moves when
    the next step begins, so that a step has one strength. Everything stays on the device and nothing waits for it.

    Args:
        options: the ``objective.noise`` section of a recipe.
    """

    def __init__(self, options: DiscriminatorNoise) -> None:
        self.options = options
        self.mean = torch.zeros(())  # d'
        self.total, self.count = torch.zeros(()), torch.zeros(())  # of the step being observed, in this process
        self.step = NO_STEP

    @torch.no_grad()
    def strength(self, step: int) -> Tensor:
        """Strength in a step; every process must ask at the same moment.

        Args:
            step: number of the step, which never falls.

        Returns:
            A number >= 0.  # []
        """
        if self.step not in (NO_STEP, step):
            self._update_mean()
        return self.options.gain * (self.mean - self.options.limit).clamp(min=0).pow(self.options.exponent)

    @torch.no_grad()
    def observe(self, signal: Tensor, step: int) -> None:
        """Note how well the discriminator does; the calls of one step count alike.

        Args:
            signal: d, 1 where it does too well.  # []
            step: number of the step, which never falls.
        """
        if self.step not in (NO_STEP, step):
            self._update_mean()
        self.step = step
        self.total = self.total.to(signal.device, non_blocking=True) + signal.detach().float()
        self.count = self.count.to(signal.device, non_blocking=True) + 1

    def _update_mean(self) -> None:
        """Move d' by the step observed, whose mean is the same in all processes."""
        total, count = sum_over_processes(torch.stack([self.total, self.count]))
        old, d = self.mean.to(total.device, non_blocking=True), (total / count).clamp(0, 1)
        moved = self.options.momentum * old + (1 - self.options.momentum) * d
        # A step that overflowed in half precision is skipped by the optimizers too.
        self.mean = torch.where(d.isnan(), old, moved)
        self.total, self.count = torch.zeros_like(total), torch.zeros_like(count)
        self.step = NO_STEP

    def state_dict(self) -> dict[str, Tensor]:
        """d', and what was observed of the step that is not taken in yet; without collective calls."""
        return {"mean": self.mean, "total": self.total, "count": self.count, "step": torch.tensor(self.step)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.mean, self.total, self.count = (state[key].clone() for key in ("mean", "total", "count"))
        self.step = int(state["step"])
