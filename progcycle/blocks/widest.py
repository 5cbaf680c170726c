"""The widest floating point that a device has."""

from torch import Tensor


def widest(x: Tensor) -> Tensor:
    """A tensor in float64, or where its device has none (Apple's GPUs) in float32, for sums on the device.

    Args:
        x: of any shape.
    """
    return x.float() if x.device.type == "mps" else x.double()
