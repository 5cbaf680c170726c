"""A watchdog: processes exchange heartbeats on the rendezvous store, independently of collectives and devices.

Launchers (torchrun, and accelerate launch, which uses it) notice when a process exits: they send SIGTERM to the others
on its machine, and SIGKILL after 30 s. The watchdog catches what a launcher does not:

* a process or a machine that is frozen, which a launcher takes for running;
* a death or an error while the others wait on the store, which has no time limit: they end at once with a message.
  SIGTERM alone would let them try a checkpoint that cannot be completed;
* both of these without a launcher, or with one on another machine.

If the launcher that holds the store is killed, the store is lost too. The processes then stop with a checkpoint, as on
SIGTERM, and until then only check each other's process ids, for a limited time.

A process whose main thread hangs while its other threads run is not noticed, since it may just be busy. The time limit
of collectives ends the others if they wait in one.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import psutil  # type: ignore[import-untyped]
from torch.distributed.distributed_c10d import Store

from progcycle.errors import one_line
from progcycle.runtime.launcher import Launcher
from progcycle.runtime.rendezvous import ANSWER

GONE, FAILED = "gone", "failed "  # what a process that leaves writes in place of its heartbeat


@dataclass(frozen=True)
class Timeouts:
    """Times in seconds.

    Attributes:
        tick: between two checks.
        beat: between two heartbeats.
        silence: without a heartbeat, until a process counts as hanging.
        grace: before a process ends because of an error elsewhere; it may have the same error and leave by itself.
        verdict: that a failed collective waits to learn whether another process has died.
        goodbye: that the first process waits for the others to leave.
        orphaned: that processes may take to stop without launcher and store.
    """

    tick: float = 1.0
    beat: float = 5.0
    silence: float = ANSWER
    grace: float = 10.0
    verdict: float = 5.0
    goodbye: float = 10.0
    orphaned: float = 300.0


@dataclass(frozen=True)
class Peer:
    """A process of the run."""

    rank: int
    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.rank} (host {self.host}, pid {self.pid})"


class Watchdog:
    """Sends the heartbeats of this process and checks those of the others, in a thread.

    Args:
        rank: of this process.
        members: all processes, by rank.
        store: a connection of its own, since each handles one request at a time.
        end: called when another process is lost, with a message and whether this process prints it; in the thread of
            the watchdog, once, and never after :meth:`leave`.
        limits: see :class:`Timeouts`.
        launcher: who may hold the store.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        rank: int,
        members: Sequence[Peer],
        store: Store,
        end: Callable[[str, bool], None],
        limits: Timeouts | None = None,
        launcher: Launcher | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rank, self.members, self.store, self.limits = rank, members, store, limits or Timeouts()
        self._end, self._launcher, self._now = end, launcher, now
        self._store_is_here = members[rank].host == members[0].host  # it is on the machine of the first process
        self._orphaned: float | None = None  # since when, by the thread's clock
        self._heartbeats = {
            member.rank: ("", 0.0) for member in members if member.rank != rank
        }  # heartbeat, and when it came
        self._neighbours = [m for m in members if m.rank != rank and m.host == members[rank].host]
        self._neighbours = [m for m in self._neighbours if _runs(m.pid)]  # containers may share a host name
        self._lock, self._over = threading.Lock(), threading.Event()
        self._left = self._failed = self._ending = False
        self._clock = self._last_beat = 0.0  # seconds, pauses of this process left out
        self._beats = 0
        self._lost: tuple[str, bool, float] | None = None  # a sentence, whether to print it, moment
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    # --- for the main thread -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start sending heartbeats, and checking those of the others once all have sent one.

        Raises:
            RuntimeError: the store is gone.
        """
        self._beat()
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether this process has left."""
        return self._left

    def failed(self, reason: str, collective: bool) -> None:
        """Tell the others that this process ends with an error.

        Args:
            reason: the error.
            collective: whether another process's death may be the cause: then ``end`` gets the chance to run first.
        """
        if collective and not self._left:
            self._failed = True
            # By the thread's clock: after a pause of this process, the thread checks before this wait ends.
            until = self._clock + self.limits.verdict
            while self._clock < until and self._thread.is_alive():
                time.sleep(self.limits.tick)
        self.leave(reason)

    def leave(self, reason: str | None = None) -> None:
        """Leave, and stop watching. Only the first call has an effect.

        Args:
            reason: the error with which this process ends; None if there is none.
        """
        with self._lock:
            if self._left or self._ending:
                return
            self._left = True
        self._over.set()
        self._thread.join(self.limits.goodbye)
        with suppress(RuntimeError):  # the store has gone, and with it those who would read this
            self.store.set(self._key(self.rank), GONE if reason is None else FAILED + one_line(reason)[:300])
            if self.rank == 0:  # the store may end with this process
                self._wait_for_the_others(self.limits.goodbye if reason is None else 3 * self.limits.tick)

    def _wait_for_the_others(self, seconds: float) -> None:
        end = self._now() + seconds
        while self._now() < end:
            if all(value == GONE or value.startswith(FAILED) for value in self._read().values()):
                return
            time.sleep(min(self.limits.tick, 0.05))

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        before = self._now()
        while not self._over.wait(self.limits.tick):
            now = self._now()
            # A pause of this process, such as a suspended machine, does not count as silence of the others.
            self._clock += min(now - before, 2 * self.limits.tick)
            before = now
            dead = [member.rank for member in self._neighbours if not _runs(member.pid)]
            if self._orphaned is not None:
                if self._clock > self._orphaned + self.limits.orphaned:
                    words = f"the launcher has died, and the processes did not stop within {self.limits.orphaned:g} s."
                    self._lost = self._lost or (words, self.rank == 0, self._clock)
            elif 0 not in dead:  # the store may have died with it
                try:
                    self._exchange()
                except RuntimeError:
                    if self._store_is_here and self._launcher is not None and self._launcher.took_store_along():
                        self._orphaned = self._clock
                    elif self.rank == 0:  # the next meeting raises the same
                        return
                    else:
                        self._lose(0, "has died, or the launcher with its store has")
            for rank in dead:
                if self._heartbeats[rank][0] != GONE:
                    self._lose(rank, "has died")
            self._end_if_lost()

    def _exchange(self) -> None:
        if self._clock >= self._last_beat + self.limits.beat:
            self._beat()
        self._record(self._read())

    def _beat(self) -> None:
        self._last_beat = self._clock
        self._beats += 1
        self.store.set(self._key(self.rank), str(self._beats))

    def _read(self) -> dict[int, str]:
        keys = [self._key(rank) for rank in self._heartbeats]
        if not self.store.check(keys):  # not all have begun
            return {}
        return dict(zip(self._heartbeats, (value.decode() for value in self.store.multi_get(keys)), strict=True))

    def _record(self, lives: dict[int, str]) -> None:
        for rank, life in lives.items():
            known, moment = self._heartbeats[rank]
            if life != known:
                self._heartbeats[rank] = life, self._clock
                if life.startswith(FAILED):
                    reason = life.removeprefix(FAILED)
                    self._lose(rank, f"ended with an error ({reason})", self.limits.grace)
            elif life.isdigit() and self._clock > moment + self.limits.silence:
                self._lose(rank, f"has not answered for {self.limits.silence:g} s")

    def _lose(self, rank: int, what: str, grace: float = 0.0) -> None:
        """Record that a process is lost; later losses are consequences of the first."""
        if self._lost is None and not self._left and rank != self.rank:
            sentence = f"{self.members[rank]} {what}; the others stop too."
            self._lost = sentence, self._prints(rank), self._clock + grace

    def _end_if_lost(self) -> None:
        if self._lost is None:
            return
        sentence, speaks, moment = self._lost
        if self._clock < moment and not self._failed:
            return
        with self._lock:
            if self._left:
                return
            self._ending = True
        self._over.set()
        self._end(sentence, speaks)

    def _prints(self, lost: int) -> bool:
        """Whether this process prints that another one is lost."""
        if lost != 0:
            return self.rank == 0
        # The others cannot agree without the store: one process on each machine prints.
        host = self.members[self.rank].host
        return self.rank == min(member.rank for member in self.members[1:] if member.host == host)

    @staticmethod
    def _key(rank: int) -> str:
        return f"life/{rank}"


def _runs(pid: int) -> bool:
    """Whether a process of this machine is running; a zombie is not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return os.path.exists(f"/proc/{pid}")
