"""When a process of the run dies or fails, the others end soon, with a message, and without trying a checkpoint."""

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
from torch.distributed import DistError

from progcycle.errors import UserError, one_line
from progcycle.runtime import rendezvous
from progcycle.runtime.launcher import Launcher
from progcycle.runtime.stop import StoppedError
from progcycle.runtime.watchdog import Peer, Timeouts, Watchdog

PATIENCE = 5.0  # seconds for last messages; a full pipe or a lost disk must not keep a process alive
TIMEOUTS = Timeouts()

_watchdog: Watchdog | None = None  # one for all runs in these processes, as their group is
_newest: Callable[[], Path | None] | None = None


def start_watchdog(accelerator: Accelerator, newest: Callable[[], Path | None]) -> None:
    """Connect several processes to the store and start the watchdog; every process must call this.

    Args:
        accelerator: the processes.
        newest: returns the checkpoint from which the run would resume.

    Raises:
        UserError: the rendezvous store cannot be reached.
    """
    global _watchdog, _newest
    if accelerator.num_processes == 1:
        return
    _newest = newest
    if _watchdog is not None:
        return
    token = secrets.token_hex(16)  # a restart by torchrun must not read the keys of the attempt before
    found = gather_object([{"host": socket.gethostname(), "pid": os.getpid(), "token": token}])
    rank, token = accelerator.process_index, found[0]["token"]
    members = [Peer(each, about["host"], about["pid"]) for each, about in enumerate(found)]
    launcher = Launcher()
    watchdog = Watchdog(rank, members, rendezvous.connect(token), _end, TIMEOUTS, launcher)
    rendezvous.current = rendezvous.Rendezvous(rendezvous.connect(token), rank, len(members), launcher)
    watchdog.start()
    _watchdog = watchdog


def stop_watchdog(reason: str | None = None) -> None:
    """Stop the watchdog and tell the others, see :meth:`Watchdog.leave`; without a reason all stop together."""
    global _watchdog
    watchdog, _watchdog = _watchdog, None
    if watchdog is None:
        return
    if reason is None and not watchdog.over:
        with suppress(RuntimeError):  # the run is done; a process that dies now does no harm
            rendezvous.gather_texts("")
    watchdog.leave(reason)
    rendezvous.current = None


@contextmanager
def reporting_failure() -> Iterator[None]:
    """Report an error of this process to the others, unless it is only the consequence of a failure of theirs.

    When a process dies, collectives of the others fail; when it hangs, they fail after their time limit. Such errors
    have no type of their own, so at every ``RuntimeError`` the watchdog gets a moment to find the cause.

    Raises:
        UserError: in place of a collective's error of unknown cause.
    """
    try:
        yield
    except StoppedError:  # all processes stop together
        raise
    except BaseException as error:
        if _watchdog is not None:
            text = " ".join(str(error).split())
            reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
            _watchdog.failed(reason, isinstance(error, RuntimeError))
            if isinstance(error, DistError) or (isinstance(error, RuntimeError) and "gloo" in text.lower()):
                what = one_line(text.removeprefix("[").partition("] ")[2] or text)[:120]
                raise UserError(
                    f"Another process of the run, or the launcher, has ended or hangs ({what}). {_advice()}"
                ) from None
        raise


def _end(sentence: str, prints: bool) -> None:
    """End this process at once. The main thread may be stuck in a collective, where no exception reaches it."""
    backstop = threading.Timer(PATIENCE, os._exit, (1,))
    backstop.daemon = True
    backstop.start()
    if prints:  # not through Python's buffers, whose locks another thread may hold
        start = "\n" if sys.stderr.isatty() else ""  # below the progress bar
        with suppress(OSError):  # nobody may be there to read it
            os.write(2, f"{start}error: {sentence}".encode())
        with suppress(OSError):
            os.write(2, f" {_advice()}\n".encode())
    for child in multiprocessing.active_children():
        child.kill()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(1)


def _advice() -> str:
    newest = None if _newest is None else _newest()
    where = "; there is no checkpoint yet" if newest is None else f" to resume from {newest}"
    return f"Start the same command again{where}."


def _forget() -> None:
    """Forget the run in a forked process, such as a worker of the loader."""
    global _watchdog
    _watchdog = rendezvous.current = None


atexit.register(stop_watchdog, "it left before the end of the run")
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
