"""Autoencoders train, resume bit for bit, are measured and shown, and refuse what is not for them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import WatchedRun, checkpoint_content, stats, train

import progcycle
from progcycle.commands.evaluate import main as evaluate_command
from progcycle.commands.generate import main as generate
from progcycle.commands.interpolate import main as interpolate
from progcycle.commands.progression import main as progression
from progcycle.commands.translate import main as translate
from progcycle.engine.train import train as train_whole
from progcycle.errors import UserError
from progcycle.evaluation import evaluate
from progcycle.evaluation.evaluate_autoencoder import measure_enlarged, restoration_scores
from progcycle.export import Autoencoder, from_pil
from progcycle.export.timeline import timeline
from progcycle.recipe import merge, validate


def content(pictures: Path, **changes: Any) -> Any:
    """22 steps of 4 pictures from 4 to 16 px."""
    return validate(
        merge(
            {
                "task": "autoencoder",
                "seed": 3,
                "resolution": 16,
                "data": {
                    "path": str(pictures / "trainA"),
                    "test_path": str(pictures / "testA"),
                    "mirror": True,
                    "workers": 0,
                },
                "network": {"autoencoder": {"latent_size": 6, "channels": {"base": 32, "max": 8}}},
                "schedule": {
                    "stable_kimg": {4: 0.016, 8: 0.016, 16: 0.024},
                    "fade_kimg": 0.016,
                    "batch_size": 4,
                },
                "optimizer": {"autoencoder": {"lr": 0.01, "betas": [0.9, 0.99]}},
                "training": {
                    "precision": "no",
                    "status_kimg": 0.012,
                    "sample_kimg": 0.044,
                    "checkpoint_kimg": 0.02,
                    "snapshot_kimg": 0.044,
                    "sample_count": 4,
                    "evaluation": {"every_kimg": 0.044},
                },
            },
            changes,
        )
    )


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> WatchedRun:
    """A run from its first step to its last."""
    return train(content(pictures), tmp_path_factory.mktemp("autoencoder") / "whole")


def test_it_stops_and_resumes_bit_for_bit(whole: WatchedRun, pictures: Path, tmp_path: Path) -> None:
    recipe, run = content(pictures), tmp_path / "parts"
    train(recipe, run, stop_before=7)  # in a fade
    train(recipe, run, stop_before=18)
    train(recipe, run)
    last = [sorted((folder / "checkpoints").iterdir())[-1] for folder in (run, whole.run_dir)]
    assert checkpoint_content(last[0]) == checkpoint_content(last[1])
    assert stats(run) == stats(whole.run_dir)


def test_it_learns(pictures: Path, tmp_path: Path) -> None:
    """One stage, long enough to see the error fall."""
    schedule = {"start_resolution": 16, "stable_kimg": {16: 0.6}, "fade_kimg": 0}
    run = train(content(pictures, schedule=schedule), tmp_path / "run")
    errors = [line["error/l1"] for line in stats(run.run_dir) if "error/l1" in line]
    assert errors[-1] < 0.5 * errors[0]
    assert all({"loss/autoencoder", "error/l2"} <= line.keys() for line in stats(run.run_dir) if "step" in line)


def test_old_layers_may_stand_still(pictures: Path, tmp_path: Path) -> None:
    """A stage at a time: while its new layers are young, those of earlier stages and the code keep their weights."""
    still = {"old_layers": {"share": 1.0, "lr_scale": 0.0}}
    found: dict[int, dict[str, torch.Tensor]] = {}

    def keep(run: WatchedRun, growth: Any) -> None:
        network = run.trainer.task.networks["autoencoder"]
        found.setdefault(growth.stage, {k: v.clone() for k, v in network.state_dict().items()})

    run = train(content(pictures, schedule=still), tmp_path / "run", on_step=keep)
    end = run.trainer.task.networks["autoencoder"].state_dict()
    moved = {key for key, value in end.items() if not torch.equal(value, found[2][key])}
    newest = ("encoder.blocks.1.", "encoder.from_rgb.2.", "painter.decoder.blocks.1.", "painter.decoder.to_rgb.2.")
    assert all(key.startswith(newest) for key in moved)
    assert all(any(key.startswith(place) for key in moved) for place in newest)


def test_it_is_loaded_measured_and_shown(
    whole: WatchedRun, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = progcycle.load(whole.run_dir)
    assert isinstance(model, Autoencoder)
    files = sorted((pictures / "testA").iterdir())
    real = torch.cat([from_pil(Image.open(f).resize((16, 16), Image.Resampling.LANCZOS), 3) for f in files])
    network = whole.trainer.ema.networks["autoencoder"]
    with torch.no_grad():
        restored = network(real, 2, 1.0).clamp(-1, 1)
    torch.testing.assert_close(model.restore(real), restored)
    found = evaluate(whole.run_dir).results
    apart = restored.double().numpy() - real.double().numpy()
    assert found["test"]["count"] == len(files)
    assert found["test"]["l1"] == pytest.approx(np.abs(apart).mean(), rel=1e-5)
    assert found["test"]["l2"] == pytest.approx((apart**2).mean(), rel=1e-5)
    assert found["training"]["count"] == 11
    assert evaluate_command([str(whole.run_dir), "--count", "2"]) == 0
    record = json.loads((whole.run_dir / "evaluation" / "nimg-000000000088.json").read_text())
    assert record["results"]["test"]["count"] == 2
    assert f"{found['test']['l1']:.3f}"[:3] in capsys.readouterr().out
    given = evaluate(whole.run_dir, data=[str(pictures / "testA")]).results
    assert given == {"given": pytest.approx(found["test"])}
    # Test pictures are not for choosing while a run trains: it has the figures of the training pictures.
    assert stats(whole.run_dir)[-1]["metric/l1"] == pytest.approx(found["training"]["l1"], rel=1e-4)
    assert json.loads((whole.run_dir / "best/config.json").read_text())["best"]["figure"] == "l1"

    out = tmp_path / "x.png"
    assert progression([str(whole.run_dir), "--out", str(out), "--count", "2", "--size", "16"]) == 0
    shown = timeline(whole.run_dir, count=2)
    assert np.array_equal(np.asarray(shown.examples.sources[0]), np.asarray(Image.open(files[0]).resize((16, 16), 1)))
    assert len(list(shown)[-1].pictures) == 2
    other = timeline(whole.run_dir, count=3, pictures=pictures / "trainB")
    assert len(other.examples.sources) == 3


def test_what_is_not_for_it_is_refused_in_a_sentence(
    whole: WatchedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(whole.run_dir)
    words = "holds an autoencoder, and this is for {}; give another run."
    assert generate([run, "--out", str(tmp_path / "x")]) == 2
    assert words.format("a PG-GAN") in capsys.readouterr().err
    assert interpolate([run, "--out", str(tmp_path / "x.webp")]) == 2
    assert "holds an autoencoder, which has no ways between pictures; give another run." in capsys.readouterr().err
    assert translate([run, str(tmp_path), str(tmp_path / "y"), "--direction", "ab"]) == 2
    assert words.format("translators") in capsys.readouterr().err
    assert evaluate_command([run, "--metrics", "kid"]) == 2
    assert "--metrics is no option for an autoencoder" in capsys.readouterr().err
    assert progression([run, "--out", str(tmp_path / "x.png"), "--pictures", str(tmp_path / "gone")]) == 2
    assert "There is no folder or zip file" in capsys.readouterr().err


def test_the_commands_that_come_next_work(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], plots: None
) -> None:
    done = train_whole(
        content(pictures, schedule={"total_kimg": 0.008, "start_resolution": 16, "stable_kimg": 0.016}),
        tmp_path / "run",
    )
    commands = {purpose: command.split()[1] for purpose, command in done.description.next_commands}
    assert commands == {"see its pictures": "progression", "measure them": "evaluate"}
    for _, command in done.description.next_commands:
        run = {"progression": progression, "evaluate": evaluate_command}[command.split()[1]]
        assert run(command.split()[2:]) == 0


def test_errors_at_the_full_size_whatever_the_stage() -> None:
    """A stage of 4 px restores its own pictures exactly; enlarged, they have the error of the enlargement alone."""
    real = torch.rand(5, 3, 16, 16) * 2 - 1
    flat = real.mean(dim=(2, 3), keepdim=True).expand_as(real)
    found = measure_enlarged(lambda x: x.mean(dim=(2, 3), keepdim=True).expand(-1, -1, 4, 4), real)
    assert found["l1"] == pytest.approx((flat - real).abs().mean().item(), rel=1e-4)
    assert found["l2"] == pytest.approx((flat - real).square().mean().item(), rel=1e-4)
    assert restoration_scores(real, real) == pytest.approx({"l1": 0, "l2": 0, "psnr": 100, "ssim": 1})


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        (
            {"metrics": ["swd"]},
            "training.evaluation.metrics: there is no metric 'swd'; choose from l1, l2, psnr, ssim.",
        ),
        ({"best": "ssim"}, "training.evaluation.best: 'ssim' is not a measured figure of which the lowest is the best"),
    ],
)
def test_wrong_figures_are_refused_before_training(
    pictures: Path, tmp_path: Path, evaluation: dict[str, Any], words: str
) -> None:
    recipe = content(pictures, training={"evaluation": evaluation})
    with pytest.raises(UserError) as error:
        train(recipe, tmp_path / "run")
    assert words in str(error.value)
