"""Scripts in processes of their own, and two of them as a launcher would start the processes of a run."""

import atexit
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from unittest.mock import patch

HERE = Path(__file__).parent
# Processes are forks of one that has imported this, which takes longer than what they do.
IMPORTED = ["albumentations", "kornia", "torch._dynamo", "tiny_runs"]
_forks = multiprocessing.get_context("forkserver")
_first = 10_000 + 2_000 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 11)
_ports = iter(range(_first + os.getpid() % 1_000, _first + 2_000))


def _free_port() -> int:
    """A port of this worker of xdist, which the system gives to nobody by itself in the seconds until it is used."""
    for port in _ports:
        with socket.socket() as s, suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


def environments() -> list[dict[str, str]]:
    """What a launcher sets for each of two processes on CPUs, at a port of their own."""
    shared = {"WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    shared |= {"ACCELERATE_USE_CPU": "true"}
    return [{k: str(v) for k, v in {**shared, "RANK": rank, "LOCAL_RANK": rank}.items()} for rank in range(2)]


@dataclass
class Started:
    """A process with what :class:`subprocess.Popen` has of it; what it prints goes into a file."""

    process: ForkServerProcess
    printed: Any

    @property
    def pid(self) -> int:
        """Its number, and that of its group."""
        assert self.process.pid is not None
        return self.process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, or the negative number of the signal that ended it; None while it runs."""
        return self.process.exitcode

    def poll(self) -> int | None:
        """See ``returncode``."""
        return self.returncode

    def wait(self, seconds: float) -> None:
        """Until it has ended.

        Raises:
            subprocess.TimeoutExpired: it takes longer than so many seconds.
        """
        self.process.join(seconds)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.process.name, seconds)

    def send_signal(self, number: int) -> None:
        """To this process, not to those that it has started."""
        os.kill(self.pid, number)

    def output(self) -> str:
        """What it has printed."""
        self.printed.seek(0)
        text: str = self.printed.read()
        return text


def _run(script: Path, arguments: list[str], environment: Mapping[str, str], printed: str) -> None:
    """What ``python script arguments`` does in a new session, in a process that is a fork."""
    os.setsid()
    multiprocessing.set_start_method(None, force=True)  # that of a new Python again
    os.environ.clear()
    os.environ.update(environment)
    file = os.open(printed, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))
    try:
        runpy.run_path(str(script), run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which forks leave out


def start(script: Path, *arguments: object, **change: str) -> Started:
    """Run a script in a process with one thread, in a group of its own.

    Args:
        script: of Python.
        arguments: its command line.
        change: of the environment.
    """
    path = os.pathsep.join(map(str, (HERE.parent, HERE)))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    printed = tempfile.NamedTemporaryFile("r", prefix=f"{script.stem}-")  # noqa: SIM115
    given = (script, [str(argument) for argument in arguments], {**environment, **change}, printed.name)
    process = _forks.Process(target=_run, args=given, name=script.name)
    _forks.set_forkserver_preload(IMPORTED)
    with patch.dict(os.environ, environment):  # of the process that imports, which the first call starts
        process.start()
    return Started(process, printed)


def start_pair(script: Path, *arguments: object) -> list[Started]:
    """:func:`start` as two processes of one run."""
    return [start(script, *arguments, **own) for own in environments()]


def outputs(runs: Iterable[Started], seconds: float) -> list[str]:
    """What processes print until they end; whatever is left of them then is killed.

    Raises:
        subprocess.TimeoutExpired: one of them takes longer than so many seconds.
    """
    runs = list(runs)
    try:
        for run in runs:
            run.wait(seconds)
        return [run.output() for run in runs]
    finally:
        for run in runs:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)


def is_gone(group: int) -> bool:
    """Whether no process of a group is there any more."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False
