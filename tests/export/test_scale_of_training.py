"""Translators that were trained on parts of pictures are shown pictures at the size of those parts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from progcycle.commands.cli import main
from progcycle.export import Translator
from progcycle.export.source_pictures import read_sources

Make = Callable[..., Path]


def trained(make_snapshot: Make, data: dict[str, Any], **options: Any) -> tuple[Path, Translator]:
    """Translators of 32 px whose pictures of A are loaded in some way."""
    folder = make_snapshot(data={"root": "nowhere", "a": data}, **options)
    return folder.parent.parent, Translator.from_pretrained(folder)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)


def seen_by(model: Translator, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Height and width of everything that the network is shown from here on."""
    sizes: list[tuple[int, ...]] = []
    run = model.run

    def spy(network: Any, x: Tensor, *rest: Any, **more: Any) -> Tensor:
        sizes.append(tuple(x.shape[2:]))
        return run(network, x, *rest, **more)

    monkeypatch.setattr(model, "run", spy)
    return sizes


@pytest.mark.parametrize(
    ("data", "stage", "shown"),
    [
        ({}, 2, (32, 48)),
        ({"load_resolution": 36}, 2, (32, 48)),
        ({"load_resolution": 36}, 1, (16, 24)),
        ({"load_resolution": 64}, 2, (64, 96)),
        ({"load_resolution": 64}, 1, (32, 48)),
        ({"load_resolution": 64, "fit": "random_crop"}, 0, (16, 24)),
        ({"load_resolution": "native"}, 2, (128, 192)),
        ({"load_resolution": "native"}, 1, (64, 96)),
        ({"load_resolution": "native"}, 0, (32, 48)),
    ],
)
def test_the_size_that_the_network_is_shown(
    make_snapshot: Make, monkeypatch: pytest.MonkeyPatch, data: dict[str, Any], stage: int, shown: tuple[int, int]
) -> None:
    """A picture of 128 x 192 px; a stage of r of 32 px works on r / 32 of what the last one does."""
    _, model = trained(make_snapshot, data, stage=stage)
    sizes = seen_by(model, monkeypatch)
    picture = noise(128, 192)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
    for given in (picture, Image.fromarray(picture), x):
        made = model.translate(given, "ab")  # type: ignore[call-overload]
        assert made.size == (192, 128) if isinstance(made, Image.Image) else 128 in made.shape
    assert sizes == [shown] * 3
    model.translate(picture, "ba")
    assert sizes[3:] == [(8 << stage, 12 << stage)], "pictures of B are whole ones"


def test_what_is_asked_for_counts(make_snapshot: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    for data in ({"load_resolution": 64}, {"load_resolution": "native"}):
        _, model = trained(make_snapshot, data)
        sizes = seen_by(model, monkeypatch)
        picture = noise(128, 192)
        model.translate(picture, "ab", "native")
        model.translate(picture, "ab", "train", side=40)
        model.translate(picture, "ab", "train", side=32)
        model.translate(picture, "ab", resolution=16)
        half = (64, 96) if data["load_resolution"] == "native" else (32, 48)
        assert sizes == [(128, 192), (40, 60), (32, 48), half]


def test_native_and_train_are_the_same_at_the_size_of_training(make_snapshot: Make) -> None:
    _, model = trained(make_snapshot, {"load_resolution": "native"})
    picture = noise(64, 96)
    made = {scale: model.translate(picture, "ab", scale) for scale in (None, "native", "train")}  # type: ignore[call-overload]
    assert np.array_equal(made[None], made["native"])
    assert np.abs(made["train"].astype(int) - made["native"]).max() <= 1


def test_a_picture_is_reduced_as_training_reduces_it(make_snapshot: Make, tmp_path: Path) -> None:
    """A JPEG that training decodes at a quarter of its size: 64 px, and then a stage of 16 px of 32."""
    _, model = trained(make_snapshot, {"load_resolution": 64}, stage=1)
    file = tmp_path / "x.jpg"
    Image.fromarray(noise(512, 768)).resize((768, 512), Image.Resampling.BICUBIC).save(file, quality=95)
    small = Image.open(file)
    small.draft("RGB", (192, 128))
    loaded = small.resize((96, 64), Image.Resampling.LANCZOS).reduce(2)
    x = torch.from_numpy(np.asarray(loaded).copy()).permute(2, 0, 1)[None] / 127.5 - 1
    seen: list[Tensor] = []
    run = model.run
    model.run = lambda network, x, *rest, **more: (seen.append(x), run(network, x, *rest, **more))[1]  # type: ignore[method-assign]
    model.translate(str(file), "ab", "train")
    assert torch.allclose(seen[0].cpu(), x, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({}, ""),
        (
            {"load_resolution": 36},
            "of pictures of 36 px; the network works on whole ones of 32 px, in which everything is",
        ),
        (
            {"load_resolution": 64},
            "parts of pictures whose short side has 64 px, so that the network works at that",
        ),
        ({"load_resolution": "native"}, "parts of pictures at their own size, and work at that size"),
    ],
)
def test_the_command_says_the_scale(
    make_snapshot: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str], data: dict[str, Any], words: str
) -> None:
    run, model = trained(make_snapshot, data)
    Image.fromarray(noise(70, 90)).save(tmp_path / "x.png")
    command = ["translate", str(run), str(tmp_path / "x.png"), str(tmp_path / "y.png"), "--direction", "ab"]
    assert main(command) == 0
    said = capsys.readouterr().err
    assert words in said
    assert ("these translators were trained on" in said) == bool(words)
    assert "contents have another size" not in said
    assert np.array_equal(np.asarray(Image.open(tmp_path / "y.png")), model.translate(noise(70, 90), "ab"))
    assert main([*command, "--scale", "native"]) == 0
    assert "these translators were trained on" not in capsys.readouterr().err


def test_examples_are_parts_of_the_size_of_training(make_snapshot: Make, tmp_path: Path) -> None:
    picture = noise(90, 130)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(picture).save(tmp_path / "pictures" / "x.png")
    _, model = trained(make_snapshot, {"load_resolution": "native"})
    (found,) = read_sources(model.config, "ab", tmp_path / "pictures", 3, 100)
    assert np.array_equal(found, picture[29:61, 49:81])
    _, model = trained(make_snapshot, {"load_resolution": 64})
    (found,) = read_sources(model.config, "ab", tmp_path / "pictures", 3, 100)
    square = Image.fromarray(picture[:, 20:110]).resize((64, 64), Image.Resampling.LANCZOS)
    assert np.array_equal(found, np.asarray(square)[16:48, 16:48])
    _, model = trained(make_snapshot, {})
    (found,) = read_sources(model.config, "ab", tmp_path / "pictures", 3, 100)
    assert found.shape == (69, 100, 3)
