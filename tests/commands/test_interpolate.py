"""``progcycle interpolate``: the frames of its videos are the model's pictures along the walk."""

import importlib.util
import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from progcycle.commands.cli import main
from progcycle.export import Autoencoder, Generator, Translator, load, to_pil
from progcycle.export import video as video_module

Make = Callable[..., Path]


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """The frames that commands hand to the writer, before any codec."""
    frames: list[np.ndarray] = []
    real = video_module.write_video

    def watch(path: Path, given: object, fps: int) -> None:
        images = list(given)  # type: ignore[call-overload]
        frames[:] = [np.asarray(image) for image in images]
        real(path, images, fps)

    monkeypatch.setattr(video_module, "write_video", watch)
    return frames


def walk_by_hand(keys: np.ndarray, steps: int) -> np.ndarray:
    """Shoemake's formula from key to key and back to the first.  # [K, D] -> [K * steps, D]"""
    unit = keys / np.linalg.norm(keys, axis=1, keepdims=True)
    points = []
    for a, b in zip(unit, np.roll(unit, -1, axis=0), strict=True):
        omega = math.acos(a @ b)
        for i in range(steps):
            t = i / steps
            points.append((math.sin((1 - t) * omega) * a + math.sin(t * omega) * b) / math.sin(omega))
    return np.array(points) * math.sqrt(keys.shape[1])


def levels(model: Generator, latents: np.ndarray, labels: list[int] | None = None) -> np.ndarray:  # [N, H, W, 3]
    with torch.no_grad():
        return np.stack([np.asarray(im) for im in to_pil(model(torch.from_numpy(latents).float(), None, labels))])


def close(one: np.ndarray, two: np.ndarray) -> bool:
    """Equal grey levels, but for rounding."""
    return one.shape == two.shape and int(np.abs(one.astype(int) - two.astype(int)).max()) <= 1


def test_a_single_walk(make_snapshot: Make, tmp_path: Path, written: list[np.ndarray], capsys) -> None:  # type: ignore[no-untyped-def]
    run = make_snapshot(task="pggan", alpha=0.4)
    out = tmp_path / "new" / "walk.webp"
    arguments = ["--seed", "3", "--keyframes", "3", "--seconds", "0.4", "--fps", "10", "--size", "50"]
    assert main(["interpolate", str(run.parent.parent), "--out", str(out), *arguments]) == 0
    assert capsys.readouterr().out == f"wrote 12 frames (1.2 s) with pictures of 16 px (seed 3) to {out}\n"
    model = load(run)
    assert isinstance(model, Generator)
    expected = levels(model, walk_by_hand(model.latents(3, 3).double().numpy(), 4))
    assert close(np.stack(written), expected.repeat(3, 1).repeat(3, 2))  # 48 px: 50 is no whole multiple
    keys = np.stack([np.asarray(image) for image in to_pil(model.generate(3, 3))])
    assert close(np.stack(written[::4])[:, ::3, ::3], keys)  # the pictures of generate, on the way
    with Image.open(out) as image:
        assert (image.n_frames, image.size) == (12, (48, 48))
    assert [p.name for p in out.parent.iterdir()] == ["walk.webp"]


def test_a_grid_of_walks(make_snapshot: Make, tmp_path: Path, written: list[np.ndarray]) -> None:
    run = make_snapshot(task="pggan")
    arguments = ["--rows", "2", "--columns", "3", "--keyframes", "2", "--seconds", "0.2", "--fps", "10"]
    assert main(["interpolate", str(run), "--out", str(tmp_path / "x.gif"), *arguments, "--batch-size", "4"]) == 0
    model = load(run)
    assert isinstance(model, Generator)
    keys = model.latents(12).double().numpy()
    for cell in range(6):
        y, x = (4 + 132 * i for i in divmod(cell, 3))
        tiles = np.stack([frame[y : y + 128 : 8, x : x + 128 : 8] for frame in written])
        assert close(tiles, levels(model, walk_by_hand(keys[cell::6], 2)))
    assert written[0].shape == (2 * 132 + 4, 3 * 132 + 4, 3)


