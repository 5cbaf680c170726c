"""A task of one's own is rows in visible dicts: it trains, stops, resumes, is snapshot, loaded and measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
import torch
import yaml
from pairs import outputs, start_pair
from safetensors.torch import load_file
from tiny_runs import WatchedRun, checkpoint_content, stats, train
from toy_task import ToyModel, ToyTask, registered, toy_content

import progcycle
from progcycle.commands.evaluate import main as evaluate_command
from progcycle.commands.generate import main as generate
from progcycle.commands.progression import main as progression
from progcycle.engine.alarms import check_saturation
from progcycle.engine.build import build
from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.evaluation import evaluate
from progcycle.export import to_pil
from progcycle.export.timeline import timeline
from progcycle.recipe import RECIPES, RecipeError, Study, json_schema, load_recipe, validate
from progcycle.studies.runner import check_study
from progcycle.tasks import TASKS

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def rows() -> Iterator[None]:
    with registered():
        yield


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> WatchedRun:
    """A run from its first step to its last."""
    with registered():
        return train(validate(toy_content(pictures)), tmp_path_factory.mktemp("toy") / "whole")


def test_a_row_that_is_added_is_known_to_recipes_and_their_schema(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "toy.yaml"
    file.write_text(yaml.safe_dump(toy_content(pictures)))
    recipe: Any = load_recipe(file, ["optimizer.critic.lr=0.5", "network.maps=2"])
    assert (recipe.optimizer.critic.lr, recipe.optimizer.encoder.lr, recipe.network.maps) == (0.5, 0.01, 2)
    with pytest.raises(RecipeError, match=r"optimizer\.generator: unknown key"):
        load_recipe(file, ["optimizer.generator.lr=0.5"])
    schema = json_schema()
    assert schema["discriminator"]["mapping"].keys() == RECIPES.keys() >= {"pggan", "toy"}
    assert schema["$defs"]["ToyOptimizer"]["properties"].keys() == {"encoder", "decoder", "critic", "reset"}


def test_it_stops_and_resumes_bit_for_bit(whole: WatchedRun, pictures: Path, tmp_path: Path) -> None:
    recipe, run = validate(toy_content(pictures)), tmp_path / "parts"
    train(recipe, run, stop_before=5)
    held: list[int] = []
    train(recipe, run, on_step=lambda training, _: held.append(len(_task(training).pool.pictures)))
    assert held[0] == 3, "its pool came back"
    last = [sorted((folder / "checkpoints").iterdir())[-1] for folder in (run, whole.run_dir)]
    assert checkpoint_content(last[0]) == checkpoint_content(last[1])
    assert stats(run) == stats(whole.run_dir)


def test_each_player_is_trained_at_its_own_rate(whole: WatchedRun) -> None:
    rates = {player: options.lr for player, options in whole.trainer.settings.items()}
    assert rates == {"encoder": 0.01, "decoder": 0.001, "critic": 0.002}
    task = _task(whole)
    fresh = ToyTask(whole.recipe)  # type: ignore[arg-type]
    for name, network in task.networks.items():
        assert not torch.equal(next(network.parameters()), next(fresh.networks[name].parameters())), name


def test_another_number_of_processes_goes_on_with_what_is_common(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    pair = start_pair(HERE / "toy_two_processes.py", pictures, run)
    for process, output in zip(pair, outputs(pair, 200), strict=True):
        assert process.returncode == 0, output
    last = sorted((run / "checkpoints").iterdir())[-1]
    first, second = (load_file(last / f"rank-{rank}.safetensors") for rank in range(2))
    k = first["task.balance.k"]
    assert torch.equal(k, second["task.balance.k"])
    assert k != 1
    assert not torch.equal(first["task.pool.pictures"], second["task.pool.pictures"]), "each has its own"
    seen: list[tuple[int, float]] = []

    def note(training: WatchedRun, _: object) -> None:
        seen.append((len(_task(training).pool.pictures), float(_task(training).balance.k)))

    alone = train(validate(toy_content(pictures)), run, on_step=note)
    assert seen[0] == (0, k.item())
    assert alone.trainer.nimg == 48
    assert isinstance(progcycle.load(run), ToyModel)


def test_what_it_says_of_itself_is_in_status_lines_and_alarms(
    pictures: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "progcycle"):
        run = train(validate(toy_content(pictures)), tmp_path / "run", stop_before=3)
    (line,) = (line for line in caplog.messages if line.startswith("kimg") and "img/s" in line)
    assert all(f"  {word} " in line for word in ("E", "decoder", "C", "error"))
    assert all({"balance/k", "critic/loss", "loss/encoder"} <= line.keys() for line in stats(run.run_dir))
    signs = check_saturation({"critic/loss": 0.001}, run.trainer.task.watched)
    assert [(name, sign.bad) for name, sign in signs.items()] == [("saturated/critic", True)]


def test_it_is_loaded_and_measured(whole: WatchedRun, capsys: pytest.CaptureFixture[str]) -> None:
    model = progcycle.load(whole.run_dir)
    assert isinstance(model, ToyModel)
    x = torch.rand(2, 3, 8, 8) * 2 - 1
    ours, ema = model.restore(x), whole.trainer.ema.networks
    with torch.no_grad():
        torch.testing.assert_close(ours, ema["decoder"](ema["encoder"](x, 1, 1.0), 1, 1.0))
    found = evaluate(whole.run_dir, level=0.5)
    expected = (model.restore(torch.full((2, 3, 8, 8), 0.5)) - 0.5).abs().mean().item()
    assert found.results == {"error": pytest.approx(expected)}
    with pytest.raises(UserError, match="count is no option for an autoencoder; choose from level, device"):
        evaluate(whole.run_dir, count=3)
    assert evaluate_command([str(whole.run_dir)]) == 0
    record = json.loads((whole.run_dir / "evaluation" / "toy.json").read_text())
    grey = model.restore(torch.zeros(2, 3, 8, 8)).abs().mean().item()
    assert record["results"]["error"] == pytest.approx(grey)
    # The figure that it has while it trains is the same one.
    assert stats(whole.run_dir)[-1]["metric/error"] == pytest.approx(grey, rel=1e-4)
    assert json.loads((whole.run_dir / "best/config.json").read_text())["best"]["figure"] == "error"


def test_its_progression_is_shown_on_examples_of_its_own(
    whole: WatchedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "x.png"
    assert progression([str(whole.run_dir), "--out", str(out), "--count", "2", "--size", "8"]) == 0
    assert "wrote 2 pictures of" in capsys.readouterr().out
    shown = timeline(whole.run_dir, count=2, level=0.0)
    assert shown.examples.words == "level 0"
    last = list(shown)[-1].pictures[0]
    model = progcycle.load(whole.run_dir)
    assert isinstance(model, ToyModel)
    assert np.array_equal(np.asarray(last), np.asarray(to_pil(model.restore(torch.zeros(2, 3, 8, 8)))[0]))
    assert progression([str(whole.run_dir), "--out", str(out), "--seed", "2"]) == 2
    assert "--seed is no option for an autoencoder, which" in capsys.readouterr().err
    with pytest.raises(UserError, match="seed is no option for an autoencoder; choose from level"):
        timeline(whole.run_dir, seed=1)
    assert generate([str(whole.run_dir), "--out", str(tmp_path / "painted")]) == 2
    assert "holds an autoencoder, and this is for a PG-GAN; give another run." in capsys.readouterr().err
    with patch.object(ToyModel, "examples", None):
        assert progression([str(whole.run_dir), "--out", str(out)]) == 2
    assert "it is not known what its snapshots can be compared on" in capsys.readouterr().err


def test_a_study_refuses_it_before_anything_is_trained(whole: WatchedRun) -> None:
    study = Study(title="x", recipe="toy.yaml", variants={"plain": {}}, seeds=(0,))
    with pytest.raises(UserError, match=r"toys\.yaml: a study measures the tasks pggan, .*, not toy\."):
        check_study(Path("toys.yaml"), study, {("plain", 0): whole.recipe})


def test_a_player_without_settings_is_named(whole: WatchedRun) -> None:
    task, recipe = _task(whole), whole.recipe
    with pytest.raises(UserError, match="trains a player 'teacher', for which this section has no settings"):
        recipe.optimizer.of_players([*task.players, "teacher"])


def test_a_network_of_another_class_is_named(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plain(ToyTask):
        def __init__(self, recipe: Any) -> None:
            super().__init__(recipe)
            self.networks["critic"] = self.critic.conv  # type: ignore[assignment]

    monkeypatch.setitem(TASKS, "toy", Plain)
    with pytest.raises(TypeError, match=r"^the network critic of task toy is no progcycle\.networks\.Network$"):
        build(validate(toy_content(pictures)))


def _task(training: WatchedRun) -> ToyTask:
    trainer: Trainer = training.trainer
    assert isinstance(trainer.task, ToyTask)
    return trainer.task
