"""Pictures of more than 8 bits and of n channels: every value as it is stored, and what is refused, by name."""

import gc
import io
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from deep_pictures import scan, write_scans, write_values
from PIL import Image, ImageOps

from progcycle.data import BrokenPicture, Levels, UnsupportedPicture, decode_picture
from progcycle.data.stored import array_header
from progcycle.data.values import turned

WIDE = Levels(16, 0, 65535)


def values_of(file: Path | bytes, channels: int = 1, levels: Levels = WIDE, **options: Any) -> np.ndarray:
    given = file if isinstance(file, Path) else io.BytesIO(file)
    options = {"background": "white", "name": "x", **options}
    return decode_picture(given, channels=channels, levels=levels, values=True, **options)


def tiff(values: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, values, **options)
    return stream.getvalue()


def lzw(values: np.ndarray) -> bytes:
    """A TIFF by OpenCV, compressed by LZW."""
    return bytes(cv2.imencode(".tif", values, [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes())


def packed(values: np.ndarray, bits: int, **tags: int) -> bytes:  # [H, W]
    """A TIFF of grey whose channel has 10, 12 or 14 bits, one after the other; no library at hand writes them."""
    digits = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    pixels = np.packbits(digits.astype(np.uint8).reshape(len(values), -1), axis=1).tobytes()
    height, width = values.shape
    found = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: height, 279: len(pixels)}
    found |= {int(name[1:]): value for name, value in tags.items()}
    start = 8 + 2 + 12 * len(found) + 4
    entries = (struct.pack("<HHII", tag, 4, 1, start if tag == 273 else found[tag]) for tag in sorted(found))
    return struct.pack("<2sHIH", b"II", 42, 8, len(found)) + b"".join(entries) + bytes(4) + pixels


GREY, COLOUR, MANY = scan(0), scan(1, 0, 65535, channels=3), scan(2, channels=5)
SIGNED = (GREY.astype(np.int32) - 1024).astype(np.int16)
READ: dict[str, tuple[bytes, np.ndarray]] = {
    "grey TIFF": (tiff(GREY[..., 0]), GREY),
    "TIFF of the other byte order": (tiff(GREY[..., 0], byteorder=">"), GREY),
    "large TIFF": (tiff(GREY[..., 0], bigtiff=True), GREY),
    "deflate": (tiff(GREY[..., 0], compression="zlib", predictor=True), GREY),
    "tiles": (tiff(GREY[..., 0], tile=(16, 16)), GREY),
    "LZW": (lzw(GREY[..., 0]), GREY),
    "colour and LZW": (lzw(COLOUR[..., ::-1]), COLOUR),
    "colour TIFF": (tiff(COLOUR, photometric="rgb"), COLOUR),
    "planes": (tiff(np.moveaxis(COLOUR, 2, 0), photometric="rgb", planarconfig="separate"), COLOUR),
    "five channels": (tiff(MANY, photometric="minisblack", planarconfig="contig"), MANY),
    "with a sign": (tiff(SIGNED[..., 0]), SIGNED),
    "white is zero": (tiff(65535 - GREY[..., 0], photometric="miniswhite"), GREY),
    **{
        f"{bits} bits": (packed(GREY[..., 0] >> (12 - min(bits, 12)), bits), GREY >> (12 - min(bits, 12)))
        for bits in (10, 12, 14)
    },
    "12 bits, white is zero": (packed(4095 - GREY[..., 0], 12, t262=0), GREY),
    "first of several pages": (tiff(np.stack([GREY[..., 0], GREY[::-1, :, 0]]), photometric="minisblack"), GREY),
}


@pytest.mark.parametrize("kind", READ)
def test_tiffs_of_16_bits(kind: str) -> None:
    content, expected = READ[kind]
    assert np.array_equal(values_of(content, expected.shape[2], Levels(16, -1024, 65535)), expected)


@pytest.mark.parametrize("ending", [".png", ".npy"])
@pytest.mark.parametrize("values", [GREY, COLOUR])
def test_png_and_arrays_of_16_bits(tmp_path: Path, ending: str, values: np.ndarray) -> None:
    file = write_values(tmp_path / f"a{ending}", values)
    assert np.array_equal(values_of(file, values.shape[2]), values)


def test_floating_point(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 1000, (20, 30, 2)).astype(np.float32)
    levels = Levels("float", -1e4, 1e4)
    for file in (write_values(tmp_path / "a.tif", values), write_values(tmp_path / "b.npy", values)):
        assert np.array_equal(values_of(file, 2, levels), values)
        pixels = decode_picture(file, channels=2, background="white", levels=levels)
        assert np.abs(pixels * 1e4 - values).max() < 1e-2
    whole = write_values(tmp_path / "c.png", GREY)  # may be read as floating point, too
    assert np.array_equal(values_of(whole, 1, levels), GREY)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "<i4", ">i8", "<u4"])
