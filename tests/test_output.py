"""Streams that cannot be written: a pipe without a reader, a full disk, one that was never open."""

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import pytest
from tqdm import tqdm

import progcycle
from progcycle.output import SafeStream, flush_or_silence, safe_output


def _pipe_without_reader() -> TextIO:
    reading, writing = os.pipe()
    os.close(reading)
    return open(writing, "w", encoding="utf-8")


def _full_disk() -> TextIO:
    return open("/dev/full", "w", encoding="utf-8")


def _closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


BROKEN: dict[str, Callable[[], TextIO | None]] = {
    "pipe": _pipe_without_reader, "disk": _full_disk, "closed": _closed, "none": lambda: None,
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_whatever_speaks_is_not_stopped(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = BROKEN[kind]()
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with safe_output():
        for _ in range(3):
            print("a line", flush=True)
            print("x" * 100_000, file=sys.stderr)
            tqdm.write("above the bar", file=sys.stdout)
            for _ in tqdm(range(3), mininterval=0, disable=False):
                pass
            sys.stdout.writelines(["one\n", "two\n"])
    assert sys.stdout is stream
    if stream is not None and kind != "closed":
        stream.close()  # which writes what is left: nothing, or into nothing


def test_what_can_be_written_is_written_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with safe_output():
        steady = sys.stdout
        with safe_output():
            assert sys.stdout is steady, "one inside another adds nothing"
            print("here")
        print("there", file=sys.stderr)
        assert not sys.stdout.isatty()
    assert (out.getvalue(), err.getvalue()) == ("here\n", "there\n")


def test_a_disk_that_has_room_again_is_written_again() -> None:
    class Disk(io.StringIO):
        full = True

        def write(self, text: str) -> int:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(text)

    disk = Disk()
    stream = SafeStream(disk)
    assert stream.write("lost") == 4
    disk.full = False
    stream.write("kept")
    assert disk.getvalue() == "kept"


def test_letters_that_a_stream_has_not_are_written_as_numbers() -> None:
    raw = io.BytesIO()
    stream = SafeStream(io.TextIOWrapper(raw, encoding="ascii"))
    stream.write("café.png: 5 → 3")
    stream.flush()
    assert raw.getvalue() == rb"caf\xe9.png: 5 \u2192 3"


def test_a_stream_that_cannot_be_flushed_is_silenced() -> None:
    stream = _full_disk()
    stream.write("x")
    assert not flush_or_silence(stream)
    assert flush_or_silence(stream)
    stream.close()
    assert flush_or_silence(None)


def python(code: str, shell: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run code in a Python whose streams a shell has opened; PYTHON stands for the command."""
    environment = {**os.environ, "PYTHONPATH": str(Path(progcycle.__file__).parents[1]), "CODE": code}
    command = shell.replace("PYTHON", f'{sys.executable} -c "$CODE"')
    return subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, **more)


SPEAKS = """
import atexit, sys
atexit.register(lambda: (print("goodbye", file=sys.stderr), print("goodbye")))
from progcycle.output import safe_output
with safe_output():
    first = open("first", "w")
    for _ in range(20000):
        print("standard output")
    print("standard error", file=sys.stderr)
    open("done", "w").close()
sys.exit(7)
"""


@pytest.mark.parametrize(
    "shell",
    [
        "PYTHON >/dev/full",
        "PYTHON >&- 2>&-",
        "PYTHON 2>&1 | head -n 1; exit ${PIPESTATUS[0]}",
        "PYTHON 2> >(exit) | head -n 1; exit ${PIPESTATUS[0]}",
        "PYTHON <&- >&-",
    ],
)
def test_the_exit_code_is_that_of_the_work(shell: str, tmp_path: Path) -> None:
    done = python(SPEAKS, shell, cwd=tmp_path)
    assert done.returncode == 7
    assert done.stderr in ("", "standard error\ngoodbye\n"), "nothing is said of the output"
    assert (tmp_path / "done").exists()
    assert (tmp_path / "first").read_text() == "", "no file has taken the place of a closed stream"


COMMAND = """
import sys
from progcycle.commands.cli import guarded
from progcycle.output import say
sys.exit(guarded(lambda argv: [say("x" * 100) for _ in range(10000)] and 0)([]))
"""


def test_a_command_that_only_tells_stops_where_nothing_can_be_told(tmp_path: Path) -> None:
    full = python(COMMAND, "PYTHON >/dev/full", cwd=tmp_path)
    assert (full.returncode, full.stderr) == (2, "error: standard output: No space left on device.\n")
    silent = python(COMMAND, "PYTHON >/dev/full 2>/dev/full", cwd=tmp_path)
    assert (silent.returncode, silent.stderr) == (2, "")
    pipe = python(COMMAND, "PYTHON | head -n 1; exit ${PIPESTATUS[0]}", cwd=tmp_path)
    assert (pipe.returncode, pipe.stderr) == (1, "")
