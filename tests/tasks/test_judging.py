"""What both tasks' discriminators share: one pass or two, the terms of the loss, lazy penalties, refusals."""

from typing import Any

import pytest
import torch
from fake_networks import GROWTH, FakeDiscriminator, batch
from torch import Tensor, nn

from progcycle.errors import UserError
from progcycle.networks import DISCRIMINATORS
from progcycle.recipe import Adversarial
from progcycle.tasks.base import check_adversarial, discriminator_loss, judge_both, pick


def discriminator(stddev_group: int) -> nn.Module:
    torch.manual_seed(0)
    network = DISCRIMINATORS["progressive"]([6, 4], stddev_group=stddev_group)
    for parameter in network.parameters():
        nn.init.normal_(parameter)
    return network


def pictures(n: int) -> tuple[Tensor, Tensor]:
    """Real and fake pictures of very different variety, so that a mixed group shows."""
    torch.manual_seed(1)
    return torch.randn(n, 3, 8, 8), 0.1 * torch.randn(n, 3, 8, 8)


def count_passes(network: nn.Module) -> list[int]:
    sizes: list[int] = []
    network.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    return sizes


@torch.no_grad()
@pytest.mark.parametrize(
    ("n", "group", "passes"),
    [
        (8, 4, [16]),
        (4, 4, [8]),
        (12, 4, [24]),
        (5, 0, [10]),
        (7, 4, [14]),  # one group of 7, and two among 14
        (14, 4, [14, 14]),  # groups of 7 among 14, but of 4 among 28
        (2, 4, [2, 2]),
        (1, 4, [1, 1]),
        (1, 0, [2]),
    ],
)
def test_judging_together_equals_judging_apart(n: int, group: int, passes: list[int]) -> None:
    network, (real, fake) = discriminator(group), pictures(n)
    apart = network(real, 1, 0.25), network(fake, 1, 0.25)
    sizes = count_passes(network)
    together = judge_both(network, real, fake, GROWTH)
    assert sizes == passes
    for one, two in zip(together, apart, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_one_pass_would_be_wrong_where_two_are_taken() -> None:
    network, (real, fake) = discriminator(4), pictures(14)
    apart = network(real, 1, 0.25)
    mixed = network(torch.stack([real, fake], 1).flatten(0, 1), 1, 0.25)[0::2]
    assert not torch.allclose(mixed, apart, rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_rows_in_sequence_would_be_wrong() -> None:
    """Why the rows alternate: one after the other, the strided groups hold both kinds."""
    network, (real, fake) = discriminator(4), pictures(8)
    apart = network(real, 1, 0.25)
    assert not torch.allclose(network(torch.cat([real, fake]), 1, 0.25)[:8], apart, rtol=1e-2, atol=1e-2)


def loss_of(step: int = 0, suffix: str = "", **options: Any) -> tuple[float, dict[str, float]]:
    """Of the fake discriminator, whose logits are grey levels: real 0.5, fake -0.25."""
    loss, stats = discriminator_loss(
        FakeDiscriminator(),
        batch(0.5),
        torch.full((4, 3, 8, 8), -0.25),
        GROWTH,
        Adversarial(**options),
        seed=0,
        step=step,
        suffix=suffix,
    )
    return loss.item(), {name: value.item() for name, value in stats.items()}


SQUARED_GRADIENT = 1 / (3 * 8 * 8)  # of the mean of a picture


def test_loss_is_the_sum_of_its_terms() -> None:
    loss, stats = loss_of(loss="wgan", gradient_penalty={"weight": 10.0}, drift=0.5, suffix="_a")
    penalty = (SQUARED_GRADIENT**0.5 - 1) ** 2
    assert stats == pytest.approx(
        {
            "adversarial/disc_a": -0.75,
            "score/real_a": 0.5,
            "score/fake_a": -0.25,
            "penalty/gradient_a": penalty,
            "penalty/drift_a": 0.25,
        }
    )
    assert loss == pytest.approx(-0.75 + 10 * penalty + 0.5 * 0.25)


def test_gradient_penalty_target_comes_from_the_recipe() -> None:
    _, stats = loss_of(loss="wgan", gradient_penalty={"target": 2.0})
    assert stats["penalty/gradient"] == pytest.approx((SQUARED_GRADIENT**0.5 - 2) ** 2 / 4)


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_lazy_penalty_comes_every_kth_step_and_counts_k_times(name: str) -> None:
    adversarial, _ = loss_of(loss="hinge")
    once = 0.5 * 3.0 * SQUARED_GRADIENT
    for step in range(9):
        loss, stats = loss_of(step, loss="hinge", **{name: {"gamma": 3.0, "every": 4}})
        if step % 4 == 0:
            assert stats[f"penalty/{name}"] == pytest.approx(once)
            assert loss == pytest.approx(adversarial + 4 * once)
        else:
            assert f"penalty/{name}" not in stats
            assert loss == pytest.approx(adversarial)


def test_r1_is_taken_at_real_and_r2_at_fake_pictures() -> None:
    class Square(FakeDiscriminator):
        def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor:
            return x.square().sum((1, 2, 3)) / 2  # its gradient is x

    options = Adversarial(loss="hinge", r1={"gamma": 2.0}, r2={"gamma": 2.0})  # type: ignore[arg-type]
    _, stats = discriminator_loss(
        Square(), batch(0.5), torch.full((4, 3, 8, 8), -0.25), GROWTH, options, seed=0, step=0
    )
    assert stats["penalty/r1"].item() == pytest.approx(192 * 0.25)
    assert stats["penalty/r2"].item() == pytest.approx(192 * 0.0625)


def test_lsgan_factor_scales_the_discriminators_loss() -> None:
    assert loss_of(loss="lsgan")[0] == pytest.approx(0.25 + 0.0625)
    assert loss_of(loss="lsgan", lsgan_factor=0.5)[0] == pytest.approx(0.5 * (0.25 + 0.0625))


def test_mixing_factors_are_addressed_by_seed_and_position() -> None:
    torch.manual_seed(0)
    network, real, fake = discriminator(0), torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)

    def penalty(seed: int, first: int, suffix: str = "") -> float:
        options = Adversarial(loss="wgan", gradient_penalty={})  # type: ignore[arg-type]
        _, stats = discriminator_loss(
            network, batch(real, first), fake, GROWTH, options, seed=seed, step=0, suffix=suffix
        )
        return stats[f"penalty/gradient{suffix}"].item()

    assert penalty(0, 8) == penalty(0, 8)
    assert len({penalty(0, 8), penalty(1, 8), penalty(0, 12), penalty(0, 8, "_a")}) == 4


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"loss": "wgan"}, "objective: wgan needs its gradient penalty; add objective.gradient_penalty: {weight: 10}."),
        ({"loss": "hinge", "drift": 0.001}, "objective.drift: it belongs to wgan, not to hinge; set it to 0."),
        ({"loss": "hinge", "lsgan_factor": 0.5}, "objective.lsgan_factor: it belongs to lsgan, not to hinge; leave it"),
        ({"loss": "wgna"}, "there is no 'wgna'; choose one of hinge, lsgan, non_saturating, relativistic, wgan."),
    ],
)
def test_adversarial_keys_without_meaning_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        check_adversarial(Adversarial(**options))
    assert sentence in str(caught.value)


def test_meaningful_keys_are_accepted() -> None:
    for options in (
        {"loss": "wgan", "gradient_penalty": {}, "drift": 0.001},
        {"loss": "lsgan", "lsgan_factor": 0.5},
        {"loss": "hinge", "gradient_penalty": {}},
        {"loss": "relativistic", "r1": {}, "r2": {}},
    ):
        check_adversarial(Adversarial(**options))


def test_pick_lists_what_there_is() -> None:
    assert pick({"b": 1, "a": 2}, "a", "network.x") == 2
    with pytest.raises(UserError, match=r"network\.x: there is no 'c'; choose one of a, b\."):
        pick({"b": 1, "a": 2}, "c", "network.x")
