"""Copies on a local disk of the files that the current and the next stage are read from.

Over a network the pages of an array are read in a random order, picture by picture. The copies are made while training
goes on, and read from as soon as they are complete; they hold the same bytes, so training is the same.
"""

import contextlib
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from progcycle.errors import UserError
from progcycle.rng import address

BLOCK = 1 << 24  # bytes that are copied at a time
SPARE = 1 << 28  # bytes that stay free on the local disk
ABANDONED = 3600.0  # seconds after which a half-written copy counts as that of a killed process


class StagedFiles:
    """Where files are read from: their copy on a local disk if it is there, else they themselves; picklable.

    Args:
        folder: of the copies; None for no copies.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._copies: dict[str, Path] = {}

    def copy_of(self, file: Path | str) -> Path:
        """Where the copy of a file lies, or will lie: its name changes with the file.

        Raises:
            OSError: there is no such file.
            ValueError: there are no copies.
        """
        key = str(file)
        if key not in self._copies:
            if self.folder is None:
                raise ValueError("there is no folder for copies")
            info = os.stat(key)
            stamp = address(os.path.abspath(key), info.st_size, info.st_mtime_ns)
            self._copies[key] = self.folder / f"{stamp:016x}-{os.path.basename(key)}"
        return self._copies[key]

    def __call__(self, file: Path | str) -> Path:
        """The place to read a file from."""
        if self.folder is None:
            return Path(file)
        with contextlib.suppress(OSError):
            copy = self.copy_of(file)
            if copy.is_file():
                return copy
        return Path(file)


def staging_folder(path: str) -> Path:
    """The folder of ``data.stage_to``, with variables such as ``$SLURM_TMPDIR`` in their place.

    Raises:
        UserError: a variable is not set, or the folder cannot be made.
    """
    full = os.path.expandvars(os.path.expanduser(path))
    if "$" in full:
        raise UserError(f"data.stage_to: {path} names a variable that is not set; give a folder of a local disk.")
    try:
        Path(full).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"data.stage_to: {full} cannot be made ({error.strerror or error}); give another folder."
        ) from None
    return Path(full).absolute()


class Staging:
    """Keeps copies of the files of two stages, made by a thread; only one process of a machine needs it.

    Args:
        staged: where the copies go.
        files: gives the files that pictures of a resolution are read from.
        resolutions: all that will be read, in order.
        report: called with a sentence for the user.
    """

    def __init__(
        self,
        staged: StagedFiles,
        files: Callable[[int], Iterable[Path]],
        resolutions: Sequence[int],
        report: Callable[[str], None],
    ) -> None:
        self.staged, self.files, self.resolutions, self.report = staged, files, sorted(resolutions), report
        self.resolution: int | None = None
        self._made: set[Path] = set()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def at(self, resolution: int) -> None:
        """Begin to copy what this resolution and the next are read from, and delete the copies of those before."""
        if resolution == self.resolution:
            return
        self.close(keep=True)
        self.resolution, self._stop = resolution, threading.Event()
        wanted = [r for r in self.resolutions if r >= resolution][:2]
        files = list(dict.fromkeys(file for r in wanted for file in self.files(r)))
        self._thread = threading.Thread(target=self._copy_all, args=(files, self._stop), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait until all copies are made."""
        if self._thread is not None:
            self._thread.join()

    def close(self, keep: bool = False) -> None:
        """Stop copying, and delete the copies that were made here."""
        self._stop.set()
        self.wait()
        for copy in () if keep else self._made:
            with contextlib.suppress(OSError):
                copy.unlink()

    def _copy_all(self, files: Sequence[Path], stop: threading.Event) -> None:
        try:
            copies = {file: self.staged.copy_of(file) for file in files}
            for old in self._made - set(copies.values()):
                old.unlink(missing_ok=True)
            self._made &= set(copies.values())
            self._sweep()
            missing = {file: copy for file, copy in copies.items() if not copy.is_file()}
            if not missing:
                return
            size, free = sum(file.stat().st_size for file in missing), shutil.disk_usage(self.staged.folder or ".").free
            words = f"stages from {self.resolution} px on need {size / 1e6:,.1f} MB in {self.staged.folder}"
            if size + SPARE > free:
                self.report(f"data.stage_to: {words}, which has {free / 1e6:,.1f} MB left; read from where they are")
                return
            began = time.monotonic()
            for file, copy in missing.items():
                self._made.add(copy)
                if not _copy(file, copy, stop):
                    return
            self.report(f"data.stage_to: {size / 1e6:,.1f} MB copied in {time.monotonic() - began:.0f} s")
        except OSError as error:
            self.report(f"data.stage_to: {error.filename or ''} {error.strerror or error}; read from where it is")

    def _sweep(self) -> None:
        """Delete copies that killed processes have left half-written."""
        for file in (self.staged.folder or Path()).glob("*.part"):
            with contextlib.suppress(OSError):
                if time.time() - file.stat().st_mtime > ABANDONED:
                    file.unlink()


def _copy(file: Path, copy: Path, stop: threading.Event) -> bool:
    """Copy a file under another name first; return whether it was not stopped."""
    partial = copy.with_name(f"{copy.name}.{secrets.token_hex(4)}.part")
    try:
        with open(file, "rb") as source, open(partial, "wb") as target:
            while block := source.read(BLOCK):
                if stop.is_set():
                    return False
                target.write(block)
        os.replace(partial, copy)
        return True
    finally:
        partial.unlink(missing_ok=True)
