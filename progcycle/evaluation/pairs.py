"""True pairs of pictures of two domains: pictures of equal names, if a test confirms that names mean pairs."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from progcycle.data.split import stem_of
from progcycle.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from progcycle.data import PictureSet

Paired = bool | Literal["auto"]
SIGNIFICANCE_LEVEL = 0.01  # equal names count as pairs up to this p-value
MIN_PAIRS = 6  # the 120 orders of 5 pairs cannot be significant at this level
COMPARED_PAIRS = 256  # at most so many pairs are compared
COMPARED_RESOLUTION = 16  # pixels per side that pictures are reduced to for the test
IN_A_RECIPE = "set data.paired: true if they are true pairs"


@dataclass(frozen=True)
class Pairing:
    """True pairs of test pictures, and how it was decided that they are.

    Attributes:
        pairs: numbers of A and of B; empty if there are none.
        named: how many pictures of A have the name of one of B.
        paired: the value of ``data.paired``.
        p_value: share of random pairings in which the pictures are as near to each other; None without a test.
        sentence: for the user, about the decision; empty if there is nothing to report.
    """

    pairs: list[tuple[int, int]]
    named: int
    paired: Paired
    p_value: float | None = None
    sentence: str = ""

    @property
    def about(self) -> dict[str, Any]:
        """The decision, for a record."""
        tested = self.p_value is not None
        return {
            "said": self.paired,
            "equal_names": self.named,
            "random_pairings_as_near": self.p_value,
            "believed_up_to": SIGNIFICANCE_LEVEL if tested else None,
        }


def pair_up(
    names_a: Sequence[str],
    names_b: Sequence[str],
    strict: bool = True,
    several: tuple[bool, bool] = (False, False),
) -> list[tuple[int, int]]:
    """Indices of pictures whose names (without the extension, with sub-folders) are equal, in name order.

    The rule is that of the split into training and validation, :func:`progcycle.data.split.stem_of`.

    Args:
        names_a: names of the pictures of A.
        names_b: names of the pictures of B.
        strict: refuse a name of both domains that stands twice in one; else they have no pair.
        several: whether the pictures of A, and those of B, come from several paths; their names then lead with it.

    Returns:
        Numbers of A and of B; nothing if no names are equal.

    Raises:
        UserError: see ``strict``.
    """
    stems = [[stem_of(name, s) for name in names] for names, s in zip((names_a, names_b), several, strict=True)]
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


def several_of(sets: Mapping[str, "PictureSet"]) -> tuple[bool, bool]:
    """Whether the pictures of A, and those of B, come from several paths, for :func:`pair_up`."""
    return len(sets["a"].paths) > 1, len(sets["b"].paths) > 1


def find_pairs(
    sets: Mapping[str, "PictureSet"],
    paired: Paired,
    read: Callable[[str, list[int]], "Tensor"],
    chosen: Mapping[str, Sequence[int]] | None = None,
    strict: bool = True,
    remedy: str = IN_A_RECIPE,
) -> Pairing:
    """The true pairs of two sets of pictures.

    Cameras number their pictures, so two unrelated folders may both have an ``IMG_0001``. With ``auto``, equal names
    therefore count as pairs only if such pictures are nearer to each other than in nearly all random pairings, see
    :func:`progcycle.metrics.pairing_p_value`.

    Args:
        sets: pictures of ``a`` and ``b``.
        paired: whether equal names are true pairs; ``auto`` tests the pictures.
        read: gives pictures of a domain by their places in ``chosen``, in [-1, 1].  # [n] -> [n, C, R, R]
        chosen: numbers of the pictures in question; default: all.
        strict: with ``paired: true``, refuse a name that stands twice, see :func:`pair_up`.
        remedy: what to do if true pairs are not recognized, for the sentence.

    Raises:
        UserError: see ``strict``.
    """
    if paired is False:
        return Pairing([], 0, paired)
    places = chosen or {domain: range(len(pictures)) for domain, pictures in sets.items()}
    names_a, names_b = ([sets[domain].names[i] for i in places[domain]] for domain in ("a", "b"))
    found = pair_up(names_a, names_b, strict and paired is True, several_of(sets))
    count = len(found)
    if paired is True or not found:
        missing = "no picture of A has the name of one of B, though data.paired or --paired says that they are pairs"
        return Pairing(found, count, paired, sentence=missing if paired is True and not found else "")
    if count < MIN_PAIRS:
        few = "1 picture of A has" if count == 1 else f"{count} pictures of A have"
        sentence = f"{few} the name of one of B, too few to tell whether they are pairs, so they do not count; {remedy}"
        return Pairing([], count, paired, sentence=sentence)
    some = [found[i * count // COMPARED_PAIRS] for i in range(COMPARED_PAIRS)] if count > COMPARED_PAIRS else found
    p_value = _p_value(read("a", [i for i, _ in some]), read("b", [j for _, j in some]))
    if p_value <= SIGNIFICANCE_LEVEL:
        words = f"pictures of one name are true pairs: {p_value:.1%} of random pairings are as near to each other"
        return Pairing(found, count, paired, p_value, words)
    sentence = (
        f"{count} pictures of A have the name of one of B, but {p_value:.0%} of random pairings are as near to each "
        f"other, so they are not taken for pairs; {remedy}"
    )
    return Pairing([], count, paired, p_value, sentence)


def _p_value(a: "Tensor", b: "Tensor") -> float:
    from progcycle.export.tensor_images import as_channels, resize
    from progcycle.metrics import pairing_p_value

    channels = 3 if a.shape[1] == b.shape[1] == 3 else 1
    side = min(COMPARED_RESOLUTION, *a.shape[2:], *b.shape[2:])
    x, y = (resize(as_channels(pictures.float(), channels), side, side) for pictures in (a, b))
    return pairing_p_value(x, y)
