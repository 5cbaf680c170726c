"""Which number format a run computes in.

Accelerate would share one gradient scaler between all optimizers, so that an overflow of one player halves the scale of
the other. The engine therefore opens autocast itself and owns one scaler per player.
"""

from contextlib import AbstractContextManager

import torch

from progcycle.errors import UserError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 in hardware; emulation, which is slower than float32, does not count."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16") or capabilities.get("bf16"))
    return False


def has_fp16(device: torch.device) -> bool:
    """Whether mixed float16 training makes sense on the device."""
    return device.type == "cuda"


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

    def scaler(self) -> torch.amp.GradScaler:
        """A gradient scaler for one player; it does nothing unless the precision is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.name == "fp16")
