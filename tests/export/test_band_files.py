"""Files written band by band, against the same values written at once and read by other libraries."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from progcycle.data.decode import decode_picture
from progcycle.data.levels import DEEP, PLAIN, Levels
from progcycle.errors import UserError
from progcycle.export.band_files import write_bands
from progcycle.export.metadata import Metadata
from progcycle.export.value_files import write_values

HEIGHT, WIDTH = 333, 317  # more than a tile of a TIFF, and no multiple of a block of a JPEG
i, j = np.mgrid[:HEIGHT, :WIDTH]
RAMPS = np.stack([i, j, i + j], axis=2) // 3 + np.random.default_rng(0).integers(0, 9, (HEIGHT, WIDTH, 3))
COLOUR = RAMPS.astype(np.uint8)
DEEP_COLOUR = (RAMPS * 257 + 7).astype(np.uint16)


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Metadata:
    file = tmp_path_factory.mktemp("metadata") / "a.png"
    exif = Image.Exif()
    exif[0x010E] = "what it shows"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(COLOUR).save(file, icc_profile=profile, exif=exif, dpi=(300, 300))
    found = Metadata()
    with Image.open(file) as image:
        found(image)
    assert found.icc
    assert found.exif
    return found


def bands(values: np.ndarray, rows: int = 37) -> Iterator[np.ndarray]:
    for first in range(0, len(values), rows):
        yield values[first : first + rows]


def opacity(values: np.ndarray) -> np.ndarray:
    return np.concatenate([values, values[..., ::-1][..., :1]], axis=2)


CASES = [
    (COLOUR, PLAIN, ".png .tif .jpg .jpeg .ppm .webp .bmp .npy"),
    (COLOUR[..., :1], PLAIN, ".png .tiff .jpg .pgm .npy"),
    (opacity(COLOUR), PLAIN, ".png .tif"),
    (COLOUR[..., :2], PLAIN, ".png .tif"),
    (np.concatenate([COLOUR, COLOUR[..., :2]], axis=2), PLAIN, ".tif .npy"),
    (DEEP_COLOUR, DEEP, ".png .tif .npy"),
    (DEEP_COLOUR[..., :1], DEEP, ".png .tif"),
    (opacity(DEEP_COLOUR), DEEP, ".png"),
    (RAMPS[..., :1].astype(np.int16) - 99, Levels(16, -99, 999), ".tif .npy"),
    (RAMPS.astype(np.float32) / 333, Levels("float", 0, 1), ".tif .npy"),
]


@pytest.mark.parametrize(("values", "levels", "endings"), CASES)
def test_they_hold_what_is_written_at_once(
    values: np.ndarray, levels: Levels, endings: str, metadata: Metadata, tmp_path: Path
) -> None:
    for ending in endings.split():
        once, banded = tmp_path / f"once{ending}", tmp_path / f"banded{ending}"
        write_values(values, metadata, "white", once)
        write_bands(bands(values), HEIGHT, WIDTH, metadata, "white", banded)
        channels = values.shape[2]
        found = [
            decode_picture(file, channels=channels, background="white", levels=levels, values=True)
            for file in (once, banded)
        ]
        np.testing.assert_array_equal(*found)
        if ending not in (".jpg", ".jpeg"):
            np.testing.assert_array_equal(found[1], values)
        assert banded.stat().st_size < 1.15 * once.stat().st_size
        if ending in (".npy", ".ppm", ".pgm") or channels == 5 or levels.bits == "float":
            continue
        kept = []
        for file in (once, banded):
            with Image.open(file) as image:
                dots = image.info.get("dpi")
                what = image.getexif().get(0x010E) or image.info.get("Description")
                kept.append((image.info.get("icc_profile"), what, dots and tuple(round(float(d), 1) for d in dots)))
        assert kept[0] == kept[1]


def test_other_libraries_read_them(metadata: Metadata, tmp_path: Path) -> None:
    for values, name in ((COLOUR, "a"), (DEEP_COLOUR, "b")):
        for ending in ("png", "tif"):
            write_bands(bands(values, 100), HEIGHT, WIDTH, metadata, "white", tmp_path / f"{name}.{ending}")
        assert np.array_equal(cv2.imread(str(tmp_path / f"{name}.png"), cv2.IMREAD_UNCHANGED)[..., ::-1], values)
        assert np.array_equal(tifffile.imread(tmp_path / f"{name}.tif"), values)
    write_bands(bands(COLOUR), HEIGHT, WIDTH, metadata, "white", tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        pixels = np.asarray(image).astype(int)
    assert np.abs(cv2.imread(str(tmp_path / "a.jpg"))[..., ::-1] - pixels).max() <= 2
    assert np.abs(pixels - COLOUR).max() < 20


def test_a_wide_jpeg_has_many_restarts(metadata: Metadata, tmp_path: Path) -> None:
    """Few rows of blocks between two restarts, so that their numbers wrap around from 7 to 0."""
    values = np.tile(COLOUR[:200, :, :1], (1, 70, 1))[:, :20_001]
    write_bands(bands(values, 50), *values.shape[:2], Metadata(), "white", tmp_path / "wide.jpg")
    assert (tmp_path / "wide.jpg").read_bytes().count(b"\xff\xd0") >= 1
    write_values(values, Metadata(), "white", tmp_path / "once.jpg")
    with Image.open(tmp_path / "wide.jpg") as image, Image.open(tmp_path / "once.jpg") as expected:
        assert np.array_equal(np.asarray(image), np.asarray(expected))


def test_a_format_that_is_too_small_is_refused_and_nothing_is_left(metadata: Metadata, tmp_path: Path) -> None:
    values = np.zeros((2, 65_501, 1), np.uint8)
    with pytest.raises(UserError, match="A JPEG holds up to 65500 px a side, and this picture has 65501x2"):
        write_bands(bands(values), 2, 65_501, Metadata(), "white", tmp_path / "a.jpg")
    assert list(tmp_path.iterdir()) == []
