"""``progcycle bench``: the speed of every stage, and what limits it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from tiny_runs import tiny, tiny_content
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from progcycle.commands.cli import main
from progcycle.engine import bench as module
from progcycle.engine import convolution_peak
from progcycle.engine.bench import Bench, StageSpeed, bench, comparison, recorded_speed
from progcycle.engine.build import build
from progcycle.engine.convolution_peak import OperationCounter
from progcycle.engine.estimate import noise
from progcycle.engine.precision import Precision
from progcycle.engine.step_parts import StepParts, part_of, without_penalties
from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.recipe import dump

CPU = torch.device("cpu")
Read = pytest.CaptureFixture[str]


# --- operations and their peak ------------------------------------------------------------------------------------


def _penalized(net: nn.Module, pictures: torch.Tensor) -> None:
    x = 1 * pictures.requires_grad_()  # torch's counter takes no leaf
    (gradient,) = torch.autograd.grad(net(x).sum(), x, create_graph=True)
    gradient.square().sum().backward()  # type: ignore[no-untyped-call]


def test_operations_of_a_double_backward_pass_are_those_that_torch_counts() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 3, stride=2), nn.Tanh(), nn.Flatten())
    net.append(nn.Linear(5 * 2 * 2, 2))
    x = torch.randn(2, 3, 8, 8)
    with FlopCounterMode(display=False) as reference:
        _penalized(net, x)
    with OperationCounter() as counter:
        _penalized(net, x)
    assert counter.flops == reference.get_total_flops()
    linear = reference.get_flop_counts()["Global"]
    ours = sum(count * counter.of[call] for call, count in counter.convolutions.items())
    names = {str(name): value for name, value in linear.items()}
    assert ours == names["aten.convolution"] + names["aten.convolution_backward"]


def test_the_peak_is_that_of_the_convolutions_each_as_often_as_it_was_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One convolution of 2 x 4 channels on 6 x 6 outputs thrice, another one once; each takes 1 s, the latter 5 s."""
    first, other = nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.Conv2d(2, 4, 1, bias=False)
    x = torch.ones(1, 2, 6, 6)
    with torch.no_grad(), OperationCounter() as counter:
        for _ in range(3):
            first(x)
        other(x)
    one, two = 2 * 2 * 4 * 9 * 36, 2 * 2 * 4 * 36
    asked: list[int] = []

    def timed(call: Any, *_: Any) -> float:
        asked.append(counter.of[call])
        return 1.0 if counter.of[call] == one else 5.0

    monkeypatch.setattr(convolution_peak, "_timed", timed)
    monkeypatch.setattr(convolution_peak, "COVERED", 1.0)
    assert counter.peak(CPU, lambda: 0.0) == (3 * one + two) / (3 * 1.0 + 5.0)
    monkeypatch.setattr(convolution_peak, "COVERED", 0.9)
    assert counter.peak(CPU, lambda: 0.0) == one
    assert asked == [one, two, one]
    assert OperationCounter().peak(CPU, lambda: 0.0) is None


