"""Generating and translating, against the raw networks and against Pillow and numpy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional as F

from progcycle.data import PictureSet
from progcycle.data.fit import stage_size
from progcycle.errors import UserError
from progcycle.export import Generator, Translator, from_pil, load, to_pil
from progcycle.export.contact_sheet import enlarge, sheet
from progcycle.export.tensor_images import as_channels, pad_to_multiple, resize, to_stage
from progcycle.recipe import Pictures
from progcycle.rng import normal

Make = Callable[..., Path]


def picture(height: int, width: int, mode: str = "RGB") -> Image.Image:
    channels = {"L": 1, "RGB": 3, "RGBA": 4}[mode]
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)


@pytest.fixture
def generator(make_snapshot: Make) -> Generator:
    return Generator.from_pretrained(make_snapshot(task="pggan", alpha=0.3))


@pytest.fixture
def translator(make_snapshot: Make) -> Translator:
    return Translator.from_pretrained(make_snapshot())


def test_pictures_do_not_depend_on_count_start_or_batch(generator: Generator) -> None:
    many = generator.generate(7, seed=5, batch_size=3)
    assert many.shape == (7, 3, 16, 16)
    assert many.dtype == torch.float32
    assert many.abs().max() <= 1
    torch.testing.assert_close(generator.generate(4, seed=5, batch_size=4), many[:4])
    torch.testing.assert_close(generator.generate(2, seed=5, start=4, batch_size=1), many[4:6])
    assert not torch.allclose(generator.generate(1, seed=6), many[:1], atol=0.01)


def test_generate_is_the_network_at_the_snapshots_stage_and_alpha(generator: Generator) -> None:
    with torch.no_grad():
        expected = generator.generator(normal(1, "latent", range(2), 5), 2, 0.3)
        early = generator.generator(normal(1, "latent", range(2), 5), 1, 1.0)
    torch.testing.assert_close(generator.generate(2, seed=1), expected.clamp(-1, 1))
    torch.testing.assert_close(generator.generate(2, seed=1, resolution=8), early.clamp(-1, 1))
    torch.testing.assert_close(generator.generate(2, seed=1, resolution=16), expected.clamp(-1, 1))


@pytest.mark.parametrize("resolution", [1, 7, 32, 64])
def test_impossible_resolutions_name_the_possible(generator: Generator, resolution: int) -> None:
    with pytest.raises(UserError, match=f"no resolution {resolution}; it can run at 4, 8, 16 px"):
        generator.generate(1, resolution=resolution)


def test_resolutions_that_were_never_trained_are_not_offered(make_snapshot: Make) -> None:
    model = load(make_snapshot(task="pggan", schedule={"start_resolution": 8}))
    with pytest.raises(UserError, match="it can run at 8, 16 px"):
        model.config.growth_at(4)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"n": 1, "batch_size": 0}, {"n": 1, "start": -1}])
def test_generate_refuses_nonsense(generator: Generator, arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="start at"):
        generator.generate(**arguments)


# --- translation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["train", "native"])
@pytest.mark.parametrize("size", [(37, 53), (1, 1), (3, 200), (64, 32)])
def test_every_size_comes_back(translator: Translator, scale: str, size: tuple[int, int]) -> None:
    image = picture(*size)
    out = translator.translate(image, "ba", scale)  # type: ignore[call-overload]
    assert out.size == image.size
    assert out.mode == "RGB"
    x = torch.rand(2, 3, *size) * 2 - 1
    y = translator.translate(x, "ab", scale)  # type: ignore[call-overload]
    assert y.shape == x.shape
    assert y.abs().max() <= 1
    assert not y.requires_grad


@pytest.mark.parametrize("direction", ["ab", "ba"])
def test_whole_places_need_no_padding(translator: Translator, direction: str) -> None:
    x = torch.rand(2, 3, 48, 32) * 2 - 1
    network = translator.gen_ab if direction == "ab" else translator.gen_ba
    with torch.no_grad():
        expected = network(x, 2, 1.0).clamp(-1, 1)
    assert torch.equal(translator.translate(x, direction, "native"), expected)  # type: ignore[call-overload]
    assert torch.equal(translator.translate(x, direction, "train"), expected)  # type: ignore[call-overload]


def test_padding_mirrors_and_is_cut_off(translator: Translator) -> None:
    x = torch.rand(1, 3, 37, 53) * 2 - 1
    padded = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (0, 0), (0, 3), (0, 3)), mode="reflect"))
    with torch.no_grad():
        expected = translator.gen_ab(padded, 2, 1.0)[:, :, :37, :53].clamp(-1, 1)
    torch.testing.assert_close(translator.translate(x, "ab", "native"), expected)


def test_mid_fade_fades_input_and_network(make_snapshot: Make) -> None:
    model = Translator.from_pretrained(make_snapshot(stage=1, alpha=0.25))
    x = torch.rand(1, 3, 16, 24) * 2 - 1
    blocks = x.reshape(1, 3, 8, 2, 12, 2).mean(dim=(3, 5))
    faded = 0.75 * blocks.repeat_interleave(2, 2).repeat_interleave(2, 3) + 0.25 * x
    with torch.no_grad():
        expected = model.gen_ab(faded, 1, 0.25).clamp(-1, 1)
        full = model.gen_ab(x, 1, 1.0).clamp(-1, 1)
        base = model.gen_ab(x, 0, 1.0).clamp(-1, 1)
    torch.testing.assert_close(model.translate(x, "ab", "native"), expected)
    assert not torch.allclose(expected, full, atol=1e-3)
    torch.testing.assert_close(model.translate(x, "ab", "native", resolution=8), base)


def test_the_input_is_not_faded_where_training_did_not_fade_it(make_snapshot: Make) -> None:
    model = Translator.from_pretrained(make_snapshot(stage=1, alpha=0.25, schedule={"fade_reals": False}))
    x = torch.rand(1, 3, 16, 24) * 2 - 1
    with torch.no_grad():
        expected = model.gen_ab(x, 1, 0.25).clamp(-1, 1)
    torch.testing.assert_close(model.translate(x, "ab", "native"), expected)


def network_input(model: Translator, picture: Any, **options: Any) -> np.ndarray:
    """What the network of ``ab`` is given, as grey levels.  # [h, w, C]"""
    given: list[Tensor] = []
    hook = model.gen_ab.register_forward_pre_hook(lambda _, arguments: given.append(arguments[0]))
    model.translate(picture, "ab", **options)
    hook.remove()
    return (given[0][0].permute(1, 2, 0).double().numpy() + 1) * 127.5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [300, 96, 33, 32, 20])
