"""Alarms: the figures behind them by hand, their patience, and what a run tells."""

import json
import math
from pathlib import Path

import pytest
import torch
from tiny_runs import WatchedRun, checkpoint_content, stats, tiny, train
from torch import Tensor

from progcycle.engine.alarms import PATIENCE, Alarms, Observation, check_samples, check_saturation
from progcycle.objectives import ADVERSARIAL
from progcycle.schedule import Growth
from progcycle.tasks import Shown, Watched

BAD, GOOD = Observation(True, "bad"), Observation(False, "good")


def _watched(loss: str) -> dict[str, Watched]:
    undecided = ADVERSARIAL[loss].chance_loss
    assert undecided is not None
    return {"disc_a": Watched("adversarial/disc_a", undecided)}


@pytest.mark.parametrize(
    ("loss", "real", "fake", "bad"),
    [
        ("non_saturating", 4.0, -4.0, True),  # 2 softplus(-4) = 0.036, below 0.05 * 1.386
        ("non_saturating", 2.0, -2.0, False),
        ("hinge", 3.0, -0.96, True),  # 0.04, below 0.05 * 2
        ("hinge", 3.0, 0.0, False),
        ("relativistic", 5.0, 1.0, True),  # softplus(-4)
        ("relativistic", 1.0, 0.0, False),
    ],
)
def test_saturated(loss: str, real: float, fake: float, bad: bool) -> None:
    value = float(ADVERSARIAL[loss].discriminator(torch.tensor([real]), torch.tensor([fake])))
    figures = {"adversarial/disc_a": value, "adversarial/gen_ab": 0.0, "loss/discriminator": 0.0}
    signs = check_saturation(figures, _watched(loss))
    assert {name: sign.bad for name, sign in signs.items()} == {"saturated/disc_a": bad}
    assert f"its loss is {value:.2g}, and a discriminator that guesses has " in signs["saturated/disc_a"].description


def test_a_loss_that_nobody_watches_never_saturates() -> None:
    assert check_saturation({"adversarial/disc": -1e9}, {}) == {}
    assert check_saturation({"loss/discriminator": 0.0}, _watched("hinge")) == {}  # not computed since the last line


def _rows(*values: float) -> Tensor:
    """Pictures of 2x2 px, each of one value.  # [N, 1, 2, 2]"""
    return torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_collapse_is_a_small_deviation_over_the_pictures() -> None:
    # Deviations of (-1, 1) and (-d, d) are sqrt(2) and d sqrt(2); their mean, 0.5, has nothing to do with it.
    for d, bad in ((0.0, True), (0.09, True), (0.11, False), (1.0, False)):
        (sign,) = check_samples({"generator": Shown(_rows(0.5 - d, 0.5 + d), _rows(-1, 1))}).values()
        assert sign.bad is bad
        assert sign.description == f"its pictures vary {d:.2g} times as much as real ones"
    assert check_samples({"generator": Shown(_rows(0), _rows(-1, 1))}) == {}  # one picture has no deviation
    assert check_samples({"generator": Shown(_rows(0, 0), _rows(1, 1))}) == {}  # nor is there one to reach


def test_copy_and_inversion_are_seen_beside_the_source() -> None:
    source, real = _rows(-0.5, 0.5), _rows(0.5, -0.5)  # 1 apart, both
    expected = {
        # made, and whether it is a collapse, a copy, an inversion
        (-0.5, 0.5): (False, True, False),
        (-0.42, 0.58): (False, True, False),  # changes by 0.08
        (-0.38, 0.62): (False, False, False),  # changes by 0.12
        (0.5, -0.5): (False, False, True),  # a negative
        (0.01, -0.01): (True, False, True),
        (0.2, 0.2): (True, False, False),
    }
    for made, bad in expected.items():
        signs = check_samples({"gen_ab": Shown(_rows(*made), real, source)})
        assert tuple(signs[f"{kind}/gen_ab"].bad for kind in ("collapse", "copy", "inversion")) == bad, made
    grey = check_samples({"gen_ab": Shown(_rows(0, 1).expand(-1, 3, 2, 2), real.expand(-1, 3, 2, 2), source)})
    assert grey.keys() == {"collapse/gen_ab"}  # other channels cannot be compared


def test_figures_that_are_not_finite_raise_no_alarm() -> None:
    nan = torch.full((2, 1, 2, 2), math.nan)
    assert not any(sign.bad for sign in check_samples({"gen_ab": Shown(nan, _rows(0, 1), _rows(1, 0))}).values())
    assert not check_saturation({"adversarial/disc_a": math.nan}, _watched("hinge"))["saturated/disc_a"].bad