def test_arrays_of_any_numbers(tmp_path: Path, dtype: str) -> None:
    values = np.random.default_rng(0).integers(0, 100, (5, 6)).astype(dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(values))
    assert np.array_equal(values_of(tmp_path / "a.npy", 1, Levels("float", 0, 1))[..., 0], values.astype(float))


def test_arrays_of_8_bits_and_masks(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (80, 90, 7)).astype(np.uint8)
    np.save(tmp_path / "a.npy", values)
    assert np.array_equal(values_of(tmp_path / "a.npy", 7, Levels()), values)
    np.save(tmp_path / "b.npy", np.moveaxis(values, 2, 0))  # channels first
    assert np.array_equal(values_of(tmp_path / "b.npy", 7, Levels()), values)
    np.save(tmp_path / "c.npy", values[..., 0] > 99)
    assert np.array_equal(values_of(tmp_path / "c.npy", 1, Levels())[..., 0], np.where(values[..., 0] > 99, 255, 0))


def test_colour_and_grey_become_each_other(tmp_path: Path) -> None:
    colour, grey = write_values(tmp_path / "a.png", COLOUR), write_values(tmp_path / "b.tif", GREY)
    assert np.abs(values_of(colour)[..., 0] - COLOUR @ [0.299, 0.587, 0.114]).max() < 1e-6
    assert np.array_equal(values_of(grey, 3), GREY.repeat(3, 2))


def test_opacity_of_16_bits_goes_on_the_background_of_the_window(tmp_path: Path) -> None:
    values = scan(3, 0, 65535, channels=4)
    file = write_values(tmp_path / "a.png", values)
    share = values[..., 3:] / 65535
    for background, level in (("black", 100), ("white", 300)):
        found = values_of(file, 3, Levels(16, 100, 300), background=background)
        assert np.abs(found - (values[..., :3] * share + level * (1 - share))).max() < 1e-6
    assert np.array_equal(values_of(file, 4), values)


