"""The change enlarged along edges: against numpy written from the definitions, and by what must always hold."""

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
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from progcycle.errors import UserError
from progcycle.export import Generator, Translator, detail
from progcycle.export.detail import Enlarged, add_change, bands, fit_slopes

Make = Callable[..., Path]


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def adding(model: Translator, change: tuple[float, ...]) -> Translator:
    """The model with networks that add the same colour to every pixel; fresh ones that predict a change add nothing."""
    for network in (model.gen_ab, model.gen_ba):
        for layer in network.decoder.to_rgb:  # type: ignore[union-attr]
            bias = next(p for name, p in layer.named_parameters() if name.endswith("bias"))
            bias.data = torch.tensor(change)
    return model


@pytest.fixture
def translator(make_snapshot: Make) -> Translator:
    return Translator.from_pretrained(make_snapshot(predict="change"))


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*[st.integers(1, 9)] * 2), st.tuples(*[st.integers(1, 40)] * 2), st.sampled_from(["bilinear", "bicubic"])
)
def test_rows_are_those_of_the_whole(small: tuple[int, int], large: tuple[int, int], mode: str) -> None:
    maps = noise(2, 3, *small)
    height, width = max(small[0], large[0]), max(small[1], large[1])
    expected = F.interpolate(maps, (height, width), mode=mode, align_corners=False)
    rows = Enlarged(maps, height, width, mode)  # type: ignore[arg-type]
    middle = height // 3
    parts = [rows(i, j) for i, j in ((0, middle), (middle, height)) if j > i]
    torch.testing.assert_close(torch.cat(parts, dim=2), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("guides", [1, 3])
def test_slopes_are_those_of_least_squares(guides: int) -> None:
    guide, change, radius, epsilon = noise(1, guides, 6, 7), noise(1, 2, 6, 7, seed=1), 2, 0.05
    x, y = guide[0].double().numpy(), change[0].double().numpy()
    slopes = np.zeros((2, guides, 6, 7))
    for i, j in np.ndindex(6, 7):  # ridge regression of the window, its penalty epsilon for each pixel
        window = np.s_[:, max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]
        u, v = x[window].reshape(guides, -1), y[window].reshape(2, -1)
        du = u - u.mean(axis=1, keepdims=True)
        slopes[:, :, i, j] = v @ du.T @ np.linalg.inv(du @ du.T + epsilon * u.shape[1] * np.eye(guides))
    got = fit_slopes(guide, change, radius, epsilon)
    for i, j in np.ndindex(6, 7):
        window = np.s_[..., max(i - radius, 0) : i + radius + 1, max(j - radius, 0) : j + radius + 1]
        np.testing.assert_allclose(got[0, ..., i, j], slopes[window].mean(axis=(-2, -1)), atol=2e-5)


def test_a_change_that_follows_the_colours_follows_every_pixel_of_the_full_picture() -> None:
    """Red and green change places, with contrast above epsilon: so they do where no small pixel could show it."""
    full = noise(1, 3, 120, 160)
    small = noise(1, 3, 30, 40, seed=1)  # of the same colours, and of nothing else in common
    swapped = [1, 0, 2]
    rows = add_change(lambda i, j: full[:, :, i:j], 120, 160, small, small[:, swapped] - small)
    out = torch.cat([rows(i, min(i + 50, 120)) for i in range(0, 120, 50)], dim=2)
    # Noise of variance 1/3: the slope falls short by epsilon / (1/3 + epsilon), which is 3 %.
    assert (out - full[:, swapped]).abs().max() < 0.2
    assert (out - full[:, swapped]).abs().mean() < 0.03


def test_a_step_stays_as_sharp_as_the_picture_has_it() -> None:
    full = torch.full((1, 3, 64, 96), -0.8)
    full[..., 41:] = 0.6
    small = F.interpolate(full, (16, 24), mode="area")
    change = F.interpolate((full < 0) * 0.5, (16, 24), mode="area")  # what is dark becomes lighter
    out = add_change(lambda i, j: full[:, :, i:j], 64, 96, small, change)(0, 64)
    plain = full + F.interpolate(change, (64, 96), mode="bilinear")
    truth = torch.where(full < 0, -0.3, 0.6)
    near = slice(37, 45)
    assert (out - truth)[..., near].abs().mean() < 0.3 * (plain - truth)[..., near].abs().mean()


@pytest.mark.parametrize(
    ("size", "growth"),
    [
        *((size, {}) for size in ((37, 53), (1, 1), (3, 200), (64, 32), (16, 20), (300, 200))),
        ((37, 53), {"stage": 1, "alpha": 0.25}),
        ((37, 53), {"stage": 1, "alpha": 0.0}),
    ],
)
def test_what_changes_nothing_gives_the_picture_back(make_snapshot: Make, size: tuple[int, int], growth: dict) -> None:
    model = Translator.from_pretrained(make_snapshot(predict="change", **growth))
    levels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert np.array_equal(model.translate(levels, "ba"), levels)
    assert model.translate(Image.fromarray(levels)).tobytes() == levels.tobytes()
    x = noise(2, 3, *size)
    torch.testing.assert_close(model.translate(x, resolution=8), x, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "channels", "bounded"),
    [((9, 14), 3, False), ((32, 32), 3, False), ((130, 77), 3, False), ((130, 77), 1, False), ((130, 77), 3, True)],
)
def test_one_colour_is_added_to_every_pixel(
    make_snapshot: Make, size: tuple[int, int], channels: int, bounded: bool
) -> None:
    options = {"channels": (channels, channels), "alpha": 0.5}
    model = Translator.from_pretrained(make_snapshot(predict="change", bounded=bounded, **options))
    colour = (0.25, -0.5, 0.125)[:channels]
    x = noise(2, channels, *size) / 2.5
    expected = x + torch.tensor(colour).reshape(1, channels, 1, 1)
    torch.testing.assert_close(adding(model, colour).translate(x, "ab", "detail"), expected, rtol=0, atol=0.01)


