import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from tiny_runs import (
    FADE_EDGES,
    OPENINGS,
    STEPS,
    TASKS,
    WatchedRun,
    checkpoint_content,
    full,
    stats,
    tiny,
    train,
    write_domains,
)

from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.evaluation.sampler import Sampler
from progcycle.recipe import merge
from progcycle.runtime import checkpoint
from progcycle.runtime.checkpoint import checkpoints
from progcycle.schedule import Growth

# A checkpoint every 20 pictures: the third of them, at 60, lies in a fade, and no status line is due there. Every 16
# pictures: all of them lie on the edges of fades, where the next step opens a stage.
PLACES = {"mid-fade": (0.02, (7, 18)), "boundary": (0.016, (5, 13))}


def _draw(log: list[Any]) -> Any:
    """Use the process's random streams, as an extension might."""

    def on_step(training: WatchedRun, growth: Growth) -> None:
        log.append((growth.nimg, random.random(), float(np.random.standard_normal()), float(torch.rand(()))))

    return on_step


def _scramble() -> None:
    random.seed(99)
    np.random.seed(99)
    np.random.standard_normal()  # leaves half of a pair behind
    torch.manual_seed(99)


def _seed() -> None:
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)


def _evaluate(sample: Sampler, nimg: int) -> dict[str, float]:
    inputs = {"latents": torch.ones(2, 8), "labels": torch.eye(3)[:2], "a": torch.ones(2, 3, 16, 16)}
    inputs["latents_ab_0"] = torch.ones(2, 3)
    inputs["b"] = inputs["a"] = inputs["a"][..., : sample.growth.resolution, : sample.growth.resolution]
    return {"first": sample(inputs)[-1].mean().item(), "nimg": float(nimg)}


# With all options 20 and 60 pictures also lie between the two rounds of one generator update.
@pytest.mark.parametrize(("place", "options"), [("mid-fade", "few"), ("boundary", "few"), ("mid-fade", "all")])
@pytest.mark.parametrize("task", TASKS)
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(
    task: str, place: str, options: str, pictures: Path, tmp_path: Path
) -> None:
    checkpoint_kimg, stops = PLACES[place]
    changes: dict[Any, Any] = {"training": {"checkpoint_kimg": checkpoint_kimg, "keep_checkpoints": 99}}
    if options == "all":
        changes = merge(merge(changes, full(task, pictures)), {"training": {"evaluation": {"every_kimg": 0.028}}})
    recipe = tiny(task, pictures, changes)
    evaluate = _evaluate if options == "all" else None
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    drawn: list[Any] = []
    _seed()
    whole = train(recipe, straight, on_step=_draw(drawn), evaluate=evaluate)
    assert whole.trainer.step == STEPS

    redrawn: list[Any] = []
    _seed()
    first = train(recipe, broken, stop_before=stops[0], on_step=_draw(redrawn), evaluate=evaluate)
    _scramble()
    second = train(recipe, broken, stop_before=stops[1], on_step=_draw(redrawn), evaluate=evaluate)
    _scramble()
    third = train(recipe, broken, on_step=_draw(redrawn), evaluate=evaluate)

    places = [min(seen.seen) * 4 for seen in (second, third)]
    assert places == ([20, 60] if place == "mid-fade" else [16, 48])
    for seen in (first, second, third):
        assert seen.seen == {step: batch for step, batch in whole.seen.items() if step in seen.seen}
    assert sorted(set(redrawn)) == drawn
    names = [p.name for p in checkpoints(straight / "checkpoints")]
    assert len(names) >= 5
    assert names == [p.name for p in checkpoints(broken / "checkpoints")]
    for name in names:
        ours, theirs = (checkpoint_content(run / "checkpoints" / name) for run in (broken, straight))
        assert ours.keys() == theirs.keys() >= {"networks.safetensors", "ema.safetensors", "optimizers.safetensors"}
        for file, content in theirs.items():
            assert ours[file] == content, f"{name}/{file}"
    lines = stats(broken)
    assert lines == stats(straight)
    assert [line["nimg"] for line in lines if "step" in line] == [12, 24, 36, 48, 60, 72, 84, 88]
    if options == "all":
        assert [line["metric/nimg"] for line in lines if "metric/first" in line] == [28, 56, 84, 88]
        strengths = [line[key] for line in lines for key in line if key.startswith("noise/strength")]
        assert len(set(strengths)) > 4
        assert max(strengths) > 0.01
        moved = [line[key] for line in lines for key in line if key.startswith("augment/probability")]
        assert len(set(moved)) > 3
    for file in ("samples/nimg-000000000044.png", "snapshots/nimg-000000000044/model.safetensors"):
        assert (broken / file).read_bytes() == (straight / file).read_bytes()


