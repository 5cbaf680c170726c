"""A checkpoint is a dict of named parts: all are there and fit, or one sentence names the part that does not."""

import json
import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tiny_runs import WatchedRun, as_before, tiny, train
from torch import Tensor

from progcycle.data import build_loader
from progcycle.engine.build import build
from progcycle.engine.precision import Precision
from progcycle.engine.state import AttributeState, Part, load_state, upgrade_record
from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.recipe import load_recipe
from progcycle.runtime.checkpoint import checkpoints

OF_0_1_0 = Path(__file__).parent / "of_0_1_0"  # the recipe and the newest checkpoint of a run of progcycle 0.1.0


def test_a_checkpoint_of_0_1_0_is_taken_up_to_the_last_bit(pictures: Path, tmp_path: Path) -> None:
    paths = [f"data.path={pictures / 'trainA'}", f"data.labels={pictures / 'labels.json'}"]
    recipe = load_recipe(OF_0_1_0 / "recipe.yaml", paths)
    shutil.copytree(OF_0_1_0 / "checkpoints", tmp_path / "run/checkpoints")
    (old,) = checkpoints(tmp_path / "run/checkpoints")
    run = WatchedRun(recipe, tmp_path / "run")
    assert run.resume()
    trainer, record = run.trainer, json.loads((old / "state.json").read_text())
    assert (trainer.nimg, trainer.step, trainer.stage, trainer.fading) == (60, 15, 2, True)
    assert run.cpu_seconds == record["cpu_seconds"]
    assert run.alarms.state_dict() == record["alarms"]
    again = run._content()
    assert {f"{name}.safetensors" for name in again.files} == set(record["files"])
    for name, tensors in again.files.items():
        expected = load_file(old / f"{name}.safetensors")
        assert tensors.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(tensors[key], value), f"{name}: {key}"
    assert again.state["parts"].keys() == {"progress", "scalers", "attempts", "alarms", "clock", "log"}
    for key in ("precision", "device", "pictures"):
        assert again.state[key] == record[key]


def test_upgrading_is_the_inverse_of_what_format_1_wrote(pictures: Path, tmp_path: Path) -> None:
    train(tiny("pggan", pictures), tmp_path / "run", stop_before=6)
    (folder,) = checkpoints(tmp_path / "run/checkpoints")
    new = json.loads((folder / "state.json").read_text())
    assert upgrade_record(new) == new
    as_before(folder)
    old = json.loads((folder / "state.json").read_text())
    assert old["format"] == 1
    assert {**upgrade_record(old), "digest": ""} == {**new, "digest": ""}


def bare(pictures: Path, task: str = "pggan") -> Trainer:
    """A trainer without a run folder."""
    recipe, accelerator = tiny(task, pictures), Accelerator()
    return Trainer(recipe, build(recipe), accelerator, Precision("no", accelerator.device))


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_a_bare_trainer_goes_on_from_its_own_state_to_the_last_bit(task: str, pictures: Path, tmp_path: Path) -> None:
    run = train(tiny(task, pictures), tmp_path / "run", stop_before=8)
    state = torch.utils._pytree.tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, run.trainer.state_dict())
    other = bare(pictures, task)
    other.load_state_dict(state)
    assert (other.nimg, other.step) == (32, 8)
    where: dict[str, Any] = {"rank": 0, "processes": 1, "start_nimg": 32, "workers": 0, "pin_memory": False}
    for _, growth, batches in islice(build_loader(run.context.sets, run.schedule, **where), 3):
        run.trainer.train_step(batches, growth)
        other.train_step(batches, growth)
    assert other.nimg == 44
    ours, theirs = other.state_dict(), run.trainer.state_dict()
    for part in ("networks", "ema", "optimizers", "task", "meter"):
        assert ours[part].keys() == theirs[part].keys()
        for key, value in theirs[part].items():
            assert torch.equal(ours[part][key], value), f"{part}: {key}"
    assert ours["progress"] == theirs["progress"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda state: state.pop("ema"), "^the part ema is missing$"),
        (lambda state: state["progress"].update(step="7"), "^in the part progress: step is '7', not of type int$"),
        (lambda state: state["progress"].pop("fading"), "^in the part progress: fading is None, not of type bool$"),
        (lambda state: state["scalers"].pop("generator"), "^in the part scalers: generator is missing$"),
        (
            lambda state: state["networks"].pop("generator.conv.conv.bias"),
            "^in the part networks: .*Missing key",
        ),
        (
            lambda state: state["optimizers"].update({"generator|of.nobody|step": torch.zeros(())}),
            r"^in the part optimizers: unknown optimizer state generator\|of.nobody\|step$",
        ),
        (
            lambda state: state["task"].update(of=torch.zeros(())),
            r"^in the part task: unknown task state: \['of'\]$",
        ),
    ],
    ids=["missing", "type", "attribute", "member", "weight", "moment", "memory"],
)
def test_a_state_that_does_not_fit_is_refused_by_the_name_of_its_part(change: Any, words: str, pictures: Path) -> None:
    trainer = bare(pictures)
    state: Any = {name: dict(part) for name, part in trainer.state_dict().items()}
    change(state)
    with pytest.raises(UserError, match=words):
        trainer.load_state_dict(state)


def test_a_checkpoint_without_a_part_is_told_by_its_name(pictures: Path, tmp_path: Path) -> None:
    run, recipe = tmp_path / "run", tiny("pggan", pictures)
    train(recipe, run, stop_before=6)
    (folder,) = checkpoints(run / "checkpoints")
    as_before(folder, "scalers")
    with pytest.raises(UserError, match=r"^The checkpoint .*nimg-0{10}20 does not fit this run \(.*scalers.*\)\.$"):
        train(recipe, run)


def test_lack_of_memory_is_no_fault_of_a_state() -> None:
    class Hungry:
        def state_dict(self) -> dict[str, Any]:
            return {}

        def load_state_dict(self, state: object) -> None:
            raise MemoryError

    with pytest.raises(MemoryError):
        load_state({"hungry": Part(Hungry(), "values")}, {"hungry": {}})


def test_attributes_are_all_taken_or_none() -> None:
    class Place:
        nimg, fading = 4, False

    place = Place()
    part = AttributeState(place, "nimg", "fading")
    with pytest.raises(ValueError, match="fading is 1, not of type bool"):
        part.load_state_dict({"nimg": 8, "fading": 1})
    assert part.state_dict() == {"nimg": 4, "fading": False}
    part.load_state_dict({"nimg": 8, "fading": True})
    assert (place.nimg, place.fading) == (8, True)
