"""What a run folder binds: which changes a run that goes on accepts, and what comes of them."""

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import as_before, checkpoint_content, full, tiny, train, write_pictures

from progcycle.engine.folder import check_folder, read_checkpoint_info
from progcycle.errors import UserError
from progcycle.evaluation.sampler import Sampler
from progcycle.recipe import Recipe, dump, load_recipe, merge
from progcycle.runtime import checkpoint
from progcycle.runtime.checkpoint import checkpoints, read

EVEN = {"schedule": {"decay_kimg": 0}}


def last(run: Path) -> dict[str, Any]:
    """The newest checkpoint: what the next steps depend on."""
    path = checkpoints(run / "checkpoints")[-1]
    return {"name": path.name, **{name: checkpoint_content(path)[f"{name}.safetensors"] for name in NAMES}}


NAMES = ("networks", "ema", "optimizers", "rank-0")


@pytest.fixture(scope="module")
def stopped(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PG-GAN's run whose newest checkpoint is at 60 pictures, in the fade to 16 px; it is not to be written to."""
    run = tmp_path_factory.mktemp("stopped") / "run"
    train(tiny("pggan", pictures), run, stop_before=17)
    return run


def check(run: Path, recipe: Recipe) -> None:
    check_folder(run, recipe, read_checkpoint_info(run, recipe))


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_a_longer_plan_goes_on_as_if_it_had_been_the_plan_from_the_start(
    task: str, pictures: Path, tmp_path: Path
) -> None:
    """A finished run that was held at 8 px, then let grow, then made longer."""
    longer = tiny(task, pictures, merge(EVEN, {"schedule": {"stable_kimg": {4: 0.016, 8: 0.016, 16: 0.04}}}))
    train(longer, tmp_path / "straight")
    plans = (merge(EVEN, {"schedule": {"hold_resolution": 8}}), EVEN)
    shown = [train(tiny(task, pictures, change), tmp_path / "parts").trainer.nimg for change in plans]
    training = train(longer, tmp_path / "parts")
    assert [*shown, training.trainer.nimg] == [48, 88, 104]
    assert sorted(training.seen) == [22, 23, 24, 25]
    assert load_recipe(tmp_path / "parts/recipe.yaml") == longer
    assert last(tmp_path / "parts") == last(tmp_path / "straight")


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (
            {"decay_kimg": 0.05},
            "schedule.decay_kimg: 0.02 -> 0.05; the growth plan may change only beyond the 0.06 kimg",
        ),
        ({"fade_kimg": {8: 0.016, 16: 0.02}}, "schedule.fade_kimg.16: left out -> 0.02; .* differs from 0.052 kimg on"),
        ({"batch_size": {"default": 4, 4: 2}}, "schedule.batch_size.4: left out -> 2; .* differs from 0 kimg on"),
        ({"total_kimg": 0.1, "rampup_kimg": 0.01}, "schedule.rampup_kimg: 0.0 -> 0.01; .* differs from 0 kimg on"),
        ({"hold_resolution": 8}, "schedule.hold_resolution: null -> 8; .* differs from 0.032 kimg on"),
    ],
)
def test_a_plan_that_changes_what_was_shown_is_refused(
    schedule: Mapping[str, Any], words: str, pictures: Path, stopped: Path
) -> None:
    with pytest.raises(
        UserError, match=f"run holds a run of another recipe; use another --run-dir, or undo these changes: .*{words}"
    ):
        check(stopped, tiny("pggan", pictures, {"schedule": schedule}))


@pytest.mark.parametrize(
    "schedule",
    [{"total_kimg": 5}, {"stable_kimg": {4: 0.016, 8: 0.016, 16: 3}}, {"decay_kimg": 0}, {"decay_kimg": 0.03},
     {"batch_size": {"default": 4, 32: 2}}, {"stage_rampup_kimg": 0}],
)  # fmt: skip
def test_a_plan_may_change_behind_what_was_shown(schedule: Mapping[str, Any], pictures: Path, stopped: Path) -> None:
    check(stopped, tiny("pggan", pictures, {"schedule": schedule}))