def test_the_network_is_shown_what_training_showed_it(
    make_snapshot: Make, tmp_path: Path, side: int, channels: int
) -> None:
    model = Translator.from_pretrained(make_snapshot(channels=(channels, 3)))
    for name, mode in (("a.png", "RGB"), ("b.png", "L")):
        picture(side, side, mode).save(tmp_path / name)
    trained_on = PictureSet("a", Pictures(channels=channels), [str(tmp_path)], resolution=32, seed=0)
    for i, entry in enumerate(trained_on.entries):
        with Image.open(entry.file) as image:
            as_tensor = from_pil(image, 3)
            for resolution in (8, 16, 32):
                expected = trained_on.plain(i, resolution).image
                got = network_input(model, image, resolution=resolution)
                assert np.abs(got - expected).max() < 0.01
                if channels == 3:  # grey of a tensor is rounded once more
                    got = network_input(model, as_tensor, resolution=resolution)
                    assert np.abs(got - expected).max() < 0.01


def test_a_large_jpeg_is_reduced_as_training_reduces_it(translator: Translator, tmp_path: Path) -> None:
    strokes = Image.new("RGB", (512, 512), "white")
    draw = ImageDraw.Draw(strokes)
    for i in range(40):
        draw.line((i * 37 % 512, 0, i * 91 % 512, 512), fill=(i * 5, 200 - i * 4, i * 3), width=3)
    strokes.save(tmp_path / "a.jpg", quality=80)
    trained_on = PictureSet("a", Pictures(), [str(tmp_path)], resolution=32, seed=0)
    for resolution in (8, 32):
        expected = trained_on.plain(0, resolution).image
        from_file = network_input(translator, str(tmp_path / "a.jpg"), resolution=resolution)
        assert np.abs(from_file - expected).max() < 0.01
        with Image.open(tmp_path / "a.jpg") as image:
            assert np.abs(network_input(translator, image, resolution=resolution) - expected).max() < 0.01
        with Image.open(tmp_path / "a.jpg") as image:
            image.paste((0, 0, 0), (0, 0, 512, 512))  # a changed image is no longer its file
            assert network_input(translator, image, resolution=resolution).max() < 0.01


