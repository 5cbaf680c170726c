"""The number format of a run: float32, bfloat16 or float16.

Accelerate would share one gradient scaler between all optimizers, so that an overflow of one player halves the scale of
the other. The engine therefore opens autocast itself and owns one scaler per player.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from progcycle.errors import UserError
from progcycle.resolution import Resolution
from progcycle.runtime.measure_precision import Convolution, PrecisionFigures, convolutions_of, measure_precision
from progcycle.runtime.rendezvous import gather_texts
from progcycle.schedule import GrowthSchedule

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
DISPLAY_NAMES = {"no": "float32"}


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 in matrix units, those of a GPU or of a CPU (AMX): mostly faster.

    This is what ``auto`` goes by where nothing can be measured. Instructions for bfloat16 alone (``avx512_bf16``) do
    not count: on a Xeon without AMX a step took 1.3 times as long as in float32. Nor does emulation.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and _has_amx_bf16()


def _has_amx_bf16() -> bool:
    capabilities = _cpu_capabilities()
    if "amx_bf16" in capabilities:
        return bool(capabilities["amx_bf16"])
    # Older versions of torch do not list it; they only check whether the kernel grants the tiles.
    supported = getattr(torch.cpu, "_is_amx_tile_supported", None)
    return "amx_bf16" in _cpu_flags() and (supported is None or bool(supported()))


def _cpu_capabilities() -> dict[str, Any]:
    """Capabilities of the CPU that torch reports, by name; empty if this version of torch reports none."""
    return dict(torch.cpu.get_capabilities()) if hasattr(torch.cpu, "get_capabilities") else {}


def _cpu_flags() -> set[str]:
    """Flags of the CPU in ``/proc/cpuinfo``; empty on systems without that file."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())


def has_fp16(device: torch.device) -> bool:
    """Whether mixed float16 training makes sense on the device."""
    return device.type == "cuda"


def can_compute(name: str, device: torch.device) -> bool:
    """Whether a device supports a precision other than fp16, even if slowly."""
    if name == "bf16" and device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    return name == "no" or device.type == "cpu"


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
        """Accumulate the gradients of the scaled loss."""
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divide the gradients by the scale."""
        self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer, norms: Iterable[Tensor]) -> None:
        """Update the weights, unless a gradient is not finite in fp16: then only the scale is halved.

        Args:
            optimizer: a fused Adam skips on the device itself, so that nothing waits for it; others wait.
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


def _automatic(device: torch.device) -> tuple[str, str]:
    """The precision that ``auto`` chooses on a device, and the reason."""
    if has_bf16(device):
        return "bf16", "this CPU has AMX" if device.type == "cpu" else "this GPU computes it in hardware"
    if device.type != "cpu":
        return "no", f"no bf16 in hardware on {device.type}"
    slow = "avx512_bf16" in _cpu_flags() or any(_cpu_capabilities().get(name) for name in ("avx512_bf16", "bf16"))
    return "no", "this CPU computes bf16 without AMX, which is often slower" if slow else "this CPU has no AMX for bf16"


@dataclass(frozen=True)
class Before:
    """What a checkpoint records of a run's precision.

    Attributes:
        name: ``no``, ``bf16`` or ``fp16``; None if the run is new, or the checkpoint does not tell.
        measured: :meth:`PrecisionFigures.record` of the measurement by which ``auto`` chose it; empty without.
    """

    name: str | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)


