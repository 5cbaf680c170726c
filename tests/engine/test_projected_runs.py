"""Runs whose discriminators look at frozen features: through all stages, stopped, resumed, and with another file."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_runs import TASKS, checkpoint_content, projected, stats, tiny, train
from torchvision.models import resnet18

from progcycle.errors import UserError
from progcycle.recipe import merge
from progcycle.runtime.checkpoint import checkpoints

KEEP = {"training": {"keep_checkpoints": 99, "checkpoint_kimg": 0.016}}


@pytest.mark.parametrize("task", TASKS)
def test_stopped_at_new_stages_and_resumed_equals_uninterrupted_bit_for_bit(
    task: str, pictures: Path, tmp_path: Path
) -> None:
    recipe = tiny(task, pictures, merge(projected(), KEEP))
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    whole = train(recipe, straight)
    for stop in (5, 13, None):  # the checkpoints at 16 and 48 pictures, where the next step opens a stage
        train(recipe, broken, stop_before=stop)
    names = [path.name for path in checkpoints(straight / "checkpoints")]
    assert len(names) == 6
    for name in names:
        ours, theirs = (checkpoint_content(run / "checkpoints" / name) for run in (broken, straight))
        assert ours == theirs, name
    lines = stats(broken)
    assert lines == stats(straight)
    assert all(math.isfinite(value) for line in lines for value in line.values())
    assert {line["resolution"] for line in lines} == {4, 8, 16}

    last = straight / "checkpoints" / names[-1]
    kept = load_file(last / "networks.safetensors")
    frozen = json.loads((last / "state.json").read_text())["frozen"]
    for name in whole.trainer.task.players["discriminator"]:
        parts = {key.split(".")[1] for key in kept if key.startswith(f"{name}.")}
        assert parts == {"heads"}
        assert len(frozen[name]) == 64


def test_a_run_does_not_go_on_with_another_file(pictures: Path, tmp_path: Path) -> None:
    file = tmp_path / "resnet.safetensors"

    def write(seed: int) -> None:
        torch.manual_seed(seed)
        save_file(resnet18(weights=None).state_dict(), file)

    own: dict[str, Any] = {
        "architecture": "resnet18", "weights": str(file), "taps": ["layer1"], "feature_resolution": 32,
    }  # fmt: skip
    recipe = tiny("pggan", pictures, merge(projected(), {"network": {"discriminator": own}}))
    write(0)
    training = train(recipe, tmp_path / "run", stop_before=7)
    disc = training.trainer.task.networks["discriminator"]
    before = {key: value.clone() for key, value in disc.state_dict().items() if not key.startswith("heads")}
    assert any("running_mean" in key for key in before), "a ResNet has statistics too"
    training = train(recipe, tmp_path / "run", stop_before=12)
    after = training.trainer.task.networks["discriminator"].state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    write(1)
    with pytest.raises(UserError, match=r"trained with other frozen weights in discriminator; bring back the file"):
        train(recipe, tmp_path / "run")
