"""How fast this device computes the convolutions of a training step on their own: the peak that the step can reach."""

import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from progcycle.runtime.memory_format import has_channels_last

CONVOLUTIONS = (torch.ops.aten.convolution, torch.ops.aten.convolution_backward)
COVERED = 0.95  # share of the convolutions' operations that is timed
REPEATS = 3

Shape = tuple[tuple[int, ...], torch.dtype, bool]  # of a tensor: its sizes, type, and whether channels come last
Call = tuple[Any, tuple[Hashable, ...]]  # an operator, and its arguments


class OperationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the floating-point operations of what is computed inside of it, and remembers its convolutions.

    Backward passes are computed by operators too, and count; so do those through gradients.

    Attributes:
        flops: an addition and a multiplication count as two.
        convolutions: how often each was computed.
        of: operations of each.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0
        self.convolutions: Counter[Call] = Counter()
        self.of: dict[Call, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[Any], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute as without it, and count."""
        output = func(*args, **(kwargs or {}))
        operator = func.overloadpacket
        if operator in flop_registry:
            flops = int(flop_registry[operator](*args, **(kwargs or {}), out_val=output))
            self.flops += flops
            if operator in CONVOLUTIONS:
                call = operator, tuple(_remembered(each) for each in args)
                self.convolutions[call] += 1
                self.of[call] = flops
        return output

    def peak(self, device: torch.device, clock: Callable[[], float], seconds: float = math.inf) -> float | None:
        """Operations a second that the device reaches in these convolutions alone, each as often as it was computed.

        Args:
            device: where they were computed.
            clock: gives seconds, and waits for the device.
            seconds: after which no further convolution is timed; those with the most operations come first.

        Returns:
            None if there were no convolutions.
        """
        weights = {call: count * self.of[call] for call, count in self.convolutions.items()}
        total, done, spent, began = sum(weights.values()), 0, 0.0, time.perf_counter()
        for call in sorted(weights, key=lambda each: -weights[each]):
            if done and (done >= COVERED * total or time.perf_counter() - began > seconds):
                break
            done += weights[call]
            spent += self.convolutions[call] * _timed(call, device, clock)
        return done / spent if spent else None


def _remembered(argument: Any) -> Hashable:
    if isinstance(argument, Tensor):
        return tuple(argument.shape), argument.dtype, has_channels_last(argument)
    return tuple(argument) if isinstance(argument, list) else argument


def _again(argument: Any, device: torch.device) -> Any:
    if isinstance(argument, tuple) and len(argument) == 3 and isinstance(argument[1], torch.dtype):
        shape, dtype, last = argument
        # Neither zeros nor numbers so small that a CPU computes them slowly.
        made = torch.full(shape, 0.5, dtype=dtype, device=device)
        return made.contiguous(memory_format=torch.channels_last) if last else made
    return list(argument) if isinstance(argument, tuple) else argument


@torch.no_grad()
def _timed(call: Call, device: torch.device, clock: Callable[[], float]) -> float:
    """The least seconds of a few, after one that compiles it."""
    operator, remembered = call
    arguments = [_again(each, device) for each in remembered]
    best = math.inf
    for repeat in range(1 + REPEATS):
        began = clock()
        operator(*arguments)
        if repeat:
            best = min(best, clock() - began)
    return best
