import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_runs import stats, tiny

from progcycle.engine import train as train_module
from progcycle.engine.run import Run
from progcycle.errors import UserError
from progcycle.runtime import lock
from progcycle.runtime.lock import NAME, RunLock

ALONE: Any = SimpleNamespace(is_main_process=True, num_processes=1)
HOLDER = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from progcycle.runtime.lock import RunLock
RunLock(Path(sys.argv[1])).take(SimpleNamespace(is_main_process=True, num_processes=1))
print("taken", flush=True)
time.sleep(60)
"""


def test_the_holder_is_named_and_a_killed_one_is_in_nobodys_way(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-c", HOLDER, str(run)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "taken\n"
        before = {path: path.read_bytes() for path in run.rglob("*")}
        assert [path.name for path in before] == [NAME]
        with pytest.raises(UserError) as refused:
            train_module.train(tiny("pggan", pictures), run)
        who = f"process {holder.pid} on {socket.gethostname()}, since "
        assert str(refused.value).startswith(f"{run} is being written by {who}20")
        assert str(refused.value).endswith("; stop that one first, or use another --run-dir.")
        assert {path: path.read_bytes() for path in run.rglob("*")} == before
        holder.send_signal(signal.SIGKILL)
    assert (run / NAME).exists()
    train_module.train(tiny("pggan", pictures, {"schedule": {"stable_kimg": 0.008, "fade_kimg": 0}}), run)
    assert stats(run)[-1]["nimg"] == 24
    assert not (run / NAME).exists()


def test_pre_training_is_under_the_same_lock(pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    held: list[tuple[str, bool]] = []

    def step(training: Run, *_: Any) -> None:
        held.append((training.run_dir.name, (run / NAME).exists()))
        with pytest.raises(UserError, match=f"is being written by process {os.getpid()} on "):
            RunLock(run).take(ALONE)
        raise InterruptedError

    monkeypatch.setattr(Run, "train_step", step)
    recipe = tiny("cyclegan", pictures, {"pretraining": {"kind": "inpainting"}})
    with pytest.raises(InterruptedError):
        train_module.train(recipe, run)
    assert held == [("pretraining", True)]
    RunLock(run).take(ALONE)  # given back in spite of the error


def test_the_lock_is_given_back_and_can_be_taken_twice_by_its_holder(tmp_path: Path) -> None:
    with RunLock(tmp_path) as first:
        first.take(ALONE)
        first.take(ALONE)
        assert json.loads((tmp_path / NAME).read_text()).keys() == {"pid", "host", "since"}
        with pytest.raises(UserError), RunLock(tmp_path) as second:
            second.take(ALONE)
        assert (tmp_path / NAME).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_forked_process_does_not_keep_it(tmp_path: Path) -> None:
    ready, done = os.pipe(), os.pipe()
    own = RunLock(tmp_path)
    own.take(ALONE)
    child = os.fork()
    if child == 0:
        os.write(ready[1], b"1")
        os.read(done[0], 1)
        os._exit(0)
    os.read(ready[0], 1)
    with own:
        pass
    with RunLock(tmp_path) as other:
        other.take(ALONE)
    os.write(done[1], b"1")
    assert os.waitpid(child, 0)[1] == 0


def test_a_file_that_its_holder_removes_at_this_moment_is_not_taken_for_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    late: list[int] = []

    def open_and_lose(path: Path, *arguments: Any) -> int:
        file = opened(path, *arguments)
        if not late:
            late.append(file)
            path.unlink()
        return file

    monkeypatch.setattr(lock.os, "open", open_and_lose)
    RunLock(tmp_path).take(ALONE)
    with pytest.raises(UserError):
        RunLock(tmp_path).take(ALONE)


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ({}, False),
        ({"pid": os.getppid(), "host": socket.gethostname()}, True),
        ({"pid": 2**22 + 1, "host": socket.gethostname()}, False),  # larger than any process number
        ({"pid": 2**22 + 1, "host": "elsewhere"}, True),
    ],
)
def test_without_locks_of_the_file_system_the_process_named_is_looked_for(
    content: dict[str, Any], refused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / NAME).write_text(json.dumps(content))
    if refused:
        with pytest.raises(UserError, match=rf"process {content['pid']} on .* If it has ended, delete .*{NAME}\.$"):
            RunLock(tmp_path).take(ALONE)
    else:
        RunLock(tmp_path).take(ALONE)
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("content", ["", "half a {", "[1]", "\0"])
def test_a_damaged_lock_file_of_a_dead_process_is_no_obstacle(content: str, tmp_path: Path) -> None:
    (tmp_path / NAME).write_text(content)
    with RunLock(tmp_path) as own:
        own.take(ALONE)
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        UserError, match=r"^The run folder .*file/run cannot be written \(Not a directory\); choose another one\.$"
    ):
        RunLock(tmp_path / "file/run").take(ALONE)
