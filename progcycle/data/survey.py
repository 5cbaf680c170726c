"""A survey of pictures before anything is trained: how many, how large, of what kind, and what is left out."""

import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

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
    "RGB": "colour", "L": "grey", "RGBA": "colour with transparency", "P": "palette", "1": "black and white",
    "I;16": "grey of 16 bits", "F": "floating point",
}  # fmt: skip
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
    seconds: float = 0.0

    @property
    def is_drawn(self) -> bool:
        """Whether most are drawings or other flat pictures, and not photographs."""
        return self.flat > 0.5

    def smaller_than(self, resolution: int) -> float:
        """Share of pictures of which a side has fewer pixels, so that they are enlarged."""
        height, width = Resolution.of(resolution).shape
        return sum(size[0] < width or size[1] < height for size in self.sizes) / max(len(self.sizes), 1)

    def lines(self, resolution: int) -> list[str]:
        """The survey as lines of text.

        Args:
            resolution: that the pictures are brought to.
        """
        kinds = ", ".join(f"{MODES.get(mode, mode)} {count:,}" for mode, count in self.modes.most_common())
        lines = [f"{self.count:,} picture{'s' * (self.count != 1)}{self._of_them()}: {self._range()}, {kinds}"]
        lines.append("drawings, or other pictures with flat areas" if self.is_drawn else "photographs, or similar")
        if self.grey == 1:
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
    return survey


def _evenly(entries: "Sequence[Entry]", most: int) -> "list[Entry]":
    count = min(len(entries), most)
    return [entries[i * len(entries) // count] for i in range(count)]


def _read_headers(survey: Survey, entries: "list[Entry]") -> "list[Entry]":
    """Sizes and modes; gives back the pictures of more than 8 bits, which may be refused."""
    from progcycle.data.decode import opened
    from progcycle.data.source import Opener

    opener, deep = Opener(), []
    for entry in entries:
        try:
            with opened(opener.open(entry)) as image:
                turned = image.getexif().get(274, 1) >= 5  # orientation: on its side
                survey.sizes.append(image.size[::-1] if turned else image.size)
                survey.modes[image.mode] += 1
                if image.mode.startswith(DEEP):
                    deep.append(entry)
        except Exception:  # decoders raise nearly anything; the error is reported when it is decoded
            deep.append(entry)
    survey.read = len(entries)
    return deep


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


def _of_deep(file: "Path | BinaryIO", name: str) -> tuple[float, bool] | None:
    """The same of grey or RGB of more than 8 bits, between its own least and greatest value; None of others."""
    from progcycle.blocks.levels import max_level
    from progcycle.data import BrokenPicture, Levels, UnsupportedPicture, decode_picture
    from progcycle.data.decode import depth_of

    if (bits := depth_of(file)) == 8:
        return None
    levels = Levels(bits, 0, 1)
    try:
        values = decode_picture(file, channels=3, background="white", name=name, levels=levels, values=True)
    except (BrokenPicture, UnsupportedPicture):
        return None
    low, high = float(values.min()), float(values.max())
    return _flat_and_grey((values - low) * (max_level() / max(high - low, 1e-30)))