def test_stats_after_the_last_checkpoint_are_cut_off(pictures: Path, tmp_path: Path) -> None:
    recipe, run = tiny("pggan", pictures), tmp_path / "run"
    train(recipe, run, stop_before=9)
    lines = (run / "stats.jsonl").read_text()
    (run / "stats.jsonl").write_text(lines + '{"nimg": 40, "torn')
    at_start: list[str] = []
    training = train(
        recipe, run, stop_before=6, on_step=lambda _, __: at_start.append((run / "stats.jsonl").read_text())
    )
    assert training.trainer.nimg == 24
    assert at_start[0] == lines.splitlines(keepends=True)[0]  # the checkpoint at 20 knows of the line at 12 only


def test_a_deep_picture_that_is_found_late_costs_no_step(tmp_path: Path) -> None:
    root = write_domains(tmp_path / "pictures")
    changes = {"data": {"cache_resolution": 0}, "training": {"checkpoint_kimg": 9}}
    recipe, run = tiny("pggan", root, changes), tmp_path / "run"
    files = {path: path.read_bytes() for path in (root / "trainA").iterdir()}

    def make_deep(_: WatchedRun, growth: Growth) -> None:
        if growth.nimg == 12:
            for path in files:
                tifffile.imwrite(path, np.arange(400, dtype=np.uint16).reshape(20, 20))

    with pytest.raises(UserError, match=r"has 16 bits a channel.* convert it to 8 bits or take it out"):
        train(recipe, run, on_step=make_deep)
    assert [path.name for path in checkpoints(run / "checkpoints")] == ["nimg-000000000016"]
    for path, whole in files.items():
        path.write_bytes(whole)
    assert min(train(recipe, run, stop_before=6).seen) == 4


def test_a_run_killed_before_its_first_checkpoint_starts_afresh(pictures: Path, tmp_path: Path) -> None:
    recipe, run = tiny("pggan", pictures), tmp_path / "run"
    train(recipe, run, stop_before=4)
    assert len(stats(run)) == 1
    assert not (run / "checkpoints").exists()
    assert train(recipe, run, stop_before=4).trainer.step == 4
    assert len(stats(run)) == 1


@pytest.mark.parametrize("task", TASKS)
def test_adams_moments_come_back_with_their_values_and_their_memory_format(
    task: str, pictures: Path, tmp_path: Path
) -> None:
    recipe = tiny(task, pictures, {"optimizer": {"reset": "fade_edges"}})
    killed = train(recipe, tmp_path / "run", stop_before=15)  # the checkpoint at 60 is the state before this step
    resumed = WatchedRun(recipe, tmp_path / "run")
    resumed.resume()
    trainer = resumed.trainer
    assert (trainer.nimg, trainer.step, trainer.stage, trainer.fading) == (60, 15, 2, True)
    trainer._enter(resumed.schedule.at(60))  # clears nothing: this fade has begun before
    saw_channels_last = False
    for player, optimizer in killed.trainer.optimizers.items():
        assert len(optimizer.state) > 0
        before = {name: optimizer.state.get(p) for name, p in killed.trainer.trainable.named(player).items()}
        for name, parameter in trainer.trainable.named(player).items():
            now = trainer.optimizers[player].state.get(parameter)
            if before[name] is None:
                assert now is None
                continue
            assert now.keys() == before[name].keys()
            for key, value in before[name].items():
                assert torch.equal(now[key], value)
                assert now[key].stride() == value.stride()
                assert now[key].dtype == value.dtype
            assert now["exp_avg"].stride() == parameter.stride()
            saw_channels_last |= not parameter.is_contiguous()
    assert saw_channels_last


