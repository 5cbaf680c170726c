"""A run of version 0.1.0, whose options of networks all stood beside their names, goes on and is read.

``run_0_1_0`` holds one of each task, stopped in mid-run: trained by that version on the pictures of ``tiny_runs``.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tiny_runs import TASKS, TOTAL, WatchedRun, checkpoint_content, stats, train, write_domains
from torch import Tensor, nn

from progcycle.export import load
from progcycle.recipe import dump, load_recipe
from progcycle.schedule import Growth

OLD = Path(__file__).parent / "run_0_1_0"
LAST = f"nimg-{TOTAL:012}"


@pytest.fixture
def run(task: str, tmp_path: Path) -> Path:
    """The old run, and its pictures beside it."""
    data = write_domains(tmp_path / "data")
    folder = tmp_path / "run"
    shutil.copytree(OLD / task, folder)
    for file in (folder / "recipe.yaml", *folder.glob("snapshots/*/config.json")):
        file.write_text(file.read_text().replace("DATA", str(data)))
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_an_old_run_goes_on_from_its_weights_and_ends_as_a_new_one(task: str, run: Path, tmp_path: Path) -> None:
    recipe = load_recipe(run / "recipe.yaml")
    (checkpoint,) = (run / "checkpoints").iterdir()
    old = {kind: load_file(checkpoint / f"{kind}.safetensors") for kind in ("networks", "ema")}
    begun: dict[str, dict[str, Tensor]] = {}

    def on_step(training: WatchedRun, _growth: Growth) -> None:
        parts = {"networks": training.trainer.task.networks, "ema": training.trainer.ema.networks}
        if not begun:
            begun.update({kind: weights_of(networks) for kind, networks in parts.items()})

    train(recipe, run, on_step=on_step)
    for kind, weights in old.items():
        for name, weight in weights.items():
            assert torch.equal(begun[kind][name], weight), name
    assert stats(run)[-1]["nimg"] == TOTAL
    assert (run / "recipe.yaml").read_text() == dump(recipe), "written anew, in today's layout"
    train(recipe, tmp_path / "whole")
    # Weights are not compared: processors round differently, and after a few steps of Adam that is seen.
    ends = [load(folder / "snapshots" / LAST).state_dict() for folder in (run, tmp_path / "whole")]
    assert {name: weight.shape for name, weight in ends[0].items()} == {n: w.shape for n, w in ends[1].items()}
    contents = [checkpoint_content(folder / "checkpoints" / LAST) for folder in (run, tmp_path / "whole")]
    assert contents[0].keys() == contents[1].keys()


def weights_of(networks: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Copies of all weights and buffers, named as in a checkpoint."""
    return {f"{name}.{key}": x.clone() for name, net in networks.items() for key, x in net.state_dict().items()}


@pytest.mark.parametrize("task", TASKS)
def test_old_snapshots_are_read(task: str, run: Path) -> None:
    model = load(run)
    old = yaml.safe_load((OLD / task / "recipe.yaml").read_text())["network"]
    network = model.recipe.network
    assert (network.generator.name, network.discriminator.name) == (old["generator"], old["discriminator"])
    assert (network.generator.rgb, network.discriminator.slope) == (old["rgb"], old["slope"])
    assert network.generator.normalization == old["normalization"]["generator"]
    own = old["discriminator_channels"] or old["channels"]
    assert network.discriminator.channels.model_dump() == own
    if task == "pggan":
        assert model.generate(2).shape == (2, 3, 8, 8)  # type: ignore[union-attr]
        assert network.generator.latent_size == old["latent_size"]
    else:
        assert model(torch.zeros(1, 3, 16, 16)).shape == (1, 3, 16, 16)
        assert (network.generator.skips, network.generator.predict) == (old["skips"], old["predict"])
    assert load_recipe(run / "recipe.yaml") == model.recipe
