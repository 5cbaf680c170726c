"""Pictures read band by band, against the same files decoded as a whole."""

import io
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from progcycle.data import bands
from progcycle.data.bands import read_bands, size_of
from progcycle.data.decode import BrokenPicture, decode_picture
from progcycle.data.levels import DEEP, PLAIN, Levels
from progcycle.errors import UserError

HEIGHT, WIDTH = 37, 53
FLOATS = Levels("float", 0, 1)


@pytest.fixture(autouse=True)
def _small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "BAND", 700)  # 13 rows


def colours(dtype: Any = np.uint8, channels: int = 3) -> np.ndarray:
    """Ramps with a little noise, so that all filters of PNG occur."""
    i, j = np.mgrid[:HEIGHT, :WIDTH]
    ramps = np.stack([(i + 1) * j * (c + 1) // 3 for c in range(channels)], axis=2) % 250
    levels = ramps + np.random.default_rng(0).integers(0, 6, (HEIGHT, WIDTH, channels))
    return (levels * 257 + 3).astype(dtype) if dtype == np.uint16 else levels.astype(dtype)


def assembled(file: Path | io.BytesIO, channels: int, levels: Levels = PLAIN) -> tuple[np.ndarray, bool]:
    """The picture, and whether it was decoded as a whole. Every pixel must come once."""
    options: dict[str, Any] = {"background": "red", "levels": levels, "name": "x", "max_pixels": 10**6}
    with read_bands(file, channels=channels, **options) as picture:
        out: np.ndarray | None = None
        times = np.zeros((picture.height, picture.width), int)
        for top, left, values in picture.parts():
            out = np.empty((*times.shape, values.shape[2]), values.dtype) if out is None else out
            place = np.s_[top : top + values.shape[0], left : left + values.shape[1]]
            out[place], times[place] = values, times[place] + 1
            assert picture.whole or values.shape[0] * values.shape[1] <= max(700, 16 * WIDTH)
        assert (times == 1).all()
        assert out is not None
        return out, picture.whole


def check(file: Path, channels: int, levels: Levels = PLAIN, whole: bool | None = False) -> None:
    """Compare with decoding at once; ``whole`` is None for what is read by rows from a file, and whole from memory."""
    options: dict[str, Any] = {"channels": channels, "background": "red", "levels": levels}
    expected = decode_picture(file, **options, values=True, any_range=True)
    for given in (file, io.BytesIO(file.read_bytes())):
        got, at_once = assembled(given, channels, levels)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
        assert at_once == (given is not file if whole is None else whole)


def test_png_of_8_bits_and_less(tmp_path: Path) -> None:
    image = Image.fromarray(colours())
    clear = image.copy()
    clear.putalpha(Image.fromarray(colours()[..., 0]))
    made = {
        "rgb": image,
        "noise": Image.fromarray(np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)),
        "grey": image.convert("L"),
        "palette": image.convert("P"),
        "bits": image.convert("1"),
        "rgba": clear,
        "la": clear.convert("LA"),
        "clear palette": clear.quantize(16),
    }
    for name, picture in made.items():
        picture.save(tmp_path / f"{name}.png")
        for channels in (1, 3):
            check(tmp_path / f"{name}.png", channels)
    image.quantize(4).save(tmp_path / "two bits.png", bits=2)
    check(tmp_path / "two bits.png", 3)
    check(tmp_path / "rgba.png", 4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    for ending in ("png", "jpg"):
        Image.fromarray(colours()).save(tmp_path / f"a.{ending}", exif=exif)
        check(tmp_path / f"a.{ending}", 3, whole=None if ending == "jpg" else False)
    for dtype, levels in ((np.uint8, PLAIN), (np.uint16, DEEP)):
        tag = [(274, 3, 1, orientation, True)]
        tifffile.imwrite(tmp_path / "a.tif", colours(dtype), photometric="rgb", extratags=tag, rowsperstrip=5)
        check(tmp_path / "a.tif", 3, levels)


def test_png_of_16_bits(tmp_path: Path) -> None:
    for channels in (1, 3, 4):
        values = np.random.default_rng(2).integers(0, 1 << 16, (HEIGHT, WIDTH, channels), dtype=np.uint16)
        for i, some in enumerate((values, colours(np.uint16, channels))):
            file = tmp_path / f"{channels}{i}.png"
            cv2.imwrite(str(file), some)
            for wanted, levels in ((1, DEEP), (3, DEEP), (3, PLAIN), (1, Levels("float", 0, 60000))):
                check(file, wanted, levels)


TIFFS: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "strips": (colours(), {"compression": "zlib", "rowsperstrip": 4}),
    "differences": (colours(), {"compression": "zlib", "predictor": 2, "tile": (16, 16)}),
    "tiles": (colours(np.uint16), {"tile": (16, 32)}),
    "planes": (colours(np.uint16), {"planarconfig": "separate", "compression": "zlib", "rowsperstrip": 4}),
    "inverted": (colours(np.uint16, 1), {"photometric": "miniswhite", "compression": "zlib", "rowsperstrip": 9}),
    "rows": (colours(np.uint16), {"byteorder": ">"}),
    "opacity": (colours(channels=4), {"extrasamples": ["unassalpha"], "rowsperstrip": 3}),
    "float": (colours(np.float32, 5) / 250, {"planarconfig": "contig", "byteorder": ">"}),
    "float planes": (colours(np.float32, 5) / 250, {"planarconfig": "separate", "tile": (16, 16)}),
    "signed": (colours(np.int16, 1) - 99, {"rowsperstrip": 4}),
}


@pytest.mark.parametrize("name", TIFFS)
def test_tiff(tmp_path: Path, name: str) -> None:
    values, options = TIFFS[name]
    channels, file = values.shape[2], tmp_path / "a.tif"
    kind = "rgb" if channels == 3 or name == "opacity" else "minisblack"
    planar = options.get("planarconfig") == "separate"
    flat = np.moveaxis(values, 2, 0) if planar else values[..., 0] if channels == 1 else values
    tifffile.imwrite(file, flat, **{"photometric": kind, **options})
    if values.dtype == np.uint8:
        for wanted in (1, 3):
            check(file, wanted)
    else:
        levels = FLOATS if values.dtype == np.float32 else DEEP if name != "signed" else Levels(16, -99, 999)
        check(file, channels, levels)


def test_what_has_to_be_decoded_as_a_whole_is(tmp_path: Path) -> None:
    image = Image.fromarray(colours())
    for name, options in {
        "lzw.tif": {"compression": "tiff_lzw"},
        "jpeg.tif": {"compression": "jpeg"},
        "a.webp": {"lossless": True},
        "a.bmp": {},
        "a.gif": {},
    }.items():
        image.save(tmp_path / name, **options)  # type: ignore[arg-type]
        check(tmp_path / name, 3, whole=True)
    for mode, ending in (("CMYK", "tif"), ("CMYK", "jpg")):
        image.convert(mode).save(tmp_path / f"{mode}.{ending}")
        check(tmp_path / f"{mode}.{ending}", 3, whole=True)
    np.save(tmp_path / "fortran.npy", np.asfortranarray(colours(np.uint16, 1)[..., 0]))
    check(tmp_path / "fortran.npy", 1, DEEP, whole=True)
    np.save(tmp_path / "channels first.npy", np.zeros((5, 70, 80), np.float32))
    check(tmp_path / "channels first.npy", 5, FLOATS, whole=True)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("options", [{"subsampling": 0}, {"subsampling": 2}, {"progressive": True}])
def test_jpegs_by_rows_with_libvips_and_whole_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str, options: dict[str, Any]
) -> None:
    Image.fromarray(colours()).convert(mode).save(tmp_path / "a.jpg", **options)
    check(tmp_path / "a.jpg", 3, whole=None)
    check(tmp_path / "a.jpg", 1, whole=None)
    monkeypatch.setitem(sys.modules, "pyvips", None)
    check(tmp_path / "a.jpg", 3, whole=True)


