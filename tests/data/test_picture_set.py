"""Order, augmentation, and the rule for broken pictures."""

import pickle
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from picture_folders import AUGMENT, write_folder
from PIL import Image

from progcycle.data import UnsupportedPicture, box_reduce
from progcycle.errors import UserError


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    return [write_folder(folder / str(count), count, width=4, height=4) for count in (1, 2, 5, 13)]


@hypothesis_settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**40), which=st.integers(0, 3), epoch=st.integers(0, 10**6), domain=st.sampled_from("ab"))
def test_every_epoch_is_a_permutation(many, make_set, seed, which, epoch, domain):
    pictures = make_set(many[which], domain, seed=seed)
    n = len(pictures)
    positions = range(epoch * n, (epoch + 1) * n)
    order = [pictures.index_at(p) for p in positions]
    assert sorted(order) == list(range(n))
    fresh = make_set(many[which], domain, seed=seed)
    assert [fresh.index_at(p) for p in reversed(positions)] == order[::-1]  # whatever was asked before


def test_orders_differ_by_epoch_domain_and_seed(many, make_set):
    def order(epoch=0, domain="a", seed=0):
        pictures = make_set(many[3], domain, seed=seed)
        return tuple(pictures.index_at(epoch * 13 + i) for i in range(13))

    assert len({order(), order(1), order(2), order(domain="b"), order(seed=1)}) == 5


def test_mirror_flips_about_half_and_does_nothing_else(folder, make_set):
    pictures = make_set(folder, mirror=True)
    flipped = 0
    for position in range(60):
        image = pictures.training(position, 8).image
        plain = pictures.plain(pictures.index_at(position), 8).image
        mirrored = np.array_equal(image, plain[:, ::-1])
        flipped += mirrored
        assert mirrored or np.array_equal(image, plain)
    assert 18 <= flipped <= 42


def test_random_crops_are_windows_of_the_loaded_picture(folder, make_set):
    pictures, loaded = make_set(folder, load_resolution=36), make_set(folder, resolution=36)
    corners = set()
    for position in range(40):
        image = pictures.training(position, 32).image
        whole = loaded.plain(pictures.index_at(position), 36).image
        windows = {(y, x): whole[y : y + 32, x : x + 32] for y in range(5) for x in range(5)}
        corner = [c for c, window in windows.items() if np.array_equal(window, image)]
        assert len(corner) == 1
        corners.update(corner)
    assert {y for y, _ in corners} == {x for _, x in corners} == set(range(5))


@pytest.mark.parametrize("channels", [1, 3])
def test_transforms_happen_at_full_size_and_repeat(folder, make_set, channels):
    options = {"augment": AUGMENT, "load_resolution": 36, "channels": channels}
    pictures, again = make_set(folder, **options), pickle.loads(pickle.dumps(make_set(folder, **options)))
    full = [pictures.training(p, 32).image for p in range(12)]
    low = [again.training(p, 8).image for p in reversed(range(12))][::-1]
    for image, small in zip(full, low, strict=True):
        assert image.shape == (32, 32, channels)
        assert np.array_equal(box_reduce(image, 8), small)
    plain = make_set(folder, load_resolution=36, channels=channels)
    changed = [not np.array_equal(image, plain.training(p, 32).image) for p, image in enumerate(full)]
    assert 6 <= sum(changed) <= 12
    other = make_set(folder, domain="other", **options)
    assert any(not np.array_equal(other.training(p, 32).image, image) for p, image in enumerate(full))


def test_global_random_states_do_not_matter(folder, make_set):
    pictures = make_set(folder, augment=[*AUGMENT, {"name": "GaussNoise", "p": 1}, {"name": "CoarseDropout", "p": 1}])
    one = pictures.training(3, 32).image
    np.random.seed(1)
    pictures.training(4, 32)
    assert np.array_equal(pictures.training(3, 32).image, one)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            {"name": "HorizontlFlip"},
            "Transform HorizontlFlip of domain real is not known .* did you mean HorizontalFlip?",
        ),
        ({"name": "Compose"}, "Compose of domain real is not known"),
        ({"name": "Affine", "angle": 3}, "Transform Affine of domain real refuses its arguments: .*angle"),
        ({"name": "GaussianBlur", "p": "often"}, "GaussianBlur of domain real refuses its arguments"),
        ({"name": "RandomCrop", "height": 8, "width": 8}, r"RandomCrop .* must keep the size .*\(8, 8, 3\)"),
        ({"name": "RandomCrop", "height": 99, "width": 99}, "RandomCrop of domain real fails on RGB pictures of 32 px"),
        ({"name": "RandomScale", "p": 0.1}, "RandomScale of domain real must keep the size"),
        ({"name": "Normalize"}, "Normalize .* must keep the size and type .* made float32"),
        ({"name": "ToTensorV2"}, "ToTensorV2"),
    ],
)
def test_unusable_transforms(folder, make_set, step, message):
    with pytest.raises(UserError, match=message) as caught:
        make_set(folder, augment=[step])
    assert "\n" not in str(caught.value)


