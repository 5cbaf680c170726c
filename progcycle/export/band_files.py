"""Files of large pictures, written a band of rows after the other: PNG, TIFF, JPEG, PPM and numpy arrays."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from progcycle.data.bands import png_chunk
from progcycle.data.bit_depth import PNG
from progcycle.data.pixels import as_image
from progcycle.errors import UserError
from progcycle.export.exif_directories import append_directories
from progcycle.export.jobs import TIFF, WRITERS
from progcycle.export.metadata import Metadata
from progcycle.export.value_files import ARRAY, metadata_chunks, tiff_options, write_values
from progcycle.files import atomic_file

TILE = 256  # pixels of a side of a TIFF's tiles
BIG_TIFF = 1 << 31  # bytes of values; a classic TIFF ends at 4 GiB
COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # of a PNG, by channels
SAMPLED = 16  # of a row of a PNG every so manyth byte decides on its filter
MOST_JPEG = 65_500  # pixels of a side
RESTARTS, MOST_RESTART = 8, (1 << 16) - 1  # markers, and blocks between two of them
BLOCK = 8  # pixels of a side of a JPEG's blocks

Bands = Iterator[np.ndarray]
"""Rows of a picture's values that follow each other, from top to bottom.  # [h, W, C]"""


def write_bands(bands: Bands, height: int, width: int, metadata: Metadata, background: str, target: Path) -> None:
    """Write the values of a picture in the format of its file name, as :func:`write_values` does, in little memory.

    WebP and BMP files are written from the whole picture.

    Args:
        bands: values of uint8, uint16, int16 or float32, all of one type.
        height: of the picture.
        width: of the picture.
        metadata: of the picture that it was made from.
        background: see :meth:`Metadata.apply`.
        target: the file.

    Raises:
        UserError: the format holds no picture of this size.
        OSError, ValueError: a library or the disk refuses.
    """
    kind = target.suffix.lower()
    first = next(bands)
    shape = (height, width, first.shape[2])
    rows = _chained(first, bands)
    writer: Callable[[BinaryIO, Bands, tuple[int, int, int], np.dtype[np.generic], Metadata], None] | None = {
        ".png": _write_png,
        ARRAY: _write_array,
        **dict.fromkeys(TIFF, _write_tiff),
        **dict.fromkeys((".jpg", ".jpeg"), _write_jpeg),
        **dict.fromkeys((".ppm", ".pgm"), _write_ppm),
    }.get(kind)
    if writer is None:
        values = np.empty(shape, first.dtype)
        for top, part in _placed(rows):
            values[top : top + len(part)] = part
        write_values(values, metadata, background, target)
        return
    with atomic_file(target) as temporary, open(temporary, "w+b") as stream:
        writer(stream, rows, shape, first.dtype, metadata)


def _chained(first: np.ndarray, others: Bands) -> Bands:
    yield first
    yield from others


def _placed(rows: Bands) -> Iterator[tuple[int, np.ndarray]]:
    top = 0
    for part in rows:
        yield top, part
        top += len(part)


def _regrouped(rows: Bands, count: int) -> Bands:
    """The same rows, so many at a time, but for the last ones."""
    kept: list[np.ndarray] = []
    for part in rows:
        kept.append(part)
        if sum(map(len, kept)) < count:
            continue
        joined = np.concatenate(kept)
        whole = len(joined) // count * count
        yield from (joined[i : i + count] for i in range(0, whole, count))
        kept = [joined[whole:]] if whole < len(joined) else []
    if kept:
        yield np.concatenate(kept)


def _write_array(
    stream: BinaryIO, rows: Bands, shape: tuple[int, int, int], dtype: np.dtype[np.generic], metadata: Metadata
) -> None:
    whole = shape[:2] if shape[2] == 1 else shape
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": whole}
    np.lib.format.write_array_header_1_0(stream, header)
    for part in rows:
        stream.write(np.ascontiguousarray(part).data)


def _write_ppm(
    stream: BinaryIO, rows: Bands, shape: tuple[int, int, int], dtype: np.dtype[np.generic], metadata: Metadata
) -> None:
    for top, part in _placed(rows):
        content = io.BytesIO()
        as_image(part).save(content, "PPM")
        body = content.getvalue()[-part.nbytes :]
        if top == 0:
            kind = content.getvalue()[:2].decode()
            stream.write(f"{kind}\n{shape[1]} {shape[0]}\n{np.iinfo(np.uint8).max}\n".encode())
        stream.write(body)


def _write_tiff(
    stream: BinaryIO, rows: Bands, shape: tuple[int, int, int], dtype: np.dtype[np.generic], metadata: Metadata
) -> None:
    import tifffile

    channels = shape[2]

    def tiles() -> Iterator[np.ndarray]:
        for band in _regrouped(rows, TILE):
            for left in range(0, shape[1], TILE):
                tile = np.zeros((TILE, TILE, channels), dtype)
                part = band[:, left : left + TILE]
                tile[: part.shape[0], : part.shape[1]] = part
                yield tile[:, :, 0] if channels == 1 else tile

    tifffile.imwrite(
        stream,
        tiles(),
        shape=shape[:2] if channels == 1 else shape,
        dtype=dtype,
        tile=(TILE, TILE),
        bigtiff=int(np.prod(shape, dtype=np.int64)) * dtype.itemsize > BIG_TIFF,
        **tiff_options(metadata, channels, dtype),
    )
    append_directories(stream, metadata.exif or b"")


