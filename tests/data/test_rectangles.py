"""Pictures that become rectangles, against plain numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from picture_folders import write_folder
from PIL import Image

from progcycle.data import PictureSet, box_reduce, fit_to
from progcycle.data.fit import fit_short, stage_size
from progcycle.data.prepare import Arrays
from progcycle.data.survey import Survey
from progcycle.errors import UserError
from progcycle.recipe import Pictures
from progcycle.resolution import Resolution
from progcycle.rng import generator_at

RNG = np.random.default_rng(5)
WIDE, HIGH = Resolution(16, 24), Resolution(24, 16)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        ((16, 40), np.s_[:, 8:32]),  # too wide: the columns in the middle
        ((30, 24), np.s_[7:23, :]),  # too high: the rows in the middle
        ((16, 24), np.s_[:, :]),
    ],
)
def test_crop_keeps_the_largest_part_of_that_shape(size: tuple[int, int], kept: Any) -> None:
    pixels = noise(*size)
    assert np.array_equal(fit_to(pixels, WIDE, "crop"), pixels[kept])
    turned = pixels.transpose(1, 0, 2).copy()
    assert np.array_equal(fit_to(turned, HIGH, "crop"), pixels[kept].transpose(1, 0, 2))


def test_pad_fits_the_whole_picture_and_fills_the_rest() -> None:
    pixels = noise(16, 12)
    got = fit_to(pixels, WIDE, "pad", "red")
    assert np.array_equal(got[:, 6:18], pixels)
    assert (np.delete(got, np.s_[6:18], axis=1) == (255, 0, 0)).all()
    pixels = noise(8, 24)
    got = fit_to(pixels, WIDE, "pad")
    assert np.array_equal(got[4:12], pixels)
    assert (np.delete(got, np.s_[4:12], axis=0) == 255).all()


def test_stretch_ignores_the_proportions() -> None:
    pixels = noise(40, 40)
    expected = Image.fromarray(pixels).resize((24, 16), Image.Resampling.LANCZOS)
    assert np.array_equal(fit_to(pixels, WIDE, "stretch"), np.asarray(expected))


@pytest.mark.parametrize("how", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(7, 5), (33, 61), (200, 90), (1, 99)])
def test_every_way_gives_the_shape_and_keeps_flat_colours(how: Any, size: tuple[int, int]) -> None:
    flat = np.full((*size, 3), (10, 120, 240), np.uint8)
    for resolution in (WIDE, HIGH):
        got = fit_to(flat, resolution, how, "rgb(10,120,240)")
        assert got.shape == (*resolution.shape, 3)
        assert (got == (10, 120, 240)).all()


def test_box_reduction_of_rectangles_is_the_mean_of_blocks() -> None:
    pixels = noise(16, 24)
    mean = pixels.reshape(8, 2, 12, 2, 3).mean((1, 3))
    assert np.array_equal(box_reduce(pixels, WIDE >> 1), np.floor(mean + 0.5))
    for wrong in (8, HIGH >> 1, Resolution(8, 8)):
        with pytest.raises(ValueError, match="a picture of 16x24 px cannot be box-reduced to"):
            box_reduce(pixels, wrong)


@pytest.mark.parametrize(
    ("size", "covering"),
    [((32, 48), (16, 24)), ((100, 100), (24, 24)), ((48, 32), (36, 24)), ((10, 60), (16, 96)), ((8, 12), (16, 24))],
)
def test_a_whole_picture_just_covers_the_shape(size: tuple[int, int], covering: tuple[int, int]) -> None:
    assert stage_size(*size, WIDE) == covering
    assert fit_short(noise(*size), WIDE, WIDE << 1).shape[:2] == covering


def test_of_a_picture_of_that_shape_translation_reads_what_training_reads() -> None:
    for size in ((64, 96), (50, 75), (20, 30)):
        pixels = noise(*size)
        trained = box_reduce(fit_to(pixels, WIDE << 1, "crop"), WIDE)
        assert np.array_equal(fit_short(pixels, WIDE, WIDE << 1), trained)


# --- sets ---------------------------------------------------------------------------------------------------------


def picture_set(folder: Path, cache: Path | None = None, options: dict[str, Any] | None = None) -> PictureSet:
    how = {"mirror": True, **(options or {})}
    size = 64 if cache else 0
    return PictureSet(
        "real", Pictures(**how), (str(folder),), resolution=WIDE, seed=3, cache_dir=cache, cache_resolution=size
    )


@pytest.mark.parametrize("options", [{}, {"load_resolution": 20}, {"fit": "pad"}], ids=str)
def test_a_set_gives_rectangles_at_every_stage_cached_or_not(options: dict[str, Any], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", 5)
    plain, cached = picture_set(folder, options=options), picture_set(folder, tmp_path / "cache", options)
    stages = [WIDE >> 1, WIDE]
    cached.prepare(stages)
    files = sorted(file.name for file in (tmp_path / "cache").glob("*/*.npy"))
    assert files == (["20x30.npy"] if "load_resolution" in options else ["16x24.npy", "8x12.npy"])
    for position in range(8):
        for stage in stages:
            ours, theirs = (pictures.training(position, stage).image for pictures in (plain, cached))
            assert ours.shape == (*stage.shape, 3)
            assert np.array_equal(ours, theirs)
        full, small = (plain.training(position, stage).image for stage in (WIDE, WIDE >> 1))
        assert np.array_equal(box_reduce(full, WIDE >> 1), small)
    assert cached.cache is not None
    assert cached.cache_bytes(stages)[1] == 0
    assert plain.plain(0, WIDE).image.shape == (16, 24, 3)


def test_crops_lie_anywhere_in_the_loaded_rectangle(tmp_path: Path) -> None:
    pictures = picture_set(write_folder(tmp_path / "pictures", 1), options={"load_resolution": 20, "mirror": False})
    assert pictures.side.shape == (20, 30)
    loaded = fit_to(np.asarray(Image.open(next((tmp_path / "pictures").glob("*.png")))), pictures.side, "crop")
    places = set()
    for position in range(200):
        crop = pictures.training(position, WIDE).image
        found = [
            (top, left) for top in range(5) for left in range(7)
            if np.array_equal(loaded[top : top + 16, left : left + 24], crop)
        ]  # fmt: skip
        assert len(found) == 1
        places.update(found)
    assert {top for top, _ in places} == set(range(5))
    assert {left for _, left in places} == set(range(7))


@pytest.mark.parametrize("load", [None, 20, "native"])
def test_random_crops_are_rectangles_from_anywhere_in_a_picture(load: Any, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", 2)  # of 40x36 px, width x height
    options = {"fit": "random_crop", "mirror": False} | ({} if load is None else {"load_resolution": load})
    pictures = picture_set(folder, options=options)
    loaded = {None: (22, 24), 20: (27, 30), "native": (36, 40)}[load]  # just covers 16x24, or 20x30
    full = np.asarray(Image.open(folder / "00.png"))
    if load != "native":
        full = fit_short(full, pictures.side, pictures.side)
    assert full.shape[:2] == loaded
    index = pictures.names.index("00.png")
    for position in range(20):
        crop = pictures.training(position, WIDE)
        assert crop.image.shape == (16, 24, 3)
        half = pictures.training(position, WIDE >> 1).image
        assert np.array_equal(box_reduce(crop.image, WIDE >> 1), half)
        if pictures.index_at(position) != index:
            continue
        near = [
            int(np.abs(full[i : i + 16, j : j + 24].astype(int) - crop.image).max())
            for i in range(loaded[0] - 15) for j in range(loaded[1] - 23)
        ]  # fmt: skip
        assert min(near) <= (0 if load == "native" else 2)
    assert pictures.plain(0, WIDE).image.shape == (16, 24, 3)


@pytest.mark.parametrize("options", [{"load_resolution": 40}, {"load_resolution": 40, "fit": "random_crop"}], ids=str)
def test_test_pictures_are_the_middle_where_training_sees_parts(options: dict[str, Any], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", 1, width=120, height=80)
    pictures = picture_set(folder, options=options)
    assert pictures.side.shape == (40, 60)
    full = np.asarray(Image.open(next(folder.glob("*.png"))).resize((60, 40), Image.Resampling.LANCZOS))
    shown = pictures.plain(0, WIDE).image
    assert np.abs(full[12:28, 18:42].astype(int) - shown).max() <= 2


def test_crops_of_squares_lie_where_they_did() -> None:
    for position in range(50):  # one draw of two numbers, and two draws of one
        both, single = (generator_at(3, "augment", "real", position) for _ in range(2))
        assert both.integers(0, 7, size=2).tolist() == [int(single.integers(0, 7)) for _ in range(2)]


def test_transforms_see_rectangles(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "pictures", 2)
    kept = picture_set(folder, options={"augment": ({"name": "HorizontalFlip", "p": 1},), "mirror": False})
    plain = picture_set(folder, options={"mirror": False})
    for position in range(3):
        flipped, as_it_is = (pictures.training(position, WIDE).image for pictures in (kept, plain))
        assert np.array_equal(flipped, as_it_is[:, ::-1])
    with pytest.raises(UserError, match=r"Transform Transpose .* must keep the size and type of its picture"):
        picture_set(folder, options={"augment": ({"name": "Transpose", "p": 0.5},)})


def test_a_survey_counts_pictures_that_either_side_is_too_small_for() -> None:
    survey = Survey("x", 4, sizes=[(24, 16), (23, 90), (90, 15), (48, 32)])  # width and height
    assert survey.smaller_than(WIDE) == 0.5
    assert survey.smaller_than(16) == 0.25


def test_a_store_has_arrays_of_halves() -> None:
    arrays = Arrays(Resolution(32, 48))
    assert [r.shape for r in arrays.resolutions(10)] == [(4, 6), (8, 12), (16, 24), (32, 48)]
    budget = 10 * 3 * (4 * 6 + 8 * 12 + 16 * 24)
    assert [r.shape for r in Arrays(Resolution(32, 48), budget=budget).resolutions(10)] == [(4, 6), (8, 12), (16, 24)]
    assert arrays.folder == "32x48-crop"
