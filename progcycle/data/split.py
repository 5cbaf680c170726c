"""A held-out part of the training pictures, chosen by their names alone."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from progcycle.data.source import Entry
from progcycle.errors import UserError
from progcycle.rng import address

FEWEST = 2  # pictures on each side


def stem_of(name: str, several: bool) -> str:
    """A picture's name with its sub-folders, without the extension.

    Args:
        name: as it is listed.
        several: whether the set has several paths; the path that then leads the name is left out.
    """
    inner = name.partition("/")[2] if several else name
    return str(PurePosixPath(inner).with_suffix(""))


def name_hash(stem: str) -> float:
    """A hash of a name in [0, 1]; those of many names are evenly spread."""
    return address("validation", stem) / 2**64


def select_part(
    entries: Sequence[Entry], several: bool, share: float, held_out: bool, domain: str = "real"
) -> tuple[Entry, ...]:
    """The pictures to train on, or those that are held out.

    A picture is held out if the hash of its stem lies below ``share``: independent of the run's seed, the order and the
    other pictures. So pairs of A and B with equal stems stay together, and a larger share holds out the same
    pictures and more. Pictures of one group, such as the slices of a volume, are held out together: its hash counts.

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
        parts[name_hash(entry.group or stem_of(entry.name, several)) < share].append(entry)
    if min(map(len, parts.values())) < FEWEST:
        raise UserError(
            f"data.validation: {share:g} holds out {len(parts[True])} of the {len(entries)} pictures of domain "
            f"{domain} and leaves {len(parts[False])} to train on, but each part needs {FEWEST} or more; choose "
            "another share, or 0."
        )
    return tuple(parts[held_out])
