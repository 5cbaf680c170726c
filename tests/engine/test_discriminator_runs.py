"""Runs with discriminators by domain and with several: their rates, resuming, first weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import checkpoint_content, full, stats, tiny, train

from progcycle.engine.train import train as train_plainly
from progcycle.recipe import merge

PATCHES: dict[str, Any] = {"name": "patchgan", "layers": 1, "filters": 4}
WHOLE: dict[str, Any] = {"schedule": {"start_resolution": 16, "total_kimg": 0.016}}
SECOND: dict[str, Any] = {"name": "progressive", "channels": {"base": 16, "max": 4}, "reduce": 2, "lr": 0.001}


def newest(run: Path) -> dict[str, Any]:
    return checkpoint_content(max((run / "checkpoints").iterdir()))


def one_domain_written_out(pictures: Path, more: Any) -> Any:
    """The tiny recipe, with the discriminator of each domain by itself: that of B has the usual rate as its own."""
    own = tiny("cyclegan", pictures, more).network.discriminator.model_dump()  # type: ignore[attr-defined]
    return {"network": {"discriminator": {"a": own, "b": {**own, "lr": 0.003}}}}


def test_domains_written_out_train_as_one_to_the_bit(pictures: Path, tmp_path: Path) -> None:
    base = full("cyclegan", pictures)
    train(tiny("cyclegan", pictures, base), tmp_path / "alike")
    by_domain = tiny("cyclegan", pictures, merge({"task": "cyclegan", **base}, one_domain_written_out(pictures, base)))
    assert hasattr(by_domain.network.discriminator, "b")  # type: ignore[attr-defined]
    train(by_domain, tmp_path / "apart")
    assert newest(tmp_path / "apart") == newest(tmp_path / "alike")
    assert stats(tmp_path / "apart") == stats(tmp_path / "alike")


SEVERAL: dict[str, Any] = {
    "pggan": [{"minibatch_stddev": {"group": "batch", "queue": 3}}, {**SECOND, "loss": "hinge"}],
    "cyclegan": {
        "a": {"name": "progressive", "minibatch_stddev": {"group": "batch", "queue": 3}},
        "b": [
            {"name": "progressive", "minibatch_stddev": 2},
            {**SECOND, "weight": [[0, 0], [0.08, 1]], "augment": {"policy": ["color"], "adaptive": {"kimg": 0.1}}},
            {"name": "pggan", "channels": {"base": 16, "max": 4}, "loss": "hinge", "weight": [[0, 1], [0.06, 0]]},
        ],
    },
}


@pytest.mark.parametrize("task", SEVERAL)
def test_several_resume_to_the_bit(task: str, pictures: Path, tmp_path: Path) -> None:
    """Through stages, a queue that is half full, a weight that comes and one that has gone."""
    recipe = tiny(task, pictures, {"network": {"discriminator": SEVERAL[task]}})
    train(recipe, tmp_path / "whole")
    for stop in (7, 17):
        train(recipe, tmp_path / "parts", stop_before=stop)
    train(recipe, tmp_path / "parts")
    assert newest(tmp_path / "parts") == newest(tmp_path / "whole")
    assert stats(tmp_path / "parts") == stats(tmp_path / "whole")
    names = {name for line in stats(tmp_path / "whole") for name in line}
    last = "disc_b3" if task == "cyclegan" else "disc_2"
    assert {f"adversarial/{last}", f"score/real{last.removeprefix('disc')}"} <= names


def test_each_has_its_own_learning_rate(pictures: Path, tmp_path: Path) -> None:
    """The first step of Adam moves every weight that has a gradient by the learning rate, whatever the gradient is.

    The step is lr g / (|g| + eps), and eps is far below the gradients.
    """
    discriminator = ["pggan", {**PATCHES, "lr": 0.01}]
    scale = {"lr_scale": 0.5, "decay_kimg": 0}
    changes = {"network": {"discriminator": discriminator}, "schedule": {**WHOLE["schedule"], **scale}}
    recipe = tiny("pggan", pictures, {**changes, "objective": {"loss": "hinge"}})
    before: dict[str, list[torch.Tensor]] = {}

    def remember(run: Any, growth: Any) -> None:
        for name, network in run.trainer.task.networks.items():
            before.setdefault(name, [p.detach().clone() for p in network.parameters()])

    run = train(recipe, tmp_path / "run", stop_before=1, on_step=remember)
    moved = {
        name: max((p - old).abs().max().item() for p, old in zip(network.parameters(), before[name], strict=True))
        for name, network in run.trainer.task.networks.items()
    }
    rates = {"discriminator": 0.003, "discriminator_2": 0.01, "generator": 0.003}
    assert moved == pytest.approx({name: 0.5 * rate for name, rate in rates.items()}, rel=1e-3)


def test_fine_tuning_begins_with_all_of_them(pictures: Path, tmp_path: Path) -> None:
    several = {"network": {"discriminator": {"a": "progressive", "b": ["progressive", PATCHES]}}, **WHOLE}
    first = train_plainly(tiny("cyclegan", pictures, several), tmp_path / "first")
    tuned = {"start_from": {"run": str(tmp_path / "first"), "networks": "all"}}
    run = train(tiny("cyclegan", pictures, {**several, **tuned}), tmp_path / "tuned", stop_before=0)
    trained = first.trainer.task.networks["disc_b2"].state_dict()
    assert all(torch.equal(v, trained[k]) for k, v in run.trainer.task.networks["disc_b2"].state_dict().items())
    more = {**several, "network": {"discriminator": ["progressive", PATCHES]}, **tuned}
    with pytest.raises(Exception, match=r"start_from: disc_a2 of .* does not fit this recipe: \S+ is not in it"):
        train(tiny("cyclegan", pictures, more), tmp_path / "more")
