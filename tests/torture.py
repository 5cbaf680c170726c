"""Pictures as strangers hand them over: sound ones of every kind with the pixels that they must have, and broken ones.

Every sound picture shows one thing: four quarters of plain colour on a square, or on what its name says, so that what a
reader makes of it is known without a second reader.
"""

import io
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

SIDE = 32
RED, GREEN, BLUE, GREY = (200, 40, 40), (40, 180, 60), (30, 60, 210), (128, 128, 128)
QUARTERS = ((RED, GREEN), (BLUE, GREY))  # upper left, upper right; lower left, lower right
STRANGE_NAMES = (
    "ключ.png", "鍵.png", "مفتاح.png", "कुंजी.png", "🗝️👩‍🚀.png",
    "new\nline.png", "tab\t.png", "quote\"'`.png", "esc\x1b[31m.png",
    "-rf.png", "$(touch x).png", "semi;colon&.png", "back\\slash.png", "star*?.png", "%s%n.png", "a" * 240 + ".png",
    " space .png", "{brace}.png", "<b>.png",
)  # fmt: skip


def quarters(colours: object = QUARTERS, side: int = SIDE) -> np.ndarray:
    """Four quarters of plain colour.  # [side, side, C] uint8"""
    return np.array(colours, np.uint8).repeat(side // 2, 0).repeat(side // 2, 1)


def stored(image: Image.Image, kind: str, **options: object) -> bytes:
    """An image as Pillow writes it."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def png(width: int, height: int, depth: int, colour: int, data: bytes) -> bytes:
    """A PNG from its header's numbers and its uncompressed rows, each led by a filter byte; nothing is checked."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def _deep_rows(samples: np.ndarray) -> bytes:  # [H, W, C] uint16
    return b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)


def sound() -> dict[str, tuple[bytes, np.ndarray]]:
    """Pictures that are to be read, by file name: the bytes, and the pixels on white.  # [H, W, 3] uint8"""
    rgb = quarters()
    image = Image.fromarray(rgb)
    grey = quarters(((0, 90), (180, 255)))
    greys = np.repeat(grey[:, :, None], 3, 2)
    clear = quarters((((*RED, 255), (*GREEN, 0)), ((*BLUE, 255), (*GREY, 0))))  # the right half is not there
    half_gone = quarters(((RED, (255, 255, 255)), (BLUE, (255, 255, 255))))
    palette = image.quantize(8)
    gone = palette.getpixel((SIDE - 1, 0))
    turned = Image.Exif()
    turned[274] = 6  # to be turned by a quarter, clockwise
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = Image.new("RGB", (SIDE, SIDE), "black")
    deep_grey = np.array([[[0], [90 * 256 + 7]], [[180 * 256 + 255], [65535]]], np.uint16)
    deep_colour = np.array(QUARTERS, np.uint16) * 256 + 200
    wide = np.full((2, 30_000, 3), GREY, np.uint8)
    return {
        "plain.png": (stored(image, "PNG"), rgb),
        "jpeg.png": (stored(image, "JPEG", quality=100, subsampling=0), rgb),
        "webp.jpg": (stored(image, "WEBP", lossless=True), rgb),
        "cmyk.jpg": (stored(image.convert("CMYK"), "JPEG", quality=100), rgb),
        "palette.png": (stored(palette, "PNG"), rgb),
        "palette-clear.png": (
            stored(palette, "PNG", transparency=gone), quarters(((RED, (255, 255, 255)), (BLUE, GREY)))
        ),
        "grey.png": (stored(Image.fromarray(grey), "PNG"), greys),
        "grey-alpha.png": (
            stored(Image.fromarray(np.stack([grey, quarters(((255, 0), (255, 0)))], 2)), "PNG"),
            np.repeat(quarters(((0, 255), (180, 255)))[:, :, None], 3, 2),
        ),
        "rgba.png": (stored(Image.fromarray(clear), "PNG"), half_gone),
        "deep-grey.png": (png(2, 2, 16, 0, _deep_rows(deep_grey)), greys[8::16, 8::16]),
        "deep-colour.png": (png(2, 2, 16, 2, _deep_rows(deep_colour)), rgb[8::16, 8::16]),
        "bilevel.png": (
            stored(Image.fromarray(quarters(((0, 255), (255, 0)))).convert("1"), "PNG"),
            np.repeat(quarters(((0, 255), (255, 0)))[:, :, None], 3, 2),
        ),
        "moving.gif": (stored(image, "GIF", save_all=True, append_images=[other]), rgb),
        "moving.webp": (stored(image, "WEBP", save_all=True, append_images=[other], lossless=True), rgb),
        "turned.jpg": (stored(image, "JPEG", quality=100, subsampling=0, exif=turned), np.rot90(rgb, -1)),
        "turned.png": (stored(image, "PNG", exif=turned), np.rot90(rgb, -1)),
        "profile.png": (stored(image, "PNG", icc_profile=profile), rgb),
        "bad-profile.png": (stored(image, "PNG", icc_profile=b"no profile"), rgb),
        "one.png": (stored(Image.new("RGB", (1, 1), RED), "PNG"), np.array([[RED]], np.uint8)),
        "wide.png": (stored(Image.fromarray(wide), "PNG"), wide),
        "tall.png": (stored(Image.fromarray(wide.transpose(1, 0, 2)), "PNG"), wide.transpose(1, 0, 2)),
    }  # fmt: skip


