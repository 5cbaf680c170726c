"""``progcycle train``: from a recipe file to a run folder, and every mistake as one sentence."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pairs import outputs, start
from tiny_runs import checkpoint_content, stats, tiny_content

import progcycle
from progcycle.commands.cli import main as progcycle_main
from progcycle.commands.train import main
from progcycle.recipe import load_recipe

ROOT = Path(progcycle.__file__).parents[1]
pytestmark = pytest.mark.usefixtures("here", "no_plots")


@pytest.fixture
def write(pictures: Path, tmp_path: Path) -> Callable[..., str]:
    """``write(task, changes)`` writes tiny.yaml and returns its name."""

    def recipe(task: str = "pggan", changes: dict[Any, Any] | None = None, text: str | None = None) -> str:
        content = tiny_content(task, pictures, changes)
        (tmp_path / "tiny.yaml").write_text(text or yaml.safe_dump(content))
        return "tiny.yaml"

    return recipe


def environment(**change: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **change}


def python(*arguments: str, **change: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**change), timeout=300)


# --- ten ways to be wrong -----------------------------------------------------------------------------------------

BROKEN: dict[str, tuple[dict[Any, Any], str]] = {
    "unknown key": ({"schedule": {"stabel_kimg": 1}}, "schedule.stabel_kimg: unknown key, did you mean stable_kimg"),
    "wrong type": ({"seed": "many"}, "seed: input should be a valid integer"),
    "negative value": ({"schedule": {"fade_kimg": {8: -1, 16: 1}}}, "schedule.fade_kimg.8: "),
    "no doubled base": ({"resolution": 24}, "network.base_resolution: "),
    "impossible schedule": ({"schedule": {"total_kimg": 0.05}}, "schedule.total_kimg: training ends at 0.05 kimg"),
    "start above the end": ({"schedule": {"start_resolution": 32}}, "schedule.start_resolution: 32 must be at most"),
    "missing data": ({"data": {"path": "not/here"}}, "There is no folder or zip file"),
    "unknown loss": ({"objective": {"loss": "wgann"}}, "objective.loss: there is no 'wgann'; choose one of "),
    "wgan without penalty": ({"objective": {"gradient_penalty": None}}, "objective: wgan needs its gradient penalty"),
    "fp16 on a CPU": ({"training": {"precision": "fp16"}}, "training.precision: fp16 needs a CUDA GPU"),
    "unknown tracker": ({"training": {"trackers": ["x"]}}, "training.trackers: there is no 'x'; choose from "),
    "unknown network": ({"network": {"generator": "vae"}}, "network.generator: there is no 'vae'; choose one of "),
    "unknown metric": (
        {"training": {"evaluation": {"metrics": ["swd", "fid"]}}},
        "training.evaluation.metrics: there is no metric 'fid'; choose from swd, ms-ssim, modes, ",
    ),
    "metric of larger pictures": (
        {"resolution": 8, "schedule": {"stable_kimg": 1}, "training": {"evaluation": {"metrics": "ms-ssim"}}},
        "training.evaluation.metrics: ms-ssim needs pictures of 16 px or more, these have 8 px",
    ),
    "unknown transform": ({"data": {"augment": [{"name": "Nope"}]}}, "Transform Nope of domain real is not known"),
}
IN_A_PROCESS = "unknown key"


def _one_line(errors: str, words: str) -> None:
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert errors.endswith("\n")
    assert words in errors


@pytest.mark.parametrize("name", [n for n in BROKEN if n != IN_A_PROCESS])
def test_a_broken_recipe_is_one_line(
    name: str, write: Callable[..., str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes, words = BROKEN[name]
    assert main([write("pggan", changes), "--run-dir", "run"]) == 2
    _one_line(capsys.readouterr().err, words)
    assert not (here / "run").exists()


def test_a_broken_recipe_is_one_line_of_the_real_command(write: Callable[..., str], here: Path) -> None:
    changes, words = BROKEN[IN_A_PROCESS]
    done = python("-m", "progcycle.train", write("pggan", changes), "--run-dir", "run")
    assert done.returncode == 2
    _one_line(done.stderr, words)
    assert done.stdout == ""
    assert not (here / "run").exists()


@pytest.mark.parametrize("text", ["task: [pggan", "- a\n- b\n", "task: pggan\ntask: cyclegan\n", "\0", "task: maybe\n"])
def test_a_file_that_is_no_recipe_is_one_line(
    text: str, write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write(text=text)]) == 2
    _one_line(capsys.readouterr().err, "tiny.yaml")


def test_a_recipe_that_is_not_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gone.yaml"]) == 2
    _one_line(capsys.readouterr().err, "There is no recipe gone.yaml")


def test_another_recipe_in_the_run_folder_is_one_line(
    write: Callable[..., str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "run/checkpoints/nimg-000000000020").mkdir(parents=True)
    recipe = load_recipe(write(), ["seed=1"])
    (here / "run/recipe.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    assert main([write(), "--run-dir", "run"]) == 2
    _one_line(capsys.readouterr().err, "use another --run-dir, or undo these changes: seed: 1 -> 3.")
    assert sorted(p.name for p in (here / "run").iterdir()) == ["checkpoints", "recipe.yaml"]


def test_advice_about_a_cache_that_cannot_be_written_works(
    write: Callable[..., str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "runs").mkdir()
    (here / "runs/.cache").touch()
    assert main([write("cyclegan"), "--run-dir", "runs/one"]) == 2
    _one_line(capsys.readouterr().err, "set data.cache_dir to another place, or lower data.cache_resolution.")
    short = ["schedule.stable_kimg=0.004", "schedule.fade_kimg=0.004", "schedule.decay_kimg=0"]
    assert main([write("cyclegan"), "--run-dir", "runs/one", "data.cache_dir=elsewhere", *short]) == 0
    assert main([write("cyclegan"), "--run-dir", "runs/one", "data.cache_resolution=0", *short]) == 0


# --- measuring while it trains --------------------------------------------------------------------------------------

EVALUATION = {"training": {"evaluation": {"every_kimg": 0.028, "metrics": ["swd", "ms-ssim"], "count": 6}}}


def test_figures_of_quality_are_logged_from_16_px_on_and_are_those_of_the_snapshot(
    write: Callable[..., str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both measure the same generator and, but for the latents, which are made equal here, the same pictures."""
    from progcycle.evaluation.generator_metrics import measure_run

    monkeypatch.setattr("progcycle.evaluation.generator_samples.LATENT_ADDRESS", "latent")
    assert main([write("pggan", EVALUATION), "--run-dir", "run"]) == 0
    figures = {
        line["nimg"]: {key: value for key, value in line.items() if key.startswith("metric/")}
        for line in stats(here / "run")
    }
    figures = {nimg: row for nimg, row in figures.items() if row}
    assert list(figures) == [56, 84, 88]  # 28 kimg is a stage of 8 px
    for row in figures.values():
        assert row.keys() == {"metric/swd", "metric/swd/16", "metric/ms-ssim"}
        assert row["metric/swd"] == row["metric/swd/16"] > 0
        assert 0 <= row["metric/ms-ssim"] <= 1
    for name, value in measure_run(here / "run", ["swd", "ms-ssim"], 6, seed=3).items():
        assert figures[88][f"metric/{name}"] == pytest.approx(value, rel=1e-2), name


