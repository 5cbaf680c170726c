"""Atomic writing: the old content or the new one, never a half."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from progcycle import files
from progcycle.files import atomic_file, atomic_folder, remove_temporaries, restore_folder, with_default_permissions


class StopError(Exception):
    pass


def stop(path: Path) -> None:
    path.write_text("half")
    raise StopError


def test_file_appears_whole_and_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.png"
    with atomic_file(path) as temporary:
        temporary.write_text("new")
        assert not path.exists()
        assert temporary.suffix == ".png", "writers choose a format by it"
        assert temporary.parent == path.parent, "a rename works within one file system"
    assert path.read_text() == "new"
    assert list(path.parent.iterdir()) == [path]


def test_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for text in ("one", "two"):
        with atomic_file(path) as temporary:
            temporary.write_text(text)
    assert path.read_text() == "two"


def test_failed_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(StopError), atomic_file(path) as temporary:
        stop(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_killed_processes_left_beside_files_goes_and_nothing_else(tmp_path: Path) -> None:
    names = ("a.png", "a" * 250, "recipe.yaml")
    (tmp_path / "left").mkdir()
    for name in names:
        with atomic_file(tmp_path / name) as temporary:
            temporary.touch()
            shutil.copy(temporary, tmp_path / "left")
    kept = [tmp_path / "left" / name for name in (".a.tmp", "a.5.tmp.png", ".5.tmp", ".a.png")]
    for path in kept:
        path.write_text("somebody's")
    (tmp_path / "left" / ".folder.5.tmp").mkdir()
    assert len(list((tmp_path / "left").iterdir())) == len(names) + len(kept) + 1
    remove_temporaries(tmp_path / "left")
    assert sorted((tmp_path / "left").iterdir()) == sorted([*kept, tmp_path / "left" / ".folder.5.tmp"])
    remove_temporaries(tmp_path / "nowhere")


def write(path: Path, text: str) -> None:
    with atomic_folder(path) as temporary:
        (temporary / "f").write_text(text)


def test_folder_appears_whole_and_replaces_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "run"
    write(path, "one")
    (path / "extra").write_text("of the old folder")
    write(path, "two")
    assert {p.name: p.read_text() for p in path.iterdir()} == {"f": "two"}
    assert list(path.parent.iterdir()) == [path]


def test_failed_folder_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write(path, "old")
    with pytest.raises(StopError), atomic_folder(path) as temporary:
        stop(temporary / "f")
    assert (path / "f").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_leftovers_of_a_killed_writer_are_cleared(tmp_path: Path) -> None:
    for name in (".run.tmp", ".run.4711.tmp", ".run.5.4711.tmp", ".runs.4711.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("written")
    write(tmp_path / "run", "new")
    assert {p.name for p in (tmp_path / "run").iterdir()} == {"f"}
    assert {p.name for p in tmp_path.iterdir()} == {"run", ".run.5.4711.tmp", ".runs.4711.tmp"}


def test_a_folder_with_two_writers_is_that_of_the_last_to_finish(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with atomic_folder(path) as first:
        (first / "f").write_text("first")
        with atomic_folder(path) as second:
            (second / "g").write_text("second")
        assert [p.name for p in path.iterdir()] == ["g"]
        assert (first / "f").read_text() == "first", "a living writer's folder is no leftover"
    assert [p.name for p in path.iterdir()] == ["f"]
    assert list(tmp_path.iterdir()) == [path]


def test_many_writers_at_once_never_mix_or_lose_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write(path, "0")
    end = time.monotonic() + 1.0

    def writer(number: int) -> int:
        count = 0
        while time.monotonic() < end:
            with atomic_folder(path) as temporary:
                for name in "ab":
                    (temporary / name).write_text(f"{number} {count}")
            count += 1
            restore_folder(path)  # as readers do; it must not take an exchange for an interruption
        return count

    with ThreadPoolExecutor(4) as pool:
        counts = list(pool.map(writer, range(4)))
    assert min(counts) > 0
    assert (path / "a").read_text() == (path / "b").read_text()
    assert (path / "a").read_text() in {f"{number} {count - 1}" for number, count in enumerate(counts)}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name != "posix", reason="needs kill")
def test_a_writer_that_was_killed_or_stands_still_blocks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys, time; from pathlib import Path; from progcycle import files\n"
        "with files._exclusive(Path(sys.argv[1]).parent), files.atomic_folder(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').touch(); print('begun', flush=True); time.sleep(60)"
    )
    monkeypatch.setattr(files, "LOCK_TIMEOUT", 0.1)
    path = tmp_path / "run"
    code = "from progcycle import files; files.LOCK_TIMEOUT = 0.1\n" + code
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        write(path, "mine")  # while the other holds the lock for exchanges
        assert (path / "f").read_text() == "mine"
        assert len(list(tmp_path.iterdir())) == 2, "the other may still be writing"
        other.kill()
    write(path, "again")
    assert list(tmp_path.iterdir()) == [path]


def test_old_folder_comes_back_when_the_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rename = tmp_path / "run", os.rename
    write(path, "old")

    def failing(source: Any, target: Any) -> None:
        if Path(source).name.endswith(".tmp"):
            raise OSError("disk trouble")
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="disk trouble"):
        write(path, "new")
    assert (path / "f").read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_folder_set_aside_by_a_killed_writer_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "run"
    write(tmp_path / ".run.old", "old")  # killed between the two renames
    with pytest.raises(StopError), atomic_folder(path) as temporary:
        stop(temporary / "f")
    assert (path / "f").read_text() == "old"


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
@pytest.mark.parametrize("umask", [0o022, 0o027, 0o002])
def test_files_of_libraries_get_the_permissions_of_new_files(umask: int, tmp_path: Path) -> None:
    def private(path: Path) -> None:
        """As safetensors: a file of another name, for its owner only, takes the place."""
        other = tmp_path / "other"
        other.write_text("x")
        other.chmod(0o600)
        other.replace(path)

    before = os.umask(umask)
    try:
        with_default_permissions(tmp_path / "file", private)
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (tmp_path / "file").read_text() == "x"
