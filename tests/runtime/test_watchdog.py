import os
import queue
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pairs import is_gone, outputs, start_pair
from tiny_runs import checkpoint_content, stats
from torch.distributed import DistNetworkError, TCPStore
from torch.distributed.distributed_c10d import PrefixStore, Store

from progcycle.errors import UserError
from progcycle.runtime import failures
from progcycle.runtime.failures import reporting_failure
from progcycle.runtime.stop import StoppedError
from progcycle.runtime.watchdog import Peer, Timeouts, Watchdog

HERE = Path(__file__).parent
SCRIPT = HERE / "two_processes_failing.py"
LONG = 60.0  # seconds; nothing here should take that long
TIMEOUTS = Timeouts(tick=0.02, beat=0.05, silence=LONG, grace=LONG, verdict=LONG, goodbye=LONG)

# --- in threads, with the lives of other processes -----------------------------------------------------------------


class _Three:
    """Three watches on one store, the last one on another machine; each stands for a process that does nothing."""

    def __init__(self, limits: Timeouts, launcher: Any = None) -> None:
        self.server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.ends: queue.Queue[tuple[int, str, bool]] = queue.Queue()
        self.ahead = 0.0  # seconds that the clock of all has jumped
        self.sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(3)]
        self.members = [
            Peer(rank, host, self.sleepers[rank].pid) for rank, host in enumerate(("here", "here", "there"))
        ]
        self.launcher = launcher
        self.watches = [self._watch(rank, limits) for rank in range(3)]
        for watch in self.watches:
            watch.start()

    def store(self, seconds: float = LONG) -> Store:
        timeout = timedelta(seconds=seconds)
        client = TCPStore("127.0.0.1", self.server.port, is_master=False, timeout=timeout, wait_for_workers=False)
        return PrefixStore("test", client)

    def _watch(self, rank: int, limits: Timeouts) -> Watchdog:
        def end(text: str, speaks: bool) -> None:
            self.ends.put((rank, text, speaks))

        launcher = self.launcher if rank < 2 else None
        return Watchdog(rank, self.members, self.store(), end, limits, launcher, lambda: time.monotonic() + self.ahead)

    def ended(self, count: int) -> list[tuple[int, str, bool]]:
        """So many of those who end, by rank."""
        return sorted(self.ends.get(timeout=LONG) for _ in range(count))

    def name(self, rank: int) -> str:
        member = self.members[rank]
        return f"process {rank} (host {member.host}, pid {member.pid})"

    def freeze(self, rank: int) -> None:
        """Let a process stand still: none of its threads runs."""
        watch = self.watches[rank]
        watch._over.set()
        watch._thread.join()

    def close(self) -> None:
        for watch in self.watches:
            watch._over.set()
            watch._thread.join(LONG)
        for sleeper in self.sleepers:
            sleeper.kill()
            sleeper.wait()


@pytest.fixture
def three(request: pytest.FixtureRequest) -> Iterator[_Three]:
    options = dict(getattr(request, "param", {}))
    launcher = options.pop("launcher", None)
    made = _Three(replace(TIMEOUTS, **options), launcher)
    yield made
    made.close()


def short(**limits: Any) -> Callable[..., Any]:
    """Timeouts that a test waits for."""
    return pytest.mark.parametrize("three", [limits], indirect=True)


def test_one_that_is_killed_is_missed_at_once_on_its_machine_and_the_first_speaks(three: _Three) -> None:
    three.freeze(1)
    three.sleepers[1].kill()  # and not waited for, as by a launcher that is busy
    assert three.ended(1) == [(0, f"{three.name(1)} has died; the others stop too.", True)]


@short(silence=0.5)
def test_one_that_stands_still_is_missed_everywhere(three: _Three) -> None:
    before = time.monotonic()
    three.freeze(2)
    sentence = f"{three.name(2)} has not answered for 0.5 s; the others stop too."
    assert three.ended(2) == [(0, sentence, True), (1, sentence, False)]
    assert time.monotonic() - before > 0.4


