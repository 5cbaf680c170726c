"""Runs of a Laplacian pyramid: resuming bit for bit, levels alone and together, and the commands that use them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tiny_runs import checkpoint_content, stats, tiny_pyramid, train

import progcycle
from progcycle.commands.cli import main
from progcycle.errors import UserError
from progcycle.evaluation import evaluate
from progcycle.export import LaplacianGenerator, find_snapshot, join_levels, load_as, to_pil
from progcycle.export.interpolation import interpolation_frames
from progcycle.recipe import merge, validate


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of all levels."""
    return train(validate(measured(pictures)), tmp_path_factory.mktemp("lapgan") / "whole").run_dir


def measured(pictures: Path) -> dict[str, Any]:
    """The recipe with figures while it trains."""
    return merge(tiny_pyramid(pictures), {"training": {"evaluation": {"every_kimg": 0.032, "count": 4}}})


@pytest.fixture(scope="module")
def parts(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A run for each level, by its side."""
    folder = tmp_path_factory.mktemp("parts")
    return {
        side: train(validate({**tiny_pyramid(pictures), "levels": side}), folder / f"level{side}").run_dir
        for side in (8, 16, 32)
    }


def painted(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("0*.png"))]


def test_it_stops_and_resumes_bit_for_bit(whole: Path, pictures: Path, tmp_path: Path) -> None:
    recipe, run = validate(measured(pictures)), tmp_path / "broken"
    train(recipe, run, stop_before=5)
    train(recipe, run)
    last = [sorted((folder / "checkpoints").iterdir())[-1] for folder in (run, whole)]
    assert checkpoint_content(last[0]) == checkpoint_content(last[1])
    assert stats(run) == stats(whole)
    with pytest.raises(UserError, match="levels"):
        train(validate({**tiny_pyramid(pictures), "levels": [8, 16]}), run)


def test_a_level_is_the_same_whether_others_are_trained_with_it(whole: Path, parts: dict[int, Path]) -> None:
    together, alone = (load_file(find_snapshot(run) / "model.safetensors") for run in (whole, parts[32]))
    assert alone.keys() == {key for key in together if key.startswith("generator_32.")}
    assert all(torch.equal(value, together[key]) for key, value in alone.items())


def test_runs_of_single_levels_are_joined(
    parts: dict[int, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    joined, runs = tmp_path / "joined", [str(run) for run in parts.values()]
    assert main(["join", *runs[::2], "--out", str(joined)]) == 2
    assert "The level of 16 px is in none of these runs; train it (levels=16)" in capsys.readouterr().err
    assert main(["join", *runs, runs[0], "--out", str(joined)]) == 2
    assert main(["join", *runs, str(parts[8] / "snapshots" / "nimg-000000000032"), "--out", str(joined)]) == 2
    assert "both have the level of 8 px; leave one of them out." in capsys.readouterr().err
    assert not joined.exists()
    assert main(["join", *runs, "--out", str(joined)]) == 0
    assert main(["join", *runs, "--out", str(joined)]) == 2
    assert "exists already" in capsys.readouterr().err
    model = progcycle.load(joined)
    assert isinstance(model, LaplacianGenerator)
    assert model.levels == model.all_levels == (8, 16, 32)
    assert model.recipe.levels == (8, 16, 32)  # type: ignore[attr-defined]
    for side, run in parts.items():
        single = progcycle.load(run)
        assert isinstance(single, LaplacianGenerator)
        assert single.levels == (side,)
        own, joined_own = (each.level(side).state_dict() for each in (single, model))
        assert all(torch.equal(own[key], value) for key, value in joined_own.items())
    z = model.latents(2, seed=5)
    first, second, third = torch.split(z, [4, 256, 1024], dim=1)
    with torch.no_grad():
        small = model.level(8)(first, 0, 1.0)
        middle = model.paint_level(16, small, second)
        torch.testing.assert_close(model(z), model.paint_level(32, middle, third))
        torch.testing.assert_close(model(z, 16), middle)
        torch.testing.assert_close(model(z[:, :4], 8), small)


def test_a_run_without_the_coarser_levels_says_so(
    parts: dict[int, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", str(parts[32]), "--out", str(tmp_path / "x")]) == 2
    words = "the level of 8 px is missing: this run trained 32 px only. Put it together with runs of the others"
    assert words in capsys.readouterr().err
    assert main(["generate", str(parts[8]), "--out", str(tmp_path / "x"), "--count", "2"]) == 0
    assert [picture.shape for picture in painted(tmp_path / "x")] == [(8, 8, 3)] * 2


def test_generate_stops_after_some_levels(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(whole)
    for name, options in (("all", []), ("two", ["--levels", "2"]), ("same", ["--resolution", "16"])):
        assert main(["generate", run, "--count", "3", "--out", str(tmp_path / name), *options]) == 0
    assert [picture.shape for picture in painted(tmp_path / "all")] == [(32, 32, 3)] * 3
    two, same = painted(tmp_path / "two"), painted(tmp_path / "same")
    assert all(picture.shape == (16, 16, 3) for picture in two)
    assert all(np.array_equal(*pair) for pair in zip(two, same, strict=True))
    for options, words in (
        (["--levels", "4"], "has 3 levels, of 8, 16, 32 px."),
        (["--resolution", "4"], "This LAPGAN has no level of 4 px; it has 8, 16, 32 px."),
        (["--levels", "0"], "must be a whole number of at least 1"),
    ):
        code = _code(["generate", run, "--out", str(tmp_path / "no"), *options])
        assert code == 2
        assert words in capsys.readouterr().err


def _code(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as error:
        return int(error.code or 0)


def test_levels_are_no_option_for_other_generators(make_snapshot: Any, tmp_path: Path, capsys: Any) -> None:
    snapshot = make_snapshot(task="pggan")
    assert main(["generate", str(snapshot), "--out", str(tmp_path / "x"), "--levels", "2"]) == 2
    assert "--levels is no option for a PG-GAN, which" in capsys.readouterr().err


def test_interpolate_passes_through_the_pictures_of_generate(whole: Path, tmp_path: Path) -> None:
    model: Any = progcycle.load(whole)
    frames = [np.asarray(frame).astype(int) for frame in interpolation_frames(model, 2, 2, seed=1, size=32)]
    pictures = [np.asarray(picture).astype(int) for picture in model.paint(model.latents(2, seed=1))]
    assert len(frames) == 4
    for i, picture in enumerate(pictures):
        assert np.abs(frames[2 * i] - picture).max() <= 1, "to the rounding of a number's way to a normal one and back"
        assert np.abs(frames[2 * i + 1] - picture).max() > 1
    out = tmp_path / "walk.webp"
    assert main(["interpolate", str(whole), "--out", str(out), "--keyframes", "2", "--levels", "2", "--fps", "2"]) == 0
    assert out.exists()


def test_levels_side_by_side(
    whole: Path, parts: dict[int, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--out", str(tmp_path / "x.png"), "--show", "network", "--count", "1", "--size", "32"]
    assert main(["progression", str(whole), *arguments]) == 0
    page = np.asarray(Image.open(tmp_path / "x.png"))
    model = load_as(LaplacianGenerator, whole)
    for column, side in enumerate((8, 16, 32)):
        (expected,) = to_pil(model.generate(1, resolution=side))
        shown = page[-36:-4, 4 + 36 * column :][:, :32]
        assert np.array_equal(shown, np.asarray(expected.resize((32, 32), Image.Resampling.NEAREST)))
    capsys.readouterr()
    assert main(["progression", str(parts[16]), *arguments]) == 2
    assert "the level of 8 px is missing" in capsys.readouterr().err


def test_it_is_measured_after_and_while_it_trains(whole: Path, tmp_path: Path) -> None:
    found = evaluate(whole, metrics=["swd"], count=4)
    assert found.results["swd"]["generated"]["swd"] > 0
    assert found.results["levels"]["levels"].keys() == {"16", "32"}
    measured = [line["metric/swd"] for line in stats(whole) if "metric/swd" in line]
    assert len(measured) == 2
    assert json.loads((whole / "best" / "config.json").read_text())["best"]["figure"] == "swd"


def test_every_level_is_measured_by_itself(parts: dict[int, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Against a reference in numpy: the nearest of the details, painted over the coarse version of each picture."""
    assert main(["evaluate", str(parts[16])]) == 0
    assert "levels by themselves: distance to 11 real pictures" in capsys.readouterr().out
    record = json.loads(next((parts[16] / "evaluation").glob("*.json")).read_text())
    found = record["results"]["levels"]["levels"]["16"]
    model: Any = progcycle.load(parts[16])
    folder = Path(model.config.recipe["data"]["path"][0])
    nearest, nothing = [], []
    for i, path in enumerate(sorted(folder.iterdir())):
        with Image.open(path) as file:
            picture = np.asarray(file.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC), dtype=np.float64)
        truth = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
        truth = torch.nn.functional.avg_pool2d(truth, 2)
        coarse = torch.nn.functional.avg_pool2d(truth, 2)
        z = model.level_latents(16, 0, range(16 * i, 16 * i + 16))
        with torch.no_grad():
            made = model.paint_level(16, coarse.float().expand(16, -1, -1, -1), z)
        nearest.append(np.linalg.norm((made.double() - truth).flatten(1).numpy(), axis=1).min())
        nothing.append(float((model.level(16).enlarged(coarse) - truth).norm()))
    assert found["no_detail"] == pytest.approx(np.mean(nothing), rel=0.02)
    assert found["nearest"] == pytest.approx(np.mean(nearest), rel=0.02)
    with pytest.raises(UserError, match="the level of 8 px is missing"):
        evaluate(parts[16], metrics=["swd"])


def test_levels_alone_are_not_measured_while_they_train(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="for which this run lacks the level of 8 px; leave it out, or train that level"
    ):
        train(validate({**measured(pictures), "levels": [16, 32]}), tmp_path / "run")


def test_sheets_show_every_level(whole: Path, parts: dict[int, Path]) -> None:
    for run, rows in ((whole, 4), (parts[16], 2), (parts[8], 2)):
        sheets = sorted((run / "samples").iterdir())
        assert len(sheets) == 3
        with Image.open(sheets[-1]) as sheet:
            assert sheet.height > 96 * rows
        assert (run / "index.html").exists()


def test_two_pyramids_that_differ_are_not_joined(pictures: Path, parts: dict[int, Path], tmp_path: Path) -> None:
    content = tiny_pyramid(pictures)
    other = train(validate({**content, "resolution": 64, "levels": [8]}), tmp_path / "other").run_dir
    with pytest.raises(UserError, match="do not fit together: final_resolution is 32 here, and 64 there"):
        join_levels([other, parts[32]], tmp_path / "joined")
