"""Writing so that nothing is ever half-written: beside first, then renamed."""

import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_TEMPORARY = re.compile(r"\..+\.\d+\.tmp(\.\w+)?")  # of files


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; on success it replaces ``path``, on an error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The start of the name only: file systems limit it, mostly to 255 bytes.
    # Containers that share a folder may have the same process numbers, so there is a random one too.
    temporary = path.with_name(f".{path.name[:40]}.{os.getpid()}{secrets.randbelow(10**9):09}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def as_others(path: Path, write: Callable[[Path], object]) -> None:
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
    interruption between the two left aside is put back by the next call.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = path.with_name(f".{path.name}.tmp"), _aside(path)
    _put_back(old, path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            os.rename(path, old)
        os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _put_back(old, path)


def restore_folder(path: Path) -> None:
    """Give ``path`` back what an interruption of :func:`atomic_folder` left aside, if anything."""
    _put_back(_aside(path), path)


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.old")


def _put_back(old: Path, path: Path) -> None:
    """Give ``path`` the folder moved aside if nothing has taken its place; else that folder is no longer needed."""
    if old.exists() and not path.exists():
        os.rename(old, path)
    shutil.rmtree(old, ignore_errors=True)
