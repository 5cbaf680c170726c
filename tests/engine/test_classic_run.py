"""The published CycleGAN, with spectral norm, in the one loop: resumed bit for bit, exported as it is, any size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import WatchedRun, checkpoint_content, stats, tiny_content, train

import progcycle
from progcycle.commands.cli import main
from progcycle.export import Translator
from progcycle.recipe import Recipe, merge, validate
from progcycle.runtime.checkpoint import checkpoints


def classic(data: Path, **network: Any) -> Recipe:
    """22 steps at 16 px with the published objective."""
    content = tiny_content("cyclegan", data)
    usual = {
        "filters": 4,
        "generator": {"name": "resnet", "residual_blocks": 1},
        "discriminator": {"name": "patchgan", "layers": 2},
    }
    content["network"] = merge({"network": usual, "task": "cyclegan"}, {"network": network})["network"]
    content["objective"] = {
        "loss": "lsgan", "lsgan_factor": 0.5, "cycle": {"aba": 10, "bab": 10}, "identity": {"a": 0.5, "b": 0.5},
        "pool_size": 6,
    }  # fmt: skip
    changes = {
        "schedule": {"stable_kimg": 0.022, "decay_kimg": 0.011, "batch_size": 1},
        "optimizer": {"reset": "never"},
        "training": {
            "ema": {"half_life_kimg": None, "per_step": 0},
            "status_kimg": 0.005, "sample_kimg": 0.011, "checkpoint_kimg": 0.005, "snapshot_kimg": 0.022,
            "keep_checkpoints": 99,
        },
    }  # fmt: skip
    return validate(merge(content, changes))


@pytest.mark.parametrize(
    "network",
    [
        {"discriminator": {"spectral_norm": True}},
        {"generator": "unet", "discriminator": {"normalization": "batch"}},
    ],
    ids=["resnet", "unet"],
)
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(
    network: dict[str, Any], pictures: Path, tmp_path: Path
) -> None:
    recipe = classic(pictures, **network)
    whole = train(recipe, tmp_path / "straight")
    assert whole.trainer.step == 22
    assert [phase.stage for phase in whole.schedule.phases] == [0]
    train(recipe, tmp_path / "broken", stop_before=7)
    torch.manual_seed(99)
    resumed = train(recipe, tmp_path / "broken")
    assert min(resumed.seen) == 5
    names = [p.name for p in checkpoints(tmp_path / "straight" / "checkpoints")]
    assert names == [p.name for p in checkpoints(tmp_path / "broken" / "checkpoints")]
    assert len(names) == 5
    for name in names:
        ours, theirs = (checkpoint_content(tmp_path / run / "checkpoints" / name) for run in ("broken", "straight"))
        assert ours == theirs
    assert stats(tmp_path / "broken") == stats(tmp_path / "straight")
    check_moved(whole, recipe, spectral=recipe.network.discriminator.spectral_norm)


def check_moved(training: WatchedRun, recipe: Recipe, spectral: bool) -> None:
    """All networks have learned, and spectral norm's vectors have followed."""
    fresh = type(training.trainer.task)(recipe)  # type: ignore[call-arg]
    for name, network in training.trainer.task.networks.items():
        assert any("_u" in key for key in network.state_dict()) == (spectral and name.startswith("disc"))
        before = fresh.networks[name].state_dict()
        assert all(not torch.equal(v, before[k]) for k, v in network.state_dict().items() if v.ndim > 1)


def test_without_averages_the_raw_weights_are_exported(pictures: Path, tmp_path: Path) -> None:
    training = train(classic(pictures), tmp_path / "run")
    model = progcycle.load(tmp_path / "run")
    for name in ("gen_ab", "gen_ba"):
        raw = training.trainer.task.networks[name].state_dict()
        assert all(torch.equal(value, raw[key]) for key, value in getattr(model, name).state_dict().items())


@pytest.mark.parametrize(("generator", "multiple"), [("resnet", 4), ("unet", 16)])
def test_pictures_of_odd_sizes_are_translated(generator: str, multiple: int, pictures: Path, tmp_path: Path) -> None:
    train(classic(pictures, generator=generator), tmp_path / "run")
    given, out = tmp_path / "in", tmp_path / "out"
    given.mkdir()
    for width, height in ((50, 37), (37, 50), (3, 9), (1, 1), (16, 16)):
        pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(given / f"{width}x{height}.png")
    for scale in ("native", "train"):
        arguments = [str(tmp_path / "run"), str(given), str(out / scale), "--direction", "ab", "--scale", scale]
        assert main(["translate", *arguments]) == 0
        for path in given.iterdir():
            with Image.open(path) as before, Image.open(out / scale / path.name) as after:
                assert after.size == before.size
    model = progcycle.load(tmp_path / "run")
    assert isinstance(model, Translator)
    sizes: list[tuple[int, ...]] = []
    model.gen_ab.register_forward_pre_hook(lambda _, inputs: sizes.append(tuple(inputs[0].shape[2:])))
    x = torch.rand(1, 3, 37, 50) * 2 - 1
    y = model(x, "ab")
    assert y.shape == x.shape
    model(torch.zeros(1, 3, 3, 9), "ab")
    assert sizes == ([(40, 52), (8, 12)] if multiple == 4 else [(48, 64), (16, 16)])