@short(silence=0.5)
def test_when_the_first_stands_still_one_of_every_machine_speaks(three: _Three) -> None:
    three.freeze(0)
    sentence = f"{three.name(0)} has not answered for 0.5 s; the others stop too."
    assert three.ended(2) == [(1, sentence, True), (2, sentence, True)]


def test_when_the_store_is_gone_its_keepers_are_named(three: _Three) -> None:
    del three.server
    found = three.ended(2)
    sentence = f"{three.name(0)} has died, or the launcher with its store has; the others stop too."
    assert found == [(1, sentence, True), (2, sentence, True)]


KILLED = SimpleNamespace(took_store_along=lambda: True)


@short(launcher=KILLED, orphaned=0.5)
def test_when_the_launcher_is_killed_those_on_its_machine_have_time_to_stop(three: _Three) -> None:
    before = time.monotonic()
    del three.server
    sentence = "the launcher has died, and the processes did not stop within 0.5 s."
    elsewhere = f"{three.name(0)} has died, or the launcher with its store has; the others stop too."
    assert three.ended(3) == [(0, sentence, True), (1, sentence, False), (2, elsewhere, True)]
    assert time.monotonic() - before > 0.4


@short(launcher=KILLED)
def test_without_a_launcher_they_see_a_death_and_leave_without_a_word(three: _Three) -> None:
    three.watches[2].leave()
    del three.server
    while any(watch._orphaned is None for watch in three.watches[:2]):
        time.sleep(0.01)
    three.watches[1].leave()
    assert three.ends.empty()
    three.sleepers[1].kill()
    assert three.ended(1) == [(0, f"{three.name(1)} has died; the others stop too.", True)]


def test_a_pause_of_the_whole_machine_is_no_silence(three: _Three) -> None:
    for _ in range(3):
        three.ahead += 1000
        time.sleep(0.1)
    assert three.ends.empty()


def test_those_who_say_goodbye_are_not_missed(three: _Three) -> None:
    for rank in (1, 2):
        three.watches[rank].leave()
        three.sleepers[rank].kill()
        three.sleepers[rank].wait()
    time.sleep(0.2)
    assert three.ends.empty()
    three.watches[0].leave()  # it waits for nobody any more
    assert three.watches[0].over


@short(goodbye=0.3)
def test_the_first_leaves_last_for_the_store_may_end_with_it(three: _Three) -> None:
    three.watches[1].leave()
    before = time.monotonic()
    three.watches[0].leave()  # the last one never goes
    assert 0.3 <= time.monotonic() - before < LONG


@short(grace=0.3, verdict=0.3)
@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_is_told_to_the_others_who_end_after_a_grace(rank: int, three: _Three) -> None:
    before = time.monotonic()
    three.watches[rank].failed("ValueError: 7\n8", collective=False)
    sentence = f"{three.name(rank)} ended with an error (ValueError: 7\\n8); the others stop too."
    found = three.ended(2)
    assert time.monotonic() - before > 0.2
    assert [(other, text) for other, text, _ in found] == [(other, sentence) for other in range(3) if other != rank]
    assert [speaks for _, _, speaks in found] == ([True, True] if rank == 0 else [True, False])


def test_those_who_have_the_same_error_leave_by_themselves(three: _Three) -> None:
    for watch in reversed(three.watches):
        watch.failed("same", collective=False)
    assert three.ends.empty()
    assert not any(watch._thread.is_alive() for watch in three.watches)


def test_a_failed_collective_ends_by_the_death_it_comes_of(three: _Three) -> None:
    three.freeze(1)
    three.sleepers[1].kill()
    three.watches[0].failed("Connection closed by peer", collective=True)
    assert three.ended(1) == [(0, f"{three.name(1)} has died; the others stop too.", True)]


