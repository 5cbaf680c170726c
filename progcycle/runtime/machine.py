"""What this machine has: devices, memory, disk, processes, as torch, Accelerate and the system report them."""

import shutil
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import torch
from accelerate import PartialState

CGROUP = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Room:
    """Room in a memory or on a disk, in bytes."""

    total: int
    free: int


def memory() -> Room:
    """The main memory, or what the container may use of it."""
    found = psutil.virtual_memory()
    total, free = int(found.total), int(found.available)
    with suppress(OSError, ValueError):
        limit = int((CGROUP / "memory.max").read_text(encoding="utf-8"))
        used = int((CGROUP / "memory.current").read_text(encoding="utf-8"))
        total, free = min(total, limit), min(free, max(limit - used, 0))
    return Room(total, free)


def disk(folder: Path) -> Room:
    """The disk of a folder.

    Raises:
        OSError: there is no such folder.
    """
    usage = shutil.disk_usage(folder)
    return Room(usage.total, usage.free)


def shared_memory() -> Room | None:
    """``/dev/shm``, through which loader processes pass batches; None where the system has none."""
    try:
        return disk(SHARED_MEMORY)
    except OSError:
        return None


def accelerators() -> list[tuple[str, str]]:
    """GPUs and the like that torch sees: the device, and its name and memory in words."""
    found = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        about = torch.cuda.get_device_properties(i)
        free, total = torch.cuda.mem_get_info(i)
        found.append((f"cuda:{i}", f"{about.name}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"))
    if torch.backends.mps.is_available():
        found.append(("mps", "Apple GPU, which shares the main memory"))
    return found


def training_device() -> torch.device:
    """Where Accelerate trains in this process: its settings and its variables count."""
    return torch.device(PartialState().device)


def fault_of_device(device: torch.device) -> str:
    """Why a device cannot compute a convolution and its gradient in float32; empty if it can."""
    try:
        x, w = (torch.ones(shape, device=device, requires_grad=True) for shape in ((1, 2, 4, 4), (2, 2, 3, 3)))
        gradient = torch.autograd.grad(torch.nn.functional.conv2d(x, w, padding=1).sum(), (x, w))[0]
        at_the_middle = float(gradient[0, 0, 1, 1])  # of two maps, nine weights of 1 each
    except Exception as error:  # a driver that torch does not fit, a device that another program holds
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "" if at_the_middle == 18 else f"it computes {at_the_middle:g} where 18 is right"


def backends() -> list[str]:
    """What processes of a training can exchange gradients with."""
    if not torch.distributed.is_available():
        return []
    here = {
        "nccl": torch.distributed.is_nccl_available() and torch.cuda.is_available(),
        "gloo": torch.distributed.is_gloo_available(),
    }
    return [name for name, there in here.items() if there]


def fault_of_processes() -> str:
    """Why no further process can be started here, or none that talks to this one; empty if both work."""
    try:
        with socket.socket() as server:
            server.bind(("127.0.0.1", 0))
    except OSError as error:
        return f"no port of 127.0.0.1 can be opened ({error.strerror})"
    try:
        done = subprocess.run([sys.executable, "-S", "-c", "pass"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return f"no process can be started ({error})"
    return "" if done.returncode == 0 else f"a process ends with {done.returncode}"
