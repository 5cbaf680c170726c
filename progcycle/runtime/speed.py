"""How fast a device computes in different number formats: one convolution, forwards and backwards, timed."""

import time
from collections.abc import Sequence

import torch
from torch.nn import functional as F

DTYPES = {"no": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def convolution_seconds(
    device: torch.device,
    precisions: Sequence[str] = ("no", "bf16"),
    *,
    patience: float = 0.5,
    channels: int = 64,
    side: int = 32,
    batch: int = 4,
) -> dict[str, float]:
    """Seconds of a 3x3 convolution, forwards and backwards, as mixed precision computes it: weights in float32.

    The formats take turns, so that other programs disturb them alike, and the fastest run of each counts. Torch's
    random stream is left alone.

    Args:
        device: where to compute.
        precisions: names of formats: ``no`` (float32), ``bf16``, ``fp16``.
        patience: seconds to measure for, about; each format is computed twice at least, the first time for nothing.
        channels, side, batch: feature maps in and out, pixels per side, and pictures.

    Returns:
        Seconds by format; without those that the device cannot compute.
    """
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(batch, channels, side, side, generator=numbers).to(device).requires_grad_(True)
    w = torch.randn(channels, channels, 3, 3, generator=numbers).mul_(0.01).to(device).requires_grad_(True)
    found = dict[str, float]()
    for name in precisions:
        try:
            _timed(x, w, DTYPES[name])
        except (RuntimeError, ValueError):  # as torch refuses what a device lacks
            continue
        found[name] = float("inf")
    begun, first = time.perf_counter(), True
    while found and (first or time.perf_counter() - begun < patience):
        first = False
        for name in found:
            found[name] = min(found[name], _timed(x, w, DTYPES[name]))
    return found


def _timed(x: torch.Tensor, w: torch.Tensor, dtype: torch.dtype) -> float:
    _wait(x.device)
    begun = time.perf_counter()
    with torch.autocast(
        x.device.type, dtype=torch.bfloat16 if dtype == torch.float32 else dtype, enabled=dtype != torch.float32
    ):
        loss = F.conv2d(x, w, padding=1).float().square().mean()
    torch.autograd.grad(loss, (x, w))
    _wait(x.device)
    return time.perf_counter() - begun


def _wait(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
