"""Making a store: whole or not at all, resumed after a kill, and the same however it is made."""

import os
import signal
import time

import numpy as np
import pytest
from deep_pictures import scan, write_values
from picture_folders import write_folder
from stores import content, prepare

import progcycle.data.prepare as prepare_module
import progcycle.data.scan as scan_module
from progcycle.commands.cli import main
from progcycle.data.pool import in_processes


@pytest.fixture
def small_steps(monkeypatch):
    """Many small files and steps in place of a few large ones."""
    monkeypatch.setattr(prepare_module, "FILE_PICTURES", 4)
    monkeypatch.setattr(prepare_module, "ROWS", 4)
    monkeypatch.setattr(scan_module, "CHUNK", 4)


def killed_after(folder, store, place, count) -> None:
    """Prepare in a process of its own, killed by SIGKILL after so many calls of a function."""
    if (child := os.fork()) == 0:
        try:
            module, name = place
            real, calls = getattr(module, name), []

            def call(*args):
                calls.append(1)
                if len(calls) > count:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args)

            setattr(module, name, call)
            prepare(folder, store, "--resolution", "16")
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


PLACES = {
    "scan": (scan_module, "_scan_some"),
    "files": (prepare_module, "_write_file"),
    "rows": (prepare_module, "_write_rows"),
}


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("place", PLACES)
def test_a_killed_command_goes_on_and_makes_the_same_store(tmp_path, monkeypatch, place):
    folder = write_folder(tmp_path / "pictures", 14)
    prepare(folder, tmp_path / "whole", "--resolution", 16)
    killed_after(folder, tmp_path / "store", PLACES[place], 2)
    assert not (tmp_path / "store").exists()
    module, name = PLACES[place]
    real, calls = getattr(module, name), []
    monkeypatch.setattr(module, name, lambda *args: calls.append(1) or real(*args))
    assert prepare(folder, tmp_path / "store", "--resolution", 16) == 0
    assert len(calls) == 2, "of four steps two were done"
    assert content(tmp_path / "store") == content(tmp_path / "whole")
    assert sorted(f.name for f in tmp_path.iterdir()) == ["pictures", "store", "whole"]


@pytest.mark.usefixtures("small_steps")
def test_several_processes_make_the_same_store(tmp_path):
    folder = write_folder(tmp_path / "pictures", 14)
    prepare(folder, tmp_path / "one", "--resolution", 16)
    assert main(["prepare", str(folder), str(tmp_path / "three"), "--resolution", "16", "--workers", "3"]) == 0
    assert content(tmp_path / "one") == content(tmp_path / "three")


@pytest.mark.usefixtures("small_steps")
def test_changes_between_two_attempts_count(tmp_path):
    folder = write_folder(tmp_path / "pictures", 14)
    killed_after(folder, tmp_path / "store", PLACES["rows"], 2)
    write_folder(folder, 3, offset=40)  # other pictures of the same names
    (folder / "12.png").unlink()
    assert prepare(folder, tmp_path / "store", "--resolution", 16) == 0
    prepare(folder, tmp_path / "whole", "--resolution", 16)
    assert content(tmp_path / "store") == content(tmp_path / "whole")


def _square(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number * number


def _kill(number: int) -> int:
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_results_errors_and_killed_processes(capsys):
    assert dict(in_processes(_square, [(i,) for i in (1, 2, 4)], 2)) == {0: 1, 1: 4, 2: 16}
    with pytest.raises(ValueError, match="three"):
        list(in_processes(_square, [(i,) for i in range(9)], 2))
    with pytest.raises(Exception, match="A process was killed, perhaps for want of memory; start the same command"):
        list(in_processes(_kill, [(i,) for i in range(9)], 2))


def _sleep(folder: str) -> None:
    (prepare_module.Path(folder) / str(os.getpid())).touch()
    time.sleep(60)


def test_processes_end_with_the_one_that_started_them(tmp_path):
    if (child := os.fork()) == 0:
        list(in_processes(_sleep, [(str(tmp_path),)] * 2, 2))
    end = time.monotonic() + 20
    while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    workers = [int(file.name) for file in tmp_path.iterdir()]
    assert len(workers) == 2

    def running(pid: int) -> bool:
        try:
            return "(zombie)" not in (prepare_module.Path("/proc") / str(pid) / "status").read_text()
        except OSError:
            return False

    while any(map(running, workers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(map(running, workers))


@pytest.mark.parametrize(
    ("kind", "ending", "options"),
    [
        (np.uint8, ".png", ()),
        (np.uint8, ".png", ("--window", 0, 100)),
        (np.uint16, ".png", ()),
        (np.uint16, ".tif", ()),
        (np.float32, ".tif", ()),
        (np.float32, ".npy", ("--window", 0, 4095)),
    ],
)
def test_the_room_that_is_asked_for_is_that_of_the_store(tmp_path, monkeypatch, kind, ending, options):
    for i in range(7):
        values = scan(i, 0, 255 if kind == np.uint8 else 4095).astype(kind)
        write_values(tmp_path / "in" / f"{i}{ending}", values)
        if i < 2:
            write_values(tmp_path / "test" / f"{i}{ending}", values)
    asked = []
    monkeypatch.setattr(prepare_module, "check_room", lambda work, needed: asked.append(needed))
    where = (tmp_path / "in", tmp_path / "s", "--test", tmp_path / "test", "--resolution", "16x32", "--channels", 1)
    assert prepare(*where, *options) == 0
    arrays = [np.load(file) for file in (tmp_path / "s").rglob("*.npy")]
    assert {array.shape[1:3] for array in arrays} == {(16, 32), (8, 16), (4, 8)}
    pictures = sum(file.stat().st_size for name in ("in", "test") for file in (tmp_path / name).iterdir())
    assert asked == [pictures + sum(array.nbytes for array in arrays)]
