"""The unconditional task: which latents, which pictures, in which order."""

from typing import Any

import pytest
import torch
from fake_networks import GROWTH, FakeGenerator, batch, recipe

from progcycle.engine.build import build
from progcycle.errors import UserError
from progcycle.networks import DISCRIMINATORS, GENERATORS
from progcycle.recipe import RecipeError, merge
from progcycle.tasks import PgganTask, pggan

pytestmark = pytest.mark.usefixtures("fakes")


def make(**objective: Any) -> Any:
    change = {
        "network": {"generator": {"name": "fake", "latent_size": 5}, "discriminator": "fake"},
        "objective": objective,
    }
    return build(recipe("pggan", change)).task


def latents(generator: FakeGenerator) -> torch.Tensor:
    return torch.cat(generator.calls)


def test_losses_by_hand() -> None:
    task = make(loss="wgan", gradient_penalty={"weight": 10}, drift=0)
    real = batch(0.5)
    loss, stats = task.loss("generator", {"real": real}, GROWTH, 0)
    fake = latents(task.generator)[:, 0].mean().item()
    assert loss.item() == stats["adversarial/gen"].item() == pytest.approx(-fake, abs=1e-6)
    loss, stats = task.loss("discriminator", {"real": real}, GROWTH, 0)
    fake = latents(task.generator)[4:, 0].mean().item()
    assert stats["adversarial/disc"].item() == pytest.approx(fake - 0.5, abs=1e-6)
    assert loss.item() == pytest.approx(fake - 0.5 + 10 * (192**-0.5 - 1) ** 2, rel=1e-5)


def test_latents_are_addressed_by_position_whatever_the_split() -> None:
    whole, parts = make(loss="hinge"), make(loss="hinge")
    real = batch(0.5, first=40, count=6)
    for player in ("discriminator", "generator"):
        whole.loss(player, {"real": real}, GROWTH, 0)
        for part in real.chunk(3):
            parts.loss(player, {"real": part}, GROWTH, 0)
    assert torch.equal(latents(parts.generator), latents(whole.generator))


def test_players_positions_and_seeds_have_latents_of_their_own() -> None:
    task = make(loss="hinge")
    for first in (0, 4):
        for player in ("discriminator", "generator"):
            task.loss(player, {"real": batch(0.5, first)}, GROWTH, 0)
    assert len(torch.unique(latents(task.generator), dim=0)) == 16
    other = recipe(
        "pggan", {"network": {"generator": {"name": "fake", "latent_size": 5}, "discriminator": "fake"}, "seed": 4}
    )
    reseeded: Any = build(other).task
    reseeded.loss("discriminator", {"real": batch(0.5)}, GROWTH, 0)
    assert not torch.equal(latents(reseeded.generator), latents(task.generator)[:4])


def test_only_the_players_networks_get_gradients() -> None:
    task = make(loss="hinge")
    task.loss("discriminator", {"real": batch(0.5)}, GROWTH, 0)[0].backward()
    assert task.generator.weight.grad is None, "the fakes have no history"
    assert not any(task.generator.grads)
    assert task.networks["discriminator"].weight.grad is not None
    task.loss("generator", {"real": batch(0.5)}, GROWTH, 0)[0].backward()
    assert task.generator.weight.grad is not None


def test_growth_reaches_both_networks() -> None:
    task = make(loss="hinge")
    for player in ("discriminator", "generator"):
        task.loss(player, {"real": batch(0.5)}, GROWTH, 0)
    assert {*task.generator.growths, *task.networks["discriminator"].growths} == {(1, 0.25)}


