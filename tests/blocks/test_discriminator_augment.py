"""Operations on what discriminators see, against loops over pixels in numpy, and what all of them promise."""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from progcycle.blocks import NUMBERS
from progcycle.blocks.discriminator_augment import OPERATIONS, TOTAL, augment, linear_map, warp
from progcycle.recipe.objectives import Operation

Array = npt.NDArray[np.float64]
WARPS = ("scale", "rotate", "aspect")
PERMUTING = ("flip", "rotate90", "translation", "cutout")
PLACE = dict(zip(NUMBERS, np.cumsum([0, *NUMBERS.values()])[:-1].tolist(), strict=True))


def pictures(n: int, side: int, channels: int = 3, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(n, channels, side, side, generator=generator, dtype=torch.float64) - 1).to(dtype)


def numbers(n: int, seed: int = 1) -> Tensor:
    return torch.rand(n, TOTAL, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- references: one picture [C, S, S] and the numbers of its operation -------------------------------------------


def flip(x: Array, u: Array) -> Array:
    return x[:, :, ::-1] if u[0] >= 0.5 else x


def rotate90(x: Array, u: Array) -> Array:
    return np.rot90(x, int(4 * u[0]), (1, 2))


def translation(x: Array, u: Array) -> Array:
    side = x.shape[1]
    most = int(side / 8 + 0.5)
    down, right = (int(v * (2 * most + 1)) - most for v in u)
    y = np.zeros_like(x)
    for i in range(side):
        for j in range(side):
            if 0 <= i - down < side and 0 <= j - right < side:
                y[:, i, j] = x[:, i - down, j - right]
    return y


def cutout(x: Array, u: Array) -> Array:
    side = x.shape[1]
    size = int(side / 2 + 0.5)
    top, left = (int(v * (side + (1 if size % 2 == 0 else 0))) - size // 2 for v in u)
    y = x.copy()
    y[:, max(top, 0) : max(top + size, 0), max(left, 0) : max(left + size, 0)] = 0
    return y


def color(x: Array, u: Array) -> Array:
    x = x + u[0] - 0.5
    x = x.mean(0) + (x - x.mean(0)) * (2 * u[1])
    return x.mean() + (x - x.mean()) * (u[2] + 0.5)


def hue(x: Array, u: Array) -> Array:
    """The rotation matrix by Rodrigues' formula, as a matrix."""
    if len(x) == 1:
        return x
    v, angle = np.ones(3) / math.sqrt(3), 2 * math.pi * (u[0] - 0.5)
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.einsum("ij,jyx->iyx", np.eye(3) + math.sin(angle) * k + (1 - math.cos(angle)) * k @ k, x)


REFERENCES: dict[str, Callable[[Array, Array], Array]] = {
    "flip": flip, "rotate90": rotate90, "translation": translation, "cutout": cutout, "color": color, "hue": hue,
}  # fmt: skip


def resampled(x: Array, inverse: Array) -> Array:
    """Bilinear, from a picture padded by reflection until nothing lies outside."""
    side = x.shape[1]
    pad = 3 * side
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)), mode="reflect")
    middle, y = (side - 1) / 2, np.zeros_like(x)
    for i in range(side):
        for j in range(side):
            right, down = inverse @ np.array([j - middle, i - middle]) + middle + pad
            a, b = int(down), int(right)
            s, t = down - a, right - b
            upper = (1 - t) * padded[:, a, b] + t * padded[:, a, b + 1]
            y[:, i, j] = (1 - s) * upper + s * ((1 - t) * padded[:, a + 1, b] + t * padded[:, a + 1, b + 1])
    return y


# --- against them -------------------------------------------------------------------------------------------------


def test_the_recipe_knows_the_same_operations() -> None:
    assert set(get_args(Operation)) == NUMBERS.keys() == {*REFERENCES, *WARPS} == {*OPERATIONS, *WARPS}


@pytest.mark.parametrize(
    ("name", "side", "channels"),
    [*((name, side, 3) for name in REFERENCES for side in (5, 16)), ("color", 16, 1), ("hue", 16, 1)],
)
def test_against_numpy(name: str, side: int, channels: int) -> None:
    x, u = pictures(24, side, channels), numbers(24)
    own = u[:, PLACE[name] + 1 : PLACE[name] + NUMBERS[name]]
    expected = np.stack([REFERENCES[name](a, b) for a, b in zip(x.numpy(), own.numpy(), strict=True)])
    y = augment(x, u, 1.0, [name])
    np.testing.assert_allclose(y.numpy(), expected, rtol=0, atol=1e-12)
    if not (channels == 1 and name == "hue"):
        assert len({tuple(picture.flatten().tolist()) for picture in (y - x)}) > 1, "pictures differ"


@pytest.mark.parametrize("side", [4, 7, 16])
def test_warp_against_numpy(side: int) -> None:
    x = pictures(6, side)
    angles = np.linspace(0.3, 6, 6)
    turns = np.array([[[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]] for a in angles])
    inverses = turns @ np.array([np.diag([0.5 + i / 4, 2 - i / 5]) for i in range(6)])
    expected = np.stack([resampled(a, m) for a, m in zip(x.numpy(), inverses, strict=True)])
    np.testing.assert_allclose(warp(x, torch.from_numpy(inverses)).numpy(), expected, rtol=0, atol=1e-12)


