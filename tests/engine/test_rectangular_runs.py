"""Runs on rectangles: they resume bit for bit, and what is made of them has their shape."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import STEPS, began, checkpoint_content, full, stats, tiny, tiny_content, train, write_pictures

from progcycle.commands.cli import main
from progcycle.engine.bench import Bench, StageSpeed
from progcycle.engine.estimate import Estimate, noise
from progcycle.engine.stage_memory import MemoryPlan, StageMemory
from progcycle.errors import UserError
from progcycle.export import load
from progcycle.export.config import read_config
from progcycle.recipe import Recipe, merge, validate
from progcycle.resolution import Resolution
from progcycle.runtime.checkpoint import checkpoints
from progcycle.schedule import GrowthSchedule, Phase

Read = pytest.CaptureFixture[str]
SIZES = {"pggan": [24, 16], "cyclegan": [16, 24]}  # height and width


def rectangular(task: str, data: Path, changes: dict[str, Any] | None = None) -> Recipe:
    """The plan of :func:`tiny_content`, for rectangles; most options are switched on."""
    content = merge(tiny_content(task, data), full(task, data))
    policy = [name for name in content["objective"]["augment"]["policy"] if name != "rotate90"]
    content["objective"]["augment"]["policy"] = policy
    return validate(merge({**content, "resolution": SIZES[task]}, changes or {}))


@pytest.mark.parametrize("task", SIZES)
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(task: str, pictures: Path, tmp_path: Path) -> None:
    recipe = rectangular(task, pictures, {"training": {"keep_checkpoints": 99}})
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    whole = train(recipe, straight)
    assert whole.trainer.step == STEPS
    train(recipe, broken, stop_before=8)
    train(recipe, broken, stop_before=18)
    again = train(recipe, broken)
    assert again.seen == {step: batch for step, batch in whole.seen.items() if step in again.seen}
    names = [path.name for path in checkpoints(straight / "checkpoints")]
    assert names == [path.name for path in checkpoints(broken / "checkpoints")]
    for name in names:
        ours, theirs = (checkpoint_content(run / "checkpoints" / name) for run in (broken, straight))
        assert ours == theirs
    lines = stats(broken)
    assert lines == stats(straight)
    assert [line["resolution"] for line in lines][:: len(lines) - 1] == [4, 16]  # numbers: the shorter side
    for file in ("samples/nimg-000000000044.png", "snapshots/nimg-000000000044/model.safetensors"):
        assert (broken / file).read_bytes() == (straight / file).read_bytes()


@pytest.fixture(scope="module")
def translators(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of translators between pictures of 16x24 px, from a folder that holds its pictures too."""
    folder = tmp_path_factory.mktemp("rectangles")
    for seed, name in enumerate(("trainA", "trainB", "testA", "testB")):
        write_pictures(folder / name, 6, seed, side=40)
    changes = {"resolution": [16, 24], "data": {"paired": True}, "network": {"discriminator": {"head": "dense"}}}
    train(tiny("cyclegan", folder, changes), folder / "run")
    return folder


def test_translations_keep_the_size_of_their_pictures(translators: Path, tmp_path: Path) -> None:
    given = {"same.png": (24, 16), "large.png": (72, 48), "high.jpg": (20, 70), "square.png": (33, 33)}  # width, height
    for name, size in given.items():
        pixels = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "in" / name)
    for scale in ("train", "native"):
        out = tmp_path / scale
        assert main(["translate", str(translators / "run"), str(tmp_path / "in"), str(out), "--direction", "ab",
                     "--scale", scale, "--max-pixels", "100000"]) == 0  # fmt: skip
        assert {path.name: Image.open(path).size for path in out.iterdir()} == given


def test_a_picture_of_the_resolution_is_translated_as_in_training(translators: Path) -> None:
    model = load(translators / "run")
    pixels = np.random.default_rng(2).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 127.5 - 1
    expected = model(x, "ab").clamp(-1, 1)
    found = model.translate(x, "ab", "train")
    assert found.shape == (1, 3, 16, 24)
    assert torch.allclose(found, expected, atol=1e-6)
    # Twice as large, the network sees it at the size of training.
    large = torch.from_numpy(pixels.repeat(2, 0).repeat(2, 1)).permute(2, 0, 1)[None] / 127.5 - 1
    seen: list[torch.Size] = []
    handle = model.gen_ab.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    model.translate(large, "ab", "train")
    model.translate(torch.zeros(1, 3, 90, 90), "ab", "train")
    model.translate(large, "ab", "train", resolution=8)
    model.translate(large.repeat(1, 1, 2, 2), "ab", "train", side=32)  # of 64x96 px
    model.translate(large, "ab", "train", side=99)  # no larger than the picture
    handle.remove()
    assert seen == [(1, 3, 16, 24), (1, 3, 24, 24), (1, 3, 8, 12), (1, 3, 32, 48), (1, 3, 32, 48)]
    with pytest.raises(UserError, match="A side of 15 px is below the 16x24 px of training"):
        model.translate(large, "ab", "train", side=15)