def test_rgba_as_four_channels(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (9, 8, 4)).astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.png")
    Image.fromarray(values[..., :3]).save(tmp_path / "b.png")
    Image.fromarray(values[..., :2]).save(tmp_path / "c.png")
    assert np.array_equal(values_of(tmp_path / "a.png", 4, Levels()), values)
    opaque = np.concatenate([values[..., :3], np.full((9, 8, 1), 255)], axis=2)
    assert np.array_equal(values_of(tmp_path / "b.png", 4, Levels()), opaque)
    assert np.array_equal(values_of(tmp_path / "c.png", 2, Levels()), values[..., :2])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_as_pillow_turns(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(GREY[..., 0])
    image.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    assert np.array_equal(values_of(tmp_path / "a.png")[..., 0], expected)
    assert np.array_equal(turned(GREY, orientation)[..., 0], expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_compressed_tiffs_are_turned_once(orientation: int) -> None:
    """OpenCV, which reads them, turns them too."""
    stream, image = io.BytesIO(), Image.fromarray(COLOUR[..., 0])
    image.save(stream, "TIFF", compression="tiff_lzw", tiffinfo={274: orientation})
    image.getexif()[274] = orientation
    assert np.array_equal(values_of(stream.getvalue())[..., 0], np.asarray(ImageOps.exif_transpose(image)))


def test_premultiplied_opacity_is_divided_out() -> None:
    straight = scan(3, 0, 65535, channels=4)
    straight[..., 3] = np.maximum(straight[..., 3], 30000)
    share = straight[..., 3:] / 65535
    multiplied = np.concatenate([straight[..., :3] * share, straight[..., 3:]], axis=2).round().astype(np.uint16)
    data = tiff(multiplied, photometric="rgb", extrasamples=["assocalpha"])
    assert np.abs(values_of(data, 4).astype(int) - straight).max() <= 2
    on_white = straight[..., :3] * share + 65535 * (1 - share)
    assert np.abs(values_of(data, 3) - on_white).max() <= 2


# --- damaged, lying, refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*READ, "png", "npy"])
def test_truncated_files_are_broken(tmp_path: Path, kind: str) -> None:
    if kind in READ:
        content, values = READ[kind]
    else:
        values = COLOUR
        content = write_values(tmp_path / f"a.{kind}", values).read_bytes()
    for end in (len(content) // 2, 100, 9):
        with pytest.raises(BrokenPicture, match=r"^x: this (picture cannot be read|is not a picture)"):
            values_of(content[:end], values.shape[2])


def lying(shape: str) -> bytes:
    """An array whose header promises another shape than there is."""
    stream = io.BytesIO()
    np.save(stream, np.zeros((4, 4), np.uint16))
    return stream.getvalue().replace(b"(4, 4)", shape.encode()).replace(b"  \n", b"\n", 1)


@pytest.mark.parametrize("shape", ["(4, 5)", "(3, 4)", "(4, -1)"])
def test_arrays_that_lie_about_their_shape_are_broken(shape: str) -> None:
    with pytest.raises(BrokenPicture, match="x: this picture cannot be read"):
        values_of(lying(shape))


def test_headers_that_promise_too_much_take_no_memory(tmp_path: Path) -> None:
    header = {"descr": "<u2", "fortran_order": False, "shape": (1 << 20, 1 << 20)}
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, header)
    with pytest.raises(BrokenPicture, match=r"above data.max_pixels"):
        values_of(stream.getvalue())
    large = bytearray(tiff(GREY[..., 0]))
    where = max(large.find(struct.pack("<HHI", 256, kind, 1)) for kind in (3, 4))
    large[where : where + 12] = struct.pack("<HHII", 256, 4, 1, 1 << 30)  # ImageWidth
    with pytest.raises(BrokenPicture, match=r"above data.max_pixels"):
        values_of(bytes(large))


ROWS, STARTS, SIZES, TILES = 257, 273, 279, 324  # tags of a TIFF: of its height, of its strips and of its tiles


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(
    ("tag", "wrong"),
    [(ROWS, 40), (ROWS, 6_000_000), (STARTS, 1 << 20), (STARTS, 0), (SIZES, 0), (TILES, 0), (TILES, 1 << 20)],
)
def test_tiffs_that_lie_about_their_parts_are_broken(tag: int, wrong: int, compression: Any) -> None:
    """Parts that are not there would else become black, in a picture of any size."""
    layout = {"tile": (16, 16)} if tag == TILES else {"rowsperstrip": 12}
    content = bytearray(tiff(GREY[..., 0], compression=compression, **layout))
    found = tifffile.TiffFile(io.BytesIO(content)).pages[0].tags[tag]
    size = found.valuebytecount // found.count
    wrong = min(wrong, (1 << 8 * size) - 1)
    content[found.valueoffset : found.valueoffset + size] = wrong.to_bytes(size, "little")
    with pytest.raises(BrokenPicture, match="x: this picture cannot be read"):
        values_of(bytes(content))


def test_parts_that_a_tiff_leaves_out_are_zeros() -> None:
    """As GDAL writes sparse files: they start at 0 and have no bytes."""
    content = bytearray(tiff(GREY[..., 0], tile=(16, 16), compression="zlib"))
    page = tifffile.TiffFile(io.BytesIO(content)).pages[0]
    for tag in (page.tags[324], page.tags[325]):
        size = tag.valuebytecount // tag.count
        content[tag.valueoffset : tag.valueoffset + size] = bytes(size)
    expected = GREY.copy()
    expected[:16, :16] = 0
    assert np.array_equal(values_of(bytes(content)), expected)


def test_headers_are_read_in_threads() -> None:
    """Python 3.11 counts the depth of its parser's tree once for all threads, and finds it wrong where two parse."""

    def give_way(*_: object) -> None:
        time.sleep(0.0005)  # another thread takes over in the middle of a conversion

    stream = io.BytesIO()
    np.save(stream, GREY)
    content, thresholds = stream.getvalue(), gc.get_threshold()
    gc.callbacks.append(give_way)
    gc.set_threshold(5, 1, 1)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda _: array_header(io.BytesIO(content)), range(200)))
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(give_way)
    assert found == [(GREY.shape, GREY.dtype, False)] * 200


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[print, 1], [2, 3]], dtype=object), allow_pickle=True)
    with pytest.raises(UnsupportedPicture, match="values of type object"):
        values_of(tmp_path / "a.npy")


