"""A picture file read a band of rows after the other, in little memory where its format allows.

PNG, TIFF and ``.npy`` files are read so, as deep as they are. Of a PNG, its compressed rows are unpacked as they come,
and a few at a time are decoded as a small PNG of their own. TIFFs are read by strips or tiles, and JPEGs by rows where
libvips is installed. Other formats, interlaced PNG, and TIFFs with a compression or colours that only Pillow or OpenCV
know, are decoded as a whole first.
"""

import contextlib
import importlib.util
import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from progcycle.data import bit_depth, stored
from progcycle.data.bit_depth import PNG
from progcycle.data.decode import (
    HEAD,
    JPEG,
    BrokenPicture,
    as_sentences,
    decode_picture,
    image_pixels,
    opened,
    parse_colour,
)
from progcycle.data.decode import orientation as exif_orientation
from progcycle.data.levels import Levels
from progcycle.data.limit import pixel_limit
from progcycle.data.region import is_swapped
from progcycle.data.values import Stored, as_wanted, turned
from progcycle.recipe import MOST_CHANNELS

BAND = 1 << 20  # pixels that are decoded at a time, but for the last row of them
LONGEST = 64 << 20  # bytes of a PNG's chunk that is kept, such as a colour profile
READ = 1 << 20  # bytes of a file at a time
CHANNELS_OF_PNG = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by colour type
SAME_STEP = {1: (0, 8), 2: (4, 8), 3: (2, 8), 4: (6, 8), 6: (2, 16), 8: (6, 16)}  # bytes a pixel: colour type, depth
KEPT = (b"PLTE", b"tRNS")  # chunks that say what the numbers of a PNG are
OnOpened = Callable[[Image.Image, int, int], None]


@dataclass(frozen=True)
class Bands:
    """A picture that can be read once, band by band.

    Attributes:
        height: of the upright picture.
        width: of the upright picture.
        whole: whether all of it is decoded before its first band.
    """

    height: int
    width: int
    whole: bool
    _read: Callable[[], Iterator[tuple[int, np.ndarray]]] = field(repr=False)
    _told: Callable[[], contextlib.AbstractContextManager[None]] = field(repr=False)
    _orientation: int = 1

    def parts(self) -> Iterator[tuple[int, int, np.ndarray]]:
        """The values of the parts that make up the upright picture, and the row and column where each begins.

        Yields:
            First row, first column, values as :func:`decode_picture` gives them.  # int, int, [h, w, C]

        Raises:
            UserError: see :func:`decode_picture`.
        """
        sideways = is_swapped(self._orientation)
        length = self.width if sideways else self.height
        read = self._read()
        while True:
            with self._told():
                part = next(read, None)
            if part is None:
                return
            first, values = part
            from_end = self._orientation in ((6, 7) if sideways else (3, 4))
            place = length - first - len(values) if from_end else first
            top, left = (0, place) if sideways else (place, 0)
            yield top, left, turned(values, self._orientation)


@dataclass(frozen=True)
class _Wanted:
    """What values are wanted; the attributes are arguments of :func:`read_bands`."""

    name: str
    channels: int
    background: str
    levels: Levels
    max_pixels: int
    limit: str

    @contextlib.contextmanager
    def told(self, stream: BinaryIO, head: bytes) -> Iterator[None]:
        """See :func:`as_sentences`."""
        with as_sentences(self.name, self.limit, self.max_pixels) as reading:
            reading.stream, reading.head = stream, head
            yield

    def decode(self, file: Path | BinaryIO) -> np.ndarray:
        """All values of a file.  # [H, W, C]"""
        return decode_picture(
            file,
            channels=self.channels,
            background=self.background,
            name=self.name,
            max_pixels=self.max_pixels,
            limit=self.limit,
            any_range=True,
            levels=self.levels,
            values=True,
        )

    def of(self, values: Stored) -> np.ndarray:
        """What is wanted of stored values.  # [h, w, C]"""
        return as_wanted(values, self.channels, self.levels, parse_colour(self.background), self.name)

    def of_image(self, image: Image.Image) -> np.ndarray:
        """What is wanted of pixels of 8 bits.  # [h, w, C]"""
        if self.levels.plain and self.channels in (1, 3):
            return image_pixels(image, channels=self.channels, background=self.background, name=self.name)
        wanted = self.channels if self.channels in (1, 2, 4) else 3
        return self.of(Stored(image_pixels(image, channels=wanted, background=self.background, name=self.name)))


