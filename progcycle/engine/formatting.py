"""How a run says its figures: times, sizes and numbers of a bounded width, and status lines of at most 100 columns."""

import math
import textwrap
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from progcycle.schedule import Growth

COLUMNS = 100  # of a line
MINUTE, HOUR, DAY, YEAR = 60, 3600, 86_400, 31_557_600


def duration(seconds: float) -> str:
    """A length of time in its two largest units, such as ``2 days 3 h``, ``1 h 8 min`` or ``12 min 5 s``."""
    if not seconds < 10 * YEAR:
        return "over 10 years"
    whole = int(max(seconds, 0))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min {whole % MINUTE} s"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min"
    return f"{whole // DAY} day{'s' * (whole >= 2 * DAY)} {whole % DAY // HOUR} h"


def brief(value: float) -> str:
    """A number in at most 9 characters, three digits of it: ``0.123``, ``1.23``, ``12.3``, ``1234``, ``1.2e+07``."""
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if size >= 99_999.5 or 0 < size < 0.0005:
        return f"{value:.1e}"
    return f"{value:.{3 if size < 0.9995 else 2 if size < 9.995 else 1 if size < 99.95 else 0}f}"


def memory_size(count: float) -> str:
    """Bytes in words, such as ``850 MB`` or ``1.2 GB``; a GB is 10^9 bytes."""
    if count < 999.5e6:
        return f"{count / 1e6:.0f} MB"
    return f"{count / 1e9:.1f} GB" if count < 99.95e9 else f"{count / 1e9:.4g} GB"


def position(nimg: int, total: int) -> str:
    """Thousands of pictures shown and planned, such as ``1.25/12.00``, with as many digits as the plan needs."""
    if total >= 1e9:
        return f"{nimg / 1000:.3g}/{total / 1000:.3g}"
    places = 3 if total < 1000 else 2 if total < 100_000 else 1
    end = f"{total / 1000:.{places}f}"
    return f"{nimg / 1000:{len(end)}.{places}f}/{end}"


def status_line(
    nimg: int,
    total: int,
    growth: Growth,
    shown: Mapping[str, float],
    extra: Mapping[str, float],
    left: float | None,
    symbols: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """The status line of a run, of at most 100 columns whatever the numbers; what does not fit is left out.

    Where the run stands, alarms, what the task shows of its figures, such as the losses of the players, pictures a
    second, the peak of the memory, and what is left of the plan.

    Args:
        nimg: pictures shown.
        total: pictures of the plan.
        growth: of the step just done.
        shown: figures by their words, see :meth:`Task.status`.
        extra: ``images_per_s``, ``memory_gb``, and what is named ``skipped/`` and ``alarm/``.
        left: seconds to the end of the plan, None if that is not known yet.
        symbols: what players are called, see :attr:`Task.symbols`.
    """
    start = f"kimg {position(nimg, total)}  {growth.resolution} px" + f" alpha {growth.progress:.2f}" * growth.fading
    end = [f"{brief(extra['images_per_s'])} img/s"]
    if "memory_gb" in extra:
        end.append(memory_size(1e9 * extra["memory_gb"]))
    if left is not None:
        end.append(f"{duration(left)} left")
    # What matters most comes first, and is the last to be left out.
    room = COLUMNS - len("  ".join([start, *end]))
    figures = [f"{word} {brief(value)}" for word, value in shown.items()]
    parts = [start]
    for words in (*_alarms(extra, room - 2), *_skipped(extra, symbols), *figures):
        if len(words) + 2 <= room:
            parts.append(words)
            room -= len(words) + 2
    return "  ".join([*parts, *end])[:COLUMNS]


def _alarms(extra: Mapping[str, float], room: int) -> list[str]:
    names = [name.removeprefix("alarm/") for name in extra if name.startswith("alarm/")]
    if not names:
        return []
    words = f"ALARM {' '.join(names)}"
    return [words if len(words) <= room else f"ALARMS: {len(names)}"]


def _skipped(extra: Mapping[str, float], symbols: Mapping[str, str]) -> list[str]:
    found = {name.removeprefix("skipped/"): value for name, value in extra.items() if name.startswith("skipped/")}
    return [f"skipped by {symbols.get(name, name)} {value:.0f}" for name, value in found.items() if value]


def folded(text: str) -> str:
    """A text in lines of at most 100 columns, broken between words; only a longer word, such as a path, sticks out."""
    return textwrap.fill(text, COLUMNS, subsequent_indent=" " * 4, break_long_words=False, break_on_hyphens=False)


def wrapped(start: str, words: Iterable[str]) -> str:
    """``start`` and words behind it, in lines of at most 100 columns; only a word that is longer sticks out."""
    # Within words nothing is broken: they are names, figures and paths to be copied.
    glue = "\N{NO-BREAK SPACE}"
    text = "  ".join(word.replace(" ", glue) for word in words)
    return folded(f"{start}  {text}").replace(glue, " ")


def in_parts(lines: Iterable[tuple[str, str]]) -> list[str]:
    """Lines of a table, under a heading wherever another part of a run begins.

    Args:
        lines: name of the part, "" for training itself, and the line.
    """
    found, part = list[str](), ""
    for name, line in lines:
        if name != part:
            found.append(f"{name}:" if name else "training:")
            part = name
        found.append(line)
    return found
