"""The best snapshot of a run, kept beside the newest, and the CPU time that training took."""

import json
import math
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import STEPS, TASKS, TOTAL, WatchedRun, as_before, checkpoint_content, measured_by, stats, tiny, train

from progcycle.engine.best import BestFolder
from progcycle.engine.clock import CpuClock
from progcycle.engine.train import train_run
from progcycle.errors import UserError
from progcycle.evaluation.sampler import Sampler
from progcycle.export import find_snapshot, load, save_snapshot
from progcycle.recipe import Recipe
from progcycle.runtime.checkpoint import checkpoints
from progcycle.schedule import Growth

# An evaluation with every batch from 60 pictures on: 64 is the first with alpha 1 after it (its step began at 60, in
# the fade), so that 68 is the first that counts. Checkpoints at 20, 40, 60, 80 and the end.
EVERY = {"training": {"evaluation": {"every_kimg": 0.004}}}


def figures(values: dict[int, float], name: str = "kid") -> Callable[[Sampler, int], dict[str, float]]:
    return lambda _, nimg: {name: values.get(nimg, 9.0), "other": -float(nimg)}


def config(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / "best" / "config.json").read_text())
    return content


def with_best(task: str, pictures: Path, best: str | None = "auto") -> Recipe:
    return tiny(task, pictures, {"training": {"evaluation": {"every_kimg": 0.004, "best": best}}})


# --- the best snapshot --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_the_lowest_figure_of_the_final_stage_is_kept(
    task: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Lower ones come before: at 8 px (28), and in the last fade (60 and 64).
    values = {28: 0.1, 60: 0.2, 64: 0.3, 68: 5.0, 72: math.nan, 76: 4.0, 80: 4.5, 84: 4.0, 88: math.inf}
    kept: list[dict[str, torch.Tensor]] = []

    def watch(training: WatchedRun, growth: Growth) -> None:
        assert (tmp_path / "run/best").exists() == (growth.nimg >= 68)
        if growth.nimg == 76:
            averages = torch.nn.ModuleDict(training.trainer.ema.networks)
            kept.append({name: value.clone() for name, value in averages.state_dict().items()})

    run = tmp_path / "run"
    train(with_best(task, pictures), run, on_step=watch, evaluate=figures(values))
    assert config(run)["best"] == {"figure": "kid", "value": 4.0}
    assert (config(run)["nimg"], config(run)["stage"], config(run)["alpha"]) == (76, 2, 1.0)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("best so far")]
    assert said == [f"best so far: kid {v} at {n} kimg, kept in {run / 'best'}" for v, n in ((5, 0.068), (4, 0.076))]
    model = load(run / "best")
    assert model.config.best is not None
    assert (model.config.nimg, model.config.best.value) == (76, 4.0)
    assert model.state_dict().keys() == kept[0].keys()
    assert all(torch.equal(value, kept[0][name]) for name, value in model.state_dict().items())
    assert find_snapshot(run).name == f"nimg-{TOTAL:012d}"
    newest = json.loads((find_snapshot(run) / "config.json").read_text())
    assert "best" not in newest


def test_the_best_survives_kills_and_resumptions(pictures: Path, tmp_path: Path) -> None:
    """Killed after its best at 76, the run goes on from the checkpoint at 60; killed again, from that at 80."""
    values = {68: 3.0, 72: 2.0, 76: 1.0, 80: 2.5, 84: 1.0, 88: 1.5}
    recipe, evaluate = with_best("pggan", pictures), figures(values)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(recipe, straight, evaluate=evaluate)
    for stop in (19, 21):
        train(recipe, broken, stop_before=stop, evaluate=evaluate)
        assert config(broken)["best"]["value"] == 1.0
    train(recipe, broken, evaluate=evaluate)
    ours, theirs = config(broken), config(straight)
    assert ours.pop("cpu_seconds") > 0
    assert theirs.pop("cpu_seconds") > 0
    assert ours == theirs
    assert ours["nimg"] == 76
    one, other = (run / "best/model.safetensors" for run in (broken, straight))
    assert one.read_bytes() == other.read_bytes()
    assert stats(broken) == stats(straight)