def test_numbers_that_are_not_finite_make_a_picture_broken(tmp_path: Path) -> None:
    values = np.ones((4, 5, 1), np.float32)
    values[1, :3, 0] = [np.nan, np.inf, -np.inf]
    with pytest.raises(BrokenPicture, match="3 of its values are not finite"):
        values_of(write_values(tmp_path / "a.tif", values), 1, Levels("float", 0, 1))


def test_other_depths_and_channels_are_refused(tmp_path: Path) -> None:
    file = write_values(tmp_path / "a.tif", MANY)
    with pytest.raises(UnsupportedPicture, match="x: this picture has 5 channels, but channels is 3"):
        values_of(file, 3)
    with pytest.raises(UnsupportedPicture, match=r"x: this picture has 16 bits a channel, .* read as 8 bits"):
        values_of(file, 5, Levels())
    Image.fromarray(GREY[..., 0].astype(np.uint8)).save(tmp_path / "b.png")
    with pytest.raises(UnsupportedPicture, match=r"x: this picture has 8 bits a channel, .* read as 16 bits"):
        values_of(tmp_path / "b.png")
    with pytest.raises(UnsupportedPicture, match="floating point numbers"):
        values_of(write_values(tmp_path / "c.tif", MANY[..., :1].astype(np.float32)))
    for shape in ((4,), (2, 3, 4, 5), (80, 90, 70)):
        np.save(tmp_path / "d.npy", np.zeros(shape, np.uint16))
        with pytest.raises(UnsupportedPicture, match=r"a picture is \[H, W\] or \[H, W, C\]"):
            values_of(tmp_path / "d.npy")


@pytest.mark.parametrize(("kind", "number", "channels"), [("PALETTE", 3, 1), ("CIELAB", 8, 3)])
def test_colours_of_other_kinds_are_refused(kind: str, number: int, channels: int) -> None:
    values = GREY if channels == 1 else COLOUR
    content = tiff(values[..., 0] if channels == 1 else values, photometric="minisblack" if channels == 1 else "rgb")
    before = struct.pack("<HHI", 262, 3, 1) + struct.pack("<H", 1 if channels == 1 else 2)
    assert before in content
    content = content.replace(before, struct.pack("<HHIH", 262, 3, 1, number))
    with pytest.raises(UnsupportedPicture, match=f"x: this TIFF has more than 8 bits and colours of the kind {kind}"):
        values_of(content, channels)


def test_a_limit_of_pixels(tmp_path: Path) -> None:
    for ending in (".png", ".tif", ".npy"):
        file = write_values(tmp_path / f"a{ending}", GREY)
        assert values_of(file, max_pixels=40 * 36).shape == (36, 40, 1)
        with pytest.raises(BrokenPicture, match=r"above data\.max_pixels = 1439"):
            values_of(file, max_pixels=40 * 36 - 1)


# --- sets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [16, "float"])
def test_sets_are_reduced_by_the_mean_of_their_values(tmp_path: Path, make_set: Any, bits: Any) -> None:
    folder = tmp_path / "scans"
    for i in range(3):
        write_values(folder / f"{i}.tif", scan(i, 0, 4095, 64, 64, channels=2))
    pictures = make_set(folder, channels=2, bits=bits, window=[0, 4095])
    expected = scan(1, 0, 4095, 64, 64, channels=2)
    large = pictures.plain(1, 32).image
    whole = make_set(folder, channels=2, bits=bits, window=[0, 4095], resolution=64).plain(1, 64).image
    assert np.abs(pictures.levels.values(_numbers(whole)) - expected.astype(float)).max() < (
        1e-3 if bits == "float" else 1e-9
    )
    assert large.dtype == pictures.levels.dtype
    small = pictures.plain(1, 8).image
    means = _numbers(large).astype(float).reshape(8, 4, 8, 4, 2).mean(axis=(1, 3))
    assert np.abs(_numbers(small) - means).max() < 1 / 65535 + 1e-6


