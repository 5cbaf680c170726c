"""Pictures of more than 8 bits a channel: which are reduced to their upper bytes, and which are refused."""

from typing import Any

import numpy as np
from PIL import Image

from progcycle.errors import UserError

EIGHT_BIT = frozenset({"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr", "HSV"})
SIXTEEN_BIT = frozenset({"I;16", "I;16L", "I;16B", "I;16N"})
ONLY_PNG = (
    "where 8 bits are read, only PNG may have more; convert it to 8 bits or take it out (of a set that is deeper as a "
    "whole, bits: 16 or float reads all, see docs/pictures.md)"
)
DEEP_KINDS = "16 bits are read of PNG, TIFF and .npy, floating point of TIFF and .npy"
PNG = b"\x89PNG\r\n\x1a\n"
RANGE = 1 << 14  # of 16-bit values; if a picture uses less, its upper bytes have 65 levels at most
SIGNED = 2  # SampleFormat of a TIFF


class UnsupportedPicture(UserError):  # noqa: N818  # named for the picture
    """A sound picture of a kind that 8 bits would ruin; it stops the run rather than being replaced."""


class LowRange(UnsupportedPicture):
    """A picture of 16 bits that uses a small part of its range, such as the 12 bits of a scanner or a camera."""


def check_bit_depth(image: Image.Image, head: bytes, name: str) -> None:
    """Refuse pictures of more than 8 bits a channel, except PNG. Pillow would open some of them as 8 bits silently.

    Args:
        image: an opened file.
        head: the file's first bytes.
        name: what the error calls it.

    Raises:
        UnsupportedPicture: it has more than 8 bits, or a colour space that has no plain way to RGB.
    """
    advice = ONLY_PNG if image.format in ("PNG", "TIFF") else f"{DEEP_KINDS}, so convert it to one of these"
    if image.mode == "F":
        raise UnsupportedPicture(f"{name}: this picture holds floating point numbers; {advice}.")
    bits = _bits(image, head)
    if bits == 16 and image.format == "PNG":  # check_range checks later that its values fill their range
        if image.mode == "RGB" and "transparency" in image.info:  # Pillow keeps the upper bytes alone
            raise UnsupportedPicture(f"{name}: a transparent colour of 16 bits is not supported, convert it first.")
        return
    if bits > 8:
        raise UnsupportedPicture(f"{name}: this picture has {bits} bits a channel; {advice}.")
    if image.mode.startswith("I"):
        raise UnsupportedPicture(f"{name}: this picture has more than 8 bits a channel (mode {image.mode}); {advice}.")
    if image.format == "TIFF" and SIGNED in _tag(image, 339):  # SampleFormat
        raise UnsupportedPicture(f"{name}: this picture holds numbers with a sign; {ONLY_PNG}.")
    check_mode(image, name)


def check_mode(image: Image.Image, name: str) -> None:
    """Refuse a colour space that has no plain way to RGB.

    Raises:
        UnsupportedPicture: the mode is LAB or another of this kind.
    """
    if image.mode not in EIGHT_BIT:
        raise UnsupportedPicture(f"{name}: pictures of mode {image.mode} are not supported; convert it to RGB first.")


def is_16_bit_png(head: bytes) -> bool:
    """Whether a file's first bytes are those of a PNG of 16 bits a channel."""
    return head.startswith(PNG) and head[24:25] == b"\x10"


def _bits(image: Image.Image, head: bytes) -> int:
    """Bits a channel by the file's header; 8 where the format has no choice, or Pillow converts correctly."""
    if head.startswith(PNG):
        return head[24]
    if image.format == "PPM" and head[:2] in (b"P2", b"P3", b"P5", b"P6"):
        lines = (line.partition(b"#")[0] for line in head.splitlines())
        return int(b" ".join(lines).split()[3]).bit_length()
    if image.format == "TIFF":
        return max(_tag(image, 258) or (1,))  # BitsPerSample
    if image.format == "JPEG2000":
        box, code = head.find(b"ihdr"), head.find(b"\xff\x4f\xff\x51")
        depth = head[box + 14] if box >= 0 else head[code + 42] if code >= 0 else 7
        return (depth & 0x7F) + 1
    return 8