def test_unusable_options(folder, make_set):
    with pytest.raises(UserError, match="load_resolution 16 is below the resolution 32"):
        make_set(folder, load_resolution=16)
    with pytest.raises(UserError, match="background: 'nocolour' is not a colour"):
        make_set(folder, background="nocolour")
    with pytest.raises(ValueError, match="cannot be box-reduced"):
        make_set(folder).training(0, 12)


def test_libraries_that_take_seconds_are_imported_only_when_needed(folder, make_snapshot):
    import subprocess

    code = (
        "import sys; from progcycle.data import PictureSet; from progcycle.recipe import Pictures\n"
        f"PictureSet('real', Pictures(mirror=True), [{str(folder)!r}], resolution=32, seed=0).training(0, 8)\n"
        "assert not {'albumentations', 'cv2', 'accelerate'} & set(sys.modules)\n"
        "import progcycle.engine.train\n"  # as for a recipe with a mistake, and for --dry-run
        f"import progcycle; progcycle.load({str(make_snapshot())!r})\n"
        "assert not {'albumentations', 'kornia', 'matplotlib', 'torchvision', 'torch._dynamo'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def break_pictures(folder, *names):
    for name in names:
        file = folder / name
        file.write_bytes(b"" if name == names[0] else file.read_bytes()[:-100])


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("options", [{}, {"load_resolution": 36}])
def test_broken_pictures_are_replaced_by_the_next(folder, make_set, tmp_path, cached, options):
    whole = make_set(folder, **options)
    names, expected = whole.names, [whole.training(p, 16) for p in range(14)]
    bad = {names[3], names[4], names[6]}
    break_pictures(folder, *sorted(bad))
    pictures = make_set(folder, cache_dir=tmp_path / "cache" if cached else None, **options)
    pictures.prepare([4, 8, 16, 32])
    for position in range(14):
        index, sample = pictures.index_at(position), pictures.training(position, 16)
        used = {3: 5, 4: 5, 6: 0}.get(index, index)
        passed = {3: [3, 4], 4: [4], 6: [6]}.get(index, [])
        assert sample.name == names[used]
        assert [sentence.split(":")[0] for sentence in sample.broken] == [names[i] for i in passed]
        if used == index:
            assert np.array_equal(sample.image, expected[position].image)
    plain = pictures.plain(6, 8)
    assert plain.name == names[0]
    assert np.array_equal(plain.image, pictures.plain(0, 8).image)


def test_too_many_broken_pictures_stop(folder, make_set):
    names = make_set(folder).names
    break_pictures(folder, *names[1:4])
    pictures = make_set(folder, max_broken=0.3)
    with pytest.raises(
        UserError, match=r"Domain real: at least 3 of 7 pictures are broken.*max_broken = 0\.3"
    ) as caught:
        [pictures.training(position, 32) for position in range(7)]
    assert all(name in str(caught.value) for name in names[1:4])
    break_pictures(folder, *names)
    with pytest.raises(UserError, match="at least 7 of 7"):
        make_set(folder, max_broken=1.0).plain(0, 8)


def test_deep_pictures_stop_rather_than_being_replaced(folder, make_set, tmp_path):
    Image.fromarray(np.zeros((9, 9), np.uint16)).save(folder / "deep.tif")
    pictures = make_set(folder, max_broken=1.0)
    with pytest.raises(UnsupportedPicture, match=r"^deep\.tif: this picture has 16 bits"):
        [pictures.training(position, 8) for position in range(8)]
    with pytest.raises(UnsupportedPicture, match=r"^deep\.tif"):
        make_set(folder, cache_dir=tmp_path / "cache").prepare([8])
