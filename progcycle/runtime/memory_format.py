"""How tensors lie in memory."""

import torch
from torch import Tensor


def has_channels_last(tensor: Tensor) -> bool:
    """Whether maps or weights [N, C, H, W] lie as [N, H, W, C], and not as they are written too."""
    return tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)
