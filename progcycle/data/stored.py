"""The values that a picture file stores, of any depth: PNG and TIFF of 16 bits, TIFF of floats, numpy arrays."""

import contextlib
import io
import logging
import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from progcycle.blocks.levels import max_level
from progcycle.data.bit_depth import DEEP_KINDS, PNG, SIXTEEN_BIT, UnsupportedPicture, is_16_bit_png
from progcycle.data.dicom import is_dicom, read_dicom, read_dicom_bits
from progcycle.data.levels import Bits
from progcycle.data.region import Choose, Region, as_stored, is_swapped
from progcycle.data.values import Stored, TooManyPixelsError, bits_of, turned
from progcycle.recipe import MOST_CHANNELS

NUMPY = b"\x93NUMPY"
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
INVERTED = 0  # PhotometricInterpretation of a TIFF: lowest value white
PLAIN_COLOURS = (INVERTED, 1, 2, 5)  # grey, RGB and CMYK
SEPARATE = 2  # PlanarConfiguration of a TIFF whose channels are stored one after the other
ORIENTATION = 274  # EXIF and TIFF tag
OTHER_SPACES = frozenset({3, 8, 9, 10, 32844, 32845})  # of a TIFF: palettes, LAB and LogLuv
OTHER_CODECS = "imagecodecs"  # in the error where tifffile needs it to read a compression, or bits that are packed
OPACITY, PREMULTIPLIED = (1, 2), 1  # ExtraSamples of a TIFF
EIGHT = 8
SMALLEST_HEADER = 8  # bytes of a TIFF before anything else
PACKED = (10, 12, 14)  # bits of a TIFF's channel that do not fill whole bytes
HEADERS = threading.Lock()  # numpy reads a header with Python's parser, which two threads of Python 3.11 cannot share


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
        return bits_of(array_header(stream)[1])
    if is_dicom(head):
        return read_dicom_bits(stream)
    if is_tiff(head):
        page = first_page(stream)
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
        page = first_page(stream)
        samples = page.samplesperpixel
        return bool(page.bitspersample > EIGHT or page.dtype != np.uint8 or samples > 4 or samples == channels == 2)
    finally:
        stream.seek(0)


def is_plain_tiff(stream: Any) -> bool:
    """Whether a TIFF, which is left at its beginning, is grey or RGB of 8 bits and nothing else."""
    try:
        stream.seek(0)
        page = first_page(stream)
        kind = (page.dtype, page.bitspersample, page.samplesperpixel, int(page.photometric))
        return kind in ((np.uint8, EIGHT, 1, 1), (np.uint8, EIGHT, 3, 2)) and not page.extrasamples
    except Exception:  # damaged files make decoders raise nearly anything
        return False
    finally:
        stream.seek(0)


def read_stored(
    stream: Any,
    head: bytes,
    name: str,
    max_pixels: int,
    on_opened: Callable[[Image.Image], None] | None = None,
    choose: Choose | None = None,
) -> Stored:
    """Read a file that :func:`is_deep`.

    Args:
        stream: the file, at its beginning.
        head: its first bytes.
        name: what errors call it.
        max_pixels: of one that is read.
        on_opened: called with the image that Pillow makes of the file, not loaded, if it makes one.
        choose: the region that is wanted of the upright picture. No more of an array or a TIFF is read where its
            layout allows that, and ``max_pixels`` counts what is.

    Raises:
        UnsupportedPicture: its numbers are of a kind that nobody can show.
        TooManyPixelsError: it is too large.
        ValueError, ...: it is damaged.
    """
    if is_array(head):
        return Stored(_read_array(stream, name, max_pixels, choose))
    if is_dicom(head):
        return _part(read_dicom(stream, name, max_pixels), choose)
    if is_tiff(head) and choose is not None and (part := read_tiff_part(stream, choose, max_pixels, name)) is not None:
        return part
    stream.seek(0)
    stream = io.BytesIO(stream.read())
    turn = 1
    try:
        with Image.open(io.BytesIO(stream.getvalue()), formats=("PNG", "TIFF")) as image:
            turn = image.getexif().get(ORIENTATION, 1)
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
    stored = _read_tiff(stream, name, max_pixels) if is_tiff(head) else read_png(stream, head)
    return _part(Stored(np.ascontiguousarray(turned(stored.values, turn)), stored.opacity), choose)


