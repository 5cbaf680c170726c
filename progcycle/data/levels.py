"""What the numbers in a domain's files are: their depth, and the window of values that networks tell apart."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from progcycle.blocks.levels import DEEPEST, max_level, to_levels, window_levels, window_numbers, window_values
from progcycle.recipe import Pictures

Bits = Literal[8, 16, "float"]
FULL: dict[Bits, tuple[float, float]] = {8: (0.0, float(max_level(8))), 16: (0.0, float(max_level(DEEPEST)))}


@dataclass(frozen=True)
class Levels:
    """The depth and the window of a domain.

    In memory its pictures are uint8 if they have 8 bits and no window of their own. Else they are levels of the
    window, uint16, or of floating point numbers in [-1, 1], float32, of which -1 is the low end of the window.

    Attributes:
        bits: of a channel of the files, or ``float``.
        low, high: ends of the window, in values of the files.
    """

    bits: Bits = 8
    low: float = FULL[8][0]
    high: float = FULL[8][1]

    @classmethod
    def of(cls, options: Pictures) -> "Levels":
        """The levels of a domain whose window has been measured, or need not be; without one, all of the depth.

        Floating point has no such range: a window that was never measured is [0, 1].
        """
        bits: Bits = options.bits or 8
        window = options.window.range if options.window is not None else None
        return cls(bits, *(window or FULL.get(bits, (0.0, 1.0))))

    @property
    def plain(self) -> bool:
        """Whether pictures are 8 bits and nothing else."""
        return self == Levels()

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the pixels in memory: uint8, uint16 or float32."""
        if self.plain:
            return np.dtype(np.uint8)
        return np.dtype(np.float32 if self.bits == "float" else np.uint16)

    @property
    def words(self) -> str:
        """Such as ``16 bits, values 0 to 4095``."""
        depth = "floating point" if self.bits == "float" else f"{self.bits} bits"
        return depth if self.plain else f"{depth}, values {self.low:g} to {self.high:g}"

    def pixels(self, values: np.ndarray) -> np.ndarray:
        """Values of files as pixels in memory, of :attr:`dtype`; what lies outside of the window is cut off."""
        if self.plain:
            if values.dtype == np.uint8:
                return values
            levels: np.ndarray = values.round().clip(self.low, self.high).astype(np.uint8)
            return levels
        if self.bits == "float":
            return window_numbers(values, self.low, self.high)
        return window_levels(values, self.low, self.high)

    def outside(self, values: np.ndarray) -> int:
        """How many values of files lie outside of the window, and are cut off by :meth:`pixels`."""
        return int(np.count_nonzero(values < self.low) + np.count_nonzero(values > self.high))

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """Numbers of networks as values for files: the window the other way round.

        Args:
            numbers: in about [-1, 1]; what lies outside is cut off.

        Returns:
            uint8 of 8 bits; whole numbers of 16, uint16, or int16 or float32 where the window asks for it; float32.
        """
        if self.plain:
            return to_levels(numbers)
        found = window_values(numbers, self.low, self.high)
        return found.astype(np.float32) if self.bits == "float" else found.round().astype(self.stored)

    @property
    def stored(self) -> np.dtype[np.generic]:
        """Type of the values that are written."""
        if self.bits == 8:
            return np.dtype(np.uint8)
        for kind in (np.uint16, np.int16) if self.bits == 16 else ():
            limits = np.iinfo(kind)
            if limits.min <= self.low and self.high <= limits.max:
                return np.dtype(kind)
        return np.dtype(np.float32)


PLAIN = Levels()
DEEP = Levels(16, *FULL[16])  # all values of 16 bits
