"""More than 8 bits a channel: 16-bit PNGs that use their range, those that do not, and everything else, by name."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin, features

from progcycle.data import BrokenPicture, Levels, UnsupportedPicture, decode_picture, image_pixels
from progcycle.data.bit_depth import LowRange
from progcycle.data.decode import opened
from progcycle.data.limit import pixel_limit
from progcycle.errors import UserError

RNG = np.random.default_rng(11)


def deep_png(values: np.ndarray) -> bytes:  # [H, W] or [H, W, C] uint16
    """A 16-bit PNG by another library."""
    return bytes(cv2.imencode(".png", values)[1].tobytes())


def decode(content: bytes, **options: Any) -> np.ndarray:
    return decode_picture(io.BytesIO(content), channels=3, background="white", name="x", **options)


def spread(low: int, high: int, *shape: int) -> np.ndarray:
    """Values of a range, both ends among them."""
    values = RNG.integers(low, high + 1, shape or (40, 30))
    values.flat[0], values.flat[-1] = low, high
    return values.astype(np.uint16)


# --- a low range --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "levels"),
    [
        (0, 4095, 16),  # 12 bits
        (0, 1023, 4),
        (0, 255, 1),  # 8 bits stored as 16
        (0, 16383, 64),  # 14 bits
        (31744, 35840, 17),  # CT, shifted to be positive
        (0, 3, 1),  # a map of labels
    ],
)
def test_values_that_lie_close_together_are_refused_with_their_range(low: int, high: int, levels: int) -> None:
    words = f"x: its 16-bit values run from {low} to {high} only, of which the upper 8 bits keep {levels} level"
    for values in (spread(low, high), spread(low, high, 20, 30, 3)):
        with pytest.raises(LowRange, match=words):
            decode(deep_png(values))
    with pytest.raises(LowRange, match=f"run from {low} to {high} only"):
        image_pixels(Image.fromarray(spread(low, high)), channels=1)
    opacity = RNG.integers(0, 65536, (20, 30, 1)).astype(np.uint16)  # does not count
    image = np.concatenate([spread(low, high, 20, 30, 3), opacity], axis=2)
    with pytest.raises(LowRange, match=words):
        decode(deep_png(image))


@pytest.mark.parametrize("colour", [False, True])
def test_the_recipe_of_the_refusal_works(tmp_path: Path, colour: bool) -> None:
    old, new = tmp_path / "old.png", tmp_path / "new.png"
    values = spread(100, 4000, 20, 30, 3) if colour else spread(100, 4000)
    old.write_bytes(deep_png(values))
    with pytest.raises(LowRange) as caught:
        decode_picture(old, channels=3, background="white")
    recipe = str(caught.value).partition(", by ")[2].removesuffix(" with numpy.")
    exec(recipe, {"np": np, "Image": Image, "cv2": cv2, "old": str(old), "new": str(new)})
    got = decode_picture(new, channels=3, background="white").astype(float)
    expected = values[:, :, ::-1] if colour else np.repeat(values[:, :, None], 3, 2)  # OpenCV has blue first
    assert np.abs(got - expected * (255 / 4095)).max() <= 1
    assert len(np.unique(got)) > 200


def test_full_ranges_and_single_levels_go_on() -> None:
    for values in (
        spread(0, 65535),
        spread(20000, 40000),
        spread(0, 16384),
        np.full((8, 8), 77, np.uint16),  # nothing is lost
        np.zeros((8, 8, 3), np.uint16),
        (RNG.integers(0, 20, (8, 8)) * 256).astype(np.uint16),  # 8 bits, moved up
    ):
        got = decode(deep_png(values))
        wanted = values[:, :, ::-1] if values.ndim == 3 else np.repeat(values[:, :, None], 3, 2)
        assert np.array_equal(got, wanted >> 8)
    assert decode(deep_png(spread(0, 300)), any_range=True).max() == 1


def test_a_dark_picture_of_a_set_that_uses_its_range_is_read(tmp_path: Path, make_set: Any) -> None:
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(deep_png(spread(0, 300 if i == 2 else 65535, 32, 32)))
    pictures = make_set(tmp_path, max_broken=0.0)
    assert pictures.plain(2, 32).image.max() == 1
    assert pictures.plain(3, 32).image.max() == 255
    for i in range(3, 6):
        (tmp_path / f"{i}.png").write_bytes(deep_png(spread(0, 4095, 32, 32)))
    (tmp_path / "eight.png").write_bytes(bytes(cv2.imencode(".png", spread(0, 255).astype(np.uint8))[1]))
    pictures = make_set(tmp_path, max_broken=0.9)
    assert pictures.plain(0, 32).name == "0.png"
    for i in (2, 3):
        with pytest.raises(UnsupportedPicture, match=f"{i}.png: its 16-bit values run from 0 to"):
            pictures.plain(i, 32)


# --- every other kind ---------------------------------------------------------------------------------------------


def tiff(image: Image.Image, **tags: int) -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[int(tag[1:])] = value
    stream = io.BytesIO()
    image.save(stream, "TIFF", tiffinfo=info)
    return stream.getvalue()


def stored(values: np.ndarray, end: str) -> bytes:
    return bytes(cv2.imencode(end, values)[1].tobytes())


def high_byte_first(values: np.ndarray) -> Image.Image:
    return Image.frombytes("I;16B", values.shape[::-1], values.astype(">u2").tobytes())


REFUSED = {
    "grey of 16 bits in a TIFF": (tiff(Image.fromarray(spread(0, 65535))), "16 bits a channel"),
    "the same, the high byte first": (tiff(high_byte_first(spread(0, 65535))), "16 bits a channel"),
    "colour of 16 bits in a TIFF": (stored(spread(0, 65535, 9, 9, 3), ".tiff"), "16 bits a channel"),
    "32 bits in a TIFF": (tiff(Image.fromarray(np.ones((9, 9), np.int32))), "32 bits a channel"),
    "floating point in a TIFF": (tiff(Image.fromarray(np.ones((9, 9), np.float32))), "floating point"),
    "numbers with a sign in a TIFF": (tiff(Image.new("L", (9, 9)), t339=2), "numbers with a sign"),
    "LAB in a TIFF": (tiff(Image.new("LAB", (9, 9))), "mode LAB"),
    "16 bits in a PPM": (b"P6 2 2 65535\n" + bytes(24), "16 bits a channel"),
    "10 bits in a PGM": (b"P5 2 2 1023\n" + bytes(8), "10 bits a channel"),
    "floating point in a PFM": (b"Pf\n2 2\n-1.0\n" + bytes(16), "floating point"),
}
if features.check("jpg_2000"):
    REFUSED["grey of 16 bits in a JPEG 2000"] = (stored(spread(0, 65535, 64, 64), ".jp2"), "16 bits a channel")
    REFUSED["colour of 16 bits in a JPEG 2000"] = (stored(spread(0, 65535, 64, 64, 3), ".jp2"), "16 bits a channel")


@pytest.mark.parametrize("kind", REFUSED)
def test_what_8_bits_would_ruin_is_refused_in_one_sentence(kind: str) -> None:
    content, words = REFUSED[kind]
    with pytest.raises(UnsupportedPicture, match=f"^x: .*({words}).*[.]$") as caught:
        decode(content)
    assert "\n" not in str(caught.value)
    others = ("PPM", "PGM", "PFM", "JPEG 2000")  # of which no setting reads more
    assert ("bits: 16 or float" in str(caught.value)) == (not kind.endswith(others) and words != "mode LAB")
    if kind.endswith(others):
        for levels in (Levels(16, 0, 65535), Levels("float", 0, 1)):
            with pytest.raises(UnsupportedPicture, match=r"16 bits are read of PNG, TIFF and \.npy, .* so convert it"):
                decode(content, levels=levels)


def test_a_tiff_that_pillow_does_not_know_is_told_apart_from_rubbish() -> None:
    with pytest.raises(
        UnsupportedPicture, match=r"x: this TIFF has 3 channels of float32; where 8 bits are read, only"
    ):
        decode(stored(np.ones((9, 9, 3), np.float32), ".tiff"))
    with pytest.raises(BrokenPicture, match="x: this is a TIFF of a kind that cannot be read"):
        decode(b"II*\0 rubbish")


@pytest.mark.parametrize(
    ("mode", "words"),
    [("I", "32 bits a channel"), ("F", "floating point"), ("LAB", "mode LAB")],
)
def test_images_in_memory_are_refused_alike(mode: str, words: str) -> None:
    with pytest.raises(UnsupportedPicture, match=words):
        image_pixels(Image.new(mode, (4, 4)), channels=3)


def test_grey_of_16_bits_in_memory_is_read_by_its_upper_byte() -> None:
    values = spread(0, 65535)
    for mode in ("I;16", "I;16B"):
        image = Image.fromarray(values) if mode == "I;16" else high_byte_first(values)
        assert np.array_equal(image_pixels(image, channels=1)[:, :, 0], values >> 8)


def test_old_pillow_opened_16_bit_grey_with_32_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Image.open

    def opened(*args: Any, **options: Any) -> Any:
        image = real(*args, **options)
        loaded = image.convert("I")
        loaded.format = image.format
        return loaded

    monkeypatch.setattr(Image, "open", opened)
    values = spread(0, 65535)
    assert np.array_equal(decode(deep_png(values))[:, :, 0], values >> 8)
    with pytest.raises(LowRange, match="from 0 to 4095 only"):
        decode(deep_png(spread(0, 4095)))


# --- eight bits, in every mode that a file can have ---------------------------------------------------------------

CORNERS = np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (90, 90, 90)]], np.uint8).repeat(8, 0).repeat(8, 1)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def cmyk(key: bool) -> Image.Image:
    """Ink for the corners, worked out by hand: 255 - colour, the grey once by black ink alone."""
    ink = np.concatenate([255 - CORNERS, np.zeros((16, 16, 1), np.uint8)], axis=2)
    if key:
        ink[8:, 8:] = (0, 0, 0, 255 - 90)
    return Image.fromarray(ink, "CMYK")


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def half_clear(mode: str) -> Image.Image:
    image = Image.fromarray(CORNERS).convert("L").convert("LA") if mode == "LA" else Image.fromarray(CORNERS)
    image = image.convert(mode)
    image.putalpha(Image.fromarray(np.array([[255, 0]] * 2, np.uint8).repeat(8, 0).repeat(8, 1)))
    return image


GREY = np.array(Image.fromarray(CORNERS).convert("L"))
ON_WHITE = CORNERS.copy()
ON_WHITE[:, 8:] = 255
GREY_ON_WHITE = np.repeat(GREY[:, :, None], 3, 2)
GREY_ON_WHITE[:, 8:] = 255
PALETTE = Image.fromarray(CORNERS).quantize(8)
READ = {
    "CMYK in a JPEG, as Adobe inverts it": (save(cmyk(False), "JPEG", quality=100), CORNERS, 4),
    "CMYK with black ink in a TIFF": (save(cmyk(True), "TIFF"), CORNERS, 1),
    "CMYK with black ink in a JPEG": (save(cmyk(True), "JPEG", quality=100), CORNERS, 4),
    "YCbCr in a TIFF": (save(Image.fromarray(CORNERS).convert("YCbCr"), "TIFF"), CORNERS, 3),
    "palette": (save(PALETTE, "PNG"), CORNERS, 0),
    "grey and opacity": (save(half_clear("LA"), "PNG"), GREY_ON_WHITE, 0),
    "colour and opacity": (save(half_clear("RGB"), "PNG"), ON_WHITE, 0),
    "colour and opacity in a TIFF": (save(half_clear("RGB"), "TIFF"), ON_WHITE, 0),
    "white is zero in a TIFF": (
        save(Image.fromarray(255 - GREY), "TIFF", tiffinfo={262: 0}), np.repeat(255 - GREY[:, :, None], 3, 2), 0
    ),
    "4 bits a channel in a PNG": (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 4, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(b"\0\x3f")) + chunk(b"IEND", b""),
        np.array([[[51] * 3, [255] * 3]], np.uint8), 0,
    ),
    "few values in a PGM": (b"P5 2 1 3\n\x01\x03", np.array([[[85] * 3, [255] * 3]], np.uint8), 0),
}  # fmt: skip


@pytest.mark.parametrize("kind", READ)
def test_what_8_bits_can_hold_is_read(kind: str) -> None:
    content, expected, off = READ[kind]
    assert np.abs(decode(content).astype(int)[::4, ::4] - expected[::4, ::4]).max() <= off


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_premultiplied_opacity(mode: str) -> None:
    image = half_clear("LA" if mode == "La" else "RGB").convert("LA" if mode == "La" else "RGBA").convert(mode)
    expected = GREY_ON_WHITE if mode == "La" else ON_WHITE
    assert np.array_equal(image_pixels(image, channels=3), expected)


# --- large pictures -----------------------------------------------------------------------------------------------


def test_the_limit_of_pixels_is_ours(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow would warn above 100 and refuse above 200
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "TIFF"):
        content = save(Image.fromarray(CORNERS), kind)
        assert decode(content, max_pixels=256).shape == (16, 16, 3)
        with pytest.raises(UserError, match=r"pixels, above data\.max_pixels = 255; raise that, or reduce it"):
            decode(content, max_pixels=255)
        with pytest.raises(UserError, match="above --max-pixels = 255"):
            decode(content, max_pixels=255, limit="--max-pixels")
    assert Image.MAX_IMAGE_PIXELS == 100
    assert not recwarn.list


def test_of_a_jpeg_that_is_reduced_the_rest_counts() -> None:
    large = Image.fromarray(CORNERS).resize((512, 512))
    assert decode(save(large, "JPEG"), min_side=64, max_pixels=64 * 64).shape == (64, 64, 3)
    with pytest.raises(UserError, match="64x64 pixels, above"):
        decode(save(large, "JPEG"), min_side=64, max_pixels=64 * 64 - 1)
    with pytest.raises(UserError, match="512x512 pixels, above"):  # its coefficients are held all at once
        decode(save(large, "JPEG", progressive=True), min_side=64, max_pixels=512 * 512 - 1)


def test_large_squares_do_not_meet_pillows_limit(
    make_set: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    Image.fromarray(CORNERS).resize((60, 50)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert make_set(tmp_path).plain(0, 8).image.shape == (8, 8, 3)
    with pytest.raises(UserError, match=r"a\.png: this picture has 3,000 pixels, above data.max_pixels = 2999"):
        make_set(tmp_path, max_pixels=2999, max_broken=1.0).plain(0, 8)
    assert not recwarn.list


def test_other_threads_keep_pillows_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    content = save(Image.fromarray(CORNERS), "PNG")
    for before in (100, None):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", before)
        with pixel_limit(255), pixel_limit(256), ThreadPoolExecutor(1) as pool:
            Image.open(io.BytesIO(content))
            there = pool.submit(Image.open, io.BytesIO(content))
            if before is None:
                there.result()
            else:
                with pytest.raises(Image.DecompressionBombError):
                    there.result()
        with pixel_limit(255), pytest.raises(Image.DecompressionBombError):
            Image.open(io.BytesIO(content))
        assert before == Image.MAX_IMAGE_PIXELS


def test_headers_of_large_pictures_are_read(monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for kind in ("PNG", "WEBP", "GIF"):
        with opened(io.BytesIO(save(Image.fromarray(CORNERS), kind))) as image:
            assert image.size == (16, 16)
    assert not recwarn.list
