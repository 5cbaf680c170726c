"""The sliced Wasserstein distance against scipy in float64, and whatever must not change it."""

import importlib
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from emoji import emoji
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from torch import Tensor

from progcycle.metrics import batches_of, sliced_wasserstein
from progcycle.metrics.picture_batches import rebatch
from progcycle.metrics.pyramid import laplacian_pyramid, pyramid_down, pyramid_levels, pyramid_up
from progcycle.metrics.sliced_wasserstein import _take_patches, directions, memory_plan, patch_places
from progcycle.resolution import Resolution

BINOMIAL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1])[None, None] / 256
CPU = torch.device("cpu")


def down(x: np.ndarray) -> np.ndarray:
    return ndimage.convolve(x, BINOMIAL, mode="mirror")[:, :, ::2, ::2]


def up(x: np.ndarray) -> np.ndarray:
    y = np.zeros((*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]))
    y[:, :, ::2, ::2] = x
    return ndimage.convolve(y, 4 * BINOMIAL, mode="mirror")


def pyramid(x: np.ndarray) -> dict[int, np.ndarray]:
    levels, side = {}, x.shape[-1]
    while side > 16:
        smaller = down(x)
        levels[side] = x - up(smaller)
        x, side = smaller, side // 2
    levels[side] = x
    return levels


def descriptors(pictures: np.ndarray, level: int, places: np.ndarray) -> np.ndarray:
    x = pyramid(np.broadcast_to(pictures, (len(pictures), 3, *pictures.shape[2:])).astype(np.float64))[level]
    found = [x[i, :, r : r + 7, c : c + 7] for i in range(len(x)) for r, c in places[i]]
    rows = np.array(found)
    rows -= rows.mean(axis=(0, 2, 3), keepdims=True)
    rows /= rows.std(axis=(0, 2, 3), keepdims=True)
    return rows.reshape(len(rows), -1)


def by_scipy(a: np.ndarray, b: np.ndarray, seed: int, patches: int, which: int = 1) -> dict[int, float]:
    """The definition, with the same random places and directions; scipy measures the distance of each projection."""
    found = {}
    for level in pyramid(a.astype(np.float64)):
        x = descriptors(a, level, patch_places(seed, 0, level, len(a), patches))
        y = descriptors(b, level, patch_places(seed, which, level, len(b), patches))
        w = directions(seed, level).astype(np.float64)
        repeats = [[stats.wasserstein_distance(x @ d, y @ d) for d in part] for part in np.split(w, 4)]
        found[level] = 1e3 * float(np.mean([np.mean(repeat) for repeat in repeats]))
    return found