def test_warp_by_hand() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    identity = torch.eye(2)[None]
    assert torch.equal(warp(x, identity), x)
    left = torch.tensor([[[0.0, -1.0], [1.0, 0.0]]])
    assert torch.equal(warp(x, left), x.rot90(1, (2, 3)))
    smaller = warp(x, 3 * identity)[0, 0]  # from -3, 0, 3 and 6: reflected 3, 0, 3, 0
    assert torch.equal(smaller, x[0, 0][[3, 0, 3, 0]][:, [3, 0, 3, 0]])
    larger = warp(x, identity / 3)[0, 0]  # from 1, 4/3, 5/3 and 2
    torch.testing.assert_close(larger[0], torch.tensor([5, 5 + 1 / 3, 5 + 2 / 3, 6]))


def test_maps_against_numpy() -> None:
    """What each operation does to a point, one after the other, and back by the map."""
    u, p = numbers(200), 0.5
    own = {k: u[:, PLACE[k] : PLACE[k] + NUMBERS[k]] for k in WARPS}
    inverses, applied = linear_map(own, p, WARPS)
    once, normal = 1 - math.sqrt(1 - p), NormalDist().inv_cdf
    for i in range(200):
        scale, turn, aspect = (own[k][i].tolist() for k in WARPS)
        point, drawn = np.array([0.3, -1.7]), 0

        def turned(angle: float, by: Array) -> Array:
            # To the left, with y downwards.
            return np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]) @ by

        if scale[0] < p:
            point, drawn = point * 2 ** (0.2 * normal(scale[1])), drawn + 1
        if turn[0] < once:
            point, drawn = turned(2 * math.pi * (turn[2] - 0.5), point), drawn + 1
        if aspect[0] < p:
            factor = 2 ** (0.2 * normal(aspect[1]))
            point, drawn = point * np.array([factor, 1 / factor]), drawn + 1
        if turn[1] < once:
            point, drawn = turned(2 * math.pi * (turn[3] - 0.5), point), drawn + 1
        np.testing.assert_allclose(inverses[i].numpy() @ point, [0.3, -1.7], atol=1e-9)
        assert applied[i] == (drawn > 0)
        assert drawn or torch.equal(inverses[i], torch.eye(2, dtype=torch.float64))


@pytest.mark.parametrize("name", WARPS)
def test_each_warp_alone_is_its_map(name: str) -> None:
    x, u = pictures(8, 9), numbers(8)
    own = {k: u[:, PLACE[k] : PLACE[k] + NUMBERS[k]] for k in WARPS}
    inverses, applied = linear_map(own, 1.0, [name])
    assert applied.all()
    scale = inverses.det().abs()
    assert (scale - 1).abs().max() > 0.05 if name == "scale" else torch.allclose(scale, torch.ones_like(scale))
    expected = np.stack([resampled(a, m) for a, m in zip(x.numpy(), inverses.numpy(), strict=True)])
    np.testing.assert_allclose(augment(x, u, 1.0, [name]).numpy(), expected, rtol=0, atol=1e-12)


def test_all_together_are_one_after_the_other() -> None:
    x, u, p = pictures(32, 8), numbers(32), 0.6
    step = x
    for names in (["flip"], ["rotate90"], WARPS, ["hue"], ["color"], ["translation"], ["cutout"]):
        step = augment(step, u, p, names)
    assert torch.equal(augment(x, u, p, list(reversed(NUMBERS))), step), "whatever the order of the names"


def test_a_sure_flip_and_turn_leaves_each_direction_as_likely() -> None:
    x = torch.arange(16.0).reshape(1, 1, 4, 4).expand(4000, 1, 4, 4)
    for name, kinds in (("flip", 2), ("rotate90", 4)):
        found = augment(x, numbers(4000).float(), 1.0, [name]).flatten(1).unique(dim=0, return_counts=True)[1]
        assert len(found) == kinds
        assert (found / 4000 - 1 / kinds).abs().max() < 0.04


# --- what all of them promise -------------------------------------------------------------------------------------

