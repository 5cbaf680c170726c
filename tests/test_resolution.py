"""Resolutions: numbers that have a height and a width."""

import copy
import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progcycle.resolution import Resolution


def test_a_resolution_is_its_shorter_side_with_a_shape() -> None:
    wide, high, square = Resolution(64, 96), Resolution(96, 64), Resolution(64)
    assert [wide, high, square] == [64, 64, 64]  # so that tables by resolution have one key for a stage
    assert {64: "batch"}[wide] == "batch"
    assert [r.shape for r in (wide, high, square)] == [(64, 96), (96, 64), (64, 64)]
    assert [(r.longer, r.pixels, r.is_square) for r in (wide, square)] == [(96, 6144, False), (64, 4096, True)]
    assert [r.plain for r in (wide, square)] == [[64, 96], 64]
    assert [r.label for r in (wide, square)] == ["64x96", 64]
    assert json.dumps([r.plain for r in (wide, square)]) == "[[64, 96], 64]"


def test_doubling_and_dividing_keep_the_shape_and_all_else_gives_numbers() -> None:
    size = Resolution(64, 96)
    assert [x.shape for x in (size << 1, size >> 3, size * 2, 2 * size, size // 4)] == [
        (128, 192), (8, 12), (128, 192), (128, 192), (16, 24),
    ]  # fmt: skip
    assert [type(x) for x in (size + 1, size**2, size // Resolution(8, 12), size % 7, size * size)] == [int] * 5
    assert size // Resolution(8, 12) == 8
    assert size / 2 == 32.0
    assert max(size >> 1, size).shape == (64, 96)


def test_as_text_height_stands_before_width() -> None:
    assert f"{Resolution(64, 96)} px, {Resolution(32)} px" == "64x96 px, 32 px"
    assert f"{Resolution(64, 96):8}|{Resolution(32):8}|{32:8}" == "   64x96|      32|      32"  # as columns of numbers
    assert Resolution(64, 96).words == "64x96 px (height x width)"
    for text in ("64x96", "[64,96]", " 64x96 "):
        assert Resolution.parse(text).shape == (64, 96)
    assert Resolution.parse("64").shape == (64, 64)
    for text in ("", "x", "64x", "0", "-4", "64x96x3", "64x0", "half"):
        with pytest.raises(ValueError, match=r"^no resolution|invalid literal"):
            Resolution.parse(text)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_copies_have_the_shape_too(height: int, width: int) -> None:
    size = Resolution(height, width)
    for again in (pickle.loads(pickle.dumps(size)), copy.copy(size), copy.deepcopy({size: [size]})[size][0]):
        assert again.shape == size.shape
    assert Resolution.of(size) is size
    assert Resolution.of([height, width]).shape == size.shape


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 6), st.integers(0, 6))
def test_a_base_grid_is_found_from_its_shorter_side(height: int, width: int, doublings: int, more: int) -> None:
    base = Resolution(height, width)
    size = base << doublings
    assert size.doublings_from(base) == doublings
    assert size.halved_to(int(base)).shape == base.shape  # type: ignore[union-attr]
    assert base.divides(size)
    if more:
        assert base.doublings_from(base << more) is None
    assert (base << doublings).doublings_from(Resolution(height, width + height)) is None


def test_sizes_that_are_no_halves() -> None:
    assert Resolution(250, 64).doublings_from(8) is None  # 250 / 8 is not whole
    assert Resolution(96).doublings_from(8) is None
    assert Resolution(96).doublings_from(6) == 4
    assert not Resolution(4, 6).divides(Resolution(8, 8))
    assert not Resolution(5).divides(Resolution(8))
    assert Resolution(64, 96).scaled(72).shape == (72, 108)
    assert Resolution(96, 64).scaled(33).shape == (50, 33)  # 49.5, rounded
    assert [r.shape for r in Resolution(64, 96).halves(16)] == [(64, 96), (32, 48), (16, 24)]
    assert [int(r) for r in Resolution(100).halves(16)] == [100, 50, 25]
