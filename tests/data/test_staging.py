"""Copies on a local disk: complete or absent, read as soon as they are there, and deleted when they are behind."""

import os
import pickle
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from picture_folders import pack, write_folder
from sentences import refused
from stores import prepare

import progcycle.data.cache as cache_module
import progcycle.data.staging as staging_module
from progcycle.data import StagedFiles, Staging, staging_folder

RESOLUTIONS = [4, 8, 16, 32]


@pytest.fixture
def store(tmp_path) -> Path:
    budget = 9 * 3 * (4 * 4 + 8 * 8 + 16 * 16) / 1e9  # arrays of 32 px have no room
    prepare(write_folder(tmp_path / "in", 9), tmp_path / "store", "--resolution", 32, "--budget-gb", budget)
    return tmp_path / "store"


def stage(pictures, folder, report=print) -> Staging:
    return Staging(StagedFiles(folder), pictures.files_of, RESOLUTIONS, report)


def copies(folder: Path) -> list[str]:
    return sorted(file.name.partition("-")[2] for file in folder.iterdir())


def test_two_resolutions_are_kept(store, tmp_path, make_set):
    local = staging_folder(str(tmp_path / "local"))
    pictures = make_set(store, stage_to=local)
    sentences = []
    staging = stage(pictures, local, sentences.append)
    for resolution, expected in [
        (4, ["4.npy", "8.npy"]),
        (8, ["16.npy", "8.npy"]),
        (16, ["00000.zip", "16.npy"]),
        (32, ["00000.zip"]),
    ]:
        staging.at(resolution)
        staging.wait()
        assert copies(local) == expected
    assert len(sentences) == 3
    assert all(sentence.startswith("data.stage_to: ") and "MB copied" in sentence for sentence in sentences)
    staging.close()
    assert copies(local) == []


def test_what_is_read_is_the_copy_and_the_same(store, tmp_path, make_set, monkeypatch):
    """The originals are spoiled once they are copied: what still comes right comes from the copies."""
    wanted = {(p, r): make_set(store).training(p, r).image for p in range(9) for r in RESOLUTIONS}
    local = staging_folder(str(tmp_path / "local"))
    pictures = pickle.loads(pickle.dumps(make_set(store, stage_to=local)))
    monkeypatch.setattr(cache_module, "LOOK", 1)
    for r in RESOLUTIONS:  # every original is open
        pictures.training(0, r)
    staging = Staging(StagedFiles(local), pictures.files_of, RESOLUTIONS, print)
    for r in RESOLUTIONS:
        staging.at(r)
        staging.wait()
        saved = {file: file.read_bytes() for file in pictures.files_of(r)}
        for file, content in saved.items():
            info = file.stat()
            with open(file, "rb+") as stream:
                stream.seek(len(content) // 3)
                stream.write(bytes(len(content) // 3))
            os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))
        for p in range(9):
            assert np.array_equal(pictures.training(p, r).image, wanted[p, r])
        for file, content in saved.items():
            info = file.stat()
            file.write_bytes(content)
            os.utime(file, ns=(info.st_atime_ns, info.st_mtime_ns))


def test_the_cache_and_zip_files_are_staged_too(tmp_path, make_set):
    folder = write_folder(tmp_path / "in", 5)
    file = pack(folder, tmp_path / "in.zip")
    local = staging_folder(str(tmp_path / "local"))
    pictures = make_set(file, cache_dir=tmp_path / "cache", cache_resolution=8, stage_to=local)
    pictures.prepare(RESOLUTIONS)
    assert [f.name for r in RESOLUTIONS for f in pictures.files_of(r)] == ["4.npy", "8.npy", "in.zip", "in.zip"]
    staging = stage(pictures, local)
    staging.at(16)
    staging.wait()
    file.unlink()
    assert np.array_equal(pictures.training(0, 16).image, make_set(folder).training(0, 16).image)
    assert make_set(folder).files_of(16) == []


def test_no_room_and_other_errors_are_said_and_training_reads_on(store, tmp_path, make_set, monkeypatch):
    local = staging_folder(str(tmp_path / "local"))
    pictures = make_set(store, stage_to=local)
    for patch, words in (
        (
            ("disk_usage", lambda _: namedtuple("Usage", "free")(1000)),
            "which has 0.0 MB left; read from where they are",
        ),
        (("copy", None), "read from where it is"),
    ):
        sentences = []
        with monkeypatch.context() as context:
            if patch[0] == "disk_usage":
                context.setattr(staging_module.shutil, *patch)
            else:

                def full(*_):
                    raise OSError(28, os.strerror(28), "x")

                context.setattr(staging_module, "_copy", full)
            staging = stage(pictures, local, sentences.append)
            staging.at(4)
            staging.wait()
        assert len(sentences) == 1
        assert words in sentences[0]
        assert copies(local) == []
        assert pictures.training(0, 4).image.shape == (4, 4, 3)


def test_half_written_copies_of_killed_processes_are_swept_and_others_left(store, tmp_path, make_set):
    local = staging_folder(str(tmp_path / "local"))
    for name, age in (("1-a.npy.0.part", 2 * staging_module.ABANDONED), ("1-b.npy.0.part", 0)):
        (local / name).touch()
        os.utime(local / name, (time.time() - age,) * 2)
    (local / "notes.txt").touch()
    staging = stage(make_set(store, stage_to=local), local)
    staging.at(4)
    staging.close()
    assert sorted(f.name for f in local.iterdir()) == ["1-b.npy.0.part", "notes.txt"]


def test_a_copy_is_not_taken_for_that_of_a_changed_file(tmp_path):
    (tmp_path / "x").write_bytes(b"1")
    first = StagedFiles(tmp_path / "local").copy_of(tmp_path / "x")
    (tmp_path / "x").write_bytes(b"22")
    assert StagedFiles(tmp_path / "local").copy_of(tmp_path / "x") != first
    assert StagedFiles()(tmp_path / "x") == tmp_path / "x"


def test_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_DISK", str(tmp_path))
    assert staging_folder("$LOCAL_DISK/x") == tmp_path / "x"
    monkeypatch.delenv("LOCAL_DISK")
    assert "$LOCAL_DISK/x names a variable that is not set" in refused(lambda: staging_folder("$LOCAL_DISK/x"))
    (tmp_path / "file").touch()
    assert "cannot be made" in refused(lambda: staging_folder(f"{tmp_path}/file/x"))