def size_of(file: Path | BinaryIO) -> tuple[int, int] | None:
    """Height and width of a picture as its file says, before it is turned; None if that is not easily told.

    Args:
        file: path, or a binary file that can seek, which is left at its beginning.
    """
    try:
        with _stream(file) as stream:
            head = stream.read(HEAD)
            stream.seek(0)
            if stored.is_array(head):
                height, width, _ = _array_shape(stream)[:3]
                return height, width
            if stored.is_tiff(head):
                page = stored.first_page(stream)
                return page.imagelength, page.imagewidth
            with opened(stream, None) as image:
                return image.height, image.width
    except Exception:  # it is reported when its pixels are read
        return None
    finally:
        if not isinstance(file, Path):
            file.seek(0)


@contextlib.contextmanager
def read_bands(
    file: Path | BinaryIO,
    *,
    channels: int,
    background: str,
    levels: Levels,
    name: str,
    max_pixels: int,
    limit: str = "--max-pixels",
    on_opened: OnOpened | None = None,
) -> Iterator[Bands]:
    """A picture whose values come band by band, and are those that :func:`decode_picture` gives.

    Whether a set of 16-bit values is one that 8 bits keep is not checked.

    Args:
        file: path, or a binary file that can seek.
        channels, background, levels, name, max_pixels, limit: as of :func:`decode_picture`, which gives ``values``.
        on_opened: called with the image as Pillow opens it, not loaded, or one pixel of it, and with the width and the
            height of the upright picture; not called if Pillow cannot open it.

    Raises:
        UserError: see :func:`decode_picture`.
    """
    wanted = _Wanted(name, channels, background, levels, max_pixels, limit)
    with _stream(file) as stream:
        head = stream.read(HEAD)
        stream.seek(0)
        with wanted.told(stream, head):
            if not head:
                raise BrokenPicture(f"{name}: this file is empty.")
            bands = (
                _of_array(stream, head, wanted)
                or _of_png(stream, head, wanted, on_opened)
                or _of_tiff(stream, head, wanted, on_opened)
                or _of_jpeg(stream, head, wanted, on_opened)
                or _of_whole(stream, head, wanted, on_opened)
            )
        if bands.height * bands.width > max_pixels:
            raise BrokenPicture(
                f"{name}: this picture has {bands.height * bands.width:,} pixels, above {limit} = {max_pixels}; raise "
                "that, or reduce it."
            )
        yield bands


def _stream(file: Path | BinaryIO) -> contextlib.AbstractContextManager[BinaryIO]:
    return open(file, "rb") if isinstance(file, Path) else contextlib.nullcontext(file)


