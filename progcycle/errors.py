"""Errors meant for people: one sentence saying what is wrong, where, and what to do."""

import difflib
import unicodedata
from collections.abc import Iterable

_HARMFUL = {"Cc", "Cs", "Zl", "Zp"}  # categories of what breaks lines, steers a terminal, or is no letter at all


def one_line(text: str) -> str:
    """Text that may hold names of any kind, as one line that can be printed: what would do more is escaped."""
    if text.isprintable():
        return text
    return "".join(c if unicodedata.category(c) not in _HARMFUL else ascii(c)[1:-1] for c in text)


def closest(name: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known name that was probably meant; None if none is similar.

    Args:
        name: what was written.
        known: names that exist.
        cutoff: least similarity, in [0, 1], see :func:`difflib.get_close_matches`.
    """
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)), None)


class UserError(Exception):
    """Bad input (a path, a picture, a checkpoint, a combination of recipe values).

    Commands print its single sentence and leave with exit code 2, without a traceback.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))