@short(verdict=0.3)
def test_a_failed_collective_of_which_nothing_is_known_leaves_as_any_error(three: _Three) -> None:
    three.watches[2].failed("Timed out", collective=True)
    assert three.ends.empty()
    assert three.server.get("test/life/2") == b"failed Timed out"


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

    monkeypatch.setattr(failures, "_watchdog", _Heard())
    with pytest.raises(type(error)), reporting_failure():
        raise error
    assert heard == told


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (RuntimeError("[../gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:999"), "Connection c"),
        (DistNetworkError("Connection reset by peer"), "Connection reset by peer"),
    ],
)
def test_a_collective_that_fails_for_no_reason_known_is_told_in_one_sentence(
    error: Exception, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "_watchdog", SimpleNamespace(failed=lambda *_: None))
    monkeypatch.setattr(failures, "_newest", lambda: Path("run/checkpoints/nimg-7"))
    with pytest.raises(UserError) as told, reporting_failure():
        raise error
    assert str(told.value).startswith(f"Another process of the run, or the launcher, has ended or hangs ({what}")
    assert str(told.value).endswith("). Start the same command again to resume from run/checkpoints/nimg-7.")


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes that nothing comes to."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    runs = start_pair(SCRIPT, pictures, folder, "-", "none", 0)
    said = outputs(runs, 300)
    assert [each.returncode for each in runs] == [0, 0], said
    return folder


def _sentence(output: str) -> str:
    assert "Traceback" not in output
    return next(line for line in output.splitlines() if line.startswith("error:"))


def test_one_of_two_is_killed_the_other_ends_with_a_sentence_and_the_run_goes_on(
    whole: Path, pictures: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    runs = start_pair(SCRIPT, pictures, "-", run, "kill", 12)
    runs[1].wait(300)
    before = time.monotonic()
    runs[0].wait(300)
    while not all(is_gone(each.pid) for each in runs):  # the loaders' workers too
        assert time.monotonic() - before < 60
        time.sleep(0.1)
    output = outputs(runs, 60)[0]
    assert [each.returncode for each in runs] == [1, -signal.SIGKILL], output
    assert _sentence(output).startswith(
        f"error: process 1 (host {socket.gethostname()}, pid {runs[1].pid}) has died; the others stop too. "
        f"Start the same command again to resume from {run}/checkpoints/nimg-0000000000"
    )
    left = sorted(path.name for path in (run / "checkpoints").glob("nimg-*"))
    assert left[0] == min(path.name for path in (whole / "checkpoints").iterdir())
    assert left[-1] <= "nimg-000000000048"
    assert checkpoint_content(run / "checkpoints" / left[-1]) == checkpoint_content(whole / "checkpoints" / left[-1])


def test_one_of_two_stands_still_the_other_ends_with_a_sentence(pictures: Path, tmp_path: Path) -> None:
    """Every launcher takes it for running, and the limit of the collective is half an hour."""
    runs = start_pair(SCRIPT, pictures, "-", tmp_path / "run", "stop", 5)
    runs[0].wait(300)
    os.killpg(runs[1].pid, signal.SIGKILL)
    output = outputs(runs, 60)[0]
    assert runs[0].returncode == 1, output
    assert _sentence(output).startswith(
        f"error: process 1 (host {socket.gethostname()}, pid {runs[1].pid}) has not answered for 3 s; the others stop"
    )


def test_a_signal_while_one_of_two_waits_for_pictures_stops_both_with_a_checkpoint(
    whole: Path, pictures: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    runs = start_pair(SCRIPT, pictures, "-", run, "starve", 7)
    while not (run / "starves").exists():
        assert all(each.poll() is None for each in runs), outputs(runs, 60)
        time.sleep(0.1)
    time.sleep(1)
    runs[0].send_signal(signal.SIGTERM)  # the one that has its pictures, and waits for the other
    said = outputs(runs, 60)
    assert [each.returncode for each in runs] == [143, 143], said
    last = sorted((run / "checkpoints").glob("nimg-*"))[-1]
    assert f"stopped by SIGTERM at {int(last.name[5:]) / 1000:g} kimg with the checkpoint {last}; " in said[0]
    assert not list((run / "checkpoints").glob(".*"))
    assert (run / "snapshots" / last.name).exists()
    runs = start_pair(SCRIPT, pictures, "-", run, "none", 0)
    said = outputs(runs, 300)
    assert [each.returncode for each in runs] == [0, 0], said
    assert f"resumed from {last}" in said[0]
    assert stats(run) == stats(whole)
    for path in (whole / "checkpoints").iterdir():
        assert checkpoint_content(run / "checkpoints" / path.name) == checkpoint_content(path)