def test_every_walk_keeps_its_class(make_snapshot: Make, tmp_path: Path, written: list[np.ndarray]) -> None:
    run = make_snapshot(task="pggan", classes=("cat", "dog"))
    model = load(run)
    assert isinstance(model, Generator)
    short = ["--keyframes", "2", "--seconds", "0.1", "--fps", "10", "--size", "1"]
    arguments = ["interpolate", str(run), "--out", str(tmp_path / "x.webp"), *short]
    for options, labels in ((["--columns", "3"], [0, 1, 0]), (["--columns", "3", "--class", "dog"], [1, 1, 1])):
        assert main([*arguments, *options]) == 0
        for cell, label in enumerate(labels):
            x = 4 + 20 * cell
            tiles = np.stack([frame[4:20, x : x + 16] for frame in written])
            expected = levels(model, walk_by_hand(model.latents(6).double().numpy()[cell::3], 1), [label] * 2)
            assert close(tiles, expected)


def test_grey_models_and_earlier_stages(make_snapshot: Make, tmp_path: Path, written: list[np.ndarray]) -> None:
    run = make_snapshot(task="pggan", channels=(1, 1))
    arguments = ["--resolution", "8", "--keyframes", "2", "--seconds", "0.01"]
    assert main(["interpolate", str(run), "--out", str(tmp_path / "x.webp"), *arguments]) == 0
    assert [frame.shape for frame in written] == [(256, 256, 3)] * 2