@pytest.mark.parametrize(("width", "height", "small"), [(150, 100, (48, 32)), (64, 130, (32, 65)), (20, 50, (32, 80))])
def test_pictures_that_are_no_square_are_resized_alike(
    translator: Translator, width: int, height: int, small: tuple[int, int]
) -> None:
    image = picture(height, width)
    kind = Image.Resampling.LANCZOS if width > 32 else Image.Resampling.BICUBIC
    expected = np.asarray(image.resize(small, kind))
    assert np.abs(network_input(translator, image)[: small[1], : small[0]] - expected).max() < 0.01
    assert stage_size(500, 3, 32) == (5333, 32)


def test_what_comes_back_has_the_size_of_the_picture(translator: Translator) -> None:
    x = torch.rand(1, 3, 64, 96) * 2 - 1
    small = to_stage(x, 32, 32)
    with torch.no_grad():
        middle = translator.gen_ab(small, 2, 1.0).clamp(-1, 1)
    expected = F.interpolate(middle, (64, 96), mode="bicubic").clamp(-1, 1)
    torch.testing.assert_close(translator.translate(x, "ab"), expected)


def test_grey_domains(make_snapshot: Make) -> None:
    model = Translator.from_pretrained(make_snapshot(channels=(1, 3)))
    colour = picture(20, 30)
    there, back = model.translate(colour, "ab"), model.translate(colour, "ba")
    assert (there.mode, back.mode) == ("RGB", "L")
    assert there.tobytes() == model.translate(colour.convert("L"), "ab").tobytes()
    assert model.translate(torch.zeros(2, 1, 32, 32), "ab").shape == (2, 3, 32, 32)
    assert model.translate(torch.zeros(2, 3, 32, 32), "ab").shape == (2, 3, 32, 32)
    assert model.translate(torch.zeros(2, 3, 32, 32), "ba").shape == (2, 1, 32, 32)
    assert model.channels("ab") == (1, 3)


def test_nonsense_is_refused(translator: Translator) -> None:
    x = torch.zeros(1, 3, 32, 32)
    with pytest.raises(ValueError, match="direction"):
        translator.translate(x, "a2b")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="scale"):
        translator.translate(x, "ab", "big")  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="shape"):
        translator.translate(x[0])
    with pytest.raises(ValueError, match="shape"):
        translator.translate(torch.zeros(1, 2, 32, 32))
    with pytest.raises(UserError, match="8, 16, 32 px"):
        translator.translate(x, resolution=64)


def test_training_mode_changes_nothing(translator: Translator) -> None:
    x = torch.rand(1, 3, 32, 32)
    before = translator.translate(x)
    assert torch.equal(translator.train().translate(x), before)


def test_gradients_flow_through_forward(translator: Translator) -> None:
    x = torch.rand(1, 3, 30, 33, requires_grad=True)
    translator(x, "ba").sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_transparency_goes_on_the_background() -> None:
    image = picture(5, 6, "RGBA")
    array = np.asarray(image).astype(float)
    share = array[:, :, 3:] / 255
    x = (from_pil(image, 3)[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(x - (array[:, :, :3] * share + 255 * (1 - share))).max() <= 1
    dark = (from_pil(image, 3, "black")[0].permute(1, 2, 0).numpy() + 1) * 127.5
    assert np.abs(dark - array[:, :, :3] * share).max() <= 1


def test_translate_uses_the_background_of_training(make_snapshot: Make) -> None:
    data = {"root": "nowhere", "a": {"background": "black"}}
    model = Translator.from_pretrained(make_snapshot(data=data))
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    black, white = Image.new("RGB", (32, 32), "black"), Image.new("RGB", (32, 32), "white")
    assert model.translate(clear, "ab").tobytes() == model.translate(black, "ab").tobytes()
    assert model.translate(clear, "ba").tobytes() == model.translate(white, "ba").tobytes()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_eight_bit_modes_are_read(mode: str) -> None:
    image = picture(4, 5).convert("P" if mode == "PA" else mode).convert(mode)
    expected = np.asarray(image.convert("RGB"), np.float64) / 127.5 - 1  # nothing is transparent
    x = from_pil(image, 3)
    assert x.shape == (1, 3, 4, 5)
    assert np.abs(x[0].permute(1, 2, 0).numpy() - expected).max() < 1e-6
    assert from_pil(image, 1).shape == (1, 1, 4, 5)


@pytest.mark.parametrize("mode", ["I", "F", "LAB"])
def test_deep_pictures_are_refused(mode: str) -> None:
    with pytest.raises(UserError, match=f"mode {mode}"):
        from_pil(Image.new(mode, (4, 4)), 3)


def test_grey_of_16_bits_is_read_as_from_a_file(translator: Translator, tmp_path: Path) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (40, 50)).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "a.png")
    expected = translator.translate(str(tmp_path / "a.png"))
    assert translator.translate(Image.fromarray(deep)).tobytes() == expected.tobytes()
    levels = (deep >> 8).astype(np.uint8)
    assert translator.translate(Image.fromarray(levels)).tobytes() == expected.tobytes()
    with pytest.raises(UserError, match="its 16-bit values run from 0 to 40"):
        translator.translate(Image.fromarray(deep >> 4))