def test_generator_sees_real_pictures_only_in_a_paired_game() -> None:
    for loss, sees in (("relativistic", True), ("hinge", False)):
        task = make(loss=loss)
        value, _ = task.loss("generator", {"real": batch(0.5)}, GROWTH, 0)
        assert (0.5 in task.networks["discriminator"].seen()) is sees
        fake = latents(task.generator)[:, 0]
        expected = torch.nn.functional.softplus(0.5 - fake).mean() if sees else -fake.mean()
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(
    ("objective", "order"),
    [
        ({}, [["discriminator", "generator"]]),
        ({"n_critic": 3}, [["discriminator"], ["discriminator"], ["discriminator", "generator"]]),
        ({"simultaneous": True}, [["discriminator generator"]]),
    ],
)
def test_order_of_updates(objective: dict[str, Any], order: list[list[str]]) -> None:
    rounds = make(loss="hinge", **objective).update_order
    assert [[" ".join(players) for players in updates] for updates in rounds] == order


def test_roles_and_panel() -> None:
    task = make(loss="hinge")
    assert task.update_order == ((("discriminator",), ("generator",)),)
    assert task.players == {"generator": ("generator",), "discriminator": ("discriminator",)}
    assert task.ema_of == ("generator",)
    assert task.state_dict() == {}
    panel = task.panel(6, lambda domain: pytest.fail("no pictures are needed"))
    assert torch.equal(panel["latents"], task.panel(6, lambda domain: torch.empty(0))["latents"])
    (row,) = task.sample({"generator": task.generator}, panel, GROWTH)
    assert torch.equal(row[:, 0, 0, 0], panel["latents"][:, 0])
    with pytest.raises(ValueError, match="unknown task state"):
        task.load_state_dict({"x": torch.zeros(1)})


def test_state_is_the_memory_of_the_noise() -> None:
    one, two = (make(loss="lsgan", noise={"momentum": 0.5, "limit": 0.0}) for _ in range(2))
    for step in range(2):
        one.loss("discriminator", {"real": batch(0.75)}, GROWTH, step)
    state = one.state_dict()
    assert sorted(state) == ["noise.count", "noise.mean", "noise.step", "noise.total"]
    assert one.common_state({**state, "pool_a.pictures": torch.zeros(1)}) == state
    two.load_state_dict(state)
    assert (
        two.adversarial[""].members[0].loss.noise.strength(2).item()
        == one.adversarial[""].members[0].loss.noise.strength(2).item()
        > 0
    )
    with pytest.raises(ValueError, match="unknown task state"):
        two.load_state_dict({**state, "x": torch.zeros(1)})


# --- classes ------------------------------------------------------------------------------------------------------


def conditional(monkeypatch: pytest.MonkeyPatch, **network: Any) -> Any:
    """Three classes; the fake networks unless others are asked for."""
    monkeypatch.setattr(pggan, "find_classes", lambda data: ("cat", "dog", "fox") if data.labels else ())
    change = {
        "data": {"labels": "folders"},
        "network": {"generator": {"name": "fake", "latent_size": 5}, "discriminator": "fake", **network},
        "objective": {"loss": "hinge"},
    }
    return build(recipe("pggan", change)).task


def test_fakes_take_the_classes_of_the_real_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    task = conditional(monkeypatch)
    assert task.classes == ("cat", "dog", "fox")
    real = batch(0.5, labels=[2, 0, 0, 1])
    _, of_discriminator = task.loss("discriminator", {"real": real}, GROWTH, 0)
    _, of_generator = task.loss("generator", {"real": real}, GROWTH, 0)
    one_hot = torch.tensor([[0.0, 0, 1], [1, 0, 0], [1, 0, 0], [0, 1, 0]])
    assert [torch.equal(labels, one_hot) for labels in task.generator.labels] == [True, True]
    assert task.generator.labels[0].dtype == real.images.dtype
    assert {"class/real", "class/fake"} <= of_discriminator.keys()
    assert "class/gen" in of_generator


def test_the_panel_has_all_classes_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    task = conditional(monkeypatch)
    panel = task.panel(5, lambda domain: pytest.fail("no pictures are needed"))
    assert panel["labels"].argmax(1).tolist() == [0, 1, 2, 0, 1]
    assert panel["labels"].sum(1).tolist() == [1] * 5
    task.sample({"generator": task.generator}, panel, GROWTH)
    assert torch.equal(task.generator.labels[-1], panel["labels"])
    assert torch.equal(panel["latents"], make(loss="hinge").panel(5, lambda domain: torch.empty(0))["latents"])


