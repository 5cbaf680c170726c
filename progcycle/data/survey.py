"""A survey of pictures before anything is trained: how many, how large, of what kind, and what is left out."""

import contextlib
import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from progcycle.data.region import Region
from progcycle.errors import UserError
from progcycle.recipe import find_pictures_path
from progcycle.resolution import Resolution

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from progcycle.data.source import Entry

HEADERS = 5000  # pictures of a folder whose size and mode are read, evenly spaced
DECODED = 48  # pictures of a folder that are decoded, evenly spaced
GREY_LEVELS = 8  # red, green and blue differ by less: a grey pixel
MODES = {
    "RGB": "colour", "L": "grey", "RGBA": "colour with transparency", "LA": "grey with transparency", "P": "palette",
    "1": "black and white", "I;16": "grey of 16 bits", "F": "floating point", "F;float": "floating point",
}  # fmt: skip
OF_CHANNELS = {1: "L", 3: "RGB", 4: "RGBA"}
MUCH_LARGER = 4  # times the resolution, from which on crops are worth a thought
LOOKED_AT, MIDDLE = 8, 256  # pictures whose finest detail is measured, and pixels of a side of the part that is
DETAIL = 1.5  # grey levels of it, from which on pictures are sharp; enlarged or blurred ones have less
DEEP = ("I", "F")  # modes, and those that start with I; have more than 8 bits


@dataclass
class Survey:
    """What was found in one folder or zip file.

    Attributes:
        path: as it was given.
        count: pictures found.
        read: pictures whose size and mode were read.
        sizes: width and height of each of those.
        modes: how many of those have each of Pillow's modes.
        refused: sentences about pictures that would stop a training.
        broken: sentences about pictures that cannot be read and are skipped.
        remarks: sentences about files that are left out.
        stems: names without their extensions.
        flat: share of neighbouring pixels that are equal, the median over pictures: high for drawings.
        grey: share of pictures without colour.
        channels: of all pictures, where files have other numbers than pictures for people (2, or more than 4); else 0.
        fine: grey levels (root mean square) that pictures of their own size lose to half of it, the median; measured
            where they are much larger than the resolution.
        seconds: time to read one picture, as training does once.
    """

    path: str
    count: int
    read: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)
    modes: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    remarks: tuple[str, ...] = ()
    stems: frozenset[str] = frozenset()
    flat: float = 0.0
    grey: float = 0.0
    channels: int = 0
    fine: float = 0.0
    seconds: float = 0.0

    @property
    def is_drawn(self) -> bool:
        """Whether most are drawings or other flat pictures, and not photographs."""
        return self.flat > 0.5

    def smaller_than(self, resolution: int) -> float:
        """Share of pictures of which a side has fewer pixels, so that they are enlarged."""
        height, width = Resolution.of(resolution).shape
        return sum(size[0] < width or size[1] < height for size in self.sizes) / max(len(self.sizes), 1)

    def times_larger(self, resolution: int) -> float:
        """How many times as long the shorter side of pictures is as that of the resolution: the median; 0 of none."""
        shorter = min(Resolution.of(resolution).shape)
        return statistics.median(min(size) for size in self.sizes) / shorter if self.sizes else 0.0

    def offers_crops(self, resolution: int) -> bool:
        """Whether crops at their own size would show networks detail that whole, reduced pictures have lost.

        Pictures must be much larger, none too small for a crop, no drawings, and sharp at their own size.
        """
        large = self.times_larger(resolution) >= MUCH_LARGER and self.smaller_than(resolution) == 0
        return large and not self.is_drawn and self.fine >= DETAIL

    def lines(self, resolution: int) -> list[str]:
        """The survey as lines of text.

        Args:
            resolution: that the pictures are brought to.
        """
        kinds = [f"{_in_words(mode)} {count:,}" for mode, count in self.modes.most_common()]
        found = ", ".join([self._range(), *kinds])
        lines = [f"{self.count:,} picture{'s' * (self.count != 1)}{self._of_them()}: {found}"]
        lines.append("drawings, or other pictures with flat areas" if self.is_drawn else "photographs, or similar")
        if self.grey == 1 and not self.channels:
            lines.append("all without colour")
        if (small := self.smaller_than(resolution)) > 0:
            lines.append(
                f"{small:.0%} are smaller than {Resolution.of(resolution).words} and are enlarged, which blurs them"
            )
        if self.broken:
            lines.append(f"{len(self.broken):,} cannot be read and are skipped: {self.broken[0]}")
        if self.refused:
            lines.append(f"{len(self.refused):,} would stop the training; convert or remove them: {self.refused[0]}")
        return [*lines, *self.remarks]

    def _of_them(self) -> str:
        return "" if self.read == self.count else f" ({self.read:,} of them read)"

    def _range(self) -> str:
        if not self.sizes:
            return "none can be read"
        ordered = sorted(self.sizes, key=lambda size: size[0] * size[1])
        first, last = ordered[0], ordered[-1]
        if first == last:
            return f"{first[0]}x{first[1]} px"
        return f"{first[0]}x{first[1]} to {last[0]}x{last[1]} px"


