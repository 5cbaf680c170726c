"""Finding pictures in folders and zip files."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from picture_folders import pack, write_folder

from progcycle.data.source import find_pictures, list_pictures, subfolders
from progcycle.errors import UserError


def names(*paths: Path | str) -> list[str]:
    return [entry.name for entry in list_pictures([str(path) for path in paths])]


def test_folders_are_searched_recursively_in_name_order(tmp_path):
    wanted = ["B.JPG", "a.png", "a/z.tiff", "b/c/d.webp"]
    for name in [*wanted, ".hidden.png", ".git/x.png", "__MACOSX/a.png", "notes.txt", "png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.png").mkdir()
    assert names(tmp_path) == wanted


def test_order_does_not_depend_on_the_file_system(tmp_path, monkeypatch):
    write_folder(tmp_path, 9)
    (tmp_path / "caf\u0065\u0301.png").touch()
    expected = names(tmp_path)
    assert "caf\u00e9.png" in expected
    real = os.scandir

    class Reversed:
        def __init__(self, folder):
            self.entries = list(real(folder))[::-1]

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Reversed)
    assert names(tmp_path) == expected


def test_links_in_a_circle_end(tmp_path):
    write_folder(tmp_path / "real", 2)
    (tmp_path / "real" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "linked.png").symlink_to(tmp_path / "real" / "00.png")
    assert names(tmp_path) == ["linked.png", "real/00.png", "real/more/01.png"]


def test_a_linked_folder_counts(tmp_path):
    write_folder(tmp_path / "elsewhere", 2)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert names(tmp_path / "data") == ["link/00.png", "link/more/01.png"]


def test_zip_holds_the_same_names(folder, tmp_path):
    file = pack(folder, tmp_path / "x.zip")
    assert names(file) == names(folder)
    inside = pack(folder, tmp_path / "y.zip", "top/")
    assert names(inside) == [f"top/{name}" for name in names(folder)]
    assert names(f"{inside}/top") == names(folder)
    assert names(f"{inside}/top/more") == names(folder / "more")
    assert subfolders(str(inside)) == ("top",)
    assert subfolders(f"{inside}/top") == ("more",) == subfolders(str(folder))


def test_names_in_zips_are_just_names(tmp_path, make_set, monkeypatch):
    write_folder(tmp_path / "in", 2)
    content = (tmp_path / "in" / "00.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("/etc/passwd.png", "../up.png", "__MACOSX/a.png", ".b/c.png", "./d.png", "e.txt"):
            archive.writestr(name, content)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    pictures = make_set(tmp_path / "x.zip")
    assert pictures.names == ("../up.png", "./d.png", "/etc/passwd.png")
    assert pictures.plain(0, 32).image.shape == (32, 32, 3)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("options", [{}, {"load_resolution": 35, "mirror": True}])
def test_zip_equals_folder(folder, tmp_path, make_set, options):
    one, two = make_set(folder, **options), make_set(pack(folder, tmp_path / "x.zip"), **options)
    for position in range(9):
        a, b = one.training(position, 16), two.training(position, 16)
        assert a.name == b.name
        assert np.array_equal(a.image, b.image)


def test_several_paths_are_told_apart(tmp_path):
    write_folder(tmp_path / "x" / "cats", 1)
    write_folder(tmp_path / "dogs", 1)
    write_folder(tmp_path / "y" / "cats", 1)
    assert names(tmp_path / "x" / "cats", tmp_path / "dogs") == ["cats/00.png", "dogs/00.png"]
    both = names(tmp_path / "x" / "cats", tmp_path / "y" / "cats")
    assert both == ["cats-1/00.png", "cats-2/00.png"]


def test_a_missing_folder_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        names("photos/train")
    assert str(tmp_path / "photos" / "train") in str(caught.value)
    assert "check the path" in str(caught.value)


def test_the_readme_of_a_data_set_is_pointed_to(tmp_path):
    (tmp_path / "datasets" / "zebras").mkdir(parents=True)
    readme = tmp_path / "datasets" / "zebras" / "README.md"
    readme.touch()
    with pytest.raises(UserError) as caught:
        names(tmp_path / "datasets" / "zebras" / "data" / "trainA")
    assert f"{readme} explains how to get the data" in str(caught.value)


def test_of_a_set_without_a_folder_the_readme_of_all_sets_is_named(tmp_path):
    """Such as datasets/kai_128, which is drawn by the script of another folder."""
    readme = tmp_path / "datasets" / "README.md"
    readme.parent.mkdir()
    readme.touch()
    with pytest.raises(UserError) as caught:
        names(tmp_path / "datasets" / "kai_128" / "trainA")
    assert f"{readme} explains how to get the data" in str(caught.value)


def test_places_without_pictures(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty has no pictures in it; files must end in one of: apng avif bmp"):
        names(tmp_path / "empty")
    with pytest.raises(UserError, match=r"00\.png is neither a folder nor a readable zip file"):
        names(folder / "00.png")
    with pytest.raises(UserError, match=r"x\.zip/nothing has no pictures"):
        names(f"{pack(folder, tmp_path / 'x.zip')}/nothing")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04", "is a zip file without its end, an incomplete download; download it again."),
        (b"\n\n<!DOCTYPE html><html><title>Google Drive - Quota exceeded</title>", "is a web page and not the file"),
        (b"\xef\xbb\xbf<HTML><head>", "is a web page and not the file"),
        (b"PAR1", "is a Parquet file; train from a store that progcycle prepare makes of it."),
        (b"\x1f\x8b\x08", "is compressed with gzip; unpack it, and give the folder."),
        (b"\0" * 257 + b"ustar", "is a tar file; unpack it, or train from a store"),
        (b"version https://git-lfs.github.com/spec/v1", "is the stand-in of a file that Git LFS has not fetched"),
        (b"", "is neither a folder nor a readable zip file"),
    ],
)
def test_files_in_place_of_a_zip_file_are_called_what_they_are(tmp_path, content, words):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(UserError) as caught:
        names(tmp_path / "x.zip")
    assert f"x.zip {words}" in str(caught.value)


def test_what_prepare_reads_packed_is_sent_there(tmp_path):
    for name in ("cifar-10-python.tar.gz", "train-images-idx3-ubyte.gz"):
        (tmp_path / name).write_bytes(b"\x1f\x8b\x08")
        with pytest.raises(UserError, match="is compressed with gzip; train from a store that progcycle prepare makes"):
            names(tmp_path / name)


def test_damaged_zip_members_are_broken_pictures(folder, tmp_path, make_set):
    file = tmp_path / "x.zip"
    pack(folder, file)
    content = bytearray(file.read_bytes())
    pixels = (folder / "02.png").read_bytes()
    content[bytes(content).index(pixels) + 200] ^= 255  # the checksum no longer fits
    file.write_bytes(content)
    sample = make_set(file).plain(1, 8)
    assert sample.name == "04.png"
    assert sample.broken == ("02.png: this picture cannot be read (Bad CRC-32 for file '02.png').",)


def test_what_runs_and_studies_left_among_the_pictures_is_no_picture(tmp_path):
    """A real run folder has these files; a recipe.yaml alone, or at the top, is nothing of the kind."""
    folder = write_folder(tmp_path / "pictures", 4)
    expected = names(folder)

    def fill(place, *files):
        for name in files:
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).touch()
        (place / "samples").mkdir(parents=True, exist_ok=True)
        (place / "samples/nimg-000000000000.png").touch()

    fill(folder / "runs/one", "recipe.yaml", "plan.png")
    fill(folder / "runs/two", "recipe.yaml", "stats.jsonl", "checkpoints/nimg-000000000020/state.json")
    fill(folder / "study", "plans.json", "rows.jsonl", "runs/one-0/log.txt")
    found = find_pictures([str(folder)])
    assert [entry.name for entry in found.entries] == expected
    (remark,) = found.remarks()
    places = ", ".join(str(folder / name) for name in ("runs/one", "runs/two", "study"))
    assert remark == f"3 run folders lie among the pictures, and what is inside is left out: {places}"
    packed = find_pictures([str(pack(folder, tmp_path / "x.zip", under="in/"))])
    assert [entry.name for entry in packed.entries] == [f"in/{name}" for name in expected]
    assert [place.split("x.zip/in/")[1] for place in packed.outputs] == ["runs/one", "runs/two", "study"]
    with pytest.raises(UserError, match=r"runs has no pictures in it, but the run folder .*runs/one; files must end"):
        find_pictures([str(folder / "runs")])
    assert names(folder / "runs/one") == ["plan.png", "samples/nimg-000000000000.png"], "as it was asked for"
    fill(folder / "cooking", "recipe.yaml")
    assert "cooking/samples/nimg-000000000000.png" in names(folder)
