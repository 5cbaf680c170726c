"""Decoding against Pillow and numpy references: every 8-bit mode, EXIF, transparency, and what is refused."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from progcycle.data import BrokenPicture, UnsupportedPicture, decode_picture
from progcycle.errors import UserError

RNG = np.random.default_rng(3)
RGB = RNG.integers(0, 256, (10, 14, 3), dtype=np.uint8)
RGBA = RNG.integers(0, 256, (10, 14, 4), dtype=np.uint8)


def stored(image: Image.Image, kind: str, **options: object) -> io.BytesIO:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    stream.seek(0)
    return stream


def decode(stream: io.BytesIO, channels: int = 3, background: str = "white") -> np.ndarray:
    return decode_picture(stream, channels=channels, background=background)


def grey_of(rgb: np.ndarray) -> np.ndarray:
    """ITU-R 601-2 luma."""
    return np.rint(rgb.astype(float) @ [0.299, 0.587, 0.114])


def deep_png(colour_type: int, channels: int) -> io.BytesIO:
    """A 4x4 PNG with 16 bits a channel, written by hand."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(range(8 * channels)) for _ in range(4))
    header = struct.pack(">IIBBBBB", 4, 4, 16, colour_type, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return io.BytesIO(b"\x89PNG\r\n\x1a\n" + body)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "WEBP"])
def test_lossless_rgb_is_exact(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    assert np.array_equal(decode(stored(Image.fromarray(RGB), kind, **options)), RGB)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("L", "TIFF"),
        ("P", "PNG"),
        ("P", "GIF"),
        ("CMYK", "TIFF"),
        ("CMYK", "JPEG"),
        ("L", "JPEG"),
    ],
)
def test_modes_become_rgb_or_grey(mode, kind):
    image = Image.fromarray(RGB).convert(mode)
    expected = np.asarray((Image.open(stored(image, kind)) if kind == "JPEG" else image).convert("RGB"))
    assert np.array_equal(decode(stored(image, kind)), expected)
    grey = decode(stored(image, kind), channels=1)
    assert grey.shape == (10, 14, 1)
    assert grey.dtype == np.uint8
    assert np.abs(grey[:, :, 0] - grey_of(expected)).max() <= 1


@pytest.mark.parametrize(("background", "colour"), [("white", (255, 255, 255)), ("#102030", (16, 32, 48))])
def test_alpha_is_composited(background, colour):
    alpha = RGBA[:, :, 3:] / 255
    expected = RGBA[:, :, :3] * alpha + np.array(colour) * (1 - alpha)
    assert np.abs(decode(stored(Image.fromarray(RGBA), "PNG"), background=background) - expected).max() <= 1
    grey = decode(stored(Image.fromarray(RGBA), "PNG"), channels=1, background=background)[:, :, 0]
    assert np.abs(grey - grey_of(expected)).max() <= 2


def test_alpha_of_grey_and_of_palettes():
    la = Image.fromarray(np.ascontiguousarray(RGBA[:, :, 2:]))
    assert la.mode == "LA"
    alpha = RGBA[:, :, 3] / 255
    expected = RGBA[:, :, 2] * alpha + 255 * (1 - alpha)
    assert np.abs(decode(stored(la, "PNG"), channels=1)[:, :, 0] - expected).max() <= 1

    palette = Image.fromarray(RGB).quantize(8)
    for kind in ("PNG", "GIF"):
        got = decode(stored(palette, kind, transparency=2), background="red")
        see_through = np.asarray(palette) == 2
        assert (got[see_through] == (255, 0, 0)).all()
        assert np.array_equal(got[~see_through], np.asarray(palette.convert("RGB"))[~see_through])


def test_colour_key_of_rgb_png():
    keyed = stored(Image.fromarray(RGB), "PNG", transparency=tuple(int(v) for v in RGB[0, 0]))
    got = decode(keyed, background="black")
    assert (got[0, 0] == 0).all()
    assert np.array_equal(got[1:], RGB[1:])


@pytest.mark.parametrize(
    ("kind", "orientation"), [*(("PNG", way) for way in range(1, 9)), ("JPEG", 6), ("TIFF", 6), ("WEBP", 6)]
)
def test_exif_orientation(kind, orientation):
    corners = np.zeros((16, 32, 3), np.uint8)
    corners[:8, :16], corners[:8, 16:], corners[8:, :16] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
    exif = Image.Exif()
    exif[274] = orientation
    got = decode(stored(Image.fromarray(corners), kind, exif=exif)).astype(int)
    turned = [
        corners,
        corners[:, ::-1],
        corners[::-1, ::-1],
        corners[::-1],
        corners.transpose(1, 0, 2),
        np.rot90(corners, -1),
        np.rot90(corners, 2).transpose(1, 0, 2),
        np.rot90(corners),
    ][orientation - 1]
    assert got.shape == turned.shape
    assert np.abs(got - turned).mean() < 20