def _in_words(mode: str) -> str:
    """A mode of Pillow's, or one of channels and depth such as ``RGB;16`` or ``5 channels;float``, for people."""
    if mode in MODES:
        return MODES[mode]
    kind, _, bits = mode.partition(";")
    depth = {"": "", "8": "", "float": ", floating point"}.get(bits, f" of {bits} bits")
    return f"{MODES.get(kind, kind)}{depth}"


def survey_folder(path: str, resolution: int) -> Survey:
    """Survey the pictures of a folder or zip file, as training will find them.

    Args:
        path: a folder or a zip file.
        resolution: that the pictures are brought to.

    Raises:
        UserError: there is no such folder or zip file, or no picture in it.
    """
    from progcycle.data.source import find_pictures
    from progcycle.data.split import stem_of

    if not os.path.exists(find_pictures_path(path)):
        raise UserError(f"There is no folder or zip file {os.path.abspath(path)}; check the path.")
    listing = find_pictures((path,))
    entries = listing.entries
    survey = Survey(path, len(entries), remarks=listing.remarks())
    survey.stems = frozenset(stem_of(entry.name, several=False) for entry in entries)
    deep = _read_headers(survey, _evenly(entries, HEADERS))
    _decode(survey, [*_evenly(entries, DECODED), *deep[:DECODED]], resolution)
    if survey.times_larger(resolution) >= MUCH_LARGER:
        _measure_detail(survey, _evenly(entries, LOOKED_AT))
    return survey