def test_white_stays_white_though_the_network_wants_more(make_snapshot: Make) -> None:
    for bounded in (False, True):
        model = Translator.from_pretrained(make_snapshot(predict="change", bounded=bounded))
        x = torch.ones(1, 3, 90, 70)
        x[:, :, 30:60] = 0.0
        out = adding(model, (0.5, 0.5, 0.5)).translate(x)
        assert (out[:, :, :15] > 0.999).all()
        assert (out[:, :, 40:50] - 0.5).abs().max() < 0.01


def test_at_the_size_of_training_it_is_the_networks_picture(translator: Translator) -> None:
    for parameter in translator.parameters():
        parameter.data += 0.1 * noise(*parameter.shape)
    x = (noise(1, 3, 32, 48) * 127.5 + 127.5).round() / 127.5 - 1
    for direction in ("ab", "ba"):
        got = translator.translate(x, direction, "detail")
        torch.testing.assert_close(got, translator.translate(x, direction, "native"), rtol=0, atol=1e-5)


def test_bands_batches_and_kinds_agree(translator: Translator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for parameter in translator.parameters():
        parameter.data += 0.2 * noise(*parameter.shape)
    levels = np.random.default_rng(1).integers(0, 256, (2, 75, 110, 3), dtype=np.uint8)
    x = torch.from_numpy(levels).permute(0, 3, 1, 2) / 127.5 - 1
    call, asked = Enlarged.__call__, list[int]()

    def watched(self: Enlarged, first: int, last: int) -> Tensor:
        asked.append(last - first)
        return call(self, first, last)

    for scale in ("detail", "train"):
        whole = translator.translate(x, "ab", scale)
        assert (whole - x).abs().mean() > 0.05
        with monkeypatch.context() as patch:
            patch.setattr(detail, "BAND", 700)  # 6 rows at a time
            torch.testing.assert_close(translator.translate(x, "ab", scale), whole, rtol=0, atol=1e-5)
            asked.clear()
            patch.setattr(Enlarged, "__call__", watched)
            translator.translate(x, "ab", scale)
            assert set(asked) == {3}, "rows of both pictures together"
        for i in range(2):
            expected = ((whole[i] + 1) * 127.5).round().permute(1, 2, 0).numpy()
            got = translator.translate(levels[i], "ab", scale)
            assert np.abs(got - expected).max() <= 1
            image = Image.fromarray(levels[i])
            image.save(tmp_path / "a.png")
            assert np.array_equal(np.asarray(translator.translate(image, "ab", scale)), got)
            for path in (tmp_path / "a.png", str(tmp_path / "a.png")):
                assert np.array_equal(np.asarray(translator.translate(path, "ab", scale)), got)


def test_bands_cover_every_row_once() -> None:
    for height, width in ((1, 1), (9000, 12000), (5, 3 << 20), (100, 100)):
        rows = [row for i, j in bands(height, width) for row in range(i, j)]
        assert rows == list(range(height))
        assert all((j - i) * width <= max(detail.BAND, width) for i, j in bands(height, width))


def test_who_paints_whole_pictures_has_no_change_to_enlarge(make_snapshot: Make, translator: Translator) -> None:
    painter = Translator.from_pretrained(make_snapshot())
    assert (translator.scale, painter.scale) == ("detail", "train")
    x = noise(1, 3, 64, 64)
    assert torch.equal(painter.translate(x), painter.translate(x, scale="train"))
    assert torch.equal(translator.translate(x), translator.translate(x, scale="detail"))
    with pytest.raises(UserError, match=r"paint whole pictures .* use the scale 'train'"):
        painter.translate(x, scale="detail")


@pytest.mark.parametrize(
    ("options", "dtype"),
    [
        ({}, torch.bfloat16),
        ({}, torch.float64),
        *(({"normalize": kind}, torch.float16) for kind in ("pixel", "instance", "batch", "layer")),
    ],
)
def test_any_precision_of_the_weights(make_snapshot: Make, options: dict, dtype: torch.dtype) -> None:
    folder, x = make_snapshot(predict="change", **options), noise(1, 3, 70, 50)
    model = Translator.from_pretrained(folder)
    for parameter in model.parameters():
        parameter.data += 0.1 * noise(*parameter.shape)
    expected = {scale: model.translate(x, "ab", scale) for scale in ("detail", "train", "native")}
    model.to(dtype)
    for scale, precise in expected.items():
        got = model.translate(x, "ab", scale)
        assert got.dtype == torch.float32
        assert (got - precise).abs().max() < {torch.float16: 0.02, torch.bfloat16: 0.15, torch.float64: 1e-5}[dtype]
    assert all(parameter.dtype == dtype for parameter in model.parameters())


def test_what_is_no_picture_is_named(translator: Translator, tmp_path: Path) -> None:
    with pytest.raises(
        TypeError, match=r"grey levels \(uint8 or uint16\), got float64; numbers in \[-1, 1\] go in a tensor"
    ):
        translator.translate(np.zeros((4, 4, 3)))
    with pytest.raises(ValueError, match=r"\[H, W\] or \[H, W, 1 or 3\], got \[4, 4, 4\]"):
        translator.translate(np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(TypeError, match="a path, an array or a tensor, got a list"):
        translator.translate([1])
    with pytest.raises(UserError, match=r"nowhere\.jpg"):
        translator.translate(tmp_path / "nowhere.jpg")
    assert translator.translate(np.zeros((4, 4), np.uint8)).shape == (4, 4, 3)


class WithoutFloat64(TorchDispatchMode):
    """Refuses what Apple's GPUs refuse."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        out = function(*args, **(kwargs or {}))
        found = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor) and x.dtype == torch.float64]
        assert not found, f"{function} has to do with float64"
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("scale", ["detail", "train", "native"])
def test_no_float64_on_the_way(make_snapshot: Make, scale: str, dtype: torch.dtype) -> None:
    model = Translator.from_pretrained(make_snapshot(predict="change", stage=1, alpha=0.5, bounded=True)).to(dtype)
    generator = Generator.from_pretrained(make_snapshot(task="pggan", run="other", alpha=0.5)).to(dtype)
    sizes = [(9, 14), (16, 20), (50, 70)]
    with WithoutFloat64():
        for height, width in sizes:
            model.translate(noise(2, 3, height, width), "ab", scale)
            model.translate(Image.new("RGBA", (width, height), (9, 90, 200, 77)), "ba", scale, alpha="keep")
        assert generator.generate(3).dtype == torch.float32
    with pytest.raises(AssertionError, match="float64"), WithoutFloat64():
        torch.zeros(3, dtype=torch.float64)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_generators_follow_their_weights(make_snapshot: Make, dtype: torch.dtype) -> None:
    model = Generator.from_pretrained(make_snapshot(task="pggan", alpha=0.5, classes=("cat", "dog")))
    expected = model.generate(4, seed=1)
    got = model.to(dtype).generate(4, seed=1)
    assert got.dtype == torch.float32
    assert (got - expected).abs().mean() < {torch.float16: 0.005, torch.bfloat16: 0.04, torch.float64: 1e-5}[dtype]
