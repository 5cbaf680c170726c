"""``as_reals``: range, reduction, fade, and continuity from stage to stage for every kind of set."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from picture_folders import AUGMENT

from progcycle.blocks.resample import downsample2x, upsample2x
from progcycle.data import as_reals, collate
from progcycle.schedule import Growth

LEVEL = 2 / 255  # one grey level in [-1, 1]
PICTURES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16), dtype=np.uint8))


def test_range_and_dtype():
    x = as_reals(torch.tensor([0, 255, 51, 102], dtype=torch.uint8).reshape(1, 1, 2, 2), Growth(0, 2, 1.0))
    assert x.dtype == torch.float32
    torch.testing.assert_close(x.flatten(), torch.tensor([-1.0, 1.0, -0.6, -0.2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_floats_are_taken_as_they_are(dtype):
    x = torch.rand(2, 3, 8, 8).to(dtype)
    assert torch.equal(as_reals(x, Growth(1, 8, 1.0)), x.float())


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5, 1.0])
def test_fade_against_numpy(alpha):
    got = as_reals(PICTURES, Growth(2, 16, alpha)).numpy()
    x = PICTURES.numpy() / 127.5 - 1
    low = x.reshape(3, 3, 8, 2, 8, 2).mean((3, 5)).repeat(2, 2).repeat(2, 3)
    np.testing.assert_allclose(got, (1 - alpha) * low + alpha * x, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_pictures_that_are_not_to_fade_are_only_reduced(alpha):
    for growth in (Growth(2, 16, alpha, fade_reals=False), Growth(1, 8, alpha, fade_reals=False)):
        assert torch.equal(as_reals(PICTURES, growth), as_reals(PICTURES, replace(growth, alpha=1.0)))


@pytest.mark.parametrize("stage", [0, 3])
def test_by_size_real_pictures_fade_though_the_networks_do_not(stage):
    by_layers = as_reals(PICTURES, Growth(2, 16, 0.25))
    assert torch.equal(as_reals(PICTURES, Growth(stage, 16, 1.0, fade=0.25, doublings=2)), by_layers)
    whole = as_reals(PICTURES, Growth(2, 16, 1.0))
    assert torch.equal(as_reals(PICTURES, Growth(stage, 16, 1.0, fade=1.0, doublings=2)), whole)


def test_larger_pictures_are_box_reduced_and_only_then_faded():
    x = PICTURES.float() / 127.5 - 1
    assert torch.equal(as_reals(PICTURES, Growth(1, 8, 1.0)), downsample2x(x))
    small = downsample2x(downsample2x(x))
    faded = as_reals(PICTURES, Growth(1, 4, 0.0))
    assert torch.equal(faded, upsample2x(downsample2x(small)))


def test_rectangles_are_reduced_by_a_power_of_two():
    wide = torch.zeros(1, 3, 16, 40, dtype=torch.uint8)
    assert as_reals(wide, Growth(0, 4, 1.0)).shape == (1, 3, 4, 10)
    assert as_reals(wide, Growth(0, 6, 1.0)).shape == (1, 3, 8, 20)
    assert as_reals(wide, Growth(1, 32, 0.5)).shape == (1, 3, 16, 40)
    with pytest.raises(ValueError, match="40x18 px cannot be halved down to 4 px"):
        as_reals(torch.zeros(1, 3, 18, 40), Growth(0, 4, 1.0))


def test_the_first_stage_and_odd_sides_do_not_fade():
    assert torch.equal(as_reals(PICTURES, Growth(0, 16, 0.0)), as_reals(PICTURES, Growth(0, 16, 1.0)))
    odd = torch.rand(1, 3, 5, 5)
    assert torch.equal(as_reals(odd, Growth(1, 5, 0.5)), odd)


def test_wrong_input():
    with pytest.raises(ValueError, match=r"expected pictures \[N, C, H, W\]"):
        as_reals(PICTURES[0], Growth(0, 16, 1.0))
    with pytest.raises(ValueError, match="int32"):
        as_reals(PICTURES.int(), Growth(0, 16, 1.0))


KINDS = {
    "plain": {},
    "mirror": {"mirror": True},
    "grey": {"channels": 1, "mirror": True},
    "crop": {"load_resolution": 37, "mirror": True},
    "augment": {"augment": AUGMENT, "mirror": True},
    "both": {"augment": AUGMENT, "load_resolution": 40},
    "pad": {"fit": "pad", "background": "#804020"},
    "stretch": {"fit": "stretch"},
}


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_stage_starts_as_the_last_one_ended(folder, make_set, tmp_path, kind, cached):
    pictures = make_set(folder, cache_dir=tmp_path / "cache" if cached else None, **KINDS[kind])
    pictures.prepare([4, 8, 16])  # 32 px is not in the cache of the kinds that read it stage by stage
    growth = Growth(0, 4, 1.0)
    before = as_reals(collate([pictures.training(p, 4) for p in range(10)]).images, growth)
    for stage, resolution in enumerate((8, 16, 32), 1):
        images = collate([pictures.training(p, resolution) for p in range(10)]).images
        after = as_reals(images, replace(growth, stage=stage, resolution=resolution, alpha=0.0))
        assert (after - upsample2x(before)).abs().max() <= LEVEL + 1e-6
        before = as_reals(images, replace(growth, stage=stage, resolution=resolution))