def _evenly(entries: "Sequence[Entry]", most: int) -> "list[Entry]":
    count = min(len(entries), most)
    return [entries[i * len(entries) // count] for i in range(count)]


def _read_headers(survey: Survey, entries: "list[Entry]") -> "list[Entry]":
    """Sizes and modes; gives back the pictures of more than 8 bits, which may be refused."""
    from progcycle.data.source import Opener

    opener, deep, channels = Opener(), [], set[int]()
    for entry in entries:
        try:
            size, mode, count = _header(opener.open(entry))
        except Exception:  # decoders raise nearly anything; the error is reported when it is decoded
            deep.append(entry)
            continue
        survey.sizes.append(size)
        survey.modes[mode] += 1
        channels.add(count)
        if count or mode.startswith(DEEP):
            deep.append(entry)
    survey.read = len(entries)
    if len(channels) == 1:
        (count,) = channels
        survey.channels = count if count == 2 or count > 4 else 0
    return deep


def _header(file: "Path | BinaryIO") -> tuple[tuple[int, int], str, int]:
    """Width and height, the mode, and the number of channels of an array or a deep TIFF (0 of other files)."""
    from progcycle.data.decode import opened
    from progcycle.data.stored import stored_header

    if (stored := stored_header(file)) is not None:
        height, width, channels, bits = stored
        kind = OF_CHANNELS.get(channels, f"{channels} channels")
        return (width, height), f"{'I' if kind == 'L' and bits == 16 else kind};{bits}", channels
    with opened(file) as image:
        turned = image.getexif().get(274, 1) >= 5  # orientation: on its side
        return (image.size[::-1] if turned else image.size), image.mode, 0


def _decode(survey: Survey, entries: "list[Entry]", resolution: int) -> None:
    """Pixels of some pictures, read as training reads them."""
    from progcycle.data import BrokenPicture, UnsupportedPicture, decode_picture
    from progcycle.data.source import Opener

    opener, enough, started = Opener(), 2 * Resolution.of(resolution).longer, time.perf_counter()
    read: list[tuple[float, bool]] = []
    deep: list[tuple[str, tuple[float, bool] | None]] = []
    for entry in dict.fromkeys(entries):
        try:
            file = opener.open(entry)
            pixels = decode_picture(file, channels=3, background="white", min_side=enough, name=entry.name)
        except UnsupportedPicture as error:
            deep.append((str(error), _of_deep(opener.open(entry), entry.name)))
        except BrokenPicture as error:
            survey.broken.append(str(error))
        except Exception as error:  # of a zip member: checksum, encryption, compression
            survey.broken.append(f"{entry.name}: this picture cannot be read ({error}).")
        else:
            read.append(_flat_and_grey(pixels))
    if read or any(found is None for _, found in deep):
        survey.refused += [sentence for sentence, _ in deep]
    else:  # all have more than 8 bits, as which training reads them
        read = [found for _, found in deep if found is not None]
    if read:
        survey.seconds = (time.perf_counter() - started) / len(read)
        survey.flat = statistics.median(flat for flat, _ in read)
        survey.grey = sum(grey for _, grey in read) / len(read)


def _flat_and_grey(pixels: np.ndarray) -> tuple[float, bool]:
    """Share of neighbours that are equal, and whether there is no colour; of levels of 8 bits.  # [H, W, 3]"""
    flat = (pixels[:, 1:] == pixels[:, :-1]).all(axis=2)
    return float(flat.mean()) if flat.size else 0.0, float(np.ptp(pixels, axis=2).max()) < GREY_LEVELS


def _measure_detail(survey: Survey, entries: "list[Entry]") -> None:
    """What halving some pictures takes from their middles; those that cannot be read are reported elsewhere."""
    from progcycle.data import decode_picture
    from progcycle.data.source import Opener

    opener, found = Opener(), list[float]()
    for entry in entries:
        with contextlib.suppress(Exception):
            file = opener.open(entry)
            found.append(_fine(decode_picture(file, channels=3, background="white", name=entry.name, choose=_middle)))
    survey.fine = statistics.median(found) if found else 0.0


def _middle(height: int, width: int) -> Region:
    rows, columns = min(height, MIDDLE), min(width, MIDDLE)
    return Region((height - rows) // 2, (width - columns) // 2, rows, columns)


def _fine(pixels: np.ndarray) -> float:
    """Root mean square of what is lost where squares of 2x2 pixels become one.  # [H, W, 3]"""
    height, width = (side // 2 * 2 for side in pixels.shape[:2])
    blocks = pixels[:height, :width].astype(np.float64).mean(axis=2).reshape(height // 2, 2, width // 2, 2)
    return float(np.sqrt(blocks.var(axis=(1, 3)).mean())) if blocks.size else 0.0


def _of_deep(file: "Path | BinaryIO", name: str) -> tuple[float, bool] | None:
    """The same of more than 8 bits or n channels, between its own least and greatest value; None of others.

    Of n channels the first three are looked at.
    """
    from progcycle.blocks.levels import max_level
    from progcycle.data import BrokenPicture, Levels, UnsupportedPicture, decode_picture
    from progcycle.data.decode import depth_of
    from progcycle.data.stored import stored_header

    try:
        header = stored_header(file)
    except Exception:  # decoders raise nearly anything
        return None
    channels = header[2] if header is not None else 3
    wanted = channels if channels == 2 or channels > 4 else 3
    if (bits := depth_of(file)) == 8 and wanted == 3:
        return None
    levels = Levels(bits, 0, 1)
    try:
        values = decode_picture(file, channels=wanted, background="white", name=name, levels=levels, values=True)
    except (BrokenPicture, UnsupportedPicture):
        return None
    low, high = float(values.min()), float(values.max())
    return _flat_and_grey((values[:, :, :3] - low) * (max_level() / max(high - low, 1e-30)))
