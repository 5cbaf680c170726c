"""Writing so that nothing is ever half-written: beside first, then renamed."""

import errno
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

HELD = (errno.EWOULDBLOCK, errno.EACCES)  # what flock says of a lock that somebody else has
PATIENCE = 10.0  # seconds for another process that exchanges folders; it takes milliseconds
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp(\.\w+)?")  # of files


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The start of the name only: file systems limit it, mostly to 255 bytes.
    temporary = path.with_name(f".{path.name[:40]}.{_own()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def with_default_permissions(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` make a file, and give it the permissions that new files have here.

    safetensors makes files that only their owner can read, whatever the umask is.
    """
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)  # asking for the umask would change it for a moment, in all threads
    write(path)
    path.chmod(mode)


def remove_temporaries(folder: Path) -> None:
    """Remove the temporary files that killed processes left of :func:`atomic_file`; nobody may be writing there."""
    for path in folder.glob(".*.tmp*"):
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):  # a folder, or one that cannot be deleted, is in nobody's way
                path.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; on success it becomes ``path``, on an error it is removed.

    A folder that was there before is moved aside, and deleted only when the new one stands in its place; what an
    interruption between the two left aside is put back by the next call. Several processes may write the same folder:
    each has a temporary one of its own, and the last to finish stands. What killed ones left is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = path.with_name(f".{path.name[:40]}.{_own()}.tmp"), _aside(path)
    with _alone(path.parent) as sure:
        _put_back(old, path)
        if sure:  # so that no folder is just made and not locked yet
            _clear(path)
        temporary.mkdir()
        held = _lock(temporary)
    try:
        yield temporary
        with _alone(path.parent):
            _put_back(old, path)
            try:
                if path.exists():
                    os.rename(path, old)
                os.rename(temporary, path)
            finally:
                _put_back(old, path)
    finally:
        if held is not None:
            os.close(held)
        shutil.rmtree(temporary, ignore_errors=True)


def restore_folder(path: Path) -> None:
    """Give ``path`` back what an interruption of :func:`atomic_folder` left aside, if anything."""
    if _aside(path).exists():
        with _alone(path.parent):  # it may be no interruption, but a process just between the two
            _put_back(_aside(path), path)


def _own() -> str:
    """Digits that no other process uses now: its number, and since containers may have the same ones, random ones."""
    return f"{os.getpid()}{secrets.randbelow(10**9):09}"


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _put_back(old: Path, path: Path) -> None:
    """Give ``path`` the folder moved aside if nothing has taken its place; else that folder is no longer needed."""
    if old.exists() and not path.exists():
        os.rename(old, path)
    shutil.rmtree(old, ignore_errors=True)


def _clear(path: Path) -> None:
    """Remove the temporary folders that killed processes left of ``path``; a living one holds a lock on its own."""
    name = re.compile(rf"\.{re.escape(path.name[:40])}(\.\d+)?\.tmp")
    for left in path.parent.iterdir():
        if name.fullmatch(left.name) and (file := _lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(file)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Let no other process exchange folders in ``folder`` for a moment.

    Yields:
        Whether that is so: not every file system has locks, and who is stopped while holding one is not waited for.
    """
    file = _lock(folder, PATIENCE)
    try:
        yield file is not None
    finally:
        if file is not None:
            os.close(file)


def _lock(folder: Path, patience: float = 0.0) -> int | None:
    """An open file with the lock on a folder, which ends with its process; None if it cannot be had."""
    try:
        file = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    end = time.monotonic() + patience
    while True:
        try:
            if fcntl is None:
                raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError as error:
            if error.errno not in HELD or time.monotonic() >= end:
                os.close(file)
                return None
        time.sleep(0.01)