def noise(count: int, side: int, seed: int, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shade = rng.integers(0, 120, (count, channels, 1, 1))
    return (rng.integers(0, 136, (count, channels, side, side)) + shade).astype(np.uint8)


def source(pictures: np.ndarray, batch_size: int = 5):  # type: ignore[no-untyped-def]
    return batches_of(torch.from_numpy(pictures), batch_size)


def swd(a: np.ndarray, *others: np.ndarray, batch: int = 5, **options: object) -> list[dict[int, float]]:
    shared: dict[str, object] = {"count": len(a), "resolution": a.shape[-1], "seed": 3, "patches": 6, **options}
    return sliced_wasserstein(source(a, batch), [source(b, batch) for b in others], **shared)  # type: ignore[arg-type]


# --- the pyramid --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [16, 64])
def test_filters_are_those_of_scipy(side: int) -> None:
    x = np.random.default_rng(0).uniform(0, 255, (2, 3, side, side))
    np.testing.assert_allclose(pyramid_down(torch.from_numpy(x)).numpy(), down(x), atol=1e-10)
    np.testing.assert_allclose(pyramid_up(torch.from_numpy(x)).numpy(), up(x), atol=1e-10)


def test_levels_are_those_of_scipy_and_only_what_is_asked_for_is_made() -> None:
    x = np.random.default_rng(1).uniform(0, 255, (2, 3, 64, 64))
    for wanted in ((64, 32, 16), (32,), (64, 16)):
        found = dict(laplacian_pyramid(torch.from_numpy(x), wanted))
        assert tuple(found) == wanted
        for level, pictures in found.items():
            np.testing.assert_allclose(pictures.numpy(), pyramid(x)[level], atol=1e-10)


def test_the_pyramid_adds_up_to_the_picture() -> None:
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    levels = dict(laplacian_pyramid(x, (64, 32, 16)))
    torch.testing.assert_close(pyramid_up(pyramid_up(levels[16]) + levels[32]) + levels[64], x)


def test_levels_by_resolution() -> None:
    assert pyramid_levels(1024) == (1024, 512, 256, 128, 64, 32, 16)
    assert pyramid_levels(16) == (16,)


def test_levels_of_rectangles_and_other_sides_end_where_halves_are_not_whole_or_too_small() -> None:
    assert [level.shape for level in pyramid_levels(Resolution(64, 96))] == [(64, 96), (32, 48), (16, 24)]
    assert pyramid_levels(96) == (96, 48, 24)
    assert pyramid_levels(100) == (100, 50, 25)
    assert pyramid_levels(17) == (17,)
    x = torch.rand(1, 3, 48, 80, dtype=torch.float64)
    levels = dict(laplacian_pyramid(x, (48, 24)))
    assert [tuple(level.shape[2:]) for level in levels.values()] == [(48, 80), (24, 40)]
    torch.testing.assert_close(pyramid_up(levels[24]) + levels[48], x)


def test_patches_of_rectangles_lie_all_over_them() -> None:
    size, patches = Resolution(20, 33), 40
    places = patch_places(0, 0, size, 6, patches)
    assert places.reshape(-1, 2).min(0).tolist() == [0, 0]
    assert places[..., 0].max() == 20 - 7
    assert places[..., 1].max() > 20
    assert places[..., 1].max() <= 33 - 7
    pictures = torch.rand(6, 3, *size.shape)
    out = torch.empty(6 * patches, 147)
    _take_patches(pictures, torch.from_numpy(places).long(), out)
    for i in range(6):
        for j, (row, column) in enumerate(places[i]):
            expected = pictures[i, :, row : row + 7, column : column + 7].flatten()
            assert torch.equal(out[i * patches + j], expected)


def test_distances_of_rectangles_do_not_depend_on_which_way_they_lie() -> None:
    """Of noise, wide and high pictures are as far from smoothed noise."""
    noise, smooth = (torch.rand(12, 3, 16, 32) * 255 for _ in range(2))
    smooth = torch.nn.functional.avg_pool2d(smooth, 3, 1, 1)
    found = []
    for turn in (False, True):
        sets = [x.transpose(2, 3).contiguous() if turn else x for x in (noise, smooth)]
        options = {"count": 12, "resolution": Resolution(*sets[0].shape[2:]), "patches": 64}
        (distances,) = sliced_wasserstein(batches_of(sets[0]), [batches_of(sets[1])], **options)
        assert list(distances) == [16]
        found.append(distances[16])
    assert found[0] == pytest.approx(found[1], rel=0.1)
    assert found[0] > 100


@pytest.mark.parametrize("side", [8, 1, 15])
def test_other_sizes_are_refused(side: int) -> None:
    with pytest.raises(ValueError, match=f"pictures of 16 px or more, got {side} px"):
        swd(noise(2, side, 0), noise(2, side, 1))


# --- the distance -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["random", "real", "grey"])
def test_against_scipy(kind: str) -> None:
    if kind == "real":
        a, b = emoji(20), emoji(20, start=300)
    else:
        a, b = (noise(20, 32, seed, channels=1 if kind == "grey" else 3) for seed in (0, 1))
    (found,) = swd(a, b)
    expected = by_scipy(a, b, seed=3, patches=6)
    assert list(found) == list(expected)
    assert found == pytest.approx(expected, rel=1e-4)
    assert min(expected.values()) > 1


def test_every_set_has_patches_of_its_own_and_none_changes_another() -> None:
    a, b, c = noise(12, 16, 0), noise(12, 16, 1), emoji(12, 16)
    both = swd(a, b, c)
    assert both[0] == swd(a, b)[0]
    assert both[1] == pytest.approx(by_scipy(a, c, seed=3, patches=6, which=2), rel=1e-4)
    assert not np.array_equal(patch_places(3, 1, 16, 4), patch_places(3, 2, 16, 4))


def test_a_fifth_of_the_contrast_is_as_good_as_all_of_it() -> None:
    """Every colour is brought to deviation 1, so brightness and contrast of a whole set do not count."""
    a = noise(10, 16, 0).astype(np.float32)
    assert swd(a, a / 5 + 30)[0] == pytest.approx(swd(a, a)[0], rel=1e-4)


def test_a_set_is_nearer_to_itself_in_another_order_than_to_others() -> None:
    a = emoji(120, 32)
    again, other = swd(a, a[::-1].copy(), noise(120, 32, 5), patches=32)
    for level in again:
        assert 0 < again[level] < other[level] / 3


def test_equal_pictures_at_equal_places_have_no_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("progcycle.metrics.sliced_wasserstein")  # by its name the room has the function
    monkeypatch.setattr(module, "patch_places", lambda seed, which, *rest: patch_places(seed, 0, *rest))
    a = emoji(8, 32)
    assert swd(a, a) == [{32: 0, 16: 0}]


def test_pictures_of_one_colour_do_not_divide_by_zero() -> None:
    flat = np.full((6, 3, 32, 32), 77, np.uint8)
    ((fine, coarse),) = (found.values() for found in swd(noise(6, 32, 0), flat))
    assert np.isfinite([fine, coarse]).all()
    assert swd(flat, flat) == [{32: 0, 16: 0}]


def test_nothing_but_the_seed_changes_the_result() -> None:
    a, b = noise(23, 32, 0), emoji(23, 32)
    first = swd(a, b)
    for batch in (1, 7, 100):
        assert swd(a, b, batch=batch) == first
    for memory in (1e-6, 1.0001, 8):
        assert swd(a, b, memory_gb=memory)[0] == pytest.approx(first[0], rel=1e-6)
    assert swd(a, b, seed=4) != first


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_gives_the_same() -> None:
    a, b = noise(23, 32, 0), emoji(23, 32)
    assert swd(a, b, device="cuda")[0] == pytest.approx(swd(a, b)[0], rel=1e-4)


def test_one_pass_or_several_read_every_picture_as_often() -> None:
    a = noise(4, 64, 0)
    for memory, passes in ((8.0, 1), (1e-6, 3)):
        read = []

        def counted(read: list[int] = read) -> Iterator[Tensor]:
            for batch in torch.from_numpy(a).split(3):
                read.append(len(batch))
                yield batch

        sliced_wasserstein(counted, [source(a)], count=4, resolution=64, patches=2, memory_gb=memory)
        assert sum(read) == 4 * passes


# --- its random numbers -------------------------------------------------------------------------------------------


def test_places_are_uniform_over_all_that_fit() -> None:
    places = patch_places(0, 0, 16, 1000)
    assert places.shape == (1000, 128, 2)
    counts = np.bincount(places[..., 0].ravel() * 10 + places[..., 1].ravel(), minlength=100)
    assert len(counts) == 100  # upper left pixels 0 to 9 of 16
    assert stats.chisquare(counts).pvalue > 1e-3


def test_directions_are_unit_vectors_without_a_preference() -> None:
    w = directions(0, 64)
    assert (w.shape, w.dtype) == ((512, 147), np.float32)
    np.testing.assert_allclose(np.linalg.norm(w, axis=1), 1, rtol=1e-6)
    assert abs(w.mean()) < 4 / np.sqrt(w.size * 147)
    np.testing.assert_allclose((w**2).sum(axis=0), 512 / 147, rtol=0.4)
    assert not np.array_equal(w, directions(0, 32))
    assert not np.array_equal(w, directions(1, 64))


def test_the_callers_generators_are_left_alone() -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    swd(noise(4, 16, 0), noise(4, 16, 1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


# --- memory -------------------------------------------------------------------------------------------------------


@given(st.sampled_from([16, 64, 1024]), st.integers(1, 1 << 22), st.floats(1e-3, 100), st.sampled_from(["cpu", "cuda"]))
@settings(deadline=None)
def test_a_plan_keeps_its_budget_and_leaves_no_level_out(side: int, rows: int, memory: float, kind: str) -> None:
    passes, block = memory_plan(side, rows, memory, kind)
    assert [level for levels in passes for level in levels] == list(pyramid_levels(side))
    assert 1 <= block <= 128
    most = max(len(levels) for levels in passes)
    used = 2 * most * rows * 147 * 4 + block * rows * 4 * (2 if kind == "cpu" else 12)
    assert used <= (memory - (1 if kind == "cpu" else 0)) * 1e9 or (most == 1 and block <= 16)


def test_the_full_protocol_takes_one_level_at_a_time_in_four_gigabytes() -> None:
    passes, block = memory_plan(1024, 1 << 21, 4.0)
    assert (len(passes), block >= 16) == (7, True)
    assert len(memory_plan(1024, 1 << 21, 24.0)[0]) == 1


# --- sources ------------------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.integers(1, 50))
@settings(deadline=None, max_examples=10)
def test_pieces_are_the_same_whatever_the_batches(count: int, batch: int) -> None:
    pictures = torch.arange(40 * 3 * 256 * 256, dtype=torch.int32).remainder(251).to(torch.uint8).view(40, 3, 256, 256)
    found = list(rebatch(batches_of(pictures, batch), count, 256, CPU))
    assert {len(piece) for piece in found[:-1]} <= {20}
    assert len(found[-1]) <= 20
    assert torch.equal(torch.cat(found), pictures[:count].float())


def test_a_source_that_is_longer_is_not_read_to_its_end() -> None:
    def endless() -> Iterator[Tensor]:
        while True:
            yield torch.zeros(3, 1, 16, 16)

    assert sum(len(piece) for piece in rebatch(endless, 7, 16, CPU)) == 7


@pytest.mark.parametrize(
    ("pictures", "words"),
    [
        (torch.zeros(4, 3, 16, 16), "the source gave 4 pictures, but 5 are wanted"),
        (torch.zeros(5, 3, 16, 8), r"expected pictures \[N, C, 16, 16\]"),
        (torch.zeros(5, 16, 16), r"got \[5, 16, 16\]"),
        (torch.zeros(5, 3, 16, 16, dtype=torch.int64), "torch.int64"),
    ],
)
def test_sources_that_are_wrong(pictures: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sliced_wasserstein(source(noise(5, 16, 0)), [batches_of(pictures)], count=5, resolution=16)


@pytest.mark.parametrize("change", [{"count": 0}, {"patches": 0}])
def test_nothing_cannot_be_compared(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="start at 1"):
        swd(noise(2, 16, 0), noise(2, 16, 1), **change)
