"""When a process of the run dies, the others end: for sure, soon, with a sentence, and without trying a checkpoint."""

import atexit
import multiprocessing
import os
import secrets
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from accelerate import Accelerator
from accelerate.utils import gather_object

from progcycle.runtime.parallel import first_told
from progcycle.runtime.stop import StoppedError
from progcycle.runtime.watch import Member, Watch

PATIENCE = 5.0  # seconds for last words; a full pipe or a lost disk must not keep a process

_watch: Watch | None = None  # one for all runs in these processes, as their group is
_newest: Callable[[], Path | None] | None = None


def begin(accelerator: Accelerator, newest: Callable[[], Path | None]) -> None:
    """Let several processes watch each other, until :func:`leave`; every process must call this.

    Where they cannot reach each other, the first one warns, and training goes on without.

    Args:
        accelerator: the processes.
        newest: finds the checkpoint that the run would go on from.
    """
    global _watch, _newest
    if accelerator.num_processes == 1:
        return
    _newest = newest
    if _watch is not None:
        return
    server, own = None, {"host": socket.gethostname(), "pid": os.getpid(), "port": 0, "token": ""}
    if accelerator.is_main_process:
        server = _listen()
        own |= {"port": server.getsockname()[1], "token": secrets.token_hex(16)}
    found = gather_object([own])
    members = [Member(rank, each["host"], each["pid"]) for rank, each in enumerate(found)]
    watch = Watch(accelerator.process_index, members, found[0]["token"], _end)
    _watch = watch
    if problem := first_told(watch.meet(server or (os.environ.get("MASTER_ADDR", "127.0.0.1"), found[0]["port"]))):
        leave()
        if accelerator.is_main_process:
            print(
                f"warning: the processes cannot watch each other ({problem}); when one dies, the others may wait",
                file=sys.stderr,
                flush=True,
            )


def _listen() -> socket.socket:
    """A socket at a free port, for all addresses of this machine."""
    if socket.has_dualstack_ipv6():
        with suppress(OSError):  # a kernel may know IPv6 and have no address of it
            return socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    return socket.create_server(("", 0))


def leave(reason: str | None = None) -> None:
    """Watch no more, and let the others know; see :meth:`Watch.leave`."""
    global _watch
    watch, _watch = _watch, None
    if watch is not None:
        watch.leave(reason)


@contextmanager
def guard() -> Iterator[None]:
    """Tell the other processes of an error, unless it is one of theirs that has reached this one: then end by it.

    A process that dies makes collectives of the others fail. Such errors have no type of their own, so every
    ``RuntimeError`` waits a little for the verdict.
    """
    try:
        yield
    except StoppedError:  # all leave together
        raise
    except BaseException as error:
        if _watch is not None:
            text = " ".join(str(error).split())
            reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
            _watch.failed(reason, isinstance(error, RuntimeError))
        raise


def _end(sentence: str, speaks: bool) -> None:
    """End this process. The main thread may wait in a collective for ever, so that no exception would do."""
    backstop = threading.Timer(PATIENCE, os._exit, (1,))
    backstop.daemon = True
    backstop.start()
    if speaks:  # past Python's buffers, whose locks others may hold
        start = "\n" if sys.stderr.isatty() else ""  # below the progress bar
        with suppress(OSError):  # nobody may be there to read it
            os.write(2, f"{start}error: {sentence}".encode())
        newest = None if _newest is None else _newest()
        where = "; there is no checkpoint yet" if newest is None else f" to go on from {newest}"
        with suppress(OSError):
            os.write(2, f" Start the same command again{where}.\n".encode())
    for child in multiprocessing.active_children():
        child.kill()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(1)


def _forget() -> None:
    """Close the sockets in a process that was forked, such as the loader's."""
    global _watch
    watch, _watch = _watch, None
    if watch is not None:
        watch.close()


atexit.register(leave, "it left before the end of the run")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
