"""Compiled networks do what they do uncompiled, are compiled once for a whole fade, and keep their names."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from accelerate import Accelerator
from tiny_runs import TASKS, tiny, train
from torch import Tensor, fx

from progcycle.data import Batch
from progcycle.engine import compiled, context
from progcycle.engine.build import build
from progcycle.engine.compiled import LONG, Compilation, CompiledCall, choose_compilation
from progcycle.engine.precision import Precision
from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.networks.began import BeganGenerator
from progcycle.recipe import RecipeError, load_recipe
from progcycle.recipe.schema import Training
from progcycle.schedule import GrowthSchedule

NOWHERE = Path("nowhere")
LONG_PLAN = GrowthSchedule.of(load_recipe("pggan_celebahq"))
CPU, GPU = torch.device("cpu"), torch.device("cuda")
NO_PENALTIES: dict[str, Any] = {
    "objective": {"loss": "non_saturating", "gradient_penalty": None, "r1": None, "drift": 0}
}


class Counter:
    """A backend that runs what is compiled as it is, and counts it."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        self.graphs += 1
        return graph.forward


def trainer_of(task: str, changes: Mapping[Any, Any], compilation: Compilation) -> Trainer:
    """Without pictures and without a run."""
    recipe = tiny(task, NOWHERE, {"data": {"mirror": False, "augment": []}, **changes} if task == "pggan" else changes)
    return Trainer(recipe, build(recipe), Accelerator(cpu=True), Precision("no", CPU), compilation=compilation)


def step(trainer: Trainer, nimg: int, alpha: float | None = None) -> None:
    """One step on grey pictures with some noise; ``alpha`` in place of that of the schedule."""
    growth = trainer.compiled.schedule.at(nimg)
    growth = growth if alpha is None else replace(growth, alpha=alpha)
    batches = {}
    for domain in trainer.recipe.data.domains:
        source = torch.Generator().manual_seed(nimg)
        side = growth.resolution
        pixels = torch.randint(0, 255, (4, 3, side, side), generator=source, dtype=torch.uint8)
        batches[domain] = Batch(pixels, tuple(range(nimg, nimg + 4)), ("",) * 4)
    trainer.train_step(batches, growth)


def weights(trainer: Trainer) -> dict[str, Tensor]:
    return {f"{part}.{k}": v for part in ("networks", "ema") for k, v in trainer.state_dict()[part].items()}


@pytest.mark.parametrize("task", TASKS)
def test_a_fade_is_compiled_once_and_computes_what_it_does_uncompiled(task: str) -> None:
    # Compiled, weights that two passes share are scaled in each of them, elsewhere once, which rounds otherwise.
    translators = {"generator": {"residual_blocks": 0, "equalized": False}}
    changes = {} if task == "pggan" else {**NO_PENALTIES, "network": translators}
    counter = Counter()
    trainer = trainer_of(task, changes, Compilation("all", backend=counter))
    plain = trainer_of(task, changes, Compilation())
    counts = []
    for nimg, alpha in ((16, 0.0), (20, 0.25), (24, 0.3)):
        step(trainer, nimg, alpha)
        step(plain, nimg, alpha)
        counts.append(counter.graphs)
    # PG-GAN: the generator with and without gradients. CycleGAN: one code for both translators, that of the second
    # pass, whose input needs a gradient, and discriminators that are trained or frozen.
    assert counts == [2 if task == "pggan" else 4] * 3
    found, expected = weights(trainer), weights(plain)
    assert found.keys() == expected.keys()  # names stay
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(network._compiled_call_impl is None for network in trainer.ema.networks.values())


def test_a_run_goes_on_with_other_networks_compiled(pictures: Path, tmp_path: Path) -> None:
    """With a backend that changes no bit, neither does switching it on and off on resuming."""
    recipe = tiny("pggan", pictures, {"schedule": {"stable_kimg": {4: 0.016, 8: 0.016, 16: 0.004}, "decay_kimg": 0}})
    whole = train(recipe, tmp_path / "whole")
    on = Compilation("generators", backend=Counter())
    with patch.object(context, "choose_compilation", lambda *_: on):
        stopped = train(recipe, tmp_path / "run", stop_before=3)
    assert "compiled networks: generators" in stopped.context.notes
    resumed = train(recipe, tmp_path / "run")
    assert all(torch.equal(weights(resumed.trainer)[k], v) for k, v in weights(whole.trainer).items())


