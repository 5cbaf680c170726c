"""Runs on crops of big pictures: they stop and go on bit for bit, and say at which scale they are tested."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_runs import checkpoint_content, stats, tiny, train

from progcycle.recipe import merge
from progcycle.runtime.checkpoint import checkpoints


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """Two domains of pictures of many sizes and formats; those of A are in part JPEGs, turned by their EXIF block."""
    for seed, (name, count) in enumerate({"trainA": 6, "trainB": 5, "testA": 2}.items()):
        (tmp_path / "big" / name).mkdir(parents=True)
        rng = np.random.default_rng(seed)
        for i in range(count):
            coarse = Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8))
            exif = Image.Exif()
            exif[274] = 1 + i % 8
            image = coarse.resize((90 + 7 * i, 60 + 5 * i), Image.Resampling.BICUBIC)
            image.save(tmp_path / "big" / name / f"{i}.{('jpg', 'png', 'tif')[i % 3]}", exif=exif)
    return tmp_path / "big"


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize(
    ("task", "keys"),
    [("cyclegan", {"load_resolution": "native"}), ("pggan", {"load_resolution": 40, "fit": "random_crop"})],
)
def test_stopped_and_resumed_equals_uninterrupted(task: str, keys: dict[str, Any], big: Path, tmp_path: Path) -> None:
    changes = {"data": keys if task == "pggan" else {"a": keys, "b": keys}}
    recipe = tiny(task, big, changes)
    whole = train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "parts", stop_before=7)
    train(tiny(task, big, merge(changes, {"data": {"workers": 1}})), tmp_path / "parts")
    assert stats(tmp_path / "parts") == stats(tmp_path / "whole")
    first, last = (checkpoints(tmp_path / name / "checkpoints")[-1] for name in ("whole", "parts"))
    contents = [checkpoint_content(folder) for folder in (first, last)]
    assert contents[0].keys() == contents[1].keys()
    assert all(contents[0][name] == contents[1][name] for name in contents[0] if name != "state.json")
    assert max(whole.seen) > 7
