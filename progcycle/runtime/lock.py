"""One run, one writer: a lock on the run folder that ends with the process that holds it, however that ends."""

import contextlib
import errno
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from progcycle.errors import UserError
from progcycle.runtime.parallel import first_message

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = "lock.json"
HELD = (errno.EWOULDBLOCK, errno.EACCES)  # what flock says of a lock that somebody else has
_open: set[int] = set()  # the files whose locks this process holds


class RunLock:
    """The right to write into a run folder, which the first process takes for all processes of the run.

    The operating system holds the lock, and gives it back when the process is gone: a run that was killed is in
    nobody's way. Where a file system has no such locks, the process that the file names is looked for instead. On
    another machine that is impossible; there it counts as running.

    Args:
        run_dir: the run folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.path = run_dir, run_dir / NAME
        self._file: int | None = None

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lock back, if this process has it."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # the folder may have gone
            self.path.unlink()
        self._close(self._file)
        self._file = None

    def take(self, accelerator: Accelerator) -> None:
        """Take the lock, unless it is taken already; every process must call this.

        Raises:
            UserError: somebody else writes into the folder, or it cannot be written.
        """
        refused = ""
        if accelerator.is_main_process and self._file is None:
            try:
                self._file = self._take()
            except UserError as error:
                refused = str(error)
            except OSError as error:
                refused = f"The run folder {self.run_dir} cannot be written ({error.strerror}); choose another one."
        if refused := first_message(refused):
            raise UserError(refused)

    def _take(self) -> int:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        while True:
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)  # not emptied: somebody may stand in it
            _open.add(file)
            try:
                self._lock(file)
                if self._is_in_place(file):
                    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%F %T")}
                    os.ftruncate(file, 0)
                    os.lseek(file, 0, os.SEEK_SET)
                    os.write(file, (json.dumps(holder) + "\n").encode())
                    return file
            except BaseException:
                self._close(file)
                raise
            self._close(file)

    def _lock(self, file: int) -> None:
        try:
            if fcntl is None:
                raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read(file)
            who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, since {holder.get('since', '?')}"
            refusal = f"{self.run_dir} is being written by {who}; stop that one first, or use another --run-dir."
            if error.errno in HELD:
                raise UserError(refusal) from None
            if _may_run(holder):
                raise UserError(f"{refusal} If it has ended, delete {self.path}.") from None

    def _is_in_place(self, file: int) -> bool:
        """Whether the file is still the one that others will open; its last holder removes it as it goes."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False

    @staticmethod
    def _close(file: int) -> None:
        _open.discard(file)
        os.close(file)


def _read(file: int) -> dict[str, Any]:
    """What a holder wrote about itself; empty if that is not readable."""
    try:
        content = json.loads(os.read(file, 1000))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _may_run(holder: dict[str, Any]) -> bool:
    """Whether the process that a lock file names may still be there."""
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid in (0, os.getpid()):
        return False
    if holder.get("host") != socket.gethostname() or os.name != "posix":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass
    return True


def _forget() -> None:
    """Close the files in a process that was forked, such as the loader's: it would keep the lock when this one dies."""
    for file in tuple(_open):
        with contextlib.suppress(OSError):
            os.close(file)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
