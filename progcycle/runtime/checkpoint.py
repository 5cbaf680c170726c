"""Checkpoints: the full state of a run in one folder, written under a temporary name and verified by checksums.

Everything is safetensors and JSON, so that loading executes nothing. Every process writes its own memory (pools, random
states, figures since the last status line) into ``rank-R.safetensors``.
"""

import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from progcycle.errors import UserError
from progcycle.files import with_default_permissions

FORMAT = 2
READABLE = (1, 2)  # the formats that can be read
Tensors = dict[str, Tensor]


def folder_name(nimg: int) -> str:
    """Name of the checkpoint or snapshot after ``nimg`` pictures; names sort like numbers."""
    return f"nimg-{nimg:012d}"


def checkpoints(folder: Path) -> list[Path]:
    """Checkpoints in a folder, oldest first; incomplete ones of killed runs have other names and are left out."""
    return sorted(folder.glob("nimg-*"))


@dataclass
class Content:
    """What one process contributes to a checkpoint: copies, so that training can go on while they are written.

    Attributes:
        nimg: pictures shown.
        files: tensors on the CPU by file and name; the files that all share are those of the first process.
        state: small values of the run, written as JSON by the first process.
    """

    nimg: int
    files: dict[str, Tensors]
    state: dict[str, Any]


def copies(files: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Tensors]:
    """Tensors by file and name, copied to the CPU; by way of page-locked memory and in one go from a GPU."""
    pinned = any(tensor.is_cuda for tensors in files.values() for tensor in tensors.values())
    copied = {file: {k: _copy(tensor) for k, tensor in tensors.items()} for file, tensors in files.items()}
    if pinned:
        torch.cuda.synchronize()
    return copied


def _copy(tensor: Tensor) -> Tensor:
    # Contiguous, as safetensors wants it, whatever the memory format of the original.
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
    return copy.copy_(tensor.detach(), non_blocking=tensor.is_cuda)


def temporary(folder: Path, nimg: int) -> Path:
    """Where the files of a checkpoint are written before it gets its name."""
    return folder / f".{folder_name(nimg)}.tmp"


def prepare(folder: Path, nimg: int) -> None:
    """Create the temporary folder of a checkpoint, and remove those of interrupted ones; for the first process.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(exist_ok=True)
    remove_leftovers(folder)
    temporary(folder, nimg).mkdir()


def remove_leftovers(folder: Path) -> None:
    """Remove what interruptions left of checkpoints that were being written or deleted; for the first process."""
    for left in folder.glob(".nimg-*"):
        shutil.rmtree(left, ignore_errors=True)


def write_part(folder: Path, content: Content) -> None:
    """Write the files of one process; they are on the disk when this returns.

    Raises:
        OSError: one of them cannot be written.
    """
    for name, tensors in content.files.items():
        path = temporary(folder, content.nimg) / f"{name}.safetensors"
        try:
            with_default_permissions(path, partial(save_file, tensors))
        except SafetensorError as error:
            found = re.search(r"os error (\d+)", str(error))
            number = int(found[1]) if found else errno.EIO
            raise OSError(number, os.strerror(number), str(path)) from None
        _to_disk(path)


def commit(folder: Path, content: Content, processes: int) -> Path:
    """Give a checkpoint its name, once the parts of all processes are written; for the first process.

    Raises:
        OSError: it cannot be written.
    """
    written, target = temporary(folder, content.nimg), folder / folder_name(content.nimg)
    files = {path.name: _digest(path) for path in sorted(written.glob("*.safetensors"))}
    about = {"format": FORMAT, "nimg": content.nimg, "processes": processes, "files": files, **content.state}
    about["digest"] = _text_digest(about)
    (written / "state.json").write_text(json.dumps(about, indent=1))
    _to_disk(written / "state.json")
    _to_disk(written)
    if target.exists():  # a damaged one
        _remove(target)
    os.rename(written, target)
    _to_disk(folder)
    return target


def discard(folder: Path, nimg: int) -> None:
    """Remove a checkpoint that will not be completed."""
    shutil.rmtree(temporary(folder, nimg), ignore_errors=True)


def prune(folder: Path, keep: int, every: int | None = None) -> None:
    """Delete old checkpoints.

    Args:
        folder: where they are.
        keep: how many of the newest are kept.
        every: pictures; the first checkpoint at or after each multiple of this number is kept for good.
    """
    found, counted = checkpoints(folder), set[int]()
    for i, path in enumerate(found):
        multiple = int(path.name.removeprefix("nimg-")) // every if every else 0
        if multiple and multiple not in counted:
            counted.add(multiple)
        elif i < len(found) - keep:
            _remove(path)


def _remove(path: Path) -> None:
    """Delete a checkpoint, renamed first, so that an interruption leaves nothing that looks like a checkpoint."""
    aside = path.with_name(f".{path.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    os.rename(path, aside)
    shutil.rmtree(aside, ignore_errors=True)


def _to_disk(path: Path) -> None:
    if path.is_dir() and os.name != "posix":  # Windows opens no folders
        return
    file = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def newest_whole(folder: Path, warn: Callable[[str], None], *others: Path) -> tuple[Path, dict[str, Any]] | None:
    """The newest undamaged checkpoint, and its state; None if there is no checkpoint at all.

    Args:
        folder: of the run's checkpoints.
        warn: called with a sentence about every damaged one.
        others: more folders of checkpoints of the same run.

    Raises:
        UserError: there are checkpoints, and every one is damaged.
    """
    folders = [each for each in (*others, folder) if checkpoints(each)]
    found = sorted((path for each in folders for path in checkpoints(each)), key=lambda path: path.name)
    while found:
        path = found.pop()
        problem, state = _inspect(path)
        if problem is None:
            return path, state
        then = f"trying the one before it, {found[-1]}" if found else "there is none before it"
        warn(f"warning: the checkpoint {path} is damaged ({problem}); {then}.")
    if folders:
        where = " and ".join(str(each) for each in folders)
        raise UserError(f"All checkpoints in {where} are damaged; move that folder away to start again.")
    return None


def read(path: Path, name: str) -> Tensors:
    """Tensors of one file of a checkpoint, by name."""
    return load_file(path / f"{name}.safetensors")


def read_state(path: Path) -> dict[str, Any] | None:
    """The state of a checkpoint, without checking its tensors; None if it is damaged."""
    return _state(path)[1] or None


def _inspect(path: Path) -> tuple[str | None, dict[str, Any]]:
    problem, state = _state(path)
    if problem is not None:
        return problem, {}
    try:
        for name, digest in state["files"].items():
            if _digest(path / name) != digest:
                return f"{name} does not match its checksum", {}
    except OSError as error:
        return f"{Path(error.filename or path).name}: {error.strerror}", {}
    except (ValueError, KeyError, TypeError, AttributeError):
        return "state.json does not match its checksum", {}
    return None, state


def _state(path: Path) -> tuple[str | None, dict[str, Any]]:
    try:
        state = json.loads((path / "state.json").read_text())
        if state["format"] not in READABLE:
            return f"its format is {state['format']}, this version reads {' and '.join(map(str, READABLE))}", {}
        if state.pop("digest") != _text_digest(state):
            return "state.json does not match its checksum", {}
    except OSError as error:
        return f"{Path(error.filename or path).name}: {error.strerror}", {}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "state.json does not match its checksum", {}
    return None, state


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text_digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