def test_pictures_are_turned_upright() -> None:
    image = picture(4, 6)
    image.getexif()[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    upright = from_pil(image, 3)
    assert upright.shape == (1, 3, 6, 4)
    assert torch.equal(upright[0].permute(1, 2, 0), torch.rot90(from_pil(picture(4, 6), 3)[0].permute(1, 2, 0), -1))


def test_all_grey_levels_survive_the_way_there_and_back() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(np.asarray(to_pil(from_pil(Image.fromarray(levels), 1))[0]), levels)
    outside = to_pil(torch.tensor([-7.0, 7.0]).reshape(1, 1, 1, 2))[0]
    assert np.asarray(outside).tolist() == [[0, 255]]
    with pytest.raises(ValueError, match="shape"):
        to_pil(torch.zeros(2, 4, 4))


def test_grey_is_weighted_as_pillow_does() -> None:
    image = picture(9, 9)
    ours = as_channels(from_pil(image, 3), 1)
    assert (ours - from_pil(image.convert("L"), 1)).abs().max() < 1.1 / 127.5


@settings(max_examples=60, deadline=None)
@given(h=st.integers(1, 40), w=st.integers(1, 40), new_h=st.integers(1, 40), new_w=st.integers(1, 40))
def test_shrinking_is_pillows_box(h: int, w: int, new_h: int, new_w: int) -> None:
    x = torch.rand(1, 1, h, w)
    ours = resize(x, new_h, new_w)
    assert ours.shape == (1, 1, new_h, new_w)
    if new_h <= h and new_w <= w:
        assert ours.min() >= x.min() - 1e-6
        assert ours.max() <= x.max() + 1e-6
        # The mean is kept: every old pixel counts alike.
        assert abs(float(ours.mean() - x.mean())) < 1e-5
        if h % new_h == 0 and w % new_w == 0:
            theirs = Image.fromarray(x[0, 0].numpy()).resize((new_w, new_h), Image.Resampling.BOX)
            assert np.abs(ours[0, 0].numpy() - np.asarray(theirs)).max() < 1e-5


def test_shrinking_weighs_by_coverage_and_takes_the_memory_of_the_picture() -> None:
    x = np.random.default_rng(0).random((7, 11))
    edges = [np.linspace(0, old, new + 1) for old, new in zip(x.shape, (3, 4), strict=True)]
    total = np.pad(x.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # of everything above and left of a corner
    rows = np.stack([np.interp(edges[0], range(8), column) for column in total.T], axis=1)
    corners = np.stack([np.interp(edges[1], range(12), row) for row in rows])
    expected = np.diff(np.diff(corners, axis=0), axis=1) * 3 * 4 / (7 * 11)
    got = resize(torch.from_numpy(x).float()[None, None], 3, 4)
    np.testing.assert_allclose(got[0, 0].numpy(), expected, atol=1e-6)
    long = torch.arange(960_000.0).reshape(1, 1, 1, -1)  # a matrix of all places would take 115 GB
    for shape in ((1, 1, 1, -1), (1, 1, -1, 1)):
        small = resize(long.reshape(shape), *(30_000 if side < 0 else 1 for side in shape[2:])).flatten()
        torch.testing.assert_close(small, 32 * torch.arange(30_000) + 15.5)


@settings(max_examples=60, deadline=None)
@given(h=st.integers(1, 40), w=st.integers(1, 40), power=st.integers(0, 5))
def test_padding_reaches_the_multiple_and_keeps_the_picture(h: int, w: int, power: int) -> None:
    x = torch.rand(1, 1, h, w)
    padded = pad_to_multiple(x, 2**power)
    assert padded.shape[2] % 2**power == padded.shape[3] % 2**power == 0
    assert 0 <= padded.shape[2] - h < 2**power
    assert 0 <= padded.shape[3] - w < 2**power
    assert torch.equal(padded[:, :, :h, :w], x)


def dark(page: Image.Image, box: tuple[int, int, int, int]) -> bool:
    """Whether there is writing in a part of a page."""
    return bool((np.asarray(page.crop(box).convert("L")) < 120).any())


def test_words_stand_around_a_sheet_and_stay_in_their_place() -> None:
    white = Image.new("RGB", (4, 4), "white")
    plain = sheet([[white, white], [white, white]], tile=64)
    assert not dark(plain, (0, 0, *plain.size))
    page = sheet([[white, white], [white, white]], ["i", "W" * 80], 64, side=["12 kimg\n8 px", ""], title="M" * 80)
    left = page.width - plain.width
    assert page.height == plain.height + 2 * 24
    assert 40 < left < 90
    tiles = [(left + 4 + 68 * c, 48 + 4 + 68 * r) for r in range(2) for c in range(2)]
    assert not any(dark(page, (x, y, x + 64, y + 64)) for x, y in tiles)
    assert dark(page, (0, 52, left, 52 + 64))  # left of the first row
    assert not dark(page, (0, 120, left, 120 + 64))  # nothing is said of the second
    assert dark(page, (left + 4, 24, left + 68, 48))
    assert dark(page, (left + 72, 24, left + 136, 48))
    for box in ((left + 68, 24, left + 72, 48), (0, 24, left, 48), (page.width - 4, 0, page.width, 48)):
        assert not dark(page, box)  # long words are cut, and run into nothing
    assert dark(page, (8, 0, 40, 24))


def test_letters_beyond_ascii_can_be_told_apart() -> None:
    """A font without them would show one and the same box for each."""
    white = Image.new("RGB", (4, 4), "white")
    pages = [sheet([[white]], [word], 64).tobytes() for word in ("\u00fc", "\u00df", "\u0436", "\u03c9")]
    assert len(set(pages)) == 4


@pytest.mark.parametrize(("side", "expected"), [(32, 32), (33, 32), (47, 32), (48, 48), (15, 16), (1, 16)])
def test_enlarging_is_by_whole_pixels(side: int, expected: int) -> None:
    image = picture(8, 16)
    big = enlarge(image, side)
    factor = expected // 16
    assert np.array_equal(np.asarray(big), np.asarray(image).repeat(factor, 0).repeat(factor, 1))


def test_sheet_keeps_rows_and_columns() -> None:
    red, blue = Image.new("RGB", (4, 2), "red"), Image.new("L", (300, 300), 0)
    page = sheet([[red, blue], [blue, red]], ["one", "two"], tile=64, gap=4)
    assert page.size == (2 * 68 + 4, 2 * 68 + 4 + 24)
    assert page.getpixel((4 + 32, 24 + 4 + 32)) == (255, 0, 0)
    assert page.getpixel((4 + 68 + 32, 24 + 4 + 32)) == (0, 0, 0)
    assert page.getpixel((4 + 32, 24 + 4 + 2)) == (255, 255, 255)  # wide pictures are not stretched


def test_a_row_of_wide_pictures_is_as_low_as_they_are() -> None:
    red, blue = Image.new("RGB", (200, 50), "red"), Image.new("RGB", (200, 100), "blue")
    page = sheet([[red, blue], [red, red]], tile=100, gap=4)
    assert page.size == (2 * 104 + 4, 4 + 50 + 4 + 25 + 4)
    assert page.getpixel((4 + 50, 4 + 25)) == (255, 0, 0)  # in the middle of its row
    assert page.getpixel((4 + 50, 4 + 5)) == (255, 255, 255)
    assert page.getpixel((108 + 50, 4 + 5)) == (0, 0, 255)
    assert page.getpixel((4 + 50, 4 + 50 + 4 + 12)) == (255, 0, 0)
