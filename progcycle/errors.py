"""Errors meant for people: one sentence saying what is wrong, where, and what to do."""

import unicodedata

_HARMFUL = {"Cc", "Cs", "Zl", "Zp"}  # categories of what breaks lines, steers a terminal, or is no letter at all


def one_line(text: str) -> str:
    """Text that may hold names of any kind, as one line that can be printed: what would do more is escaped."""
    if text.isprintable():
        return text
    return "".join(c if unicodedata.category(c) not in _HARMFUL else ascii(c)[1:-1] for c in text)


class UserError(Exception):
    """Bad input (a path, a picture, a checkpoint, a combination of recipe values).

    Commands print its single sentence and leave with exit code 2, without a traceback.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))