def broken() -> dict[str, tuple[bytes, str]]:
    """Files that are no pictures, whatever they are called: the bytes, and what is to be said of them."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8))
    whole = {kind: stored(noise, kind) for kind in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP")}
    cut = {f"cut.{kind.lower()}": (raw[: len(raw) // 2], "cannot be read") for kind, raw in whole.items()}
    flipped = bytearray(whole["PNG"])
    flipped[len(flipped) // 2] ^= 255
    return {
        **cut,
        "flipped.png": (bytes(flipped), "cannot be read"),
        "zero.png": (b"", "this file is empty"),
        "bomb.png": (png(60_000, 60_000, 8, 2, bytes(100)), "3,600,000,000 pixels, above data.max_pixels = 268435456"),
        "lie.png": (png(2_000, 2_000, 8, 2, bytes(100)), "cannot be read"),
        "text.png": (b"This is not a picture.\n", "not a picture in a known format"),
        "page.jpg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture in a known format"),
        "login.png": (b"\r\n<!DOCTYPE html><html>", "this is a web page and not the file that its name promises"),
        "pointer.jpg": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS has not fetched; run"),
        "script.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture in a known format"),
        "zip.png": (zipped({"plain.png": whole["PNG"]}), "not a picture in a known format"),
    }


def write_set(folder: Path, content: dict[str, bytes]) -> Path:
    """Files in a new folder."""
    folder.mkdir(parents=True)
    for name, raw in content.items():
        (folder / name).write_bytes(raw)
    return folder


def write_links(folder: Path) -> None:
    """Links that lead nowhere, to themselves, and in circles."""
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "ping.png").symlink_to(folder / "pong.png")
    (folder / "pong.png").symlink_to(folder / "ping.png")
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    os.mkfifo(folder / "pipe.png")  # opening it would wait for ever


def zipped(content: dict[str, bytes]) -> bytes:
    """A zip file's bytes; names are written as they are."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in content.items():
            archive.writestr(zipfile.ZipInfo(name), raw, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def _patched(archive: bytes, name: str, local: tuple[int, bytes], central: tuple[int, bytes]) -> bytes:
    """A zip file in which bytes of a member's two headers are others, at offsets in the headers."""
    raw = bytearray(archive)
    for signature, length, (offset, content) in ((b"PK\3\4", 30, local), (b"PK\1\2", 46, central)):
        start = raw.index(name.encode()) if signature == b"PK\3\4" else raw.rindex(name.encode())
        start -= length
        assert raw[start : start + 4] == signature
        raw[start + offset : start + offset + len(content)] = content
    return bytes(raw)


def encrypted(archive: bytes, name: str) -> bytes:
    """A zip file in which a member is marked as encrypted."""
    return _patched(archive, name, (6, b"\1\0"), (8, b"\1\0"))


def declaring(archive: bytes, name: str, size: int) -> bytes:
    """A zip file in which a member declares another size than it expands to."""
    return _patched(archive, name, (22, struct.pack("<I", size)), (24, struct.pack("<I", size)))
