"""CT-like volumes of two windows, from the command line: training, translating, measuring."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

from progcycle.commands.cli import main
from progcycle.recipe import load_recipe

AFFINE = np.array([[-0.8, 0.1, 0, 90.0], [0, 0.9, 0.2, -126], [0.05, 0, 3, -72], [0, 0, 0, 1]])
SIDE, SLICES = 24, 8


def ct(seed: int, low: int, high: int) -> np.ndarray:
    """A bright ball with soft noise in air, of a window of 12 bits; the first and last slices are empty."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, side) for side in (SIDE, SIDE, SLICES)), indexing="ij")
    ball = np.clip(1.2 - (x - rng.uniform(-0.3, 0.3)) ** 2 - y**2 - 1.3 * z**2, 0, 1)
    values = low + (high - low) * ball * (0.8 + 0.2 * rng.random(ball.shape))
    values[..., [0, -1]] = low
    values[SIDE // 2, SIDE // 2, SLICES // 2] = high
    return values.round().clip(low, high).astype(np.int16)


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(values, AFFINE)
    image.header["descrip"] = b"Jane Doe"
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, path)


@pytest.fixture
def recipe(here: Path) -> Path:
    """Two domains of volumes: soft tissue from -160 HU on, and the whole range of 12 bits."""
    for i in range(3):
        write(here / "ct" / "trainA" / f"a{i}.nii.gz", ct(i, -160, 240))
        write(here / "ct" / "trainB" / f"b{i}.nii.gz", ct(i + 9, -1024, 3071))
    write(here / "ct" / "testA" / "t.nii.gz", ct(20, -160, 240))
    write(here / "ct" / "testB" / "t.nii.gz", ct(20, -1024, 3071))
    content = {
        "task": "cyclegan",
        "resolution": 16,
        "data": {"root": "ct", "a": {"channels": 1, "mirror": True}, "b": {"channels": 1}, "workers": 0},
        "network": {"base_resolution": 4, "channels": {"base": 16, "max": 4}, "generator": {"residual_blocks": 1}},
        "schedule": {"start_resolution": 8, "stable_kimg": 0.008, "fade_kimg": 0.008, "batch_size": 4},
        "objective": {"loss": "non_saturating", "r1": {"gamma": 1}, "pool_size": 4},
        "training": {"precision": "no", "snapshot_kimg": 0.024, "sample_count": 4},
    }
    (here / "ct.yaml").write_text(yaml.safe_dump(content))
    return here


@pytest.mark.usefixtures("no_plots")
def test_volumes_are_trained_on_and_translated_into_volumes(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "ct.yaml", "--run-dir", "run"]) == 0
    text = capsys.readouterr().out
    assert "domain a: 16 bits, values -160 to 240" in text
    assert "domain b: 16 bits, values -1024 to 3071" in text
    assert "pictures of a: 18 to train, 6 to test" in text  # the empty slices do not count
    data = load_recipe(recipe / "run" / "recipe.yaml").data.domains
    assert data["b"].window is not None
    assert data["b"].window.range == (-1024, 3071)
    command = ["translate", "run", "ct/testA", "out", "--direction", "ab", "--scale", "native", "--grid"]
    assert main(command) == 0
    source, made = (nibabel.load(recipe / folder / "t.nii.gz") for folder in ("ct/testA", "out"))
    assert np.array_equal(made.affine, source.affine)
    assert made.shape == source.shape == (SIDE, SIDE, SLICES)
    assert made.get_data_dtype() == np.int16
    assert made.header.get_xyzt_units() == ("mm", "sec")
    values = np.asarray(made.dataobj)
    assert (values[..., [0, -1]] == -1024).all()  # empty slices are no picture
    assert values[..., 1:-1].std() > 0
    assert values.min() >= -1024
    assert values.max() <= 3071
    assert (recipe / "out" / "before_after.png").exists()
    written = [path for path in recipe.rglob("*") if path.is_file() and recipe / "ct" not in path.parents]
    assert not [path for path in written if b"Jane" in _plain(path)]


def _plain(path: Path) -> bytes:
    content = path.read_bytes()
    return gzip.decompress(content) if path.name.endswith(".gz") else content


@pytest.mark.usefixtures("no_plots")
def test_single_volumes_and_measuring(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "ct.yaml", "--run-dir", "run"]) == 0
    source = "ct/testA/t.nii.gz"
    assert main(["translate", "run", source, "one.nii", "--direction", "ab"]) == 0
    made = nibabel.load(recipe / "one.nii")
    assert np.array_equal(made.affine, nibabel.load(recipe / source).affine)
    assert main(["translate", "run", source, "one.png", "--direction", "ab"]) == 2
    assert "volumes can be written as nii nii.gz, not as png" in capsys.readouterr().err
    assert main(["evaluate", "run", "--metrics", "swd"]) == 0
    assert main(["progression", "run", "--out", "progression.png"]) == 0
    assert (recipe / "progression.png").exists()
