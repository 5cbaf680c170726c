"""Pre-training and training one after the other: real tiny runs, interrupted, resumed and compared bit for bit."""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import ProcessKilledError, checkpoint_content, gradients_at, stats, tiny, tiny_content
from torch import Tensor, nn

from progcycle.data import Batch
from progcycle.engine.folder import has_checkpoint
from progcycle.engine.initial_weights import PRETRAINING
from progcycle.engine.run import Run
from progcycle.engine.train import check, train
from progcycle.errors import UserError
from progcycle.evaluation import EVALUATORS
from progcycle.export import load
from progcycle.recipe import Recipe, merge, validate
from progcycle.runtime.checkpoint import checkpoints, newest_whole, read
from progcycle.schedule import Growth

# Training has 10 steps of 4 pictures, its phases 2 steps each; pre-training has half of that.
SOME: dict[str, Any] = {
    "pretraining": {},
    "schedule": {"stable_kimg": 0.008, "fade_kimg": 0.008},
    "training": {"checkpoint_kimg": 0.008, "status_kimg": 0.004, "keep_checkpoints": 99},
}
LAST = "checkpoints/nimg-000000000020"


class Watch:
    """Every training of a run, with what it had before its first step, and a kill before one of all steps."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runs: list[Run] = []
        self.first: list[dict[str, Tensor]] = []
        self.stages: list[list[int]] = []
        self.steps, self.kill_before = 0, -1
        watch, step = self, Run.train_step

        def watched(training: Run, batches: Mapping[str, Batch], growth: Growth) -> None:
            if watch.steps == watch.kill_before:
                raise ProcessKilledError
            watch.steps += 1
            if training not in watch.runs:
                assert (
                    not any(optimizer.state for optimizer in training.trainer.optimizers.values())
                    or training.trainer.nimg
                )
                watch.runs.append(training)
                watch.stages.append([])
                ema = {f"ema.{key}": w for key, w in weights(training.trainer.ema.networks).items()}
                watch.first.append(
                    {key: w.clone() for key, w in {**ema, **weights(training.trainer.task.networks)}.items()}
                )
            watch.stages[-1].append(growth.stage)
            step(training, batches, growth)

        monkeypatch.setattr(Run, "train_step", watched)

    def run(self, recipe: Recipe, folder: Path, kill_before: int = -1) -> None:
        self.runs, self.first, self.stages, self.steps, self.kill_before = [], [], [], 0, kill_before
        try:
            train(recipe, folder)
        except ProcessKilledError:
            assert self.steps == kill_before


def weights(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {f"{name}.{key}": w for name, network in networks.items() for key, w in network.state_dict().items()}


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def same_checkpoints(ours: Path, theirs: Path) -> int:
    names = [path.name for path in checkpoints(theirs / "checkpoints")]
    assert [path.name for path in checkpoints(ours / "checkpoints")] == names
    for name in names:
        assert checkpoint_content(ours / "checkpoints" / name) == checkpoint_content(theirs / "checkpoints" / name)
    return len(names)


def test_training_begins_from_the_averages_of_pre_training_wherever_it_was_killed(
    watch: Watch, pictures: Path, tmp_path: Path
) -> None:
    recipe, run = tiny("cyclegan", pictures, SOME), tmp_path / "run"
    watch.run(recipe, run)
    assert [training.run_dir for training in watch.runs] == [run / "pretraining", run]
    assert watch.stages == [[0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 1, 2, 2, 2, 2]]
    averages = read(run / "pretraining" / LAST, "ema")
    assert {key.partition(".")[0] for key in averages} == {"gen_ab", "gen_ba"}
    untrained, first = watch.first
    for key, value in averages.items():
        assert torch.equal(first[key], value)
        assert torch.equal(first[f"ema.{key}"], value)
    changed = [key for key in averages if not torch.equal(untrained[key], first[key])]
    assert len(changed) > len(averages) / 2
    figures = [line for line in stats(run / "pretraining") if "step" in line]
    assert len(figures) == 5
    assert all(line["inpainting/gen_ab"] > 0 < line["inpainting/gen_ba"] for line in figures)
    assert (run / "pretraining/samples/nimg-000000000020.png").exists()
    assert load(run / "pretraining").config.nimg == 20
    assert not (run / ".cache").exists(), "the caches beside the run folder serve both"

    parts = tmp_path / "parts"
    for kill, steps in ((1, [1]), (3, [3]), (3, [3]), (5, [5])):
        watch.run(recipe, parts, kill_before=kill)  # before a checkpoint; in, right after, and long after pre-training
        assert [len(stages) for stages in watch.stages] == steps
    assert [training.run_dir for training in watch.runs] == [parts]
    watch.run(recipe, parts)
    assert watch.steps == 6
    for folder in ("", "pretraining"):
        assert same_checkpoints(parts / folder, run / folder) >= 3
        assert stats(parts / folder) == stats(run / folder)


def test_before_the_task_begins_its_page_leads_to_that_of_pre_training(
    watch: Watch, pictures: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    watch.run(tiny("cyclegan", pictures, SOME), run, kill_before=2)
    (link,) = re.findall(r'http-equiv="refresh" content="0; url=(.*)"', (run / "index.html").read_text())
    assert f'href="{link}"' in (run / "index.html").read_text()
    assert (run / link).samefile(run / "pretraining/index.html")
    assert 'href="../index.html"' in (run / link).read_text(), "the way back"
    watch.run(tiny("cyclegan", pictures, SOME), run)
    assert 'data-state="finished"' in (run / "index.html").read_text()


def test_what_is_to_be_said_of_the_pictures_is_said_once_for_both_trainings(
    watch: Watch, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "pictures"
    shutil.copytree(pictures, root)
    (root / "trainA" / "film.mov").touch()
    recipe = tiny("cyclegan", root, {**SOME, "data": {"cache_resolution": 8}})
    watch.run(recipe, tmp_path / "run")
    assert [training.run_dir.name for training in watch.runs] == ["pretraining", "run"]
    assert all(training.context.notes and training.context.remarks() for training in watch.runs)
    lines = capsys.readouterr().out.splitlines()
    for line in {line for training in watch.runs for line in (*training.context.notes, *training.context.remarks())}:
        assert lines.count(line) == 1


def test_judges_begin_as_without_pre_training(watch: Watch, pictures: Path, tmp_path: Path) -> None:
    watch.run(tiny("cyclegan", pictures, SOME), tmp_path / "some", kill_before=6)
    some = watch.first[-1]
    watch.run(tiny("cyclegan", pictures, {**SOME, "pretraining": None}), tmp_path / "none", kill_before=1)
    none = watch.first[-1]
    changed = {key.partition(".")[0] for key in some if not torch.equal(some[key], none[key])}
    assert changed == {"ema", "gen_ab", "gen_ba"}


def test_a_run_with_a_checkpoint_never_pretrains_again(
    watch: Watch, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = tiny("cyclegan", pictures, SOME), tmp_path / "run"
    watch.run(recipe, run, kill_before=5 + 3)
    (run / "pretraining").rename(tmp_path / "away")
    capsys.readouterr()
    watch.run(recipe, run)
    assert [training.run_dir for training in watch.runs] == [run]
    assert watch.steps == 10 - 2  # from the checkpoint after 2 steps
    assert "begin from" not in capsys.readouterr().out
    assert not (run / "pretraining").exists()


def test_what_it_begins_with_is_called_once_and_comes_before_pre_training(
    watch: Watch, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = tiny("cyclegan", pictures, SOME), tmp_path / "run"
    calls: list[int] = []

    def start_from(networks: Mapping[str, nn.Module]) -> list[str]:
        calls.append(watch.steps)
        with torch.no_grad():
            next(networks["gen_ab"].parameters()).fill_(0.25)
        return ["gen_ab: a quarter"]

    monkeypatch.setattr("progcycle.engine.initial_weights.warm_start", lambda recipe: start_from)

    watch.run(recipe, run, kill_before=3)
    assert calls == [0]
    key = next(iter(watch.first[0]))
    assert key.startswith("ema.gen_ab.")
    assert (watch.first[0][key] == 0.25).all()
    assert "gen_ab: a quarter" in capsys.readouterr().out
    watch.run(recipe, run, kill_before=6)
    watch.run(recipe, run, kill_before=1)
    assert [training.run_dir for training in watch.runs] == [run]
    assert calls == [0]

    plain = tiny("cyclegan", pictures, {**SOME, "pretraining": None})
    watch.run(plain, tmp_path / "plain", kill_before=3)
    watch.run(plain, tmp_path / "plain", kill_before=1)
    assert watch.runs[0].trainer.nimg == 12
    assert calls == [0, 0]


def test_both_runs_have_trackers_of_their_own(watch: Watch, pictures: Path, tmp_path: Path) -> None:
    change = merge(SOME, {"training": {"trackers": ["tensorboard"]}})
    watch.run(tiny("cyclegan", pictures, change), tmp_path / "run")
    for folder in ("run/pretraining", "run"):
        assert list((tmp_path / folder / "progcycle").glob("**/events.out*"))


def test_the_folder_belongs_to_its_recipe_from_the_first_checkpoint_on(
    watch: Watch, pictures: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    other = tiny("cyclegan", pictures, merge(SOME, {"objective": {"pool_size": 7}}))
    watch.run(other, run, kill_before=1)
    watch.run(tiny("cyclegan", pictures, SOME), run, kill_before=3)
    for attempt in (lambda: train(other, run), lambda: check(other, run)):
        with pytest.raises(UserError, match=r"pretraining holds a run of another recipe; .*\.pool_size: 6 -> 7\."):
            attempt()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"objective": {"loss": "wgan"}}, "objective: wgan needs"),
        ({"training": {"precision": "fp16"}}, "fp16 needs a CUDA GPU"),
        ({"pretraining": {"kind": "autoencoding"}}, "pretraining.kind: "),
        ({"pretraining": {"schedule": {"hold_resolution": 32}}}, "pretraining.schedule.hold_resolution: 32 is above"),
    ],
)
def test_what_either_would_refuse_is_refused_before_anything_is_written(
    change: dict[str, Any], words: str, pictures: Path, tmp_path: Path
) -> None:
    recipe = tiny("cyclegan", pictures, merge(SOME, change))
    for attempt in (train, check):
        with pytest.raises(UserError, match=words):
            attempt(recipe, tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_schedule_of_its_own_may_end_earlier_and_a_device_may_take_single_pictures(
    watch: Watch, pictures: Path, tmp_path: Path
) -> None:
    """Nothing compares the pictures of a batch in pre-training, so that they may be computed one by one."""
    own = {"stable_kimg": 0.006, "fade_kimg": 0, "hold_resolution": 8, "batch_size": 3}
    change = {"pretraining": {"schedule": own}, "training": {"max_batch_per_device": 2}}
    watch.run(tiny("cyclegan", pictures, change), tmp_path / "run", kill_before=5)
    assert watch.stages == [[0, 0, 1, 1], [0]]


def test_parts_of_a_batch_give_its_gradients(pictures: Path, tmp_path: Path) -> None:
    found = []
    for limit in (None, 2):
        content = tiny_content("cyclegan", pictures, merge(SOME, {"training": {"max_batch_per_device": limit}}))
        before = validate(content).preparation_recipe
        assert before is not None
        training = Run(before, tmp_path / f"run{limit}", preparation=PRETRAINING)
        found.append(gradients_at(training, (0, 4, 12)))
    whole, parts = found
    assert whole.keys() == parts.keys()
    assert len(whole) > 30
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-9, atol=1e-12, msg=name)


def test_a_damaged_checkpoint_of_pre_training_is_trained_again(watch: Watch, pictures: Path, tmp_path: Path) -> None:
    recipe, run = tiny("cyclegan", pictures, SOME), tmp_path / "run"
    watch.run(recipe, run, kill_before=6)
    (run / "pretraining" / LAST / "ema.safetensors").write_bytes(b"torn")
    watch.run(recipe, run, kill_before=2)
    assert [len(stages) for stages in watch.stages] == [1, 1]  # from 16 pictures on
    found = newest_whole(run / "pretraining/checkpoints", print)
    assert found is not None
    assert found[1]["nimg"] == 20
    assert not has_checkpoint(run, recipe)


def test_what_measures_the_task_is_made_once(
    watch: Watch, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Recipe] = []

    def make(recipe: Recipe, cache_dir: Path | None) -> Any:
        made.append(recipe)
        return lambda sample, nimg: {"kid": 1.0}

    monkeypatch.setitem(EVALUATORS, "cyclegan", make)
    recipe = tiny("cyclegan", pictures, merge(SOME, {"training": {"evaluation": {"every_kimg": 0.004}}}))
    _, evaluate = check(recipe, tmp_path / "run")
    assert evaluate is not None
    assert made == [recipe]
    watch.run(recipe, tmp_path / "run", kill_before=7)  # the second step of the task
    assert made == [recipe, recipe]
    assert {line["metric/kid"] for line in stats(tmp_path / "run") if "metric/kid" in line} == {1.0}


# --- whoever starts it --------------------------------------------------------------------------------------------


def test_a_trainer_alone_begins_from_pre_training_that_is_finished(
    watch: Watch, pictures: Path, tmp_path: Path
) -> None:
    recipe, run = tiny("cyclegan", pictures, SOME), tmp_path / "run"

    def refused() -> None:
        with pytest.raises(UserError, match=r"pretraining: .*run/pretraining has no finished pre-training to begin fr"):
            Run(recipe, run)
        assert not (run / "recipe.yaml").exists()

    refused()
    watch.run(recipe, run, kill_before=3)
    (run / "recipe.yaml").unlink()
    refused()
    watch.run(recipe, run, kill_before=3)  # the last two steps of pre-training, and one after it
    training = Run(recipe, run)
    averages = read(run / "pretraining" / LAST, "ema")
    first = weights(training.trainer.task.networks)
    assert all(torch.equal(first[key], value) for key, value in averages.items())


@pytest.mark.parametrize("before", [None, {}])
def test_first_weights_that_are_not_there_are_refused(
    before: Any, watch: Watch, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("cyclegan", pictures, {**SOME, "pretraining": before, "warm_start": {"gen_ab": "gone"}})
    run = tmp_path / "run"
    for attempt in (train, check, *([Run] if before is None else [])):
        with pytest.raises(UserError, match=r"^warm_start.gen_ab: gone does not exist"):
            attempt(recipe, run)  # type: ignore[operator]
        assert not run.exists()
    with monkeypatch.context() as patch:
        patch.setattr("progcycle.engine.initial_weights.warm_start", lambda recipe: lambda networks: ["given"])
        watch.run(recipe, run, kill_before=3)
    watch.run(recipe, run, kill_before=1)  # resumed, it needs them no more
