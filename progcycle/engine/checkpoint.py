"""Checkpoints: the full state of a run in one folder, written beside and renamed, recognised as whole by checksums.

Everything is safetensors and JSON, so that loading executes nothing. Every process writes its own memory (pools, random
states, figures since the last status line) into ``rank-R.safetensors``.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from safetensors.torch import load_file, save_file
from torch import Tensor

from progcycle.errors import UserError

FORMAT = 1
Tensors = dict[str, Tensor]


def folder_name(nimg: int) -> str:
    """Name of the checkpoint or snapshot after ``nimg`` pictures; names sort like numbers."""
    return f"nimg-{nimg:012d}"


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in a folder, oldest first; one that was being written when its run was killed has another name."""
    return sorted(folder.glob("nimg-*"))


def write(
    accelerator: Accelerator,
    folder: Path,
    nimg: int,
    shared: Mapping[str, Tensors],
    own: Tensors,
    state: dict[str, Any],
) -> Path:
    """Write a checkpoint; every process must call this.

    Args:
        accelerator: the processes.
        folder: where the checkpoints of the run live.
        nimg: pictures shown.
        shared: files that the first process writes, tensors by name.
        own: memory of this process.
        state: small values, written as JSON.
    """
    target = folder / folder_name(nimg)
    temporary = folder / f".{target.name}.tmp"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    save_file(_plain(own), temporary / f"rank-{accelerator.process_index}.safetensors")
    if accelerator.is_main_process:
        for name, tensors in shared.items():
            save_file(_plain(tensors), temporary / f"{name}.safetensors")
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        files = {path.name: _digest(path) for path in sorted(temporary.glob("*.safetensors"))}
        content = {"format": FORMAT, "nimg": nimg, "processes": accelerator.num_processes, "files": files, **state}
        content["digest"] = _text_digest(content)
        (temporary / "state.json").write_text(json.dumps(content, indent=1))
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    accelerator.wait_for_everyone()
    return target


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints."""
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)


def newest_whole(folder: Path, warn: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint whose files are all as they were written, and its state; None if there is none at all.

    Raises:
        UserError: there are checkpoints, and every one is damaged.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        problem, state = _inspect(path)
        if problem is None:
            return path, state
        warn(f"warning: the checkpoint {path} is damaged ({problem}); trying the one before it.")
    if found:
        raise UserError(f"All checkpoints in {folder} are damaged; move that folder away to start again.")
    return None


def read(path: Path, name: str) -> Tensors:
    """Tensors of one file of a checkpoint, by name."""
    return load_file(path / f"{name}.safetensors")


def _inspect(path: Path) -> tuple[str | None, dict[str, Any]]:
    try:
        state = json.loads((path / "state.json").read_text())
        if state["format"] != FORMAT:
            return f"its format is {state['format']}, this version reads {FORMAT}", {}
        if state.pop("digest") != _text_digest(state):
            return "state.json is not as it was written", {}
        for name, digest in state["files"].items():
            if _digest(path / name) != digest:
                return f"{name} is not as it was written", {}
    except OSError as error:
        return f"{Path(error.filename or path).name}: {error.strerror}", {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "state.json is not as it was written", {}
    return None, state


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text_digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _plain(tensors: Mapping[str, Tensor]) -> Tensors:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