def test_without_labels_there_are_no_classes() -> None:
    task = make(loss="hinge")
    _, stats = task.loss("discriminator", {"real": batch(0.5)}, GROWTH, 0)
    assert task.classes == ()
    assert task.generator.made_with["classes"] == task.networks["discriminator"].made_with["classes"] == 0
    assert task.generator.labels == [None]
    assert not any(name.startswith("class/") for name in stats)


def test_conditional_networks_learn_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    task = conditional(monkeypatch, generator="pggan", discriminator="pggan")
    assert task.specs["generator"]["arguments"]["classes"] == 3
    real = batch(torch.randn(4, 3, 8, 8), labels=[2, 0, 0, 1])
    for player in ("discriminator", "generator"):
        loss, stats = task.loss(player, {"real": real}, GROWTH, 0)
        loss.backward()
        assert all(value.isfinite() for value in stats.values())
    for network in task.networks.values():
        assert all(p.grad.isfinite().all() for p in network.parameters() if p.grad is not None)


# --- networks -----------------------------------------------------------------------------------------------------


def test_data_dependent_scales_are_set_by_so_many_real_pictures() -> None:
    asked = []

    def pictures(domain: str, count: int) -> torch.Tensor:
        asked.append((domain, count))
        return torch.full((3, 3, 8, 8), 0.5)

    plain = make(loss="hinge")
    plain.initialize(pictures, GROWTH)
    assert asked == plain.networks["discriminator"].initialized == []
    change = {
        "network": {
            "generator": "fake",
            "discriminator": {
                "name": "fake",
                "head": "dense",
                "minibatch_stddev": 0,
                "minibatch_discrimination": {"init_pictures": 70},
            },
        }
    }
    task: Any = build(recipe("pggan", change)).task
    task.initialize(pictures, GROWTH)
    assert asked == [("real", 70)]
    assert len(task.networks["discriminator"].initialized) == 1
    assert task.generator.calls == []


def test_pictures_that_are_all_alike_are_one_sentence() -> None:
    change = {"network": {"discriminator": {"minibatch_stddev": 0, "minibatch_discrimination": {"kernels": 3}}}}
    task = build(recipe("pggan", change)).task
    for count in (1, 4):
        with pytest.raises(UserError, match=r"^network\.discriminator: .*\.$"):
            task.initialize(lambda domain, wanted, n=count: torch.zeros(n, 3, 8, 8), GROWTH)


