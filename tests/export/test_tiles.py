"""Tiles against the whole picture, and their seams against sums by hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from progcycle.errors import UserError
from progcycle.export import Translator
from progcycle.export.tiles import Seams, Tiling

Make = Callable[..., Path]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def trained(make_snapshot: Make, **options: object) -> Translator:
    """A model whose networks change pictures."""
    model = Translator.from_pretrained(make_snapshot(**options))
    for i, parameter in enumerate(model.parameters()):
        parameter.data += 0.2 * noise(*parameter.shape, seed=i)
    return model


def in_tiles(tiling: Tiling, x: Tensor, network: Callable[[Tensor], Tensor]) -> tuple[Tensor, Seams]:
    seams = Seams()

    def region(top: int, bottom: int, left: int, right: int) -> Tensor:
        return x[:, :, top:bottom, left:right]

    strips = tiling.strips(region, x.shape[2], x.shape[3], network, seams)
    return torch.cat(list(strips), dim=2), seams


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 400), st.sampled_from([1, 2, 4, 8]), st.integers(0, 3), st.integers(2, 12))
def test_cores_cover_every_place_once_and_windows_fit(length: int, multiple: int, blocks: int, more: int) -> None:
    margin = blocks * multiple
    tiling = Tiling(2 * margin + more * multiple, margin, multiple)
    cores = tiling.cores(length)
    assert [place for first, last in cores for place in range(first, last)] == list(range(length))
    assert all(first % multiple == 0 for first, _ in cores)
    for core in cores:
        first, last = tiling._window(core, length)
        assert 0 <= first <= core[0]
        assert core[1] <= last <= length
        assert last - first <= tiling.side


@pytest.mark.parametrize(
    "options",
    [
        {"predict": "change"},
        {"predict": "change", "alpha": 0.5},
        {"predict": "change", "stage": 1},
        {"smooth": "mean_preserving", "rgb": "sum"},
        {"latents": 4},
        {"channels": (1, 5)},
    ],
)
def test_tiles_that_hold_the_receptive_field_give_the_whole_picture(make_snapshot: Make, options: dict) -> None:
    """Everywhere, the border of the picture included, since that is where a tile is padded as the picture is."""
    model = trained(make_snapshot, **options)
    reach = model.reach("ab")
    assert reach is not None
    tiling = model.tiling("ab", side=3 * reach)
    assert tiling.exact
    for size in ((131, 207), (16, 150), (150, 64)):
        x = noise(2, options.get("channels", (3, 3))[0], *size)
        assert tiling.count(*size) > 1
        whole = model.translate(x, "ab", "native")
        assert (whole - F.pad(whole[..., 1:], (0, 1))).abs().mean() > 0.01
        torch.testing.assert_close(model.translate(x, "ab", "native", tiles=3 * reach), whole, rtol=0, atol=5e-5)


def test_a_margin_below_the_receptive_field_is_seen_near_the_cut_only(make_snapshot: Make) -> None:
    """So that it is the reach that makes them equal: without it tiles differ, and no further in than it says."""
    model = trained(make_snapshot, predict="change")
    reach, x = model.reach("ab"), noise(1, 3, 64, 256)
    assert reach is not None
    whole = model.translate(x, "ab", "native")
    cut = model.translate(x[..., :128], "ab", "native")
    difference = (cut - whole[..., :128]).abs().amax(dim=(0, 1, 2))
    assert difference[128 - reach :].max() > 1e-3
    assert difference[: 128 - reach].max() < 1e-5


def test_blended_tiles_of_what_tiles_do_not_change_are_the_picture() -> None:
    x = noise(1, 2, 300, 170)
    tiling = Tiling.choose(None, 4, side=64)
    assert (tiling.exact, tiling.margin) == (False, 8)
    got, seams = in_tiles(tiling, x, lambda part: part * 0.5)
    torch.testing.assert_close(got, x * 0.5, rtol=0, atol=1e-6)
    assert seams.compared
    assert seams.greatest < 1e-4


def test_the_blend_and_its_difference_by_hand() -> None:
    """A network that makes each tile its own number: 0, 1, ...; between two of them it rises in equal steps."""
    numbers = iter(range(2))
    tiling = Tiling(24, 4, 4, exact=False)
    got, seams = in_tiles(tiling, torch.zeros(1, 1, 8, 32), lambda part: torch.full_like(part, next(numbers)))
    steps = [(i + 0.5) / 8 for i in range(8)]
    expected = [0.0] * 12 + steps + [1.0] * 12
    assert got[0, 0].tolist() == [pytest.approx(expected)] * 8
    assert seams.mean == seams.greatest == 127.5  # half of the range of [-1, 1], in levels of 8 bits
    numbers = iter(range(2))
    got, _ = in_tiles(tiling, torch.zeros(1, 1, 32, 8), lambda part: torch.full_like(part, next(numbers)))
    assert got[0, 0, :, 3].tolist() == pytest.approx(expected)


def test_what_sees_the_whole_picture_is_blended_and_said(
    make_snapshot: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    model = trained(make_snapshot, predict="change", normalize="instance")
    assert model.reach("ab") is None
    x = noise(1, 3, 128, 200) * torch.linspace(0.1, 1, 200)  # less contrast on the left: norms differ by the tile
    whole = model.translate(x, "ab", "native")
    capsys.readouterr()
    got = model.translate(x, "ab", "native", tiles=64)
    words = capsys.readouterr().err
    assert "since these translators see the whole picture: where tiles of 64 px overlap, they differ by" in words
    assert (got - whole).abs().mean() > 1e-3
    steps = (got[..., 1:] - got[..., :-1]).abs().mean(dim=(0, 1, 2))
    assert steps.max() < 3 * steps.median(), "no column stands out as a seam"
    model.translate(x, "ab", "native", tiles=64)
    assert capsys.readouterr().err == "", "it is said once"


def test_a_network_of_one_size_gets_tiles_of_that_size() -> None:
    seen = set()

    def network(part: Tensor) -> Tensor:
        seen.add(tuple(part.shape[2:]))
        return part

    tiling = Tiling.choose(None, 32, fixed=256)
    x = noise(1, 1, 300, 700)
    got, _ = in_tiles(tiling, x, network)
    torch.testing.assert_close(got, x, rtol=0, atol=1e-6)
    assert seen == {(256, 256)}


def test_sides_and_overlaps() -> None:
    assert Tiling.choose(24, 4) == Tiling(1024, 24, 4, True)
    assert Tiling.choose(384, 32) == Tiling(1536, 384, 32, True)
    assert Tiling.choose(960, 32) == Tiling(2048, 256, 32, False)
    assert Tiling.choose(24, 4, side=70) == Tiling(68, 24, 4, True)
    assert Tiling.choose(24, 4, side=200, overlap=30) == Tiling(200, 16, 4, False)
    assert Tiling.choose(24, 4, side=200, overlap=45) == Tiling(200, 24, 4, True)
    with pytest.raises(UserError, match=r"Tiles of 20 px are too small for this network; give 24 px or more\."):
        Tiling.choose(24, 4, side=20)
    with pytest.raises(UserError, match=r"which a third may overlap; give --tiles 104 or more"):
        Tiling.choose(None, 4, side=64, overlap=32)
    assert Tiling.choose(None, 4, side=104, overlap=32).margin == 16, "the advice works"
    with pytest.raises(UserError, match=r"leaves nothing of tiles of 64 px; give --tiles 68 or more"):
        Tiling.choose(24, 4, side=64, overlap=64)
    assert Tiling.choose(24, 4, side=68, overlap=64).exact


def test_a_larger_side_for_the_network_in_tiles_and_at_once(make_snapshot: Make) -> None:
    """At a side of its own the picture that the network sees is larger than in training; tiles change nothing."""
    model = trained(make_snapshot, predict="change")
    levels = np.asarray(Image.effect_mandelbrot((150, 130), (-2, -1.2, 1, 1.2), 50).convert("RGB"))
    for scale in ("detail", "train"):
        small, large = (model.translate(levels, "ab", scale, side=side).astype(int) for side in (None, 120))
        assert np.abs(small - large).mean() > 1
        tiled = model.translate(levels, "ab", scale, side=120, tiles=72).astype(int)
        assert np.abs(large - tiled).max() <= 2
        assert np.abs(large - tiled).mean() < 0.01
        own = model.translate(levels, "ab", scale, side=32).astype(int)
        assert np.array_equal(own, small), "the side of training is the default"
        same = model.translate(levels, "ab", scale, side=500), model.translate(levels, "ab", scale, side=130)
        assert np.array_equal(*same), "a picture is not enlarged beyond its own size"
    at_size = model.translate(levels, "ab", "detail", side=130).astype(int)
    assert np.abs(at_size - model.translate(levels, "ab", "native")).max() <= 1


def test_refusals(make_snapshot: Make) -> None:
    model = trained(make_snapshot, predict="change")
    x = noise(1, 3, 64, 64)
    with pytest.raises(UserError, match="leave the side out"):
        model.translate(x, scale="native", side=64)
    with pytest.raises(UserError, match="A side of 16 px is below the 32 px of training"):
        model.translate(x, side=16)
    with pytest.raises(UserError, match="there are no tiles to choose"):
        model.translate(x, tiles=True)
    with pytest.raises(UserError, match="give tiles too"):
        model.translate(x, scale="native", overlap=8)