def test_graphs_for_export_have_height_and_width(translators: Path) -> None:
    (graph,) = load(translators / "run").graphs("ab")
    assert graph.output.sides == (16, 24)
    assert [tuple(x.shape) for x in graph.examples(2, graph.output.sides)] == [(2, 3, 16, 24)]


def test_an_earlier_stage_has_the_name_of_its_shorter_side_or_of_both(translators: Path) -> None:
    model = load(translators / "run")
    for given in (8, Resolution(8), Resolution(8, 12)):
        assert model.config.growth_at(given).resolution.shape == (8, 12)
    for given, words in ((Resolution(12, 8), "12x8"), (12, "12")):
        with pytest.raises(UserError, match=f"no resolution {words}; it can run at 4x6, 8x12, 16x24 px"):
            model.config.growth_at(given)


def test_the_snapshot_says_height_and_width(translators: Path) -> None:
    snapshot = sorted((translators / "run" / "snapshots").iterdir())[-1]
    content = json.loads((snapshot / "config.json").read_text())
    assert [content[f"{name}resolution"] for name in ("", "base_", "final_")] == [[16, 24], [4, 6], [16, 24]]
    assert content["recipe"]["resolution"] == [16, 24]
    config = read_config(snapshot)
    assert (config.resolution.shape, config.growth.resolution.shape) == ((16, 24), (16, 24))
    assert config.to_json() == (snapshot / "config.json").read_text()


