"""Decode one picture file to pixels of the depth that is wanted; one that this depth cannot represent is refused."""

import contextlib
import functools
import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError, features

from progcycle.data import bit_depth
from progcycle.data.bit_depth import UnsupportedPicture
from progcycle.data.kinds import ADVICE, DICOM, extension_of, has_heif, stand_in
from progcycle.data.levels import PLAIN, Bits, Levels
from progcycle.data.limit import pixel_limit
from progcycle.data.pixels import as_image, as_pixels
from progcycle.data.region import Choose, as_stored, is_swapped, shortened_jpeg
from progcycle.data.stored import (
    ORIENTATION,
    describe_tiff,
    is_array,
    is_deep,
    is_plain_tiff,
    is_special,
    is_tiff,
    read_bits,
    read_stored,
    read_tiff_part,
    stored_in,
)
from progcycle.data.values import Stored, TooManyPixelsError, as_wanted, turned
from progcycle.errors import UserError
from progcycle.recipe import MAX_PIXELS
from progcycle.resolution import Resolution

# Only these decoders: a file named .png that is really PostScript must not start Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "DIB", "GIF", "TIFF", "PPM")
JPEG = b"\xff\xd8\xff"
ALPHA = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})
HEAD = 1024  # bytes of a file that tell what it is
DIRECTORIES, INTEROPERABILITY = (0x8769, 0x8825), 0xA005  # Exif and GPS; inside of the first
LARGEST = 1 << 30  # bytes of a file that is read into memory, and pixels of one whose header is read


class BrokenPicture(UserError):  # noqa: N818  # named for the picture
    """A picture that cannot be read (truncated, empty, not a picture, far too large); it can be replaced."""


def parse_colour(name: str) -> tuple[int, int, int]:
    """Red, green and blue of a colour name or code that Pillow knows.

    Raises:
        UserError: there is no such colour.
    """
    try:
        return ImageColor.getrgb(name)[:3]
    except ValueError:
        raise UserError(f"background: {name!r} is not a colour; give a name such as white, or #rrggbb.") from None


def decode_picture(
    file: Path | BinaryIO,
    *,
    channels: int,
    background: str,
    min_side: int | None = None,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    limit: str = "data.max_pixels",
    any_range: bool = False,
    on_decoded: Callable[[Image.Image], None] | None = None,
    levels: Levels = PLAIN,
    values: bool = False,
    choose: Choose | None = None,
) -> np.ndarray:
    """Read a picture: upright (EXIF), on a background where it is transparent, grey or RGB; animations' first frame.

    Where 8 bits are wanted, of 16 bits a channel in a PNG the upper 8 count. Colour profiles are not applied: the
    stored numbers are what networks see.

    Args:
        file: path, or a binary file that can seek.
        channels: 1 for grey, 3 for RGB, 4 for RGB and opacity; other numbers as the file has them.
        background: colour put behind transparent pixels.
        min_side: lets JPEGs be decoded at 1/2, 1/4 or 1/8 of their size (much faster) as long as both sides stay at
            least this long and divide evenly; other formats come at their full size.
        name: what errors call the picture; default: the file's own name.
        max_pixels: pictures of more pixels are refused before they are decoded; of a JPEG that ``min_side`` reduces,
            those count that are left.
        limit: what errors call ``max_pixels``.
        any_range: take the upper bytes of 16 bits also where few different ones are left.
        on_decoded: called with the upright image, before it is put on a background and made grey or RGB; of more than
            8 bits with the image as it is opened, not loaded, if Pillow can open it.
        levels: the depth and the window that are wanted; default: 8 bits.
        values: give the values of the file, of any type, in place of pixels of the window.
        choose: gives the region that is wanted by height and width of the upright picture (of a reduced JPEG, those
            that are left). Of a JPEG what lies below is not decoded; of an array and of a TIFF whose compression allows
            that, no more is read, and ``max_pixels`` counts the region.

    Returns:
        The pixels, of the picture or of its region, of the type ``levels.dtype``: uint8 of 8 bits.  # [H, W, C]

    Raises:
        UnsupportedPicture: another depth or other channels than are wanted, or a colour space that has no plain way to
            RGB; :class:`LowRange` if a PNG's values lie too close together for the upper 8 bits.
        BrokenPicture: the file cannot be read as a picture, or is too large.
        UserError: there is no such background colour.
    """
    name = name or str(file if isinstance(file, Path) else getattr(file, "name", "picture"))
    colour = parse_colour(background)
    with contextlib.ExitStack() as open_files, as_sentences(name, limit, max_pixels) as reading:
        stream = reading.stream = _stream(file, choose is not None, open_files)
        head = reading.head = stream.read(HEAD)
        stream.seek(0)
        if not head:
            raise BrokenPicture(f"{name}: this file is empty.")
        by_pillow = _PillowReader(name, colour, min_side, max_pixels, limit, any_range, on_decoded, choose)
        if levels.plain and channels in (1, 3) and not is_special(head):
            return by_pillow(stream, head, channels)
        content = stream if isinstance(stream, io.BytesIO | io.BufferedReader) else io.BytesIO(stream.read())
        if is_deep(content, head, channels):
            stored = read_stored(content, head, name, max_pixels, on_decoded, choose)
        else:
            stored = Stored(by_pillow(content, head, channels if channels in (1, 2, 4) else 3))
        found = as_wanted(stored, channels, levels, colour, name)
        return found if values else levels.pixels(found)


