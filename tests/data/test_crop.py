"""Crops of big pictures: a region that is read equals that of the whole picture, and every place is as likely."""

import io
import pickle
import zipfile
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
import tifffile
from picture_folders import picture
from PIL import Image

from progcycle.data import BrokenPicture, PictureSet, decode_picture
from progcycle.data.crop import Crop
from progcycle.data.decode import _PillowReader
from progcycle.data.levels import DEEP, PLAIN, Levels
from progcycle.data.region import Region, as_stored, shortened_jpeg
from progcycle.data.values import turned
from progcycle.errors import UserError
from progcycle.recipe import Pictures

HEIGHT, WIDTH = 150, 211
PLACES = (Region(0, 0, 32, 32), Region(61, 100, 32, 40), Region(118, 179, 32, 32), Region(0, 0, HEIGHT, WIDTH))


def smooth(channels: int = 3, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A picture in which JPEGs have all kinds of coefficients.  # [H, W, C]"""
    return cv2.GaussianBlur(picture(3, width, height, channels), (0, 0), 2).reshape(height, width, channels)


def region_and_whole(file: Path | io.BytesIO, region: Region, **options: object) -> tuple[np.ndarray, np.ndarray]:
    """A region as it is read, and that of the whole picture."""
    arguments = {"channels": 3, "background": "white", **options}
    part = decode_picture(file, choose=lambda height, width: region, **arguments)
    if not isinstance(file, Path):
        file.seek(0)
    return part, decode_picture(file, **arguments)[region.slices]


JPEGS = [
    {},
    {"subsampling": 0},
    {"subsampling": 1},
    {"progressive": True},
    {"progressive": True, "subsampling": 2},
    {"restart_marker_rows": 1},
    {"restart_marker_blocks": 3},
    {"optimize": True, "comment": b"\xff\xc0" * 40},
]


@pytest.mark.parametrize("how", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("min_side", [None, 37])
def test_a_region_of_a_jpeg_is_that_of_the_whole_to_the_bit(tmp_path, how, mode, min_side):
    file = tmp_path / "x.jpg"
    scale = 4 if min_side else 1
    Image.fromarray(smooth(3, HEIGHT * scale, WIDTH * scale)).convert(mode).save(file, quality=80, **how)
    for region in PLACES:
        part, whole = region_and_whole(file, region, min_side=min_side and min_side * 4)
        assert np.array_equal(part, whole)
        assert part.shape[:2] == region[2:]


@pytest.mark.parametrize("min_side", [None, 75])
def test_what_lies_below_a_region_of_a_jpeg_is_not_decoded(tmp_path, monkeypatch, min_side):
    """And a JPEG is too large by the rows that are decoded, not by those that are not."""
    sizes = []
    load = _PillowReader._load
    monkeypatch.setattr(
        _PillowReader, "_load", lambda self, image, *rest: sizes.append(image.size) or load(self, image, *rest)
    )
    file = tmp_path / "x.jpg"
    Image.fromarray(smooth(3, 600, 400)).save(file)
    options = {"channels": 3, "background": "white", "min_side": min_side and 2 * min_side, "max_pixels": 400 * 200}
    decode_picture(file, choose=lambda height, width: Region(30, 0, 32, 32), **options)
    assert sizes[0][0] == (200 if min_side else 400)
    assert sizes[0][1] in range(62, 62 + 2 * 32 + 1)
    with pytest.raises(BrokenPicture, match=r"400x6\d\d pixels|400x5\d\d pixels"):
        decode_picture(
            file, choose=lambda height, width: Region(height - 32, 0, 32, 32), **options | {"min_side": None}
        )


def test_headers_of_jpegs_that_are_left_as_they_are():
    stream = io.BytesIO()
    Image.fromarray(smooth()).save(stream, "JPEG")
    content = stream.getvalue()
    assert shortened_jpeg(content, 130) == content, "nothing would be saved"
    short = shortened_jpeg(content, 10)
    assert len(short) == len(content)
    assert sum(a != b for a, b in zip(short, content, strict=True)) == 1, "the height alone"
    for damaged in (
        content[:2],
        content[:30],
        content[:2] + b"\xff\xda" + content[4:],
        b"\xff\xd8\xff" + b"\xff" * 40,
        b"",
    ):
        assert shortened_jpeg(damaged, 10) == damaged


def kinds(folder: Path) -> dict[str, Path]:
    """One picture in many formats and layouts of 8 bits."""
    pixels, files = picture(3, WIDTH, HEIGHT), {}
    for name in ("png", "webp", "bmp", "gif", "ppm", "tif"):
        files[name] = folder / f"x.{name}"
        Image.fromarray(pixels).save(files[name], **({"lossless": True} if name == "webp" else {}))
    tiles = {"tile": (32, 48)}
    for name, options in {
        "strips": {"rowsperstrip": 7},
        "one strip": {"rowsperstrip": HEIGHT},
        "tiles": tiles,
        "deflate": {**tiles, "compression": "zlib"},
        "predictor": {**tiles, "compression": "zlib", "predictor": True},
        "planes": {**tiles, "planarconfig": "separate"},
        "strips of planes": {"rowsperstrip": 7, "planarconfig": "separate"},
    }.items():
        files[name] = folder / f"{name}.tif"
        tifffile.imwrite(
            files[name], pixels.transpose(2, 0, 1) if "planes" in name else pixels, photometric="rgb", **options
        )
    files["lzw"] = folder / "lzw.tif"
    Image.fromarray(pixels).save(files["lzw"], compression="tiff_lzw")
    for name, array in {
        "c": pixels,
        "fortran": np.asfortranarray(pixels),
        "channels first": pixels.transpose(2, 0, 1),
    }.items():
        files[name] = folder / f"{name}.npy"
        np.save(files[name], array)
    return files


def test_a_region_of_any_file_is_that_of_the_whole(tmp_path):
    for name, file in kinds(tmp_path).items():
        for region in PLACES:
            for channels in (3, 1):
                part, whole = region_and_whole(file, region, channels=channels)
                assert np.array_equal(part, whole), (name, region)
                assert name == "gif" or channels == 1 or np.array_equal(part, picture(3, WIDTH, HEIGHT)[region.slices])


@pytest.mark.parametrize("dtype", ["uint16", ">u2", "int16", "float32", ">f4"])
def test_a_region_of_a_deep_file_is_that_of_the_whole(tmp_path, dtype):
    values = np.random.default_rng(0).integers(0, 4000, (HEIGHT, WIDTH, 1)).astype(dtype)
    levels = Levels("float" if values.dtype.kind == "f" else 16, 0, 4000)
    files = [tmp_path / "t.tif", tmp_path / "s.tif", tmp_path / "x.npy"]
    order = {"byteorder": ">" if dtype[0] == ">" else "<"}
    tifffile.imwrite(files[0], values[..., 0], tile=(32, 48), compression="zlib", **order)
    tifffile.imwrite(files[1], values[..., 0], rowsperstrip=9, **order)
    np.save(files[2], values[..., 0])
    if dtype == "uint16":
        files += [tmp_path / "x.png"]
        cv2.imwrite(str(files[-1]), values)
    for file in files:
        for region in PLACES:
            part, whole = region_and_whole(file, region, channels=1, levels=levels, values=True)
            assert np.array_equal(part, whole)
            assert np.array_equal(part, values[region.slices])
            again = region_and_whole(io.BytesIO(file.read_bytes()), region, channels=1, levels=levels)[0]
            assert np.array_equal(again, levels.pixels(values[region.slices])), "as from a store"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "16.tif", "16.png"])