BOTH = {"equalized": False, "slope": 0.3, "generator": {"epsilon": 1e-4}}


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (BOTH, {"equalized": (False, False), "slope": (0.3, 0.3), "epsilon": (1e-4, 1e-8)}),
        (
            {"generator": {"normalization": "batch"}, "discriminator": {"normalization": "layer"}},
            {"normalize": ("batch", "layer")},
        ),
        (
            {"convs": 1, "generator": {"rgb_kernel": 3, "tanh": True}},
            {"convs": (1, 1), "rgb_kernel": (3, None), "tanh": (True, None)},
        ),
        ({"fused_scale": True, "rgb": "sum"}, {"fused": (True, True), "rgb": ("sum", "sum")}),
        (
            {"discriminator": {"minibatch_stddev": {"group": "batch", "averaging": "group3", "gather": True}}},
            {"stddev_group": (None, "batch"), "averaging": (None, "group3"), "gather": (None, True)},
        ),
        (
            {
                "discriminator": {
                    "minibatch_stddev": 0,
                    "minibatch_discrimination": {"kernels": 7, "dimensions": 2, "gather": True},
                }
            },
            {"stddev_group": (None, 0), "kernels": (None, 7), "dimensions": (None, 2), "gather": (None, True)},
        ),
        ({}, {"normalize": ("pixel", "none"), "slope": (0.2, 0.2), "kernels": (None, 0), "fused": (False, False)}),
    ],
)
def test_options_reach_the_networks_that_have_them(network: dict[str, Any], expected: dict[str, Any]) -> None:
    task = build(recipe("pggan", merge({"network": {"generator": {"latent_size": 5}}}, {"network": network}))).task
    for name, (of_generator, of_discriminator) in expected.items():
        for kind, value in (("generator", of_generator), ("discriminator", of_discriminator)):
            assert task.specs[kind]["arguments"].get(name) == value, f"{kind}.{name}"
    real = batch(torch.randn(4, 3, 8, 8))
    for player in ("discriminator", "generator"):
        assert task.loss(player, {"real": real}, GROWTH, 0)[0].isfinite()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"network": {"generator": "stylegan"}},
            "network.generator: there is no 'stylegan'; choose one of dcgan, ",
        ),
        (
            {"network": {"discriminator": "x"}},
            "network.discriminator: there is no 'x'; choose one of dcgan, ",
        ),
        ({"objective": {"loss": "hinge", "drift": 0.1}}, "objective.drift: it belongs to wgan"),
        ({"objective": {"gradient_penalty": None}}, "add objective.gradient_penalty: {weight: 10}"),
        ({"objective": {"loss": "hinge", "noise": {}}}, "objective.noise: it belongs to lsgan, not to hinge"),
        (
            {"network": {"rgb": "sum", "generator": {"tanh": True}}},
            "network.generator: tanh bounds a whole picture, not the sum of rgb: sum",
        ),
        (
            {"network": {"discriminator": {"minibatch_stddev": {"averaging": "group4"}}}},
            "network.discriminator.minibatch_stddev.averaging: group4 does not divide the 6 feature maps",
        ),
        (
            {"network": {"discriminator": "progressive", "convs": 1}},
            "network.convs: not every network here has this option; write network.generator.convs.",
        ),
    ],
)
def test_combinations_without_meaning_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises((UserError, RecipeError)) as caught:
        build(recipe("pggan", change))
    assert sentence in str(caught.value)


def test_channels_follow_the_recipe() -> None:
    change = {"resolution": 64, "data": {"channels": 1}, "network": {"channels": {"base": 256, "max": 40}}}
    task = PgganTask(recipe("pggan", change))  # type: ignore[arg-type]
    assert task.specs["generator"]["arguments"]["channels"] == [40, 40, 32, 16, 8]
    assert task.specs["discriminator"]["arguments"]["hidden"] == 40
    assert task.generator(torch.randn(2, 512), 4, 1.0).shape == (2, 1, 64, 64)
    for name, network in task.networks.items():
        spec = task.specs[name]
        again = (GENERATORS if name == "generator" else DISCRIMINATORS)[spec["name"]](**spec["arguments"])
        assert [p.shape for p in again.parameters()] == [p.shape for p in network.parameters()]


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_discriminators_may_have_channels_of_their_own(task: str) -> None:
    change = {"network": {"channels": {"base": 64, "max": 9}, "discriminator": {"channels": {"base": 32, "max": 7}}}}
    specs = build(recipe(task, change)).task.specs
    for name, spec in specs.items():
        assert spec["arguments"]["channels"] == ([7, 7, 4] if name.startswith("disc") else [9, 9, 8])
        assert spec["arguments"].get("hidden", 7) == 7


@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_where_training_starts_changes_no_network(task: str) -> None:
    """Growth or none is a matter of the schedule: the parameters have the same names, shapes and initial values."""
    grown, fixed, middle = (
        build(recipe(task, {"schedule": {"start_resolution": start}})).task.networks for start in (None, 16, 8)
    )
    for name, network in grown.items():
        expected = network.state_dict()
        for other in (fixed, middle):
            found = other[name].state_dict()
            assert list(found) == list(expected)
            assert all(torch.equal(found[key], value) for key, value in expected.items())
