"""Signals to real processes: ``progcycle train`` by itself and under launchers."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from tiny_runs import stats, tiny_content, write_domains

import progcycle
from progcycle.commands.train import main
from progcycle.runtime.checkpoint import checkpoints, newest_whole
from progcycle.runtime.lock import RunLock

ROOT = Path(progcycle.__file__).parents[1]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
LAUNCH = (
    "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1", "--num_machines", "1",
    "--mixed_precision", "no", "--dynamo_backend", "no",
)  # fmt: skip


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a minute or so, so that a signal always comes in time."""
    folder = tmp_path_factory.mktemp("pictures")
    training = dict.fromkeys(("sample_kimg", "checkpoint_kimg", "snapshot_kimg"), 100) | {"status_kimg": 0.004}
    changes = {"schedule": {"stable_kimg": {4: 20, 8: 1, 16: 1}}, "training": training}
    (folder / "tiny.yaml").write_text(yaml.safe_dump(tiny_content("pggan", write_domains(folder), changes)))
    return folder / "tiny.yaml"


def _start(recipe: Path, run: Path, *launcher: str, **change: str) -> "subprocess.Popen[str]":
    """A command that has done its first steps."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, *launcher, "-m", "progcycle.train", str(recipe), "--run-dir", str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**environment, **change},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("kimg"):
            return process
    raise AssertionError(process.communicate()[1])


def _assert_stopped(run: Path, said: str, name: str = "SIGTERM") -> None:
    last = said.splitlines()[-1]
    (path,) = checkpoints(run / "checkpoints")
    found = newest_whole(run / "checkpoints", lambda problem: pytest.fail(problem))
    assert found is not None
    assert last.startswith(f"stopped by {name} at ")
    assert f" with the checkpoint {path}; " in last
    assert said.count("stopped by") == 1
    assert found[1]["nimg"] == stats(run)[-1]["nimg"]


def test_sigterm_leaves_a_checkpoint_and_the_conventional_exit_code(recipe: Path, tmp_path: Path) -> None:
    with _start(recipe, tmp_path / "run") as process:
        process.send_signal(signal.SIGTERM)
        said, errors = process.communicate(timeout=300)
    assert process.returncode == 143, errors
    _assert_stopped(tmp_path / "run", said)


def test_accelerate_launch_that_is_told_to_end_takes_the_run_along(recipe: Path, tmp_path: Path) -> None:
    """It passes no signal on to a single process, and goes; that process notices."""
    with _start(recipe, tmp_path / "run", *LAUNCH) as launcher:
        launcher.send_signal(signal.SIGTERM)
        said, _ = launcher.communicate(timeout=300)  # until the run has closed its end of the pipe
    _assert_stopped(tmp_path / "run", said)


def test_two_processes_of_torchrun_stop_at_the_same_step(recipe: Path, tmp_path: Path) -> None:
    with _start(recipe, tmp_path / "run", *TORCHRUN, ACCELERATE_USE_CPU="true") as launcher:
        launcher.send_signal(signal.SIGTERM)
        said, errors = launcher.communicate(timeout=300)
    assert launcher.returncode != 0
    _assert_stopped(tmp_path / "run", said)
    assert "forcefully exiting" not in errors
    names = {path.name for path in checkpoints(tmp_path / "run/checkpoints")[0].iterdir()}
    assert {"rank-0.safetensors", "rank-1.safetensors"} <= names


def test_two_processes_whose_torchrun_is_killed_stop_at_the_same_step(recipe: Path, tmp_path: Path) -> None:
    """The store by which they meet goes with it."""
    with _start(recipe, tmp_path / "run", *TORCHRUN, ACCELERATE_USE_CPU="true") as launcher:
        launcher.kill()
        said, errors = launcher.communicate(timeout=300)  # until both have closed their end of the pipe
    assert launcher.returncode == -signal.SIGKILL
    _assert_stopped(tmp_path / "run", said)
    assert "Traceback" not in errors
    names = {path.name for path in checkpoints(tmp_path / "run/checkpoints")[0].iterdir()}
    assert {"rank-0.safetensors", "rank-1.safetensors"} <= names


SLURM = {
    # Options of srun come first; signals reach the command itself, as srun forwards them.
    "srun": 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"',
    "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
    "scontrol": 'case "$1" in show) echo localhost;; *) echo "$@" >> "$REQUEUED";; esac',
}


def _slurm(folder: Path, commands: dict[str, str]) -> dict[str, str]:
    """The environment of a job: commands that are written to a folder, and what Slurm sets."""
    (folder / "bin").mkdir()
    for name, text in commands.items():
        (folder / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
        (folder / "bin" / name).chmod(0o755)
    return {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "REQUEUED": str(folder / "requeued"),
        "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_NNODES": "1",
    }


def test_jobs_of_slurm_stop_with_a_checkpoint_and_are_requeued(recipe: Path, tmp_path: Path) -> None:
    """The example of several nodes with two processes on the CPU, and stand-ins for the commands of Slurm."""
    settings = {
        **_slurm(tmp_path, SLURM),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "RECIPE": str(recipe),
        "RUN": str(tmp_path / "run"),
        "PROCESSES": "2",
    }
    file = ROOT / "examples" / "slurm" / "several_nodes.sbatch"
    with subprocess.Popen(
        ["bash", str(file), "seed=5"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **settings},
    ) as job:
        assert job.stdout is not None
        for line in job.stdout:
            if line.startswith("kimg"):
                job.send_signal(signal.SIGUSR1)
                break
        said, errors = job.communicate(timeout=300)
    assert job.returncode == 0, errors
    lines = said.splitlines()
    assert lines[-1] == "out of time; requeued, and the same command resumes"
    _assert_stopped(tmp_path / "run", "\n".join(lines[:-1]), "SIGUSR1")
    assert (tmp_path / "requeued").read_text() == f"requeue {os.getpid()}\n"
    assert "seed: 5" in (tmp_path / "run" / "recipe.yaml").read_text()
    names = {path.name for path in checkpoints(tmp_path / "run/checkpoints")[0].iterdir()}
    assert {"rank-0.safetensors", "rank-1.safetensors"} <= names


def test_jobs_of_slurm_differ_in_where_their_processes_meet() -> None:
    texts = [(ROOT / "examples/slurm" / f"{name}.sbatch").read_text() for name in ("one_node", "several_nodes")]
    one, several = (text[text.index("srun torchrun") :].splitlines() for text in texts)
    meeting = [line for line in several if line.startswith(("  --nnodes", "  --rdzv_"))]
    assert len(meeting) == 4
    assert [line for line in one if line != "  --standalone \\"] == [line for line in several if line not in meeting]
    directives = [{line for line in text.splitlines() if line.startswith("#SBATCH")} for text in texts]
    assert directives[0] ^ directives[1] == {"#SBATCH --nodes=1", "#SBATCH --nodes=2"}


@pytest.mark.parametrize("script", ["one_node", "several_nodes"])
def test_jobs_of_slurm_that_fail_or_finish_are_not_requeued(tmp_path: Path, script: str) -> None:
    settings = _slurm(tmp_path, {**SLURM, "torchrun": 'exit "$CODE"'})
    for code in (0, 1, 137):
        run = subprocess.run(
            ["bash", str(ROOT / "examples" / "slurm" / f"{script}.sbatch")],
            env={**os.environ, **settings, "CODE": str(code)},
            check=False,
            capture_output=True,
        )
        assert run.returncode == code
    assert not (tmp_path / "requeued").exists()


def test_a_second_run_in_the_same_folder_is_one_sentence_and_exit_code_2(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    alone: Any = SimpleNamespace(is_main_process=True, num_processes=1)
    with RunLock(tmp_path / "run") as first:
        first.take(alone)
        assert main([str(recipe), "--run-dir", str(tmp_path / "run")]) == 2
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock.json"]
    told = capsys.readouterr().err
    assert told.startswith(f"error: {tmp_path}/run is being written by process {os.getpid()} on ")
    assert told.count("\n") == 1
