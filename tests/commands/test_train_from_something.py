"""``progcycle train`` and ``plan`` with ``pretraining`` and ``warm_start``: real tiny runs of the commands."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_runs import tiny_content

from progcycle.commands import plan
from progcycle.commands.train import main
from progcycle.recipe import merge

SHORT: dict[str, Any] = {
    "schedule": {"stable_kimg": 0.008, "fade_kimg": 0.008, "decay_kimg": 0},
    "training": {"checkpoint_kimg": 0.008, "snapshot_kimg": 0.02},
}


pytestmark = pytest.mark.usefixtures("no_plots")


@pytest.fixture
def write(pictures: Path, here: Path) -> Callable[..., str]:
    """``write(changes)`` writes tiny.yaml, a CycleGAN, and returns its name."""

    def recipe(changes: dict[Any, Any] | None = None) -> str:
        (here / "tiny.yaml").write_text(yaml.safe_dump(tiny_content("cyclegan", pictures, merge(SHORT, changes or {}))))
        return "tiny.yaml"

    return recipe


def _refused(capsys: pytest.CaptureFixture[str], words: str) -> None:
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error


def _effective(weights: dict[str, torch.Tensor], key: str, fan_in: int) -> torch.Tensor:
    return weights[key] * (2 / (9 * fan_in)) ** 0.5


def test_the_whole_way_from_a_pggan_over_pre_training_to_a_translator(
    write: Callable[..., str], pictures: Path, here: Path, capsys: pytest.CaptureFixture[str], make_snapshot: Any
) -> None:
    """The PG-GAN is needed for the first step only, and what it knows of 8 and 16 px arrives there."""
    (here / "pggan.yaml").write_text(yaml.safe_dump(tiny_content("pggan", pictures, SHORT)))
    assert main(["pggan.yaml", "--run-dir", "painted"]) == 0
    recipe = write({"pretraining": {"share": 1}, "warm_start": {"gen_ab": "painted"}, "network": {"rgb": "replace"}})
    assert main([recipe, "--dry-run"]) == 0
    assert not (here / "runs").exists()
    capsys.readouterr()
    assert main([recipe, "--run-dir", "run", "optimizer.generator.lr=1e-12"]) == 0  # nothing moves: weights as given
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "gen_ab: 2 stages from painted (8 to 16 px)"
    assert told[1] == "pre-training for 0.04 kimg in run/pretraining"
    assert "gen_ab and gen_ba begin from run/pretraining/checkpoints/nimg-000000000040, after 0.04 kimg" in told
    assert any(line.startswith("done: run holds ") for line in told)
    source = load_file(here / "painted/snapshots/nimg-000000000040/model.safetensors")
    target = load_file(here / "run/snapshots/nimg-000000000040/model.safetensors")
    for block, low in ((0, 8), (1, 8)):  # 8 feature maps at 4 and 8 px, 4 at 16 px
        high = (8, 4)[block]
        key = f"decoder.blocks.{block}.0.conv.weight"
        expected = _effective(source, f"generator.{key}", low)
        found = _effective(target, f"gen_ab.{key}", low + high)
        assert found.shape == (high, low + high, 3, 3)
        torch.testing.assert_close(found[:, :low], expected, rtol=1e-4, atol=1e-6)
        other = _effective(target, f"gen_ba.{key}", low + high)
        assert not torch.allclose(other[:, :low], expected, rtol=1e-4, atol=1e-6)
    shutil.rmtree(here / "painted")
    shutil.rmtree(here / "run/checkpoints/nimg-000000000040")
    assert main([recipe, "--run-dir", "run", "optimizer.generator.lr=1e-12"]) == 0
    assert main([recipe, "--run-dir", "run", "optimizer.generator.lr=1e-12", "--dry-run"]) == 0


@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"warm_start": {"gen_ba": "gone"}}, "warm_start.gen_ba: gone does not exist; give a run folder"),
        (
            {"warm_start": {"gen_ab": "wide/snapshots/nimg-000012000"}},
            "warm_start.gen_ab: the PG-GAN wide/snapshots/nimg-000012000 does not fit, it has another number of "
            "feature maps at 8 px (6) than the translator (8); give it the network settings of this recipe.",
        ),
        ({"warm_start": {"gen_ab": "other"}}, "warm_start.gen_ab: other holds translators; give the run folder of a"),
        ({"warm_start": {"gen_ab": "other"}, "pretraining": {}}, "warm_start.gen_ab: other holds translators; give"),
    ],
)
def test_a_pggan_that_does_not_fit_is_one_line_and_nothing_is_written(
    change: dict[str, Any], words: str, extra: list[str], write: Callable[..., str], here: Path, make_snapshot: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    make_snapshot(run="wide", task="pggan")
    make_snapshot(run="other", task="cyclegan")
    before = sorted(here.rglob("*"))
    assert main([write(change), "--run-dir", "run", *extra]) == 2
    _refused(capsys, words)
    assert [path for path in sorted(here.rglob("*")) if path not in before] == [here / "tiny.yaml"]


@pytest.mark.parametrize("command", [plan.main, lambda arguments: main([*arguments, "--dry-run"])])
def test_both_plans_are_shown(
    command: Callable[..., int], write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command([write({"pretraining": {"schedule": {"stable_kimg": 1, "fade_kimg": 0, "batch_size": 2}}})]) == 0
    first, second = capsys.readouterr().out.partition("pre-training:\n")[2].split("\ntraining:\n")
    rows, more = ([line.split() for line in part.split("\n\n")[0].strip().splitlines()[1:]] for part in (first, second))
    assert [(row[0], row[2], row[5], row[7]) for row in rows] == [("stable", r, "2", "500") for r in ("4", "8", "16")]
    assert [row[0] for row in more] == ["stable", "fade", "stable", "fade", "stable"]


def test_plans_of_a_pre_training_that_cannot_work_are_refused(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert plan.main([write({"pretraining": {"kind": "autoencoding"}})]) == 2
    _refused(capsys, "pretraining.kind: with network.generator.predict: change")
