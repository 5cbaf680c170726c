"""One picture file in, 8-bit pixels out; what cannot be shown faithfully is refused by name."""

import io
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageColor, ImageOps, UnidentifiedImageError

from progcycle.errors import UserError

# Only these decoders: a file named .png that is really PostScript must not start Ghostscript.
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
EIGHT_BIT = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"})
ALPHA = frozenset({"LA", "PA", "RGBA", "RGBa"})
DEEP = "only PNG may have more than 8, convert it first"
LARGEST = 1 << 30  # bytes of a file; larger ones are not read into memory


class UnsupportedPicture(UserError):  # noqa: N818 - what it is, said in full
    """A sound picture of a kind that 8 bits would ruin; it stops the run rather than being replaced."""


class BrokenPicture(UserError):  # noqa: N818 - what it is, said in full
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
    file: Path | BinaryIO, *, channels: int, background: str, min_side: int | None = None, name: str | None = None
) -> np.ndarray:
    """Read a picture: upright (EXIF), on a background where it is transparent, grey or RGB; animations' first frame.

    Of 16 bits a channel in a PNG the upper 8 count. Colour profiles are not applied: the stored numbers are what
    networks see.

    Args:
        file: path, or a binary file that can seek.
        channels: 1 for grey, 3 for RGB.
        background: colour put behind transparent pixels.
        min_side: lets JPEGs be decoded at 1/2, 1/4 or 1/8 of their size (much faster) as long as both sides stay at
            least this long and divide evenly; other formats come at their full size.
        name: what errors call the picture; default: the file's own name.

    Returns:
        The pixels, uint8.  # [H, W, C]

    Raises:
        UnsupportedPicture: more than 8 bits a channel in another format than PNG, or a colour space that has no plain
            way to RGB.
        BrokenPicture: the file cannot be read as a picture.
        UserError: there is no such background colour.
    """
    name = name or str(file if isinstance(file, Path) else getattr(file, "name", "picture"))
    colour = parse_colour(background)
    try:
        stream = _bytes(file) if isinstance(file, Path) else file
        head = stream.read(1024)
        stream.seek(0)
        if not head:
            raise BrokenPicture(f"{name}: this file is empty.")
        with Image.open(stream, formats=FORMATS) as image:
            _refuse_deep(image, head, name)
            if min_side is not None:
                _draft(image, min_side)
            image.load()
            return _pixels(_upright(image), channels, colour)
    except (UserError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise BrokenPicture(f"{name}: this is not a picture in a known format.") from None
    except Exception as error:  # damaged files make decoders raise nearly anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BrokenPicture(f"{name}: this picture cannot be read ({reason.rstrip('.')}).") from None


def _bytes(file: Path) -> io.BytesIO:
    if (size := file.stat().st_size) > LARGEST:
        raise ValueError(f"it has {size} bytes, more than {LARGEST}")
    return io.BytesIO(file.read_bytes())


def _refuse_deep(image: Image.Image, head: bytes, name: str) -> None:
    """Pillow opens 16-bit RGB as 8-bit without a word, so the header is asked as well as the mode."""
    if image.mode == "F":
        raise UnsupportedPicture(f"{name}: this picture holds floating point numbers; {DEEP}.")
    bits = _bits(image, head)
    if bits == 16 and image.format == "PNG":  # whose numbers fill their range, unlike those of many a TIFF
        if image.mode == "RGB" and "transparency" in image.info:  # Pillow keeps the upper bytes alone
            raise UnsupportedPicture(f"{name}: a transparent colour of 16 bits is not supported, convert it first.")
        return
    if bits > 8:
        raise UnsupportedPicture(f"{name}: this picture has {bits} bits a channel; {DEEP}.")
    if image.mode.startswith("I"):
        raise UnsupportedPicture(f"{name}: this picture has more than 8 bits a channel (mode {image.mode}); {DEEP}.")
    if image.mode not in EIGHT_BIT:
        raise UnsupportedPicture(f"{name}: pictures of mode {image.mode} are not supported; convert it to RGB first.")


def _bits(image: Image.Image, head: bytes) -> int:
    """Bits a channel that the file's header declares; 8 where the format has no choice."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return head[24]
    if image.format == "PPM" and head[:2] in (b"P2", b"P3", b"P5", b"P6"):
        lines = (line.partition(b"#")[0] for line in head.splitlines())
        return int(b" ".join(lines).split()[3]).bit_length()
    if image.format == "TIFF":
        declared: Any = image.tag_v2.get(258, 1)  # type: ignore[attr-defined]  # 258 = BitsPerSample
        return max(declared) if isinstance(declared, tuple) else int(declared)
    return 8


def _draft(image: Image.Image, min_side: int) -> None:
    """Ask the JPEG decoder for a smaller picture; only scales without a rest, which move no pixel."""
    if image.format not in ("JPEG", "MPO"):
        return
    width, height = image.size
    for scale in (8, 4, 2):
        if width % scale == 0 and height % scale == 0 and min(width, height) // scale >= min_side:
            image.draft(None, (width // scale, height // scale))
            return


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a damaged EXIF block says nothing about the pixels, which have been read
        return image


def _pixels(image: Image.Image, channels: int, colour: tuple[int, int, int]) -> np.ndarray:
    if image.mode == "I;16":
        image = _upper_byte(image)
    if image.mode in ALPHA or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*colour, 255)), image)
    if channels == 1:
        grey = image if image.mode in ("L", "1") else image.convert("RGB")
        return np.array(grey.convert("L"))[:, :, None]
    return np.array(image.convert("RGB"))


def _upper_byte(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as Pillow makes colour of 16 bits 8: by its upper byte, at most one level off."""
    deep = np.asarray(image)
    levels = (deep >> 8).astype(np.uint8)
    if "transparency" not in image.info:
        return Image.fromarray(levels)
    alpha = np.where(deep == image.info["transparency"], 0, 255).astype(np.uint8)
    return Image.fromarray(np.stack([levels, alpha], axis=2))
