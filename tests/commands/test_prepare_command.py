"""``progcycle prepare`` and ``progcycle inspect`` as they are used."""

import os
from pathlib import Path

import numpy as np
import pytest
from photos import folder, photo

from progcycle.commands.cli import main
from progcycle.data import PictureSet
from progcycle.files import held_folder
from progcycle.recipe import Pictures
from progcycle.resolution import Resolution

Read = pytest.CaptureFixture[str]


def run(*arguments: object) -> int:
    return main([*map(str, arguments), "--workers", "1"])


def test_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    monkeypatch.chdir(tmp_path)
    folder(Path("in/trainA"), 9, 1)
    folder(Path("in/trainB"), 3, 2)
    folder(Path("in/testA"), 2, 1)
    Path("in/trainA/bad.png").touch()
    assert run("inspect", "in") == 1
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("trainA  9 pictures, ")
    assert lines[0].endswith("80x60 px, colour")
    assert lines[1] == "  1 left out: cannot be used"
    assert lines[-1].startswith("A has 9 pictures and B 3")
    assert err.splitlines() == [
        "warning: test pictures are trained on: 2 pictures of trainA are also in testA, such as 000.png = 000.png",
        "trainA: bad.png: this file is empty.",
    ]
    assert run("prepare", "in", "store") == 2
    assert "1 of 10 pictures cannot be used, above the allowed share --max-bad 0.01" in capsys.readouterr().err
    assert not Path("store").exists()
    assert run("prepare", "in", "store", "--max-bad", 0.1, "--drop-duplicates", "--resolution", 32) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-2:] == ["arrays of 4 to 32 px", "wrote store; train from it with data.root=store"]
    assert "trainA  9" in out
    assert run("inspect", "store") == 0
    assert capsys.readouterr().out.startswith("trainA  7 pictures")


def test_files_of_patients_are_refused_in_one_sentence(tmp_path: Path, capsys: Read) -> None:
    folder(tmp_path / "in", 3)
    for i in range(5):
        (tmp_path / "in" / f"{i}.dcm").write_bytes(b"\0" * 128 + b"DICM")
    (tmp_path / "in" / "5.nii.gz").touch()
    assert run("prepare", tmp_path / "in", tmp_path / "store") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "train: 0.dcm and 5 others of 9 are DICOM or NIfTI files" in err
    assert err.endswith("or give --exclude '*.dcm' '*.nii.gz'.\n")
    assert run("prepare", tmp_path / "in", tmp_path / "store", "--exclude", "*.dcm", "*.nii.gz") == 0


def test_many_offenders_are_listed_in_a_file(tmp_path: Path, capsys: Read) -> None:
    folder(tmp_path / "in", 3)
    for i in range(30):
        (tmp_path / "in" / f"bad{i}.png").touch()
    assert run("prepare", tmp_path / "in", tmp_path / "store") == 2
    err = capsys.readouterr().err
    listing = tmp_path / "store.offenders.txt"
    assert f"and 10 more, which {listing} lists too" in err
    assert f"({listing} names all)" in err
    assert len(listing.read_text().splitlines()) == 30


def test_what_is_refused_before_anything_is_read(tmp_path: Path, capsys: Read) -> None:
    source = folder(tmp_path / "in", 3)
    other = folder(tmp_path / "other", 3, 5)
    (tmp_path / "x.txt").touch()
    cases: list[tuple[tuple[object, ...], str]] = [
        ((source, other, source, tmp_path / "s"), "3 sources are given"),
        ((source, source, tmp_path / "s"), "Both sources are the same"),
        ((source, source), "would be replaced by the store"),
        ((source, source / "s"), "lies inside of"),
        ((source, other), "is a folder of something else"),
        ((source, tmp_path / "x.txt"), "already exists; choose another STORE, or add --force"),
        ((tmp_path / "none", tmp_path / "s"), "There is no folder or zip file"),
        ((source, tmp_path / "s", "--test", other, source), "--test needs as many places as there are sources, 1"),
        ((source, tmp_path / "s", "--column", "image"), "--column means nothing to picture files; leave it out."),
        ((source, tmp_path / "s", "--background", "nocolour"), "'nocolour' is not a colour"),
        ((source, tmp_path / "s", "--window", 3, 3), "--window: LO must be below HI."),
        ((source, tmp_path / "s", "--channels", 99), "--channels: pictures have at most 64 channels, got 99."),
    ]
    for arguments, words in cases:
        assert run("prepare", *arguments) == 2, words
        assert words in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run("prepare", source)
    assert "required: STORE" in capsys.readouterr().err
    assert sorted(f.name for f in tmp_path.iterdir()) == ["in", "other", "x.txt"]


