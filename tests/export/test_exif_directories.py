"""Exif and GPS directories appended to TIFFs that tifffile writes: read back by tifffile and Pillow, types and all."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from progcycle.export.exif_directories import append_directories, read_directories
from progcycle.export.metadata import Metadata

EXIF, GPS, INTEROPERABILITY, COMMENT, BIAS = 0x8769, 0x8825, 0xA005, 0x9286, 0x9204
ASCII, UNDEFINED, SIGNED_RATIONAL = 2, 7, 10


def block() -> bytes:
    image, exif = Image.new("RGB", (20, 30)), Image.Exif()
    exif.get_ifd(EXIF).update({0x829A: IFDRational(1, 60), BIAS: IFDRational(-1, 3), 0x8827: 400})
    exif.get_ifd(EXIF).update({COMMENT: b"ASCII\0\0\0a boat", INTEROPERABILITY: {1: "R98"}})
    exif.get_ifd(GPS).update({0: b"\2\3\0\0", 1: "N", 2: (IFDRational(52), IFDRational(31), IFDRational(7, 2))})
    image.info["exif"] = exif.tobytes()
    metadata = Metadata()
    metadata(image)
    assert metadata.exif is not None
    return metadata.exif


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
def test_a_tiff_holds_them(tmp_path: Path, bigtiff: bool, byteorder: str, tile: tuple[int, int] | None) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (30, 21)).astype(np.uint16)
    path = tmp_path / "x.tif"
    options = {"bigtiff": bigtiff, "byteorder": byteorder, "tile": tile, "compression": "zlib", "metadata": None}
    tifffile.imwrite(path, values, description="A boat", **options)  # type: ignore[arg-type]
    with open(path, "r+b") as stream:
        append_directories(stream, block())
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
        page = file.pages[0]
        assert np.array_equal(page.asarray(), values)
        assert (page.is_tiled, page.tags[270].value) == (tile is not None, "A boat")
        assert list(page.tags.keys()) == sorted(page.tags.keys())
        taken, place = page.tags[EXIF].value, page.tags[GPS].value
    assert taken["ExposureBiasValue"] == (-1, 3)
    assert place["GPSLatitude"] == (52, 1, 31, 1, 7, 2)
    if bigtiff and byteorder == ">":
        return  # of these Pillow reads none
    with Image.open(path) as image:
        exif = image.getexif()
        assert dict(exif.get_ifd(GPS)) == {0: b"\2\3\0\0", 1: "N", 2: (52, 31, 3.5)}
        inner = exif.get_ifd(EXIF)
        assert (inner[0x8827], inner[COMMENT], inner[0x829A]) == (400, b"ASCII\0\0\0a boat", IFDRational(1, 60))
        assert exif.get_ifd(INTEROPERABILITY) == {1: "R98"}


def test_types_are_those_of_the_standard() -> None:
    inner = read_directories(block())[EXIF]
    assert isinstance(inner, dict)
    assert [getattr(inner[tag], "kind", None) for tag in (COMMENT, BIAS)] == [UNDEFINED, SIGNED_RATIONAL]


def test_of_a_damaged_block_nothing_is_written() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((4, 4), np.uint16))
    before, whole = file.getvalue(), block()
    endless = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, EXIF, 4, 1, 8) + bytes(4)  # it points to itself
    for damaged in (b"", b"Exif\0\0", b"nothing", whole[:20], whole[:60], b"Exif\0\0II*\0\xff\xff\xff\xff", endless):
        append_directories(file, damaged)
        assert file.getvalue() == before