def _numbers(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float64) / 32767.5 - 1 if pixels.dtype == np.uint16 else pixels


@pytest.mark.parametrize(
    "options", [{"bits": 16}, {"bits": 16, "window": [100, 900]}, {"bits": "float", "window": [0, 5000]}]
)
def test_the_cache_holds_what_is_decoded(tmp_path: Path, make_set: Any, options: dict[str, Any]) -> None:
    folder = write_scans(tmp_path / "scans", 5)
    given = {"channels": 1, "mirror": True, **options}
    direct, cached = make_set(folder, **given), make_set(folder, cache_dir=tmp_path / "cache", **given)
    cached.prepare([8, 32])
    stored = np.load(cached.cache.folder / "8.npy")
    assert stored.dtype == direct.levels.dtype
    assert cached.cache_bytes([8])[0] == stored.nbytes
    for position in range(8):
        for resolution in (8, 32):
            ours, theirs = cached.training(position, resolution).image, direct.training(position, resolution).image
            assert ours.dtype == theirs.dtype
            assert np.array_equal(ours, theirs)


def test_each_window_has_a_cache_of_its_own(tmp_path: Path, make_set: Any) -> None:
    folder = write_scans(tmp_path / "scans", 2)
    asked: list[dict[str, Any]] = [
        {},
        {"bits": 16},
        {"bits": 16, "window": [0, 9]},
        {"bits": "float", "window": [0, 9]},
    ]
    places = {make_set(folder, channels=1, cache_dir=tmp_path / "cache", **one).cache.folder for one in asked}
    assert len(places) == 4


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_squares_of_16_bits_are_those_of_8_bits(tmp_path: Path, make_set: Any, fit: str) -> None:
    """Of values that are whole 8-bit levels: only rounding differs."""
    for i in range(2):
        levels = scan(i, 64, 192, 50, 40).astype(np.uint8)  # far from the ends, where 8 bits are cut off halfway
        Image.fromarray(levels[..., 0]).save(_made(tmp_path / "eight") / f"{i}.png")
        write_values(tmp_path / "sixteen" / f"{i}.png", levels.astype(np.uint16) * 257)
    eight = make_set(tmp_path / "eight", channels=1, fit=fit, background="red").plain(0, 16).image
    sixteen = make_set(tmp_path / "sixteen", channels=1, bits=16, fit=fit, background="red").plain(0, 16).image
    assert np.abs(sixteen / 257 - eight).max() <= 1.5  # 8 bits are rounded three times


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def test_transforms_of_more_than_8_bits(tmp_path: Path, make_set: Any) -> None:
    folder = write_scans(tmp_path / "scans", 2)
    options = {"channels": 1, "bits": 16, "window": [0, 4095]}
    flipped = make_set(folder, augment=[{"name": "VerticalFlip", "p": 1.0}], **options)
    for position in range(2):
        plain = make_set(folder, **options).training(position, 32).image
        assert np.array_equal(flipped.training(position, 32).image, plain[::-1])
    turned_set = make_set(folder, augment=[{"name": "Affine", "rotate": [-25, 25], "p": 1.0}], **options)
    assert len(np.unique(turned_set.training(0, 32).image)) > 300


@pytest.mark.parametrize("name", ["Equalize", "Posterize"])
def test_transforms_that_know_8_bits_only_are_refused_by_name(tmp_path: Path, make_set: Any, name: str) -> None:
    folder = write_scans(tmp_path / "scans", 2)
    with pytest.raises(Exception, match=rf"^Transform {name} of domain real (fails on|leaves 256 grey levels)"):
        make_set(folder, channels=1, bits=16, augment=[{"name": name}])


def test_arrays_count_where_there_are_no_other_pictures(tmp_path: Path, make_set: Any) -> None:
    write_scans(tmp_path / "arrays", 3, ending=".npy")
    assert len(make_set(tmp_path / "arrays")) == 3
    write_scans(tmp_path / "arrays", 2, ending=".png")
    assert make_set(tmp_path / "arrays").names == ("00.png", "01.png")