def test_force_replaces_a_store(tmp_path: Path, capsys: Read) -> None:
    source = folder(tmp_path / "in", 3)
    assert run("prepare", source, tmp_path / "store") == 0
    photo(source / "new.png", 9)
    assert run("prepare", source, tmp_path / "store") == 2
    assert run("prepare", source, tmp_path / "store", "--force") == 0
    capsys.readouterr()
    assert run("inspect", tmp_path / "store") == 0
    assert capsys.readouterr().out.startswith("train  4 pictures")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["in", "store"]


def test_one_process_prepares_a_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    monkeypatch.setattr("progcycle.commands.prepare.ORPHANS", 0.1)
    source = folder(tmp_path / "in", 3)
    with held_folder(tmp_path / ".store.partial") as free:
        assert free
        assert run("prepare", source, tmp_path / "store") == 2
    assert "Another process is preparing" in capsys.readouterr().err
    assert run("prepare", source, tmp_path / "store") == 0


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written(tmp_path: Path, capsys: Read) -> None:
    source = folder(tmp_path / "in", 3)
    (tmp_path / "closed").mkdir(mode=0o500)
    assert run("prepare", source, tmp_path / "closed" / "store") == 2
    assert "Permission denied" in capsys.readouterr().err


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Read) -> None:
    source = folder(tmp_path / "in", 3)
    monkeypatch.setattr("shutil.disk_usage", lambda _: _Usage())
    assert run("prepare", source, tmp_path / "store") == 2
    assert "GB and the disk has 1e-06 GB left; choose another place" in capsys.readouterr().err
    monkeypatch.undo()
    with monkeypatch.context() as patch:
        patch.setattr("progcycle.data.prepare._to_disk", _full)
        assert run("prepare", source, tmp_path / "store") == 2
    assert "No space left on device); start the same command again to go on" in capsys.readouterr().err
    assert run("prepare", source, tmp_path / "store") == 0


class _Usage:
    free = 1000


def _full(_: Path) -> None:
    raise OSError(28, os.strerror(28))


def test_arrays_of_rectangles_are_what_training_reads(tmp_path: Path, capsys: Read) -> None:
    source = folder(tmp_path / "in", 5)
    assert run("prepare", source, tmp_path / "store", "--resolution", "16x24") == 0
    assert capsys.readouterr().out.splitlines()[-2] == "arrays of 4x6 to 16x24 px (height x width)"
    size = Resolution(16, 24)
    plain, stored = (
        PictureSet("real", Pictures(), (str(place),), resolution=size, seed=0) for place in (source, tmp_path / "store")
    )
    assert stored.in_store(size >> 1)
    for i in range(5):
        for stage in (size >> 1, size):
            ours, theirs = (pictures.plain(i, stage).image for pictures in (plain, stored))
            assert ours.shape == (*stage.shape, 3)
            assert np.array_equal(ours, theirs)
    other = PictureSet("real", Pictures(), (str(tmp_path / "store"),), resolution=16, seed=0)
    assert not other.in_store(16)  # a square of the same shorter side
    with pytest.raises(SystemExit, match="2"):
        run("prepare", source, tmp_path / "other", "--resolution", "16x24x3")
    assert "a whole number, or height and width as in 256x384, got 16x24x3" in capsys.readouterr().err


def test_stylegans_zip_has_squares(tmp_path: Path, capsys: Read) -> None:
    source = folder(tmp_path / "in", 3)
    assert run("prepare", source, tmp_path / "out.zip", "--resolution", "16x24") == 2
    assert "has squares; give one number as --resolution." in capsys.readouterr().err
    assert run("prepare", source, tmp_path / "out.zip", "--resolution", "24") == 0
