"""``progcycle doctor``: look at this machine, and say what training has here and what it lacks."""

import os
import platform
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle import __version__
from progcycle.commands.cli import guarded, parser
from progcycle.output import say

if TYPE_CHECKING:
    import torch

    from progcycle.runtime.machine import Room

DESCRIPTION = """Look at this machine: devices, number formats, processes, memory, disk, and what is not installed.

A convolution is timed in float32 and in bf16, in under two seconds; nothing is written, and nothing is downloaded. The
exit code is 2 where training cannot work, else 0."""
EXAMPLES = """examples:
  progcycle doctor
  CUDA_VISIBLE_DEVICES=1 progcycle doctor
  ACCELERATE_USE_CPU=true progcycle doctor"""
LABEL, COLUMNS = 12, 100
LITTLE_DISK, NO_DISK = 2e9, 100e6  # bytes
LITTLE_SHARED = 512e6  # bytes of /dev/shm; Docker gives 64 MB
LIBRARIES = ("torch", "torchvision", "accelerate", "huggingface_hub", "albumentations", "pillow", "numpy")
# What the extras of the package are for.
EXTRAS = {
    "metrics": "evaluate: KID and FID in features of networks, KID-R",
    "export": "export --format onnx",
    "projected": "discriminators on frozen features",
    "tracking": "training.trackers: [tensorboard]",
    "video": "translate and interpolate videos (MP4, WebM)",
    "heic": "HEIC photographs of phones",
    "large": "JPEGs of 100 million pixels and more, with little memory",
    "medical": "NIfTI and DICOM",
    "study": "digits that the judge of modes learns from",
    "parquet": "prepare: parquet tables of the Hugging Face Hub",
    "lmdb": "prepare: LSUN and other LMDB",
    "hdf5": "prepare: HDF5",
}


@dataclass
class Findings:
    """What was found.

    Attributes:
        remarks: sentences about what is worth a change.
        faults: sentences about what stops every training.
    """

    remarks: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def run(argv: Sequence[str] | None = None) -> int:
    """Print what there is; 2 where training cannot work."""
    parser("doctor", DESCRIPTION, EXAMPLES).parse_args(argv)
    found = Findings()
    _say_versions(found)
    try:
        import progcycle.runtime.cores  # noqa: F401  # first, as it watches other programs from its import on
        from progcycle.runtime.machine import training_device

        device = training_device()
    except Exception as error:  # whatever a broken torch, driver or setting of Accelerate raises
        reason = " ".join(str(error).split())[:200]
        found.faults.append(f"torch or Accelerate do not work here ({type(error).__name__}: {reason}).")
    else:
        _say_devices(device, found)
        _say_precision(device, found)
        _say_processes(device, found)
        _say_room(device, found)
    _say_extras()
    for sentence in found.remarks:
        line("note", sentence)
    for sentence in found.faults:
        line("error", sentence)
    if found.faults:
        say("\ntraining cannot work here")
        return 2
    say("\nto see it train, in about a minute:  progcycle train cyclegan_demo")
    return 0


