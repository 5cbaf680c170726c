"""Figures of the steps since the last status line, added up on the device without waiting for it."""

import sys
from collections import deque
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

Key = tuple[str, ...]
NEVER = torch.iinfo(torch.int64).max
RECENT = 20_000  # updates whose single figures are kept until they are known to be finite
UPDATES = 1_000_000  # more than one step has, counting every part of a batch


def peak_memory(device: torch.device) -> int | None:
    """The most memory that this process has held so far, in bytes; None if the system does not report it.

    Args:
        device: on a CUDA GPU, the memory of tensors there counts; else that of the whole process.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


class Meter:
    """Means of named figures, and the first step at which one of them was not finite.

    Args:
        device: where the figures live.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # One entry for each set of figures that comes together, so that an update costs a few small kernels only.
        self.sums: dict[Key, Tensor] = {}
        self.counts: dict[Key, Tensor] = {}
        self.first_bad: dict[Key, Tensor] = {}
        self.recent: deque[tuple[int, Key, Tensor]] = deque(maxlen=RECENT)
        self._moment = 0

    @torch.no_grad()
    def add(self, figures: Mapping[str, Tensor], step: int, check: bool = True) -> None:
        """Add the figures of one update; those that are not finite are left out of the means.

        Args:
            figures: scalars by name.
            step: number of the step, remembered if a figure is not finite.
            check: whether figures that are not finite are errors.
        """
        key = tuple(figures)
        values = torch.stack([value.detach().float() for value in figures.values()])
        finite = values.isfinite()
        self.recent.append((step, key, values))
        if key not in self.sums:
            self.sums[key], self.counts[key] = torch.zeros_like(values), torch.zeros_like(values)
        self.sums[key] += torch.where(finite, values, 0)
        self.counts[key] += finite
        if check:
            self._moment = max(self._moment + 1, step * UPDATES)
            if key not in self.first_bad:
                self.first_bad[key] = torch.full(values.shape, NEVER, dtype=torch.int64, device=values.device)
            bad = self.first_bad[key]
            bad.copy_(torch.where((bad == NEVER) & ~finite, self._moment, bad))

    def first_non_finite(self, accelerator: Accelerator) -> tuple[int, list[str]] | None:
        """Step and names of the first figures that were not finite, all of one update; None if all is well.

        Every process must call this at the same moment.
        """
        first, names = NEVER, list[str]()
        for key in sorted(self.first_bad):
            moments = accelerator.gather(self.first_bad[key][None]).min(dim=0).values
            for name, moment in zip(key, moments.tolist(), strict=True):
                if moment < first:
                    first, names = moment, []
                if moment == first < NEVER:
                    names.append(name)
        if not names:
            self.recent.clear()
            return None
        return first // UPDATES, names

    def figures_of(self, step: int, accelerator: Accelerator) -> dict[str, float]:
        """Means over parts and processes of the figures of one step, if it is among the updates since the last check.

        What is not finite is in them. Every process must call this at the same moment.
        """
        found: dict[str, list[float]] = {}
        for at, key, values in self.recent:
            if at == step:
                for name, value in zip(key, values.tolist(), strict=True):
                    found.setdefault(name, []).append(value)
        joined: dict[str, list[float]] = {}
        for own in gather_object([found]):
            for name, each in own.items():
                joined.setdefault(name, []).extend(each)
        return {name: sum(each) / len(each) for name, each in sorted(joined.items())}

    def means(self, accelerator: Accelerator) -> dict[str, float]:
        """Means over the steps and processes since the last call, which every process must make at the same moment."""
        totals: dict[str, list[float]] = {}
        for key in sorted(self.sums):
            both = accelerator.reduce(torch.stack([self.sums[key], self.counts[key]]), "sum").tolist()
            for name, total, count in zip(key, *both, strict=True):
                # A figure may come in several sets: a lazy penalty changes its neighbours' set, not their mean.
                old = totals.setdefault(name, [0.0, 0.0])
                totals[name] = [old[0] + total, old[1] + count]
        self.sums, self.counts = {}, {}
        return {name: total / count for name, (total, count) in sorted(totals.items()) if count}

    def state_dict(self) -> dict[str, Tensor]:
        """Sums and counts, as tensors."""
        kinds = {"sum": self.sums, "count": self.counts}
        return {f"{kind}|{'|'.join(key)}": value for kind, values in kinds.items() for key, value in values.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.sums, self.counts, self.first_bad = {}, {}, {}
        self.recent.clear()
        self._moment = 0
        for name, value in state.items():
            kind, *key = name.split("|")
            (self.sums if kind == "sum" else self.counts)[tuple(key)] = value.to(self.device, copy=True)
