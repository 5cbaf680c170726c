"""Networks with parts that training never changes: they stay as they are, cost nothing, and are not mixed up."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from tiny_runs import checkpoint_content, stats, tiny, train
from torch import Tensor, nn

import progcycle
from progcycle.engine import folder
from progcycle.engine.build import build, count_parameters
from progcycle.engine.ema import EmaNetworks
from progcycle.engine.folder import check_frozen
from progcycle.engine.initial_weights import set_initial_weights
from progcycle.engine.precision import Precision
from progcycle.engine.train import check
from progcycle.engine.trainable import Trainable, Weights, frozen_hashes
from progcycle.engine.trainer import Trainer
from progcycle.errors import UserError
from progcycle.networks import DISCRIMINATORS, GENERATORS, Network, PgganDiscriminator, PgganGenerator
from progcycle.recipe import Ema
from progcycle.runtime import parallel

LAST = "checkpoints/nimg-000000000088"


class HalfFrozenGenerator(PgganGenerator):
    """Its biases are trained, its weights stay as they were made."""

    def trainable_parameters(self) -> list[nn.Parameter]:
        return [parameter for name, parameter in self.named_parameters() if name.endswith("bias")]


class OnFeatures(PgganDiscriminator):
    """It sees pictures through a frozen layer with batch norm, as those of a pre-trained feature extractor."""

    level: ClassVar[float] = 0.5  # in its file

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.features = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).requires_grad_(False)
        self.features[1].running_mean.fill_(self.level)

    def forward(self, x: Tensor, stage: int, alpha: float, *rest: Any, **options: Any) -> Any:
        return super().forward(self.features(x), stage, alpha, *rest, **options)


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GENERATORS, "pggan", HalfFrozenGenerator)
    monkeypatch.setitem(DISCRIMINATORS, "pggan", OnFeatures)


class Two(Network):
    """Two layers, of which training changes the second one only."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), nn.Linear(3, 2)
        self.first.requires_grad_(False)


def kept(network: Network) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.frozen_tensors().items()}


@pytest.mark.usefixtures("frozen")
def test_what_a_network_froze_stays_and_is_nowhere_but_in_snapshots(pictures: Path, tmp_path: Path) -> None:
    recipe, run = tiny("pggan", pictures), tmp_path / "run"
    made = build(recipe).task.networks
    training = train(recipe, run)
    stored = {name: load_file(run / LAST / f"{name}.safetensors") for name in ("networks", "ema", "optimizers")}
    snapshot = load_file(run / "snapshots/nimg-000000000088/model.safetensors")
    for network, now in training.trainer.task.networks.items():
        frozen, before = now.frozen, made[network].state_dict()
        assert frozen == made[network].frozen
        assert 0 < len(frozen) < len(before)
        in_optimizer = {id(p) for group in training.trainer.optimizers[network].param_groups for p in group["params"]}
        moved = 0
        for name, tensor in now.state_dict(keep_vars=True).items():
            same = torch.equal(tensor, before[name])
            assert same or name not in frozen, name
            moved += not same
            if isinstance(tensor, nn.Parameter):
                assert (id(tensor) in in_optimizer) is (name not in frozen)
                assert name not in frozen or (tensor.grad is None and not tensor.requires_grad)
            assert (f"{network}.{name}" in stored["networks"]) is (name not in frozen)
            if network == "generator":
                average = training.trainer.ema.networks[network].get_parameter(name)
                assert (f"{network}.{name}" in stored["ema"]) is (name not in frozen)
                assert torch.equal(snapshot[f"{network}.{name}"], average)
                assert name not in frozen or torch.equal(average, tensor)
            assert any(key.startswith(f"{network}|{network}.{name}|") for key in stored["optimizers"]) <= (
                name not in frozen
            )
        assert moved > 0
    assert {f"features.1.running_{name}" for name in ("mean", "var")} < made["discriminator"].frozen
    assert count_parameters(made["generator"]) == sum(p.numel() for p in training.trainer.trainable.of("generator"))
    assert json.loads((run / LAST / "state.json").read_text())["frozen"] == frozen_hashes(made)


