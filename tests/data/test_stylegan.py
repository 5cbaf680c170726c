"""Zip files for StyleGAN's tools: written, read back, and read by a reader of their own description."""

import io
import json
import os
import zipfile

import numpy as np
import pytest
from picture_folders import write_folder
from PIL import Image
from stores import prepare

from progcycle.data import resolve_sets
from progcycle.data.stylegan import member_name, numbers_of
from progcycle.recipe import PgganData


class Reader:
    """As ``training/dataset.py`` of StyleGAN3 reads: all that Pillow knows by its ending, sorted; labels by name."""

    def __init__(self, file):
        self.archive = zipfile.ZipFile(file)
        Image.init()
        everything = set(self.archive.namelist())
        self.names = sorted(n for n in everything if os.path.splitext(n)[1].lower() in Image.EXTENSION)
        labels = json.loads(self.archive.read("dataset.json"))["labels"]
        self.labels = None
        if labels is not None:
            table = dict(labels)
            self.labels = np.array([table[name.replace("\\", "/")] for name in self.names])

    def image(self, index):  # [C, H, W]
        image = np.array(Image.open(io.BytesIO(self.archive.read(self.names[index]))))
        return (image[:, :, None] if image.ndim == 2 else image).transpose(2, 0, 1)


@pytest.mark.parametrize(("channels", "labels"), [(3, True), (1, False)])
def test_written_and_read_by_both(tmp_path, make_set, channels, labels):
    for i, name in enumerate(("dog", "cat", "fox")):
        write_folder(tmp_path / "in" / name, 3 + i, 20 * i)
    arguments = ["--labels", "folders"] if labels else []
    file = tmp_path / "out.zip"
    assert prepare(tmp_path / "in", file, "--resolution", 32, "--channels", channels, *arguments) == 0
    wanted = make_set(tmp_path / "in", channels=channels)
    theirs = Reader(file)
    assert theirs.names == [f"00000/img{i:08}.png" for i in range(12)]
    for i in range(12):
        assert np.array_equal(theirs.image(i), wanted.plain(i, 32).image.transpose(2, 0, 1))
    if labels:
        assert theirs.labels.tolist() == [0] * 4 + [1] * 3 + [2] * 5
    else:
        assert theirs.labels is None
    # Back again: as a source of training, and of a store.
    ours = make_set(file, channels=channels)
    assert all(np.array_equal(ours.plain(i, 32).image, wanted.plain(i, 32).image) for i in range(12))
    prepare(file, tmp_path / "store")
    prepare(tmp_path / "store", tmp_path / "again.zip", "--resolution", 32, "--channels", channels)
    assert (tmp_path / "again.zip").read_bytes() == file.read_bytes()
    if labels:
        data = PgganData(path=(str(tmp_path / "store"),), labels=str(tmp_path / "store" / "train" / "dataset.json"))
        pictures = resolve_sets(data, resolution=32, seed=0, cache_dir=tmp_path)["real"]
        assert [pictures.label_at(i) for i in range(12)] == theirs.labels.tolist()


def test_nothing_is_compressed(tmp_path):
    (tmp_path / "in").mkdir()
    Image.new("RGB", (16, 16), "red").save(tmp_path / "in" / "flat.png")  # which any compression would make small
    prepare(tmp_path / "in", tmp_path / "out.zip", "--resolution", 16)
    for member in zipfile.ZipFile(tmp_path / "out.zip").infolist():
        assert member.compress_type == zipfile.ZIP_STORED
        if member.filename.endswith(".png"):
            assert member.file_size > 16 * 16 * 3


def test_names_and_numbers():
    assert [member_name(i) for i in (0, 1999, 49_999, 1_234_567)] == [
        "00000/img00000000.png", "00001/img00001999.png", "00049/img00049999.png", "01234/img01234567.png",
    ]  # fmt: skip
    assert numbers_of([7, 3, 7]) == {7: 7, 3: 3}
    assert numbers_of(["b", "a"]) == {"a": 0, "b": 1}
    assert numbers_of([1, None]) == {}


def test_refused(tmp_path, capsys):
    for name in ("trainA", "trainB"):
        write_folder(tmp_path / "in" / name, 2)
    assert prepare(tmp_path / "in", tmp_path / "out.zip") == 2
    assert "has squares of one size; give --resolution." in capsys.readouterr().err
    assert prepare(tmp_path / "in", tmp_path / "out.zip", "--resolution", 16) == 2
    assert "the source has trainA, trainB; give the folder of one of them as SOURCE." in capsys.readouterr().err
    assert sorted(f.name for f in tmp_path.iterdir()) == ["in"]
