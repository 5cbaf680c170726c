"""A volume, translated slice by slice into another of the same geometry."""

from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from progcycle.data import BrokenPicture
from progcycle.data.values import Stored
from progcycle.data.volumes import Volume, filled_slices, read_volume, volume_bytes
from progcycle.errors import UserError
from progcycle.export.jobs import Job
from progcycle.files import atomic_file
from progcycle.recipe import Volumes

Change = Callable[[Stored, str], tuple[np.ndarray, np.ndarray]]
"""A slice, and its name for errors, to its values and their translation.  # both [H, W, C]"""


def translate_volume(
    file: Path | BinaryIO, job: Job, options: Volumes, change: Change, low: float
) -> tuple[np.ndarray, np.ndarray]:
    """Translate the slices of a NIfTI file; those that training leaves out as empty become the lowest value.

    Args:
        file: of the source.
        job: the source and the target.
        options: the axis of the slices, and which of them are empty, as in training.
        change: translates a slice.
        low: the lowest value of what is written.

    Returns:
        The middle one of the translated slices, before and after.  # both [H, W, C]

    Raises:
        UserError: it cannot be read, or all slices are empty.
    """
    name = job.source.name
    try:
        volume = read_volume(file, name)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # damaged files make libraries raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BrokenPicture(f"{name}: this volume cannot be read ({reason.rstrip('.')}).") from None
    filled = filled_slices(volume.values, options)
    if not filled:
        raise UserError(f"{name}: no slice across axis {options.axis} shows anything, so that there is nothing to do.")
    written: np.ndarray | None = None
    shown = None
    for index in filled:
        before, after = change(volume.slice(options.axis, index), f"{name}, slice {index}")
        if written is None:
            written = np.full((*volume.values.shape[:3], after.shape[2]), low, after.dtype)
        np.moveaxis(written, options.axis, 0)[index] = after
        if index == filled[len(filled) // 2]:
            shown = before, after
    assert written is not None
    assert shown is not None
    _write(job.target, volume, written[..., 0] if written.shape[3] == 1 else written)
    return shown


def _write(target: Path, like: Volume, values: np.ndarray) -> None:
    content = volume_bytes(like, values, compressed=target.name.lower().endswith(".gz"))
    with atomic_file(target) as temporary:
        temporary.write_bytes(content)