@pytest.mark.skipif(importlib.util.find_spec("av") is None, reason="MP4 needs av")
def test_mp4(make_snapshot: Make, tmp_path: Path, written: list[np.ndarray]) -> None:
    import av

    out = tmp_path / "x.mp4"
    arguments = ["--keyframes", "2", "--seconds", "0.3", "--fps", "10", "--out", str(out)]
    assert main(["interpolate", str(make_snapshot(task="pggan")), *arguments]) == 0
    with av.open(str(out)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6
    for frame, given in zip(frames, written, strict=True):
        assert np.abs(frame.astype(int) - given.astype(int)).mean() < 5


@pytest.mark.parametrize(
    ("out", "options", "words"),
    [
        ("x.avi", [], "ends in .webp, .gif or .mp4"),
        ("", [], "is a folder"),
        ("x.gif", ["--fps", "60"], "1 to 50"),
        ("x.webp", ["--keyframes", "1"], "--keyframes must be at least 2"),
        ("x.webp", ["--seconds", "0"], "--seconds must be above 0"),
        ("x.webp", ["--seconds", "nan"], "--seconds must be above 0"),
        ("x.webp", ["--resolution", "5"], "it can run at 4, 8, 16 px"),
        ("x.webp", ["--device", "toaster"], "toaster"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(
    make_snapshot: Make, tmp_path: Path, out: str, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(make_snapshot(task="pggan"))
    assert main(["interpolate", run, "--out", str(tmp_path / out), *options]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]


def test_without_av_mp4_tells_what_to_install(
    make_snapshot: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["interpolate", str(make_snapshot(task="pggan")), "--out", str(tmp_path / "x.mp4")]) == 2
    assert "pip install 'progcycle[video]'" in capsys.readouterr().err


def test_other_models_are_refused(
    make_snapshot: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    single = make_snapshot(task="pggan", run="single", latent_size=1)
    assert main(["interpolate", str(single), "--out", str(tmp_path / "x.webp")]) == 2
    assert "single numbers" in capsys.readouterr().err
    monkeypatch.setattr("progcycle.export.load", lambda *_: Autoencoder.__new__(Autoencoder))
    assert main(["interpolate", str(single), "--out", str(tmp_path / "x.webp")]) == 2
    assert "which has no ways between pictures" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["single"]


# --- translators ------------------------------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> list[np.ndarray]:
    """Two pictures, in the folder ``photos``."""
    pixels = np.random.default_rng(5).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    for name, levels_of in zip("xy", pixels, strict=True):
        Image.fromarray(levels_of).save(tmp_path / "photos" / f"{name}.png")
    return list(pixels)


def tiles(frame: np.ndarray, top: int, count: int = 2, side: int = 32) -> list[np.ndarray]:
    """The pictures in a row of a sheet."""
    return [frame[top : top + side, 4 + (side + 4) * i :][:, :side].astype(int) for i in range(count)]


@pytest.mark.parametrize("direction", ["ab", "ba"])
def test_pictures_turn_into_their_translations_and_back(
    make_snapshot: Make,
    tmp_path: Path,
    photos: list[np.ndarray],
    written: list[np.ndarray],
    direction: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run, out = make_snapshot(), tmp_path / "x.webp"
    options = ["--direction", direction, "--seconds", "0.4", "--fps", "10", "--size", "32"]
    assert main(["interpolate", str(run), "--out", str(out), "--pictures", str(tmp_path / "photos"), *options]) == 0
    words = {"ab": "A to B", "ba": "B to A"}[direction]
    assert capsys.readouterr().out == f"wrote 8 frames (0.8 s) with 2 pictures, {words} and back to {out}\n"
    model = load(run)
    assert isinstance(model, Translator)
    made = [model.translate(levels_of, direction).astype(int) for levels_of in photos]  # type: ignore[call-overload]
    half = math.sqrt(0.5)
    shares = [0, (1 - half) / 2, 0.5, (1 + half) / 2, 1, (1 + half) / 2, 0.5, (1 - half) / 2]  # along a cosine
    assert len(written) == len(shares)
    for frame, share in zip(written, shares, strict=True):
        for got, before, after in zip(tiles(frame, 28), photos, made, strict=True):
            assert np.abs(got - (before + share * (after - before))).max() <= 0.5 + 1e-3
    assert np.abs(made[0] - photos[0]).max() > 50


def test_one_picture_by_itself(
    make_snapshot: Make, tmp_path: Path, photos: list[np.ndarray], written: list[np.ndarray]
) -> None:
    options = ["--pictures", str(tmp_path / "photos" / "y.png"), "--seconds", "0.1", "--fps", "10", "--size", "32"]
    assert main(["interpolate", str(make_snapshot()), "--out", str(tmp_path / "x.gif"), *options]) == 0
    assert np.array_equal(tiles(written[0], 28, 1)[0], photos[1])
    assert len(written) == 2


def test_from_translation_to_translation(
    make_snapshot: Make, tmp_path: Path, photos: list[np.ndarray], written: list[np.ndarray]
) -> None:
    """The translations of --seed 3 and 4 are on the way, below the pictures."""
    run = make_snapshot(latents=4)
    options = ["--pictures", str(tmp_path / "photos"), "--keyframes", "2", "--seed", "3", "--size", "32"]
    assert main(["interpolate", str(run), "--out", str(tmp_path / "x.webp"), *options, "--seconds", "0.1"]) == 0
    model = load(run)
    assert isinstance(model, Translator)
    assert len(written) == 4
    for frame, seed in ((0, 3), (2, 4)):
        assert all(np.array_equal(*pair) for pair in zip(tiles(written[frame], 28), photos, strict=True))
        for got, levels_of in zip(tiles(written[frame], 28 + 36), photos, strict=True):
            assert np.abs(got - model.translate(levels_of, "ab", seed=seed).astype(int)).max() <= 1
    assert not np.array_equal(written[0], written[2])


@pytest.mark.parametrize(
    ("task", "options", "words"),
    [
        ("cyclegan", ["--rows", "2"], "--rows is no option for translators, which"),
        ("cyclegan", ["--latents", "x"], "--latents is no option for translators, which"),
        ("cyclegan", ["--batch-size", "2"], "--batch-size is no option for translators, which"),
        (
            "cyclegan",
            ["--pictures", "PHOTOS", "--seed", "2"],
            "--seed chooses translations to pass through; give --key",
        ),
        ("cyclegan", ["--pictures", "PHOTOS", "--keyframes", "3"], "have no latents from A to B"),
        ("cyclegan", [], "pictures are not here"),
        ("pggan", ["--direction", "ab"], "--direction is no option for a PG-GAN, which"),
        ("pggan", ["--count", "2"], "--count is no option for a PG-GAN, which"),
        ("pggan", ["--latents", "nowhere"], "There is no file nowhere"),
        ("pggan", ["--latents", "PHOTOS/x.png"], "cannot be read as safetensors"),
    ],
)
@pytest.mark.usefixtures("photos")
def test_options_of_another_task_are_refused(
    make_snapshot: Make, tmp_path: Path, task: str, options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [option.replace("PHOTOS", str(tmp_path / "photos")) for option in options]
    assert main(["interpolate", str(make_snapshot(task=task)), "--out", str(tmp_path / "x.webp"), *given]) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "x.webp").exists()