def test_convolutions_are_computed_again_with_their_shapes_types_and_layouts() -> None:
    net = nn.Conv2d(3, 4, 3, stride=2, padding=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    x = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    with OperationCounter() as counter, torch.autocast("cpu", torch.bfloat16):
        net(x).float().sum().backward()
    with OperationCounter() as again:
        assert (counter.peak(CPU, module.time.perf_counter) or 0) > 0
    assert set(again.convolutions) == set(counter.convolutions)
    assert {"torch.bfloat16"} == {str(each[1]) for _, args in again.convolutions for each in args[:2]}


# --- parts of a step ----------------------------------------------------------------------------------------------


def _trainer(task: str, pictures: Path, changes: Any = None) -> tuple[Trainer, Any, Any]:
    recipe = tiny(task, pictures, changes)
    built, accelerator = build(recipe), Accelerator(cpu=True)
    trainer = Trainer(recipe, built, accelerator, Precision("no", CPU))
    sets: Any = {
        domain: SimpleNamespace(options=options, classes=()) for domain, options in recipe.data.domains.items()
    }
    growth = built.schedule.at(0)
    return trainer, growth, noise(sets, growth)


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_parts_are_timed_and_the_trainer_is_as_before(task: str, pictures: Path) -> None:
    trainer, growth, batches = _trainer(task, pictures)
    ticks = iter(range(10**6))
    parts = StepParts(trainer, lambda: float(next(ticks)))
    before = dict(vars(trainer))
    with parts.timing():
        trainer.train_step(batches, growth)
    # Two readings of the clock, one tick apart, around each player's gradients and update, and the averages.
    assert parts.seconds == {"generators": 1.0, "discriminators": 1.0, "optimizer": 2.0, "averages": 1.0}
    assert parts.penalized
    assert vars(trainer).keys() == before.keys()
    trainer.train_step(batches, growth)
    assert next(ticks) == 10


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_penalties_are_left_out_and_come_back(task: str, pictures: Path) -> None:
    trainer, growth, batches = _trainer(task, pictures)

    def penalties() -> set[str]:
        trainer.meter.load_state_dict({})
        trainer.step = 0  # R1 is due
        trainer.train_step(batches, growth)
        return {name for key in trainer.meter.sums for name in key if name.startswith(("penalty/r1", "penalty/grad"))}

    there = penalties()
    assert there
    with without_penalties():
        assert penalties() == set()
    assert penalties() == there


def test_names_of_parts() -> None:
    assert [part_of(name) for name in ("generator", "discriminator_16", "autoencoder")] == [
        "generators",
        "discriminators",
        "autoencoder",
    ]


# --- the whole ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_every_stage_is_measured_and_nothing_is_written(task: str, pictures: Path, here: Path) -> None:
    said: list[str] = []
    Path("runs/.cache").mkdir(parents=True)  # of a run that has not begun
    found = bench(tiny(task, pictures), "mine", 0.3, said.append)
    assert [stage.resolution for stage in found.stages] == [4, 8, 16]
    assert [stage.pictures for stage in found.stages] == [16, 32, 40]
    assert len(said) == 3
    for stage in found.stages:
        assert sum(stage.shares.values()) == pytest.approx(1, abs=1e-6)
        assert all(0 <= share < 1 for share in stage.shares.values())
        assert {"data", "generators", "discriminators", "penalties", "optimizer", "averages", "rest"} == set(
            stage.shares
        )
        assert stage.pictures_per_second == pytest.approx(stage.batch_size / stage.step)
        assert stage.of_peak is not None
        assert 0 < stage.of_peak < 3  # of tiny convolutions, on a busy machine
        assert stage.memory is None or stage.memory > 50e6
    assert found.seconds == pytest.approx(sum(stage.seconds for stage in found.stages))
    assert not found.notes
    assert sorted(here.rglob("*")) == [here / "runs", here / "runs/.cache"]


def test_a_step_has_its_share_of_lazy_penalties_and_a_fade_its_own_time(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, here: Path
) -> None:
    """Steps of 2 s, of 5 s where R1 is due, every third; 3 s while fading; each waits 1 s."""
    recipe = tiny("cyclegan", pictures)

    def timed(self: Any, source: Any, numbers: list[int], *_: Any, **__: Any) -> Any:
        seconds = 3.0 if source.phase.kind == "fade" else 5.0 if numbers == [3] else 2.0
        return module._Times([1.0], [seconds], [seconds])

    monkeypatch.setattr(module._Measured, "_timed", timed)
    monkeypatch.setattr(module._Measured, "_shares", lambda *_: {"rest": 1.0})
    monkeypatch.setattr(OperationCounter, "peak", lambda *_: 1e6)
    found = bench(recipe, "mine", 200.0)
    assert [stage.step for stage in found.stages] == pytest.approx([1 + 3] * 3)
    assert found.stages[0].shares == pytest.approx({"data": 1 / 4, "rest": 3 / 4})
    # Batches of 4; fades of 16 pictures take 1 + 3 + 1 s a step.
    assert [stage.seconds for stage in found.stages] == pytest.approx([16, 16 + 20, 24 + 20])
    assert found.stages[0].rate == found.stages[0].flops / 3


def test_many_pictures_without_a_cache_are_read_from_their_files(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, here: Path
) -> None:
    speed = StageSpeed("", 4, 4, 16, 0.1, 40, {"rest": 1.0}, 1.0, 1.0, None, None, 1.0)
    monkeypatch.setattr(module._Measured, "_stage", lambda *_: speed)
    monkeypatch.setattr(module, "FEW_PICTURES", 10)
    (note,) = bench(tiny("cyclegan", pictures), "mine", 1.0).notes
    assert note.startswith("domain a: its 11 pictures are not cached yet and were read from their files")


def test_stages_that_would_take_too_long_are_left_out(
    monkeypatch: pytest.MonkeyPatch, pictures: Path, here: Path
) -> None:
    speed = StageSpeed("", 4, 4, 16, 30.0, 4 / 30, {"rest": 1.0}, 1.0, 1.0, None, None, 120.0)
    monkeypatch.setattr(module._Measured, "_stage", lambda *_: speed)
    found = bench(tiny("pggan", pictures), "mine", 50.0)
    assert found.missing == [8, 16]
    assert found.seconds is None
    assert "not measured, as it would take longer than --seconds: 8 px, 16 px" in str(found)


# --- comparisons --------------------------------------------------------------------------------------------------


def _found(**speeds: float) -> Bench:
    stages = [
        StageSpeed("", int(side[1:]), 4, 16, 4 / speed, speed, {"rest": 1.0}, 1.0, 1.0, None, None, 1.0)
        for side, speed in speeds.items()
    ]
    return Bench("mine", "cpu", "float32", "", stages)


def test_a_speed_is_compared_with_that_of_a_run(tmp_path: Path) -> None:
    lines = [
        {"nimg": 4, "resolution": 4, "alpha": 1.0, "images_per_s": 10.0},
        {"nimg": 8, "resolution": 8, "alpha": 0.5, "images_per_s": 1.0},
        {"nimg": 8, "resolution": 8, "alpha": 1.0, "metric/kid": 1.0},
        {"nimg": 12, "resolution": 8, "alpha": 1.0, "images_per_s": 4.0},
        {"nimg": 16, "resolution": 8, "alpha": 1.0, "images_per_s": 6.0},
        {"nimg": 18, "resolution": 8, "alpha": 1.0, "images_per_s": 60.0},
    ]
    run = tmp_path / "run"
    run.mkdir()
    (run / "stats.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"nimg": 2')
    earlier = recorded_speed(run)
    assert earlier == {("", 4): 10.0, ("", 8): 6.0}
    assert comparison(_found(r4=15.0, r8=3.0, r16=1.0), earlier).splitlines() == [
        "4 px: 10.0 img/s then, 1.50 times as fast now",
        "8 px: 6.0 img/s then, 0.50 times as fast now",
    ]
    with pytest.raises(UserError, match="no stage that both have"):
        comparison(_found(r16=1.0), earlier)


def test_what_holds_no_speed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no status lines"):
        recorded_speed(tmp_path)
    (tmp_path / "x.json").write_text("{}")
    for name in ("x.json", "none.json"):
        with pytest.raises(UserError, match="is no result of progcycle bench"):
            recorded_speed(tmp_path / name)


def test_the_command_prints_a_table_and_writes_json_and_a_plot(pictures: Path, here: Path, capsys: Read) -> None:
    from progcycle.recipe import validate

    content = tiny_content("pggan", pictures, {"resolution": 4, "schedule": {"stable_kimg": 0.016}})
    Path("mine.yaml").write_text(dump(validate(content)))
    assert main(["bench", "mine.yaml", "--seconds", "0.1", "--out", "out/speed.json"]) == 0
    told = capsys.readouterr().out
    assert "mine on cpu, 1 thread, precision: float32" in told
    assert "the whole plan: " in told
    written = json.loads(Path("out/speed.json").read_text())
    assert [stage["resolution"] for stage in written["stages"]] == [4]
    assert written["seconds"] == written["stages"][0]["seconds"]
    assert Path("out/speed.png").read_bytes().startswith(b"\x89PNG")
    assert main(["bench", "mine.yaml", "--seconds", "0.1", "--against", "out/speed.json"]) == 0
    assert "4 px: " in capsys.readouterr().out.partition("against out/speed.json:\n")[2]
    assert sorted(path.name for path in here.iterdir()) == ["mine.yaml", "out"]
    with pytest.raises(SystemExit):
        main(["bench", "mine.yaml", "--seconds", "0"])


def test_lines_of_the_table_fit_a_terminal() -> None:
    names = ["data", "discriminators", "generators", "penalties", "optimizer", "averages", "rest"]
    shares = dict.fromkeys(names, 1 / 7)
    stage = StageSpeed("", 1024, 16, 800_000, 99.9999, 9999.9, shares, 1e12, 1e11, 2e11, 123 * 10**9, 9e7)
    found = Bench("mine", "cpu, 1 thread", "float32", "", [stage], share=0.5)
    assert max(map(len, found.table().splitlines())) <= 100
    text = str(found)
    assert " 50%" in text
    assert "other programs left these steps 50% of the processor time" in text
    assert "alone, the plan would take about 520 days 20 h" in text  # half of 9e7 s