def test_an_alarm_needs_several_checks_in_a_row_and_a_share_of_the_plan() -> None:
    said: list[str] = []
    alarms = Alarms(100_000, said.append)  # 2 % of it are 2 kimg, 20 % are 20 kimg
    for nimg in (1000, 2000):
        alarms.update(nimg, {"collapse/generator": BAD, "copy/gen_ab": BAD})
    alarms.update(3000, {"collapse/generator": GOOD})
    assert said == []
    for nimg in (4000, 4100, 4200, 5900):  # many looks, but not 2 kimg
        alarms.update(nimg, {"collapse/generator": BAD})
        assert alarms.figures() == {}
    alarms.update(6000, {"collapse/generator": BAD})
    assert said == ["alarm: collapse/generator since 4 kimg: bad"]
    alarms.update(7000, {"collapse/generator": BAD})
    assert alarms.figures() == {"alarm/collapse/generator": 1}
    assert len(said) == 1
    alarms.update(21_000, {"copy/gen_ab": BAD})  # long enough, but the third check
    assert len(said) == 1
    other = Alarms(100_000, said.append)
    other.load_state_dict(json.loads(json.dumps(alarms.state_dict())))
    for each in (alarms, other):
        each.update(21_001, {"copy/gen_ab": BAD})
        assert each.figures() == {"alarm/collapse/generator": 1, "alarm/copy/gen_ab": 1}
        assert said.pop() == "alarm: copy/gen_ab since 1 kimg: bad"
    alarms.update(22_000, {"collapse/generator": GOOD})
    assert said[1:] == ["alarm over: collapse/generator at 22 kimg: good"]
    assert alarms.figures() == {"alarm/copy/gen_ab": 1}


def test_the_share_of_a_long_plan_is_bounded() -> None:
    said: list[str] = []
    alarms = Alarms(20_000_000, said.append)
    for kimg in range(0, 70, 10):
        alarms.update(1000 * kimg, {f"{kind}/x": BAD for kind in PATIENCE})
        expected = {
            kind for kind, patience in PATIENCE.items() if kimg >= max(patience.kimg, 10 * patience.checks - 10)
        }
        assert alarms.figures().keys() == {f"alarm/{kind}/x" for kind in expected}
    assert len(said) == 4


OFTEN = {"training": {"sample_kimg": 0.008, "keep_checkpoints": 99}}


def _collapsed(training: WatchedRun, growth: Growth) -> None:
    """From 40 pictures on the generator paints nothing, up to 72."""
    if 40 <= growth.nimg < 72:
        for networks in (training.trainer.task.networks, training.trainer.ema.networks):
            for parameter in networks["generator"].parameters():
                parameter.data.zero_()


def test_a_collapsed_generator_raises_the_alarm_and_a_resumed_run_knows_of_it(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tiny("pggan", pictures, OFTEN)
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    train(recipe, straight, on_step=_collapsed)
    out = capsys.readouterr().out
    # Samples at 48, 56 and 64 pictures show it; the average has something to show again at 80 at the latest.
    assert "alarm: collapse/generator since 0.048 kimg: its pictures vary " in out
    lines = {line["nimg"]: "alarm/collapse/generator" in line for line in stats(straight)}
    assert {nimg: lines[nimg] for nimg in (12, 48, 60, 72)} == {12: False, 48: False, 60: False, 72: True}
    assert sum("  ALARM collapse/generator  " in line for line in out.splitlines()) == sum(lines.values())

    train(recipe, broken, on_step=_collapsed, stop_before=16)  # 64 pictures, before the alarm
    train(recipe, broken, on_step=_collapsed)
    assert stats(broken) == stats(straight)
    for path in (straight / "checkpoints").iterdir():
        assert checkpoint_content(path) == checkpoint_content(broken / "checkpoints" / path.name)


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_a_healthy_run_is_quiet(task: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # In so few steps, translators that predict a change do not get far from a copy.
    changes = {**OFTEN, "network": {"generator": {"predict": "picture"}}} if task == "cyclegan" else OFTEN
    train(tiny(task, pictures, changes), tmp_path / "run")
    assert "alarm" not in capsys.readouterr().out.lower()
    assert not any("alarm" in name for line in stats(tmp_path / "run") for name in line)


def test_translators_that_stay_copies_raise_the_alarm(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    still = {"lr": 1e-9}
    changes = {
        **OFTEN,
        "network": {"generator": {"predict": "change"}},
        "optimizer": {"generator": still, "discriminator": still},
    }
    train(tiny("cyclegan", pictures, changes), tmp_path / "run")
    out = capsys.readouterr().out
    for network in ("gen_ab", "gen_ba"):  # the fourth check is at 32 pictures
        assert f"alarm: copy/{network} since 0.008 kimg: its pictures differ from their sources by " in out
        named = [line["nimg"] for line in stats(tmp_path / "run") if f"alarm/copy/{network}" in line]
        assert named == [36, 48, 60, 72, 84, 88]
    assert "alarm: inversion" not in out
