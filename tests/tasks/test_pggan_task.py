"""The unconditional task: which latents, which pictures, in which order."""

from typing import Any

import pytest
import torch
from fake_networks import GROWTH, FakeGenerator, batch, recipe

from progcycle.engine.build import build
from progcycle.errors import UserError
from progcycle.networks import DISCRIMINATORS, GENERATORS
from progcycle.tasks import TASKS, PgganTask

pytestmark = pytest.mark.usefixtures("fakes")


def make(**objective: Any) -> Any:
    change = {"network": {"generator": "fake", "discriminator": "fake", "latent_size": 5}, "objective": objective}
    return build(recipe("pggan", change)).task


def latents(generator: FakeGenerator) -> torch.Tensor:
    return torch.cat(generator.calls)


def test_losses_by_hand() -> None:
    task = make(loss="wgan", gradient_penalty={"weight": 10})
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
    other = recipe("pggan", {"network": {"generator": "fake", "discriminator": "fake", "latent_size": 5}, "seed": 4})
    reseeded: Any = build(other).task
    reseeded.loss("discriminator", {"real": batch(0.5)}, GROWTH, 0)
    assert not torch.equal(latents(reseeded.generator), latents(task.generator)[:4])


def test_only_the_players_networks_get_gradients() -> None:
    task = make(loss="hinge")
    task.loss("discriminator", {"real": batch(0.5)}, GROWTH, 0)[0].backward()
    assert task.generator.weight.grad is None, "the fakes have no history"
    assert not any(task.generator.grads)
    assert task.discriminator.weight.grad is not None
    task.loss("generator", {"real": batch(0.5)}, GROWTH, 0)[0].backward()
    assert task.generator.weight.grad is not None


def test_growth_reaches_both_networks() -> None:
    task = make(loss="hinge")
    for player in ("discriminator", "generator"):
        task.loss(player, {"real": batch(0.5)}, GROWTH, 0)
    assert {*task.generator.growths, *task.discriminator.growths} == {(1, 0.25)}


def test_generator_sees_real_pictures_only_in_a_paired_game() -> None:
    for loss, sees in (("relativistic", True), ("hinge", False)):
        task = make(loss=loss)
        value, _ = task.loss("generator", {"real": batch(0.5)}, GROWTH, 0)
        assert (0.5 in task.discriminator.seen()) is sees
        fake = latents(task.generator)[:, 0]
        expected = torch.nn.functional.softplus(0.5 - fake).mean() if sees else -fake.mean()
        torch.testing.assert_close(value, expected)


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


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"network": {"generator": "stylegan"}},
            "network.generator: there is no 'stylegan'; choose one of fake, pggan.",
        ),
        (
            {"network": {"discriminator": "x"}},
            "network.discriminator: there is no 'x'; choose one of fake, pggan, progr",
        ),
        ({"objective": {"loss": "hinge", "drift": 0.1}}, "objective.drift: it belongs to wgan"),
        ({"objective": {"loss": "wgan"}}, "add objective.gradient_penalty: {weight: 10}"),
    ],
)
def test_combinations_without_meaning_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
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


@pytest.mark.parametrize("task", TASKS)
def test_discriminators_may_have_channels_of_their_own(task: str) -> None:
    change = {"network": {"channels": {"base": 64, "max": 9}, "discriminator_channels": {"base": 32, "max": 7}}}
    specs = build(recipe(task, change)).task.specs
    for name, spec in specs.items():
        assert spec["arguments"]["channels"] == ([7, 7, 4] if name.startswith("disc") else [9, 9, 8])
        assert spec["arguments"].get("hidden", 7) == 7


@pytest.mark.parametrize("task", TASKS)
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