def _tag(image: Image.Image, number: int) -> tuple[int, ...]:
    """The whole numbers of a TIFF's tag; () if it has none."""
    value: Any = image.tag_v2.get(number, ())  # type: ignore[attr-defined]
    return tuple(value) if isinstance(value, tuple) else (int(value),)


def check_range(image: Image.Image, content: bytes | None, name: str) -> None:
    """Refuse a picture of 16 bits whose values span so small a range that the upper bytes lose them.

    Args:
        image: the picture, loaded.
        content: the PNG file it comes from, if it has 16 bits a channel; None for an image without a file.
        name: what the error calls it.

    Raises:
        LowRange: less than a quarter of the range is used, and different values have one upper byte.
    """
    if image.mode in SIXTEEN_BIT or image.mode == "I":
        check_values(np.asarray(image).astype(np.int32), False, name)
        return
    if content is None or not is_16_bit_png(content):
        return
    levels = np.asarray(image)[..., : 3 if image.mode.startswith("RGB") else 1]
    if int(levels.max()) - int(levels.min()) <= RANGE >> 8:  # only then can the lower bytes matter
        check_values(_all_bits(content), True, name)


def check_unsigned(values: np.ndarray, name: str) -> None:
    """Refuse numbers with a sign where only PNG may have more than 8 bits.

    Args:
        values: of a picture, or of a part of it, of any shape.
        name: what the error calls it.

    Raises:
        UnsupportedPicture: one of them is below 0.
    """
    if values.min() < 0:
        raise UnsupportedPicture(f"{name}: this picture holds numbers with a sign; {ONLY_PNG}.")


def check_values(values: np.ndarray, colour: bool, name: str) -> None:
    """Refuse values of 16 bits that span a small range.

    Args:
        values: of a picture, of any shape, without opacity.
        colour: whether it is no grey picture.
        name: what the error calls it.

    Raises:
        LowRange: as :func:`check_range`.
    """
    low, high = int(values.min()), int(values.max())
    if high - low >= RANGE:
        return
    different = np.unique(values)
    left = len(np.unique(different >> 8))
    if left == len(different):
        return
    top = (1 << high.bit_length()) - 1
    start, end = (0, top) if 2 * (high - low) > top else (low, high)
    if colour:
        recipe = f"cv2.imwrite(new, np.uint8(np.clip((cv2.imread(old, -1) - {start}.0) * 255 / {end - start}, 0, 255)))"
    else:
        window = f"(np.asarray(Image.open(old)) - {start}.0) * 255 / {end - start}"
        recipe = f"Image.fromarray(np.uint8(np.clip({window}, 0, 255))).save(new)"
    raise LowRange(
        f"{name}: its 16-bit values run from {low} to {high} only, of which the upper 8 bits keep {left} "
        f"level{'s' * (left != 1)}; read them with bits: 16, or save all such pictures as 8 bits with one window of "
        f"values, by {recipe} with numpy."
    )


def _all_bits(content: bytes) -> np.ndarray:  # [H, W, C] int32
    """Colours or grey of a PNG, with all their bits and without the opacity."""
    import torch
    from torchvision.io import ImageReadMode, decode_png

    pixels = decode_png(torch.frombuffer(bytearray(content), dtype=torch.uint8), ImageReadMode.UNCHANGED)
    colours = pixels[: pixels.shape[0] - (pixels.shape[0] in (2, 4))]
    values: np.ndarray = colours.permute(1, 2, 0).to(torch.int32).numpy()
    return values


def upper_byte(image: Image.Image) -> Image.Image:
    """Grey of 16 bits as Pillow makes colour of 16 bits 8: by its upper byte, at most one level off."""
    deep = np.asarray(image)
    levels = (deep >> 8).astype(np.uint8)
    if "transparency" not in image.info:
        return Image.fromarray(levels)
    alpha = np.where(deep == image.info["transparency"], 0, 255).astype(np.uint8)
    return Image.fromarray(np.stack([levels, alpha], axis=2))
