"""Grey levels of files and the numbers of networks: the one place that turns one into the other.

A picture of b bits holds levels from 0 (black) to 2^b - 1 (white). Networks see pictures in [-1, 1], where level k is
k / ((2^b - 1) / 2) - 1; some metrics want [0, 1], where it is k / (2^b - 1). All functions take tensors and arrays of
any shape and compute in float32, or in float64 where that is what they are given. Every level of up to 16 bits comes
back from [-1, 1] as itself.

Scans and measurements hold values of another range, of which a window counts: its low end becomes the lowest level and
its high end the highest. :func:`window_levels` and :func:`window_numbers` go into the window, :func:`window_values`
goes back.
"""

from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from progcycle.blocks.autocast import full_precision

LUMINANCE = (0.299, 0.587, 0.114)  # weights of red, green and blue in grey (ITU-R BT.601), as Pillow has them
DEEPEST = 16  # bits; float32 tells its levels apart everywhere in [-1, 1]


def max_level(bits: int = 8) -> int:
    """The highest level, 2^bits - 1: 255 of 8 bits, 65535 of 16.

    Args:
        bits: of a channel of a stored picture, 1 to 16.

    Raises:
        ValueError: other numbers of bits.
    """
    if not 1 <= bits <= DEEPEST:
        raise ValueError(f"pictures have 1 to {DEEPEST} bits a channel, not {bits}")
    return (1 << bits) - 1


def level_step(bits: int = 8) -> float:
    """How far two levels that follow each other lie apart in [-1, 1]: 2 / 255 of 8 bits."""
    return 2 / max_level(bits)


@overload
def from_levels(levels: Tensor, bits: int = ...) -> Tensor: ...
@overload
def from_levels(levels: np.ndarray, bits: int = ...) -> np.ndarray: ...
def from_levels(levels: Tensor | np.ndarray, bits: int = 8) -> Tensor | np.ndarray:
    """Levels as numbers in [-1, 1].

    Args:
        levels: 0 to 2^bits - 1, whole numbers of any kind, or floating point such as means of levels.
        bits: of a channel, 1 to 16.

    Returns:
        Numbers in [-1, 1], float32, or float64 of float64.

    Raises:
        ValueError: other numbers of bits.
    """
    numbers: Tensor | np.ndarray = _numbers(levels) / (max_level(bits) / 2) - 1
    return numbers


@overload
def to_levels(pictures: Tensor, bits: int = ...) -> Tensor: ...
@overload
def to_levels(pictures: np.ndarray, bits: int = ...) -> np.ndarray: ...
def to_levels(pictures: Tensor | np.ndarray, bits: int = 8) -> Tensor | np.ndarray:
    """Numbers in [-1, 1] as the levels that a file would hold.

    What lies outside [-1, 1] is cut off first. The nearest level is taken, of two equally near ones the even one.

    Args:
        pictures: in about [-1, 1]; NaN has no level. Gradients end here.
        bits: of a channel, 1 to 16.

    Returns:
        Levels 0 to 2^bits - 1, uint8 of up to 8 bits, uint16 of more.

    Raises:
        ValueError: other numbers of bits.
    """
    levels: Tensor | np.ndarray = _nearest(pictures, bits)
    if isinstance(levels, Tensor):
        return levels.to(torch.uint8 if bits <= 8 else torch.uint16)
    return levels.astype(np.uint8 if bits <= 8 else np.uint16)


@overload
def rounded_to_levels(pictures: Tensor, bits: int = ...) -> Tensor: ...
@overload
def rounded_to_levels(pictures: np.ndarray, bits: int = ...) -> np.ndarray: ...
def rounded_to_levels(pictures: Tensor | np.ndarray, bits: int = 8) -> Tensor | np.ndarray:
    """Numbers in [-1, 1] as a file would give them back: ``from_levels(to_levels(pictures))``, without a gradient.

    Args:
        pictures: in about [-1, 1]; what lies outside is cut off.
        bits: of a channel, 1 to 16.

    Returns:
        Numbers in [-1, 1], float32, or float64 of float64.

    Raises:
        ValueError: other numbers of bits.
    """
    numbers: Tensor | np.ndarray = from_levels(_nearest(pictures, bits), bits)
    return numbers


