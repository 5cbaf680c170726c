"""Studies of autoencoders: figures at the final size at every stage, and a sheet of what is restored."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tiny_runs import write_pictures

from progcycle.commands.study import main
from progcycle.evaluation.translation_pictures import read_pictures
from progcycle.export import load
from progcycle.export.autoencoder import unseen_pictures
from progcycle.recipe import load_study


@pytest.mark.usefixtures("in_this_process")
def test_figures_are_those_of_test_pictures_at_the_final_size(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = {
        "task": "autoencoder",
        "resolution": 8,
        "data": {
            "path": str(write_pictures(tmp_path / "train", 5, 0)),
            "test_path": str(write_pictures(tmp_path / "test", 3, 1)),
            "workers": 0,
        },
        "network": {"autoencoder": {"latent_size": 4, "channels": {"base": 16, "max": 4}}},
        "schedule": {"stable_kimg": 0.008, "fade_kimg": 0, "batch_size": 4},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    whole = {"schedule": {"start_resolution": 8, "stable_kimg": 0.016}}
    study = {"title": "x", "recipe": "recipe.yaml", "seeds": [0], "points": 2, "rivals": [["whole", "growing"]]}
    file = tmp_path / "stages.yaml"
    file.write_text(yaml.safe_dump({**study, "variants": {"growing": {}, "whole": whole}}, sort_keys=False))
    assert main([str(file), "--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "rows.jsonl").read_text().splitlines()]
    assert [[point["nimg"] for point in row["course"]] for row in rows] == [[8, 16], [8, 16]]
    for row in rows:
        assert row["figures"].keys() == {"l1", "l2", "psnr", "ssim"}
        assert row["course"][-1].items() >= row["figures"].items()
    _, recipes = load_study(file)
    real = read_pictures(unseen_pictures(recipes["growing", 0])[1], 8)  # type: ignore[arg-type]
    early = load(tmp_path / "runs" / "growing-0" / "snapshots" / "nimg-000000000008")
    small = early.restore(real)
    assert small.shape == (3, 3, 4, 4)
    large = torch.nn.functional.interpolate(small, (8, 8), mode="bicubic").clamp(-1, 1)
    assert rows[0]["course"][0]["l1"] == pytest.approx((large - real).abs().mean().item(), rel=1e-4)
    with Image.open(tmp_path / "out" / "pictures.png") as sheet:
        assert sheet.height == 24 + 3 * 68 + 4, "test pictures, and a row for each variant"
    assert (tmp_path / "out" / "cpu_time.svg").stat().st_size > 0
    file.write_text(yaml.safe_dump({**study, "rivals": [], "metrics": "swd", "variants": {"growing": {}}}))
    assert main([str(file), "--report"]) == 2
    assert "metrics: studies of the task autoencoder do not use this key; leave it out." in capsys.readouterr().err
