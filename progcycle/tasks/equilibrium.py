"""The equilibrium of BEGAN (Berthelot et al. 2017, sections 3.3 to 3.5): k, and the measure of convergence M."""

from collections.abc import Mapping
from math import inf

import torch
from torch import Tensor

from progcycle.blocks import sum_over_processes
from progcycle.recipe import BeganObjective, Halving
from progcycle.schedule import Growth

NO_STEP = -1  # no step is being observed


def convergence(real: Tensor, fake: Tensor, gamma: float) -> Tensor:
    """M = L(x) + |gamma L(x) - L(G(z))|, lower is better (section 3.4.1).  # [], [] -> []"""
    return real + (gamma * real - fake).abs()


class Equilibrium:
    """k, which moves between steps by the losses of the step before, and means of M.

    The losses of a step are means over the parts of its batch and over the processes, before its updates, so that k is
    the same in all processes. Everything stays on the device and nothing waits for it, except once in a window of
    :class:`StalledRates`.

    Args:
        options: the ``objective`` section of a recipe.
        window_kimg: M is averaged from one multiple of so many kimg to the next, for evaluations; None: it is not.
        rates: what follows M; None: nothing does.
    """

    def __init__(
        self, options: BeganObjective, window_kimg: float | None = None, rates: "StalledRates | None" = None
    ) -> None:
        self.options, self.rates = options, rates
        self.window = None if window_kimg is None else max(round(1000 * window_kimg), 1)
        self.k = torch.zeros(())
        self.observed = torch.zeros(3)  # sums of L(x) and L(G(z)) in the step being observed, and how many
        self.total = torch.zeros(2)  # sum of M over the steps before in the window, and how many
        self.step, self.nimg, self.pictures = NO_STEP, 0, 0  # of the step being observed

    @torch.no_grad()
    def at(self, step: int) -> Tensor:
        """k in a step; every process must ask at the same moment.

        Args:
            step: number of the step, which never falls.

        Returns:
            A number in [0, 1].  # []
        """
        if self.step not in (NO_STEP, step):
            self._move()
        return self.k

    @torch.no_grad()
    def observe(self, real: Tensor, fake: Tensor, step: int, growth: Growth) -> tuple[Tensor, Tensor]:
        """Note the losses of a part of a step; every process must call this at the same moment.

        Args:
            real: L(x), of this process's part of the pictures.  # []
            fake: L(G(z)), likewise.  # []
            step: number of the step, for which :meth:`at` was asked before.
            growth: where growth stands.

        Returns:
            Both, averaged over the processes.
        """
        if self.step == NO_STEP and self.window and growth.nimg // self.window != self.nimg // self.window:
            self.total = torch.zeros_like(self.total)
        self.step, self.nimg = step, growth.nimg
        self.pictures = 0 if growth.fading else growth.batch_size  # losses are not alike while detail fades in
        own = torch.stack([real.detach().float(), fake.detach().float(), torch.ones((), device=real.device)])
        sums = sum_over_processes(own)
        self.observed = self.observed.to(sums.device, non_blocking=True) + sums
        return sums[0] / sums[2], sums[1] / sums[2]

    @property
    def mean_convergence(self) -> float:
        """The mean of M over the steps of the window so far; NaN before the first one. It waits for the device."""
        total = self.total
        if self.step != NO_STEP:
            total = total.to(self.observed.device, non_blocking=True) + torch.stack(
                [m := self._convergence(), torch.ones_like(m)]
            )
        return float(total[0] / total[1])

    def on_new_stage(self) -> None:
        """Take in the step before, and begin anew with k, if the recipe says so, and with M."""
        if self.step != NO_STEP:
            self._move()
        if self.options.k_on_new_stage == "reset":
            self.k = torch.zeros_like(self.k)
        if self.rates is not None:
            self.rates.begin()

    def _losses(self) -> tuple[Tensor, Tensor]:
        return self.observed[0] / self.observed[2], self.observed[1] / self.observed[2]

    def _convergence(self) -> Tensor:
        return convergence(*self._losses(), self.options.gamma)

    def _move(self) -> None:
        """Move k, and the means of M, by the step observed."""
        real, fake = self._losses()
        aimed = fake if self.options.k_rule == "article" else real
        moved = (
            self.k.to(real.device, non_blocking=True) + self.options.lambda_k * (self.options.gamma * aimed - fake)
        ).clamp(0, 1)
        m = self._convergence()
        # A step that overflowed in half precision is skipped by the optimizers too.
        bad = m.isnan()
        self.k = torch.where(bad, self.k.to(real.device, non_blocking=True), moved)
        counted = torch.stack([torch.where(bad, 0, m), (~bad).float()])
        self.total = self.total.to(real.device, non_blocking=True) + counted
        if self.rates is not None:
            self.rates.take(counted, self.pictures)
        self.observed, self.step = torch.zeros_like(self.observed), NO_STEP

    def state_dict(self) -> dict[str, Tensor]:
        """All of it; without collective calls."""
        numbers = torch.tensor([self.step, self.nimg, self.pictures])
        rates = {} if self.rates is None else {f"rates_{key}": value for key, value in self.rates.state_dict().items()}
        return {"k": self.k, "observed": self.observed, "total": self.total, "numbers": numbers, **rates}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.k, self.observed, self.total = (state[key].clone() for key in ("k", "observed", "total"))
        self.step, self.nimg, self.pictures = (int(number) for number in state["numbers"])
        if self.rates is not None:
            self.rates.load_state_dict({key: state[f"rates_{key}"] for key in self.rates.state_dict()})


class StalledRates:
    """How often the learning rates have been halved: each time that M stalls (section 3.5).

    M is averaged over windows of pictures. Where the mean of one is not below those of all windows before, the rates
    are halved. A stage has windows of its own, which begin when it has faded in.

    Args:
        options: the ``optimizer.halving`` section of a recipe, with ``stall_kimg``.
    """

    def __init__(self, options: Halving) -> None:
        assert options.stall_kimg is not None
        self.window = max(round(1000 * options.stall_kimg), 1)
        self.halvings, self.pictures, self.lowest = 0, 0, inf
        self.total = torch.zeros(2)  # sum of M in this window, and how many

    def begin(self) -> None:
        """Forget the windows before."""
        self.pictures, self.lowest, self.total = 0, inf, torch.zeros_like(self.total)

    def take(self, total: Tensor, pictures: int) -> None:
        """Take in a step.

        Args:
            total: M and 1, or zeros where M is not known.  # [2]
            pictures: of the step; 0 if it does not count.
        """
        if not pictures:
            return
        self.pictures += pictures
        self.total = self.total.to(total.device, non_blocking=True) + total
        if self.pictures < self.window:
            return
        total, count = self.total.tolist()
        self.halvings += count > 0 and total / count >= self.lowest
        lowest = min(self.lowest, total / count) if count else self.lowest
        self.begin()
        self.lowest = lowest

    def state_dict(self) -> dict[str, Tensor]:
        """All of it."""
        numbers = torch.tensor([self.halvings, self.pictures, self.lowest], dtype=torch.float64)
        return {"numbers": numbers, "total": self.total}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        halvings, pictures, self.lowest = state["numbers"].tolist()
        self.halvings, self.pictures, self.total = int(halvings), int(pictures), state["total"].clone()
