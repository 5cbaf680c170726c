import contextlib
import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pairs import is_gone, outputs, start_pair
from tiny_runs import checkpoint_content, stats

from progcycle.errors import UserError
from progcycle.runtime import guard as guarding
from progcycle.runtime.guard import guard
from progcycle.runtime.stop import StoppedError
from progcycle.runtime.watch import Limits, Member, Watch

HERE = Path(__file__).parent
SCRIPT = HERE / "two_processes_one_dies.py"
LONG = 60.0  # seconds; nothing here should take that long
LIMITS = Limits(tick=0.05, beat=0.1, silence=LONG, grace=LONG, verdict=LONG, meeting=LONG)
short = partial(pytest.mark.parametrize, "three", indirect=True)  # limits that a test waits for

# --- in processes that know nothing of training --------------------------------------------------------------------

PROCESS = """
import socket, sys
from progcycle.runtime.watch import Limits, Member, Watch

def end(sentence, speaks):
    print(sentence, speaks, flush=True)

rank, port, hosts = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3].split()
place = socket.create_server(("127.0.0.1", 0)) if rank == 0 else ("127.0.0.1", port)
if rank == 0:
    print(place.getsockname()[1], flush=True)
members = [Member(i, host, 100 + i) for i, host in enumerate(hosts)]
watch = Watch(rank, members, "secret", end, %r)
print("met", watch.meet(place), flush=True)
for line in sys.stdin:
    exec(line)
"""


class _Process:
    """A process that watches, and does what it is told."""

    def __init__(self, rank: int, port: int, hosts: str, limits: Limits) -> None:
        command = [sys.executable, "-c", PROCESS % limits, str(rank), str(port), hosts]
        env = {**os.environ, "PYTHONPATH": str(HERE.parent.parent)}
        self.run = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.run.stdout is not None
        for line in self.run.stdout:
            self.lines.put(line.strip())

    def says(self) -> str:
        return self.lines.get(timeout=LONG)

    def do(self, code: str) -> None:
        assert self.run.stdin is not None
        self.run.stdin.write(code + "\n")
        self.run.stdin.flush()


@pytest.fixture
def three(request: pytest.FixtureRequest) -> Iterator[list[_Process]]:
    """Three processes that watch each other, the last one on another machine."""
    hosts, limits = "here here there", replace(LIMITS, **getattr(request, "param", {}))
    runs = [_Process(0, 0, hosts, limits)]
    try:
        port = int(runs[0].says())
        runs += [_Process(rank, port, hosts, limits) for rank in (1, 2)]
        assert [run.says() for run in runs] == ["met"] * 3
        yield runs
    finally:
        for run in runs:
            run.run.kill()
            run.run.communicate()


def test_all_hear_at_once_of_one_that_is_killed_and_the_first_speaks(three: list[_Process]) -> None:
    three[1].run.kill()
    sentence = "process 1 (host here, pid 101) has died; the others stop too."
    assert three[0].says() == f"{sentence} True"
    assert three[2].says() == f"{sentence} False"


def test_when_the_first_is_killed_one_of_every_machine_speaks(three: list[_Process]) -> None:
    three[0].run.kill()
    for run in three[1:]:
        assert run.says() == "process 0 (host here, pid 100) has died; the others stop too. True"


@short([{"silence": 3.0}])
@pytest.mark.parametrize("rank", [0, 2])
def test_one_that_stands_still_is_missed_and_told_so_when_it_goes_on(rank: int, three: list[_Process]) -> None:
    before = time.monotonic()
    three[rank].run.send_signal(signal.SIGSTOP)
    sentence = rf"process {rank} \(host \w+, pid 10{rank}\) has not answered for 3 s; the others stop too."
    for run in three:
        if run is not three[rank]:
            assert re.fullmatch(f"{sentence} (True|False)", run.says())
    assert time.monotonic() - before > 2
    three[rank].run.send_signal(signal.SIGCONT)
    assert re.fullmatch(f"{sentence} True", three[rank].says())


def test_those_who_say_goodbye_are_not_missed(three: list[_Process]) -> None:
    for rank in (1, 0):
        three[rank].do("watch.leave(); raise SystemExit")
        assert three[rank].run.wait(LONG) == 0
    three[2].do("import time; time.sleep(0.3); print('alone', flush=True)")
    assert three[2].says() == "alone"


@short([{"grace": 1.0, "verdict": 1.0}])
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_is_told_to_the_others_who_end_after_a_grace(rank: int, three: list[_Process]) -> None:
    three[rank].do("watch.failed('ValueError: 7\\n8', collective=True); print('gone', flush=True)")
    sentence = f"process {rank} (host here, pid 10{rank}) ended with an error (ValueError: 7\\n8); the others stop too."
    others = [run for run in three if run is not three[rank]]
    assert [run.says() for run in others] == [f"{sentence} {run is others[0] or rank == 0}" for run in others]
    assert three[rank].says() == "gone"


def test_those_who_have_the_same_error_leave_by_themselves(three: list[_Process]) -> None:
    for run in three:
        run.do("watch.failed('same', collective=False); print('gone', flush=True)")
        run.do("watch._thread.join(); print('over', flush=True)")
    assert [[run.says(), run.says()] for run in three] == [["gone", "over"]] * 3


def test_a_failed_collective_ends_by_the_death_it_comes_of(three: list[_Process]) -> None:
    three[2].do("watch.failed('Connection closed by peer', collective=True); print('in vain', flush=True)")
    three[1].run.kill()
    for rank in (0, 2):
        assert three[rank].says() == f"process 1 (host here, pid 101) has died; the others stop too. {rank == 0}"


