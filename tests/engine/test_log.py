"""What a run tells on its lines and on the bar; the words themselves are in test_words.py."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import TASKS, WatchedRun, tiny
from torch import Tensor

from progcycle.engine.formatting import duration
from progcycle.schedule import Growth


def test_slow_training_tells_its_rate_and_time_left(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = WatchedRun(tiny("pggan", pictures), tmp_path / "run")
    training.trainer.nimg = 4
    training.log.time_left.step(training.schedule.at(0), 2000.0)
    training.status(training.schedule.at(0), 4, 2000.0)
    line = json.loads((tmp_path / "run/stats.jsonl").read_text())
    assert line["images_per_s"] == 0.002
    # Steps of 2000 s: 3 at 4 px, 8 at twice and 10 at four times what grows with the stage, which is 60 % of a step.
    seconds = 2000 * (3 + 8 * (0.4 + 0.6 * 2) + 10 * (0.4 + 0.6 * 4))
    assert duration(seconds) == "1 day 0 h"
    out = capsys.readouterr().out
    assert out.rstrip().endswith("1 day 0 h left")
    assert "  0.002 img/s  " in out


def test_the_bar_and_the_status_line_tell_the_same_time(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    training = WatchedRun(tiny("pggan", pictures), tmp_path / "run")
    training.log.start(0)
    for nimg, growth in training.schedule.steps():
        training.trainer.nimg = nimg + growth.batch_size
        training.log.time_left.step(growth, 1000.0 * 2**growth.stage)
        training.log.progress(growth.batch_size)
        capsys.readouterr()
        training.status(growth, 4, 1000.0)
        told = capsys.readouterr()
        left = told.out.rstrip().rpartition("  ")[2]
        assert left.endswith(" left")
        bar = told.err.replace("\r", "\n").rstrip().splitlines()[-1]
        assert bar.endswith(f"{training.trainer.nimg / 1000:.3f}/0.088 kimg, {left}")
    training.log.close()


def test_how_long_stages_take_is_measured_without_changing_anything(pictures: Path, tmp_path: Path) -> None:
    for task in TASKS:
        training = WatchedRun(tiny(task, pictures), tmp_path / task)
        before = {
            name: tensor.clone()
            for net in training.trainer.ema.networks.values()
            for name, tensor in net.state_dict().items()
        }
        stream = torch.get_rng_state()
        training.log_introduction()
        assert torch.equal(torch.get_rng_state(), stream)
        after = {
            name: tensor for net in training.trainer.ema.networks.values() for name, tensor in net.state_dict().items()
        }
        assert all(torch.equal(before[name], after[name]) for name in before)
        effort = training.log.time_left.cost
        assert list(effort) == [0, 1, 2]
        assert all(0 < seconds < 60 for seconds in effort.values())


def test_stages_that_take_long_or_do_not_fit_are_taken_to_double(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = WatchedRun(tiny("pggan", pictures), tmp_path / "run")
    honest, seen = training.trainer.task.sample, set()

    def sample(networks: Any, panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        seen.add(growth.resolution)
        if growth.resolution > 8:
            raise torch.OutOfMemoryError
        return honest(networks, panel, growth)

    monkeypatch.setattr(training.trainer.task, "sample", sample)
    training.log_introduction()
    effort = training.log.time_left.cost
    assert seen == {4, 8, 16}
    assert effort[2] == 2 * effort[1]
    monkeypatch.setattr("progcycle.engine.samples.LONG", 0.0)
    seen.clear()
    training.log_introduction()
    assert seen == set()
    monkeypatch.setattr("progcycle.engine.samples.LONG", 1e-9)
    training.log_introduction()
    assert seen == {4}
    effort = training.log.time_left.cost
    assert effort[2] == 2 * effort[1] == 4 * effort[0]
