"""Which network sees what, told by grey levels: A is 1, B is 2; gen_ab adds 100, gen_ba adds 1000."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from fake_networks import GROWTH, batch, recipe
from torch import nn

from progcycle.engine.build import build
from progcycle.errors import UserError
from progcycle.networks import DISCRIMINATORS, TRANSLATORS
from progcycle.recipe import RecipeError, override, validate
from progcycle.rng import normal
from progcycle.schedule import Growth
from progcycle.tasks import CycleganTask

REALS = {"a": batch(1.0), "b": batch(2.0)}
NO_PIXEL_NORM = {"epsilon": 1e-4, "generator": {"normalization": "instance"}}
LSGAN = {"fake_a": (1002 - 1) ** 2, "fake_b": (101 - 1) ** 2}


def make(pool_size: int = 0, more: dict[str, Any] | None = None, **objective: Any) -> Any:
    change = {
        "network": {"generator": "fake", "discriminator": "fake"},
        "objective": {"pool_size": pool_size, **objective},
        **(more or {}),
    }
    task: Any = build(recipe("cyclegan", change)).task
    task.gen_ab.shift, task.gen_ba.shift = 100.0, 1000.0
    return task


def values(stats: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: value.item() for name, value in stats.items()}


pytestmark = pytest.mark.usefixtures("fakes")


def test_generators_losses_by_hand() -> None:
    loss, stats = make(cycle={"aba": 3, "bab": 5}, identity={"a": 0.5, "b": 0.25}).loss("generator", REALS, GROWTH, 0)
    assert values(stats) == {
        "adversarial/gen_ab": LSGAN["fake_b"],
        "adversarial/gen_ba": LSGAN["fake_a"],
        "cycle/aba": 1100.0,
        "cycle/bab": 1100.0,
        "identity/a": 1000.0,  # gen_ba(real_a)
        "identity/b": 100.0,  # gen_ab(real_b)
    }
    expected = LSGAN["fake_a"] + LSGAN["fake_b"] + 3 * 1100 + 5 * 1100 + 3 * 0.5 * 1000 + 5 * 0.25 * 100
    assert loss.item() == pytest.approx(expected)


def test_pictures_out_of_range_are_penalised_by_the_curve() -> None:
    task = make(range_penalty=[[5, 2], [6, 0]])
    plain, _ = make().loss("generator", REALS, GROWTH, 0)
    loss, stats = task.loss("generator", REALS, GROWTH, 0)
    assert (stats["range/a"].item(), stats["range/b"].item()) == ((1002 - 1) ** 2, (101 - 1) ** 2)
    assert loss.item() - plain.item() == pytest.approx(2 * (1001**2 + 100**2))
    later, stats = task.loss("generator", REALS, replace(GROWTH, nimg=6000), 0)
    assert later.item() == plain.item()
    assert "range/a" not in stats


def test_the_colours_of_a_domain_as_a_set_weigh_by_their_curve() -> None:
    task = make(palette={"b": [[5, 2], [6, 0]]})
    plain, _ = make().loss("generator", REALS, GROWTH, 0)
    loss, stats = task.loss("generator", REALS, GROWTH, 0)
    assert "palette/a" not in stats
    assert 0 < stats["palette/b"].item() < 3 * 99**2  # grey of 2 to grey of 101, along unit vectors of three channels
    assert loss.item() - plain.item() == pytest.approx(2 * stats["palette/b"].item(), rel=1e-4)
    assert sorted(task.state_dict()) == ["palette_b.fake", "palette_b.real"]
    later, stats = task.loss("generator", REALS, replace(GROWTH, nimg=6000), 0)
    assert later.item() == plain.item()
    task.on_new_stage(GROWTH)
    assert not task.state_dict()


def test_a_direction_that_is_cut_off_is_not_penalised() -> None:
    change = {
        "network": {"generator": {"name": "progressive", "bounded": {"ba": True}}},
        "objective": {"range_penalty": 10},
    }
    task = build(recipe("cyclegan", change)).task
    assert (task.networks["gen_ab"].bounded, task.networks["gen_ba"].bounded) == (False, True)
    _, stats = task.loss("generator", REALS, GROWTH, 0)
    assert "range/b" in stats
    assert "range/a" not in stats


@pytest.mark.parametrize(
    "generator",
    [
        {"bounded": True},
        {"bounded": {"ab": True, "ba": "inward"}},
        {"bounded": "inward"},
        {"name": "resnet"},
        {"name": "unet"},
    ],
)
def test_a_penalty_on_what_never_leaves_the_range_is_refused(generator: dict[str, Any]) -> None:
    change = {"network": {"generator": generator}, "objective": {"range_penalty": 10}}
    if "name" in generator:
        change["schedule"] = {"start_resolution": 16}
    with pytest.raises(RecipeError, match=r"objective\.range_penalty acts on pictures that leave"):
        recipe("cyclegan", change)
    change["network"] = {"generator": {"name": "progressive", "bounded": False}}
    recipe("cyclegan", change)


def test_disc_a_judges_a_and_disc_b_judges_b() -> None:
    task = make()
    task.loss("generator", REALS, GROWTH, 0)
    assert (task.networks["disc_a"].seen(), task.networks["disc_b"].seen()) == ({1002}, {101})
    task.loss("discriminator", REALS, GROWTH, 0)
    assert (task.networks["disc_a"].seen(), task.networks["disc_b"].seen()) == ({1, 1002}, {2, 101})


def test_discriminators_losses_by_hand() -> None:
    loss, stats = make(lsgan_factor=0.5).loss("discriminator", REALS, GROWTH, 0)
    expected_a, expected_b = 0.5 * (0 + 1002**2), 0.5 * (1 + 101**2)
    assert values(stats) == pytest.approx(
        {
            "adversarial/disc_a": expected_a,
            "score/real_a": 1,
            "score/fake_a": 1002,
            "adversarial/disc_b": expected_b,
            "score/real_b": 2,
            "score/fake_b": 101,
        }
    )
    assert loss.item() == pytest.approx(expected_a + expected_b)


def test_growth_reaches_every_network() -> None:
    task = make(identity={"a": 1, "b": 1})
    task.loss("generator", REALS, GROWTH, 0)
    task.loss("discriminator", REALS, GROWTH, 0)
    assert {growth for network in task.networks.values() for growth in network.growths} == {(1, 0.25)}


def test_no_identity_weight_no_identity_pass() -> None:
    task = make(identity={"a": 0, "b": 0.5})
    _, stats = task.loss("generator", REALS, GROWTH, 0)
    assert "identity/a" not in stats
    assert "identity/b" in stats
    assert [x.mean().item() for x in task.gen_ba.calls] == [2, 101], "fake_a and rec_a only"


@pytest.mark.parametrize(
    ("kimg", "cycle", "identity", "options"),
    [
        (0, 10, 0.5, {}),
        (5, 6, 0.25, {}),
        (10, 2, 0, {}),
        (5, 6, 0.25, {"scales": 4}),  # the same for pictures of one grey
        (5, 6, 0.25, {"through": "blurred"}),
    ],
)
def test_weights_follow_their_curves(kimg: float, cycle: float, identity: float, options: dict[str, Any]) -> None:
    curves = {"aba": [[0, 10], [10, 2]], "bab": 0}
    small = {"schedule": {"start_resolution": 8}}
    task = make(cycle={**curves, **options}, identity={"a": [[0, 0.5], [10, 0]], "b": 1}, more=small)
    growth = Growth(stage=1, resolution=8, alpha=0.25, nimg=round(1000 * kimg))
    loss, stats = task.loss("generator", REALS, growth, 0)
    # identity is relative to the cycle weight of its own domain, at that moment: none for b, whose cycle weight is 0
    expected = LSGAN["fake_a"] + LSGAN["fake_b"] + cycle * 1100 + cycle * identity * 1000
    assert loss.item() == pytest.approx(expected)
    assert ("identity/a" in stats) == (identity > 0)
    assert "identity/b" not in stats


def test_the_cycle_is_compared_at_several_scales() -> None:
    """A pattern of single pixels that gen_ab adds is gone at half the size."""
    board = torch.tensor([1.0, -1.0]).repeat(4)
    task = make(cycle={"scales": 2})
    task.gen_ab.shift, task.gen_ba.shift = board * board[:, None], 0.0
    _, stats = task.loss("generator", REALS, GROWTH, 0)
    assert values(stats)["cycle/aba"] == values(stats)["cycle/bab"] == 0.5


@pytest.mark.parametrize(("start", "most"), [(None, 3), (16, 5)])
def test_more_scales_than_the_first_pictures_have_are_refused(start: int | None, most: int) -> None:
    more = {"schedule": {"start_resolution": start}}
    make(cycle={"scales": most}, more=more)
    with pytest.raises(UserError) as caught:
        make(cycle={"scales": most + 1}, more=more)
    assert str(caught.value) == (
        f"objective.cycle.scales: pictures of {start or 4} px, where training starts, can be compared at {most} "
        f"resolutions at most, not at {most + 1}."
    )


@pytest.mark.parametrize("through", ["rounded", "blurred", "noisy"])
def test_the_way_back_starts_from_a_worse_copy_and_discriminators_see_the_fake_itself(through: str) -> None:
    torch.manual_seed(0)
    a, b = batch(torch.rand(4, 3, 8, 8), 20), batch(-torch.rand(4, 3, 8, 8), 20)
    noise = {"noise_std": 0.25} if through == "noisy" else {}
    task = make(cycle={"through": through, **noise})
    task.gen_ab.shift, task.gen_ba.shift = 0.25, -0.25
    loss, _ = task.loss("generator", {"a": a, "b": b}, GROWTH, 0)
    fake_b, fake_a = a.images + 0.25, b.images - 0.25
    for back, fake, disc, name in (
        (task.gen_ba, fake_b, task.networks["disc_b"], "b"),
        (task.gen_ab, fake_a, task.networks["disc_a"], "a"),
    ):
        assert torch.equal(disc.calls[0], fake)
        got = back.calls[1]
        if through == "noisy":
            drawn = normal(3, f"cycle/{name}", range(20, 24), 192).reshape(4, 3, 8, 8)
            torch.testing.assert_close(got, fake + 0.25 * drawn)
        elif through == "rounded":
            torch.testing.assert_close(got, (fake.clamp(-1, 1) * 127.5 + 127.5).round() / 127.5 - 1)
        else:
            torch.testing.assert_close(got[..., 1:-1, 1:-1].mean(), fake[..., 1:-1, 1:-1].mean(), rtol=0.1, atol=0)
            assert 0 < got.std() < 0.7 * fake.std()
    loss.backward()
    assert task.gen_ab.weight.grad != 0
    task.loss("discriminator", {"a": a, "b": b}, GROWTH, 0)
    assert torch.equal(task.networks["disc_b"].calls[-1][1::2], fake_b)


@pytest.mark.parametrize("through", ["picture", "rounded", "blurred", "noisy"])
@pytest.mark.parametrize("detach", [(), ("aba",), ("bab",), ("aba", "bab")])
def test_who_learns_from_a_way_round(detach: tuple[str, ...], through: str) -> None:
    task = make(cycle={"detach": list(detach), "through": through})
    _, stats = task.loss(
        "generator", {"a": batch(torch.rand(4, 3, 8, 8)), "b": batch(torch.rand(4, 3, 8, 8))}, GROWTH, 0
    )
    plain = make(cycle={"through": through}).loss("generator", REALS, GROWTH, 0)[0].item()
    assert make(cycle={"detach": list(detach), "through": through}).loss("generator", REALS, GROWTH, 0)[0] == plain
    weights = [task.gen_ab.weight, task.gen_ba.weight]
    for way, first in (("aba", 0), ("bab", 1)):
        grads = torch.autograd.grad(stats[f"cycle/{way}"], weights, retain_graph=True, allow_unused=True)
        assert (grads[first] is None) == (way in detach)
        assert grads[1 - first] is not None


def test_noise_of_the_cycle_belongs_to_pictures_not_to_batches() -> None:
    whole, parts = make(cycle={"through": "noisy"}), make(cycle={"through": "noisy"})
    whole.loss("generator", REALS, GROWTH, 0)
    for i in range(2):
        parts.loss("generator", {domain: real.chunk(2)[i] for domain, real in REALS.items()}, GROWTH, 0)
    assert torch.equal(whole.gen_ba.calls[1], torch.cat([parts.gen_ba.calls[i] for i in (1, 3)]))


def test_the_way_back_starts_from_the_fake_by_default() -> None:
    task = make()
    task.loss("generator", REALS, GROWTH, 0)
    assert torch.equal(task.gen_ba.calls[1], REALS["a"].images + 100)


def test_discriminators_judge_the_fakes_of_the_generators_update() -> None:
    task = make()
    task.loss("generator", REALS, GROWTH, 0)
    calls = len(task.gen_ab.calls), len(task.gen_ba.calls)
    task.gen_ab.shift = 7.0  # the generators' step comes between
    loss, _ = task.loss("discriminator", REALS, GROWTH, 0)
    assert (len(task.gen_ab.calls), len(task.gen_ba.calls)) == calls
    assert task.networks["disc_b"].seen() == {101, 2}
    loss.backward()
    assert task.gen_ab.weight.grad is None
    assert task.networks["disc_b"].weight.grad is not None


def test_fakes_are_used_once_and_belong_to_their_pictures() -> None:
    task = make()
    task.loss("generator", REALS, GROWTH, 0)
    task.loss("discriminator", {"a": batch(1.0, 50), "b": batch(2.0, 50)}, GROWTH, 0)
    assert len(task.gen_ab.calls) == 3, "other positions: made anew"
    assert not any(task.gen_ab.grads[2:]), "without history"
    task.loss("discriminator", REALS, GROWTH, 0)
    assert len(task.gen_ab.calls) == 3
    task.loss("discriminator", REALS, GROWTH, 0)
    assert len(task.gen_ab.calls) == 4


def test_batch_in_parts_gives_the_same_losses() -> None:
    torch.manual_seed(0)
    reals = {"a": batch(torch.rand(4, 3, 8, 8)), "b": batch(torch.rand(4, 3, 8, 8))}
    parts = [{domain: whole.chunk(2)[i] for domain, whole in reals.items()} for i in range(2)]
    for objective in ({"loss": "hinge"}, {"loss": "relativistic", "r1": {"gamma": 1}}):
        one, two = make(pool_size=2, **objective), make(pool_size=2, **objective)
        for step in range(3):
            for player in ("generator", "discriminator"):
                whole = one.loss(player, reals, GROWTH, step)[0]
                halves = [two.loss(player, part, GROWTH, step)[0] for part in parts]
                torch.testing.assert_close(sum(halves) / 2, whole)


def test_pools_hold_the_fakes_of_their_domain_and_are_emptied_by_a_new_stage() -> None:
    task = make(pool_size=3)
    task.loss("generator", REALS, GROWTH, 0)
    task.loss("discriminator", REALS, GROWTH, 0)
    assert {p.mean().item() for p in task.pools["a"].pictures} == {1002}
    assert {p.mean().item() for p in task.pools["b"].pictures} == {101}
    task.loss("generator", REALS, GROWTH, 1)
    task.on_new_stage(GROWTH)
    assert task.state_dict() == {}
    calls = len(task.gen_ab.calls)
    task.loss("discriminator", REALS, GROWTH, 1)
    assert len(task.gen_ab.calls) == calls + 1, "fakes of the stage before are gone too"


def test_state_holds_both_pools() -> None:
    one, two = make(pool_size=3), make(pool_size=3)
    one.loss("discriminator", REALS, GROWTH, 0)
    state = one.state_dict()
    assert sorted(state) == ["pool_a.pictures", "pool_b.pictures"]
    two.load_state_dict(state)
    assert torch.equal(two.state_dict()["pool_b.pictures"], state["pool_b.pictures"])
    two.load_state_dict({})
    assert two.state_dict() == {}
    with pytest.raises(ValueError, match="pool_c"):
        two.load_state_dict({**state, "pool_c.pictures": state["pool_a.pictures"]})


def test_relativistic_generators_compare_with_the_real_pictures_of_the_domain() -> None:
    task = make(loss="relativistic")
    _, stats = task.loss("generator", REALS, GROWTH, 0)
    assert (task.networks["disc_a"].seen(), task.networks["disc_b"].seen()) == ({1, 1002}, {2, 101})
    assert stats["adversarial/gen_ab"].item() == pytest.approx(0, abs=1e-6)  # softplus(2 - 101)
    assert make(loss="hinge").loss("generator", REALS, GROWTH, 0)[1]["adversarial/gen_ab"].item() == -101


def test_generators_learn_through_everything() -> None:
    task: Any = make(identity={"a": 0.5, "b": 0.5})
    task.loss("generator", REALS, GROWTH, 0)[0].backward()
    assert task.gen_ab.weight.grad != 0
    assert task.gen_ba.weight.grad != 0


@pytest.mark.parametrize(
    ("objective", "order"),
    [
        ({}, [["generator", "discriminator"]]),
        ({"n_critic": 2}, [["discriminator"], ["generator", "discriminator"]]),
    ],
)
def test_order_of_updates_leaves_no_fakes_behind(objective: dict[str, Any], order: list[list[str]]) -> None:
    task = make(**objective)
    assert [[" ".join(players) for players in updates] for updates in task.update_order] == order
    for step in range(4):
        reals = {"a": batch(1.0, 8 * step, 8), "b": batch(2.0, 8 * step, 8)}
        parts = [{domain: whole.chunk(2)[i] for domain, whole in reals.items()} for i in range(2)]
        for players in task.update_order[step % len(task.update_order)]:
            for player in players:
                for part in parts:
                    task.loss(player, part, GROWTH, step)
        assert task._fakes == {}
    # By part: there and back with the generators' update, there alone in a round of the discriminators alone.
    assert len(task.gen_ab.calls) == {1: 4 * 2 * 2, 2: 2 * 2 * 2 + 2 * 2}[len(order)]


def test_each_discriminator_has_its_own_noise() -> None:
    task = make(pool_size=2, noise={"momentum": 0.5, "limit": 0.0, "gain": 1.0, "exponent": 1.0})
    reals = {"a": batch(0.25), "b": batch(0.75)}
    for step in range(3):
        _, of_generators = task.loss("generator", reals, GROWTH, step)
        _, stats = task.loss("discriminator", reals, GROWTH, step)
        mean = 1 - 0.5**step
        assert stats["noise/strength_a"].item() == pytest.approx(0.25 * mean)
        assert stats["noise/strength_b"].item() == pytest.approx(0.75 * mean)
        assert not any(name.startswith("noise/") for name in of_generators)
    drawn = [noise for disc in (task.networks["disc_a"], task.networks["disc_b"]) for noise in disc.noises]
    assert len({tuple(normals.flatten().tolist()) for normals, _ in drawn}) == 4, "the positions are always the same"
    state = task.state_dict()
    common = task.common_state(state)
    assert sorted(common) == sorted(f"noise_{d}.{k}" for d in "ab" for k in ("count", "mean", "step", "total"))
    fresh = make(pool_size=2, noise={"momentum": 0.5, "limit": 0.0})
    fresh.load_state_dict(state)
    assert (
        fresh.adversarial["b"].members[0].loss.noise.mean.item()
        == task.adversarial["b"].members[0].loss.noise.mean.item()
        > 0
    )
    assert len(fresh.pools["a"].pictures) == 2
    fresh.load_state_dict(common)
    assert fresh.state_dict() == common


def test_data_dependent_scales_are_set_by_pictures_of_the_own_domain() -> None:
    change = {
        "network": {
            "generator": "fake",
            "discriminator": {
                "name": "fake",
                "head": "dense",
                "minibatch_stddev": 0,
                "minibatch_discrimination": {"init_pictures": 9},
            },
        }
    }
    task: Any = build(recipe("cyclegan", change)).task
    task.initialize(lambda domain, count: torch.full((count, 3, 8, 8), {"a": 1.0, "b": 2.0}[domain]), GROWTH)
    for disc, level in ((task.networks["disc_a"], 1.0), (task.networks["disc_b"], 2.0)):
        assert [(len(x), x.mean().item()) for x in disc.initialized] == [(9, level)]


def test_roles() -> None:
    task = make()
    assert task.players == {"generator": ("gen_ab", "gen_ba"), "discriminator": ("disc_a", "disc_b")}
    assert task.update_order == ((("generator",), ("discriminator",)),)
    assert task.ema_of == ("gen_ab", "gen_ba")


def test_sample_rows_are_there_and_back() -> None:
    task = make()
    panel = task.panel(4, lambda domain: REALS[domain].images)
    rows = task.sample(task.networks, panel, GROWTH)
    assert [row.mean().item() for row in rows] == [1, 101, 1101, 2, 1002, 1102]


def test_channels_go_the_right_way() -> None:
    change = {
        "data": {"a": {"channels": 1}},
        "network": {"generator": {"name": "fake", "predict": "picture"}, "discriminator": "fake"},
    }
    task: Any = build(recipe("cyclegan", change)).task
    ways = [(net.made_with["in_channels"], net.made_with["out_channels"]) for net in (task.gen_ab, task.gen_ba)]
    assert ways == [(1, 3), (3, 1)]
    assert [net.made_with["image_channels"] for net in (task.networks["disc_a"], task.networks["disc_b"])] == [1, 3]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"data": {"a": {"channels": 1}}},
            "network.generator.predict: change adds to the input, which needs domains of equal",
        ),
        (
            {
                "data": {"a": {"channels": 1}},
                "network": {"generator": {"predict": "picture"}},
                "objective": {"identity": {"b": [[0, 0], [5, 1]]}},
            },
            "objective.identity: it compares a translator's input and output",
        ),
        (
            {"network": {"generator": {"name": "progressive", "rgb": "features", "channels": {"base": 64, "max": 99}}}},
            "network.generator.rgb: features blends the feature maps of two stages, which must be equally many",
        ),
        (
            {"network": {"generator": "stylegan"}},
            "network.generator: there is no 'stylegan'; choose one of fake, progressive, resnet, unet.",
        ),
        (
            {"network": {"discriminator": "x"}},
            "network.discriminator: there is no 'x'; choose one of dcgan, ",
        ),
        (
            {"network": {"discriminator": {"minibatch_stddev": 0, "minibatch_discrimination": {}}}},
            "network.discriminator: minibatch_discrimination judges whole pictures, not the "
            "patches of head: patch; use",
        ),
        (
            {
                "network": {
                    "discriminator": {"minibatch_stddev": {"averaging": "group5"}, "channels": {"base": 96, "max": 12}}
                }
            },
            "network.discriminator.minibatch_stddev.averaging: group5 does not divide the 12 feature maps",
        ),
        (
            {"network": {"discriminator": {"name": "pggan", "head": "patch"}}},
            "network.discriminator.head: unknown key",
        ),
        (
            {"network": NO_PIXEL_NORM},
            "network.generator: epsilon belongs to pixel norm, which this network does not have",
        ),
        (
            {"network": {"discriminator": {"scales": 2}}, "schedule": {"hold_resolution": 4}},
            "network.discriminator.scales: from 4 to 4 px, where growth ends, there are 1 resolutions to judge",
        ),
        ({"objective": {"loss": "hinge", "noise": {}}}, "objective.noise: it belongs to lsgan, not to hinge"),
        ({"objective": {"loss": "bce"}}, "objective.loss: there is no 'bce'; choose one of hinge, lsgan"),
        ({"objective": {"loss": "wgan"}}, "wgan needs its gradient penalty"),
    ],
)
def test_combinations_without_meaning_are_refused(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises((UserError, RecipeError)) as caught:
        build(recipe("cyclegan", change))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_options_reach_the_networks() -> None:
    network = {
        "equalized": False,
        "slope": 0.3,
        "generator": {"normalization": "pixel", "epsilon": 1e-4},
        "discriminator": {
            "head": "dense",
            "normalization": "layer",
            "minibatch_stddev": {"group": 2, "averaging": "gpool", "gather": True},
        },
    }
    specs = build(recipe("cyclegan", {"network": network})).task.specs
    both = {"equalized": False, "slope": 0.3, "rgb": "replace"}
    disc = {
        "normalize": "layer",
        "head": "dense",
        "stddev_group": 2,
        "averaging": "gpool",
        "gather": True,
        "kernels": 0,
    }
    for name, spec in specs.items():
        expected = {**both, **(disc if name.startswith("disc") else {"normalize": "pixel", "epsilon": 1e-4})}
        assert expected.items() <= spec["arguments"].items(), name


def test_pggans_discriminator_comes_with_its_dense_head() -> None:
    """What nobody wrote is not to be left out; the patch head that a recipe inherits gives way."""
    alone = build(recipe("cyclegan", {"network": {"discriminator": "pggan"}})).task
    assert alone.networks["disc_a"](torch.zeros(2, 3, 8, 8), 1, 1.0).shape == (2,)
    inherited = override(
        recipe("cyclegan", {"network": {"discriminator": {"head": "patch"}}}).model_dump(),
        ["network.discriminator=pggan"],
    )
    build(validate(inherited))


def test_specs_build_the_networks_again() -> None:
    task = CycleganTask(recipe("cyclegan"))  # type: ignore[arg-type]
    for name, network in task.networks.items():
        registry: dict[str, type[nn.Module]] = TRANSLATORS if name.startswith("gen") else DISCRIMINATORS
        again = registry[task.specs[name]["name"]](**task.specs[name]["arguments"])
        assert {n: p.shape for n, p in again.named_parameters()} == {n: p.shape for n, p in network.named_parameters()}