class Precision:
    """Autocast and gradient scalers of a run.

    Args:
        choice: ``no``, ``bf16``, ``fp16``, or ``auto``: bf16 where it is faster, as measured here, or else by
            :func:`has_bf16`; otherwise ``no``; never fp16.
        device: where the run computes.
        before: the precision of the run so far; ``auto`` keeps it if the device supports it.
        figures: what was measured on this device; None if nothing was.

    Attributes:
        name: ``no``, ``bf16`` or ``fp16``.
        reason: why ``auto`` chose it, for people; empty if the recipe names the precision.
        measured: the figures by which ``auto`` chose it, for the record; empty without.

    Raises:
        UserError: fp16 on a device that lacks it.
    """

    def __init__(
        self,
        choice: str,
        device: torch.device,
        before: Before | str | None = None,
        figures: PrecisionFigures | None = None,
    ) -> None:
        if choice == "fp16" and not has_fp16(device):
            raise UserError(f"training.precision: fp16 needs a CUDA GPU, this run is on {device.type}; use auto or no.")
        self.device, self.name, self.reason = device, choice, ""
        self.measured: Mapping[str, Any] = {}
        if choice == "auto":
            self._choose(before if isinstance(before, Before) else Before(before), figures)

    def _choose(self, before: Before, figures: PrecisionFigures | None) -> None:
        if figures is not None:
            self.name, self.reason, self.measured = "bf16" if figures.faster else "no", str(figures), figures.record()
        else:
            self.name, self.reason = _automatic(self.device)
        if before.name not in ("no", "bf16"):
            return
        here, there = (DISPLAY_NAMES.get(name, name) for name in (self.name, before.name))
        if not can_compute(before.name, self.device):
            self.reason = f"the run began in {there}, which this device cannot compute"
            return
        # What this device would choose is known only where it was measured, or nothing ever was.
        other = before.name != self.name and (figures is not None or not before.measured)
        self.reason = f"as before; a new run here would use {here}" if other else "as before"
        self.name, self.measured = before.name, before.measured

    def __str__(self) -> str:
        """The number format, and why it was chosen."""
        return DISPLAY_NAMES.get(self.name, self.name) + (f" ({self.reason})" if self.reason else "")

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

    def adopt(self, text: str) -> None:
        """Take over a choice, see :meth:`decision`."""
        self.name, self.reason, self.measured = json.loads(text)

    def decision(self) -> str:
        """The choice as text."""
        return json.dumps([self.name, self.reason, dict(self.measured)])


def agree_on_precision(
    choice: str,
    accelerator: Accelerator,
    before: Before,
    convolutions: tuple[Convolution, ...] = (),
) -> Precision:
    """The precision of a run: the first process measures if the run is new, and all others take its choice.

    Args:
        choice: ``training.precision`` of the recipe.
        accelerator: the processes, all of which must call this.
        before: of the run so far.
        convolutions: to measure ``auto`` by; without, or where they cannot be measured, :func:`has_bf16` decides.

    Raises:
        UserError: fp16 on a device that lacks it.
    """
    device, first = accelerator.device, bool(accelerator.is_main_process)
    new = choice == "auto" and before.name is None
    figures = measure_precision(device, convolutions) if new and first else None
    precision = Precision(choice, device, before, figures)
    if choice == "auto" and accelerator.num_processes > 1:
        precision.adopt(gather_texts(precision.decision() if first else "")[0])
    return precision


def convolutions_to_measure(
    networks: Mapping[str, nn.Module], schedule: GrowthSchedule, processes: int
) -> tuple[Convolution, ...]:
    """The convolutions of a task's networks by which ``auto`` chooses, with the batch of the last stage on a device.

    They are measured at up to 32 px: wide layers work on small pictures, and the formats compare alike on large ones.

    Args:
        networks: of the task.
        schedule: the growth plan.
        processes: that share a batch.
    """
    last = schedule.phases[-1]
    shapes = [tuple(parameter.shape) for network in networks.values() for parameter in network.parameters()]
    side = min(*Resolution.of(last.resolution).shape, 32)
    return convolutions_of(shapes, side, max(last.batch_size // processes, 1))


def disable_tf32() -> None:
    """Switch off TF32, with which cuDNN rounds the factors of convolutions to 10 bits on NVIDIA GPUs.

    The switches of torch are global, so this affects the whole process. It has no effect on a CPU.
    """
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    for operation in ("conv", "rnn"):  # newer versions of torch have a switch for each, which takes precedence
        own: Any = getattr(torch.backends.cudnn, operation, None)
        if hasattr(own, "fp32_precision"):
            own.fp32_precision = "ieee"