def test_a_region_is_one_of_the_upright_picture(tmp_path, orientation, ending):
    file, deep = tmp_path / f"x.{ending}", ending.startswith("16")
    exif = Image.Exif()
    exif[274] = orientation
    grey = picture(5, WIDTH, HEIGHT, 1)
    if ending == "16.tif":
        tifffile.imwrite(
            file, grey[..., 0] * np.uint16(200), tile=(32, 48), extratags=[(274, "H", 1, orientation, True)]
        )
    else:
        pixels = Image.fromarray(grey[..., 0] * np.uint16(200)) if deep else Image.fromarray(picture(5, WIDTH, HEIGHT))
        pixels.save(file, exif=exif, **({"quality": 95} if ending == "jpg" else {}))
    upright = (WIDTH, HEIGHT) if orientation > 4 else (HEIGHT, WIDTH)
    for region in (Region(3, 5, 60, 40), Region(upright[0] - 32, upright[1] - 32, 32, 32)):
        part, whole = region_and_whole(file, region, channels=1 if deep else 3, levels=DEEP if deep else PLAIN)
        assert part.shape[:2] == region[2:]
        assert np.array_equal(part, whole)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_where_a_region_is_stored(orientation):
    stored = np.arange(7 * 11).reshape(7, 11, 1)
    upright = turned(stored, orientation)
    region = Region(1, 2, 4, 3)
    there = as_stored(region, *upright.shape[:2], orientation)
    assert np.array_equal(turned(stored[there.slices], orientation), upright[region.slices])