def _rows_of(width: int) -> int:
    return max(1, BAND // max(1, width))


def _upright(height: int, width: int, orientation: int) -> tuple[int, int]:
    return (width, height) if is_swapped(orientation) else (height, width)


def _cut(values: Callable[[int, int], np.ndarray], height: int, width: int) -> Iterator[tuple[int, np.ndarray]]:
    step = _rows_of(width)
    for i in range(0, height, step):
        yield i, values(i, min(i + step, height))


def _of_whole(stream: BinaryIO, head: bytes, wanted: _Wanted, on_opened: OnOpened | None) -> Bands:
    """Any format, decoded as a whole."""
    stream.seek(0)
    if on_opened is not None:
        with contextlib.suppress(Exception), opened(stream, None) as image:
            orientation = exif_orientation(image)
            height, width = _upright(image.height, image.width, orientation)
            on_opened(image, width, height)
    stream.seek(0)
    values = wanted.decode(stream)

    def read() -> Iterator[tuple[int, np.ndarray]]:
        return _cut(lambda i, j: values[i:j], *values.shape[:2])

    return Bands(values.shape[0], values.shape[1], True, read, lambda: wanted.told(stream, head))


def _of_jpeg(stream: BinaryIO, head: bytes, wanted: _Wanted, on_opened: OnOpened | None) -> Bands | None:
    """A JPEG: row by row with libvips, else Pillow's copy of it is held, 4 bytes a pixel of colour, 1 of grey."""
    if not head.startswith(JPEG):
        return None
    with pixel_limit(None):
        image = Image.open(stream, formats=("JPEG", "MPO"))
    bit_depth.check_bit_depth(image, head, wanted.name)
    orientation = exif_orientation(image)
    width, height = image.size
    size = _upright(height, width, orientation)
    if on_opened is not None:
        on_opened(image, size[1], size[0])

    def part(i: int, j: int) -> np.ndarray:
        band = image.crop((0, i, width, j))
        band.info.clear()  # of a JPEG it holds nothing that changes pixels, but an orientation that would
        return wanted.of_image(band)

    by_rows = _jpeg_rows(stream) if image.mode in ("L", "RGB") else None

    def read() -> Iterator[tuple[int, np.ndarray]]:
        if by_rows is None:
            return _cut(part, height, width)
        rows = by_rows()
        return _cut(lambda i, j: wanted.of_image(Image.fromarray(rows(i, j))), height, width)

    return Bands(*size, by_rows is None, read, lambda: wanted.told(stream, head), orientation)


def _jpeg_rows(stream: BinaryIO) -> Callable[[], Callable[[int, int], np.ndarray]] | None:
    """What begins to read a JPEG file from its first row on; None without libvips, or of what is no file."""
    name = getattr(stream, "name", None)
    if not isinstance(name, str) or importlib.util.find_spec("pyvips") is None:
        return None

    def begin() -> Callable[[int, int], np.ndarray]:
        import pyvips

        image = pyvips.Image.new_from_file(name, access="sequential", fail_on="truncated")
        region = pyvips.Region.new(image)  # one for all, so that rows are asked for in order

        def rows(i: int, j: int) -> np.ndarray:
            content = region.fetch(0, i, image.width, j - i)
            shape = (j - i, image.width, image.bands)
            return np.frombuffer(content, np.uint8).reshape(shape if image.bands > 1 else shape[:2])

        return rows

    return begin


# Arrays


def _array_shape(stream: BinaryIO) -> tuple[int, int, int, np.dtype[Any], bool]:
    """Height, width and channels of a ``.npy`` file, its type, and whether its rows follow each other."""
    shape, dtype, fortran = stored.array_header(stream)
    height, width, channels = (*shape, 1)[:3]
    first_channels = channels > MOST_CHANNELS >= height and len(shape) == 3
    if first_channels:
        height, width, channels = width, channels, height
    return height, width, channels, dtype, not fortran and not first_channels and len(shape) in (2, 3)


def _of_array(stream: BinaryIO, head: bytes, wanted: _Wanted) -> Bands | None:
    if not stored.is_array(head):
        return None
    height, width, channels, dtype, in_rows = _array_shape(stream)
    start = stream.tell()
    there = stream.seek(0, io.SEEK_END) - start
    row = width * channels * dtype.itemsize
    sound = dtype.kind in "iuf" and channels <= MOST_CHANNELS and height > 0 and row > 0 and there == height * row
    if not in_rows or not sound:
        stream.seek(0)
        return None

    def part(i: int, j: int) -> np.ndarray:
        stream.seek(start + i * row)
        values = np.frombuffer(stream.read((j - i) * row), dtype).reshape(j - i, width, channels)
        return wanted.of(Stored(values.astype(dtype.newbyteorder("="))))

    def read() -> Iterator[tuple[int, np.ndarray]]:
        return _cut(part, height, width)

    return Bands(height, width, False, read, lambda: wanted.told(stream, head))


# PNG


@dataclass(frozen=True)
class _Chunk:
    kind: bytes
    place: int  # of its content in the file
    size: int


def _of_png(stream: BinaryIO, head: bytes, wanted: _Wanted, on_opened: OnOpened | None) -> Bands | None:
    """A PNG without interlacing; its rows are unpacked as they come."""
    if not head.startswith(PNG) or len(head) < 33 or head[28]:
        return None
    width, height, depth, kind = struct.unpack(">IIBB", head[16:26])
    chunks = _chunks(stream)
    if kind not in CHANNELS_OF_PNG or any(chunk.kind == b"acTL" for chunk in chunks):
        stream.seek(0)
        return None
    others = [_content(stream, c) for c in chunks if c.kind not in (b"IDAT", b"IHDR", b"IEND") and c.size <= LONGEST]
    with Image.open(io.BytesIO(_png((1, 1, depth, kind), others, _blank(depth, kind)))) as image:
        image.load()
        orientation = exif_orientation(image)
        size = _upright(height, width, orientation)
        if on_opened is not None:
            on_opened(image, size[1], size[0])
    kept = [chunk for chunk in others if chunk[0] in KEPT]
    bits = CHANNELS_OF_PNG[kind] * depth

    def read() -> Iterator[tuple[int, np.ndarray]]:
        first = 0
        for rows in _unfiltered(_inflated(stream, chunks), height, -(-width * bits // 8), max(1, bits // 8), width):
            plain = np.zeros((len(rows), 1 + rows.shape[1]), np.uint8)  # every row with the filter "none"
            plain[:, 1:] = rows
            content = _png((width, len(rows), depth, kind), kept, plain.tobytes())
            yield first, wanted.decode(io.BytesIO(content))
            first += len(rows)

    return Bands(*size, False, read, lambda: wanted.told(stream, head), orientation)


def _chunks(stream: BinaryIO) -> list[_Chunk]:
    """Where the chunks of a PNG lie.

    Raises:
        ValueError: it ends early.
    """
    found, place = list[_Chunk](), len(PNG)
    end = stream.seek(0, io.SEEK_END)
    while not found or found[-1].kind != b"IEND":
        stream.seek(place)
        header = stream.read(8)
        if len(header) < 8:
            raise ValueError("it ends before its end chunk")
        size, kind = struct.unpack(">I4s", header)
        if place + 12 + size > end:
            raise ValueError("it is truncated")
        found.append(_Chunk(kind, place + 8, size))
        place += 12 + size
    return found


def _content(stream: BinaryIO, chunk: _Chunk) -> tuple[bytes, bytes]:
    stream.seek(chunk.place)
    return chunk.kind, stream.read(chunk.size)


def _png(header: tuple[int, int, int, int], others: list[tuple[bytes, bytes]], rows: bytes) -> bytes:
    """A PNG file of filtered rows, which are not compressed."""
    ihdr = (b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    chunks = (ihdr, *others, (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return PNG + b"".join(png_chunk(kind, content) for kind, content in chunks)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _blank(depth: int, kind: int) -> bytes:
    """The row of a picture of one pixel."""
    return bytes(1 + max(1, CHANNELS_OF_PNG[kind] * depth // 8))


def _inflated(stream: BinaryIO, chunks: list[_Chunk]) -> Iterator[bytes]:
    """The filtered rows of a PNG, about a mebibyte at a time.

    Raises:
        ValueError, zlib.error: the file is damaged.
    """
    unpack = zlib.decompressobj()
    for chunk in chunks:
        if chunk.kind != b"IDAT":
            continue
        stream.seek(chunk.place)
        check, left = zlib.crc32(chunk.kind), chunk.size
        while left:
            packed = stream.read(min(READ, left))
            check, left = zlib.crc32(packed, check), left - len(packed)
            while packed and not unpack.eof:
                yield unpack.decompress(packed, READ)
                packed = unpack.unconsumed_tail
        if struct.unpack(">I", stream.read(4))[0] != check:
            raise ValueError("the checksum of its pixels is wrong")
    yield unpack.flush()


def _unfiltered(parts: Iterator[bytes], height: int, row: int, step: int, width: int) -> Iterator[np.ndarray]:
    """Rows of bytes, band by band.  # [h, row] uint8

    A decoder for pictures of as many bytes a pixel undoes the filters. It gets the row above too, as one without
    a filter.

    Args:
        parts: filtered rows, each behind a byte that names its filter.
        height: rows of the picture.
        row: bytes of a row.
        step: bytes of a pixel, from which the filters work.
        width: pixels of a row.
    """
    kind, depth = SAME_STEP[step]
    above, done, count = bytes(row), 0, _rows_of(width)
    gathered = bytearray()
    while done < height:
        wanted = min(count, height - done) * (row + 1)
        while len(gathered) < wanted:
            part = next(parts, None)
            if part is None:
                raise ValueError("its pixels end early")
            gathered += part
        with memoryview(gathered) as view:
            filtered = b"\0" + above + bytes(view[:wanted])
        del gathered[:wanted]
        number = wanted // (row + 1)
        content = _png((row // step, 1 + number, depth, kind), [], filtered)
        rows = _decoded(content, depth).reshape(1 + number, row)[1:]
        above = rows[-1].tobytes()
        done += number
        yield rows


def _decoded(content: bytes, depth: int) -> np.ndarray:
    """The bytes of a PNG's pixels, as they stand in the file.  # uint8"""
    if depth == 8:
        with pixel_limit(None), Image.open(io.BytesIO(content), formats=("PNG",)) as image:
            return np.array(image)
    values = stored.read_png(io.BytesIO(content), content[:HEAD]).values
    return np.ascontiguousarray(values).astype(">u2").view(np.uint8)


# TIFF


def _of_tiff(stream: BinaryIO, head: bytes, wanted: _Wanted, on_opened: OnOpened | None) -> Bands | None:
    """A TIFF by its strips or tiles, or by rows where it is not compressed; None of kinds that others read better."""
    if not stored.is_tiff(head):
        return None
    deep = stored.is_deep(stream, head, wanted.channels)
    page = stored.first_page(stream)
    plain = page.photometric in (1, 2) and tuple(page.extrasamples) in ((), (2,)) and page.bitspersample == 8
    rows = _tiff_rows(page) if deep or plain else None
    if rows is None or page.samplesperpixel > MOST_CHANNELS or page.imagedepth > 1:
        stream.seek(0)
        return None
    tag = page.tags.get(stored.ORIENTATION)
    orientation = 1 if tag is None else int(tag.value)
    size = _upright(page.imagelength, page.imagewidth, orientation)
    if on_opened is not None:
        with contextlib.suppress(Exception), pixel_limit(None):
            stream.seek(0)
            on_opened(Image.open(stream, formats=("TIFF",)), size[1], size[0])

    def read() -> Iterator[tuple[int, np.ndarray]]:
        for first, values in rows():
            if deep:
                yield first, wanted.of(stored.of_tiff(values, page, wanted.name))
            else:
                yield first, wanted.of_image(Image.fromarray(values[:, :, 0] if values.shape[2] == 1 else values))

    return Bands(*size, False, read, lambda: wanted.told(stream, head), orientation)


def _tiff_rows(page: Any) -> Callable[[], Iterator[tuple[int, np.ndarray]]] | None:
    """What reads the values of a page, whole rows at a time; None where they have to be decoded all at once."""
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    planar = page.planarconfig != 1 and samples > 1
    if page.is_contiguous and not planar and page.fillorder == 1 and page.bitspersample >= 8:
        return lambda: _contiguous(page)
    length = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
    if length * width > 16 * max(BAND, width):
        return None
    try:
        page.decode(None, 0)
    except (ValueError, NotImplementedError):  # a compression of a large package
        return None
    return lambda: _segments(page, length)


def _contiguous(page: Any) -> Iterator[tuple[int, np.ndarray]]:
    width, samples = page.imagewidth, page.samplesperpixel
    dtype = page.dtype.newbyteorder(page.parent.byteorder)
    row, start, file = width * samples * dtype.itemsize, page.dataoffsets[0], page.parent.filehandle

    def part(i: int, j: int) -> np.ndarray:
        file.seek(start + i * row)
        content = file.read((j - i) * row)
        return np.frombuffer(content, dtype).reshape(j - i, width, samples).astype(page.dtype)

    return _cut(part, page.imagelength, width)


def _segments(page: Any, length: int) -> Iterator[tuple[int, np.ndarray]]:
    """Rows of strips or tiles, as many as make a band."""
    height, width, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    down, across = -(-height // length), -(-width // page.tilewidth) if page.is_tiled else 1
    planes = samples if page.planarconfig != 1 else 1
    if len(page.dataoffsets) != planes * down * across:
        raise ValueError(f"it has {len(page.dataoffsets)} parts, and {planes * down * across} by its header")
    file, at_once = page.parent.filehandle, max(1, _rows_of(width) // length)
    for d in range(0, down, at_once):
        several = range(d, min(d + at_once, down))
        first, last = several[0] * length, min((several[-1] + 1) * length, height)
        values = np.zeros((last - first, width, samples), page.dtype)
        for index in (((p * down) + e) * across + c for p in range(planes) for e in several for c in range(across)):
            file.seek(page.dataoffsets[index])
            content = file.read(page.databytecounts[index])
            if len(content) != page.databytecounts[index]:
                raise ValueError("it is truncated")
            segment, (plane, _, top, left, _), _ = page.decode(content, index, jpegtables=page.jpegtables)
            if segment is None:
                continue
            place = values[top - first :, left:, plane : plane + segment.shape[3]]
            place[: segment.shape[1], : segment.shape[2]] = segment[0, : place.shape[0], : place.shape[1]]
        yield first, values