def test_evaluate_measures_rectangles(translators: Path, capsys: Read) -> None:
    run = str(translators / "run")
    assert main(["evaluate", run, "--paired", "--resolution", "32", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert "16x24 px" in out
    assert "true pairs at 32x48 px" in out
    (record,) = (json.loads(path.read_text()) for path in (translators / "run" / "evaluation").glob("*.json"))
    assert record["resolution"] == "16x24"
    assert record["at_resolution"]["resolution"] == "32x48"
    assert "swd" in record["results"]["ab"]["translated"]
    (page,) = (translators / "run" / "evaluation").glob("*.html")
    assert "width: 96px; height: 64px" in page.read_text()  # 4 times as large, as small squares are
    with pytest.raises(SystemExit, match="2"):
        main(["evaluate", run, "--resolution", "32x32x1"])
    assert main(["evaluate", run, "--paired", "--resolution", "40x32"]) == 2
    assert "40x32 px have another shape than the 16x24 px of training" in capsys.readouterr().err


def test_a_generator_paints_interpolates_and_is_measured(pictures: Path, tmp_path: Path, capsys: Read) -> None:
    run, out = tmp_path / "run", tmp_path / "out"
    train(tiny("pggan", pictures, {"resolution": [24, 16]}), run)
    assert main(["generate", str(run), "--count", "3", "--out", str(out), "--grid"]) == 0
    assert "wrote 3 pictures of 24x16 px (height x width) (seed 0)" in capsys.readouterr().out
    sizes = {Image.open(path).size for path in out.glob("*.png") if path.name != "grid.png"}
    assert sizes == {(16, 24)}  # width and height
    assert Image.open(out / "grid.png").size == (2 * (32 + 4) + 4, 2 * (64 + 4) + 4)  # high tiles, twice as large
    assert main(["generate", str(run), "--count", "1", "--out", str(tmp_path / "early"), "--resolution", "8x12"]) == 2
    assert "no resolution 8x12; it can run at 6x4, 12x8, 24x16 px" in capsys.readouterr().err
    assert main(["generate", str(run), "--count", "1", "--out", str(tmp_path / "early"), "--resolution", "12x8"]) == 0
    assert [Image.open(path).size for path in (tmp_path / "early").iterdir()] == [(8, 12)]
    walk = tmp_path / "walk.gif"
    assert main(["interpolate", str(run), "--out", str(walk), "--keyframes", "2", "--seconds", "0.1"]) == 0
    assert Image.open(walk).size == (160, 240)  # 10 times as large
    capsys.readouterr()
    assert main(["evaluate", str(run), "--metrics", "swd", "ms-ssim", "--count", "8", "--device", "cpu"]) == 0
    assert "24x16 px" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--metrics", "modes"]) == 2
    assert "modes reads digits in squares, and these have 24x16 px; leave it out." in capsys.readouterr().err


@pytest.mark.parametrize("size", [[24, 16], 24], ids=str)
def test_began_and_an_autoencoder_train_on_it(size: Any, pictures: Path, tmp_path: Path) -> None:
    base = 4 if isinstance(size, list) else 6
    schedule = {"stable_kimg": 0.008, "fade_kimg": 0.008, "batch_size": 4}
    changes = {"resolution": size, "network": {"base_resolution": base}, "schedule": schedule}
    content = json.loads(json.dumps(began(pictures).model_dump(mode="json")))
    made = validate(merge(content, changes))
    assert train(made, tmp_path / "began").trainer.nimg == 40
    shape = tuple(size) if isinstance(size, list) else (size, size)
    assert load(tmp_path / "began").paint(torch.zeros(1, 6)).__next__().size == shape[::-1]
    autoencoder = {
        "task": "autoencoder",
        "resolution": size,
        "data": {"path": str(pictures / "trainA"), "workers": 0},
        "network": {"base_resolution": base, "channels": {"base": 32, "max": 8}, "latent_size": 4},
        "schedule": schedule,
        "training": {"precision": "no", "status_kimg": 0.02, "sample_kimg": 0.02, "checkpoint_kimg": 0.02},
    }
    train(validate(autoencoder), tmp_path / "autoencoder")
    restored = load(tmp_path / "autoencoder").restore(torch.zeros(1, 3, 50, 50))
    assert restored.shape == (1, 3, *shape)


def test_batches_of_noise_have_the_shape_of_the_stage(pictures: Path, tmp_path: Path) -> None:
    training = train(tiny("pggan", pictures, {"resolution": [24, 16]}), tmp_path / "run", stop_before=0)
    batches = noise(training.context.sets, training.schedule.at(20))
    assert batches["real"].images.shape == (4, 3, 12, 8)


def test_fine_tuning_takes_what_has_no_grid_of_its_own(translators: Path, tmp_path: Path) -> None:
    """Convolutions fit any shape; a dense head fits its own only, and says so."""
    changes: dict[str, Any] = {"start_from": str(translators / "run"), "network": {"discriminator": {"head": "dense"}}}
    for size in ([16, 24], 16, [32, 64]):
        recipe = tiny("cyclegan", translators, merge(changes, {"resolution": size, "schedule": {"batch_size": 4,
            "stable_kimg": 0.016, "fade_kimg": 0.016}}))  # fmt: skip
        begun = train(recipe, tmp_path / str(size), stop_before=0)
        model = load(translators / "run")
        ours = begun.trainer.task.networks["gen_ab"].encoder.from_rgb[0].conv.weight
        assert torch.equal(ours, model.gen_ab.encoder.from_rgb[0].conv.weight)
    everything = {"start_from": {"run": str(translators / "run"), "networks": "all"}}
    recipe = tiny("cyclegan", translators, merge(changes, {"resolution": [16, 32], **everything}))
    with pytest.raises(UserError, match=r"disc_a of .* does not fit this recipe"):
        train(recipe, tmp_path / "all")
    other = {"resolution": [24, 36], "network": {"base_resolution": 6}}
    plan = {"stable_kimg": 0.016, "fade_kimg": 0.016, "batch_size": 4}
    recipe = tiny("cyclegan", translators, merge(changes, {**other, "schedule": plan}))
    with pytest.raises(UserError, match=r"ends at 16x24 px, which is no resolution of this recipe, whose double from"):
        train(recipe, tmp_path / "other")


@pytest.mark.parametrize("table", ["plan", "times", "bench", "memory"])
def test_columns_of_tables_hold_rectangles(table: str) -> None:
    """Columns end under the ends of their heads, and no number touches the next."""
    sides = Resolution(64, 96), Resolution(128, 192), Resolution(1024, 4096)
    if table == "plan":
        phases = [Phase("stable", i, side, 1000 * i, 1000 * (i + 1), 16, 1.0) for i, side in enumerate(sides)]
        lines = GrowthSchedule.table(SimpleNamespace(phases=phases)).splitlines()  # type: ignore[arg-type]
    elif table == "times":
        lines = Estimate(30, tuple(("stable", side, 1000, 0.01) for side in sides), None, "cpu", 1).table().splitlines()
    elif table == "bench":
        stages = [StageSpeed("", side, 16, 9, 0.1, 9.0, {"rest": 1.0}, 1.0, 1.0, None, None, 9.0) for side in sides]
        lines = Bench("mine", "cpu", "float32", "", stages).table().splitlines()
    else:
        plan = MemoryPlan([StageMemory("", side, 16, 8, 2e9, 1.25e9) for side in sides], "bf16", {})
        lines = str(plan).splitlines()[1:]
    head, *rows = lines
    end = head.index("px") + len("px")
    assert [row[:end].split()[-1] for row in rows] == [str(side) for side in sides]
    assert {len(row) for row in rows} == {len(head)}
    assert all(row[end] == " " for row in rows)