@dataclass
class Reading:
    """A file that is being read, for errors about it."""

    stream: BinaryIO | None = None
    head: bytes = b""


@contextlib.contextmanager
def as_sentences(name: str, limit: str, max_pixels: int) -> Iterator[Reading]:
    """Inside, what decoders raise of damaged, unknown and too large pictures becomes a sentence.

    Args:
        name: what errors call the picture.
        limit: what errors call ``max_pixels``.
        max_pixels: of a picture.

    Yields:
        What gets the file, once it is open, and its first bytes.

    Raises:
        BrokenPicture, UnsupportedPicture: see :func:`decode_picture`.
    """
    reading = Reading()
    try:
        yield reading
    except (UserError, MemoryError):
        raise
    except UnidentifiedImageError:
        if (kind := describe_tiff(reading.stream)) is not None:
            raise UnsupportedPicture(f"{name}: this TIFF has {kind}; {bit_depth.ONLY_PNG}.") from None
        raise BrokenPicture(f"{name}: {_what_else(reading.head, name)}.") from None
    except TooManyPixelsError as error:
        raise _too_large(name, str(error), limit, max_pixels) from None
    except Image.DecompressionBombError as error:
        number = re.search(r"(\d+) pixels", str(error))
        raise _too_large(name, f"{int(number[1]):,} pixels" if number else "pixels", limit, max_pixels) from None
    except Exception as error:  # damaged files make decoders raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BrokenPicture(f"{name}: this picture cannot be read ({reason.rstrip('.')}).") from None


def _stream(file: Path | BinaryIO, partly: bool, open_files: contextlib.ExitStack) -> BinaryIO:
    """The bytes of a file; the open file itself, if it need not be read as a whole."""
    if not isinstance(file, Path):
        return file
    if partly:
        stream: BinaryIO = open_files.enter_context(file.open("rb"))
        head = stream.read(HEAD)
        stream.seek(0)
        if is_array(head) or is_tiff(head):
            return stream
    return _bytes(file)


