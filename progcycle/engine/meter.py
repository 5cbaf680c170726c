"""Figures of the steps since the last status line, added up on the device without waiting for it."""

from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor

Key = tuple[str, ...]


class Meter:
    """Means of named figures, and the first step at which one of them was not finite.

    Args:
        device: where the figures live.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.sums: dict[Key, Tensor] = {}
        self.counts: dict[Key, int] = {}
        self.first_bad: dict[Key, Tensor] = {}

    @torch.no_grad()
    def add(self, figures: Mapping[str, Tensor], step: int, check: bool = True) -> None:
        """Add the figures of one update.

        Args:
            figures: scalars by name.
            step: number of the step, remembered if a figure is not finite.
            check: whether figures that are not finite count as trouble.
        """
        key = tuple(figures)
        values = torch.stack([value.detach().float() for value in figures.values()])
        if key not in self.sums:
            self.sums[key], self.counts[key] = torch.zeros_like(values), 0
        self.sums[key] += values
        self.counts[key] += 1
        if check:
            bad = self.first_bad.get(key)
            if bad is None:
                bad = self.first_bad[key] = torch.full(values.shape, -1, dtype=torch.int64, device=values.device)
            bad.copy_(torch.where((bad < 0) & ~values.isfinite(), step, bad))

    def trouble(self, accelerator: Accelerator) -> tuple[int, list[str]] | None:
        """The first step with a figure that is not finite, and the names of those figures; None if all is well.

        Every process must call this at the same moment.
        """
        worst: tuple[int, list[str]] | None = None
        for key in sorted(self.first_bad):
            steps = self.first_bad[key]
            if accelerator.num_processes > 1:
                steps = accelerator.gather(steps[None]).max(dim=0).values
            for name, step in zip(key, steps.tolist(), strict=True):
                if step >= 0 and (worst is None or step < worst[0]):
                    worst = (step, [])
                if worst is not None and step == worst[0]:
                    worst[1].append(name)
        return worst

    def means(self, accelerator: Accelerator) -> dict[str, float]:
        """Means over the steps and processes since the last call, which every process must make at the same moment."""
        result: dict[str, float] = {}
        for key in sorted(self.sums):
            mean = accelerator.reduce(self.sums[key] / self.counts[key], "mean")
            result.update(zip(key, mean.tolist(), strict=True))
        self.sums, self.counts = {}, {}
        return dict(sorted(result.items()))

    def state_dict(self) -> dict[str, Tensor]:
        """Sums and counts, as tensors."""
        state = {"sum|" + "|".join(key): value for key, value in self.sums.items()}
        return state | {"count|" + "|".join(key): torch.tensor(n) for key, n in self.counts.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.sums, self.counts, self.first_bad = {}, {}, {}
        for name, value in state.items():
            kind, *key = name.split("|")
            if kind == "sum":
                self.sums[tuple(key)] = value.to(self.device)
            else:
                self.counts[tuple(key)] = int(value)
