"""Random crops: where one lies in a picture, and making it of the part of the file that it needs."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

from progcycle.data.decode import BrokenPicture
from progcycle.data.fit import filter_for, stage_size
from progcycle.data.pixels import changed
from progcycle.data.region import Region

LANCZOS_SUPPORT = 3  # pixels of the smaller picture to each side that a filter looks at; less of bicubic


@dataclass
class Crop:
    """One crop of a picture that is loaded at its own size, or with its short side resized; picklable.

    It is asked first for the region of the picture that it needs, and then makes the crop of that region.

    Attributes:
        name: what errors call the picture.
        height, width: of the crop.
        load: the size that the picture is made to cover, of a square what its short side becomes; None for its own
            size.
        at: where the crop lies between the top and the bottom, and the left and the right, each in [0, 1); None for
            the middle.
    """

    name: str
    height: int
    width: int
    load: int | None = None
    at: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        self._box = (0.0, 0.0, 0.0, 0.0)  # of Pillow, within the region
        self._shrinks = self._is_whole = False

    def region(self, height: int, width: int) -> Region:
        """The part that is needed of a picture.

        Args:
            height, width: of the upright picture as it is decoded.

        Raises:
            BrokenPicture: the loaded picture is smaller than the crop.
        """
        loaded = (height, width) if self.load is None else stage_size(height, width, self.load)
        rooms = [side - wanted for side, wanted in zip(loaded, (self.height, self.width), strict=True)]
        if min(rooms) < 0:
            raise BrokenPicture(
                f"{self.name}: this picture of {width}x{height} px is smaller than the crops of {self.width}x"
                f"{self.height} px; take it out, or lower the resolution."
            )
        places = (0.5, 0.5) if self.at is None else self.at
        # Uniform over all places; of an even number of them the middle is the one before.
        firsts = [r // 2 if self.at is None else int(at * (r + 1)) for at, r in zip(places, rooms, strict=True)]
        self._is_whole = loaded == (height, width)
        if self._is_whole:
            return Region(firsts[0], firsts[1], self.height, self.width)
        self._shrinks = loaded[0] < height or loaded[1] < width
        ends = []
        for first, wanted, old, new in zip(firsts, (self.height, self.width), (height, width), loaded, strict=True):
            scale = old / new
            margin = math.ceil(LANCZOS_SUPPORT * max(scale, 1.0)) + 1
            low, high = first * scale, (first + wanted) * scale
            start, end = max(math.floor(low) - margin, 0), min(math.ceil(high) + margin, old)
            ends.append((start, end - start, low - start, min(high, old) - start))
        (top, rows, y0, y1), (left, columns, x0, x1) = ends
        self._box = (x0, y0, x1, y1)
        return Region(top, left, rows, columns)

    def of(self, part: np.ndarray) -> np.ndarray:
        """The crop.

        Args:
            part: the pixels of the region.  # [h, w, C] -> [height, width, C]
        """
        if self._is_whole:
            return part
        resample = filter_for(self._shrinks)

        def resized(image: Image.Image) -> Image.Image:
            return image.resize((self.width, self.height), resample, box=self._box)

        return changed(part, resized)
