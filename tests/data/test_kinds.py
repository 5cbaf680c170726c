"""Which files are pictures: read, named, or skipped silently."""

import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from progcycle.data import kinds
from progcycle.data.decode import BrokenPicture, decode_picture
from progcycle.data.sets import find_layout
from progcycle.data.source import find_pictures
from progcycle.errors import UserError

FLAT = (200, 60, 20)
WRITERS = {
    "png apng": "PNG",
    "jpg jpeg jpe jfif mpo": "JPEG",
    "webp": "WEBP",
    "bmp": "BMP",
    "dib": "DIB",
    "gif": "GIF",
    "tif tiff": "TIFF",
    "ppm pgm pbm pnm": "PPM",
}


def fill(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def names(folder: Path) -> list[str]:
    return [entry.name for entry in find_pictures([str(folder)]).entries]


@pytest.fixture
def without_heif(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(kinds, "has_heif", lambda: False)
    kinds.readable_extensions.cache_clear()
    yield
    kinds.readable_extensions.cache_clear()


def test_every_ending_is_read_with_its_usual_content(tmp_path: Path) -> None:
    extra = {"jp2 j2k": "JPEG2000"} if features.check("jpg_2000") else {}
    extra |= {"avif": "AVIF"} if "avif" in features.modules and features.check("avif") else {}
    written = []
    for endings, kind in (WRITERS | extra).items():
        for end in endings.split():
            file = tmp_path / f"x.{end.upper()}"
            Image.new("RGB", (24, 24), FLAT).save(file, kind)
            written.append(file.name)
            pixels = decode_picture(file, channels=3, background="white")
            assert np.abs(pixels.astype(int) - FLAT).max() <= 4, end
    assert names(tmp_path) == sorted(written)
    assert {f".{end}" for ends in WRITERS for end in ends.split()} == kinds.PLAIN


def test_heic_is_read_where_its_package_is(tmp_path: Path) -> None:
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    for name in ("a.HEIC", "b.heif", "sent_as.jpg"):
        Image.new("RGB", (64, 48), FLAT).save(tmp_path / name, "HEIF", quality=95)
    assert names(tmp_path) == ["a.HEIC", "b.heif", "sent_as.jpg"]
    for name in names(tmp_path):
        pixels = decode_picture(tmp_path / name, channels=3, background="white")
        assert pixels.shape == (48, 64, 3)
        assert np.abs(pixels.astype(int) - FLAT).max() <= 4


@pytest.mark.usefixtures("without_heif")
def test_what_is_not_read_is_counted_and_named(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", *(f"{i}.HEIC" for i in range(12)), "x/clip.MOV", "x/clip.mov", "raw.CR2")
    fill(tmp_path, "notes.txt", "labels.json", ".DS_Store", "Thumbs.db", "desktop.ini", "README", "x/._y.heic")
    listing = find_pictures([str(tmp_path)])
    assert [entry.name for entry in listing.entries] == ["a.png"]
    assert listing.remarks() == (
        "15 files with other extensions are left out: HEIC 12 (pip install 'progcycle[heic]'), MOV 2, CR2 1",
    )
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("in/a.png", "in/b.heic", "in/c.txt", "__MACOSX/in/._b.heic"):
            archive.writestr(name, b"")
    remarks = find_pictures([str(tmp_path / "x.zip")]).remarks()
    assert remarks == ("1 file with another extension is left out: HEIC 1 (pip install 'progcycle[heic]')",)


def test_harmless_files_are_no_remark(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "notes.txt", "labels.json", "Thumbs.db", "README.md", "train.py", ".picasa.ini")
    assert find_pictures([str(tmp_path)]).remarks() == ()


@pytest.mark.usefixtures("without_heif")
def test_a_folder_without_pictures_says_what_it_holds(tmp_path: Path) -> None:
    fill(tmp_path, "a.heic", "b.heic", "c.txt", "README")
    words = (
        r"only other files: HEIC 2 \(pip install 'progcycle\[heic\]'\), without extension 1, TXT 1; files must end in"
    )
    with pytest.raises(UserError, match=words):
        find_pictures([str(tmp_path)])


@pytest.mark.usefixtures("without_heif")
def test_a_heic_file_of_any_name_is_told_apart_from_rubbish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("progcycle.data.decode._formats", lambda: ("PNG", "JPEG"))
    (tmp_path / "photo.jpg").write_bytes(b"\0\0\0\x1cftypheic" + bytes(40))
    with pytest.raises(BrokenPicture, match=r"photo.jpg: this is a picture in the HEIC format; pip install 'progcycle"):
        decode_picture(tmp_path / "photo.jpg", channels=3, background="white")


@pytest.mark.parametrize(
    "place",
    [
        "@eaDir/1.png/SYNOPHOTO_THUMB_M.png",
        "sub/@eaDir/x.jpg",
        "#recycle/gone.png",
        "$RECYCLE.BIN/S-1-5/$R1.png",
        "System Volume Information/x.png",
        ".Trash-1000/files/x.png",
        ".Trashes/x.png",
        "__MACOSX/x.png",
        "._x.png",
        "sub/._x.png",
        ".thumbnails/x.png",
        ".git/x.png",
        "@Recycle/x.png",
        "#snapshot/daily/x.png",
    ],
)
def test_folders_of_systems_are_left_out(tmp_path: Path, place: str) -> None:
    fill(tmp_path / "in", "good.png", "sub/good@eaDir.png", "@home/good.png", place)
    wanted = ["@home/good.png", "good.png", "sub/good@eaDir.png"]
    assert names(tmp_path / "in") == wanted
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for file in (tmp_path / "in").rglob("*.*"):
            archive.write(file, file.relative_to(tmp_path / "in"))
    assert names(tmp_path / "x.zip") == wanted


def test_a_systems_folder_is_no_domain(tmp_path: Path) -> None:
    fill(tmp_path, "train/summer/a.png", "train/winter/a.png", "train/@eaDir/a.png", "train/.cache/a.png")
    assert [Path(path).name for path in find_layout(str(tmp_path))[0]] == ["summer", "winter"]


# --- zip files of Windows -----------------------------------------------------------------------------------------


def test_backslashes_in_a_zip_are_folders(tmp_path: Path, make_set: Any) -> None:
    picture = Image.new("RGB", (8, 8), FLAT)
    picture.save(tmp_path / "a.png")
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("top\\trainA\\1.png", "top\\trainA\\sub\\2.png", "top\\trainB\\1.png", "top\\"):
            info = zipfile.ZipInfo("x")
            info.filename = name  # ZipInfo would repair it on Windows
            archive.writestr(info, (tmp_path / "a.png").read_bytes())
    first, second = find_layout(str(tmp_path / "x.zip"))[0]
    assert [path[len(str(tmp_path)) :] for path in (first, second)] == ["/x.zip/top/trainA", "/x.zip/top/trainB"]
    pictures = make_set([first])
    assert pictures.names == ("1.png", "sub/2.png")
    assert np.array_equal(pictures.plain(1, 8).image[0, 0], FLAT)


# --- folders that may not be read ---------------------------------------------------------------------------------


@pytest.fixture
def forbid(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``forbid(folder)``: nobody may list it, as with mode 000; the tests may run as root, who may."""
    real, closed = os.scandir, set[str]()

    def scandir(path: Any) -> Any:
        if str(path) in closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return lambda folder: closed.add(str(folder))


def test_a_folder_that_may_not_be_read_is_named_and_the_rest_goes_on(tmp_path: Path, forbid: Any) -> None:
    fill(tmp_path, "a.png", "lost+found/b.png", "sub/c.png", "sub/deep/d.png")
    forbid(tmp_path / "lost+found")
    assert names(tmp_path) == ["a.png", "sub/c.png", "sub/deep/d.png"]
    (remark,) = find_pictures([str(tmp_path)]).remarks()
    assert remark.startswith("warning: no permission to read a folder, so what is inside is left out: ")
    assert remark.endswith("/lost+found")
    forbid(tmp_path / "sub" / "deep")
    assert "no permission to read 2 folders" in find_pictures([str(tmp_path)]).remarks()[0]


def test_a_set_that_may_not_be_read_at_all_is_an_error(tmp_path: Path, forbid: Any) -> None:
    fill(tmp_path, "in/sub/a.png")
    forbid(tmp_path / "in" / "sub")
    with pytest.raises(UserError, match=r"in has no pictures in it, and .*in/sub may not be read"):
        find_pictures([str(tmp_path / "in")])
    forbid(tmp_path / "in")
    with pytest.raises(UserError, match=r"in: this folder cannot be read \(Permission denied\)"):
        find_pictures([str(tmp_path / "in")])


@pytest.mark.skipif(os.geteuid() != 0, reason="drops the rights of root")
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_modes_of_the_file_system(tmp_path: Path, mode: int) -> None:
    fill(tmp_path / "in", "a.png", "closed/b.png", "closed/c.png")
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == 0 and folder != Path("/tmp") and folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    (tmp_path / "in" / "closed").chmod(mode)
    os.seteuid(65534)
    try:
        listing = find_pictures([str(tmp_path / "in")])
    finally:
        os.seteuid(0)
        (tmp_path / "in" / "closed").chmod(0o755)
    assert [entry.name for entry in listing.entries] == ["a.png"]
    assert listing.unreadable == [str(tmp_path / "in" / "closed")]
