"""Numbers that go bad: what the report says, and how a run goes on from its last checkpoint."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pairs import outputs, start_pair
from PIL import Image
from safetensors.torch import load_file
from tiny_runs import STEPS, TOTAL, WatchedRun, as_before, checkpoint_content, full, stats, tiny, train
from torch import Tensor

from progcycle.engine import train as train_module
from progcycle.engine.train import train_run
from progcycle.errors import UserError
from progcycle.recipe import Recipe, RecipeError, merge
from progcycle.runtime.checkpoint import checkpoints
from progcycle.schedule import Growth
from progcycle.tasks import CycleganTask, PretrainingTask

RECOVERY = {"training": {"recovery": {"attempts": 2, "lr_factor": 0.25}, "keep_checkpoints": 99}}
OnStep = Callable[[WatchedRun, Growth], None]


def _poison(step: int, times: int = 1, network: str = "generator") -> OnStep:
    """Make the gradients of a network NaN at a step, but only the first times that it comes."""
    left, active = [times], list[Callable[[], None]]()

    def on_step(training: WatchedRun, _: Growth) -> None:
        while active:
            active.pop()()
        if training.trainer.step == step and left[0]:
            left[0] -= 1
            for parameter in training.trainer.task.networks[network].parameters():
                handle = parameter.requires_grad_(True).register_hook(lambda gradient: gradient * math.nan)
                active.append(handle.remove)

    return on_step


def _report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_the_report_says_what_was_bad_and_holds_the_pictures(task: str, pictures: Path, tmp_path: Path) -> None:
    network = "discriminator" if task == "pggan" else "gen_ba"
    run, seen = tmp_path / "run", dict[int, Any]()
    losses: dict[int, dict[str, float]] = {}
    training = WatchedRun(tiny(task, pictures, {"optimizer": {"reset": "never"}}), run)
    honest = training.trainer.task.loss

    def loss(player: str, reals: Any, growth: Growth, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        total, figures = honest(player, reals, growth, step)
        losses.setdefault(step, {}).update({f"loss/{player}": total.item()})
        losses[step].update({name: value.item() for name, value in figures.items()})
        return total, figures

    training.trainer.task.loss = loss  # type: ignore[method-assign]
    training.on_step = _poison(13, network=network)
    step = training.train_step

    def shown(batches: Any, growth: Growth) -> None:
        seen[training.trainer.step] = {d: (b.images.clone(), b.positions, b.names) for d, b in batches.items()}
        step(batches, growth)

    training.train_step = shown  # type: ignore[method-assign]
    folder = run / "trouble" / "nimg-000000000052"
    with pytest.raises(UserError, match=re.escape(f"the report is in {folder}. To retry from")) as error:
        train_run(training)
    assert f"gradient/{network} not finite at step 13 (stage 2)" in str(error.value)
    report = _report(folder)
    # 52 pictures: 4 of the 16 in which 16 px fade in; the status line at 60 notices.
    expected = {"step": 13, "nimg": 52, "stage": 2, "resolution": 16, "alpha": 0.25, "fading": True, "attempt": 0}
    expected |= {"batch_size": 4, "seed": 3, "processes": 1, "precision": "no", "scalers": {}}
    expected |= {"noticed": {"step": 15, "nimg": 60}, "not_finite": [f"gradient/{network}"]}
    assert {key: report[key] for key in expected} == expected
    assert report["lr"] == {"generator": pytest.approx(0.003), "discriminator": pytest.approx(0.003)}
    assert any(name.startswith(f"{network}.") for name in report["weights_not_finite"])
    known = {name: value if math.isfinite(value) else str(value) for name, value in losses[13].items()}
    assert {name: report["figures"][name] for name in known} == known
    assert report["figures"][f"gradient/{network}"] == "nan"
    assert {f"gradient/{name}" for name in training.trainer.task.networks} <= report["figures"].keys()
    saved = load_file(folder / "pictures.safetensors")
    assert saved.keys() == seen[13].keys()
    for domain, (images, positions, names) in seen[13].items():
        assert torch.equal(saved[domain], images)
        assert report["pictures"][domain] == {"positions": list(positions), "names": list(names)}
        grid = np.asarray(Image.open(folder / f"{domain}.png"))
        first = images[0].permute(1, 2, 0).numpy().astype(int)
        assert np.abs(grid[:16, :16].astype(int) - first).max() <= 1
    assert {path.name for path in folder.iterdir()} == {
        "report.json", "pictures.safetensors", *(f"{domain}.png" for domain in saved)
    }  # fmt: skip


@pytest.mark.parametrize("where", ["weight", "average"])
def test_a_weight_that_is_not_finite_is_trouble_though_the_figures_are_fine(
    where: str, pictures: Path, tmp_path: Path
) -> None:
    def on_step(training: WatchedRun, _: Growth) -> None:
        if training.trainer.step == 5:  # 16 px are not there yet: no figure can tell
            networks = training.trainer.task.networks if where == "weight" else training.trainer.ema.networks
            list(networks["generator"].parameters())[-1].data.view(-1)[0] = math.inf

    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"^Training stopped: weights of generator not finite at step 5 \(stage 1\)"):
        train(tiny("pggan", pictures), run, on_step=on_step)
    report = _report(run / "trouble" / "nimg-000000000020")
    assert report["not_finite"] == []
    # The average follows the weight.
    names = [name.partition("generator.")[0] for name in report["weights_not_finite"]]
    assert names == (["", "ema."] if where == "weight" else ["ema."])
    assert [path.name for path in checkpoints(run / "checkpoints")] == ["nimg-000000000020"]  # from before that step


def _recovering(task: str, pictures: Path, changes: dict[Any, Any] | None = None) -> Recipe:
    return tiny(task, pictures, merge(RECOVERY, changes or {}))


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_a_run_goes_on_from_its_last_checkpoint_and_killed_there_too(
    task: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, network = _recovering(task, pictures), "generator" if task == "pggan" else "gen_ab"
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    first: dict[int, Any] = {}
    poison, rates = _poison(13, network=network), dict[int, float]()

    def on_step(training: WatchedRun, growth: Growth) -> None:
        if training.attempts.number == 0:
            first[training.trainer.step] = training.seen[training.trainer.step]
        elif training.trainer.step > 10:
            rates[training.trainer.step - 1] = training.trainer.optimizers["generator"].param_groups[0]["lr"]
        poison(training, growth)

    whole = train(recipe, straight, on_step=on_step)
    out = capsys.readouterr().out
    assert (whole.trainer.step, whole.attempts.number) == (STEPS, 1)
    # Step 13 is noticed at 60 pictures, before the checkpoint there; the one at 40 pictures is the last good one.
    assert f"warning: gradient/{network} not finite at step 13 (stage 2); the report is in " in out
    assert "returning to the last checkpoint, attempt 1 of 2: other pictures, learning rates multiplied by 0.25" in out
    assert f"resumed from {straight / 'checkpoints' / 'nimg-000000000040'} at 0.04 kimg" in out
    assert max(first) == 14
    for step in range(10, 15):
        ((_, before, _, sum_before), *_), ((_, after, _, sum_after), *_) = first[step], whole.seen[step]
        assert after == tuple(10**13 + position for position in before)
        assert sum_after != sum_before
    plan = {step: growth.lr_scale for step, (_, growth) in enumerate(whole.schedule.steps())}
    assert rates == pytest.approx({step: 0.003 * 0.25 * plan[step] for step in range(10, STEPS - 1)})
    lines = stats(straight)
    assert [line["nimg"] for line in lines] == [12, 24, 36, 48, 60, 72, 84, 88]
    assert [line.get("attempt") for line in lines] == [None, None, None, 1, 1, 1, 1, 1]
    assert [line["lr_scale"] for line in lines[2:5]] == [1, 0.25, 0.25]
    assert [path.name for path in (straight / "trouble").iterdir()] == ["nimg-000000000052"]

    # The first part is killed before another checkpoint knows of the attempt, the second one after it.
    poison = _poison(13, network=network)

    def kill(training: WatchedRun, growth: Growth) -> None:
        on_step(training, growth)
        training.stop_before = 12 if training.attempts.number else None

    parts = [train(recipe, broken, on_step=kill, stop_before=99)]
    parts += [train(recipe, broken, stop_before=18), train(recipe, broken)]
    assert [part.attempts.number for part in parts] == [1, 1, 1]
    assert [min(part.seen) for part in parts[1:]] == [10, 15]
    for part in parts[1:]:
        assert part.seen == {step: seen for step, seen in whole.seen.items() if step in part.seen}
    assert stats(broken) == lines
    names = [path.name for path in checkpoints(straight / "checkpoints")]
    assert names == [f"nimg-{nimg:012}" for nimg in (0, 20, 40, 60, 80, TOTAL)]
    assert names == [path.name for path in checkpoints(broken / "checkpoints")]
    for name in names:
        ours, theirs = (checkpoint_content(run / "checkpoints" / name) for run in (broken, straight))
        assert ours == theirs, name


def test_going_back_to_the_start_is_a_run_with_other_pictures(pictures: Path, tmp_path: Path) -> None:
    """Equal to a run whose pictures had those numbers from the beginning: nothing of the first attempt is left."""
    changes = merge(full("cyclegan", pictures), {"training": {"recovery": {"lr_factor": 1}}})
    recipe = _recovering("cyclegan", pictures, changes)
    tried = train(recipe, tmp_path / "tried", on_step=_poison(1, network="gen_ab"))
    other = WatchedRun(recipe, tmp_path / "other")
    other.attempts.number = 1
    train_run(other)
    assert tried.attempts.number == 1
    assert tried.seen == other.seen
    ours, theirs = (
        checkpoint_content(tmp_path / run / "checkpoints" / f"nimg-{TOTAL:012}") for run in ("tried", "other")
    )
    assert ours == theirs


def test_without_trouble_recovery_changes_nothing(pictures: Path, tmp_path: Path) -> None:
    plain = train(tiny("pggan", pictures), tmp_path / "plain")
    careful = train(_recovering("pggan", pictures), tmp_path / "careful")
    assert careful.seen == plain.seen
    assert stats(tmp_path / "careful") == stats(tmp_path / "plain")
    assert not (tmp_path / "careful" / "attempt.json").exists()
    old, new = (
        checkpoint_content(tmp_path / run / "checkpoints" / f"nimg-{TOTAL:012}") for run in ("plain", "careful")
    )
    assert old == new


def test_the_page_forgets_the_figures_of_the_attempt_that_failed(pictures: Path, tmp_path: Path) -> None:
    run, seen = tmp_path / "run", list[tuple[Any, Any]]()
    poison = _poison(6)

    def on_step(training: WatchedRun, growth: Growth) -> None:
        poison(training, growth)
        # stats.jsonl was cut by one line and is longer by one: no shorter than when the page looked last.
        if training.trainer.step == 6 and training.attempts.number:
            seen.append((training.page.figures.newest, stats(run, times=True)[-1]))

    train(_recovering("pggan", pictures, {"training": {"status_kimg": 0.004}}), run, on_step=on_step)
    ((shown, last),) = seen
    assert (shown["nimg"], shown["attempt"]) == (24, 1)
    assert shown == last


def test_attempts_that_are_used_up_stop_the_run(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    words = r"not finite at step 6 \(stage 1\), after 2 retries from a checkpoint; the last good"
    with pytest.raises(UserError, match=words):
        train(_recovering("pggan", pictures), run, on_step=_poison(6, times=99))
    assert [_report(folder)["attempt"] for folder in sorted((run / "trouble").iterdir())] == [0, 1, 2]
    assert _report(run / "trouble" / "nimg-000000000024-2")["lr"]["generator"] == pytest.approx(0.003 / 16)
    assert "attempt 2 of 2" in capsys.readouterr().out
    # The same command again is not another run with attempts of its own.
    with pytest.raises(UserError, match="after 2 retries"):
        train(_recovering("pggan", pictures), run, on_step=_poison(6, times=99))


def test_checkpoints_from_before_know_no_attempt(pictures: Path, tmp_path: Path) -> None:
    run, recipe = tmp_path / "run", tiny("pggan", pictures)
    train(recipe, run, stop_before=7)
    as_before(run / "checkpoints" / "nimg-000000000020", "attempt", "alarms")
    rest = train(recipe, run)
    assert (min(rest.seen), rest.trainer.step, rest.attempts.number) == (5, STEPS, 0)


def test_a_report_that_cannot_be_written_hides_nothing(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "trouble").write_text("in the way")
    with pytest.raises(UserError, match=r"generator not finite at step 1 .*the report could not be written \("):
        train(tiny("pggan", pictures), run, on_step=_poison(1))


@pytest.mark.parametrize(("key", "value"), [("attempts", 0), ("lr_factor", 0.0), ("lr_factor", 1.5), ("times", 2)])
def test_a_recovery_without_meaning_is_refused(key: str, value: float, pictures: Path) -> None:
    with pytest.raises(RecipeError, match=f"training.recovery.{key}"):
        tiny("pggan", pictures, {"training": {"recovery": {key: value}}})


def test_figures_are_kept_no_longer_than_needed(pictures: Path, tmp_path: Path) -> None:
    held: list[int] = []

    def on_step(training: WatchedRun, _: Growth) -> None:
        held.append(len(training.trainer.meter.recent))

    train(tiny("pggan", pictures), tmp_path / "run", on_step=on_step)
    # Two players, with a loss and norms each; a status line at the latest after three steps.
    assert max(held) <= 4 * 3
    assert 0 in held[1:]


def test_two_processes_go_back_together(pictures: Path, tmp_path: Path) -> None:
    runs = start_pair(Path(__file__).parent / "two_processes_non_finite.py", pictures, tmp_path)
    said = outputs(runs, 300)
    assert [run.returncode for run in runs] == [0, 0], said
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert first["attempt"] == second["attempt"] == 2
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]), name
    folders = sorted((tmp_path / "run" / "trouble").iterdir())
    assert [folder.name for folder in folders] == ["nimg-000000000024", "nimg-000000000024-1"]
    for attempt, folder in enumerate(folders):
        report = _report(folder)
        assert (report["attempt"], report["processes"], report["not_finite"]) == (attempt, 2, ["score/real"])
        assert report["figures"]["score/real"] == "nan"
        assert report["pictures"]["real"]["positions"] == [attempt * 10**13 + 24 + i for i in range(4)]
    # Step 6 of the third attempt, as each process saw its half of it.
    for rank, run in enumerate((first, second)):
        ((_, positions, _, _),) = run["seen"][6]
        assert positions == tuple(2 * 10**13 + 24 + i for i in (rank, rank + 2))
    assert [line["nimg"] for line in stats(tmp_path / "run")] == [12, 24, 36, 48, 60, 72, 84, 88]


def test_pre_training_and_the_task_have_attempts_of_their_own(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    for kind in (PretrainingTask, CycleganTask):

        def loss(task: Any, player: str, reals: Any, growth: Growth, step: int, honest: Any = kind.loss) -> Any:
            total, figures = honest(task, player, reals, growth, step)
            name = type(task).__name__
            if step == 1 and name not in taken:
                taken.append(name)
                return total * math.nan, figures
            return total, figures

        monkeypatch.setattr(kind, "loss", loss)
    changes = {
        "schedule": {"stable_kimg": 0.008, "fade_kimg": 0.008},
        "pretraining": {"schedule": {"stable_kimg": 0.004, "fade_kimg": 0, "batch_size": 4}},
    }
    run = tmp_path / "run"
    training = train_module.train(_recovering("cyclegan", pictures, changes), run)
    assert taken == ["PretrainingTask", "CycleganTask"]
    assert (training.trainer.nimg, training.attempts.number) == (40, 1)
    for folder in (run, run / "pretraining"):
        report = _report(folder / "trouble" / "nimg-000000000004")
        assert (report["attempt"], report["not_finite"]) == (0, ["loss/generator"])
        assert stats(folder)[-1]["attempt"] == 1
    # The task begins again from what was pre-trained, not from weights at random.
    before, start = (
        load_file(path / "ema.safetensors")
        for path in (checkpoints(run / "pretraining" / "checkpoints")[-1], checkpoints(run / "checkpoints")[0])
    )
    assert all(torch.equal(before[name], start[name]) for name in before)