@dataclass(frozen=True)
class _PillowReader:
    """Reads 8 bits a channel by Pillow; the attributes are arguments of :func:`decode_picture`."""

    name: str
    colour: tuple[int, int, int]
    min_side: int | None
    max_pixels: int
    limit: str
    any_range: bool
    on_decoded: Callable[[Image.Image], None] | None
    choose: Choose | None = None

    def __call__(self, stream: BinaryIO, head: bytes, channels: int) -> np.ndarray:
        """The pixels.  # [H, W, C] uint8"""
        if self.choose is not None:
            return self._region(stream, head, channels, self.choose)
        with self._opened(stream, head) as (image, full):
            self._load(image, full, stream, head)
            turned = upright(image, in_place=self.on_decoded is None)
            if self.on_decoded is not None:
                self.on_decoded(turned)
            return _pixels(turned, channels, self.colour)

    @contextlib.contextmanager
    def _opened(
        self, stream: BinaryIO, head: bytes, whole: tuple[int, int] | None = None
    ) -> Iterator[tuple[Image.Image, tuple[int, int]]]:
        """The image, not decoded yet, of a JPEG perhaps at a part of its size; and width and height before that.

        Args:
            stream: the file.
            head: its first bytes.
            whole: width and height of the whole picture, if the file is its upper part.
        """
        # A JPEG takes no memory before it is decoded, perhaps at a part of its size, so it is checked later.
        with (
            pixel_limit(None if head.startswith(JPEG) else self.max_pixels),
            Image.open(stream, formats=_formats()) as image,
        ):
            bit_depth.check_bit_depth(image, head, self.name)
            full = image.size
            if self.min_side is not None:
                _draft(image, self.min_side, whole or full)
            yield image, full

    def _load(self, image: Image.Image, full: tuple[int, int], stream: BinaryIO, head: bytes) -> None:
        """Decode it, if it is not too large."""
        # A progressive JPEG is held in memory as a whole, even if it is reduced.
        width, height = full if image.info.get("progressive") else image.size
        if width * height > self.max_pixels:
            raise _too_large(self.name, f"{width}x{height} pixels", self.limit, self.max_pixels)
        image.load()
        if bit_depth.is_16_bit_png(head) and not self.any_range:
            stream.seek(0)
            bit_depth.check_range(image, stream.read(), self.name)

    def _region(self, stream: BinaryIO, head: bytes, channels: int, choose: Choose) -> np.ndarray:
        """The pixels of a region of the upright picture.  # [h, w, C] uint8"""
        if is_tiff(head) and is_plain_tiff(stream):
            stored = read_tiff_part(stream, choose, self.max_pixels, self.name)
            if stored is not None:
                return _pixels(as_image(stored.values), channels, self.colour)
            stream.seek(0)
        with self._opened(stream, head) as (image, full):
            turn, size = orientation(image), image.size
        upright_size = size if is_swapped(turn) else size[::-1]
        region = as_stored(choose(*upright_size), *upright_size, turn)
        stream.seek(0)
        if head.startswith(JPEG):
            rows = (region.top + region.height) * (full[1] // size[1])
            stream = io.BytesIO(shortened_jpeg(stream.read(), rows))
        with self._opened(stream, head, full) as (image, upper):
            self._load(image, upper, stream, head)
            pixels = _pixels(image.crop(region.box), channels, self.colour)
        return np.ascontiguousarray(turned(pixels, turn))


@contextlib.contextmanager
def opened(file: Path | BinaryIO, most: int | None = LARGEST) -> Iterator[Image.Image]:
    """A picture of which only the header is read, however large it is: its size, mode and EXIF block.

    Args:
        file: path, or a binary file that can seek.
        most: pixels of a picture; None for any number.

    Raises:
        OSError, ...: it cannot be read; decoders raise nearly anything.
    """
    with pixel_limit(most), Image.open(file, formats=_formats()) as image:
        yield image


def decode_reduced(
    file: Path | BinaryIO,
    full: tuple[int, int],
    final: int,
    *,
    channels: int,
    background: str,
    name: str | None = None,
) -> np.ndarray | None:
    """What training reads of a large JPEG: decoded at a part of its size, which is not quite the full picture reduced.

    Args:
        file: path, or a binary file that can seek, of a picture that has been read.
        full: its height and width, upright.
        final: the resolution that training fits pictures to.
        channels, background, name: as of :func:`decode_picture`.

    Returns:
        The smaller pixels, uint8; None where training reads the picture at its full size.  # [h, w, C]

    Raises:
        UserError: the file has changed.
    """
    enough, (height, width) = 2 * Resolution.of(final).longer, full
    if _reduction(height, width, enough) == 1:
        return None
    with open(file, "rb") if isinstance(file, Path) else contextlib.nullcontext(file) as stream:
        stream.seek(0)
        jpeg = stream.read(len(JPEG)) == JPEG
        stream.seek(0)
    if not jpeg:
        return None
    most = height * width
    return decode_picture(file, channels=channels, background=background, min_side=enough, name=name, max_pixels=most)


def depth_of(file: Path | BinaryIO) -> Bits:
    """The depth of a picture by its header; 8 of what cannot be read, which is reported when it is."""
    try:
        with open(file, "rb") if isinstance(file, Path) else contextlib.nullcontext(file) as stream:
            head = stream.read(1024)
            stream.seek(0)
            bits = read_bits(stream, head)
            stream.seek(0)
            return bits
    except Exception:  # damaged files make decoders raise nearly anything
        return 8


def undecoded(image: Image.Image) -> io.BytesIO | None:
    """The file of a JPEG that Pillow has opened and not decoded yet, so that its pixels cannot have been changed."""
    file = getattr(image, "fp", None)
    if file is None or not getattr(image, "tile", None) or image.format not in ("JPEG", "MPO"):
        return None
    place = file.tell()
    file.seek(0)
    content = io.BytesIO(file.read())
    file.seek(place)
    return content


def image_pixels(
    image: Image.Image,
    *,
    channels: int,
    background: str = "white",
    name: str = "The picture",
    levels: Levels = PLAIN,
) -> np.ndarray:
    """The pixels of an image in memory, read as :func:`decode_picture` reads a file.

    Args:
        image: of any mode that can be shown in 8 bits, or grey of 16 bits, whose upper 8 count where 8 are wanted.
        channels: 1 for grey, 3 for RGB, 4 for RGB and opacity.
        background: colour put behind transparent pixels.
        name: what errors call it.
        levels: the depth and the window that are wanted.

    Returns:
        The pixels, of the type ``levels.dtype``: uint8 of 8 bits.  # [H, W, C]

    Raises:
        UnsupportedPicture: it has another mode, or its 16-bit values lie too close together.
        UserError: there is no such background colour.
    """
    if not (levels.plain and channels in (1, 3)):
        stored = stored_in(upright(image))
        if stored is None:
            bit_depth.check_mode(image, name)
            wanted = channels if channels in (1, 2, 4) else 3
            stored = Stored(_pixels(upright(image), wanted, parse_colour(background)))
        return levels.pixels(as_wanted(stored, channels, levels, parse_colour(background), name))
    if image.mode in bit_depth.SIXTEEN_BIT:
        bit_depth.check_range(image, None, name)
    elif image.mode in ("I", "F"):
        kind = "32 bits a channel" if image.mode == "I" else "floating point numbers"
        raise UnsupportedPicture(f"{name} has {kind} (mode {image.mode}); {bit_depth.ONLY_PNG}.")
    else:
        bit_depth.check_mode(image, name)
    return _pixels(upright(image), channels, parse_colour(background))


def _bytes(file: Path) -> io.BytesIO:
    if (size := file.stat().st_size) > LARGEST:
        raise ValueError(f"it has {size} bytes, more than {LARGEST}")
    return io.BytesIO(file.read_bytes())


@functools.cache
def _formats() -> tuple[str, ...]:
    """Names of the formats that can be read here; pillow-heif registers its own where it is installed."""
    found: tuple[str, ...] = FORMATS
    if features.check("jpg_2000"):
        found += ("JPEG2000",)
    if "avif" in features.modules and features.check("avif"):
        found += ("AVIF",)
    if has_heif():
        import pillow_heif

        pillow_heif.register_heif_opener()
        found += ("HEIF",)
    return found


def _too_large(name: str, size: str, limit: str, max_pixels: int) -> BrokenPicture:
    return BrokenPicture(f"{name}: this picture has {size}, above {limit} = {max_pixels}; raise that, or reduce it.")


def _what_else(head: bytes, name: str) -> str:
    """What a file is that no decoder knows."""
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        kind = ".heic" if brand[:2] in (b"he", b"mi", b"ms") else ".avif" if brand[:2] == b"av" else None
        if kind is not None:
            return f"this is a picture in the {kind[1:].upper()} format; {ADVICE[kind]} to read it"
    if head[:4] in (b"II*\0", b"MM\0*"):
        return "this is a TIFF of a kind that cannot be read; save it as a PNG of 8 bits a channel"
    if (instead := stand_in(head)) is not None:
        return f"this {instead}"
    if extension_of(name) in DICOM:
        return "this is not a DICOM file, though its name says so; take it out, or export it again"
    return "this is not a picture in a known format"


def _draft(image: Image.Image, min_side: int, full: tuple[int, int]) -> None:
    """Ask the JPEG decoder for a smaller picture.

    Args:
        image: just opened.
        min_side: that both sides keep.
        full: width and height of the whole picture, of which the image may be the upper part.
    """
    if image.format not in ("JPEG", "MPO"):
        return
    width, height = full
    if (scale := _reduction(height, width, min_side)) > 1:
        image.draft(None, (image.width // scale, image.height // scale))


def _reduction(height: int, width: int, min_side: int) -> int:
    """At which part of its size a JPEG is decoded, 1, 2, 4 or 8; only scales without a rest, which move no pixel."""
    fitting = (s for s in (8, 4, 2) if width % s == height % s == 0 and min(width, height) // s >= min_side)
    return next(fitting, 1)


def orientation(image: Image.Image) -> int:
    """Of the EXIF block, 1 to 8; 1, upright, where it is damaged."""
    with contextlib.suppress(Exception):
        turn = image.getexif().get(ORIENTATION, 1)
        return turn if turn in range(1, 9) else 1
    return 1


def upright(image: Image.Image, in_place: bool = False) -> Image.Image:
    """The image turned as its EXIF block says; in place it takes no memory where there is nothing to turn."""
    block = None if in_place else _block_of_tiff(image)
    with contextlib.suppress(Exception):  # the pixels have been read, and a damaged block does not spoil them
        turned: Image.Image | None = ImageOps.exif_transpose(image, in_place=in_place)  # type: ignore[call-overload]
        image = image if turned is None else turned
    if block is not None:
        image.info["exif"] = block
    return image


def _block_of_tiff(image: Image.Image) -> bytes | None:
    """Texts and the Exif and GPS directories of a TIFF, which Pillow leaves behind as it turns or copies the image."""
    if image.format != "TIFF" or "exif" in image.info:
        return None
    with contextlib.suppress(Exception):  # a damaged one does not spoil the pixels
        old, new = image.getexif(), Image.Exif()
        new.update({tag: value for tag, value in old.items() if isinstance(value, str)})
        for tag in DIRECTORIES:
            if found := dict(old.get_ifd(tag)):
                new.get_ifd(tag).update(found)
                if INTEROPERABILITY in found:
                    new.get_ifd(tag)[INTEROPERABILITY] = old.get_ifd(INTEROPERABILITY)
        return new.tobytes()
    return None


def _pixels(image: Image.Image, channels: int, colour: tuple[int, int, int]) -> np.ndarray:
    if image.mode in bit_depth.SIXTEEN_BIT or image.mode == "I":
        image = bit_depth.upper_byte(image)
    if image.mode == "La":  # Pillow's only way from premultiplied grey
        image = image.convert("LA")
    if channels in (2, 4):
        return as_pixels(image.convert("LA" if channels == 2 else "RGBA"))
    if image.mode in ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*colour, 255)), image)
    if channels == 1:
        grey = image if image.mode in ("L", "1") else image.convert("RGB")
        return as_pixels(grey if grey.mode == "L" else grey.convert("L"))
    return as_pixels(image if image.mode == "RGB" else image.convert("RGB"))
