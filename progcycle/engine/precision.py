"""Which number format a run computes in.

Accelerate would share one gradient scaler between all optimizers, so that an overflow of one player halves the scale of
the other. The engine therefore opens autocast itself and owns one scaler per player.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from progcycle.errors import UserError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 in hardware; emulation, which is slower than float32, does not count."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):  # older torch cannot tell
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
    return False


def has_fp16(device: torch.device) -> bool:
    """Whether mixed float16 training makes sense on the device."""
    return device.type == "cuda"


class Scaler:
    """Loss scaling of one player in fp16, and how many steps it skipped; in other precisions it changes nothing.

    Args:
        device: where the run computes.
        enabled: whether the precision is fp16.
    """

    def __init__(self, device: torch.device, enabled: bool) -> None:
        self.enabled = enabled
        self.scaler = torch.amp.GradScaler(device.type, enabled=enabled)
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the scaled loss to those that are there."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Bring the gradients back to their true size."""
        self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer, norms: Iterable[Tensor]) -> None:
        """Update the weights, unless a gradient is not finite in fp16: then only the scale is halved.

        Args:
            optimizer: a fused Adam, which skips on the device itself, so that nothing waits for it.
            norms: norms of all its gradients, on the device.
        """
        if self.enabled:
            self.skipped += ~torch.stack(list(norms)).isfinite().all()
        self.scaler.step(optimizer)
        self.scaler.update()

    def figures(self) -> dict[str, float]:
        """Scale and skipped steps so far; empty unless the precision is fp16."""
        return {"scale": self.scaler.get_scale(), "skipped": int(self.skipped)} if self.enabled else {}

    def state_dict(self) -> dict[str, Any]:
        """Everything that a later step depends on, and the count."""
        return {"scaler": self.scaler.state_dict(), "skipped": int(self.skipped)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.scaler.load_state_dict(state["scaler"])
        self.skipped.fill_(state["skipped"])


class Precision:
    """Autocast and gradient scalers of a run.

    Args:
        choice: ``no``, ``bf16``, ``fp16``, or ``auto`` (bf16 where the hardware has it, else ``no``; never fp16).
        device: where the run computes.

    Raises:
        UserError: fp16 on a device that lacks it.
    """

    def __init__(self, choice: str, device: torch.device) -> None:
        if choice == "fp16" and not has_fp16(device):
            raise UserError(f"training.precision: fp16 needs a CUDA GPU, this run is on {device.type}; use auto or no.")
        self.name = ("bf16" if has_bf16(device) else "no") if choice == "auto" else choice
        self.device = device

    def autocast(self) -> AbstractContextManager[None]:
        """The context in which losses are computed."""
        dtype = DTYPES.get(self.name)
        context: AbstractContextManager[None] = torch.autocast(
            self.device.type, dtype=dtype or torch.bfloat16, enabled=dtype is not None
        )
        return context

    def scaler(self) -> Scaler:
        """The scaler of one player."""
        return Scaler(self.device, enabled=self.name == "fp16")