def test_a_run_killed_while_the_best_is_replaced_loses_nothing(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {68: 3.0, 72: 2.0, 76: 2.5, 80: 2.5, 84: 2.5, 88: 2.5}
    recipe, run = with_best("pggan", pictures), tmp_path / "run"
    train(recipe, run, stop_before=20, evaluate=figures(values))
    (run / "best").rename(run / ".best.old")  # as a kill between the two renames leaves it
    shutil.copytree(run / ".best.old", run / ".best.tmp")
    train(recipe, run, evaluate=figures(values))
    assert (config(run)["nimg"], config(run)["best"]["value"]) == (72, 2.0)
    assert [p.name for p in run.glob(".best*")] in ([], [".best.tmp"])
    assert load(run / "best").config.nimg == 72


def test_a_writer_that_fails_leaves_the_best_in_its_place(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class FullDiskError(Exception):
        pass

    def save(folder: Path, **about: Any) -> Path:
        if folder.name == "best" and about["nimg"] == 76:
            raise FullDiskError
        return save_snapshot(folder, **about)

    monkeypatch.setattr("progcycle.engine.run.save_snapshot", save)
    with measured_by(figures({68: 3.0, 76: 2.0})):
        training = WatchedRun(with_best("pggan", pictures), tmp_path / "run")
    with pytest.raises(FullDiskError):
        train_run(training)
    assert config(tmp_path / "run")["nimg"] == 68


GROWN = Growth(2, 16, 1.0)


def best_of(tmp_path: Path, value: Any, figure: Any = "kid", resolution: int = 16) -> BestFolder:
    (tmp_path / "best").mkdir()
    content = {"best": {"figure": figure, "value": value}, "resolution": resolution}
    (tmp_path / "best/config.json").write_text(json.dumps(content))
    return BestFolder(tmp_path, "auto", 16)


@pytest.mark.parametrize(
    ("figure", "measured", "expected"),
    [
        ("auto", {"kid": 0.5, "swd/16": 0.1}, ("kid", 0.5)),
        ("auto", {"swd": 7.0, "ms-ssim": 0.1}, ("swd", 7.0)),
        ("auto", {"ms-ssim": 0.1}, None),
        ("l1/ab", {"kid": 0.5, "l1/ab": 0.2}, ("l1/ab", 0.2)),
        ("l1/ab", {"kid": 0.5}, None),
        (None, {"kid": 0.5, "swd": 1.0}, None),
        ("auto", {"kid": -0.01}, ("kid", -0.01)),
        ("auto", {"kid": math.nan}, None),
        ("auto", {"kid": -math.inf}, None),
    ],
)
def test_which_figure_counts(figure: str | None, measured: dict[str, float], expected: Any, tmp_path: Path) -> None:
    best = BestFolder(tmp_path, figure, 16)
    assert best.improvement(measured, GROWN) == expected
    assert best.improvement(measured, Growth(1, 8, 1.0)) is None
    assert best.improvement(measured, Growth(2, 16, 0.99)) is None


def test_only_a_lower_value_of_the_same_figure_is_better(tmp_path: Path) -> None:
    best = best_of(tmp_path, 0.25)
    assert best.improvement({"kid": 0.25}, GROWN) is None
    assert best.improvement({"kid": 0.24}, GROWN) == ("kid", 0.24)
    assert best.improvement({"swd": 99.0}, GROWN) == ("swd", 99.0), "the folder is of another figure"


def test_the_best_of_a_plan_that_was_held_does_not_compare_with_what_has_grown_further(tmp_path: Path) -> None:
    assert best_of(tmp_path, 0.01, resolution=8).improvement({"kid": 0.25}, GROWN) == ("kid", 0.25)


@pytest.mark.parametrize("value", ["much", None, [1]])
def test_a_best_folder_of_somebody_else_is_one_sentence(value: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"best/config\.json cannot be read; .* move the folder .* away\.$"):
        best_of(tmp_path, value).improvement({"kid": 1.0}, GROWN)


def test_a_plain_snapshot_is_not_taken_for_the_best(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny("pggan", pictures), run)
    shutil.copytree(find_snapshot(run), run / "best")
    with pytest.raises(UserError, match="move the folder"):
        BestFolder(run, "auto", 16).improvement({"kid": 1.0}, GROWN)


def test_without_a_figure_nothing_is_kept(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(with_best("pggan", pictures, best=None), run, evaluate=figures({}, "swd"))
    assert not (run / "best").exists()


# --- CPU time -----------------------------------------------------------------------------------------------------


def test_the_clock_counts_while_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "process_time", lambda: now[0])
    clock = CpuClock()
    now[0] = 200
    assert clock.seconds == 0
    clock.start()
    now[0] = 203
    assert clock.seconds == 3
    with clock.paused():
        now[0] = 300
        assert clock.seconds == 3
    clock.start()  # twice is once
    now[0] = 304
    assert clock.seconds == 7
    clock.seconds = 50
    now[0] = 305
    assert clock.seconds == 51
    clock.stop()
    clock.stop()
    now[0] = 400
    assert clock.seconds == 51


def test_the_clock_counts_work_and_not_waiting() -> None:
    clock = CpuClock()
    clock.start()
    time.sleep(0.2)
    waited = clock.seconds
    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert waited < 0.1
    assert clock.seconds - waited >= 0.19


class Watch:
    """A CPU that needs a second for a step, and much for all that is not training."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("progcycle.engine.run.save_snapshot", self.save)
        monkeypatch.setattr("progcycle.engine.clock.time.process_time", lambda: self.now)
        # The writing thread's real time has no place on this clock; test_writer has a test that it is not counted.
        monkeypatch.setattr("progcycle.runtime.writer.CheckpointWriter.cpu_seconds", lambda writer: 0.0)

    def on_step(self, training: WatchedRun, growth: Growth) -> None:
        assert training.cpu_seconds == training.trainer.step
        self.now += 1

    def evaluate(self, sample: Sampler, nimg: int) -> dict[str, float]:
        self.now += 1000
        return {"swd": 1.0 / nimg}

    def save(self, folder: Path, **about: Any) -> Path:
        self.now += 1000
        return save_snapshot(folder, **about)


@pytest.mark.parametrize("stops", [(), (9, 18)], ids=str)
def test_cpu_seconds_are_those_of_training_alone_and_go_on_after_a_kill(
    stops: tuple[int, ...], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run, watch = tiny("pggan", pictures, EVERY), tmp_path / "run", Watch(monkeypatch)
    for stop in (*stops, None):
        with measured_by(watch.evaluate):
            training = WatchedRun(recipe, run)
        training.stop_before, training.on_step = stop, watch.on_step
        if stop is None:
            train_run(training)
        else:
            with pytest.raises(Exception, match=r"^$"):
                train_run(training)
        watch.now += 5000  # between two processes
    assert training.cpu_seconds == STEPS
    lines = stats(run, times=True)
    assert {line["nimg"]: line["cpu_seconds"] for line in lines} == {4 * n: n for n in range(1, STEPS + 1)}
    assert any("loss/generator" in line for line in lines)
    assert any("metric/swd" in line for line in lines)
    states = [json.loads((p / "state.json").read_text()) for p in checkpoints(run / "checkpoints")]
    assert [state["parts"]["clock"]["cpu_seconds"] for state in states] == [20, STEPS]
    assert load(find_snapshot(run)).config.cpu_seconds == config(run)["cpu_seconds"] == STEPS


def test_real_cpu_seconds_rise(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny("pggan", pictures), run, stop_before=15)
    state = json.loads((checkpoints(run / "checkpoints")[-1] / "state.json").read_text())
    before = state["parts"]["clock"]["cpu_seconds"]
    train(tiny("pggan", pictures), run)
    values = [line["cpu_seconds"] for line in stats(run, times=True)]
    assert values == sorted(values)
    assert 0 < values[0] < before < values[-1] < 600


def test_checkpoints_and_snapshots_of_before_are_still_read(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run, whole = tiny("pggan", pictures), tmp_path / "run", tmp_path / "whole"
    train(recipe, run, stop_before=15)
    for path in checkpoints(run / "checkpoints"):
        as_before(path, "cpu_seconds")
    capsys.readouterr()
    training = train(recipe, run)
    assert "cpu_seconds counts from here" in capsys.readouterr().out
    assert training.cpu_seconds > 0
    train(recipe, whole)
    last = f"checkpoints/nimg-{TOTAL:012d}"
    assert checkpoint_content(run / last) == checkpoint_content(whole / last)
    folder = find_snapshot(run)
    content = json.loads((folder / "config.json").read_text())
    assert content.pop("cpu_seconds") > 0
    (folder / "config.json").write_text(json.dumps(content))
    assert load(folder).config.cpu_seconds is None
