"""Processes that watch each other through sockets of their own, whatever their collectives and devices do.

The first process listens and passes news on, every other one has one connection to it. The kernel closes the sockets
of a process that is killed, and this is known at once. A process or a machine that stands still sends no beats.
"""

import json
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from progcycle.errors import one_line

LONGEST = 10_000  # bytes of a message


@dataclass(frozen=True)
class Limits:
    """Seconds.

    Attributes:
        tick: how often a process looks.
        beat: between two signs of life.
        silence: without one, until a process counts as hanging.
        grace: for a process that may have the same error as another, and then leaves by itself.
        verdict: that a failed collective waits for news of the others.
        meeting: until all have found each other.
    """

    tick: float = 1.0
    beat: float = 5.0
    silence: float = 45.0
    grace: float = 10.0
    verdict: float = 5.0
    meeting: float = 30.0


@dataclass(frozen=True)
class Member:
    """A process of the run."""

    rank: int
    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.rank} (host {self.host}, pid {self.pid})"


@dataclass
class _Link:
    """A connection; a rank is known once the other side has shown its ticket."""

    socket: socket.socket
    rank: int | None
    heard: float
    buffer: bytes = b""


class Watch:
    """One process's view of the others.

    Args:
        rank: of this process.
        members: all processes, by rank.
        token: the secret that all of them share; connections without it are ignored.
        end: what to do when another process is lost: it gets a sentence and whether this process is to print it. It is
            called in the watching thread, once, and not after :meth:`leave`.
        limits: see :class:`Limits`.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        rank: int,
        members: Sequence[Member],
        token: str,
        end: Callable[[str, bool], None],
        limits: Limits | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rank, self.members, self.limits = rank, members, limits or Limits()
        self._end, self._now = end, now
        self._tickets = {f"{token} {member.rank}".encode(): member.rank for member in members}
        self._own_ticket = f"{token} {rank}".encode()
        self._selector = selectors.DefaultSelector()
        self._links: list[_Link] = []
        self._server: socket.socket | None = None
        self._together = threading.Event()
        self._lock = threading.Lock()
        self._left = self._failed = self._ending = False
        self._clock = self._last_beat = 0.0  # seconds that this process was awake
        self._lost: tuple[Member, str, float] | None = None
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    # --- for the main thread -------------------------------------------------------------------------------------

    def meet(self, place: socket.socket | tuple[str, int]) -> str:
        """Begin to watch; every process must call this at about the same time.

        Args:
            place: in the first process a socket that listens; in the others, its address.

        Returns:
            Why not all of them can watch each other, or an empty text.
        """
        try:
            if isinstance(place, socket.socket):
                del self._tickets[self._own_ticket]
                self._server = place
                place.setblocking(False)
                self._selector.register(place, selectors.EVENT_READ, None)
            else:
                connection = socket.create_connection(place, timeout=self.limits.meeting)
                connection.sendall(self._own_ticket + b"\n")
                self._add(connection, 0)
        except OSError as error:
            return f"process {self.rank} cannot reach the first one: {error.strerror or error}"
        self._thread.start()
        if not self._together.wait(self.limits.meeting):
            return f"process {self.rank} waited for the others in vain"
        return ""

    def failed(self, reason: str, collective: bool) -> None:
        """Tell the others that this process leaves by an error.

        Args:
            reason: the error.
            collective: whether it may come of another process's death: then ``end`` has its turn before.
        """
        others = self._lost is not None or any(link.rank is not None for link in self._links)
        if collective and others and not self._left:
            self._failed = True
            # By the thread's clock: after a pause of this process, it looks before this ends.
            until = self._clock + self.limits.verdict
            while self._clock < until and self._thread.is_alive():
                time.sleep(self.limits.tick)
        self.leave(reason)

    def leave(self, reason: str | None = None) -> None:
        """Say goodbye, and watch no more. Only the first goodbye counts.

        Args:
            reason: the error by which this process leaves; None if all is well.
        """
        with self._lock:
            if self._left or self._ending:
                return
            self._left = True
            self._tell({"bye": None if reason is None else one_line(reason)[:300]})
            for link in tuple(self._links):
                with suppress(OSError):
                    link.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the sockets without a word; a fork must do so, or they would outlive the process that it came from."""
        for each in (self._server, *(link.socket for link in self._links)):
            if each is not None:
                each.close()
        self._selector.close()

    # --- the thread ----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        before = self._now()
        while not (self._left or self._ending) and (self._links or self._server or self._lost):
            for key, _ in self._selector.select(self.limits.tick):
                if key.data is None:
                    self._accept()
                else:
                    self._read(key.data)
            now = self._now()
            # A pause of this process, as of the whole machine, is no silence of the others.
            self._clock += min(now - before, 2 * self.limits.tick)
            before = now
            if self._clock >= self._last_beat + self.limits.beat:
                self._last_beat = self._clock
                self._tell({"beat": None})
            self._look()
        with self._lock:  # not before a goodbye has been said to all
            self.close()

    def _look(self) -> None:
        for link in tuple(self._links):
            if self._clock > link.heard + self.limits.silence:
                if link.rank is None:
                    self._drop(link)
                else:
                    self._lose(link.rank, f"has not answered for {self.limits.silence:g} s")
        if self._lost is None:
            return
        member, what, moment = self._lost
        if self._clock < moment and not self._failed:
            return
        with self._lock:
            if self._left:
                return
            self._ending = True
        self._end(f"{member} {what}; the others stop too.", self._speaks(member.rank))

    def _speaks(self, lost: int) -> bool:
        """Whether this process prints that another one is lost."""
        if lost != 0 or self.rank == 0:
            return self.rank in (0, lost)
        # The others cannot agree any more: one on each machine speaks.
        host = self.members[self.rank].host
        return self.rank == min(member.rank for member in self.members[1:] if member.host == host)

    def _lose(self, rank: int, what: str, grace: float = 0.0) -> None:
        """Note that a process is lost, and pass it on. What follows from it, or from this one's goodbye, is no news."""
        if self._lost is None and not self._left and 0 <= rank < len(self.members):
            self._lost = self.members[rank], what, self._clock + grace
            self._tell({"lost": [rank, what, grace]})

    # --- connections ---------------------------------------------------------------------------------------------

    def _add(self, connection: socket.socket, rank: int | None) -> None:
        connection.setblocking(False)
        link = _Link(connection, rank, self._clock)
        self._links.append(link)
        self._selector.register(connection, selectors.EVENT_READ, link)

    def _accept(self) -> None:
        assert self._server is not None
        with suppress(OSError):
            self._add(self._server.accept()[0], None)

    def _drop(self, link: _Link) -> None:
        if link in self._links:
            self._links.remove(link)
            self._selector.unregister(link.socket)
            link.socket.close()

    def _read(self, link: _Link) -> None:
        try:
            data = link.socket.recv(LONGEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, link.buffer = (link.buffer + data).split(b"\n")
        for line in lines:
            if link in self._links:
                self._hear(link, line)
        if link in self._links and (not data or len(link.buffer) > LONGEST):
            self._drop(link)
            if link.rank is not None:
                self._lose(link.rank, "has died")

    def _hear(self, link: _Link, line: bytes) -> None:
        if link.rank is None:
            self._admit(link, line)
            return
        link.heard = self._clock
        message: dict[str, Any] = json.loads(line)
        if "welcome" in message:
            self._together.set()
        elif "lost" in message:
            self._lose(*message["lost"])
        elif "bye" in message:
            self._drop(link)
            if message["bye"] is not None:
                self._lose(link.rank, f"ended with an error ({message['bye']})", self.limits.grace)

    def _admit(self, link: _Link, ticket: bytes) -> None:
        """Let a process in by its ticket, and a stranger not."""
        link.rank, link.heard = self._tickets.pop(ticket, None), self._clock
        if link.rank is None:
            self._drop(link)
        elif not self._tickets:  # all are there
            assert self._server is not None
            self._selector.unregister(self._server)
            self._server.close()
            self._server = None
            for stranger in [each for each in self._links if each.rank is None]:
                self._drop(stranger)
            self._tell({"welcome": None})
            self._together.set()

    def _tell(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        for link in tuple(self._links):
            if link.rank is not None:
                with suppress(OSError):  # of one that is gone, reading tells
                    link.socket.send(data)