@overload
def levels_to_unit(levels: Tensor, bits: int = ...) -> Tensor: ...
@overload
def levels_to_unit(levels: np.ndarray, bits: int = ...) -> np.ndarray: ...
def levels_to_unit(levels: Tensor | np.ndarray, bits: int = 8) -> Tensor | np.ndarray:
    """Levels 0 to 2^bits - 1 as numbers in [0, 1], float32, or float64 of float64.

    Raises:
        ValueError: other numbers of bits than 1 to 16.
    """
    numbers: Tensor | np.ndarray = _numbers(levels) / max_level(bits)
    return numbers


@overload
def to_unit(pictures: Tensor) -> Tensor: ...
@overload
def to_unit(pictures: np.ndarray) -> np.ndarray: ...
def to_unit(pictures: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """Numbers in [-1, 1] as numbers in [0, 1], (x + 1) / 2; nothing is cut off."""
    numbers: Tensor | np.ndarray = (_numbers(pictures) + 1) / 2
    return numbers


@overload
def as_numbers(pixels: Tensor) -> Tensor: ...
@overload
def as_numbers(pixels: np.ndarray) -> np.ndarray: ...
def as_numbers(pixels: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """Pixels in memory as numbers in [-1, 1]: uint8 and uint16 hold levels, floating point is in [-1, 1] already.

    Returns:
        Numbers in [-1, 1], float32, or float64 of float64.

    Raises:
        ValueError: pixels of another type.
    """
    bits = {torch.uint8: 8, torch.uint16: DEEPEST, np.dtype(np.uint8): 8, np.dtype(np.uint16): DEEPEST}.get(
        pixels.dtype
    )
    if bits is not None:
        return from_levels(pixels, bits)
    whole = not pixels.is_floating_point() if isinstance(pixels, Tensor) else pixels.dtype.kind != "f"
    if whole:
        raise ValueError(f"expected uint8, uint16 or floating point pictures, got {pixels.dtype}")
    numbers: Tensor | np.ndarray = _numbers(pixels)
    return numbers


def window_levels(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values of a window as levels of 16 bits: ``low`` is 0, ``high`` 65535, and what lies outside is cut off.

    Whole numbers in a window of up to 65536 of them come back as themselves.

    Args:
        values: of files.
        low, high: ends of the window, low < high.

    Returns:
        Levels, uint16.
    """
    top = max_level(DEEPEST)
    levels = (values.astype(np.float64).clip(low, high) - low) * (top / (high - low))
    return levels.round().astype(np.uint16)


def window_numbers(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values of a window as numbers in [-1, 1], float32; what lies outside is cut off."""
    return ((values.astype(np.float64).clip(low, high) - low) * (2 / (high - low)) - 1).astype(np.float32)


def window_values(numbers: np.ndarray, low: float, high: float) -> np.ndarray:
    """Numbers in [-1, 1] as the values of a window; what lies outside is cut off.  # float64"""
    values: np.ndarray = (numbers.astype(np.float64).clip(-1, 1) + 1) * ((high - low) / 2) + low
    return values


def _numbers(x: Any) -> Any:
    """Floating point numbers that tell levels apart."""
    if isinstance(x, Tensor):
        return full_precision(x)
    return x if x.dtype == np.float64 else x.astype(np.float32)


def _nearest(pictures: Any, bits: int) -> Any:
    """The nearest levels as floating point numbers."""
    half = max_level(bits) / 2
    x = pictures.detach() if isinstance(pictures, Tensor) else pictures
    x = _numbers(x).clip(-1, 1)  # a copy, on which the rest works in place, since sets of pictures are large
    x *= half
    x += half
    return x.round()
