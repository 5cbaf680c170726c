"""Processes that meet on the store of their launcher's rendezvous: they wait there, as long as it takes.

A collective is for messages of milliseconds. Its limit (torch's own: 10 minutes with NCCL, 30 with gloo) ends a run
whose processes hang. For what may take longer, as when the first process evaluates, writes or builds a cache, and when
one waits for pictures, the others wait here, and look around meanwhile.

The store ends with the launcher that holds it. If that is killed, they meet by collectives, for the few steps and the
checkpoint that are left to do.
"""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from accelerate.utils import gather_object
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.distributed.distributed_c10d import PrefixStore, Store

from progcycle.errors import UserError
from progcycle.runtime.launcher import Launcher

SOON = 1.0  # seconds of waiting before a signal is acted on: until then it may travel with the gradients
ANSWER = 45.0  # seconds for an answer of the store, which takes microseconds


def connect(token: str, seconds: float = ANSWER) -> Store:
    """A connection of its own to the store that the launcher's environment names.

    Args:
        token: tells the keys of this run from those of others.
        seconds: after which an answer counts as missing.

    Raises:
        UserError: it cannot be reached.
    """
    host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), int(os.environ.get("MASTER_PORT", "29500"))
    try:
        client = TCPStore(host, port, is_master=False, timeout=timedelta(seconds=seconds), wait_for_workers=False)
    except RuntimeError:
        raise UserError(
            f"The rendezvous store of the launcher cannot be reached at {host}:{port} (MASTER_ADDR, MASTER_PORT); use "
            "accelerate launch or torchrun, and open that port."
        ) from None
    return PrefixStore(f"progcycle/{token}", client)


def gather_by_collective(text: str) -> list[str]:
    """The texts of all processes, by rank; every process must call this."""
    return list(gather_object([text]))


class Rendezvous:
    """One process's side of the meetings; all processes make the same calls in the same order.

    Args:
        store: where they meet.
        rank: of this process.
        processes: how many there are.
        launcher: who may hold the store.
        collective: gathers the texts of all processes without it.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        processes: int,
        launcher: Launcher | None = None,
        collective: Callable[[str], list[str]] = gather_by_collective,
    ) -> None:
        self.store, self.rank, self.processes = store, rank, processes
        self.launcher, self.collective = launcher, collective
        self._texts = self._steps = 0
        self._store_is_gone = False

    def gather(self, text: str) -> list[str]:
        """The texts of all processes, by rank, once all have given one.

        Raises:
            RuntimeError: the store is gone, and the launcher is not.
        """
        if not self._store_is_gone:
            try:
                return self._gather_on_store(text)
            except RuntimeError as error:
                self._do_without_store(error)
        return self.collective(text)

    def _gather_on_store(self, text: str) -> list[str]:
        number = self._texts
        self._texts += 1
        keys = [f"text/{number}/{rank}" for rank in range(self.processes)]
        self.store.set(keys[self.rank], f"={text}")
        self._wait_for(keys)
        found = [value.decode()[1:] for value in self.store.multi_get(keys)]
        if number:  # all are here, so nobody reads the texts of before any more
            self.store.delete_key(f"text/{number - 1}/{self.rank}")
        return found

    def begin_step(self, asked: Callable[[], int | None]) -> int | None:
        """Wait until all processes are here with their pictures, or one of them was asked to stop.

        Which of the two comes first is decided by the store, for all of them. Once it went with the launcher, all take
        every step: the first gradients tell those of them to stop who do not know it yet.

        Args:
            asked: the signal that this process was asked to stop by, if there is one.

        Returns:
            None for a step that all take now; otherwise the signal, with which all are here without another step.

        Raises:
            RuntimeError: the store is gone, and the launcher is not.
        """
        if not self._store_is_gone:
            try:
                return self._begin_step_on_store(asked)
            except RuntimeError as error:
                self._do_without_store(error)
        return None

    def _begin_step_on_store(self, asked: Callable[[], int | None]) -> int | None:
        key = self._step
        if self.store.add(f"{key}/here", 1) == self.processes:
            self.store.compare_set(key, "", "0")
        began = time.monotonic()

        def look() -> None:
            number = asked()
            if number and time.monotonic() - began > SOON:
                self.store.compare_set(key, "", str(int(number)))

        self._wait_for([key], look)
        if number := self._decision():
            return number
        self._steps += 1
        if self.rank == 0 and self._steps > 1:
            before = f"step/{self._steps - 2}"
            for old in (before, f"{before}/here"):
                self.store.delete_key(old)
        return None

    def while_waiting(self, asked: int | None) -> int | None:
        """The signal that the step is left for which this process is not here yet; to be called now and then.

        Args:
            asked: the signal that this process was asked to stop by, if there is one.

        Raises:
            RuntimeError: the store is gone, and the launcher is not.
        """
        if not self._store_is_gone:
            try:
                if asked:
                    self.store.compare_set(self._step, "", str(int(asked)))
                return self._decision() if self.store.check([self._step]) else None
            except RuntimeError as error:
                self._do_without_store(error)
        return None

    def _do_without_store(self, error: RuntimeError) -> None:
        if self.launcher is None or not self.launcher.took_store_along():
            raise error
        self._store_is_gone = True

    @property
    def _step(self) -> str:
        return f"step/{self._steps}"

    def _decision(self) -> int | None:
        number = int(self.store.get(self._step))
        if number:
            self.gather("")  # one of them may be in the middle of something long
        return number or None

    def _wait_for(self, keys: list[str], look: Callable[[], None] = lambda: None) -> None:
        # Not store.wait: no signal of Python would be heard in it, and it warns whenever its time is over.
        began = time.monotonic()
        while not self.store.check(keys):
            look()
            time.sleep(min((time.monotonic() - began) / 10 + 0.0002, 0.05))


current: Rendezvous | None = None  # of these processes; None if there is one only


def gather_texts(text: str) -> list[str]:
    """The texts of all processes, by rank; every process must call this."""
    return [text] if current is None else current.gather(text)


@contextmanager
def main_process_first(is_first: bool) -> Iterator[None]:
    """Do something in the first process, and then in the others."""
    if not is_first:
        gather_texts("")
    yield
    if is_first:
        gather_texts("")
