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
from progcycle.export import Generator, load, to_pil
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


def test_other_models_are_refused(make_snapshot: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["interpolate", str(make_snapshot()), "--out", str(tmp_path / "x.webp")]) == 2
    assert "use progcycle translate" in capsys.readouterr().err
    single = make_snapshot(task="pggan", run="single", latent_size=1)
    assert main(["interpolate", str(single), "--out", str(tmp_path / "x.webp")]) == 2
    assert "single numbers" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "single"]
