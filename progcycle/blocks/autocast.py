"""Computing parts of a network in float32 (or float64) under autocast."""

from collections.abc import Callable

import torch
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """``x``, raised to float32 if it is in half precision; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def in_full_precision(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """``function(x)`` in float32 at least, whatever autocast says outside."""
    if not torch.is_autocast_enabled(x.device.type):  # a context would be kept in exported graphs
        return function(full_precision(x))
    with torch.autocast(x.device.type, enabled=False):
        return function(full_precision(x))
