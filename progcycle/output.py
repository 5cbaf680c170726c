"""Output: the logger ``progcycle``, and streams that never raise, since a run must not end for want of a reader.

The reader of a pipe may end (``| head``, a ``tee`` that Ctrl-C reached first), the disk behind ``> log`` may be full, a
terminal may be closed, or a stream may be closed from the start (``>&-``).
"""

import logging
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

LOGGER = logging.getLogger("progcycle")  # of everything that the package reports
BROKEN = (OSError, ValueError)  # ValueError: the stream is closed


class SafeStream:
    """Wraps a text stream and drops what cannot be written; everything else is delegated to the stream.

    Args:
        stream: where to write; None is a stream that was closed before Python began.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.failed = False
        self.stream: TextIO = open(os.devnull, "w", encoding="utf-8") if stream is None else stream  # noqa: SIM115

    def write(self, text: str) -> int:
        """Write a text, with ``\\x..`` for characters that the stream cannot encode."""
        try:
            return self.stream.write(text)
        except UnicodeEncodeError as error:
            return self.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))
        except BROKEN as error:
            self._give_up(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        """Write texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the stream."""
        try:
            self.stream.flush()
        except BROKEN as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self.failed = True
        # A full disk may get space again. A reader that has ended does not come back.
        if isinstance(error, BrokenPipeError):
            silence(self.stream)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def silence(stream: TextIO | None) -> None:
    """Redirect a stream to the null device, so that flushing its buffer cannot fail when Python ends."""
    with suppress(*BROKEN, AttributeError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nothing, stream.fileno())  # type: ignore[union-attr]
        finally:
            os.close(nothing)


def flush_or_silence(stream: TextIO | None) -> bool:
    """Flush a stream, and silence it if it cannot be written; return whether it could."""
    try:
        if stream is not None:
            stream.flush()
    except BROKEN:
        silence(stream)
        return False
    return True


def _has_no_reader(stream: TextIO | None) -> bool:
    """Whether a stream is a pipe, or the like, whose reader has ended."""
    if stream is None or not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    with suppress(*BROKEN):
        poll.register(stream.fileno(), 0)
        return any(event & select.POLLERR for _, event in poll.poll(0))
    return False


@contextmanager
def safe_output() -> Iterator[None]:
    """Make all output safe: print, progress bars, warnings, libraries, and the flush when Python ends."""
    before = sys.stdout, sys.stderr
    _open_closed_streams()
    for name in ("stdout", "stderr"):
        if not isinstance(getattr(sys, name), SafeStream):
            setattr(sys, name, SafeStream(getattr(sys, name)))
    try:
        yield
    finally:
        used = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = before
        for stream, safe in zip(before, used, strict=True):
            failed = not flush_or_silence(stream) or getattr(safe, "failed", False)
            if stream is not safe and (failed or _has_no_reader(stream)):
                silence(stream)  # an error of the last flush would change the exit code


def _open_closed_streams() -> None:
    """Open the null device for a closed standard stream: else the next file gets its number and is written to."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            nothing = os.open(os.devnull, os.O_RDWR)
            if nothing != number:
                os.dup2(nothing, number)
                os.close(nothing)


def is_main_process() -> bool:
    """Whether this is the first of the processes that a launcher started; only this one prints."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Log a line for people, in the main process.

    Raises:
        OSError: a command's standard output cannot be written.
    """
    if is_main_process():
        LOGGER.info(text)


def warn(text: str) -> None:
    """Log a warning, in the main process; where standard error cannot be written, nothing happens."""
    if is_main_process():
        LOGGER.warning(text)


class Console(logging.Handler):
    """Prints the lines of the logger ``progcycle``: warnings on standard error, everything else on standard output.

    Warnings of a run in training are printed among its other lines, on standard output.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line to the streams as they are now.

        Raises:
            OSError: standard output cannot be written.
        """
        text = self.format(record)
        if record.levelno >= logging.WARNING and not getattr(record, "training", False):
            with suppress(*BROKEN):
                print(text, file=sys.stderr, flush=True)
            flush_or_silence(sys.stderr)
            return
        try:
            print(text, flush=True)
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from None


@contextmanager
def console() -> Iterator[None]:
    """Show what is logged meanwhile, unless the logger ``progcycle`` has a handler of the program's own."""
    if LOGGER.handlers:
        yield
        return
    handler, level = Console(), LOGGER.level
    LOGGER.addHandler(handler)
    if level == logging.NOTSET:
        LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.removeHandler(handler)
        LOGGER.setLevel(level)


def set_level(level: int) -> None:
    """Show lines from a level on, such as ``logging.WARNING``; ``logging.DEBUG`` adds time and level to each."""
    LOGGER.setLevel(level)
    for handler in LOGGER.handlers:
        if isinstance(handler, Console) and level <= logging.DEBUG:
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))


def bars_hidden() -> bool | None:
    """``disable`` of a progress bar: None shows it on a terminal, True where lines for people are not wanted."""
    return None if LOGGER.isEnabledFor(logging.INFO) or not LOGGER.handlers else True


def in_notebook() -> bool:
    """Whether this runs in a notebook, which shows progress bars though it is no terminal."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return type(shell).__name__ == "ZMQInteractiveShell"