EXTREME = torch.stack([torch.zeros(TOTAL), torch.full((TOTAL,), 1 - 2.0**-24)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_nothing_drawn_leaves_pictures_bit_for_bit(dtype: torch.dtype) -> None:
    x = pictures(6, 8, dtype=dtype)
    x[0, 0, 0, :4] = torch.tensor([-1.0, 1.0, -0.0, 1e-7])
    x[1] = 1.5  # beyond what a generator with tanh paints
    u = torch.cat([EXTREME, numbers(4).float()])
    for p in (0.0, torch.tensor(0.0)):
        y = augment(x, u, p, list(NUMBERS))
        assert y.dtype == dtype
        integers = {2: torch.int16, 4: torch.int32, 8: torch.int64}[x.element_size()]
        assert torch.equal(y.view(integers), x.view(integers))


def test_pictures_not_drawn_among_others_that_are() -> None:
    x, u = pictures(40, 8, dtype=torch.float32), numbers(40).float()
    for name in NUMBERS:
        gates = u[:, PLACE[name] : PLACE[name] + (2 if name == "rotate" else 1)]
        drawn = (gates < (1 - math.sqrt(0.5) if name == "rotate" else 0.5)).any(1)
        changed = (augment(x, u, torch.tensor(0.5), [name]) != x).flatten(1).any(1)
        assert not (changed & ~drawn).any()
        assert changed[drawn].float().mean() > 0.2
        assert drawn.any()
        assert not drawn.all()


@pytest.mark.parametrize("p", [0.1, 0.7])
def test_the_probability_is_that_of_each_operation(p: float) -> None:
    u = numbers(20000)
    x = pictures(1, 4).expand(20000, 3, 4, 4)
    for name in ("color", "hue", "cutout", *WARPS):  # these change a picture whenever they are applied
        share = (augment(x, u, p, [name]) != x).flatten(1).any(1).double().mean().item()
        assert share == pytest.approx(p, abs=0.02), name


@given(
    st.sampled_from([4, 6, 16]), st.sampled_from([1, 3]), st.lists(st.sampled_from(sorted(NUMBERS)), min_size=1),
    st.floats(0, 1), st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_values_stay_finite_and_where_pixels_only_move_in_range(
    side: int, channels: int, policy: list[str], p: float, seed: int
) -> None:
    x = pictures(5, side, channels, torch.float32, seed)
    u = torch.cat([EXTREME, numbers(3, seed).float()])
    y = augment(x, u, p, policy)
    assert y.shape == x.shape
    assert y.isfinite().all()
    if not {"color", "hue"} & set(policy):
        assert y.abs().max() <= 1
    if set(policy) <= set(PERMUTING):
        assert set(y.flatten().tolist()) <= {0.0, *x.flatten().tolist()}


def test_outside_is_grey_when_moved_and_a_mirror_when_warped() -> None:
    ones = torch.ones(64, 3, 8, 8)
    u = numbers(64).float()
    assert augment(ones, u, 1.0, ["translation"]).unique().tolist() == [0, 1]
    assert augment(ones, u, 1.0, ["cutout"]).unique().tolist() == [0, 1]
    torch.testing.assert_close(augment(ones, u, 1.0, WARPS), ones)


@pytest.mark.parametrize(
    ("names", "channels"),
    [
        *(pytest.param([name], 3, id=name) for name in NUMBERS),
        pytest.param(list(NUMBERS), 1, id="all"),
        pytest.param(["color"], 1, id="color of grey"),
    ],
)
def test_twice_differentiable(names: list[str], channels: int) -> None:
    x, u = pictures(2, 4, channels).requires_grad_(), numbers(2)

    def curved(y: Tensor) -> Tensor:
        return augment(y, u, 1.0, names).pow(3)  # so that the second derivative is not 0

    assert torch.autograd.gradcheck(curved, (x,), fast_mode=channels == 3)
    assert torch.autograd.gradgradcheck(curved, (x,), fast_mode=channels == 3)


def test_a_picture_does_not_depend_on_its_batch() -> None:
    x, u = pictures(9, 8, dtype=torch.float32), numbers(9).float()
    whole = augment(x, u, 0.7, list(NUMBERS))
    for rows in ([0], [3, 4], [8, 2, 5]):
        assert torch.equal(augment(x[rows], u[rows], 0.7, list(NUMBERS)), whole[rows])
    last = augment(x.contiguous(memory_format=torch.channels_last), u, 0.7, list(NUMBERS))
    torch.testing.assert_close(last, whole)


def test_operations_do_not_depend_on_which_others_are_wanted() -> None:
    x, u = pictures(20, 8), numbers(20)
    for name in NUMBERS:
        changed = u.clone()
        changed[:, : PLACE[name]] = 0.5
        changed[:, PLACE[name] + NUMBERS[name] :] = 0.5
        assert torch.equal(augment(x, u, 0.5, [name]), augment(x, changed, 0.5, [name]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32_under_autocast_too(dtype: torch.dtype) -> None:
    x, u = pictures(8, 8, dtype=dtype), numbers(8).float()
    expected = augment(x.float(), u, 0.9, list(NUMBERS)).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augment(x, u, 0.9, list(NUMBERS)), expected)


@pytest.mark.parametrize(
    ("x", "u", "policy", "sentence"),
    [
        (torch.zeros(2, 3, 4, 8), numbers(2), ["rotate90"], "rotate90 needs square pictures, not 8 x 4 px"),
        (torch.zeros(2, 3, 4, 4), numbers(3), ["flip"], "2 pictures need numbers of shape"),
        (torch.zeros(2, 3, 4, 4), numbers(2), ["flip", "blur"], "there is no operation 'blur'"),
    ],
)
def test_refusals(x: Tensor, u: Tensor, policy: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        augment(x, u, 0.5, policy)