def line(label: str, words: str) -> None:
    """Print words behind a label, in lines of at most 100 columns."""
    indent = " " * (LABEL + 2)
    lead = f"{label:{LABEL}}  "
    say(
        textwrap.fill(
            words,
            COLUMNS,
            initial_indent=lead,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
    )


def _say_versions(found: Findings) -> None:
    from progcycle.runtime.installed import requirements, versions

    libraries = ", ".join(f"{name} {number}" for name, number in versions(*LIBRARIES).items())
    line("progcycle", f"{__version__}, in {Path(__file__).parents[1]}")
    line("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    line("libraries", libraries or "none of those that are needed")
    if missing := requirements()[0]:
        found.faults.append(f"{', '.join(missing)} are not installed; pip install progcycle installs what is needed.")


def _say_devices(device: "torch.device", found: Findings) -> None:
    import torch

    from progcycle.runtime.cores import crowded_cores, since_import, usable_cores
    from progcycle.runtime.machine import accelerators

    gpus = accelerators()
    line("trains on", str(device))
    for name, words in gpus:
        line("", f"{name}: {words}")
    if not gpus:
        line("", "no GPU that torch sees")
    elif device.type == "cpu":
        found.remarks.append("Accelerate is told to use the CPU (ACCELERATE_USE_CPU, or accelerate config).")
    allowed, every, others = usable_cores(), os.cpu_count() or 1, since_import.of_others() or 0.0
    free = max(min(allowed, every - others), 0.0)
    line("cores", f"{every}, of which {allowed:g} may be used and {free:.1f} are free now")
    threads = torch.get_num_threads()
    line("threads", f"{threads} that torch computes in{_set_by('OMP_NUM_THREADS')}")
    if device.type == "cpu":
        found.remarks += [sentence.removeprefix("warning: ") for sentence in crowded_cores(threads)]


def _set_by(variable: str) -> str:
    return f" ({variable} is set)" if os.environ.get(variable) else ""


def _say_precision(device: "torch.device", found: Findings) -> None:
    from progcycle.engine.precision import Precision
    from progcycle.runtime.machine import fault_of_device
    from progcycle.runtime.measure_precision import TRAINED, measure_precision

    if fault := fault_of_device(device):
        found.faults.append(f"{device} cannot compute a convolution ({fault}).")
        return
    figures = measure_precision(device)
    line("precision", f"training.precision: auto is {Precision('auto', device, figures=figures)}")
    for convolution, seconds in figures.times.items() if figures else ():
        times = [f"{form} {1000 * seconds[form, TRAINED]:.2f} ms" for form in ("float32", "bf16")]
        wide = f"{convolution.out_channels} channels, {convolution.batch_size} x {convolution.side} px"
        line("", f"a convolution of {wide}, and back: {', '.join(times)}")


def _say_processes(device: "torch.device", found: Findings) -> None:
    from progcycle.runtime.machine import accelerators, backends, fault_of_processes

    fault, exchange = fault_of_processes(), backends()
    several = len([name for name, _ in accelerators() if name.startswith("cuda")])
    if fault:
        line("processes", f"one only: {fault}")
        found.remarks.append("Without further processes set data.workers=0, and train in one process.")
        return
    line("processes", f"can be started; they exchange gradients by {' or '.join(exchange) or 'nothing: one only'}")
    if several > 1 and device.type == "cuda":
        line("", f"accelerate launch --num_processes {several} -m progcycle.train RECIPE")


def _say_room(device: "torch.device", found: Findings) -> None:
    from progcycle.runtime.machine import disk, memory, shared_memory

    line("memory", _room(memory()))
    here = Path.cwd()
    space = disk(here)
    line("disk", f"{_room(space)}, where {here} is")
    if not os.access(here, os.W_OK):
        found.faults.append(f"{here} cannot be written to; start elsewhere, or give --run-dir a folder that can.")
    if space.free < NO_DISK:
        found.faults.append(f"The disk of {here} is full; checkpoints need room.")
    elif space.free < LITTLE_DISK:
        found.remarks.append(f"The disk of {here} is nearly full; checkpoints and caches need room.")
    shared = shared_memory()
    line("/dev/shm", "none, which is as it should be on this system" if shared is None else _room(shared))
    if shared is not None and shared.free < LITTLE_SHARED:
        found.remarks.append(
            "/dev/shm is small for batches of loader processes; docker run --shm-size=2g gives more, and "
            "data.workers=0 needs none."
        )


def _room(room: "Room") -> str:
    return f"{room.free / 1e9:.1f} of {room.total / 1e9:.1f} GB free"


def _say_extras() -> None:
    from progcycle.runtime.installed import requirements

    extras = [extra for extra in requirements()[1] if extra.name in EXTRAS]
    missing = [extra for extra in extras if extra.missing]
    there = [extra.name for extra in extras if not extra.missing]
    line("extras", f"installed: {', '.join(there) or 'none'}")
    width = max((len(extra.name) for extra in missing), default=0)
    for extra in missing:
        line("", f"missing: {extra.name:{width}}  {EXTRAS[extra.name]} ({', '.join(extra.missing)})")
    if missing:
        line("", f"to install them: pip install 'progcycle[{','.join(extra.name for extra in missing)}]'")


main = guarded(run)