def test_a_jpeg_that_ends_early_is_a_sentence(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(BrokenPicture, match=r"^x"):
        assembled(tmp_path / "a.jpg", 3)


def test_arrays(tmp_path: Path) -> None:
    for values, channels, levels in (
        (colours(), 3, PLAIN),
        (colours(np.uint16)[..., 0].astype(">u2"), 1, DEEP),
        (colours(np.float32, 5) / 250, 5, FLOATS),
    ):
        np.save(tmp_path / "a.npy", values)
        check(tmp_path / "a.npy", channels, levels)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def test_damage_is_told_in_a_sentence(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.png")
    sound = (tmp_path / "a.png").read_bytes()
    place = sound.index(b"IDAT")
    flipped = sound[: place + 100] + bytes([sound[place + 100] ^ 255]) + sound[place + 101 :]
    short = sound[: place - 4] + chunk(b"IDAT", zlib.compress(bytes(500))) + chunk(b"IEND", b"")
    tifffile.imwrite(tmp_path / "a.tif", colours(np.uint16), photometric="rgb", compression="zlib", rowsperstrip=4)
    tiff = (tmp_path / "a.tif").read_bytes()
    np.save(tmp_path / "a.npy", colours())
    array = (tmp_path / "a.npy").read_bytes()
    for content, levels in (
        (sound[: len(sound) // 2], PLAIN),
        (sound[:-20], PLAIN),
        (flipped, PLAIN),
        (short, PLAIN),
        (tiff[: len(tiff) // 2], DEEP),
        (array[:-9], PLAIN),
        (b"", PLAIN),
        (b"no picture at all", PLAIN),
    ):
        with pytest.raises(UserError, match=r"^x: [^\n]+\.$"):
            assembled(io.BytesIO(content), 3, levels)


def test_an_error_of_who_reads_is_not_one_of_the_picture(tmp_path: Path) -> None:
    Image.fromarray(colours()).save(tmp_path / "a.png")
    options: dict[str, Any] = {"channels": 3, "background": "white", "levels": PLAIN, "name": "x", "max_pixels": 10**6}

    def fail() -> None:
        with read_bands(tmp_path / "a.png", **options) as picture:
            for _ in picture.parts():
                raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()


def test_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(9)) + chunk(b"IEND", b"")
    (tmp_path / "bomb.png").write_bytes(content)
    assert size_of(tmp_path / "bomb.png") == (60_000, 60_000)
    options: dict[str, Any] = {"channels": 3, "background": "white", "levels": PLAIN, "name": "x", "max_pixels": 10**9}
    with (
        pytest.raises(UserError, match="has 3,600,000,000 pixels, above --max-pixels"),
        read_bands(tmp_path / "bomb.png", **options),
    ):
        pass
    assert size_of(io.BytesIO(b"nothing")) is None


def test_metadata_are_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[0x10E] = 6, "what"
    seen = []
    options: dict[str, Any] = {"channels": 3, "background": "white", "levels": PLAIN, "name": "x", "max_pixels": 10**6}
    for ending in ("png", "jpg", "tif", "webp"):
        file = tmp_path / f"a.{ending}"
        Image.fromarray(colours()).save(file, exif=exif, dpi=(300, 300))
        on_opened = lambda image, width, height: seen.append((width, height, image.getexif()[0x10E]))  # noqa: E731
        with read_bands(file, **options, on_opened=on_opened) as picture:
            assert (picture.height, picture.width) == (WIDTH, HEIGHT)
    assert seen == [(HEIGHT, WIDTH, "what")] * 4
