"""Two processes of a run, as a launcher would start them."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

HERE = Path(__file__).parent
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


def start_pair(script: Path, *arguments: object) -> list[subprocess.Popen[str]]:
    """Run a script of tests/ in two processes with one thread, each in a group of its own; their output is piped."""
    path = os.pathsep.join(map(str, (HERE.parent, HERE)))
    return [
        subprocess.Popen(
            [sys.executable, str(script), *map(str, arguments)],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        for own in environments()
    ]


def outputs(runs: Iterable[subprocess.Popen[str]], seconds: float) -> list[str]:
    """What processes of :func:`start_pair` print until they end; whatever is left of them then is killed.

    Raises:
        subprocess.TimeoutExpired: one of them takes longer than so many seconds.
    """
    runs = list(runs)
    try:
        return [run.communicate(timeout=seconds)[0] for run in runs]
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
