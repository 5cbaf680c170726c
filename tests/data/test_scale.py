"""The scale of test pictures is that of training where training sees parts of pictures, and else said."""

import numpy as np
import pytest
from picture_folders import picture
from PIL import Image

from progcycle.data import resolve_test_sets, resolve_validation_sets, scale
from progcycle.data.scale import describe_scale, load_side, unaltered
from progcycle.recipe import Pictures, validate

HEIGHT, WIDTH = 90, 131


def options(**keys: object) -> Pictures:
    return Pictures.model_validate(keys)


@pytest.mark.parametrize(
    ("keys", "trained", "tested", "words"),
    [
        ({}, 32, 32, ""),
        ({"load_resolution": 32}, 32, 32, ""),
        ({"fit": "random_crop"}, 32, 32, ""),
        (
            {"load_resolution": 36},
            36,
            32,
            "crops of 32 px of pictures of 36 px are trained on; test pictures are whole ones of 32 px, in which "
            "everything is 1.12 times smaller",
        ),
        ({"load_resolution": 63, "fit": "random_crop"}, 63, 32, "everything is 1.97 times smaller"),
        (
            {"load_resolution": 64},
            64,
            64,
            "crops of 32 px of pictures of 64 px are trained on; test pictures are the middle 32 px of such pictures, "
            "at the same scale",
        ),
        (
            {"load_resolution": "native"},
            None,
            None,
            "crops of 32 px of pictures at their own size are trained on; test pictures are the middle 32 px of such "
            "pictures, at the same scale",
        ),
    ],
)
def test_scales_and_what_is_said_of_them(keys, trained, tested, words):
    found = options(**keys)
    assert load_side(found, 32) == trained
    assert scale.test_side(found, 32) == tested
    assert words in describe_scale(found, 32)
    assert bool(words) == bool(describe_scale(found, 32))


def test_test_pictures_are_whole_or_of_the_scale_of_training():
    kept = {"background": "black", "channels": 1}
    for load in (None, 36, 63):
        for fit in ("crop", "random_crop"):
            given = options(load_resolution=load, fit=fit, mirror=True, augment=[{"name": "Blur"}], **kept)
            assert unaltered(given, 32) == options(**kept)
    assert unaltered(options(load_resolution=36, fit="pad"), 32) == options(fit="pad")
    for same in ({"load_resolution": 64, "fit": "pad"}, {"load_resolution": "native"}):
        assert unaltered(options(**same, mirror=True), 32) == options(**same)


@pytest.mark.parametrize("key", ["test_path", "validation"])
@pytest.mark.parametrize("load", [None, 36, 64, "native"])
@pytest.mark.parametrize("fit", ["crop", "random_crop"])
def test_what_test_pictures_show(tmp_path, key, load, fit):
    """The middle of the picture that Pillow makes of the whole."""
    if (load, fit) == ("native", "crop"):
        return
    for i in range(9):
        Image.fromarray(picture(i, WIDTH, HEIGHT)).save(tmp_path / f"{i}.png")
    data = {"path": str(tmp_path), "load_resolution": load, "fit": fit, "mirror": True}
    data |= {"test_path": str(tmp_path)} if key == "test_path" else {"validation": 0.5}
    recipe = validate({"task": "autoencoder", "resolution": 32, "data": data})
    resolve = resolve_test_sets if key == "test_path" else resolve_validation_sets
    pictures = resolve(recipe.data, resolution=32, seed=0, cache_dir=tmp_path / "cache")["real"]
    for i, name in enumerate(pictures.names):
        image = Image.fromarray(picture(int(name[0]), WIDTH, HEIGHT))
        if load != "native":
            side = load if load == 64 else 32
            if fit == "crop" or side == 32:  # a square first
                image = image.crop(((WIDTH - HEIGHT) // 2, 0, (WIDTH - HEIGHT) // 2 + HEIGHT, HEIGHT)).resize(
                    (side, side), Image.Resampling.LANCZOS
                )
            else:
                image = image.resize((round(WIDTH * side / HEIGHT), side), Image.Resampling.LANCZOS)
        left, top = (image.width - 32) // 2, (image.height - 32) // 2
        expected = np.asarray(image.crop((left, top, left + 32, top + 32)))
        assert np.abs(pictures.plain(i, 32).image.astype(int) - expected).max() <= 1
        blocks = pictures.plain(i, 32).image.reshape(8, 4, 8, 4, 3).astype(float).mean(axis=(1, 3))
        assert np.abs(pictures.plain(i, 8).image - blocks).max() <= 0.5 + 1e-6
