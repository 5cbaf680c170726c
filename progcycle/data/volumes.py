"""Volumes (NIfTI), whose slices are pictures, with the extra ``medical``; and which pictures belong to one patient."""

import gzip
import io
import logging
import math
import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

from progcycle.data.bit_depth import UnsupportedPicture
from progcycle.data.dicom import patient_of
from progcycle.data.kinds import ADVICE, DICOM, VOLUMES, extension_of, has_medical
from progcycle.data.source import Entry, Opener
from progcycle.data.values import Stored, bits_of
from progcycle.errors import UserError
from progcycle.recipe import MOST_CHANNELS, Volumes

GZIP = b"\x1f\x8b"
LARGEST = 1 << 30  # bytes of a volume
# Of volumes that this process has looked into, since a set is listed several times before it is read.
_slices: dict[tuple[str, str | None, str, Volumes], list[int]] = {}
SUBJECT = re.compile(r"(?:^|[/_])(sub-[A-Za-z0-9]+)")  # of the Brain Imaging Data Structure


def is_volume(name: str) -> bool:
    """Whether the name is that of a NIfTI file."""
    return extension_of(name) in VOLUMES


@dataclass(frozen=True)
class Volume:
    """A NIfTI file.

    Attributes:
        values: as they are meant.  # [X, Y, Z] or [X, Y, Z, C]
        image: of nibabel, with its header and affine.
    """

    values: np.ndarray
    image: Any

    def slice(self, axis: int, index: int) -> Stored:
        """One slice across an axis, as a picture whose rows are the first of the other axes."""
        values = self.values.take(index, axis=axis)
        return Stored(np.ascontiguousarray(values if values.ndim == 3 else values[:, :, None]))