def test_what_is_trained_is_bound(pictures: Path, stopped: Path) -> None:
    changes = {
        "seed": 4,
        "data": {"mirror": False},
        "objective": {"drift": 0.1},
        "training": {"ema": {"half_life_kimg": 1}},
        "optimizer": {"reset": "never"},
    }
    words = {
        "seed: 3 -> 4",
        "data.mirror: true -> false",
        "optimizer.reset: fade_edges -> never",
        "training.ema.half_life_kimg: 0.02 -> 1.0",
        "objective.drift: 0.001 -> 0.1",
    }
    with pytest.raises(UserError) as refused:
        check(stopped, tiny("pggan", pictures, changes))
    found = str(refused.value).partition("or undo these changes: ")[2]
    assert set(found.rstrip(".").split("; ")) == words


# --- keys of operation --------------------------------------------------------------------------------------------


def _evaluate(sample: Sampler, nimg: int) -> dict[str, float]:
    return {"swd": 1.0 / nimg}


def test_evaluation_and_caches_may_change_and_the_result_is_equal_to_the_bit(pictures: Path, tmp_path: Path) -> None:
    base = tiny("cyclegan", pictures, {"data": {"validation": 0.5}})
    train(base, tmp_path / "straight/run")
    run = tmp_path / "changed/run"
    train(base, run, stop_before=8)
    data = {
        "cache_dir": str(tmp_path / "elsewhere"),
        "max_broken": 0.5,
        "max_pixels": 10**9,
        "paired": False,
        "a": {"test_path": str(pictures / "testA")},
    }
    change: dict[str, Any] = {
        "data": {"validation": 0.5, **data},
        "training": {"evaluation": {"every_kimg": 0.02, "best": "swd"}, "sample_count": 3},
    }
    train(tiny("cyclegan", pictures, change), run, stop_before=15, evaluate=_evaluate)
    assert (tmp_path / "elsewhere").exists()
    change = merge(change, {"data": {"cache_resolution": 0}, "training": {"evaluation": None}})
    train(tiny("cyclegan", pictures, change), run)
    assert last(run) == last(tmp_path / "straight/run")


def test_a_batch_in_parts_goes_on_with_the_run(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny("pggan", pictures), run, stop_before=8)
    training = train(tiny("pggan", pictures, {"training": {"max_batch_per_device": 2}}), run)
    assert min(training.seen) == 5
    assert training.trainer.nimg == 88


# --- folders without checkpoints ----------------------------------------------------------------------------------


def test_a_folder_without_a_checkpoint_binds_nobody(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny("pggan", pictures), run, stop_before=3)
    assert not checkpoints(run / "checkpoints")
    other = tiny("cyclegan", pictures, {"seed": 8})
    train(other, run, stop_before=1)
    assert load_recipe(run / "recipe.yaml") == other


def test_a_recipe_that_somebody_wrote_into_the_folder_is_not_replaced_by_another(
    pictures: Path, tmp_path: Path
) -> None:
    run, file = tmp_path / "run", tmp_path / "run/recipe.yaml"
    run.mkdir()
    file.write_text("# mine\n" + dump(tiny("pggan", pictures)))
    check(run, tiny("pggan", pictures))
    with pytest.raises(
        UserError, match=r"run/recipe\.yaml holds another recipe, which was written or edited by hand .* rename"
    ):
        check(run, tiny("pggan", pictures, {"seed": 8}))
    file.write_text(dump(tiny("pggan", pictures)))
    check(run, tiny("pggan", pictures, {"seed": 8}))


def test_results_whose_checkpoints_are_gone_are_not_mixed_with_others(
    pictures: Path, stopped: Path, tmp_path: Path
) -> None:
    """The advice works: once they are moved away, the folder is free."""
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    shutil.rmtree(run / "checkpoints")
    (run / "best").mkdir()
    check(run, tiny("pggan", pictures))
    other = tiny("pggan", pictures, {"seed": 8})
    words = f"{run}/snapshots and {run}/best hold results of another recipe, whose checkpoints are gone; use another"
    with pytest.raises(UserError, match=re.escape(words)):
        check(run, other)
    for name in ("snapshots", "best"):
        (run / name).rename(tmp_path / name)
    check(run, other)