def _part(stored: Stored, choose: Choose | None) -> Stored:
    if choose is None:
        return stored
    region = choose(*stored.values.shape[:2])
    return Stored(np.ascontiguousarray(stored.values[region.slices]), stored.opacity)


def read_png(stream: io.BytesIO, head: bytes) -> Stored:
    """Read a PNG of 16 bits a channel, with the file's first bytes as ``head``.

    Raises:
        ValueError: it is damaged.
    """
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


def first_page(stream: Any) -> Any:
    """The first page of a TIFF, as tifffile has it."""
    import tifffile

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it would log is raised too
    return tifffile.TiffFile(stream).pages[0]


def describe_tiff(stream: Any) -> str | None:
    """What a TIFF holds that Pillow has no mode for, such as ``5 channels of uint16``; None if it is no sound TIFF."""
    try:
        stream.seek(0)
        page = first_page(stream)
        return f"{page.samplesperpixel} channels of {page.dtype}" if page.dtype is not None else None
    except Exception:  # damaged files make decoders raise nearly anything
        return None


def _read_tiff(stream: io.BytesIO, name: str, max_pixels: int) -> Stored:
    stream.seek(0)
    page = first_page(stream)
    if page.imagewidth * page.imagelength > max_pixels:
        raise TooManyPixelsError(f"{page.imagewidth}x{page.imagelength} pixels")
    _check_page(page, name)
    try:
        if _has_plain_parts(page) and not page.is_contiguous:  # of parts that are not there tifffile makes zeros
            values = _tiles(stream, page, Region(0, 0, page.imagelength, page.imagewidth), *_sides_of_parts(page))
        else:
            values = page.asarray()
            values = np.moveaxis(values, 0, -1) if page.axes == "SYX" else values
        values = values if values.ndim == 3 else values[:, :, None]
    except (ValueError, NotImplementedError) as error:
        if OTHER_CODECS not in str(error):
            raise
        values = _by_opencv(stream, name, page)
    if values.shape != (page.imagelength, page.imagewidth, page.samplesperpixel):
        raise ValueError(f"its pixels are {values.shape}, not as its header says")
    return of_tiff(values, page, name)


def _check_page(page: Any, name: str) -> None:
    if page.samplesperpixel > MOST_CHANNELS or page.imagedepth > 1 or page.dtype is None:
        raise UnsupportedPicture(
            f"{name}: this TIFF has {page.samplesperpixel} channels of type {page.dtype}; {DEEP_KINDS}."
        )
    if page.photometric in OTHER_SPACES:
        raise UnsupportedPicture(
            f"{name}: this TIFF has more than 8 bits and colours of the kind {page.photometric.name}; convert it to "
            "RGB or grey first."
        )


def of_tiff(values: np.ndarray, page: Any, name: str) -> Stored:
    """Decoded values of a page, or of some of its rows: white is high.

    Args:
        values: as they are in the file.  # [h, W, C]
        page: that they belong to, see :func:`first_page`.
        name: what errors call the picture.

    Raises:
        UnsupportedPicture: they are of a kind that nobody can show.
    """
    _check_kind(values.dtype, name)
    if values.dtype.kind == "b":
        values = values.astype(np.uint8) * np.uint8(max_level())
    if page.photometric == INVERTED:
        top = (1 << page.bitspersample) - 1 if page.bitspersample > 1 else max_level()
        values = values.dtype.type(top) - values if values.dtype.kind == "u" else -values
    extra = int(page.extrasamples[0]) if page.extrasamples else 0
    if extra == PREMULTIPLIED and values.shape[2] in (2, 4):
        values = _divided_by_opacity(values)
    return Stored(values, extra in OPACITY)


