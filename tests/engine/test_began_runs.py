"""BEGAN through the engine: resuming to the bit, two processes, the best snapshot, commands; and its equilibrium."""

import json
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
import torch
from began_two_processes import EXACT, MOMENTS
from pairs import outputs, start_pair
from PIL import Image
from safetensors.torch import load_file
from tiny_runs import OPENINGS, STEPS, TOTAL, WatchedRun, began, checkpoint_content, gradients_at, stats, train

import progcycle
from progcycle.commands.evaluate import main as evaluate
from progcycle.commands.generate import main as generate
from progcycle.commands.interpolate import main as interpolate
from progcycle.engine.run import Run
from progcycle.export import BeganGenerator, to_pil
from progcycle.recipe import validate
from progcycle.rng import uniforms
from progcycle.tasks import BeganTask

HERE = Path(__file__).parent
PARTS = {"training": {"max_batch_per_device": 2}, "objective": {"k_on_new_stage": "reset"}}


def task_of(run: WatchedRun) -> BeganTask:
    assert isinstance(run.trainer.task, BeganTask)
    return run.trainer.task


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> WatchedRun:
    """A growing run from its first step to its last."""
    return train(began(pictures), tmp_path_factory.mktemp("began") / "whole")


@pytest.mark.parametrize(("changes", "stops"), [({}, (7, 14)), (PARTS, (9,))], ids=["plain", "in parts, k reset"])
def test_it_resumes_bit_for_bit(
    changes: dict[str, Any], stops: tuple[int, ...], whole: WatchedRun, pictures: Path, tmp_path: Path
) -> None:
    recipe, run = began(pictures, changes), tmp_path / "parts"
    if changes:
        whole = train(recipe, tmp_path / "whole")
    for step in stops:
        train(recipe, run, stop_before=step)
    ks: list[float] = []
    train(recipe, run, on_step=lambda training, _: ks.append(float(task_of(training).balance.k)))
    assert max(ks) > 0
    last = [sorted((folder / "checkpoints").iterdir())[-1] for folder in (run, whole.run_dir)]
    ours, theirs = map(checkpoint_content, last)
    assert ours == theirs
    state = load_file(last[0] / "rank-0.safetensors")
    assert 0 < state["task.balance.k"] < 1
    assert stats(run) == stats(whole.run_dir)
    halved = task_of(whole).balance.rates
    assert halved is not None
    assert halved.halvings > 0, "so that what is halved is tested too"


def test_k_goes_on_through_an_opening_or_begins_anew(pictures: Path, tmp_path: Path) -> None:
    for rule in ("keep", "reset"):
        found: list[float] = []

        def note(training: WatchedRun, growth: Any, found: list[float] = found) -> None:
            balance = task_of(training).balance
            if growth.nimg == OPENINGS[0]:  # before the stage is entered
                found.append(float(balance.at(training.trainer.step)))
            if growth.nimg == OPENINGS[0] + 4:  # k of the step that opened it
                found.append(float(balance.k))

        train(began(pictures, {"objective": {"k_on_new_stage": rule}}), tmp_path / rule, stop_before=6, on_step=note)
        before, after = found
        assert before > 0
        assert after == (before if rule == "keep" else 0)


def test_gradients_and_k_are_those_of_one_process(pictures: Path, tmp_path: Path) -> None:
    pair = start_pair(HERE / "began_two_processes.py", pictures, tmp_path)
    for process, output in zip(pair, outputs(pair, 200), strict=True):
        assert process.returncode == 0, output
    first, second = (torch.load(tmp_path / f"gradients-{rank}.pt") for rank in range(2))
    run = Run(began(pictures, EXACT), tmp_path / "alone")
    alone = gradients_at(run, MOMENTS)
    alone |= {"k": run.trainer.task.balance.at(10**6)}  # type: ignore[attr-defined]
    assert first.keys() == second.keys() == alone.keys()
    assert len(alone) > 100
    assert 0 < alone["k"] < 1
    for name, expected in alone.items():
        assert torch.equal(first[name], second[name]), name
        error = (first[name] - expected).norm() / expected.norm().clamp(min=1e-9)
        assert error < 1e-6, f"{name}: {error:.2e}"
    # A run of two processes goes on in one, with k as it was.
    last = sorted((tmp_path / "run" / "checkpoints").iterdir())[-1]
    states = [load_file(last / f"rank-{rank}.safetensors") for rank in range(2)]
    for key in (key for key in states[0] if key.startswith("task.")):
        assert torch.equal(states[0][key], states[1][key]), key
    ks: list[float] = []
    done = train(
        began(pictures, EXACT),
        tmp_path / "run",
        on_step=lambda training, _: ks.append(float(task_of(training).balance.k)),
    )
    assert ks[0] == states[0]["task.balance.k"] > 0
    assert done.trainer.nimg == TOTAL


