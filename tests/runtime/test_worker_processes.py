"""Jobs in processes of their own: results, errors, and the end of all of them by Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import progcycle
from progcycle.errors import UserError
from progcycle.runtime.worker_processes import ProcessKilledError, run_in_processes


def add(a: int, b: int) -> tuple[int, int]:
    return a + b, os.getpid()


class TwoArgumentsError(Exception):
    """Cannot be unpickled: what is pickled is the one argument of Exception."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(f"{number} {text}")


class HolderError(Exception):
    """Cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("holds a file")
        self.file = sys.stdout


def fail(kind: str) -> None:
    if kind == "unpickled":
        raise TwoArgumentsError(7, "seals")
    if kind == "pickled":
        raise HolderError
    if kind == "user":
        raise UserError("The run is blue.")
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ZeroDivisionError("by nought")


def test_results_by_key_each_of_a_process_of_its_own() -> None:
    found = dict(run_in_processes(add, {"x": (1, 2), "y": (3, 4), "z": (5, 6)}, 2))
    assert {key: total for key, (total, _) in found.items()} == {"x": 3, "y": 7, "z": 11}
    assert len({os.getpid(), *(pid for _, pid in found.values())}) == 4


def test_errors() -> None:
    ((key, error),) = run_in_processes(fail, {"x": ("user",)}, 1)
    assert (key, str(error)) == ("x", "The run is blue.")
    with pytest.raises(ProcessKilledError):
        list(run_in_processes(fail, {"x": ("killed",)}, 1))
    with pytest.raises(ZeroDivisionError) as caught:
        list(run_in_processes(fail, {"x": ("fault",)}, 1))
    assert "in fail" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("kind", "words"), [("unpickled", "TwoArgumentsError: 7 seals"), ("pickled", "HolderError: holds a file")]
)
def test_an_error_that_pickle_cannot_carry_is_told_all_the_same(kind: str, words: str) -> None:
    with pytest.raises(RuntimeError, match=words) as caught:
        list(run_in_processes(fail, {"x": (kind,)}, 1))
    assert "in fail" in caught.value.__notes__[0]


WAITS = """
import os, sys, time
from progcycle.commands.cli import guarded
from progcycle.runtime.worker_processes import run_in_processes

def wait(number):
    open(f"{number}-{os.getpid()}", "w").close()
    time.sleep(100)

if __name__ == "__main__":
    sys.exit(guarded(lambda argv: list(run_in_processes(wait, {1: (1,), 2: (2,), 3: (3,)}, 2)) and 0)([]))
"""


def test_ctrl_c_ends_all_of_them_at_once_and_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "waits.py").write_text(WAITS)
    environment = {**os.environ, "PYTHONPATH": str(Path(progcycle.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "waits.py"], cwd=tmp_path, env=environment, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:  # fmt: skip
        until = time.monotonic() + 60
        while len(pids := [int(path.name[2:]) for path in tmp_path.glob("[12]-*")]) < 2:
            assert time.monotonic() < until
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (130, "interrupted\n")
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not list(tmp_path.glob("3-*"))
