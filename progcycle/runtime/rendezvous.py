"""Waiting for the other processes without a time limit, on the store of the launcher's rendezvous.

A collective is meant for messages of milliseconds, and its time limit (of torch: 10 minutes with NCCL, 30 with gloo)
ends a run whose processes hang. Some waits take longer: the first process evaluates, writes or builds a cache, or a
process waits for pictures. Meanwhile the others poll the store, and still react to signals.

The store ends with the launcher that holds it. If the launcher is killed, the processes use collectives for the few
steps and the checkpoint that remain.
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

SOON = 1.0  # seconds of waiting before a signal is handled here; until then the gradients may carry it
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
    """Synchronizes the processes on a store; all of them make the same calls in the same order.

    Args:
        store: shared by the processes.
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
        """Wait until every process has called this; return their texts by rank.

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
        if number:  # all have arrived, so nobody reads the earlier texts any more
            self.store.delete_key(f"text/{number - 1}/{self.rank}")
        return found

    def begin_step(self, requested_stop: Callable[[], int | None]) -> int | None:
        """Wait until all processes have their pictures, or one of them has received a signal.

        The store decides which of the two came first, so that all processes agree. Without the store, which ended with
        the launcher, all take every step: the votes that travel with the gradients then stop them together.

        Args:
            requested_stop: returns the signal that this process has received, or None.

        Returns:
            None if all take the step now; otherwise the signal, on which all stop before the step.

        Raises:
            RuntimeError: the store is gone, and the launcher is not.
        """
        if not self._store_is_gone:
            try:
                return self._begin_step_on_store(requested_stop)
            except RuntimeError as error:
                self._do_without_store(error)
        return None

    def _begin_step_on_store(self, requested_stop: Callable[[], int | None]) -> int | None:
        key = self._step
        if self.store.add(f"{key}/here", 1) == self.processes:
            self.store.compare_set(key, "", "0")
        began = time.monotonic()

        def poll() -> None:
            number = requested_stop()
            if number and time.monotonic() - began > SOON:
                self.store.compare_set(key, "", str(int(number)))

        self._wait_for([key], poll)
        if number := self._decision():
            return number
        self._steps += 1
        if self.rank == 0 and self._steps > 1:
            before = f"step/{self._steps - 2}"
            for old in (before, f"{before}/here"):
                self.store.delete_key(old)
        return None

    def while_waiting(self, signal_received: int | None) -> int | None:
        """Check, while this process still waits for its pictures, whether the next step is cancelled by a signal.

        Args:
            signal_received: the signal that this process has received, or None.

        Returns:
            The signal on which all processes stop before the step, or None.

        Raises:
            RuntimeError: the store is gone, and the launcher is not.
        """
        if not self._store_is_gone:
            try:
                if signal_received:
                    self.store.compare_set(self._step, "", str(int(signal_received)))
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
            self.gather("")  # one of them may be busy for a long time
        return number or None

    def _wait_for(self, keys: list[str], poll: Callable[[], None] = lambda: None) -> None:
        # Not store.wait: Python handles no signal during it, and it logs a warning at every timeout.
        began = time.monotonic()
        while not self.store.check(keys):
            poll()
            time.sleep(min((time.monotonic() - began) / 10 + 0.0002, 0.05))


current: Rendezvous | None = None  # of the processes of this run; None if there is only one


def gather_texts(text: str) -> list[str]:
    """The texts of all processes, by rank; every process must call this."""
    return [text] if current is None else current.gather(text)


@contextmanager
def main_process_first(is_first: bool) -> Iterator[None]:
    """Run the body in the first process, and then in the others."""
    if not is_first:
        gather_texts("")
    yield
    if is_first:
        gather_texts("")