def test_classes_are_painted_while_training(write: Callable[..., str], here: Path, pictures: Path) -> None:
    for i, file in enumerate(sorted((pictures / "trainA").iterdir())):
        folder = here / "animals" / ("cat" if i % 3 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file.name).write_bytes(file.read_bytes())
    classes = {"path": str(here / "animals"), "labels": "folders", "augment": []}
    change = {**EVALUATION, "data": classes, "objective": {"classes": {"real": 1, "fake": 1}}}
    assert main([write("pggan", change), "--run-dir", "run"]) == 0
    assert stats(here / "run")[-1]["metric/swd"] > 0


# --- launchers ----------------------------------------------------------------------------------------------------

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "progcycle.train")


def test_torchrun_errors_are_told_first_and_once(write: Callable[..., str], here: Path) -> None:
    name = write("pggan", {"schedule": {"batch_size": 5}})
    done = python(*TORCHRUN, name, "--run-dir", "run", ACCELERATE_USE_CPU="true")
    assert done.returncode != 0
    words = "schedule.batch_size: 5 pictures at 4 px cannot be divided over 2 proc"
    assert done.stderr.splitlines()[0].startswith("error: " + words)
    assert done.stderr.count("error: " + words) == 1
    assert not re.search(r"progcycle/(commands|engine|runtime)/", done.stderr)  # no traceback of ours
    assert not (here / "run").exists()


def test_accelerate_launch_trains(write: Callable[..., str], here: Path) -> None:
    recipe = write("cyclegan", {"schedule": {"stable_kimg": 0.004, "fade_kimg": 0.004}})
    launch = ("-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1")
    done = python(
        *launch, "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "progcycle.train", recipe, "seed=7"
    )
    assert done.returncode == 0, done.stderr
    run = here / "runs/tiny"
    lines = done.stdout.splitlines()
    assert any(line.startswith("done: runs/tiny holds recipe.yaml, stats.jsonl") for line in lines)
    assert "page of the run: runs/tiny/index.html" in lines
    assert all(len(line) <= 100 or str(here.parent) in line for line in lines)
    # The last lines can be pasted, and work.
    assert lines[-2] == "next, to translate:"
    command = lines[-1].split()
    assert command[:3] == ["progcycle", "translate", "runs/tiny"]
    assert progcycle_main(command[1:]) == 0
    assert len(list((here / "runs/tiny/translated").glob("*.png"))) >= 3
    assert load_recipe(run / "recipe.yaml").seed == 7
    assert stats(run)[-1]["nimg"] == 20
    again = main([recipe, "seed=7"])
    assert again == 0


