"""Grey levels and numbers: values by hand, exact fractions as a reference, and every level there and back."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from progcycle.blocks import (
    from_levels,
    level_step,
    levels_to_unit,
    max_level,
    rounded_to_levels,
    to_levels,
    to_unit,
)

KINDS = {"tensor": torch.from_numpy, "array": np.asarray}


def test_white_by_hand() -> None:
    assert [max_level(bits) for bits in (1, 2, 8, 10, 12, 16)] == [1, 3, 255, 1023, 4095, 65535]
    assert max_level() == 255
    assert level_step() == 2 / 255
    assert level_step(2) == 2 / 3


@pytest.mark.parametrize("bits", [0, -8, 17, 32])
def test_other_depths_are_refused(bits: int) -> None:
    x = torch.zeros(1)
    for function in (from_levels, to_levels, rounded_to_levels, levels_to_unit):
        with pytest.raises(ValueError, match=f"1 to 16 bits a channel, not {bits}"):
            function(x, bits)


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_levels_by_hand(make) -> None:
    two_bits = make(np.array([0, 1, 2, 3], np.uint8))
    assert from_levels(two_bits, 2).tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1], abs=1e-7)
    assert levels_to_unit(two_bits, 2).tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1], abs=1e-7)
    assert from_levels(make(np.array([0, 51, 102, 255], np.uint8))).tolist() == pytest.approx([-1, -0.6, -0.2, 1])
    assert from_levels(make(np.array([0, 13107, 65535], np.uint16)), 16).tolist() == pytest.approx([-1, -0.6, 1])
    assert to_unit(make(np.array([-1, -0.5, 0, 1], np.float32))).tolist() == [0, 0.25, 0.5, 1]
    means = make(np.array([0.5, 127.5, 254.5], np.float32))
    assert from_levels(means).tolist() == pytest.approx([-254 / 255, 0, 254 / 255]), "means of levels lie between them"


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_the_nearest_level_by_hand(make) -> None:
    """Of 2 bits the levels are -1, -1/3, 1/3 and 1; 0 lies between levels 1 and 2."""
    x = make(np.array([-np.inf, -7, -1, -0.7, -0.6, 0, 0.6, 0.7, 1, 1.5, np.inf], np.float32))
    levels = to_levels(x, 2)
    assert levels.tolist() == [0, 0, 0, 0, 1, 2, 2, 3, 3, 3, 3]
    assert rounded_to_levels(x, 2).tolist() == pytest.approx([-1 + 2 / 3 * k for k in levels.tolist()], abs=1e-7)
    middle = make(np.zeros(1, np.float32))
    assert [to_levels(middle, bits).tolist() for bits in (1, 2, 8, 16)] == [[0], [2], [128], [32768]], "the even one"


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("bits", range(1, 17))
def test_every_level_comes_back(bits: int, make) -> None:
    levels = np.arange(1 << bits, dtype=np.uint8 if bits <= 8 else np.uint16)
    numbers = from_levels(make(levels), bits)
    back = to_levels(numbers, bits)
    assert np.array_equal(np.asarray(back), levels)
    assert np.asarray(back).dtype == levels.dtype
    assert np.array_equal(np.asarray(rounded_to_levels(numbers, bits)), np.asarray(numbers)), "they are levels already"
    assert np.asarray(numbers).min() == -1
    assert np.asarray(numbers).max() == 1


@pytest.mark.parametrize("bits", [8, 16])
def test_float32_is_as_near_to_exact_fractions_as_it_can_show(bits: int) -> None:
    levels = np.arange(1 << bits, dtype=np.uint16)
    exact = [float(Fraction(2 * k, (1 << bits) - 1) - 1) for k in range(1 << bits)]
    numbers = from_levels(torch.from_numpy(levels), bits)
    assert numbers.dtype == torch.float32
    # k / half is below 2 and so off by 2^-24 at most; taking 1 away is exact from 0.5 on, and adds 2^-25 below.
    assert np.abs(numbers.double().numpy() - exact).max() <= 2**-24 + 2**-25
    doubles = from_levels(torch.from_numpy(levels).double(), bits)
    assert doubles.dtype == torch.float64
    assert np.abs(doubles.numpy() - exact).max() <= 2**-52
    assert np.array_equal(from_levels(levels, bits), numbers.numpy()), "arrays and tensors, to the bit"


@pytest.mark.parametrize("bits", [8, 10, 16])
def test_nearest_levels_against_float64(bits: int) -> None:
    rng = np.random.default_rng(bits)
    x = rng.uniform(-1.2, 1.2, 20_000).astype(np.float32)
    place = (x.astype(np.float64).clip(-1, 1) + 1) * ((1 << bits) - 1) / 2
    levels = to_levels(torch.from_numpy(x), bits).numpy()
    # In float32 a place is off by a hundredth of a level at most: two steps, each by 2^-24 of up to 2^16 levels.
    assert np.abs(levels - place).max() <= 0.51
    clear = np.abs(place - np.floor(place) - 0.5) > 0.01
    assert clear.mean() > 0.9
    assert np.array_equal(levels[clear], np.rint(place)[clear])
    assert np.array_equal(to_levels(x, bits), levels), "arrays and tensors, to the bit"
    assert np.array_equal(to_levels(x.astype(np.float64), bits), np.rint(place).astype(levels.dtype))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_raised_before_it_loses_levels(dtype: torch.dtype) -> None:
    x = torch.tensor([0.75, -0.3], dtype=dtype)
    assert from_levels(torch.tensor([201.0], dtype=torch.float16)).item() == pytest.approx(201 / 127.5 - 1, abs=1e-7)
    assert torch.equal(to_levels(x), to_levels(x.double()))
    for out in (rounded_to_levels(x), to_unit(x), levels_to_unit(x)):
        assert out.dtype == torch.float32


def test_what_is_given_stays_as_it_is_and_gradients_end() -> None:
    x = torch.tensor([0.1, 2.0], requires_grad=True)
    assert not rounded_to_levels(x).requires_grad
    assert to_levels(x).tolist() == [140, 255]
    assert x.tolist() == pytest.approx([0.1, 2.0])
    array = np.array([0.1, 2.0])
    to_levels(array)
    assert array.tolist() == [0.1, 2.0]
    array.setflags(write=False)  # as memory maps are
    assert to_levels(array).tolist() == [140, 255]