def test_the_newest_checkpoint_that_can_be_read_tells(pictures: Path, stopped: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(stopped, run)
    *_, before, newest = checkpoints(run / "checkpoints")
    (newest / "state.json").write_text("{}")
    record = read_checkpoint_info(run, tiny("pggan", pictures))
    assert record is not None
    assert record.nimg == 60
    assert record.state["nimg"] == int(before.name[5:]) == 40
    assert read(newest, "networks").keys()
    assert read_checkpoint_info(tmp_path / "none", tiny("pggan", pictures)) is None


# --- pictures -----------------------------------------------------------------------------------------------------


def _copied(pictures: Path, tmp_path: Path) -> Path:
    """A data set of its own to change."""
    shutil.copytree(pictures, tmp_path / "pictures")
    return tmp_path / "pictures"


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_the_same_pictures_elsewhere_are_the_same_run(
    task: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = full(task, pictures) if task == "pggan" else {}  # with a file of labels, which moves along
    train(tiny(task, pictures, options), tmp_path / "straight/run")
    run = tmp_path / "moved/run"
    train(tiny(task, pictures, options), run, stop_before=8)
    elsewhere = tmp_path / "b" / "c"
    shutil.copytree(pictures, elsewhere)
    recipe = tiny(task, elsewhere, full(task, elsewhere) if task == "pggan" else {})
    capsys.readouterr()
    assert min(train(recipe, run).seen) == 5
    domain, folder = ("real", "trainA") if task == "pggan" else ("b", "trainB")
    count = 11 if task == "pggan" else 7
    assert (
        f"domain {domain}: the same {count} pictures as before, now in {elsewhere / folder}" in capsys.readouterr().out
    )
    assert last(run) == last(tmp_path / "straight/run")


def test_pictures_added_or_removed_are_warned_of_with_both_numbers(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, run = _copied(pictures, tmp_path), tmp_path / "run"
    train(tiny("pggan", own), run, stop_before=8)
    write_pictures(own / "trainA/more", 3, seed=9)
    (own / "trainA/00.png").unlink()
    capsys.readouterr()
    assert train(tiny("pggan", own), run).trainer.nimg == 88
    told = capsys.readouterr().out
    assert (
        "warning: domain real: there were 11 pictures, now there are 13; training continues with the pictures" in told
    )
    train(tiny("pggan", own), run)
    assert "warning" not in capsys.readouterr().out, "said once"


def test_other_pictures_at_another_path_are_refused(pictures: Path, tmp_path: Path) -> None:
    own, run = _copied(pictures, tmp_path), tmp_path / "run"
    train(tiny("cyclegan", pictures), run, stop_before=8)
    (own / "trainB/00.png").unlink()
    before = sorted(run.rglob("*"))
    with pytest.raises(UserError) as refused:
        train(tiny("cyclegan", own), run)
    assert str(refused.value) == (
        f"The run in {run} was trained on other pictures of domain b: there were 7 pictures, now there are 6; "
        f"use another --run-dir, or undo these changes: data.root: {pictures} -> {own}."
    )
    assert sorted(run.rglob("*")) == before


def _rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change what a checkpoint tells."""
    content = json.loads((path / "state.json").read_text())
    del content["digest"]
    change(content)
    content["digest"] = checkpoint._text_digest(content)
    (path / "state.json").write_text(json.dumps(content))


def test_a_device_of_another_kind_is_told_of(
    pictures: Path, stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(stopped, tmp_path / "run")
    _rewrite(checkpoints(tmp_path / "run/checkpoints")[-1], lambda content: content.update(device="cuda"))
    train(tiny("pggan", pictures), tmp_path / "run", stop_before=15)
    assert "the checkpoint was written on cuda, this run is on cpu" in capsys.readouterr().out


def test_a_checkpoint_that_does_not_tell_of_its_pictures_and_precision_still_resumes(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As those of version 0.1."""
    own, run = _copied(pictures, tmp_path), tmp_path / "run"
    auto = {"training": {"precision": "auto"}}
    train(tiny("pggan", pictures, auto), run, stop_before=8)
    path = checkpoints(run / "checkpoints")[-1]
    as_before(path, "pictures", "precision", "device")
    with pytest.raises(
        UserError, match=r"too old to record which pictures these were; .* or undo these changes: data\.path: "
    ):
        train(tiny("pggan", own, auto), run)
    capsys.readouterr()
    assert train(tiny("pggan", pictures, auto), run).trainer.nimg == 88
    assert "the checkpoint does not record which precision auto chose; from here on it is " in capsys.readouterr().out