def test_it_says_how_it_stands(whole: WatchedRun, pictures: Path, tmp_path: Path, caplog: Any) -> None:
    lines = stats(whole.run_dir)
    shown = {"balance/k", "balance/ratio", "convergence", "reconstruction/real", "reconstruction/fake", "halvings"}
    assert all(shown <= line.keys() for line in lines if "convergence" in line)
    measured = [(line["nimg"], line["metric/convergence"]) for line in lines if "metric/convergence" in line]
    assert [nimg for nimg, _ in measured] == [20, 40, 60, 80, TOTAL]
    best = json.loads((whole.run_dir / "best" / "config.json").read_text())
    complete = [value for nimg, value in measured if nimg >= 64]  # faded in, at the last resolution
    assert best["best"] == {"figure": "convergence", "value": pytest.approx(min(complete))}
    page = (whole.run_dir / "index.html").read_text()
    assert "convergence" in page
    with Image.open(sorted((whole.run_dir / "samples").iterdir())[-1]) as sheet:
        assert sheet.height > 4 * 90, "four rows"
    assert whole.trainer.step == STEPS
    with caplog.at_level("INFO", "progcycle"):
        train(began(pictures), tmp_path / "run", stop_before=4)
    (line,) = (line for line in caplog.messages if line.startswith("kimg") and "img/s" in line)
    assert all(f"  {word} " in line for word in ("G", "D", "M", "k"))


def test_commands_work_with_it(whole: WatchedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(whole.run_dir)
    model = progcycle.load(whole.run_dir)
    assert isinstance(model, BeganGenerator)
    assert generate([run, "--out", str(tmp_path / "made"), "--count", "5", "--seed", "3", "--grid"]) == 0
    latents = 2 * uniforms(3, "latent", range(5), 6) - 1
    with torch.no_grad():
        expected = to_pil(whole.trainer.ema.networks["generator"](latents, 2, 1.0))
    for i, image in enumerate(expected):
        with Image.open(tmp_path / "made" / f"{i:06d}.png") as found:
            assert np.array_equal(np.asarray(found), np.asarray(image))
    assert interpolate([run, "--out", str(tmp_path / "walk.gif"), "--keyframes", "3", "--seconds", "0.2"]) == 0
    with Image.open(tmp_path / "walk.gif") as walk:
        shown = [walk.seek(i) or walk.info["duration"] for i in range(walk.n_frames)]  # type: ignore[attr-defined]
    assert sum(shown) == 600, "milliseconds; frames that look the same are one"
    assert evaluate([run, "--metrics", "swd", "palette"]) == 0
    record = json.loads(next((whole.run_dir / "evaluation").glob("*.json")).read_text())
    assert record["results"].keys() == {"swd", "palette"}
    assert "sliced Wasserstein" in capsys.readouterr().out


def test_a_snapshot_of_the_time_when_residuals_vanish_paints_with_them(pictures: Path, tmp_path: Path) -> None:
    fixed = {
        "task": "began", "resolution": 16, "data": {"path": str(pictures / "trainA"), "workers": 0},
        "network": {"filters": 3, "latent_size": 4, "skips": True, "vanishing_kimg": 0.032},
        "schedule": {"stable_kimg": 0.016, "batch_size": 4}, "training": {"precision": "no"},
    }  # fmt: skip
    run = train(validate(fixed), tmp_path / "run")
    model: Any = progcycle.load(tmp_path / "run")
    latents, network = model.latents(2), run.trainer.ema.networks["generator"]
    with torch.no_grad():
        torch.testing.assert_close(model(latents), network(latents, 0, 1.0, carry=0.5))
        assert not torch.allclose(model(latents), network(latents, 0, 1.0))


def test_k_leaves_0_and_the_losses_come_into_balance(tmp_path: Path, no_plots: None) -> None:
    """Tiny networks on pictures of two colours, 8 px: with k, L(G(z)) / L(x) settles at gamma; at k = 0 it does not."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(64):
        pixels = np.full((8, 8, 3), rng.integers(0, 256, 3), np.uint8)
        x, y = rng.integers(0, 5, 2)
        pixels[y : y + 4, x : x + 4] = rng.integers(0, 256, 3)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    adam = {"lr": 0.001}
    content: dict[str, Any] = {
        "task": "began", "resolution": 8, "data": {"path": str(folder), "workers": 0},
        "network": {"filters": 8, "latent_size": 8},
        "schedule": {"stable_kimg": 10, "batch_size": 16},
        "objective": {"gamma": 0.5, "lambda_k": 0.05},
        "optimizer": {"generator": adam, "discriminator": adam},
        "training": {"precision": "no", "status_kimg": 0.8, "sample_kimg": 100, "checkpoint_kimg": 100},
    }  # fmt: skip
    train(validate(content), tmp_path / "run")
    lines = stats(tmp_path / "run")
    early = [line["balance/k"] for line in lines if line["step"] <= 300]
    assert max(early) > 0.01
    late = lines[len(lines) // 2 :]
    assert fmean(line["balance/ratio"] for line in late) == pytest.approx(0.5, rel=0.1)
    assert late[-1]["balance/k"] > 0
