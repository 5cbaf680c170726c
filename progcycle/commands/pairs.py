"""Which pictures of two domains show the same: those of equal names."""

from collections import Counter
from collections.abc import Sequence

from progcycle.data.split import stem_of
from progcycle.errors import UserError


def pair_up(names_a: Sequence[str], names_b: Sequence[str], strict: bool = True) -> list[tuple[int, int]]:
    """Indices of pictures whose names (without the ending, with sub-folders) are equal, in name order.

    Args:
        names_a: names of the pictures of A.
        names_b: names of the pictures of B.
        strict: refuse a name of both domains that stands twice in one; else it has no pair.

    Returns:
        Numbers of A and of B; nothing if no names are equal.

    Raises:
        UserError: see ``strict``.
    """
    stems = [[stem_of(name, several=False) for name in names] for names in (names_a, names_b)]
    both = set(stems[0]) & set(stems[1])
    for domain, names, here in zip("AB", (names_a, names_b), stems, strict=True):
        doubled = {stem for stem, count in Counter(here).items() if count > 1} & both
        if doubled and strict:
            first = next(stem for stem in here if stem in doubled)
            one, other = [name for name, stem in zip(names, here, strict=True) if stem == first][:2]
            raise UserError(f"Domain {domain}: {one} and {other} have one name; pairs need two.")
        both -= doubled
    places = [{stem: i for i, stem in enumerate(here)} for here in stems]
    return [(places[0][stem], places[1][stem]) for stem in sorted(both)]
