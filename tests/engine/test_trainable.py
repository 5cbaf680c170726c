"""A registered network with parameters that it froze by itself: they stay as they are, and cost nothing."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_runs import checkpoint_content, stats, tiny, train
from torch import nn

from progcycle.engine.build import build, count_parameters
from progcycle.engine.ema import EmaNetworks
from progcycle.engine.start import begin
from progcycle.engine.trainable import Trainable, Weights, frozen_names
from progcycle.errors import UserError
from progcycle.networks import DISCRIMINATORS, GENERATORS, PgganDiscriminator, PgganGenerator
from progcycle.recipe import Ema

LAST = "checkpoints/nimg-000000000088"


class HalfFrozenGenerator(PgganGenerator):
    """Its weights, not its biases, are what they were made as."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(not name.endswith("weight"))


class FrozenStart(PgganDiscriminator):
    """Its first parameter is frozen, as that of a pre-trained feature extractor."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        next(self.parameters()).requires_grad_(False)


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GENERATORS, "pggan", HalfFrozenGenerator)
    monkeypatch.setitem(DISCRIMINATORS, "pggan", FrozenStart)


@pytest.mark.usefixtures("frozen")
def test_what_a_network_froze_stays_and_is_nowhere_but_in_snapshots(pictures: Path, tmp_path: Path) -> None:
    recipe, run = tiny("pggan", pictures), tmp_path / "run"
    made = build(recipe).task.networks
    training = train(recipe, run)
    stored = {name: load_file(run / LAST / f"{name}.safetensors") for name in ("networks", "ema", "optimizers")}
    snapshot = load_file(run / "snapshots/nimg-000000000088/model.safetensors")
    for network, now in training.trainer.task.networks.items():
        kept = frozen_names(made[network])
        assert training.trainer.trainable.frozen[network] == kept
        assert 0 < len(kept) < len(list(now.parameters()))
        in_optimizer = {id(p) for group in training.trainer.optimizers[network].param_groups for p in group["params"]}
        moved = 0
        for name, parameter in now.named_parameters():
            same = torch.equal(parameter, made[network].get_parameter(name))
            if name in kept:
                assert same, name
                assert parameter.grad is None
                assert not parameter.requires_grad
                assert id(parameter) not in in_optimizer
            else:
                moved += not same
                assert id(parameter) in in_optimizer
            assert (f"{network}.{name}" in stored["networks"]) is (name not in kept)
            if network == "generator":
                assert (f"{network}.{name}" in stored["ema"]) is (name not in kept)
                assert torch.equal(
                    snapshot[f"{network}.{name}"], training.trainer.ema.networks[network].get_parameter(name)
                )
            assert any(key.startswith(f"{network}|{network}.{name}|") for key in stored["optimizers"]) <= (
                name not in kept
            )
        assert moved > 0
    assert count_parameters(made["generator"]) == sum(p.numel() for p in training.trainer.trainable.of("generator"))


@pytest.mark.usefixtures("frozen")
def test_resuming_does_not_miss_them(pictures: Path, tmp_path: Path) -> None:
    recipe = tiny("pggan", pictures)
    train(recipe, tmp_path / "whole")
    train(recipe, tmp_path / "parts", stop_before=8)
    train(recipe, tmp_path / "parts")
    assert stats(tmp_path / "parts") == stats(tmp_path / "whole")
    assert checkpoint_content(tmp_path / "parts" / LAST) == checkpoint_content(tmp_path / "whole" / LAST)


def test_states_with_and_without_them_load_and_nothing_else_may_be_missing() -> None:
    def network(seed: int) -> nn.Sequential:
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
        made[0].requires_grad_(False)
        return made

    trained, other = network(0), network(1)
    kept = frozen_names(trained)
    assert kept == {"0.weight", "0.bias"}
    part = Weights({"net": trained}, {"net": kept}).state_dict()
    assert part.keys() == {"net.1.weight", "net.1.bias"}
    weights = Weights({"net": other}, {"net": kept})
    own = other[0].weight.clone()
    weights.load_state_dict(part)
    assert torch.equal(other[1].weight, trained[1].weight)
    assert torch.equal(other[0].weight, own)
    weights.load_state_dict(
        {f"net.{key}": value for key, value in trained.state_dict().items()}
    )  # a checkpoint of before
    assert torch.equal(other[0].weight, trained[0].weight)
    weight = part["net.1.weight"]
    for wrong in ({"net.1.weight": weight}, {**part, "net.2.weight": weight}):
        with pytest.raises(RuntimeError, match=r"Missing|Unexpected"):
            weights.load_state_dict(wrong)
    with pytest.raises(ValueError, match="there is no network of"):
        weights.load_state_dict({**part, "of.another": weight})


def test_averages_of_what_moves_only() -> None:
    source = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    source[0].requires_grad_(False)
    ema = EmaNetworks({"net": source}, Ema.model_validate({"per_step": 0.75}))
    source.requires_grad_(False)  # as all are while another player trains
    start = source[1].weight.clone()
    with torch.no_grad():
        source[1].weight += 4
        ema.networks["net"][0].weight.fill_(7)  # type: ignore[index]
    ema.update(0, 1)
    assert torch.allclose(ema.networks["net"][1].weight, start + 1)  # type: ignore[index]
    assert torch.equal(ema.networks["net"][0].weight, torch.full((2, 2), 7.0)), "it was not touched"  # type: ignore[index]


def test_players_take_turns_and_the_frozen_never_have_one() -> None:
    networks = {name: nn.Linear(2, 2) for name in ("generator", "discriminator")}
    networks["generator"].bias.requires_grad_(False)
    trainable = Trainable(networks, {name: (name,) for name in networks})
    for player in networks:
        trainable.choose(player)
        for name, network in networks.items():
            assert network.weight.requires_grad is (name == player)
    assert not networks["generator"].bias.requires_grad
    networks["generator"].weight.requires_grad_(False)
    with pytest.raises(UserError, match=r"^network: there is nothing to train for generator: generator froze all of"):
        Trainable(networks, {name: (name,) for name in networks})


def test_first_weights_from_elsewhere_leave_them(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checkpoint would hold what they were set to."""
    network = nn.Linear(2, 2)
    network.bias.requires_grad_(False)
    own = network.bias.clone()

    def start_from(networks: Any) -> list[str]:
        for parameter in networks["generator"].parameters():
            parameter.data.fill_(5)
        return ["begun"]

    monkeypatch.setattr("progcycle.engine.start.warm_start", lambda recipe: start_from)
    assert begin(tiny("pggan", pictures), tmp_path, {"generator": network}) == ["begun"]
    assert torch.equal(network.weight, torch.full((2, 2), 5.0))
    assert torch.equal(network.bias, own)