def _divided_by_opacity(values: np.ndarray) -> np.ndarray:  # [H, W, 2 or 4]
    """Values as they are without their opacity, of a file that has multiplied them with it."""
    whole = values.dtype.kind in "iu"
    top = float(np.iinfo(values.dtype).max) if whole else 1.0
    opacity = values[..., -1:].astype(np.float64)
    colours = values[..., :-1] * np.divide(top, opacity, out=np.zeros_like(opacity), where=opacity > 0)
    colours = colours.round().clip(0, top) if whole else colours
    return np.concatenate([colours.astype(values.dtype), values[..., -1:]], axis=2)


def _has_plain_parts(page: Any) -> bool:
    """Whether the tiles or strips of a page hold its pixels as they are, in whole bytes."""
    return bool(page.bitspersample % EIGHT == 0 and page.photometric in PLAIN_COLOURS and not page.is_subsampled)


def _sides_of_parts(page: Any) -> tuple[int, int]:
    """Rows and columns of a tile or a strip."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def read_tiff_part(stream: Any, choose: Choose, max_pixels: int, name: str) -> Stored | None:
    """Read the tiles or strips of a TIFF that a region lies in.

    Args:
        stream: the file.
        choose: the region that is wanted of the upright picture.
        max_pixels: of the region, and of a tile or strip.
        name: what errors call it.

    Returns:
        The upright region; None where the file has to be read as a whole, since its compression is none that tifffile
        reads by itself, or its pixels are not of whole bytes.

    Raises:
        UnsupportedPicture, TooManyPixelsError, ValueError, ...: as :func:`read_stored`.
    """
    stream.seek(0)
    page = first_page(stream)
    _check_page(page, name)
    if not _has_plain_parts(page):
        return None
    turn = int(page.tags[ORIENTATION].value) if ORIENTATION in page.tags else 1
    size = (page.imagelength, page.imagewidth)
    upright = size[::-1] if is_swapped(turn) else size
    region = as_stored(choose(*upright), *upright, turn)
    down, across = _sides_of_parts(page)
    for height, width in (region[2:], (down, across)):
        if height * width > max_pixels:
            raise TooManyPixelsError(f"parts of {width}x{height} pixels")
    try:
        values = _tiles(stream, page, region, down, across)
    except ValueError as error:
        if OTHER_CODECS in str(error):
            return None
        raise
    found = of_tiff(values, page, name)
    return Stored(np.ascontiguousarray(turned(found.values, turn)), found.opacity)


def _tiles(stream: Any, page: Any, region: Region, down: int, across: int) -> np.ndarray:  # [h, w, C]
    """A region of the tiles, or strips, of a TIFF, which have ``down`` rows and ``across`` columns each."""
    planes = page.samplesperpixel if page.planarconfig == SEPARATE else 1
    rows, columns = math.ceil(page.imagelength / down), math.ceil(page.imagewidth / across)
    if len(page.dataoffsets) < planes * rows * columns:
        raise ValueError(f"it has {len(page.dataoffsets)} parts, not as its header says")
    values = np.empty((region.height, region.width, page.samplesperpixel), page.dtype)
    for row in range(region.top // down, math.ceil((region.top + region.height) / down)):
        for column in range(region.left // across, math.ceil((region.left + region.width) / across)):
            top, left = row * down - region.top, column * across - region.left
            here = np.s_[max(top, 0) : top + down, max(left, 0) : left + across]
            inside = np.s_[max(-top, 0) :, max(-left, 0) :]
            for plane in range(planes):
                index = (plane * rows + row) * columns + column
                channels = slice(plane, plane + 1) if planes > 1 else slice(None)
                start, count = page.dataoffsets[index], page.databytecounts[index]
                stream.seek(start)
                data = stream.read(count)
                if len(data) != count:
                    raise ValueError("it ends too early")
                if (start < SMALLEST_HEADER or not count) and (start, count) != (0, 0):  # a part that is left out
                    raise ValueError("a part of it lies nowhere")
                tables = {} if page.jpegtables is None else {"jpegtables": page.jpegtables}
                tile = page.decode(data, index, **tables)[0] if data else None
                target = values[..., channels][here]
                found = None if tile is None else tile[0][inside][: target.shape[0], : target.shape[1]]
                if found is not None and found.shape != target.shape:
                    raise ValueError(f"a part of it has {found.shape[0]} rows, not as its header says")
                target[...] = page.nodata if found is None else found
    return values


def _by_opencv(stream: io.BytesIO, name: str, page: Any) -> np.ndarray:
    """A TIFF whose compression tifffile leaves to a large package, such as LZW, or whose 10, 12 or 14 bits are packed.

    The values are those of the file: OpenCV would turn them upright, and stretches packed ones to 16 bits.
    """
    import cv2

    content = bytearray(stream.getvalue())
    ends = (start + count for start, count in zip(page.dataoffsets, page.databytecounts, strict=False))
    if max(ends, default=0) > len(content):
        raise ValueError("it ends too early")
    if (tag := page.tags.get(ORIENTATION)) is not None:
        one = (1).to_bytes(tag.valuebytecount, "little" if page.parent.byteorder == "<" else "big")
        content[tag.valueoffset : tag.valueoffset + len(one)] = one
    values: Any = None
    if page.samplesperpixel <= 4 and page.planarconfig == 1:
        values = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != page.dtype:
        raise UnsupportedPicture(
            f"{name}: this TIFF is compressed or packed in a way ({page.compression.name}, {page.bitspersample} bits) "
            "that cannot be read, or is damaged; save it with 16 bits and without compression, or with deflate."
        )
    if page.bitspersample in PACKED:
        values >>= 16 - page.bitspersample
    return _from_opencv(values)


def array_header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Shape, type, and whether the first axis runs fastest, of a ``.npy`` file; no object is ever unpickled."""
    version = np.lib.format.read_magic(stream)
    with HEADERS:
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        else:
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
    return shape, dtype, fortran


