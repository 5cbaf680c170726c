"""DICOM files, with the extra ``medical``.

Nothing of a header but the geometry and the meaning of the values leaves this module: no name, number or date of a
patient.
"""

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from progcycle.data.bit_depth import UnsupportedPicture
from progcycle.data.kinds import ADVICE, has_medical
from progcycle.data.levels import Bits
from progcycle.data.values import Stored, TooManyPixelsError
from progcycle.errors import UserError
from progcycle.rng import address

PREAMBLE = 128  # bytes of a DICOM file before its mark
IDENTITY = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")


def is_dicom(head: bytes) -> bool:
    """Whether a file's first bytes are those of a DICOM file."""
    return head[PREAMBLE : PREAMBLE + 4] == b"DICM"


def _dataset(stream: Any, pixels: bool) -> Any:
    if not has_medical():
        raise UserError(f"DICOM files are read after {ADVICE['.dcm']}.")
    import pydicom

    return pydicom.dcmread(stream, stop_before_pixels=not pixels)


def _mapping(dataset: Any) -> tuple[float, float]:
    """Slope and offset of the values, by the modality's own rule."""
    return float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))


def dicom_bits(dataset: Any) -> Bits:
    """The depth that the values of a DICOM file belong to once they are rescaled, by its header."""
    slope, offset = _mapping(dataset)
    if (slope, offset) == (1, 0) and dataset.BitsStored <= 8 and not dataset.PixelRepresentation:
        return 8
    low, high = _ends(dataset)
    whole = slope == 1 and offset.is_integer() and dataset.BitsStored <= 16
    fits = (low >= 0 and high < 1 << 16) or (low >= -(1 << 15) and high < 1 << 15)
    return 16 if whole and fits else "float"


def _ends(dataset: Any) -> tuple[float, float]:
    """The least and the greatest value that can be stored, rescaled."""
    slope, offset = _mapping(dataset)
    bits, signed = int(dataset.BitsStored), bool(dataset.PixelRepresentation)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    ends = low * slope + offset, high * slope + offset
    return min(ends), max(ends)


def read_dicom_bits(stream: Any) -> Bits:
    """The depth of a DICOM file by its header."""
    return dicom_bits(_dataset(stream, pixels=False))


def read_dicom(stream: Any, name: str, max_pixels: int) -> Stored:
    """The values of a DICOM file: rescaled, and with white as its highest value also where black is (MONOCHROME1).

    Args:
        stream: the file.
        name: what errors call it.
        max_pixels: of one that is read.

    Raises:
        TooManyPixelsError: it is too large.
        UnsupportedPicture: it has several frames, a palette, or a compression that is not installed.
        ValueError, ...: it is damaged.
    """
    from pydicom.pixels.processing import convert_color_space

    dataset = _dataset(stream, pixels=True)
    kind = str(dataset.PhotometricInterpretation)
    if int(dataset.get("NumberOfFrames", 1) or 1) > 1 or kind == "PALETTE COLOR":
        what = "a palette" if kind == "PALETTE COLOR" else f"{dataset.NumberOfFrames} frames"
        raise UnsupportedPicture(f"{name}: this DICOM file has {what}; save it as NIfTI, or each frame as a file.")
    if (pixels := int(dataset.Columns) * int(dataset.Rows)) > max_pixels:
        raise TooManyPixelsError(f"{pixels:,} pixels")
    bits = dicom_bits(dataset)
    try:
        values = dataset.pixel_array
    except (RuntimeError, NotImplementedError):
        syntax = dataset.file_meta.TransferSyntaxUID
        if not syntax.is_compressed:
            raise
        raise UnsupportedPicture(
            f"{name}: this DICOM file is compressed by {syntax.name}; install what reads it (pip install "
            "'pylibjpeg[all]'), or save it without compression."
        ) from None
    if values.ndim == 3:
        if kind.startswith("YBR"):
            values = convert_color_space(values, kind, "RGB")
        return Stored(np.ascontiguousarray(values))
    slope, offset = _mapping(dataset)
    found: np.ndarray = values if (slope, offset) == (1, 0) else values * slope + offset
    if kind == "MONOCHROME1":
        low, high = _ends(dataset)
        found = low + high - found.astype(np.float64)
    if bits == 8:
        return Stored(found.astype(np.uint8)[:, :, None])
    whole = np.int16 if _ends(dataset)[0] < 0 else np.uint16
    return Stored(found.astype(whole if bits == 16 else np.float32)[:, :, None])


def patient_of(file: Path | BinaryIO) -> str | None:
    """A hash of the patient that a DICOM file is of, or of its study or series; None if it tells none of them."""
    try:
        dataset = _dataset(str(file) if isinstance(file, Path) else file, pixels=False)
        known = next((str(dataset[tag].value) for tag in IDENTITY if dataset.get(tag)), None)
    except Exception:  # reported when it is read
        return None
    return f"{address('patient', known):016x}" if known else None
