"""The depth of a set's pictures, found out from their headers, and the window of their values, measured once."""

import contextlib
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from progcycle.data.bit_depth import UnsupportedPicture
from progcycle.data.decode import BrokenPicture
from progcycle.data.levels import Bits
from progcycle.data.picture_set import PictureSet
from progcycle.errors import UserError
from progcycle.output import bars_hidden
from progcycle.recipe import Pictures, Window

PROBES = 64  # pictures whose headers are read, and whose values are compared with a window that is given
FEWEST = 0.02  # share of a window that values must use
TAILS = (0.1, 99.9)  # percentiles between which values count as used
LOWEST, HIGHEST = -(1 << 15), (1 << 16) - 1  # of whole numbers of 8 and 16 bits, with a sign or without
SAMPLE = 4_000_000  # floating point numbers that percentiles are taken of


@dataclass
class Values:
    """The values of some pictures, so that percentiles of them can be asked for.

    Attributes:
        low, high: the least and the greatest.
    """

    low: float = math.inf
    high: float = -math.inf
    _counts: np.ndarray = field(default_factory=lambda: np.zeros(HIGHEST - LOWEST + 1, np.int64), repr=False)
    _sample: list[np.ndarray] = field(default_factory=list, repr=False)

    def add(self, values: np.ndarray, whole: bool, most: int) -> None:
        """Take in the values of a picture.

        Args:
            values: of any shape.
            whole: whether they are whole numbers of up to 16 bits, all of which are counted.
            most: of others so many are kept.
        """
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        flat = values.reshape(-1)
        if whole:
            self._counts += np.bincount(flat.round().astype(np.int64) - LOWEST, minlength=len(self._counts))
        else:
            self._sample.append(flat[:: max(1, flat.size // most)].astype(np.float64))

    def percentile(self, share: float) -> float:
        """The value below or at which ``share`` percent lie; the least of 0, and the greatest of 100."""
        if share in (0, 100):
            return self.low if share == 0 else self.high
        if self._sample:
            return float(np.percentile(np.concatenate(self._sample), share))
        total = np.cumsum(self._counts)
        return float(np.searchsorted(total, share / 100 * total[-1]) + LOWEST)

    @property
    def used(self) -> tuple[float, float]:
        """The range that nearly all values lie in."""
        low, high = (self.percentile(share) for share in TAILS)
        return (low, high) if low < high else (self.low, self.high)


def find_bits(pictures: PictureSet) -> tuple[Bits, dict[Bits, str]]:
    """The depth of a set: that of most pictures, by the headers of up to 64 from all over it.

    Returns:
        The depth, and the name of a picture of each depth that was found.
    """
    found: dict[Bits, list[str]] = {}
    count = min(len(pictures), PROBES)
    for index in (i * len(pictures) // count for i in range(count)):
        with contextlib.suppress(BrokenPicture):  # reported when it is read
            found.setdefault(pictures.reader.bits(index), []).append(pictures.names[index])
    examples = {bits: names[0] for bits, names in found.items()}
    return max(found, key=lambda bits: len(found[bits]), default=8), examples


def measure_values(pictures: PictureSet, most: int | None = None) -> Values:
    """The values of the pictures of a set; broken ones are passed over.

    Args:
        pictures: a set whose depth is known.
        most: so many pictures from all over it; default: all.

    Raises:
        UnsupportedPicture: one has another depth.
        UserError: none can be read.
    """
    from tqdm import tqdm

    count = min(len(pictures), most or len(pictures))
    indices = [i * len(pictures) // count for i in range(count)]
    found, each, read = Values(), max(SAMPLE // count, 64), 0

    def attempt(index: int) -> np.ndarray | None:
        try:
            return pictures.reader.values(index, any_range=True, min_side=enough)
        except BrokenPicture:
            return None

    whole = pictures.levels.bits != "float"
    enough = pictures.load.longer if pictures.levels.plain and pictures.load else None  # of JPEGs less is decoded
    bar = tqdm(
        total=count,
        desc=f"measuring {pictures.domain}",
        unit="img",
        disable=bars_hidden() or most is not None,
        leave=False,
    )
    with bar, ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        for start in range(0, count, PROBES):
            for values in pool.map(attempt, indices[start : start + PROBES]):
                if values is not None:
                    found.add(values, whole, each)
                    read += 1
                bar.update()
    if not read:
        raise UserError(f"Domain {pictures.domain}: none of {count} pictures can be read.")
    return found


def with_levels(
    options: Pictures, key: str, make: Callable[[Pictures], PictureSet], note: Callable[[str], None]
) -> Pictures:
    """The options of a domain with the depth and the window of its pictures.

    Pictures of 8 bits without a window stay without; so do those among which a few have 16, as long as their upper
    8 bits do.

    Args:
        options: of the domain.
        key: of the recipe where they stand, such as ``data.a``.
        make: the set of training pictures by options.
        note: called with a sentence where depths are mixed.

    Raises:
        UserError: depths are mixed, or the values use less than 2 % of the window.
    """
    pictures = make(options)
    bits = options.bits
    if bits is None:
        bits, examples = find_bits(pictures)
        if len(examples) > 1:
            bits = _of_mixed(pictures, key, bits, examples, note)
    window = options.window
    if bits == 8 and (window is None or window.range is not None):
        done = options.model_copy(update={"bits": options.bits or (None if window is None else 8)})
        _check_use(make(done), key, None)
        return done
    done = options.model_copy(update={"bits": bits})
    measured = None
    if window is None or window.range is None:
        shares = (window.percentiles if window is not None else None) or (0, 100)
        measured = measure_values(make(done.model_copy(update={"window": None})))
        low, high = (measured.percentile(share) for share in shares)
        if not low < high:
            raise UserError(
                f"{key}.window: all values of the pictures from the {shares[0]:g}th to the {shares[1]:g}th percentile "
                f"are {low:g}, so that there is nothing to learn; give other pictures, or other percentiles."
            )
        percentiles = window.percentiles if window is not None else None
        done = done.model_copy(update={"window": Window(range=(low, high), percentiles=percentiles)})
    _check_use(make(done), key, measured)
    return done


def _of_mixed(
    pictures: PictureSet, key: str, most: Bits, examples: dict[Bits, str], note: Callable[[str], None]
) -> Bits:
    """The depth that pictures of several depths are read as: 8, if most have 8 and the upper 8 of the others do."""
    names = " and ".join(
        f"{'floating point' if bits == 'float' else f'{bits} bits'} ({name})"
        for bits, name in sorted(examples.items(), key=lambda item: (item[0] == "float", str(item[0]).zfill(2)))
    )
    advice = "convert them to one, or give them folders of their own"
    if 8 in examples and _fit_8_bits(pictures, [name for bits, name in examples.items() if bits != 8]):
        if most == 8:
            note(f"{key}: its pictures have different depths, {names}; all are read as 8 bits, the upper 8 of 16")
            return 8
        advice = f"{advice}; {key}.bits=8 reads the upper 8 bits of all"
    raise UserError(f"{key}: its pictures have different depths, {names}; {advice}.")


def _fit_8_bits(pictures: PictureSet, names: list[str]) -> bool:
    """Whether the upper 8 bits of deeper pictures tell their values apart."""
    try:
        for name in names:
            pictures.reader.fitted(pictures.names.index(name), pictures.side)
    except UnsupportedPicture:
        return False
    return True


def _check_use(pictures: PictureSet, key: str, measured: Values | None) -> None:
    """Refuse a window of which the values use so little that networks could not tell them apart."""
    levels = pictures.levels
    if levels.plain:
        try:
            measured = measure_values(pictures, PROBES // 4)
        except UserError:  # reported when they are read
            return
    values = measured or measure_values(pictures, PROBES)
    low, high = (min(max(value, levels.low), levels.high) for value in values.used)
    share = (high - low) / (levels.high - levels.low)
    if share >= FEWEST:
        return
    first, last = values.used
    if not first < last:
        if levels.plain:  # flat pictures, all of one colour
            return
        raise UserError(f"{key}.window: all values of the pictures are {first:g}; give other pictures.")
    raise UserError(
        f"{key}: nearly all values of its pictures lie from {first:g} to {last:g} and use {share:.1%} of the window "
        f"{levels.low:g} to {levels.high:g}, so that networks would hardly tell them apart; set "
        f"{key}.window=[{first:g},{last:g}]."
    )


def same_levels(options: Pictures, before: Pictures) -> bool:
    """Whether what options ask for, of depth and window, is what earlier ones have found."""

    window, known = options.window or Window(), before.window or Window()
    return (
        options.bits in (None, before.bits or 8)
        and window.range in (None, known.range)
        and window.percentiles == known.percentiles
    )
