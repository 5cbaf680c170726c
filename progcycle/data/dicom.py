"""DICOM files, with the extra ``medical``.

Nothing of a header but the geometry and the meaning of the values leaves this module: no name, number or date of a
patient.
"""

import struct
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
# First elements of files without it: of the header's own group, or of the one that tells what the file is.
FIRST_TAGS = [(group, element) for group in (0x0002, 0x0008) for element in (0, 1, 5, 8, 0x10, 0x12, 0x16, 0x18)]
FIRST_KINDS = (b"UL", b"OB", b"CS", b"UI", b"DA", b"SH")
MOST_LENGTH = 1 << 16  # bytes of the first element, where no kind stands in front of its length
NEEDED = ("Rows", "Columns", "PhotometricInterpretation", "BitsAllocated")
IMPLICIT, EXPLICIT, EXPLICIT_BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
IDENTITY = ("PatientID", "StudyInstanceUID", "SeriesInstanceUID")


def is_dicom(head: bytes) -> bool:
    """Whether a file's first bytes are those of a DICOM file, with or without the 128 bytes and the mark in front."""
    if head[PREAMBLE : PREAMBLE + 4] == b"DICM":
        return True
    for order in ("<", ">"):
        if len(head) >= PREAMBLE and struct.unpack(f"{order}HH", head[:4]) in FIRST_TAGS:
            return head[4:6] in FIRST_KINDS or 0 < struct.unpack(f"{order}I", head[4:8])[0] < MOST_LENGTH
    return False


def _dataset(stream: Any, pixels: bool) -> Any:
    if not has_medical():
        raise UserError(f"DICOM files are read after {ADVICE['.dcm']}.")
    import pydicom

    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE  # it would print values of the header
    dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:  # then it is one of the three that are not compressed
        implicit, little = dataset.original_encoding
        syntax = IMPLICIT if implicit else EXPLICIT if little else EXPLICIT_BIG
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
    if missing := [word for word in NEEDED if pixels and word not in dataset]:
        raise ValueError(f"its header has no {missing[0]}, as that of a file that is no picture")
    return dataset


def _mapping(dataset: Any) -> tuple[float, float]:
    """Slope and offset of the values, by the modality's own rule; of colour, and where none is told, 1 and 0."""
    for part in (dataset, *_of_frame(dataset)):
        slope, offset = part.get("RescaleSlope"), part.get("RescaleIntercept")
        if (slope is not None or offset is not None) and dataset.get("SamplesPerPixel", 1) == 1:
            return float(1 if slope is None else slope), float(0 if offset is None else offset)
    return 1.0, 0.0


def _of_frame(dataset: Any) -> list[Any]:
    """Where enhanced files tell the rule, for the only frame or for all."""
    groups = [(dataset.get(f"{which}FunctionalGroupsSequence") or [None])[0] for which in ("PerFrame", "Shared")]
    found = [(group.get("PixelValueTransformationSequence") or [None])[0] for group in groups if group is not None]
    return [part for part in found if part is not None]


def _is_float(dataset: Any) -> bool:
    """Whether pixels are floating point numbers (PS3.3, C.7.6.24 and C.7.6.25), whose bits are only allocated."""
    return "BitsStored" not in dataset and dataset.get("BitsAllocated") in (32, 64)


def _table_bits(dataset: Any) -> int | None:
    """Bits of the values of the modality's table, which takes the place of slope and offset; None without one."""
    tables = dataset.get("ModalityLUTSequence")
    return int(tables[0].LUTDescriptor[2]) if tables else None


def dicom_bits(dataset: Any) -> Bits:
    """The depth that the values of a DICOM file belong to once they are rescaled, by its header."""
    if _is_float(dataset):
        return "float"
    if (table := _table_bits(dataset)) is not None:
        return 8 if table <= 8 else 16
    slope, offset = _mapping(dataset)
    if (slope, offset) == (1, 0) and dataset.BitsStored <= 8 and not dataset.PixelRepresentation:
        return 8
    low, high = _ends(dataset)
    whole = slope == 1 and offset.is_integer() and dataset.BitsStored <= 16
    fits = (low >= 0 and high < 1 << 16) or (low >= -(1 << 15) and high < 1 << 15)
    return 16 if whole and fits else "float"


def _ends(dataset: Any) -> tuple[float, float]:
    """The least and the greatest value that can be stored, rescaled."""
    if (table := _table_bits(dataset)) is not None:
        return 0, (1 << table) - 1
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
    from pydicom.pixels.processing import apply_modality_lut

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
    if _is_float(dataset):
        if kind != "MONOCHROME2":
            raise UnsupportedPicture(f"{name}: this DICOM file has floating point {kind}; save it as NIfTI.")
        slope, offset = _mapping(dataset)
        return Stored((values * slope + offset)[:, :, None])
    if (last := int(dataset.get("HighBit", dataset.BitsStored - 1))) != dataset.BitsStored - 1:
        raise UnsupportedPicture(
            f"{name}: the {dataset.BitsStored} bits of this DICOM file end at bit {last}, and are not its lowest ones; "
            "save it as NIfTI."
        )
    if values.ndim == 3:
        return Stored(np.ascontiguousarray(values))  # RGB, which pydicom makes of YBR
    slope, offset = _mapping(dataset)
    if _table_bits(dataset) is not None:
        found: np.ndarray = apply_modality_lut(values, dataset)
    else:
        found = values if (slope, offset) == (1, 0) else values * slope + offset
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