# PNG


def _write_png(
    stream: BinaryIO, rows: Bands, shape: tuple[int, int, int], dtype: np.dtype[np.generic], metadata: Metadata
) -> None:
    height, width, channels = shape
    header = struct.pack(">IIBBBBB", width, height, 8 * dtype.itemsize, COLOUR_TYPES[channels], 0, 0, 0)
    stream.write(PNG + png_chunk(b"IHDR", header) + metadata_chunks(metadata, channels))
    pack = zlib.compressobj(strategy=zlib.Z_FILTERED)
    above = np.zeros(width * channels * dtype.itemsize, np.uint8)
    for part in rows:
        raw = np.ascontiguousarray(part).astype(dtype.newbyteorder(">")).view(np.uint8).reshape(len(part), -1)
        packed = pack.compress(_filtered(raw, above, channels * dtype.itemsize).tobytes())
        above = raw[-1]
        if packed:
            stream.write(png_chunk(b"IDAT", packed))
    stream.write(png_chunk(b"IDAT", pack.flush()) + png_chunk(b"IEND", b""))


def _filtered(raw: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """Rows of a PNG, each behind the number of its filter: the one whose differences are the least in sum.

    Filters 0 to 4 of the PNG specification, section 9, and the choice that its section 12.7 advises.

    Args:
        raw: bytes of the rows.  # [h, row] uint8
        above: the row above the first.  # [row] uint8
        step: bytes of a pixel.
    """
    up = np.concatenate([above[None], raw[:-1]])
    left, corner = np.zeros_like(raw), np.zeros_like(raw)
    left[:, step:], corner[:, step:] = raw[:, :-step], up[:, :-step]
    a, b, c = (x.astype(np.int16) for x in (left, up, corner))
    to_a, to_b, to_c = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    paeth = np.where((to_a <= to_b) & (to_a <= to_c), left, np.where(to_b <= to_c, up, corner))
    best, out = None, np.empty((len(raw), 1 + raw.shape[1]), np.uint8)
    for number, predicted in enumerate((0, left, up, ((a + b) >> 1).astype(np.uint8), paeth)):
        difference = raw - predicted
        cost = np.abs(difference[:, ::SAMPLED].view(np.int8).astype(np.int16)).sum(axis=1)
        better = np.ones(len(raw), bool) if best is None else cost < best
        best = cost if best is None else np.minimum(cost, best)
        out[better, 0] = number
        out[better, 1:] = difference[better]
    return out


# JPEG


def _write_jpeg(
    stream: BinaryIO, rows: Bands, shape: tuple[int, int, int], dtype: np.dtype[np.generic], metadata: Metadata
) -> None:
    """Bands of rows are coded as pictures of their own, and their codes joined by restart markers.

    Each restart begins anew but for the tables, which are the same for all (ITU-T T.81, sections E.1.4 and F.1.1.5).
    """
    height, width, channels = shape
    if max(height, width) > MOST_JPEG:
        raise UserError(
            f"A JPEG holds up to {MOST_JPEG} px a side, and this picture has {width}x{height}; give the output a name "
            "that ends in .png or .tif."
        )
    across = -(-width // BLOCK)
    count = max(1, min(MOST_RESTART // across, (1 << 20) // (width * BLOCK)))
    for i, part in enumerate(_regrouped(rows, count * BLOCK)):
        image, content = as_image(part), io.BytesIO()
        kept = metadata.info("L" if channels == 1 else "RGB") if i == 0 else {}
        image.save(content, "JPEG", **WRITERS[".jpg"], **kept)
        header, codes = _parts_of_jpeg(content.getvalue(), height, count * across)
        stream.write(header if i == 0 else b"\xff" + bytes([0xD0 + (i - 1) % RESTARTS]))
        stream.write(codes)
    stream.write(b"\xff\xd9")


def _parts_of_jpeg(content: bytes, height: int, restart: int) -> tuple[bytes, bytes]:
    """What stands before the codes of a baseline JPEG, for another height and with restarts, and the codes."""
    place = 2
    head = content[:2]
    while True:
        marker, size = struct.unpack(">HH", content[place : place + 4])
        segment = content[place : place + 2 + size]
        place += 2 + size
        if marker == 0xFFC0:  # SOF0: length, bits, height, width
            segment = segment[:5] + struct.pack(">H", height) + segment[7:]
        if marker == 0xFFDA:  # SOS
            return head + struct.pack(">HHH", 0xFFDD, 4, restart) + segment, content[place:-2]
        head += segment
