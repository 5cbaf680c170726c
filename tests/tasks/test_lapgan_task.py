"""The task of a Laplacian pyramid: its losses by hand, what each level is shown, and recipes that mean nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tiny_runs import CLASSES
from torch import Tensor
from torch.nn.functional import softplus

from progcycle.blocks import downsample2x
from progcycle.data import Batch
from progcycle.engine.build import build
from progcycle.errors import UserError
from progcycle.networks import LapganGenerator
from progcycle.recipe import RecipeError, merge, override, validate
from progcycle.rng import uniforms
from progcycle.schedule import Growth
from progcycle.tasks import LapganTask

GROWTH = Growth(2, 32, 1.0, 4)
NETWORK: dict[str, Any] = {
    "generator": {"filters": 3},
    "discriminator": {"filters": 3},
    "coarsest_generator": {"hidden": 5, "latent_size": 4},
    "coarsest_discriminator": {"hidden": 6},
}
CONTENT: dict[str, Any] = {
    "task": "lapgan", "seed": 4, "resolution": 32, "data": {"path": "nowhere"}, "network": NETWORK,
}  # fmt: skip


def make(change: dict[Any, Any] | None = None) -> LapganTask:
    task = build(validate(merge(CONTENT, change or {}))).task
    assert isinstance(task, LapganTask)
    return task


def batch(seed: int, first: int = 8) -> Batch:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return Batch(images, tuple(range(first, first + 4)), ("x",) * 4)


REALS = {"real": batch(1), "coarse": batch(2)}


def pyramid(pictures: Tensor) -> dict[int, Tensor]:
    half = downsample2x(pictures)
    return {32: pictures, 16: half, 8: downsample2x(half)}


def rows(positions: tuple[int, ...], purpose: str, size: int) -> Tensor:
    return uniforms(4, purpose, positions, size)


def fakes(task: LapganTask, player: str, coarse: Tensor, positions: tuple[int, ...]) -> dict[int, Tensor]:
    """What every level paints: the coarsest from latents, the others over the real coarse pictures."""
    below, found = pyramid(coarse), {}
    for side in (8, 16, 32):
        network: Any = task.networks[f"generator_{side}"]
        z = 2 * rows(positions, f"latent/{player}/{side}", network.latent_size) - 1
        found[side] = network(z) if side == 8 else network(below[side // 2], 0, 1.0, latents=z)
    return found


@torch.no_grad()
def test_discriminators_judge_real_pictures_and_fakes_over_other_coarse_ones() -> None:
    task = make()
    loss, stats = task.loss("discriminator", REALS, GROWTH, 0)
    real = pyramid(REALS["real"].images)
    fake = fakes(task, "discriminator", REALS["coarse"].images, REALS["coarse"].positions)
    total = 0.0
    for side in (8, 16, 32):
        judge: Any = task.networks[f"discriminator_{side}"]
        drawn = [
            rows(REALS[kind].positions, f"dropout/discriminator/{k}_{side}", judge.dropout_size(0))
            for kind, k in (("real", "real"), ("coarse", "fake"))
        ]
        expected = softplus(-judge(real[side], dropout=drawn[0])) + softplus(judge(fake[side], dropout=drawn[1]))
        assert stats[f"adversarial/disc_{side}"].item() == pytest.approx(expected.mean().item(), rel=1e-5)
        total += expected.mean().item()
    assert loss.item() == pytest.approx(total, rel=1e-5)


@torch.no_grad()
def test_generators_paint_over_the_coarse_pictures_of_both_sets() -> None:
    task = make()
    loss, stats = task.loss("generator", REALS, GROWTH, 1)
    images = torch.cat([REALS["real"].images, REALS["coarse"].images])
    positions = (8, 9, 10, 11, -9, -10, -11, -12)
    fake, total = fakes(task, "generator", images, positions), 0.0
    for side in (8, 16, 32):
        judge: Any = task.networks[f"discriminator_{side}"]
        dropout = rows(positions, f"dropout/generator/fake_{side}", judge.dropout_size(0))
        expected = softplus(-judge(fake[side], dropout=dropout)).mean().item()
        assert stats[f"adversarial/gen_{side}"].item() == pytest.approx(expected, rel=1e-5)
        total += expected
    assert loss.item() == pytest.approx(total, rel=1e-5)


@torch.no_grad()
def test_levels_are_told_the_class_of_each_picture(pictures: Path) -> None:
    """Real pictures theirs, and fakes that of the picture whose coarse version they are painted over."""
    task = make({"data": {"path": str(pictures / "trainA"), "labels": str(pictures / "labels.json")}})
    assert task.classes == CLASSES
    assert {spec["arguments"]["classes"] for spec in task.specs.values()} == {3}
    labels = {"real": torch.tensor([0, 1, 2, 1]), "coarse": torch.tensor([2, 2, 0, 1])}
    reals = {kind: replace(batch_, labels=labels[kind]) for kind, batch_ in REALS.items()}
    _, stats = task.loss("discriminator", reals, GROWTH, 0)
    generator, judge = cast("Any", task.networks["generator_16"]), cast("Any", task.networks["discriminator_16"])
    z = 2 * rows(reals["coarse"].positions, "latent/discriminator/16", 256) - 1
    told = {kind: torch.eye(3)[own] for kind, own in labels.items()}
    fake = generator(pyramid(reals["coarse"].images)[8], 0, 1.0, latents=z, labels=told["coarse"])
    drawn = [
        rows(reals["real"].positions, f"dropout/discriminator/{k}_16", judge.dropout_size(0)) for k in ("real", "fake")
    ]
    of_real = judge(pyramid(reals["real"].images)[16], labels=told["real"], dropout=drawn[0])
    of_fake = judge(fake, labels=told["coarse"], dropout=drawn[1])
    expected = (softplus(-of_real) + softplus(of_fake)).mean().item()
    assert stats["adversarial/disc_16"].item() == pytest.approx(expected, rel=1e-5)
    panel = task.panel(4, lambda _: reals["real"].images)
    assert panel["labels"].argmax(1).tolist() == [0, 1, 2, 0]
    assert [row.shape[0] for row in task.sample(task.networks, panel, GROWTH)] == [4] * 4


def test_no_level_learns_from_another() -> None:
    task = make()
    for player in ("generator", "discriminator"):
        for side in (8, 16, 32):
            for network in task.networks.values():
                network.zero_grad()
            _, stats = task.loss(player, REALS, GROWTH, 0)
            stats[f"adversarial/{player[:4].replace('gene', 'gen')}_{side}"].backward()
            reached = {
                name for name, network in task.networks.items() if any(p.grad is not None for p in network.parameters())
            }
            assert {name.rpartition("_")[2] for name in reached} == {str(side)}


def test_a_level_begins_alike_whichever_others_are_trained() -> None:
    whole, part = make(), make({"levels": [8, 32]})
    assert part.networks.keys() == {f"{player}_{side}" for player in ("generator", "discriminator") for side in (8, 32)}
    for name, network in part.networks.items():
        for key, value in network.state_dict().items():
            assert torch.equal(value, whole.networks[name].state_dict()[key])
    assert torch.equal(
        part.draw_latents(0, "x", [3]),
        torch.cat([whole.draw_latents(0, "x", [3])[:, :4], whole.draw_latents(0, "x", [3])[:, -1024:]], 1),
    )


def test_players_take_turns_and_lazy_terms_count_the_discriminators_turns() -> None:
    both = (("discriminator",),)
    assert make().update_order == (both, (("generator",),))
    task = make({"objective": {"n_critic": 2, "r1": {"gamma": 1, "every": 4}}})
    assert task.update_order == (both, both, (("generator",),))
    with_penalty = [step for step in range(15) if step % 3 < 2 and _has_penalty(task, step)]
    assert with_penalty == [0, 6, 12], "every fourth of 0, 1, 3, 4, 6, 7, 9, 10, 12"
    assert make({"objective": {"simultaneous": True}}).update_order == ((("discriminator", "generator"),),)


def _has_penalty(task: LapganTask, step: int) -> bool:
    return "penalty/r1_16" in task.loss("discriminator", REALS, GROWTH, step)[1]


@torch.no_grad()
def test_samples_go_from_coarse_to_fine() -> None:
    task = make()
    panel = task.panel(4, lambda _: REALS["real"].images)
    made = task.sample(task.networks, panel, GROWTH)
    z = torch.split(panel["latents"], [4, 256, 1024], dim=1)
    networks: Any = task.networks
    small = networks["generator_8"](z[0])
    middle = networks["generator_16"](small, 0, 1.0, latents=z[1])
    torch.testing.assert_close(made[0], networks["generator_32"](middle, 0, 1.0, latents=z[2]))
    below = pyramid(REALS["real"].images)
    torch.testing.assert_close(made[1], networks["generator_32"](below[16], 0, 1.0, latents=z[2]))
    torch.testing.assert_close(made[2], networks["generator_16"](below[8], 0, 1.0, latents=z[1]))
    assert torch.equal(made[3], REALS["real"].images)
    assert task.row_names() == ("samples of 32", "32 over real 16", "16 over real 8", "real")
    assert [len(rows) for rows in (task.sample(task.networks, {"latents": panel["latents"]}, GROWTH),)] == [1]
    part = make({"levels": [8, 32]})
    assert part.row_names() == ("samples of 8", "32 over real 16", "real")
    rows = part.sample(part.networks, part.panel(4, lambda _: REALS["real"].images), GROWTH)
    assert torch.equal(part.shown(rows, lambda _: REALS["real"].images)["generator_32"].made, rows[1])
    assert make({"levels": 16}).row_names() == ("16 over real 8", "real")


def test_the_coarsest_level_may_be_any_network() -> None:
    task = make({"network": {"coarsest_generator": "pggan", "coarsest_discriminator": "pggan"}})
    assert task.specs["generator_8"]["arguments"]["base_resolution"] == 4
    with torch.no_grad():
        made = task.sample(task.networks, task.panel(4, lambda _: REALS["real"].images), GROWTH)
        task.loss("discriminator", REALS, GROWTH, 0)
    assert made[0].shape == (4, 3, 32, 32)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"levels": [12]}, "levels: there is no level of 12 px; choose from 8, 16, 32."),
        ({"levels": 64}, "levels: there is no level of 64 px; choose from 8, 16, 32."),
        ({"levels": [8, 8]}, "levels: a level is named twice"),
        ({"levels": []}, "levels: "),
        ({"levels": "fine"}, "levels.0: input should be a valid integer"),
        ({"network": {"base_resolution": 32}}, "network.base_resolution: the coarsest level lies below the resolution"),
        ({"schedule": {"start_resolution": 8}}, "schedule.start_resolution: the levels of a pyramid do not grow"),
        ({"schedule": {"hold_resolution": 16}}, "schedule.hold_resolution: the levels of a pyramid do not grow"),
        ({"schedule": {"new_stage": "copy"}}, "schedule.new_stage: the levels of a pyramid do not grow; leave it out."),
        ({"network": {"generator": {"pyramid": "cubic"}}}, "network.generator.pyramid: input should be 'box' or"),
        ({"network": {"generator": "pggan"}}, "network.generator: there is no 'pggan'"),
        ({"network": {"coarsest_generator": {"hidden": 20000}}}, "coarsest_generator.hidden: input should be less"),
        ({"network": {"discriminator": {"dropout": 1}}}, "network.discriminator.dropout: input should be less than 1"),
        ({"data": {"validation": 0.1}}, "leave data.validation out"),
    ],
)  # fmt: skip
def test_recipes_that_mean_nothing_are_refused_in_one_sentence(change: dict[Any, Any], sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        validate(merge(CONTENT, change))
    assert sentence in str(caught.value)
    assert str(caught.value).count("\n") == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"network": {"base_resolution": 4}}, "network.discriminator.name: lapgan needs pictures of 9 px or more"),
        ({"objective": {"loss": "wgan"}}, "objective: wgan needs its gradient penalty; add objective.gradient_penalty"),
        ({"objective": {"balance": {}}}, "objective.balance: no pictures here are seen by several discriminators"),
        ({"objective": {"loss": "bce"}}, "objective.loss: there is no 'bce'"),
    ],
)  # fmt: skip
def test_combinations_without_meaning_are_refused(change: dict[Any, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        make(change)
    assert str(caught.value).startswith(sentence)


def test_another_network_leaves_the_levels_as_they_are() -> None:
    content = {**CONTENT, "network": {**NETWORK, "base_resolution": 16, "discriminator": "lapgan"}}
    recipe: Any = validate(override(content, ["network.generator.name=lapgan_large"]))
    assert recipe.network.generator.name == "lapgan_large"
    assert recipe.all_levels == recipe.levels == (16, 32)
    assert recipe.schedule.start_resolution == 32


def test_a_run_of_a_coarse_level_is_shown_small_pictures() -> None:
    recipe: Any = validate({**CONTENT, "levels": 16})
    assert recipe.levels == (16,)
    assert (recipe.schedule.start_resolution, recipe.schedule.hold_resolution) == (16, 16)
    again: Any = validate(recipe.model_dump())
    assert again == recipe
    assert LapganGenerator(16, filters=1).side == 16