# --- in threads ----------------------------------------------------------------------------------------------------


class _Watches:
    """Watches in this process, with a clock that can jump."""

    def __init__(self, count: int = 2, before: Callable[[int], None] = lambda port: None) -> None:
        self.ends: queue.Queue[tuple[int, str]] = queue.Queue()
        self.ahead = 0.0
        members = [Member(rank, "here", 1 + rank) for rank in range(count)]
        self.watches = [
            Watch(rank, members, "secret", lambda text, _, rank=rank: self.ends.put((rank, text)), LIMITS, self.now)  # type: ignore[misc]
            for rank in range(count)
        ]
        server = socket.create_server(("127.0.0.1", 0))
        address = server.getsockname()
        with ThreadPoolExecutor(count) as pool:
            meetings = [pool.submit(self.watches[0].meet, server)]
            before(address[1])
            meetings += [pool.submit(watch.meet, address) for watch in self.watches[1:]]
            self.met = [meeting.result(LONG) for meeting in meetings]

    def now(self) -> float:
        return time.monotonic() + self.ahead


def test_a_pause_of_the_whole_machine_is_no_silence() -> None:
    pair = _Watches()
    for _ in range(3):
        pair.ahead += 1000
        time.sleep(0.1)
    assert pair.ends.empty()
    for watch in pair.watches:
        watch.leave()


class _SlowGoodbye:
    """A socket that takes long to say goodbye."""

    def __init__(self, socket: socket.socket) -> None:
        self.socket = socket

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)

    def send(self, data: bytes) -> int:
        if b"bye" in data:
            time.sleep(0.5)
        return self.socket.send(data)


def test_who_hangs_up_at_a_goodbye_is_not_called_dead_before_all_have_heard_it() -> None:
    three = _Watches(3)
    last = three.watches[0]._links[-1]
    last.socket = _SlowGoodbye(last.socket)  # type: ignore[assignment]
    three.watches[0].leave()
    time.sleep(2 * LIMITS.tick)
    assert three.ends.empty()
    for watch in three.watches[1:]:
        watch.leave()


def test_strangers_are_ignored() -> None:
    strangers = []

    def knock(port: int) -> None:
        for words in (b"", b"secret 2\n", b"other 1\n", b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000, b'{"bye": "no"}\n'):
            strangers.append(socket.create_connection(("127.0.0.1", port)))
            with contextlib.suppress(OSError):  # closed already
                strangers[-1].sendall(words)

    pair = _Watches(before=knock)
    assert pair.met == ["", ""]
    for stranger in strangers:
        stranger.settimeout(LONG)
        with contextlib.suppress(ConnectionResetError):
            assert stranger.recv(100) == b""
        stranger.close()
    assert pair.ends.empty()
    for watch in pair.watches:
        watch.leave()


def test_who_cannot_be_reached_is_said() -> None:
    members = [Member(0, "here", 1), Member(1, "here", 2)]
    watch = Watch(1, members, "secret", lambda *_: None, LIMITS)
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        assert watch.meet(deaf.getsockname()) == "process 1 cannot reach the first one: Connection refused"
    watch = Watch(0, members, "secret", lambda *_: None, replace(LIMITS, meeting=0.2))
    assert watch.meet(socket.create_server(("127.0.0.1", 0))) == "process 0 waited for the others in vain"
    watch.leave()


# --- around training -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StoppedError(signal.SIGTERM, "stopped"), []),
        (UserError("no room"), [("UserError: no room", False)]),
        (RuntimeError("Connection closed\nby peer"), [("RuntimeError: Connection closed by peer", True)]),
        (KeyboardInterrupt(), [("KeyboardInterrupt", False)]),
    ],
)
def test_what_the_others_hear_of_an_error(
    error: BaseException, told: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []

    class _Heard:
        def failed(self, reason: str, collective: bool) -> None:
            heard.append((reason, collective))

    monkeypatch.setattr(guarding, "_watch", _Heard())
    with pytest.raises(type(error)), guard():
        raise error
    assert heard == told


def test_one_of_two_is_killed_the_other_ends_with_a_sentence_and_the_run_goes_on(
    pictures: Path, tmp_path: Path
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    runs = start_pair(SCRIPT, pictures, whole, run, 1, 12)
    runs[1].wait(300)
    before = time.monotonic()
    runs[0].wait(300)
    while not all(is_gone(each.pid) for each in runs):  # the loaders' workers too
        assert time.monotonic() - before < 60
        time.sleep(0.1)
    output = outputs(runs, 60)[0]
    assert [each.returncode for each in runs] == [1, -signal.SIGKILL], output
    host = socket.gethostname()
    sentence = next(line for line in output.splitlines() if line.startswith("error:"))
    assert sentence.startswith(
        f"error: process 1 (host {host}, pid {runs[1].pid}) has died; the others stop too. "
        f"Start the same command again to go on from {run}/checkpoints/nimg-0000000000"
    )
    assert "Traceback" not in output
    names = sorted(path.name for path in (whole / "checkpoints").iterdir())
    left = sorted(path.name for path in (run / "checkpoints").glob("nimg-*"))
    assert names[0] in left
    assert left[-1] <= "nimg-000000000048"

    runs = start_pair(SCRIPT, pictures, "-", run, -1, 0)
    said = outputs(runs, 300)
    assert [each.returncode for each in runs] == [0, 0], said
    assert f"resumed from {run}/checkpoints/{left[-1]}" in said[0]
    assert stats(run) == stats(whole)
    for name in names:
        assert checkpoint_content(run / "checkpoints" / name) == checkpoint_content(whole / "checkpoints" / name)