def test_a_weight_that_vanishes_is_no_constant_either() -> None:
    """BEGAN's residuals: their weight changes at every step until it is 0."""
    network, counter = BeganGenerator(resolution=16, filters=2, latent_size=3, image_channels=3), Counter()
    call, z = CompiledCall(network, counter), torch.randn(2, 3)
    for carry, graphs in ((1.0, 1), (0.75, 1), (0.5, 1), (0.0, 2)):
        torch.testing.assert_close(call(z, 0, 1.0, carry=carry), network(z, 0, 1.0, carry=carry), rtol=0, atol=0)
        assert counter.graphs == graphs


def test_networks_whose_gradients_are_differentiated_stay_uncompiled() -> None:
    def names(task: str, changes: Mapping[Any, Any], what: Any = "all") -> list[str]:
        return list(trainer_of(task, changes, Compilation(what)).compiled.networks)

    assert names("pggan", {}) == ["generator"]  # WGAN-GP
    assert names("cyclegan", {}) == ["gen_ab", "gen_ba"]  # R1
    assert names("cyclegan", NO_PENALTIES) == ["gen_ab", "gen_ba", "disc_a", "disc_b"]
    assert names("cyclegan", NO_PENALTIES, "generators") == ["gen_ab", "gen_ba"]
    gathering = {**NO_PENALTIES, "network": {"discriminator": {"minibatch_stddev": {"group": 2, "gather": True}}}}
    assert names("pggan", gathering) == ["generator"]


def test_short_stages_are_left_as_they_are() -> None:
    """Stages of 4, 8 and 10 steps."""
    trainer = trainer_of("pggan", {}, Compilation("generators", fewest=8, backend=Counter()))
    network = trainer.task.networks["generator"]
    for nimg, there in ((0, False), (16, True), (48, True)):
        trainer.compiled.begin_step(trainer.compiled.schedule.at(nimg))
        assert (network._compiled_call_impl is not None) == there


def test_what_auto_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "why_not", lambda *_: "")
    assert choose_compilation(Training(compile="auto"), CPU, LONG_PLAN) == Compilation()
    assert choose_compilation(Training(compile="auto"), GPU, LONG_PLAN) == Compilation("generators", LONG)
    assert choose_compilation(Training(compile="auto"), GPU, GrowthSchedule.of(tiny("pggan", NOWHERE))) == Compilation()
    assert choose_compilation(Training(), GPU, LONG_PLAN) == Compilation()  # nothing unless the recipe asks for it
    assert choose_compilation(Training(compile="all", cuda_graphs=64), GPU, LONG_PLAN) == Compilation("all", 0, 64)
    assert str(Compilation("generators", LONG, 64)) == (
        "generators in stages of 20,000 steps or more, as CUDA graphs up to 64 px"
    )
    monkeypatch.setattr(compiled, "why_not", lambda *_: "no compiler")
    assert choose_compilation(Training(compile="auto"), GPU, LONG_PLAN).what == "off"
    assert "no compiler" in str(choose_compilation(Training(compile="auto"), GPU, LONG_PLAN))


@pytest.mark.parametrize(
    ("options", "device", "sentence"),
    [
        (
            {"compile": "generators"},
            CPU,
            r"training.compile: torch.compile does not work here \(no compiler\); install ",
        ),
        (
            {"compile": "auto", "cuda_graphs": 64},
            CPU,
            r"training.cuda_graphs: needs a CUDA GPU, this run is on cpu; leave it out",
        ),
        (
            {"compile": "auto", "cuda_graphs": 64},
            GPU,
            r"training.cuda_graphs: torch.compile does not work here .* and triton",
        ),
    ],
)
def test_what_this_machine_cannot_make_is_refused(
    options: dict[str, Any], device: torch.device, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled, "why_not", lambda *_: "no compiler")
    with pytest.raises(UserError, match=sentence):
        choose_compilation(Training(**options), device, LONG_PLAN)


def test_a_trial_tells_whether_compiling_works() -> None:
    def broken(graph: fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        raise RuntimeError("there is no g++\nand more")

    assert compiled.why_not(CPU, Counter()) == ""
    assert "there is no g++" in compiled.why_not(CPU, broken)


def test_graphs_without_compiling_are_refused() -> None:
    with pytest.raises(RecipeError, match="cuda_graphs: only compiled networks have them"):
        load_recipe("pggan_emoji", ["training.cuda_graphs=64"])
    # Off, as YAML reads it, takes an inherited key with it.
    recipe = load_recipe("pggan_emoji", ["training.compile=auto", "training.cuda_graphs=64"])
    assert recipe.training.compile == "auto"
    assert load_recipe("pggan_emoji", ["training.compile=off"]).training.compile == "off"
