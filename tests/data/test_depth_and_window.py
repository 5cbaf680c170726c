"""The depth of a domain and its window, there and back, against float64."""

import numpy as np
import pytest

from progcycle.blocks import as_numbers
from progcycle.data import Levels
from progcycle.recipe import Pictures


def levels_of(**options: object) -> Levels:
    return Levels.of(Pictures.model_validate(options))


def test_without_options_pictures_are_8_bits() -> None:
    assert levels_of() == levels_of(bits=8) == Levels()
    assert Levels().plain
    assert Levels().dtype == Levels().stored == np.uint8
    values = np.arange(256, dtype=np.uint8)
    assert Levels().pixels(values) is values


@pytest.mark.parametrize(
    ("low", "high", "stored"),
    [
        (0, 4095, np.uint16),
        (0, 65535, np.uint16),
        (1000, 1100, np.uint16),
        (-1024, 3071, np.int16),
        (-9, 60000, np.float32),
    ],
)
def test_every_whole_number_of_a_window_comes_back(low: int, high: int, stored: type) -> None:
    levels = levels_of(bits=16, window=[low, high])
    values = np.arange(low, high + 1)
    pixels = levels.pixels(values)
    assert pixels.dtype == levels.dtype == np.uint16
    expected = (values - low) / (high - low) * 2 - 1
    assert np.abs(as_numbers(pixels).astype(float) - expected).max() < 1 / 65535 + 1e-6
    back = levels.values(as_numbers(pixels))
    assert back.dtype == levels.stored == stored
    assert np.array_equal(back, values)


def test_what_lies_outside_of_the_window_is_cut_off() -> None:
    levels = levels_of(bits=16, window=[100, 300])
    assert levels.pixels(np.array([0, 100, 200, 300, 9999])).tolist() == [0, 0, 32768, 65535, 65535]
    assert levels.values(np.array([-7.0, -1.0, 0.0, 1.0, 7.0])).tolist() == [100, 100, 200, 300, 300]


def test_floating_point_is_kept_as_numbers() -> None:
    levels = levels_of(bits="float", window=[-2, 6])
    values = np.random.default_rng(0).uniform(-2, 6, 1000)
    pixels = levels.pixels(values)
    assert pixels.dtype == levels.dtype == levels.stored == np.float32
    assert np.abs(pixels - (values - 2) / 4).max() < 1e-6
    assert np.abs(levels.values(as_numbers(pixels)) - values).max() < 1e-6


def test_8_bits_may_have_a_window_of_their_own() -> None:
    levels = levels_of(bits=8, window=[10, 40])
    values = np.arange(10, 41, dtype=np.uint8)
    assert levels.pixels(values).dtype == np.uint16
    back = levels.values(as_numbers(levels.pixels(values)))
    assert back.dtype == np.uint8
    assert np.array_equal(back, values)