@pytest.mark.usefixtures("frozen")
def test_resuming_does_not_miss_them_and_refuses_others(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, run = tiny("pggan", pictures), tmp_path / "parts"
    train(recipe, tmp_path / "whole")
    train(recipe, run, stop_before=8)
    with monkeypatch.context() as changed:
        changed.setattr(OnFeatures, "level", 0.25)
        recipe_before = (run / "recipe.yaml").read_text()
        for start in (train, check):  # and --dry-run
            with pytest.raises(UserError) as refused:
                start(recipe, run)
            assert str(refused.value) == (
                f"{run} holds a run that was trained with other frozen weights in discriminator; bring back the file "
                "that they come from, or use another --run-dir."
            )
        assert (run / "recipe.yaml").read_text() == recipe_before
        train(recipe, tmp_path / "another", stop_before=1)
    check(recipe, run)
    train(recipe, run)
    assert stats(run) == stats(tmp_path / "whole")
    assert checkpoint_content(run / LAST) == checkpoint_content(tmp_path / "whole" / LAST)


@pytest.mark.usefixtures("frozen")
def test_fine_tuning_goes_on_with_the_same_ones_only(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "trained"
    train(tiny("pggan", pictures), run, stop_before=12)  # of 0.044 kimg, where a snapshot is due

    def refused(recipe: Any) -> str:
        told = set()
        for start in (train, check):
            with pytest.raises(UserError) as error:
                start(recipe, tmp_path / "tuned")
            told.add(str(error.value))
        assert len(told) == 1
        return told.pop()

    def sentence(network: str) -> str:
        return (
            f"start_from: {network} of {run} does not fit this recipe: it was trained with other frozen weights; give "
            "this recipe the seed and the network settings of that run."
        )

    start = {"start_from": {"run": str(run), "networks": "all"}}
    assert refused(tiny("pggan", pictures, {**start, "seed": 4})) == sentence("generator"), "its weights were drawn"
    with monkeypatch.context() as changed:
        changed.setattr(OnFeatures, "level", 0.25)
        assert refused(tiny("pggan", pictures, start)) == sentence("discriminator")
    check(tiny("pggan", pictures, start), tmp_path / "tuned")
    train(tiny("pggan", pictures, start), tmp_path / "tuned", stop_before=1)


@pytest.mark.usefixtures("frozen")
def test_a_new_stage_that_is_a_copy_leaves_them(pictures: Path, tmp_path: Path) -> None:
    even = {"network": {"channels": {"base": 8, "max": 8, "decay": 0}}, "schedule": {"new_stage": "copy"}}
    recipe = tiny("pggan", pictures, even)
    made, training = build(recipe).task.networks, train(recipe, tmp_path / "run", stop_before=14)
    assert training.trainer.stage == 2
    networks = {"average": training.trainer.ema.networks["generator"], **training.trainer.task.networks}
    for name, network in networks.items():
        own = made["generator" if name == "average" else name].frozen_tensors()
        assert [key for key, tensor in network.frozen_tensors().items() if not torch.equal(tensor, own[key])] == []


@pytest.mark.parametrize("change", ["weight", "statistic", "nothing"])
def test_the_hash_tells_weights_and_statistics_from_others(change: str) -> None:
    ours, theirs = Two(), Two()
    assert frozen_hashes({"net": ours}).keys() == {"net"}
    with torch.no_grad():
        theirs.second.weight += 1  # not frozen
        tensor = {"weight": theirs.first[0].weight, "statistic": theirs.first[1].running_var}.get(change)
        if tensor is not None:
            tensor.view(-1)[-1].add_(1e-6)
    assert (frozen_hashes({"net": ours}) == frozen_hashes({"net": theirs})) is (change == "nothing")
    assert frozen_hashes({"net": ours.to(memory_format=torch.channels_last)}) == frozen_hashes({"net": Two()})


def test_processes_with_different_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "gather_texts", lambda text: [text, text.replace("a", "b")])
    with pytest.raises(UserError, match=r"^The processes of .* have not the same frozen weights in critic; give all"):
        check_frozen(tmp_path, None, {"critic": "aa"})
    check_frozen(tmp_path, None, {})


def test_only_the_rest_is_given_to_other_processes(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, frozen: None
) -> None:
    recipe, accelerator = tiny("pggan", pictures), Accelerator()
    built = build(recipe)
    trainer = Trainer(recipe, built, accelerator, Precision("no", accelerator.device))
    networks = trainer.task.networks
    before = {name: {key: x.clone() for key, x in net.state_dict().items()} for name, net in networks.items()}
    monkeypatch.setattr(parallel, "broadcast", lambda tensor: tensor + 1)
    monkeypatch.setattr(trainer, "accelerator", SimpleNamespace(num_processes=2))
    trainer.initialize(lambda *_: torch.zeros(0), built.schedule.at(0))
    for name, network in networks.items():
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[name][key] + (key not in network.frozen)), key


