"""Pictures cut off at black and white, with a gradient that leads back into the range."""

from typing import Any

import torch
from torch import Tensor


class _ClampInward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        # A descent step subtracts the gradient: above 1 a positive one leads back, below -1 a negative one.
        outward = ((x > 1) & (grad < 0)) | ((x < -1) & (grad > 0))
        return grad.masked_fill(outward, 0)


def clamp_inward(x: Tensor) -> Tensor:
    """Clamp to [-1, 1], with the gradient of the identity wherever a descent step would not lead (further) out.

    The gradient of a plain clamp is 0 outside of the range, also where it would lead back.

    Args:
        x: any numbers.  # any shape
    """
    if not (torch.is_grad_enabled() and x.requires_grad):
        return x.clamp(-1, 1)
    y: Tensor = _ClampInward.apply(x)
    return y
