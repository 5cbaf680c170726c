"""``start_from``: runs that begin with the weights of a finished one."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import TASKS, ProcessKilledError, WatchedRun, tiny, write_domains

from progcycle.engine.build import build
from progcycle.engine.state import tensors_of as part
from progcycle.engine.train import check, train, train_run
from progcycle.errors import UserError
from progcycle.export import load
from progcycle.recipe import Recipe, RecipeError, merge
from progcycle.runtime import checkpoint

TRAINED = {
    "resolution": 8,
    "schedule": {"stable_kimg": {4: 0.004, 8: 0.008, 16: 0}, "fade_kimg": 0.004, "decay_kimg": 0},
    "training": {"checkpoint_kimg": 1, "snapshot_kimg": 1, "sample_kimg": 1, "status_kimg": 1},
}
FIRST = {"schedule": {"start_resolution": 8, "stable_kimg": 0.008, "fade_kimg": 0.004, "decay_kimg": 0}}


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_domains(tmp_path_factory.mktemp("domains"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, domains: Path) -> dict[str, Path]:
    """A finished run of each task at 8 px."""
    folder = tmp_path_factory.mktemp("runs")
    for task in TASKS:
        train_run(WatchedRun(tiny(task, domains, TRAINED), folder / task))
    return {task: folder / task for task in TASKS}


def larger(task: str, domains: Path, start: Any, changes: Any = None) -> Recipe:
    """A recipe at 16 px that grows from 8."""
    return tiny(task, domains, merge({**FIRST, "seed": 11, "start_from": start}, changes or {}))


@pytest.mark.parametrize("which", ["generators", "all"])
@pytest.mark.parametrize("task", TASKS)
def test_stages_that_the_run_has_are_its_own_and_those_above_are_new(
    task: str, which: str, runs: dict[str, Path], domains: Path, tmp_path: Path
) -> None:
    recipe = larger(task, domains, {"run": str(runs[task]), "networks": which})
    fresh = build(recipe).task.networks
    training = WatchedRun(recipe, tmp_path / "run")
    model = load(runs[task])
    newest = checkpoint.newest_whole(runs[task] / "checkpoints", print)
    assert newest is not None
    trained = checkpoint.read(newest[0], "networks")
    copied = 0
    for name, network in training.trainer.task.networks.items():
        source = part(model.state_dict(), name) if name in model.config.networks else part(trained, name)
        begun = name in model.config.networks or which == "all"
        for key, tensor in network.state_dict().items():
            if begun and key in source:
                assert torch.equal(tensor, source[key]), f"{name}.{key}"
                copied += 1
            else:
                assert torch.equal(tensor, fresh[name].state_dict()[key]), f"{name}.{key}"
        assert not begun or source.keys() < network.state_dict().keys(), "every stage below is there, and one is new"
    assert copied > 8
    for name in training.trainer.task.ema_of:  # the averages begin there too, and paint what the run painted
        averaged = training.trainer.ema.networks[name]
        generator = torch.Generator().manual_seed(0)
        x = torch.randn((2, 8) if task == "pggan" else (2, 3, 8, 8), generator=generator)
        with torch.no_grad():
            torch.testing.assert_close(averaged(x, 1, 1.0), getattr(model, name)(x, 1, 1.0), rtol=0, atol=1e-6)
    train_run(training)
    assert training.trainer.nimg == training.schedule.total


def test_other_data_and_another_objective_may_follow_and_a_resumed_run_needs_it_no_more(
    runs: dict[str, Path], domains: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs["pggan"], tmp_path / "first")
    changes: dict[str, Any] = {"resolution": 8, "objective": {"loss": "hinge", "drift": 0}}
    changes["data"] = {"path": str(domains / "trainB"), "augment": []}
    changes["training"] = {"checkpoint_kimg": 0.004}
    recipe = larger("pggan", domains, str(tmp_path / "first"), changes)
    assert recipe.start_from is not None
    assert recipe.start_from.networks == "generators"
    training = WatchedRun(recipe, tmp_path / "run")
    training.stop_before = 1
    with pytest.raises(ProcessKilledError):
        train_run(training)
    out = capsys.readouterr().out
    assert f"generator begins from {tmp_path / 'first'}/snapshots/nimg-000000000016, after 0.016 kimg\n" in out
    (tmp_path / "first").rename(tmp_path / "gone")
    resumed = train(recipe, tmp_path / "run")
    assert resumed.trainer.nimg == 8
    assert "begin from" not in capsys.readouterr().out


def test_what_does_not_fit_is_refused_before_anything_is_written(
    runs: dict[str, Path], domains: Path, tmp_path: Path
) -> None:
    snapshot = next((runs["pggan"] / "snapshots").iterdir())
    bare = tmp_path / "bare"
    shutil.copytree(runs["pggan"], bare, ignore=shutil.ignore_patterns("checkpoints"))
    wide = {"network": {"channels": {"max": 16}}}
    run = str(runs["pggan"])
    for start, changes, words in [
        ("nowhere", {}, r"^start_from: nowhere does not exist"),
        (str(runs["cyclegan"]), {}, r"was trained with task: cyclegan, and this recipe has pggan\.$"),
        (
            run,
            wide,
            r"\[.*\] there, and \[.*\] here; .* network\.generator\.channels\.max: 8 -> 16, network\..*\)\.$",
        ),
        (run, {"network": {"generator": {"latent_size": 9}}}, r"network\.generator\.latent_size: 8 -> 9\)\.$"),
        (
            {"run": str(snapshot), "networks": "all"},
            {},
            r"is no run folder; give the folder of a run that has one, or ",
        ),
        ({"run": str(bare), "networks": "all"}, {}, r"bare has none; give .* or start_from\.networks: generators\.$"),
    ]:
        recipe = larger("pggan", domains, start, changes)
        for attempt in (check, train):
            with pytest.raises(UserError, match=words):
                attempt(recipe, tmp_path / "run")
            assert not (tmp_path / "run").exists()


def test_networks_of_one_size_begin_at_their_own_only(domains: Path, tmp_path: Path) -> None:
    changes = merge(TRAINED, {"network": {"generator": "unet"}, "resolution": 16})
    changes["schedule"] = {"start_resolution": 16, "stable_kimg": 0.004, "decay_kimg": 0}
    first = WatchedRun(tiny("cyclegan", domains, changes), tmp_path / "first")
    train_run(first)
    changes["start_from"] = str(tmp_path / "first")
    again = WatchedRun(tiny("cyclegan", domains, changes), tmp_path / "second")
    for key, tensor in again.trainer.task.networks["gen_ab"].state_dict().items():
        assert torch.equal(tensor, first.trainer.ema.networks["gen_ab"].state_dict()[key])
    larger = tiny("cyclegan", domains, merge(changes, {"resolution": 32, "schedule": {"start_resolution": 32}}))
    with pytest.raises(UserError, match=r"^start_from: gen_ab does not grow, so that it begins at its own resolution "):
        WatchedRun(larger, tmp_path / "third")


def test_one_beginning_only(domains: Path) -> None:
    for other in ({"pretraining": {}}, {"warm_start": {"gen_ab": "runs/x"}}):
        with pytest.raises(RecipeError, match="start_from gives the translators all their weights; leave"):
            larger("cyclegan", domains, "runs/y", other)


def test_a_discriminator_of_small_pictures_need_not_see_those_of_the_trained_run(
    runs: dict[str, Path], domains: Path, tmp_path: Path
) -> None:
    """At 8 px, where the run ended, a quarter of the sides would be less than the base resolution."""
    recipe = larger("pggan", domains, str(runs["pggan"]), {"network": {"discriminator": {"reduce": 4}}})
    assert WatchedRun(recipe, tmp_path / "run").trainer.task.networks["discriminator"]


@pytest.mark.parametrize("there", [True, False])
def test_latents_that_one_side_lacks_are_named(there: bool, domains: Path, tmp_path: Path) -> None:
    latents = {"network": {"generator": {"latents": {"ab": 3}}}}
    trained = merge(TRAINED, latents if there else {})
    run, recipe_changes = tmp_path / "first", {} if there else latents
    train_run(WatchedRun(tiny("cyclegan", domains, trained), run))
    words = (
        "has a network enc_b, and this recipe has none; give" if there else r"modulations\.0\.dense\.\w+ is not in it"
    )
    recipe = larger("cyclegan", domains, str(run), recipe_changes)
    with pytest.raises(UserError, match=words):
        check(recipe, tmp_path / "run")
    if there:
        same = larger("cyclegan", domains, str(run), latents)
        begun = WatchedRun(same, tmp_path / "run")
        assert torch.equal(
            part(begun.trainer.ema.networks["enc_b"].state_dict(), "dense")["weight"],
            load(run).get_submodule("enc_b.dense").weight,
        )
