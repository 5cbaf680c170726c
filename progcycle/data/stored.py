"""The values that a picture file stores, of any depth: PNG and TIFF of 16 bits, TIFF of floats, numpy arrays."""

import io
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from progcycle.blocks.levels import max_level
from progcycle.data.bit_depth import PNG, SIXTEEN_BIT, UnsupportedPicture, is_16_bit_png
from progcycle.data.dicom import is_dicom, read_dicom, read_dicom_bits
from progcycle.data.levels import Bits
from progcycle.data.values import Stored, TooManyPixelsError, bits_of, turned
from progcycle.recipe import MOST_CHANNELS

NUMPY = b"\x93NUMPY"
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
DEEP_KINDS = "16 bits are read of PNG, TIFF and .npy, floating point of TIFF and .npy"
INVERTED = 0  # PhotometricInterpretation of a TIFF whose lowest value is white
OPACITY = (1, 2)  # ExtraSamples of a TIFF
EIGHT = 8


def is_special(head: bytes) -> bool:
    """Whether a file's first bytes are those of an array or a DICOM file, of which Pillow knows none."""
    return is_array(head) or is_dicom(head)


def is_array(head: bytes) -> bool:
    """Whether a file's first bytes are those of a numpy array."""
    return head.startswith(NUMPY)


def is_tiff(head: bytes) -> bool:
    """Whether a file's first bytes are those of a TIFF."""
    return head.startswith(TIFFS)


def read_bits(stream: Any, head: bytes) -> Bits:
    """The depth of a picture file by its header; 8 where the format, or its reader, has no other.

    Args:
        stream: the file, at its beginning.
        head: its first bytes.

    Raises:
        ValueError, ...: the header is damaged; decoders raise nearly anything.
    """
    if head.startswith(PNG):
        return 16 if is_16_bit_png(head) else 8
    if is_array(head):
        return bits_of(_array_header(stream)[1])
    if is_dicom(head):
        return read_dicom_bits(stream)
    if is_tiff(head):
        page = _first_page(stream)
        return 8 if page.bitspersample <= EIGHT and page.dtype != np.int8 else bits_of(page.dtype)
    return 8


def is_deep(stream: Any, head: bytes, channels: int) -> bool:
    """Whether a file has to be read by :func:`read_stored`, since Pillow has no mode for it.

    Args:
        stream: the file, at its beginning, where it is left.
        head: its first bytes.
        channels: that are wanted of it.
    """
    if is_array(head) or is_16_bit_png(head) or is_dicom(head):
        return True
    if not is_tiff(head):
        return False
    try:
        page = _first_page(stream)
        samples = page.samplesperpixel
        return bool(page.bitspersample > EIGHT or page.dtype != np.uint8 or samples > 4 or samples == channels == 2)
    finally:
        stream.seek(0)


def read_stored(
    stream: io.BytesIO, head: bytes, name: str, max_pixels: int, on_opened: Callable[[Image.Image], None] | None = None
) -> Stored:
    """Read a file that :func:`is_deep`.

    Args:
        stream: the file, at its beginning.
        head: its first bytes.
        name: what errors call it.
        max_pixels: of one that is read.
        on_opened: called with the image that Pillow makes of the file, not loaded, if it makes one.

    Raises:
        UnsupportedPicture: its numbers are of a kind that nobody can show.
        TooManyPixelsError: it is too large.
        ValueError, ...: it is damaged.
    """
    if is_array(head):
        return Stored(_read_array(stream, name, max_pixels))
    if is_dicom(head):
        return read_dicom(stream, name, max_pixels)
    turn = 1
    try:
        with Image.open(io.BytesIO(stream.getvalue()), formats=("PNG", "TIFF")) as image:
            turn = image.getexif().get(274, 1)
            if on_opened is not None:
                on_opened(image)
            if image.width * image.height > max_pixels:
                raise TooManyPixelsError(f"{image.width}x{image.height} pixels")
            if not is_tiff(head):
                image.load()  # it tells damage that OpenCV passes over
                if "transparency" in image.info:
                    raise UnsupportedPicture(f"{name}: a transparent colour of 16 bits is not supported.")
    except (UnsupportedPicture, TooManyPixelsError):
        raise
    except Exception:
        if not is_tiff(head):  # of TIFFs Pillow does not know all kinds
            raise
    stored = _read_tiff(stream, name, max_pixels) if is_tiff(head) else _read_png(stream, head)
    return Stored(np.ascontiguousarray(turned(stored.values, turn)), stored.opacity)


