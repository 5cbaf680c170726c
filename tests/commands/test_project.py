"""``progcycle project``: what it writes, and that ``interpolate`` takes it."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progcycle.commands.cli import main
from progcycle.commands.project import file_names
from progcycle.export import Generator, load, to_pil
from progcycle.export.latent_files import read_latents

Make = Callable[..., Path]
QUICK = ["--steps", "200", "--starts", "3", "--distance", "pixels"]


@pytest.fixture
def photos(make_snapshot: Make, tmp_path: Path) -> tuple[Path, Path]:
    """A snapshot, and a folder with two of its own pictures."""
    snapshot = make_snapshot(task="pggan")
    model = load(snapshot)
    assert isinstance(model, Generator)
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, picture in zip("ab", to_pil(model.generate(2, seed=50)), strict=True):
        picture.save(folder / f"{name}.png")
    return snapshot, folder


def test_pictures_are_found_and_walked_between(
    photos: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot, folder = photos
    out = tmp_path / "found"
    assert main(["project", str(snapshot), str(folder), str(out), *QUICK]) == 0
    said = capsys.readouterr().out
    assert said.startswith("projected 2 pictures of 16 px: mean distance 0.")
    assert said.count("\n") == 1
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    expected = ["latents.safetensors", "loss.png", "pictures/a.png", "pictures/b.png", "projection.json"]
    assert names == [*expected, "projection.png"]
    record = json.loads((out / "projection.json").read_text())
    assert [each["name"] for each in record["pictures"]] == ["a.png", "b.png"]
    assert all(each["distance"] < 0.02 * each["random"] for each in record["pictures"])
    assert (record["seed"], record["steps"], record["distance"]) == ("0", "200", "pixels")

    model = load(snapshot)
    assert isinstance(model, Generator)
    latents = read_latents(out / "latents.safetensors", model)
    with torch.no_grad():
        painted = [np.asarray(picture) for picture in to_pil(model(latents.rows))]
    page = np.asarray(Image.open(out / "projection.png"))
    for row, (name, picture) in enumerate(zip("ab", painted, strict=True)):
        assert np.array_equal(np.asarray(Image.open(out / "pictures" / f"{name}.png")), picture)
        y, x = 24 + 4 + 132 * row, page.shape[1] - 3 * 132
        assert np.array_equal(page[y : y + 128, x + 132 : x + 260], picture.repeat(8, 0).repeat(8, 1))
        source = np.asarray(Image.open(folder / f"{name}.png").convert("RGB"))
        assert np.array_equal(page[y : y + 128 : 8, x : x + 128 : 8], source)

    video = tmp_path / "walk.gif"
    options = ["--latents", str(out / "latents.safetensors"), "--seconds", "0.1", "--fps", "10", "--size", "16"]
    assert main(["interpolate", str(snapshot), "--out", str(video), *options]) == 0
    assert "wrote 2 frames (0.2 s) with pictures of 16 px (latents of " in capsys.readouterr().out
    with Image.open(video) as image:
        for i, picture in enumerate(painted):
            image.seek(i)
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - picture).max() <= 3  # a palette of 256
    assert main(["interpolate", str(snapshot), "--out", str(video), *options, "--rows", "2"]) == 2
    assert "--rows is for latents of a seed" in capsys.readouterr().err


def test_one_picture_and_what_is_refused(
    photos: tuple[Path, Path], make_snapshot: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot, folder = photos
    out, quick = tmp_path / "found", ["--steps", "1", "--starts", "1", "--distance", "pixels"]

    def refused(*arguments: object) -> str:
        assert main(["project", *map(str, arguments), *quick]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    assert main(["project", str(snapshot), str(folder / "b.png"), str(out), *quick]) == 0
    assert [path.name for path in (out / "pictures").iterdir()] == ["b.png"]
    assert "is not empty; give another folder, or add --overwrite" in refused(snapshot, folder, out)
    assert main(["project", str(snapshot), str(folder), str(out), *quick, "--overwrite", "--count", "1"]) == 0
    assert [path.name for path in (out / "pictures").iterdir()] == ["a.png"]
    capsys.readouterr()
    latents = out / "latents.safetensors"
    assert main(["interpolate", str(snapshot), "--out", str(tmp_path / "x.gif"), "--latents", str(latents)]) == 2
    assert "the latents of one picture" in capsys.readouterr().err
    assert "holds other files" in refused(snapshot, folder, folder, "--overwrite")
    assert "--noise must be 0 or more" in refused(snapshot, folder, tmp_path / "y", "--noise", "-1")
    assert "--rate must be above 0" in refused(snapshot, folder, tmp_path / "y", "--rate", "0")
    assert "--rate must be above 0" in refused(snapshot, folder, tmp_path / "y", "--rate", "nan")
    assert "There is no folder or zip file" in refused(snapshot, tmp_path / "nowhere", tmp_path / "y")
    assert "use progcycle translate" in refused(make_snapshot(run="other"), folder, tmp_path / "y")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    assert "broken.png" in refused(snapshot, tmp_path / "broken.png", tmp_path / "y")
    assert not (tmp_path / "y").exists()


def test_names_of_files() -> None:
    assert file_names(["a.png", "b.jpg", "b.png", "c/d.png"]) == ["a", "b.jpg", "b.png", "c_d"]
    assert file_names(["../x.png", "plain"]) == [".._x", "plain"]
