"""Meetings on a store, with threads that stand for processes."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from torch.distributed import TCPStore
from torch.distributed.distributed_c10d import PrefixStore

from progcycle.errors import UserError
from progcycle.runtime import rendezvous
from progcycle.runtime.rendezvous import Rendezvous, connect, gather_texts, main_process_first

LONG = 60.0  # seconds; nothing here should take that long
COUNT = 3


class _Processes:
    def __init__(self) -> None:
        self.server = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self.launcher: Any = SimpleNamespace(took_store_along=lambda: False)
        self.each = [
            Rendezvous(self._connect(), rank, COUNT, self.launcher, partial(self._collective, rank))
            for rank in range(COUNT)
        ]
        self.pool = ThreadPoolExecutor(COUNT)
        self.barrier, self.texts = threading.Barrier(COUNT, timeout=LONG), [""] * COUNT

    def _collective(self, rank: int, text: str) -> list[str]:
        self.texts[rank] = text
        self.barrier.wait()
        found = list(self.texts)
        self.barrier.wait()
        return found

    def _connect(self) -> PrefixStore:
        timeout = timedelta(seconds=LONG)
        client = TCPStore("127.0.0.1", self.server.port, is_master=False, timeout=timeout, wait_for_workers=False)
        return PrefixStore("test", client)

    def all(self, work: Callable[[Rendezvous], Any]) -> list[Any]:
        jobs = [self.pool.submit(work, each) for each in self.each]
        return [job.result(LONG) for job in jobs]


@pytest.fixture
def processes() -> Iterator[_Processes]:
    made = _Processes()
    yield made
    made.pool.shutdown()


def _nobody() -> None:
    return None


def test_texts_are_gathered_by_rank_again_and_again_and_leave_nothing_behind(processes: _Processes) -> None:
    before = processes.server.num_keys()
    for text in ("", "x", "\u00e9", "=\n") * 5:
        found = processes.all(lambda each, text=text: each.gather(f"{text}{each.rank}"))  # type: ignore[misc]
        assert found == [[f"{text}{rank}" for rank in range(COUNT)]] * COUNT
    assert processes.all(lambda each: each.gather("")) == [[""] * COUNT] * COUNT
    assert processes.server.num_keys() - before <= COUNT


def test_steps_begin_together_and_leave_nothing_behind(processes: _Processes) -> None:
    begun: list[int] = []

    def work(each: Rendezvous) -> list[int | None]:
        found = []
        for step in range(20):
            if each.rank == step % COUNT:
                time.sleep(0.01)
                assert begun.count(step) == 0, "somebody did not wait"
            found.append(each.begin_step(_nobody))
            begun.append(step)
        return found

    before = processes.server.num_keys()
    assert processes.all(work) == [[None] * 20] * COUNT
    assert processes.server.num_keys() - before <= 2


@pytest.mark.parametrize("heard", [[True, True], [True, False], [False, True]], ids=["all", "arrived", "waiting"])
def test_a_signal_while_one_waits_for_pictures_stops_all_before_the_step(
    heard: list[bool], processes: _Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last process waits for pictures; ``heard`` says whether the others and it have the signal."""
    monkeypatch.setattr(rendezvous, "SOON", 0.1)

    def work(each: Rendezvous) -> Any:
        waits = each.rank == COUNT - 1
        mine = signal.SIGTERM if heard[waits] else None
        assert each.begin_step(_nobody) is None
        if not waits:
            return each.begin_step(lambda: mine)
        for _ in range(100):
            time.sleep(0.05)
            if number := each.while_waiting(mine):
                return number
        raise AssertionError("it is not told")

    assert processes.all(work) == [signal.SIGTERM] * COUNT


def test_a_signal_and_the_last_pictures_at_one_moment_are_one_decision_for_all(processes: _Processes) -> None:
    """Whoever is first, nobody takes a step that another one leaves."""

    def work(each: Rendezvous) -> Any:
        for step in range(50):
            if each.rank == 1 and step % 10 == 9 and (number := each.while_waiting(signal.SIGTERM)):
                return step, number  # at the moment at which the others arrive
            if number := each.begin_step(_nobody):
                return step, number
        return None

    found = processes.all(work)
    assert found == found[:1] * COUNT


def test_who_has_to_stop_waits_for_one_that_does_something_long(
    processes: _Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendezvous, "SOON", 0.1)
    done: list[int] = []

    def work(each: Rendezvous) -> Any:
        if each.rank == 0:
            time.sleep(0.5)
            done.append(0)
        number = each.begin_step(lambda: signal.SIGINT)
        return number, list(done)

    assert processes.all(work) == [(signal.SIGINT, [0])] * COUNT


def test_without_the_launcher_and_its_store_they_meet_by_collectives(processes: _Processes) -> None:
    arrived = threading.Semaphore(0)

    def begin(each: Rendezvous) -> Any:
        arrived.release()
        return each.begin_step(_nobody), each.gather(f"x{each.rank}"), each.begin_step(_nobody), each.while_waiting(15)

    assert processes.all(lambda each: each.gather(f"{each.rank}")) == [["0", "1", "2"]] * COUNT
    waiting = [processes.pool.submit(begin, each) for each in processes.each[:2]]  # the last one is not there yet
    for _ in waiting:
        arrived.acquire(timeout=LONG)
    processes.launcher.took_store_along = lambda: True
    del processes.server
    waiting.append(processes.pool.submit(begin, processes.each[2]))
    assert [job.result(LONG) for job in waiting] == [(None, ["x0", "x1", "x2"], None, None)] * COUNT


@pytest.mark.parametrize("call", [lambda each: each.gather(""), lambda each: each.begin_step(_nobody)])
def test_a_store_that_goes_by_itself_is_an_error(call: Callable[[Rendezvous], Any], processes: _Processes) -> None:
    del processes.server
    with pytest.raises(RuntimeError):
        call(processes.each[0])


def test_the_first_comes_before_the_others(processes: _Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    own = threading.local()
    monkeypatch.setattr(rendezvous, "gather_texts", lambda text: own.rendezvous.gather(text))
    order: list[int] = []

    def work(each: Rendezvous) -> None:
        own.rendezvous = each
        with main_process_first(each.rank == 0):
            if each.rank == 0:
                time.sleep(0.2)
            order.append(each.rank)

    processes.all(work)
    assert order[0] == 0
    assert sorted(order) == [0, 1, 2]


def test_one_process_waits_for_nobody() -> None:
    assert rendezvous.current is None
    assert gather_texts("x") == ["x"]


def test_a_store_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        port = deaf.getsockname()[1]
        monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
        monkeypatch.setenv("MASTER_PORT", str(port))
        with pytest.raises(UserError, match=rf"cannot be reached at 127.0.0.1:{port} .*; use accelerate launch or "):
            connect("token", 0.5)