@pytest.mark.parametrize(
    ("reset", "cleared"), [("never", []), ("stage", OPENINGS), ("fade_edges", FADE_EDGES)], ids=lambda v: str(v)
)
def test_moments_are_cleared_where_the_recipe_says_and_pools_at_new_stages(
    reset: str, cleared: list[int], pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    told: list[int] = []
    enter = Trainer._enter

    def watched(trainer: Trainer, growth: Growth) -> None:
        trainer.task.on_new_stage = lambda growth: told.append(growth.nimg)  # type: ignore[method-assign]
        before = [len(o.state) for o in trainer.optimizers.values()]
        enter(trainer, growth)
        after = [len(o.state) for o in trainer.optimizers.values()]
        assert after in (before, [0, 0])
        if before != after:
            seen.append(growth.nimg)

    monkeypatch.setattr(Trainer, "_enter", watched)
    recipe = tiny("pggan", pictures, {"optimizer": {"reset": reset}})
    for stop in (8, 18, None):  # resumed from 20 and 60, both in the middle of a fade
        train(recipe, tmp_path / "run", stop_before=stop)
    assert sorted(set(seen)) == cleared
    assert sorted(set(told)) == OPENINGS
    # Nothing was cleared twice but what was done twice, between a checkpoint and the kill after it.
    assert [n for n in seen if seen.count(n) > 1 and not (20 <= n < 32 or 60 <= n < 72)] == []


def test_a_finished_run_says_so_and_changes_nothing(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = tiny("pggan", pictures, {"training": {"trackers": ["tensorboard"]}}), tmp_path / "run"
    train(recipe, run)

    def content() -> dict[Path, tuple[int, bytes]]:
        return {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*") if p.is_file()}

    before = content()
    capsys.readouterr()
    assert train(recipe, run).trainer.nimg == 88
    assert "this run is finished, at 0.088 kimg" in capsys.readouterr().out
    assert content() == before


def test_what_a_kill_left_goes_when_the_run_is_resumed_even_if_it_was_finished(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("pggan", pictures, {"training": {"keep_checkpoints": 1}})
    run, damaged = tmp_path / "run", tmp_path / "damaged"

    def content(run: Path) -> set[Path]:
        return {path.relative_to(run) for path in run.rglob("*")}

    with monkeypatch.context() as patch:  # as if killed between the naming of a checkpoint and the deletion of others
        patch.setattr(checkpoint, "prune", lambda *_: None)
        train(recipe, run)
    *older, last = checkpoints(run / "checkpoints")
    assert len(older) == 4
    expected = content(run) - {(path / file).relative_to(run) for path in older for file in ("", *os.listdir(path))}
    for name in ("checkpoints/.nimg-000000000088.tmp", "checkpoints/.nimg-000000000040.old"):
        (run / name).mkdir()
    for name in (".recipe.yaml.4711.tmp.yaml", "samples/.nimg-000000000044.png.4711.tmp.png"):
        (run / name).touch()
    shutil.copytree(run, damaged)
    train(recipe, run)
    assert content(run) == expected
    (damaged / last.relative_to(run) / "networks.safetensors").write_bytes(b"")
    assert min(train(recipe, damaged).seen) == 20, "the one before a damaged one is not deleted before its time"
    assert content(damaged) == expected


def test_a_run_of_another_number_of_processes_keeps_all_but_each_ones_own_memory(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"objective": {"loss": "lsgan", "noise": {"limit": 0.0, "momentum": 0.5, "signal": "fake"}}}
    recipe, run = tiny("cyclegan", pictures, changes), tmp_path / "run"
    killed = train(recipe, run, stop_before=10)
    noise = killed.trainer.task.common_state(killed.trainer.task.state_dict())
    for value in (noise["noise_a.mean"], noise["noise_b.mean"]):
        assert 0 < value < 1
    killed.trainer.task.load_state_dict(type(killed.trainer.task)(recipe).state_dict())  # type: ignore[arg-type]
    monkeypatch.setattr(type(killed.accelerator), "num_processes", 3)
    resumed = WatchedRun.__new__(WatchedRun)
    resumed.__dict__.update(killed.__dict__)
    resumed.trainer.task.on_new_stage(killed.schedule.at(40))
    resumed.resume()
    assert resumed.trainer.nimg == 40
    assert resumed.trainer.task.state_dict() == noise, "equal in all processes, unlike the pools"
    assert "written by 1 processes, this run has 3" in capsys.readouterr().out