def stored_header(file: Path | BinaryIO) -> tuple[int, int, int, Bits] | None:
    """Height, width, channels and depth of an array or a deep TIFF, by its header; None of other files.

    Raises:
        ValueError, ...: the header is damaged; decoders raise nearly anything.
    """
    with open(file, "rb") if isinstance(file, Path) else contextlib.nullcontext(file) as stream:
        try:
            head = stream.read(1024)
            stream.seek(0)
            if is_array(head):
                shape, dtype, _ = array_header(stream)
                return shape[0], shape[1], (*shape, 1)[2], bits_of(dtype)
            if not is_tiff(head) or not is_deep(stream, head, 3):
                return None
            page = first_page(stream)
            bits: Bits = bits_of(page.dtype) if page.bitspersample > EIGHT or page.dtype == np.int8 else 8
            return page.imagelength, page.imagewidth, page.samplesperpixel, bits
        finally:
            stream.seek(0)


def _read_array(stream: Any, name: str, max_pixels: int, choose: Choose | None) -> np.ndarray:
    shape, dtype, fortran = array_header(stream)
    _check_kind(dtype, name)
    if len(shape) not in (2, 3) or 0 in shape:
        raise UnsupportedPicture(f"{name}: this array has the shape {list(shape)}; a picture is [H, W] or [H, W, C].")
    start, count = stream.tell(), int(np.prod([int(n) for n in shape], dtype=object))
    there = stream.seek(0, io.SEEK_END) - start
    if choose is None and count > max_pixels * MOST_CHANNELS:
        raise TooManyPixelsError(f"{count:,} values")
    if there != count * dtype.itemsize:
        raise ValueError(f"its header promises {count * dtype.itemsize} bytes of values, and there are {there}")
    if isinstance(stream, io.BytesIO):
        values = np.frombuffer(stream.getbuffer(), dtype, count, start)
    else:  # a file, of which a region is wanted
        values = np.memmap(stream, dtype, "r", start, (count,))
    values = values.reshape(shape, order="F" if fortran else "C")
    values = values[:, :, None] if values.ndim == 2 else values
    if values.shape[2] > MOST_CHANNELS >= values.shape[0]:  # channels first
        values = np.moveaxis(values, 0, -1)
    if values.shape[2] > MOST_CHANNELS:
        raise UnsupportedPicture(f"{name}: this array has the shape {list(shape)}; a picture is [H, W] or [H, W, C].")
    if choose is not None:
        values = values[choose(*values.shape[:2]).slices]
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
