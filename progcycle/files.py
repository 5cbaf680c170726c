"""Atomic writes: to a temporary name in the same folder first, then renamed, so that nothing is half-written."""

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

LOCK_HELD = (errno.EWOULDBLOCK, errno.EACCES)  # errors of flock if another process holds the lock
LOCK_TIMEOUT = 10.0  # seconds to wait for another process that swaps folders, which takes milliseconds
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp(\.\w+)?")  # of files


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path``; on success it replaces ``path``, on an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The start of the name only: file systems limit it, mostly to 255 bytes.
    temporary = path.with_name(f".{path.name[:40]}.{_own()}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def with_default_permissions(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` create a file, and give it the permissions that the umask grants to new files.

    safetensors creates files that only their owner can read, whatever the umask is.
    """
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)  # reading the umask would change it for a moment, in all threads
    write(path)
    path.chmod(mode)


def remove_temporaries(folder: Path) -> None:
    """Remove temporary files of :func:`atomic_file` left by killed processes; no other may be writing there."""
    for path in folder.glob(".*.tmp*"):
        if _TEMPORARY.fullmatch(path.name):
            with suppress(OSError):  # one that cannot be deleted does no harm
                path.unlink()


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder next to ``path``; on success it becomes ``path``, on an error it is removed.

    An existing folder is renamed first and deleted once the new one is in place; after an interruption in between, the
    next call restores it. Several processes may write the same folder: each has a temporary one of its own, and the
    last to finish wins. Temporary folders of killed processes are removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = path.with_name(f".{path.name[:40]}.{_own()}.tmp"), _backup_path(path)
    with _exclusive(path.parent) as locked:
        _restore_backup(old, path)
        if locked:  # so that no process has just made a folder and not locked it yet
            _remove_stale(path)
        temporary.mkdir()
        held = _lock(temporary)
    try:
        yield temporary
        replace_folder(temporary, path)
    finally:
        if held is not None:
            os.close(held)
        shutil.rmtree(temporary, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Rename a complete folder to ``path``; one that is there is deleted once the new one is in place.

    After an interruption in between, :func:`restore_folder` restores the old one.
    """
    old = _backup_path(path)
    with _exclusive(path.parent):
        _restore_backup(old, path)
        try:
            if path.exists():
                os.rename(path, old)
            os.rename(new, path)
        finally:
            _restore_backup(old, path)


@contextmanager
def held_folder(folder: Path, patience: float = 0.0) -> Iterator[bool]:
    """Hold the lock of a folder, which is made if need be.

    Args:
        folder: to hold.
        patience: seconds to wait for another process that holds it.

    Yields:
        Whether no other process holds it; also true on a file system without locks.
    """
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + patience
    file = os.open(folder, os.O_RDONLY)
    try:
        while True:
            try:
                if fcntl is not None:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free = True
                break
            except OSError as error:
                free = error.errno not in LOCK_HELD
                if free or time.monotonic() >= end:
                    break
            time.sleep(0.05)
        yield free
    finally:
        os.close(file)


def restore_folder(path: Path) -> None:
    """Restore the old folder of ``path`` if :func:`atomic_folder` was interrupted while replacing it."""
    if _backup_path(path).exists():
        with _exclusive(path.parent):  # another process may just be replacing it
            _restore_backup(_backup_path(path), path)


def _own() -> str:
    """Digits unique to this call: the process id, and random ones, since containers may share process ids."""
    return f"{os.getpid()}{secrets.randbelow(10**9):09}"


def _backup_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _restore_backup(old: Path, path: Path) -> None:
    """Rename the backup to ``path`` if nothing is there, and delete it otherwise."""
    if old.exists() and not path.exists():
        os.rename(old, path)
    shutil.rmtree(old, ignore_errors=True)


def _remove_stale(path: Path) -> None:
    """Remove temporary folders of ``path`` left by killed processes; a running one holds a lock on its folder."""
    name = re.compile(rf"\.{re.escape(path.name[:40])}(\.\d+)?\.tmp")
    for left in path.parent.iterdir():
        if name.fullmatch(left.name) and (file := _lock(left)) is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(file)


@contextmanager
def _exclusive(folder: Path) -> Iterator[bool]:
    """Keep other processes from swapping folders in ``folder``.

    Yields:
        Whether the lock was obtained: some file systems have none, and a stopped holder is not waited for.
    """
    file = _lock(folder, LOCK_TIMEOUT)
    try:
        yield file is not None
    finally:
        if file is not None:
            os.close(file)


def _lock(folder: Path, patience: float = 0.0) -> int | None:
    """An open file that holds the lock on a folder until its process ends; None if it cannot be obtained."""
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
            if error.errno not in LOCK_HELD or time.monotonic() >= end:
                os.close(file)
                return None
        time.sleep(0.01)