def test_animations_show_their_first_frame():
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "blue")]
    for kind in ("GIF", "WEBP", "PNG"):
        got = decode(stored(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert np.abs(got.astype(int) - (255, 0, 0)).max() <= 3


def test_draft_keeps_the_least_side_and_moves_nothing(tmp_path):
    smooth = Image.fromarray(RGB[:4, :6]).resize((480, 320), Image.Resampling.BICUBIC)
    file = tmp_path / "x.jpg"
    smooth.save(file, quality=95)
    full = decode_picture(file, channels=3, background="white")
    for least, expected in ((321, (320, 480)), (160, (160, 240)), (100, (160, 240)), (80, (80, 120)), (8, (40, 60))):
        got = decode_picture(file, channels=3, background="white", min_side=least)
        assert got.shape[:2] == expected
        block = 320 // expected[0]
        reference = full.reshape(expected[0], block, expected[1], block, 3).mean((1, 3))
        assert np.abs(got - reference).mean() < 1
    smooth.resize((481, 320)).save(file)
    assert decode_picture(file, channels=3, background="white", min_side=8).shape == (320, 481, 3)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_of_a_16_bit_png_the_upper_bytes_count(colour_type, channels):
    samples = np.arange(0, 8 * channels, 2).reshape(4, channels)  # upper bytes of a row: 0, 2, 4, ...
    alpha = samples[:, -1:] / 255 if channels in (2, 4) else np.ones((4, 1))
    colours = np.broadcast_to(samples[:, : channels - (channels in (2, 4))], (4, 3))
    expected = colours * alpha + 255 * (1 - alpha)
    got = decode(deep_png(colour_type, channels))
    assert got.shape == (4, 4, 3)
    assert np.abs(got - expected).max() <= (1 if channels in (2, 4) else 0)
    assert np.abs(decode(deep_png(colour_type, channels), channels=1)[0, :, 0] - grey_of(expected)).max() <= 1


def test_16_bit_grey_keeps_its_range_orientation_and_transparency():
    deep = np.array([[0, 255, 256, 30000, 65280, 65535]], np.uint16)
    exif = Image.Exif()
    exif[274] = 3  # upside down
    got = decode(stored(Image.fromarray(deep), "PNG", exif=exif))[0, ::-1, 0]
    assert got.tolist() == [0, 0, 1, 117, 255, 255]  # floor(v / 256), by hand
    keyed = decode(stored(Image.fromarray(deep), "PNG", transparency=30000), background="red")[0]
    assert keyed[3].tolist() == [255, 0, 0]
    assert keyed[[2, 4], 0].tolist() == [1, 255]
    with_key = deep_png(2, 3).getvalue()
    key = b"tRNS" + bytes(range(6))
    cut = with_key.index(b"IDAT") - 4
    with_key = with_key[:cut] + struct.pack(">I", 6) + key + struct.pack(">I", zlib.crc32(key)) + with_key[cut:]
    with pytest.raises(UnsupportedPicture, match="a transparent colour of 16 bits is not supported"):
        decode(io.BytesIO(with_key))


def test_other_deep_pictures_are_refused():
    grey = Image.fromarray(np.arange(100, dtype=np.uint16).reshape(10, 10) * 600)
    floats = Image.fromarray(np.ones((10, 10), np.float32))
    integers = Image.fromarray(np.ones((10, 10), np.int32))
    deep_ppm = io.BytesIO(b"P6\n# a comment\n2 2\n65535\n" + bytes(24))
    for stream in (
        stored(grey, "TIFF"),
        stored(floats, "TIFF"),
        stored(integers, "TIFF"),
        stored(grey, "PPM"),
        deep_ppm,
    ):
        with pytest.raises(UnsupportedPicture, match=r"only PNG may have more|16 bits are read of PNG, TIFF"):
            decode(stream)
    with pytest.raises(UnsupportedPicture, match="floating point"):
        decode(stored(floats, "TIFF"))
    with pytest.raises(UnsupportedPicture, match="mode LAB"):
        decode(stored(Image.new("LAB", (4, 4)), "TIFF"))


def test_16_bit_colour_tiff_is_refused():
    entries = [(256, 3, 1, 2), (257, 3, 1, 1), (258, 3, 3, 134), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 140)]
    entries += [(277, 3, 1, 3), (278, 3, 1, 1), (279, 4, 1, 12), (284, 3, 1, 1)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    content = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<I", 0)
    content += struct.pack("<3H", 16, 16, 16) + bytes(12)
    assert content.index(struct.pack("<3H", 16, 16, 16)) == 134
    assert len(content) == 152
    assert Image.open(io.BytesIO(content)).mode == "RGB"  # without a word
    with pytest.raises(UnsupportedPicture, match="16 bits a channel"):
        decode(io.BytesIO(content))


def test_broken_files(tmp_path):
    whole = stored(Image.fromarray(RGB), "PNG").getvalue()
    contents = {"zero.png": b"", "text.png": b"not a picture", "cut.png": whole[:-60], "script.png": b"%!PS-Adobe\n"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BrokenPicture, match=name) as caught:
            decode_picture(tmp_path / name, channels=3, background="white")
        assert "\n" not in str(caught.value)
        assert "BytesIO" not in str(caught.value)
    with pytest.raises(BrokenPicture, match="cannot be read"):
        decode_picture(tmp_path / "absent.png", channels=3, background="white")


def test_unknown_colour():
    with pytest.raises(UserError, match="background: 'withe' is not a colour"):
        decode(stored(Image.fromarray(RGB), "PNG"), background="withe")


def test_named_streams(tmp_path):
    file = Path(tmp_path / "x.png")
    file.write_bytes(b"?")
    with file.open("rb") as stream, pytest.raises(BrokenPicture, match=r"x\.png"):
        decode_picture(stream, channels=3, background="white")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_damaged_exif_block_does_not_matter():
    content = stored(Image.fromarray(RGB), "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x09garbage").getvalue()
    assert np.array_equal(decode(io.BytesIO(content)), RGB)
