import json
import math
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import STEPS, TASKS, TOTAL, ProcessKilledError, WatchedRun, full, hook, stats, tiny, train, write_domains
from torch import Tensor

from progcycle.engine import run as run_module
from progcycle.engine.log import TIMES
from progcycle.engine.run import Run
from progcycle.engine.train import check, train_run
from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.export import load
from progcycle.recipe import load_recipe
from progcycle.schedule import Growth


def _spoil(task: Any, term: str, player: str, at: int, value: float = math.nan) -> None:
    """Make one term of one player's loss ``value`` from a step on."""
    honest = task.loss

    def loss(who: str, reals: Any, growth: Growth, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        total, figures = honest(who, reals, growth, step)
        if who == player and step >= at:
            return total + value, {**figures, term: figures[term] * value}
        return total, figures

    task.loss = loss


@pytest.mark.parametrize(
    ("task", "player", "term"),
    [("pggan", "discriminator", "penalty/gradient"), ("cyclegan", "generator", "cycle/aba")],
)
@pytest.mark.parametrize(("at", "stage", "good"), [(1, 0, None), (8, 1, "nimg-000000000020"), (16, 2, None)])
def test_a_term_that_is_not_finite_stops_the_run_and_nothing_of_it_is_written(
    task: str, player: str, term: str, at: int, stage: int, good: str | None, pictures: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    # Step 16 begins at 64 pictures, in the last stage; the checkpoint before it is due at 60.
    training = WatchedRun(tiny(task, pictures), run)
    _spoil(training.trainer.task, term, player, at)
    with pytest.raises(UserError) as error:
        train_run(training)
    words = str(error.value)
    assert words.startswith("Training stopped: ")
    named = words.removeprefix("Training stopped: ").partition(" not finite")[0].split(", ")
    assert set(named) == {term, f"loss/{player}"}
    assert f"not finite at step {at} (stage {stage});" in words
    good = good or ("nimg-000000000060" if at == 16 else None)
    last = f"the last good checkpoint is {run / 'checkpoints' / good}" if good else "there is no checkpoint yet"
    assert last in words
    bad = 4 * at
    if at > 2:
        assert all(line["nimg"] <= bad for line in stats(run))
    else:
        assert not (run / "stats.jsonl").exists()
    for folder in ("checkpoints", "snapshots", "samples"):
        for path in (run / folder).glob("*"):
            assert int(path.stem.removeprefix("nimg-")) <= bad
            if folder == "checkpoints":
                assert json.loads((path / "state.json").read_text())["nimg"] <= bad


def test_non_finite_numbers_of_one_stage_are_reported_before_the_next_one_opens(pictures: Path, tmp_path: Path) -> None:
    recipe = tiny("pggan", pictures, {"training": {"status_kimg": 1, "checkpoint_kimg": 1, "snapshot_kimg": 1}})
    training = WatchedRun(recipe, tmp_path / "run")
    _spoil(training.trainer.task, "adversarial/gen", "generator", 2, math.inf)
    with pytest.raises(UserError, match=r"^Training stopped: .*adversarial/gen.* not finite at step 2 \(stage 0\)"):
        train_run(training)


@pytest.mark.parametrize("due", ["sample_kimg", "checkpoint_kimg", "snapshot_kimg"])
def test_numbers_are_checked_before_anything_is_written(due: str, pictures: Path, tmp_path: Path) -> None:
    rare = dict.fromkeys(("status_kimg", "sample_kimg", "checkpoint_kimg", "snapshot_kimg"), 1.0)
    recipe = tiny("pggan", pictures, {"training": {**rare, due: 0.072}})
    training = WatchedRun(recipe, tmp_path / "run")
    _spoil(training.trainer.task, "adversarial/gen", "generator", 17)  # the step before 72 pictures
    with pytest.raises(UserError, match=r"not finite at step 17 \(stage 2\)"):
        train_run(training)
    assert training.trainer.nimg == 72
    written = {
        p.name for folder in ("samples", "checkpoints", "snapshots") for p in (tmp_path / "run" / folder).glob("*")
    }
    assert written == {"nimg-000000000000.png"}


def test_a_gradient_that_is_not_finite_is_trouble(pictures: Path, tmp_path: Path) -> None:
    def spoil(training: WatchedRun, growth: Growth) -> None:
        if training.trainer.step == 1:
            hook(training, "discriminator", lambda gradient: gradient * math.nan)

    with pytest.raises(UserError, match=r"^Training stopped: gradient/discriminator not finite at step 1 \(stage 0\)"):
        train(tiny("pggan", pictures), tmp_path / "run", on_step=spoil)


def test_learning_rates_follow_the_plan(pictures: Path, tmp_path: Path) -> None:
    changes = {
        "schedule": {"rampup_kimg": 0.02, "stage_rampup_kimg": 0.012, "lr_scale": {"default": 1, 16: 0.5}},
        "optimizer": {"generator": {"lr": 0.002}, "discriminator": {"lr": 0.004}},
    }
    seen: list[tuple[float, float, float]] = []

    def on_step(training: WatchedRun, growth: Growth) -> None:
        rates = [training.trainer.optimizers[p].param_groups[0]["lr"] for p in ("generator", "discriminator")]
        if training.trainer.step:  # the rates of the step before
            seen.append((training.schedule.at(training.trainer.nimg - growth.batch_size).lr_scale, *rates))

    train(tiny("pggan", pictures, changes), tmp_path / "run", on_step=on_step)
    assert len(seen) == STEPS - 1
    assert len({scale for scale, _, _ in seen}) > 10
    for scale, generator, discriminator in seen:
        assert generator == pytest.approx(0.002 * scale)
        assert discriminator == pytest.approx(0.004 * scale)


@pytest.mark.parametrize("task", TASKS)
def test_an_update_moves_its_own_player_only(
    task: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[tuple[str, set[str]]] = []
    apply = Trainer._apply

    def weights(trainer: Trainer) -> dict[str, Tensor]:
        return {n: torch.cat([p.detach().flatten() for p in w.parameters()]) for n, w in trainer.task.networks.items()}

    def watched(trainer: Trainer, player: str, growth: Growth) -> None:
        before = weights(trainer)
        apply(trainer, player, growth)
        after = weights(trainer)
        moved.append((player, {name for name in before if not torch.equal(before[name], after[name])}))

    monkeypatch.setattr(Trainer, "_apply", watched)
    training = WatchedRun(tiny(task, pictures), tmp_path / "run")
    honest = training.trainer.task.loss

    def loss(player: str, *arguments: Any) -> Any:
        thawed = {n for n, w in training.trainer.task.networks.items() if any(p.requires_grad for p in w.parameters())}
        assert thawed == set(training.trainer.task.players[player])
        return honest(player, *arguments)

    monkeypatch.setattr(training.trainer.task, "loss", loss)
    training.stop_before = 6
    with pytest.raises(ProcessKilledError):
        train_run(training)
    order = ["discriminator", "generator"] if task == "pggan" else ["generator", "discriminator"]
    assert moved == [(player, set(training.trainer.task.players[player])) for player in order] * 6


@pytest.mark.parametrize("options", ["few", "all"])
@pytest.mark.parametrize("task", TASKS)
def test_a_step_never_waits_for_the_device(
    task: str, options: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = full(task, pictures) if options == "all" else {}
    training = Run(tiny(task, pictures, changes), tmp_path / "run")
    inside = False
    step = training.train_step

    def watched(*args: Any) -> None:
        nonlocal inside
        if training.schedule.at(training.trainer.nimg).stage != training.trainer.stage:
            step(*args)  # the first step of a stage checks the numbers
            return
        inside = True
        step(*args)
        inside = False

    for name in ("item", "tolist", "numpy", "cpu", "nonzero", *(f"__{n}__" for n in ("bool", "float", "int", "index"))):
        honest = getattr(Tensor, name)

        def guard(self: Tensor, *args: Any, name: str = name, honest: Any = honest, **kwargs: Any) -> Any:
            assert not inside, f"Tensor.{name} in a training step"
            return honest(self, *args, **kwargs)

        monkeypatch.setattr(Tensor, name, guard)
    monkeypatch.setattr(training, "train_step", watched)
    train_run(training)
    assert training.trainer.step == STEPS


class TestRunFolder:
    def test_holds_everything(self, pictures: Path, tmp_path: Path, real_plots: None) -> None:
        run = tmp_path / "run"
        recipe = tiny("cyclegan", pictures, {"training": {"keep_checkpoints": 1}})
        train(recipe, run)
        names = {str(p.relative_to(run)) for p in run.rglob("*")}
        last = f"nimg-{TOTAL:012d}"
        files = ("networks.safetensors", "ema.safetensors", "optimizers.safetensors", "rank-0.safetensors")
        expected = {"recipe.yaml", "stats.jsonl", "plan.png", "curves.png", "index.html"}
        expected |= {"samples", "snapshots", "checkpoints"}
        expected |= {f"samples/nimg-{n:012d}.png" for n in (0, 44, TOTAL)}
        for snapshot in ("nimg-000000000044", last):
            expected |= {f"snapshots/{snapshot}{f}" for f in ("", "/config.json", "/model.safetensors")}
        expected |= {f"checkpoints/{last}{f}" for f in ("", "/state.json", *(f"/{name}" for name in files))}
        assert names == expected
        for picture in ("plan.png", "curves.png"):
            assert Image.open(run / picture).width > 300
        assert load(run).config.nimg == TOTAL

    def test_statistics(
        self, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)  # lines that name a path are as long as it is
        run = Path("run")
        train(tiny("cyclegan", pictures), run)
        lines = stats(run, times=True)
        assert [line["nimg"] for line in lines] == [12, 24, 36, 48, 60, 72, 84, 88]
        assert [line["step"] for line in lines] == [3, 6, 9, 12, 15, 18, 21, 22]
        assert [line["stage"] for line in lines] == [0, 1, 1, 1, 2, 2, 2, 2]
        assert [line["alpha"] for line in lines] == [1, 0.25, 1, 1, 0.5, 1, 1, 1]
        assert lines[-1]["lr_scale"] == pytest.approx(0.2)  # the last step begins 4 pictures before the end
        for line in lines:
            assert all(isinstance(value, int | float) for value in line.values())
            assert {*TIMES, "loss/generator", "loss/discriminator", "cycle/aba", "penalty/r1_a"} <= line.keys()
            assert {"gradient/gen_ab", "gradient/disc_b", "score/real_a"} <= line.keys()
        out = capsys.readouterr()
        status = [line for line in out.out.splitlines() if line.startswith("kimg")]
        assert len(status) == len(lines)
        assert all(len(line) <= 100 for line in out.out.splitlines())
        assert "16 px alpha 0.50" in status[4]
        assert "alpha" not in status[5]
        for words in (" G ", " D ", " cycle ", " img/s", " left"):
            assert words in status[5]
        assert re.search(r" [MG]B ", status[5])
        assert "stage 1: 8 px opens at 0.016 kimg" in out.out
        assert out.err == ""  # no progress bar: this is no terminal

    def test_another_recipe_is_refused_with_the_difference(self, pictures: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        train(tiny("pggan", pictures), run, stop_before=6)
        before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
        other = tiny("pggan", pictures, {"seed": 4, "optimizer": {"reset": "stage"}})
        with pytest.raises(UserError) as error:
            train(other, run)
        words = f"{run} holds a run of another recipe; use another --run-dir, or undo these changes: seed: 3 -> 4; "
        assert str(error.value).startswith(words)
        assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before

    def test_what_says_how_a_run_is_saved_and_watched_may_change(self, pictures: Path, tmp_path: Path) -> None:
        whole = train(tiny("pggan", pictures), tmp_path / "whole")
        train(tiny("pggan", pictures), tmp_path / "run", stop_before=7)
        changes = {
            "status_kimg": 0.008, "sample_kimg": 0.02, "checkpoint_kimg": 0.03, "snapshot_kimg": 0.06,
            "permanent_kimg": 0.04, "keep_checkpoints": 3, "fallback_dir": str(tmp_path / "other"), "sample_count": 3,
            "trackers": ["tensorboard"], "recovery": {"attempts": 2},
        }  # fmt: skip
        recipe = tiny("pggan", pictures, {"training": changes, "data": {"workers": 1}})
        parts = train(recipe, tmp_path / "run")
        assert load_recipe(tmp_path / "run" / "recipe.yaml") == recipe
        for name, network in whole.trainer.task.networks.items():
            for key, value in network.state_dict().items():
                assert torch.equal(value, parts.trainer.task.networks[name].state_dict()[key]), f"{name}.{key}"

    def test_a_recipe_that_cannot_be_read_is_not_overwritten(self, pictures: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        run.mkdir()
        (run / "recipe.yaml").write_text("task: [")
        with pytest.raises(UserError, match=r"holds a run whose recipe cannot be read .*; use another --run-dir\.$"):
            train(tiny("pggan", pictures), run)
        assert (run / "recipe.yaml").read_text() == "task: ["

    def test_that_is_a_file(self, pictures: Path, tmp_path: Path) -> None:
        (tmp_path / "run").write_text("")
        with pytest.raises(UserError, match=r"^The run folder .*run cannot be made, because .*run is a file"):
            train(tiny("pggan", pictures), tmp_path / "run")
        with pytest.raises(UserError, match=r"run/below cannot be made, because .*/run is a file; choose another one"):
            check(tiny("pggan", pictures), tmp_path / "run" / "below")


@pytest.mark.parametrize("task", TASKS)
def test_the_panel_is_the_same_from_the_first_stage_to_the_last(
    task: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = WatchedRun(tiny(task, pictures, {"training": {"sample_kimg": 0.02}}), tmp_path / "run")
    panels: list[Mapping[str, Tensor]] = []
    monkeypatch.setattr(run_module, "sampling_costs", lambda *_: {0: 1.0, 1: 2.0, 2: 4.0})  # it samples too
    honest = training.trainer.task.sample

    def sample(networks: Any, panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        panels.append(panel)
        rows = honest(networks, panel, growth)
        assert all(row.shape[-1] == growth.resolution for row in rows)
        assert len({len(row) for row in rows}) == 1
        return rows

    monkeypatch.setattr(training.trainer.task, "sample", sample)
    train_run(training)
    assert len(panels) == 6
    if task == "pggan":
        assert all(torch.equal(panel["latents"], panels[0]["latents"]) for panel in panels)
        return
    # B has no held-out pictures, A has three: the grid has three columns, of the held-out ones of A.
    sizes = [panel["a"].shape[-1] for panel in panels]
    assert sizes == [4, 8, 8, 16, 16, 16]
    for domain, folder, chosen in (("a", "testA", [0, 1, 2]), ("b", "trainB", [0, 2, 4])):
        paths = sorted((pictures / folder).iterdir())
        means = [np.asarray(Image.open(paths[i])).mean() / 127.5 - 1 for i in chosen]
        for panel in panels:
            assert panel[domain].mean(dim=(1, 2, 3)).tolist() == pytest.approx(means, abs=0.05)


def test_broken_pictures_are_named_once_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_domains(tmp_path / "data")
    for name in ("trainA/03.png", "trainA/08.png", "trainB/03.png"):
        (data / name).write_bytes(b"broken")
    changes = {"data": {"max_broken": 0.5, "cache_resolution": 0}}
    train(tiny("cyclegan", data, changes), tmp_path / "run")
    lines = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert len(lines) == 3
    for i, line in enumerate(lines):
        assert line.endswith(f"(replaced by the next one; {i + 1} so far)")
    for words in ("domain a: 03.png", "domain a: 08.png", "domain b: 03.png"):
        assert sum(words in line for line in lines) == 1


def test_too_many_broken_pictures_stop_the_run(tmp_path: Path) -> None:
    data = write_domains(tmp_path / "data")
    (data / "trainA/03.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"^Domain real: .* broken"):
        train(tiny("pggan", data, {"data": {"max_broken": 0.01}}), tmp_path / "run")


def test_a_progress_bar_on_a_terminal(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    train(tiny("pggan", pictures), tmp_path / "run")
    assert "0.088/0.088 kimg" in capsys.readouterr().err


def test_processes_that_do_not_know_each_other_are_refused(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match=r"^The launcher started 2 processes, but each of them trains by itself"):
        train(tiny("pggan", pictures), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_start_tells_where_the_cache_of_pictures_is_and_how_large(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tiny("pggan", pictures)
    train(recipe, tmp_path / "runs/one", stop_before=0)
    arrays = [np.load(path, mmap_mode="r") for path in (tmp_path / "runs/.cache").rglob("*.npy")]
    assert 1000 < sum(array.nbytes for array in arrays) < 100_000
    size = "0.1 MB"
    line = f"cache of pictures: {size}{{}}, in runs/.cache"
    assert line.format(", built now") in capsys.readouterr().out.splitlines()
    train(recipe, tmp_path / "runs/two", stop_before=0)
    assert line.format("") in capsys.readouterr().out.splitlines()
    shutil.rmtree(tmp_path / "runs/.cache")
    train(recipe, tmp_path / "runs/two", stop_before=1)
    assert line.format(", built now") in capsys.readouterr().out.splitlines()
    train(tiny("pggan", pictures, {"data": {"cache_resolution": 0}}), tmp_path / "runs/three", stop_before=0)
    assert "cache of pictures" not in capsys.readouterr().out


def test_what_lies_among_the_pictures_and_is_left_out_is_said_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_domains(tmp_path / "data")
    closed = tmp_path / "data" / "trainA" / "lost+found"
    closed.mkdir()
    for name in ("a.cr2", "b.CR2", "clip.mov", "notes.txt"):
        (tmp_path / "data" / "trainA" / name).touch()
    real = os.scandir

    def scandir(folder: Any) -> Any:
        if str(folder) == str(closed):
            raise PermissionError(13, "Permission denied")
        return real(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    train(tiny("pggan", tmp_path / "data"), tmp_path / "run", stop_before=1)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("real: ")]
    assert lines == [
        "real: 3 files with other extensions are left out: CR2 2, MOV 1",
        f"real: warning: no permission to read a folder, so what is inside is left out: {closed}",
    ]