def test_only_the_tiles_under_a_region_are_read(tmp_path):
    """All others are damaged, so that the picture as a whole cannot be read."""
    file, pixels = tmp_path / "x.tif", picture(3, 256, 256)
    tifffile.imwrite(file, pixels, photometric="rgb", tile=(64, 64), compression="zlib")
    with tifffile.TiffFile(file) as tiff:
        places = list(zip(tiff.pages[0].dataoffsets, tiff.pages[0].databytecounts, strict=True))
    content = bytearray(file.read_bytes())
    for index, (offset, size) in enumerate(places):
        if index not in (5, 6, 9, 10):  # the four in the middle
            content[offset : offset + size] = bytes(size)
    file.write_bytes(content)
    part = decode_picture(file, channels=3, background="white", choose=lambda h, w: Region(64, 64, 128, 128))
    assert np.array_equal(part, pixels[64:192, 64:192])
    for region in (Region(63, 64, 32, 32), Region(0, 0, 256, 256)):
        with pytest.raises(BrokenPicture, match="cannot be read"):
            decode_picture(file, channels=3, background="white", choose=lambda h, w, region=region: region)


def test_arrays_are_mapped_and_not_read(tmp_path):
    """An array of 6 GB of zeros, which takes no room on the disk, and of which 32 px are something else."""
    file, shape = tmp_path / "x.npy", (40_000, 50_000, 3)
    written = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    written[30_000:30_032, 40_000:40_032] = picture(1, 32, 32)
    written.flush()
    options = {"channels": 3, "background": "white"}
    part = decode_picture(file, choose=lambda h, w: Region(30_000, 40_000, 32, 32), **options)
    assert np.array_equal(part, picture(1, 32, 32))
    with pytest.raises(BrokenPicture):
        decode_picture(file, **options)


