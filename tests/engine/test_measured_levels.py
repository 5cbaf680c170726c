"""Runs on pictures of 16 bits: the window is measured once, kept, and stays when a run goes on."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from tiny_runs import tiny_content

from progcycle.commands.cli import main
from progcycle.engine.levels import resolve_levels
from progcycle.engine.train import train
from progcycle.errors import UserError
from progcycle.export import load
from progcycle.recipe import Recipe, load_recipe, merge, validate


def write_scans(folder: Path, count: int, low: int, high: int, side: int = 20) -> Path:
    """Grey pictures of 16 bits, each with both ends of a range."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        values = np.random.default_rng(i).integers(low, high + 1, (side, side)).astype(np.uint16)
        values.flat[:2] = low, high
        cv2.imwrite(str(folder / f"{i:02}.png"), values)
    return folder


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Two domains of two windows of 12 bits."""
    write_scans(tmp_path / "scans" / "trainA", 6, 0, 2000)
    write_scans(tmp_path / "scans" / "trainB", 5, 1000, 4095)
    return tmp_path / "scans"


def short(task: str, folder: Path, **changes: Any) -> dict[Any, Any]:
    """A recipe of four steps."""
    content = tiny_content(task, folder, {"schedule": {"stable_kimg": 0.008, "fade_kimg": 0, "start_resolution": 16}})
    grey: dict[str, Any] = {"channels": 1} if task == "pggan" else {"a": {"channels": 1}, "b": {"channels": 1}}
    content = merge(content, {"data": grey, "training": {"checkpoint_kimg": 0.004, "sample_kimg": 0.008}})
    return merge(content, changes)


def ranges(recipe: Recipe) -> list[Any]:
    return [(o.bits, o.window and o.window.range) for o in recipe.data.domains.values()]


FOUND = [(16, (0.0, 2000.0)), (16, (1000.0, 4095.0))]


@pytest.mark.usefixtures("no_plots")
def test_a_window_is_measured_once_and_kept(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, run_dir = validate(short("cyclegan", scans)), tmp_path / "run"
    train(recipe, run_dir)
    assert ranges(load_recipe(run_dir / "recipe.yaml")) == FOUND
    model = load(run_dir)
    assert ranges(model.recipe) == FOUND
    assert (model.config.levels("b").low, model.config.levels("b").high) == (1000, 4095)
    write_scans(scans / "trainA", 6, 0, 3000)  # what a run began with stays
    monkeypatch.setattr("progcycle.data.measure.measure_values", None)
    assert ranges(resolve_levels(recipe, run_dir)) == FOUND
    train(recipe, run_dir)
    assert ranges(load_recipe(run_dir / "recipe.yaml")) == FOUND
    changed = validate(short("cyclegan", scans, data={"a": {"window": [0, 4000]}}))
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"data\.a\.window\.range: \[0\.0, 2000\.0\] -> \[0\.0, 4000\.0\]"):
        train(changed, run_dir)


@pytest.mark.usefixtures("no_plots")
def test_runs_of_8_bits_stay_as_they_were(pictures: Path, tmp_path: Path) -> None:
    recipe, run_dir = (
        validate(tiny_content("pggan", pictures, {"schedule": {"stable_kimg": 0.004, "fade_kimg": 0}})),
        tmp_path,
    )
    assert resolve_levels(recipe, run_dir / "run") is recipe
    train(recipe, run_dir / "run")
    assert load_recipe(run_dir / "run" / "recipe.yaml") == recipe
    path = run_dir / "run" / "recipe.yaml"
    content = yaml.safe_load(path.read_text())
    del content["data"]["bits"], content["data"]["window"]  # as versions wrote it that did not know them
    path.write_text(yaml.safe_dump(content))
    assert resolve_levels(validate({**content, "data": {**content["data"], "bits": 8}}), run_dir / "run") == recipe


@pytest.mark.usefixtures("no_plots")
def test_a_pggan_of_16_bits_generates_16_bits(scans: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    train(validate(short("pggan", scans)), run_dir)
    assert ranges(load_recipe(run_dir / "recipe.yaml")) == FOUND[:1]
    assert main(["generate", str(run_dir), "--out", str(tmp_path / "made"), "--count", "3"]) == 0
    model = load(run_dir)
    numbers = model.generate(3)[2, 0].numpy().astype(np.float64)  # type: ignore[operator]
    made = cv2.imread(str(tmp_path / "made" / "000002.png"), cv2.IMREAD_UNCHANGED)
    assert made.dtype == np.uint16
    assert np.array_equal(made, ((numbers + 1) * 1000).round())
    assert main(["evaluate", str(run_dir), "--metrics", "swd", "--count", "6"]) == 0


def test_a_dry_run_shows_what_it_measures_and_writes_nothing(
    scans: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "r.yaml").write_text(yaml.safe_dump(short("cyclegan", scans)))
    assert main(["train", "r.yaml", "--dry-run"]) == 0
    text = capsys.readouterr().out
    assert "domain a: 16 bits, values 0 to 2000" in text
    assert "- 4095.0" in text
    assert not (here / "runs").exists()


def test_a_window_that_is_hardly_used_stops_before_anything_is_written(
    scans: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "r.yaml").write_text(yaml.safe_dump(short("cyclegan", scans, data={"a": {"window": [0, 1000000]}})))
    assert main(["train", "r.yaml"]) == 2
    assert "set data.a.window=[" in capsys.readouterr().err
    assert not (here / "runs").exists()