def read_volume(file: Path | BinaryIO, name: str) -> Volume:
    """Read a NIfTI file, compressed or not.

    Args:
        file: path, or a binary file.
        name: what errors call it.

    Raises:
        UnsupportedPicture: its values are of a kind that is no picture, or there are too many.
        ValueError, ...: it is damaged.
    """
    if not has_medical():
        raise UserError(f"{name}: NIfTI files are read after {ADVICE['.nii']}.")
    import nibabel

    content = file.read_bytes() if isinstance(file, Path) else file.read()
    if content.startswith(GZIP):
        with gzip.open(io.BytesIO(content)) as stream:
            content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise UnsupportedPicture(f"{name}: this volume has more than {LARGEST >> 30} GiB; cut it up.")
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL + 1)  # what it would log is raised too
    kind: Any = nibabel.Nifti2Image if content[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nibabel.Nifti1Image
    image = kind.from_bytes(content)
    shape, dtype = tuple(image.shape), image.get_data_dtype()
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    shown = len(shape) == 3 or (len(shape) == 4 and shape[3] <= MOST_CHANNELS)
    if not shown or dtype.kind not in "iuf" or 0 in shape:
        raise UnsupportedPicture(
            f"{name}: this volume has the shape {list(shape)} and values of type {dtype}; volumes are [X, Y, Z], or "
            "[X, Y, Z, channels], of numbers."
        )
    promised = math.prod(map(int, shape)) * dtype.itemsize
    there = max(len(content) - int(image.dataobj.offset), 0)
    if there < promised:
        raise ValueError(f"its header promises {promised} bytes of values, and there are {there}")
    slope, offset = image.dataobj.slope, image.dataobj.inter
    values = np.asarray(image.dataobj.get_unscaled()).reshape(shape)
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    if (slope, offset) != (1, 0):
        values = (values * slope + offset).astype(np.float32)
    elif bits_of(values.dtype) == "float":
        values = values.astype(np.float32)
    if values.dtype.kind == "f" and (strange := int((~np.isfinite(values)).sum())):
        raise UnsupportedPicture(
            f"{name}: {strange:,} values of this volume are not finite; give these voxels the value of its background."
        )
    return Volume(values, image)


class VolumeReader:
    """Reads slices of volumes; of the volumes that it has read it keeps the last two."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._lock, self._kept = threading.Lock(), dict[tuple[str, str], Volume]()

    def __getstate__(self) -> dict[str, Any]:
        return {"_opener": self._opener}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["_opener"])  # type: ignore[misc]  # a lock is not pickled, and volumes are too large

    def __call__(self, entry: Entry) -> Volume:
        """The volume of a NIfTI file, or of one of its slices.

        Raises:
            UnsupportedPicture, ...: as :func:`read_volume`.
        """
        key = (entry.file, entry.member or "")
        with self._lock:
            if key not in self._kept:
                volume = read_volume(self._opener.open(entry), entry.name)
                self._kept = {**dict(list(self._kept.items())[-1:]), key: volume}
            return self._kept[key]


def with_slices(entries: Iterable[Entry], options: Volumes, opener: Opener) -> tuple[Entry, ...]:
    """Pictures, and in place of every volume its slices that show something, ``NAME#012.nii.gz``.

    Args:
        entries: files.
        options: the axis of the slices, and which of them count as empty.
        opener: opens the files.

    Raises:
        UserError: a volume cannot be read.
    """
    found: list[Entry] = []
    for entry in entries:
        if not is_volume(entry.name):
            found.append(entry)
            continue
        key = (entry.file, entry.member, entry.stamp, options)
        if key not in _slices:
            _slices[key] = _read_slices(entry, options, opener)
        end = extension_of(entry.name)
        stem, group = entry.name[: -len(end)], group_of(entry.name)
        for index in _slices[key]:
            name = f"{stem}#{index:03}{entry.name[-len(end) :]}"
            found.append(replace(entry, name=name, slice=index, group=group))
    return tuple(found)


def _read_slices(entry: Entry, options: Volumes, opener: Opener) -> list[int]:
    try:
        volume = read_volume(opener.open(entry), entry.name)
    except UserError:
        raise
    except Exception as error:  # damaged files make libraries raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{entry.name}: this volume cannot be read ({reason.rstrip('.')}).") from None
    return filled_slices(volume.values, options)


def filled_slices(values: np.ndarray, options: Volumes) -> list[int]:
    """Numbers of the slices across an axis of which enough values lie above the volume's lowest.  # [X, Y, Z, ...]"""
    above = values > values.min()
    shares = above.mean(axis=tuple(axis for axis in range(values.ndim) if axis != options.axis))
    return [int(index) for index in np.flatnonzero(shares > options.empty)]


def group_of(name: str) -> str:
    """The patient that a volume's name tells (``sub-01``), or else the volume: its slices belong together."""
    subject = SUBJECT.search(name)
    return subject[1] if subject else str(PurePosixPath(name))


def volume_bytes(like: Volume, values: np.ndarray, compressed: bool) -> bytes:
    """A NIfTI file with the affine, the geometry and the units of another one, and nothing else of its header.

    Args:
        like: where it comes from.
        values: of the new one.  # [X, Y, Z] or [X, Y, Z, C]
        compressed: by gzip.
    """
    image = type(like.image)(values, like.image.affine)
    for form in ("qform", "sform"):
        affine, code = getattr(like.image, f"get_{form}")(coded=True)
        if affine is not None:
            getattr(image, f"set_{form}")(affine, int(code))
    image.header.set_xyzt_units(*like.image.header.get_xyzt_units())
    content: bytes = image.to_bytes()
    return gzip.compress(content, mtime=0) if compressed else content


def with_patients(entries: Iterable[Entry], opener: Opener) -> tuple[Entry, ...]:
    """Entries that know which DICOM files are of one patient, so that these are held out together.

    A file that does not tell its patient, study or series belongs to its folder.
    """
    return tuple(
        replace(entry, group=patient_of(opener.open(entry)) or str(PurePosixPath(entry.name).parent))
        if extension_of(entry.name) in DICOM
        else entry
        for entry in entries
    )