def _read_png(stream: io.BytesIO, head: bytes) -> Stored:
    import cv2

    values = cv2.imdecode(np.frombuffer(stream.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise ValueError("its pixels cannot be decoded")
    values = _from_opencv(values)
    grey = head[25] in (0, 4)  # colour type of the header
    return Stored(values[..., [0, -1]] if grey and values.shape[2] == 4 else values, values.shape[2] == 4)


def _from_opencv(values: np.ndarray) -> np.ndarray:  # [H, W] or [H, W, B G R and opacity] -> [H, W, C]
    if values.ndim == 2:
        return values[:, :, None]
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}.get(values.shape[2])
    return values if order is None else values[..., order]


def _first_page(stream: Any) -> Any:
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it would log is raised too
    return tifffile.TiffFile(stream).pages[0]


def describe_tiff(stream: Any) -> str | None:
    """What a TIFF holds that Pillow has no mode for, such as ``5 channels of uint16``; None if it is no sound TIFF."""
    try:
        stream.seek(0)
        page = _first_page(stream)
        return f"{page.samplesperpixel} channels of {page.dtype}" if page.dtype is not None else None
    except Exception:  # damaged files make decoders raise nearly anything
        return None


def _read_tiff(stream: io.BytesIO, name: str, max_pixels: int) -> Stored:
    stream.seek(0)
    page = _first_page(stream)
    if page.imagewidth * page.imagelength > max_pixels:
        raise TooManyPixelsError(f"{page.imagewidth}x{page.imagelength} pixels")
    if page.samplesperpixel > MOST_CHANNELS or page.imagedepth > 1 or page.dtype is None:
        raise UnsupportedPicture(
            f"{name}: this TIFF has {page.samplesperpixel} channels of type {page.dtype}; {DEEP_KINDS}."
        )
    try:
        values = page.asarray()
        values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else values
        values = values if values.ndim == 3 else values[:, :, None]
    except ValueError as error:
        if "imagecodecs" not in str(error):
            raise
        values = _by_opencv(stream, name, page)
    if values.shape != (page.imagelength, page.imagewidth, page.samplesperpixel):
        raise ValueError(f"its pixels are {values.shape}, not as its header says")
    _check_kind(values.dtype, name)
    if page.photometric == INVERTED:
        values = np.iinfo(values.dtype).max - values if values.dtype.kind == "u" else -values
    return Stored(values, bool(page.extrasamples) and int(page.extrasamples[0]) in OPACITY)


def _by_opencv(stream: io.BytesIO, name: str, page: Any) -> np.ndarray:
    """A TIFF whose compression tifffile leaves to a large package, such as LZW."""
    import cv2

    values = None
    if page.samplesperpixel <= 4 and page.planarconfig == 1:
        values = cv2.imdecode(np.frombuffer(stream.getvalue(), np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None:
        raise UnsupportedPicture(
            f"{name}: this TIFF is compressed in a way ({page.compression.name}) that cannot be read, or is damaged; "
            "save it without compression, or with deflate."
        )
    return _from_opencv(values)


def _array_header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, type, and whether the first axis runs fastest, of a ``.npy`` file; no object is ever unpickled."""
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    else:
        shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, dtype, fortran


def _read_array(stream: io.BytesIO, name: str, max_pixels: int) -> np.ndarray:
    shape, dtype, fortran = _array_header(stream)
    _check_kind(dtype, name)
    if len(shape) not in (2, 3) or 0 in shape:
        raise UnsupportedPicture(f"{name}: this array has the shape {list(shape)}; a picture is [H, W] or [H, W, C].")
    there, count = stream.getbuffer().nbytes - stream.tell(), int(np.prod([int(n) for n in shape], dtype=object))
    if count > max_pixels * MOST_CHANNELS:
        raise TooManyPixelsError(f"{count:,} values")
    if there != count * dtype.itemsize:
        raise ValueError(f"its header promises {count * dtype.itemsize} bytes of values, and there are {there}")
    values = np.frombuffer(stream.getbuffer(), dtype, count, stream.tell())
    values = values.reshape(shape, order="F" if fortran else "C")
    values = values[:, :, None] if values.ndim == 2 else values
    if values.shape[2] > MOST_CHANNELS >= values.shape[0]:  # channels first
        values = np.moveaxis(values, 0, -1)
    if values.shape[2] > MOST_CHANNELS:
        raise UnsupportedPicture(f"{name}: this array has the shape {list(shape)}; a picture is [H, W] or [H, W, C].")
    if values.shape[0] * values.shape[1] > max_pixels:
        raise TooManyPixelsError(f"{values.shape[1]}x{values.shape[0]} pixels")
    native = dtype.newbyteorder("=") if dtype.kind != "b" else np.dtype(np.uint8)
    return values.astype(native) * (max_level() if dtype.kind == "b" else native.type(1))


def _check_kind(dtype: np.dtype[Any], name: str) -> None:
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise UnsupportedPicture(f"{name}: this picture holds values of type {dtype}; {DEEP_KINDS}.")


def stored_in(image: Image.Image) -> Stored | None:
    """The values of an image in memory that has more than 8 bits a channel; None of others."""
    if image.mode in SIXTEEN_BIT:
        return Stored(np.asarray(image).astype(np.uint16)[:, :, None])
    if image.mode in ("I", "F"):
        return Stored(np.asarray(image).astype(np.float32 if image.mode == "F" else np.float64)[:, :, None])
    return None