def test_states_with_and_without_them_load_and_nothing_else_may_be_missing() -> None:
    trained, other = Two(0), Two(1)
    part = Weights({"net": trained}).state_dict()
    assert part.keys() == {"net.second.weight", "net.second.bias"}
    weights, own = Weights({"net": other}), kept(other)
    weights.load_state_dict(part)
    assert torch.equal(other.second.weight, trained.second.weight)
    whole = {f"net.{key}": value for key, value in trained.state_dict().items()}  # as in snapshots
    with pytest.raises(ValueError, match=r"^net had other frozen weights in first\.0\."):
        weights.load_state_dict(whole)
    assert all(torch.equal(tensor, own[name]) for name, tensor in other.frozen_tensors().items())
    same = Two(0)
    Weights({"net": same}).load_state_dict({**whole, "net.second.bias": torch.ones(2)})
    assert torch.equal(same.second.bias, torch.ones(2))
    weight = part["net.second.weight"]
    for wrong in ({"net.second.weight": weight}, {**part, "net.third.weight": weight}):
        with pytest.raises(RuntimeError, match=r"Missing|Unexpected"):
            weights.load_state_dict(wrong)
    with pytest.raises(ValueError, match="there is no network of"):
        weights.load_state_dict({**part, "of.another": weight})


def test_averages_of_what_moves_only() -> None:
    source = Two()
    ema = EmaNetworks({"net": source}, Ema.model_validate({"per_step": 0.75}))
    source.requires_grad_(False)  # as all are while another player trains
    start, average = source.second.weight.clone(), ema.networks["net"]
    with torch.no_grad():
        source.second.weight += 4
        for tensor in (average.first[0].weight, average.first[1].running_mean):
            tensor.fill_(7)
    ema.update(0, 1)
    assert torch.allclose(average.second.weight, start + 1)
    assert (average.first[0].weight == 7).all(), "it was not touched"
    assert (average.first[1].running_mean == 7).all()


def test_players_take_turns_and_the_frozen_never_have_one() -> None:
    networks = {name: Two() for name in ("generator", "discriminator")}
    players = {name: (name,) for name in networks}
    trainable = Trainable(networks, players)
    for player in networks:
        trainable.choose(player)
        assert Trainable(networks, players).counts() == {"generator": 8, "discriminator": 8}, "whosever turn it is"
        for name, network in networks.items():
            assert network.second.weight.requires_grad is (name == player)
            assert not network.first[0].weight.requires_grad


@pytest.mark.parametrize("look", [progcycle.plan, lambda recipe: check(recipe, Path("nowhere"))])
def test_a_player_with_nothing_to_train_is_named_before_a_run(
    look: Any, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PgganGenerator, "trainable_parameters", lambda self: [])
    with pytest.raises(UserError) as refused:
        look(tiny("pggan", pictures))
    assert str(refused.value) == (
        "network: there is nothing to train for generator: generator froze all of their parameters."
    )


def test_first_weights_from_elsewhere_leave_them(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No checkpoint would hold what they were set to."""
    network = Two()
    own = kept(network)

    def start_from(networks: Any) -> list[str]:
        for tensor in (*networks["generator"].parameters(), *networks["generator"].buffers()):
            tensor.data.fill_(5)
        return ["begun"]

    monkeypatch.setattr("progcycle.engine.initial_weights.warm_start", lambda recipe: start_from)
    assert set_initial_weights(tiny("pggan", pictures), tmp_path, {"generator": network}) == ["begun"]
    assert (network.second.weight == 5).all()
    assert all(torch.equal(tensor, own[name]) for name, tensor in network.frozen_tensors().items())