# A thread writes checkpoints while training goes on. How far it is when the run is killed must not be left to chance;
# nor must the random streams of the processes, which training draws nothing from, but checkpoints hold.
SEEDED = "import random, numpy, torch; random.seed(1); numpy.random.seed(1); torch.manual_seed(1)"
KILLED_AT_STAGE_2 = f"""
{SEEDED}
import os, signal, sys, time
from pathlib import Path
from progcycle.commands.train import main
from progcycle.engine.log import RunLog
from progcycle.runtime import checkpoint

run, half = Path(sys.argv[3]), sys.argv[3] == "half"
written, honest = [], checkpoint.save_file

def save_file(tensors, path):
    honest(tensors, path)
    written.append(path)
    while half:
        time.sleep(0.01)

def info(self, text):
    if text.startswith("stage 2"):
        while not (written if half else (run / "checkpoints/nimg-000000000028").is_dir()):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

checkpoint.save_file, RunLog.info = save_file, info
sys.exit(main())
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_goes_on_as_if_nothing_had_happened(
    write: Callable[..., str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed with its checkpoint whole, and with one half written, which is none."""
    recipe = write("cyclegan", {"training": {"checkpoint_kimg": 0.028}})
    left = {"killed": "nimg-000000000028", "half": ".nimg-000000000028.tmp"}

    def run(name: str) -> str:
        exec(SEEDED)
        capsys.readouterr()
        code = main([recipe, "--run-dir", name])
        out, errors = capsys.readouterr()
        assert code == 0, errors
        return out

    (here / "killed.py").write_text(KILLED_AT_STAGE_2)
    killed = {name: start(here / "killed.py", recipe, "--run-dir", name) for name in left}
    run("whole")
    last = "checkpoints/nimg-000000000088"
    for name, folder in left.items():
        (said,) = outputs([killed[name]], 300)
        assert killed[name].returncode == -signal.SIGKILL, said
        assert [path.name for path in (here / name / "checkpoints").iterdir()] == [folder]
        assert ("resumed from" in run(name)) is (name == "killed")
        assert stats(here / name) == stats(here / "whole")
        mine, whole = (checkpoint_content(here / each / last) for each in (name, "whole"))
        assert {file for file in whole if mine.get(file) != whole[file]} == set(), f"they differ in {name}"


# --- looking before leaping ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_dry_run_tells_everything_and_writes_nothing(
    task: str, write: Callable[..., str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = write(task)
    before = sorted(here.rglob("*"))
    assert main([recipe, "seed=12", "--dry-run"]) == 0
    out = capsys.readouterr().out
    text, _, rest = out.partition("\nphase ")
    (here / "printed.yaml").write_text(text)
    assert load_recipe(here / "printed.yaml") == load_recipe(recipe, ["seed=12"])
    (here / "printed.yaml").unlink()
    table, sizes, data = rest.split("\n\n")
    assert [line.split()[:3] for line in table.splitlines()[1:]] == [
        ["stable", "0", "4"], ["fade", "1", "8"], ["stable", "1", "8"], ["fade", "2", "16"], ["stable", "2", "16"],
    ]  # fmt: skip
    networks = {"pggan": ["generator", "discriminator"], "cyclegan": ["gen_ab", "gen_ba", "disc_a", "disc_b"]}[task]
    assert [line.split()[0] for line in sizes.splitlines()] == networks
    assert all(int(line.split()[1].replace(",", "")) > 1000 for line in sizes.splitlines())
    assert "11 pictures" in data
    assert "validation" not in data
    assert ("3 test pictures" in data) is (task == "cyclegan")
    assert data.rstrip().endswith("run folder runs/tiny, processes: 1, device: cpu, precision: float32")
    assert sorted(here.rglob("*")) == before


def test_dry_run_without_data_tells_the_plan_and_then_what_is_missing(
    write: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write("pggan", {"data": {"path": "gone"}}), "--dry-run"]) == 2
    told = capsys.readouterr()
    assert "phase " in told.out
    assert "generator " in told.out
    _one_line(told.err, "There is no folder or zip file")


def test_dry_run_finds_what_training_would_refuse(
    write: Callable[..., str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write(), "--dry-run", "training.precision=fp16"]) == 2
    _one_line(capsys.readouterr().err, "training.precision: fp16 needs a CUDA GPU")
    (here / "runs/tiny/checkpoints/nimg-000000000020").mkdir(parents=True)
    (here / "runs/tiny/recipe.yaml").write_text(Path(write()).read_text())
    assert main(["tiny.yaml", "--dry-run", "seed=8"]) == 2
    _one_line(capsys.readouterr().err, "seed: 3 -> 8")
