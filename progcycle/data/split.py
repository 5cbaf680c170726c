"""A held-out part of the training pictures, chosen by their names alone."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from progcycle.data.source import Entry
from progcycle.errors import UserError
from progcycle.rng import address

FEWEST = 2  # pictures on each side


def stem_of(name: str, several: bool) -> str:
    """A picture's name with its sub-folders, without the ending.

    Args:
        name: as it is listed.
        several: whether the set has several paths; the path that then leads the name is left out.
    """
    inner = name.partition("/")[2] if several else name
    return str(PurePosixPath(inner).with_suffix(""))


def place_of(stem: str) -> float:
    """A number in [0, 1] that follows from a name alone; the pictures of a set lie evenly."""
    return address("validation", stem) / 2**64


def part_of(
    entries: Sequence[Entry], several: bool, share: float, held_out: bool, domain: str = "real"
) -> tuple[Entry, ...]:
    """The pictures to train on, or those that are held out.

    A picture is held out if the hash of its stem lies below ``share``: whatever the seed of the run, the order and the
    other pictures. So a pair of A and B with equal stems is never torn apart, and a larger share holds out the same
    pictures and more.

    Args:
        entries: all pictures of a domain.
        several: whether they come from several paths, see :func:`stem_of`.
        share: in [0, 1), about this part is held out; 0 for none.
        held_out: which of the two parts is wanted.
        domain: for the sentence of an error.

    Raises:
        UserError: one of the two parts has fewer than 2 pictures.
    """
    if not share:
        return () if held_out else tuple(entries)
    parts: dict[bool, list[Entry]] = {False: [], True: []}
    for entry in entries:
        parts[place_of(stem_of(entry.name, several)) < share].append(entry)
    if min(map(len, parts.values())) < FEWEST:
        raise UserError(
            f"data.validation: {share:g} holds out {len(parts[True])} of the {len(entries)} pictures of domain "
            f"{domain} and leaves {len(parts[False])} to train on, but each part needs {FEWEST} or more; choose "
            "another share, or 0."
        )
    return tuple(parts[held_out])