@pytest.mark.parametrize("kind", ["truncated", "longer", "bytes", "offsets", "huge", "no tiles"])
@pytest.mark.parametrize("ending", ["jpg", "tif", "npy", "png"])
def test_damaged_files_are_one_sentence(tmp_path, kind, ending):
    pixels, file = picture(3, 256, 256), tmp_path / f"x.{ending}"
    if ending == "tif":
        tifffile.imwrite(file, pixels, photometric="rgb", tile=(64, 64))
    elif ending == "npy":
        np.save(file, pixels)
    else:
        Image.fromarray(pixels).save(file)
    content = bytearray(file.read_bytes())
    if kind in ("truncated", "longer"):
        content = content[: len(content) * 2 // 3] if kind == "truncated" else content + bytes(1000)
    elif kind == "bytes":
        content[len(content) // 2 :] = np.random.default_rng(0).bytes(len(content) - len(content) // 2)
    elif ending == "npy":
        content = content.replace(b"256, 256, 3", b"956, 956, 3")
    elif ending == "tif":
        with tifffile.TiffFile(file) as tiff:
            tags = tiff.pages[0].tags
            tag = tags[{"offsets": 324, "huge": 257, "no tiles": 323}[kind]]
        size = len(content) - tag.valueoffset if kind == "offsets" else 2
        content[tag.valueoffset : tag.valueoffset + min(size, 64)] = b"\xff" * min(size, 64)
    elif ending == "jpg":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 2] = b"\xff\xff"
    else:
        content[16:24] = b"\0\0\xf0\0\0\0\xf0\0"
    file.write_bytes(content)
    try:
        part = decode_picture(file, channels=3, background="white", choose=lambda h, w: Region(h - 32, w - 32, 32, 32))
    except UserError as error:
        found = str(error)
    else:  # what came through the damage
        found = f"{file} {part.shape}"
    assert found.startswith(str(file))
    assert "\n" not in found


# --- crops ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def coordinates(tmp_path):
    """A picture whose red and green tell the row and the column."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    Image.fromarray(np.stack([rows, columns, rows * 0 + 7], axis=2).astype(np.uint8)).save(tmp_path / "x.png")
    return tmp_path


def test_crops_of_native_pictures_are_parts_of_them(coordinates, make_set):
    pictures = make_set(coordinates, load_resolution="native")
    rows, columns = np.mgrid[:32, :32]
    for position in range(50):
        image = pictures.training(position, 32).image
        assert np.array_equal(image[..., 0], image[0, 0, 0] + rows)
        assert np.array_equal(image[..., 1], image[0, 0, 1] + columns)


def test_every_place_is_as_likely(coordinates, make_set):
    """Chi squared of the first row and of the first column, each over all places; 99.99 % lie below the bound."""
    pictures = make_set(coordinates, load_resolution="native", resolution=128)
    count = 1000
    first = np.array([pictures.training(position, 128).image[0, 0, :2] for position in range(count)], int)
    for corners, room in zip(first.T, (HEIGHT - 128, WIDTH - 128), strict=True):
        seen = np.bincount(corners, minlength=room + 1)
        assert len(seen) == room + 1
        expected = count / (room + 1)
        chi = ((seen - expected) ** 2 / expected).sum()
        assert chi < room + 4.5 * (2 * room) ** 0.5
    assert abs(np.corrcoef(first.T)[0, 1]) < 0.15
    upper = first[:, 0] < (HEIGHT - 128) / 2
    assert abs(upper[1:][upper[:-1]].mean() - 0.5) < 0.1, "places of neighbours do not depend on each other"


@pytest.mark.parametrize("load", ["native", 100, None, 300])
def test_a_stage_shows_the_same_part_reduced(tmp_path, make_set, load):
    for i in range(3):
        Image.fromarray(picture(i, WIDTH, HEIGHT + i)).save(tmp_path / f"{i}.png")
    options = {"load_resolution": load, "fit": "random_crop", "mirror": True}
    pictures = make_set(tmp_path, **options)
    for position in range(6):
        full = pictures.training(position, 32).image
        for resolution in (16, 4):
            blocks = full.reshape(resolution, 32 // resolution, resolution, 32 // resolution, 3).astype(float)
            small = pictures.training(position, resolution).image
            assert np.abs(blocks.mean(axis=(1, 3)) - small).max() <= 0.5 + 1e-6


@pytest.mark.parametrize("load", [100, 64, 32, 333])
@pytest.mark.parametrize("kind", ["8", "16", "float", "5 channels", "jpg"])
def test_crops_of_resized_pictures_are_those_of_the_whole_resized(tmp_path, load, kind):
    """The whole is resized by Pillow's filters channel by channel; rounding may differ by a level."""
    channels = 5 if kind == "5 channels" else 3 if kind in ("8", "jpg") else 1
    values = smooth(channels, 4 * HEIGHT, 4 * WIDTH) if kind == "jpg" else smooth(channels)
    file = tmp_path / ("x.jpg" if kind == "jpg" else "x.npy")
    if kind == "jpg":
        Image.fromarray(values).save(file, quality=95)
    else:
        np.save(
            file, values.astype({"16": np.uint16, "float": np.float32}.get(kind, np.uint8)) * (1 if channels > 1 else 2)
        )
    window = {} if channels > 1 else {"bits": 16 if kind == "16" else "float", "window": [0, 510]}
    options = Pictures.model_validate({"load_resolution": load, "fit": "random_crop", "channels": channels, **window})
    pictures = PictureSet("real", options, (str(tmp_path),), resolution=32, seed=0)
    loaded = decode_picture(file, channels=channels, background="white", levels=Levels.of(options), min_side=2 * load)
    if is_deep := loaded.dtype != np.uint8:
        loaded = loaded.astype(np.float32)
    height, width = loaded.shape[:2]
    size = (round(width * load / height), load)
    resample = Image.Resampling.LANCZOS if load < height else Image.Resampling.BICUBIC
    planes = np.ascontiguousarray(loaded.transpose(2, 0, 1))
    whole = np.stack([Image.fromarray(plane).resize(size, resample) for plane in planes], axis=2).astype(float)
    if is_deep:
        whole = whole.clip(-1, 1) if kind == "float" else whole.clip(0, 65535).round()
    for at in ((0.0, 0.0), (0.5, 0.25), (0.9999, 0.9999)):
        y, x = (int(share * (side - 32 + 1)) for share, side in zip(at, size[::-1], strict=True))
        image = pictures.reader.crop(0, Crop("x", 32, 32, load, at))
        assert image.shape == (32, 32, channels)
        assert np.abs(whole[y : y + 32, x : x + 32] - image).max() <= (1e-5 if kind == "float" else 1)


def test_crops_are_the_same_from_zip_files_and_stores_and_copies_of_the_set(tmp_path, make_set):
    from progcycle.commands.cli import main

    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(smooth(3, HEIGHT + i, WIDTH - i)).save(folder / f"{i}.{'jpg' if i % 2 else 'png'}")
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    assert main(["prepare", str(folder), str(tmp_path / "store"), "--resolution", "64", "--quiet"]) == 0
    options = {"load_resolution": "native", "resolution": 64}
    pictures = make_set(folder, **options)
    others = [make_set(tmp_path / "x.zip", **options), make_set(tmp_path / "store", **options)]
    others.append(pickle.loads(pickle.dumps(pictures)))
    for position in range(12):
        image = pictures.training(position, 64).image
        assert all(np.array_equal(other.training(position, 64).image, image) for other in others)


def test_no_cache_is_built_for_crops(folder, make_set, tmp_path):
    pictures = make_set(folder, load_resolution="native", cache_dir=tmp_path / "cache")
    pictures.prepare([8, 32])
    pictures.training(0, 8)
    assert pictures.cache_bytes([8, 32]) == (0, 0)
    assert not (tmp_path / "cache").exists()


def test_pictures_that_are_too_small_are_named_and_replaced(folder, make_set):
    Image.fromarray(picture(9, 31, 90)).save(folder / "02.png")
    pictures = make_set(folder, load_resolution="native")
    samples = [pictures.training(position, 32) for position in range(7)]
    (sentence,) = {line for sample in samples for line in sample.broken}
    assert sentence == (
        "02.png: this picture of 31x90 px is smaller than the crops of 32x32 px; take it out, or lower the resolution."
    )
    assert all(sample.name != "02.png" for sample in samples)
    with pytest.raises(UserError, match=r"at least 7 of 7 pictures are broken.*smaller than the crops of 64x64 px"):
        make_set(folder, load_resolution="native", resolution=64, max_broken=0.99).training(0, 64)


def test_a_damaged_tile_matters_only_where_it_lies(tmp_path, make_set):
    """What a position shows does not depend on what was read before, as it must not for workers and resuming."""
    for i in range(2):
        tifffile.imwrite(
            tmp_path / f"{i}.tif", picture(i, 256, 256), photometric="rgb", tile=(64, 64), compression="zlib"
        )
    file = tmp_path / "0.tif"
    with tifffile.TiffFile(file) as tiff:
        page = tiff.pages[0]
        offset, size = page.dataoffsets[5], page.databytecounts[5]
    content = bytearray(file.read_bytes())
    content[offset : offset + size] = bytes(size)
    file.write_bytes(content)
    fresh = [make_set(tmp_path, load_resolution="native").training(position, 32) for position in range(24)]
    one = make_set(tmp_path, load_resolution="native")
    later = [one.training(position, 32) for position in reversed(range(24))][::-1]
    assert {sample.name for sample in fresh if sample.broken} == {"1.tif"}
    assert {sample.name for sample in fresh} == {"0.tif", "1.tif"}
    for first, second in zip(fresh, later, strict=True):
        assert (first.name, bool(first.broken)) == (second.name, bool(second.broken))
        assert np.array_equal(first.image, second.image)


@pytest.mark.filterwarnings("ignore")
def test_crops_of_slices(tmp_path, make_set):
    values = np.random.default_rng(0).integers(1, 4000, (90, 80, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "x.nii")
    options = {"load_resolution": "native", "channels": 1, "bits": 16, "window": [0, 4000]}
    pictures = make_set(tmp_path, **options)
    image = pictures.training(0, 32).image[..., 0]
    expected = Levels(16, 0, 4000).pixels(values)
    windows = np.lib.stride_tricks.sliding_window_view(expected, (32, 32), (0, 1))
    assert (windows == image).all(axis=(-2, -1)).sum() == 1


def test_the_middle_of_a_picture():
    for height, width, top, left in ((100, 50, 34, 9), (33, 32, 0, 0), (34, 35, 1, 1)):
        assert Crop("x", 32, 32).region(height, width) == Region(top, left, 32, 32)
