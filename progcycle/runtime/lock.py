"""A lock on the run folder, so that one run at a time writes there; it ends with the process that holds it."""

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
LOCK_HELD = (errno.EWOULDBLOCK, errno.EACCES)  # errors of flock if another process holds the lock
_open: set[int] = set()  # descriptors of the locks that this process holds


class RunLock:
    """The lock on a run folder, which the first process takes for all processes of the run.

    The operating system releases the lock when the process ends, so a killed run blocks nobody. On a file system
    without such locks, the process named in the file is looked up instead; a process on another machine counts as
    running.

    Args:
        run_dir: the run folder.
    """

    def __init__(self, run_dir: Path) -> None:
        self.run_dir, self.path = run_dir, run_dir / NAME
        self._file: int | None = None

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *_: object) -> None:
        """Release the lock, if this process holds it."""
        if self._file is None:
            return
        with contextlib.suppress(OSError):  # the folder may have gone
            self.path.unlink()
        self._close(self._file)
        self._file = None

    def take(self, accelerator: Accelerator) -> None:
        """Take the lock, unless it is taken already; every process must call this.

        Raises:
            UserError: another process writes into the folder, or it cannot be written.
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
            file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)  # not truncated: it may name the holder
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
            if error.errno in LOCK_HELD:
                raise UserError(refusal) from None
            if _may_run(holder):
                raise UserError(f"{refusal} If it has ended, delete {self.path}.") from None

    def _is_in_place(self, file: int) -> bool:
        """Whether the path still leads to this file; the last holder deletes it when it ends."""
        try:
            return os.path.samestat(os.fstat(file), os.stat(self.path))
        except FileNotFoundError:
            return False

    @staticmethod
    def _close(file: int) -> None:
        _open.discard(file)
        os.close(file)


def _read(file: int) -> dict[str, Any]:
    """What a lock file says of its holder; empty if it cannot be read."""
    try:
        content = json.loads(os.read(file, 1000))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _may_run(holder: dict[str, Any]) -> bool:
    """Whether the process named in a lock file may still be running."""
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
    """Close the files in a forked process, such as a worker of the loader, which would keep the lock otherwise."""
    for file in tuple(_open):
        with contextlib.suppress(OSError):
            os.close(file)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
