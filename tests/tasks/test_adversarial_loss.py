"""What both tasks' discriminators share: one pass or two, the terms of the loss, lazy penalties, noise, refusals."""

from typing import Any

import pytest
import torch
from fake_networks import GROWTH, FakeDiscriminator, batch
from torch import Tensor, nn

from progcycle.blocks import Noise
from progcycle.errors import UserError
from progcycle.networks import DISCRIMINATORS, Network, NetworkOptions
from progcycle.objectives import ADVERSARIAL, class_loss
from progcycle.recipe import Adversarial, ClassWeights, Recipe, RecipeError, validate
from progcycle.rng import normal
from progcycle.tasks import TASKS
from progcycle.tasks.adversarial_loss import AdversarialLoss
from progcycle.tasks.specs import check_adversarial, look_up, make_network, task_shape


def adversarial(network: Network | None = None, seed: int = 0, suffix: str = "", **options: Any) -> AdversarialLoss:
    """With the fake discriminator, whose logits are grey levels, and a hinge loss."""
    return AdversarialLoss(
        network or FakeDiscriminator(), Adversarial(**{"loss": "hinge", **options}), seed=seed, suffix=suffix
    )


def discriminator(name: str = "progressive", **options: Any) -> Any:
    torch.manual_seed(0)
    network = DISCRIMINATORS[name]([6, 4], **options)
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


# --- one pass or two ----------------------------------------------------------------------------------------------

DENSE = {"head": "dense", "hidden": 5, "base_resolution": 4}
CASES: list[tuple[int, dict[str, Any], list[int]]] = [
    (8, {}, [16]),
    (5, {"stddev_group": 0}, [10]),
    (7, {}, [14]),  # one group of 7, and two among 14
    (14, {}, [14, 14]),  # groups of 7 among 14, but of 4 among 28
    (2, {}, [2, 2]),
    (1, {}, [1, 1]),
    (1, {"stddev_group": 0}, [2]),
    (8, {"stddev_group": "batch"}, [8, 8]),
    (8, {"averaging": "spatial"}, [16]),
    (8, {"averaging": "flat", "normalize": "layer"}, [16]),
    (8, {"averaging": "group3", "normalize": "instance"}, [16]),
    (8, {"stddev_group": 0, "normalize": "batch"}, [8, 8]),
    (8, {**DENSE, "stddev_group": 0, "kernels": 3}, [8, 8]),
]


@torch.no_grad()
@pytest.mark.parametrize(
    ("n", "options", "passes", "noisy"),
    # Noise is a matter of how many passes there are, and of which rows.
    [*((*case, False) for case in CASES), (8, {}, [16], True), (14, {}, [14, 14], True), (1, {}, [1, 1], True)],
)
def test_judging_together_equals_judging_apart(n: int, options: dict[str, Any], passes: list[int], noisy: bool) -> None:
    network, (real, fake) = discriminator(**options), pictures(n)
    both = adversarial(network, seed=7, suffix="_a", loss="lsgan", noise={} if noisy else None)
    apart = []
    for kind, x in (("real", real), ("fake", fake)):
        extra = {}
        if noisy:
            drawn = normal(7, f"noise/discriminator/{kind}_a", range(30, 30 + n), network.noise_size(1))
            extra["noise"] = Noise(drawn, torch.tensor(0.2 * (0.95 - 0.5) ** 2), "prop")
        apart.append(network(x, 1, 0.25, **extra))
    if both.noise:
        both.noise.mean = torch.tensor(0.95)
        assert not torch.allclose(apart[0], network(real, 1, 0.25), rtol=1e-3)
    sizes = count_passes(network)
    together = both.outputs(batch(real, first=30), fake, GROWTH, 0)
    assert sizes == passes
    for output, logits in zip(together, apart, strict=True):
        torch.testing.assert_close(output.logits, logits, rtol=1e-5, atol=1e-5)
        assert output.class_logits is None


@torch.no_grad()
def test_class_logits_are_told_apart_too() -> None:
    network, (real, fake) = discriminator("pggan", hidden=5, classes=3), pictures(8)
    sizes = count_passes(network)
    together = adversarial(network).outputs(batch(real), fake, GROWTH, 0)
    assert sizes == [16]
    for output, x in zip(together, (real, fake), strict=True):
        logits, class_logits = network(x, 1, 0.25)
        torch.testing.assert_close(output.logits, logits, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(output.class_logits, class_logits, rtol=1e-5, atol=1e-5)
        assert class_logits.shape == (8, 3)


@torch.no_grad()
def test_a_network_that_says_nothing_of_its_rows_judges_them_in_two_passes() -> None:
    class Plain(Network):
        def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor:
            return (x - x.mean(0)).square().mean((1, 2, 3))  # compares all rows

    network, (real, fake) = Plain(), pictures(4)
    of_real, of_fake = adversarial(network).outputs(batch(real), fake, GROWTH, 0)
    assert torch.equal(of_real.logits, network(real, 1, 0.25))
    assert torch.equal(of_fake.logits, network(fake, 1, 0.25))


@torch.no_grad()
def test_one_pass_would_be_wrong_where_two_are_taken() -> None:
    network, (real, fake) = discriminator(), pictures(14)
    apart = network(real, 1, 0.25)
    mixed = network(torch.stack([real, fake], 1).flatten(0, 1), 1, 0.25)[0::2]
    assert not torch.allclose(mixed, apart, rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_rows_in_sequence_would_be_wrong() -> None:
    """Why the rows alternate: one after the other, the strided groups hold both kinds."""
    network, (real, fake) = discriminator(), pictures(8)
    apart = network(real, 1, 0.25)
    assert not torch.allclose(network(torch.cat([real, fake]), 1, 0.25)[:8], apart, rtol=1e-2, atol=1e-2)


# --- terms of the loss --------------------------------------------------------------------------------------------

FAKE = torch.full((4, 3, 8, 8), -0.25)


def loss_of(step: int = 0, suffix: str = "", **options: Any) -> tuple[float, dict[str, float]]:
    """Of the fake discriminator, whose logits are grey levels: real 0.5, fake -0.25."""
    loss, stats = adversarial(suffix=suffix, **options).discriminator_loss(batch(0.5), FAKE, GROWTH, step)
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


def test_drift_is_that_of_real_pictures_only() -> None:
    for fake in (FAKE, 100 * FAKE):
        _, stats = adversarial(loss="wgan", gradient_penalty={}, drift=0.001).discriminator_loss(
            batch(0.5), fake, GROWTH, 0
        )
        assert stats["penalty/drift"].item() == pytest.approx(0.25)


def test_gradient_penalty_target_and_weight_come_from_the_recipe() -> None:
    for weight in (10.0, 3.0):
        loss, stats = loss_of(loss="wgan", gradient_penalty={"weight": weight, "target": 750.0})
        assert stats["penalty/gradient"] == pytest.approx((SQUARED_GRADIENT**0.5 - 750) ** 2 / 750**2)
        assert loss == pytest.approx(-0.75 + weight * stats["penalty/gradient"])


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
        def forward(self, x: Tensor, stage: int, alpha: float, noise: Noise | None = None) -> Tensor:
            return x.square().sum((1, 2, 3)) / 2  # its gradient is x

    _, stats = adversarial(Square(), r1={"gamma": 2.0}, r2={"gamma": 2.0}).discriminator_loss(
        batch(0.5), FAKE, GROWTH, 0
    )
    assert stats["penalty/r1"].item() == pytest.approx(192 * 0.25)
    assert stats["penalty/r2"].item() == pytest.approx(192 * 0.0625)


def test_lsgan_factors_scale_the_discriminators_loss_and_its_fake_half() -> None:
    assert loss_of(loss="lsgan")[0] == pytest.approx(0.25 + 0.0625)
    assert loss_of(loss="lsgan", lsgan_factor=0.5)[0] == pytest.approx(0.5 * (0.25 + 0.0625))
    assert loss_of(loss="lsgan", lsgan_fake_factor=0.1)[0] == pytest.approx(0.25 + 0.1 * 0.0625)
    both = loss_of(loss="lsgan", lsgan_factor=0.5, lsgan_fake_factor=0.1)
    assert both[0] == both[1]["adversarial/disc"] == pytest.approx(0.5 * (0.25 + 0.1 * 0.0625))
    generator = [
        adversarial(loss="lsgan", lsgan_fake_factor=f).generator_loss(batch(0.5), FAKE, GROWTH, 0)[0].item()
        for f in (1.0, 0.1)
    ]
    assert generator == pytest.approx([1.25**2] * 2), "the generator's loss has no such factor"


def test_mixing_factors_are_addressed_by_seed_and_position() -> None:
    network, (real, fake) = discriminator(stddev_group=0), pictures(4)

    def penalty(seed: int, first: int, suffix: str = "") -> float:
        wgan = adversarial(network, seed, suffix, loss="wgan", gradient_penalty={})
        return wgan.discriminator_loss(batch(real, first), fake, GROWTH, 0)[1][f"penalty/gradient{suffix}"].item()

    assert penalty(0, 8) == penalty(0, 8)
    assert len({penalty(0, 8), penalty(1, 8), penalty(0, 12), penalty(0, 8, "_a")}) == 4


# --- classes ------------------------------------------------------------------------------------------------------


def test_class_terms_by_hand() -> None:
    """The fake's logit of class k is k times a picture's grey level, so that P(k) is that of exp(level)^k."""
    network, labels = FakeDiscriminator(classes=3), [0, 2, 1, 2]
    weighted = AdversarialLoss(network, Adversarial(loss="hinge"), seed=0, classes=ClassWeights(real=2.0, fake=0.5))
    real = batch(0.5, labels=labels)

    def expected(level: float) -> float:
        powers = [torch.tensor(level * k, dtype=torch.float64).exp().item() for k in range(3)]
        return sum(-torch.tensor(powers[k] / sum(powers)).log().item() for k in labels) / 4

    loss, stats = weighted.discriminator_loss(real, FAKE, GROWTH, 0)
    assert stats["class/real"].item() == pytest.approx(expected(0.5), rel=1e-6)
    assert stats["class/fake"].item() == pytest.approx(expected(-0.25), rel=1e-6)
    assert loss.item() == pytest.approx(0.5 + 0.75 + 2 * expected(0.5) + 0.5 * expected(-0.25), rel=1e-6)
    loss, stats = weighted.generator_loss(real, FAKE, GROWTH, 0)
    assert stats["class/gen"].item() == pytest.approx(expected(-0.25), rel=1e-6)
    assert loss.item() == pytest.approx(0.25 + 0.5 * expected(-0.25), rel=1e-6)


def test_penalties_look_at_the_logit_only() -> None:
    network = FakeDiscriminator(classes=3)
    options = Adversarial.model_validate({"loss": "wgan", "gradient_penalty": {}, "r1": {"gamma": 2.0}})
    _, stats = AdversarialLoss(network, options, seed=0, classes=ClassWeights()).discriminator_loss(
        batch(0.5, labels=[0, 1, 2, 0]), FAKE, GROWTH, 0
    )
    assert stats["penalty/gradient"].item() == pytest.approx((SQUARED_GRADIENT**0.5 - 1) ** 2)
    assert stats["penalty/r1"].item() == pytest.approx(SQUARED_GRADIENT)


def test_pictures_without_labels_are_refused_where_there_are_classes() -> None:
    conditional = AdversarialLoss(
        FakeDiscriminator(classes=3), Adversarial(loss="hinge"), seed=0, classes=ClassWeights()
    )
    with pytest.raises(ValueError, match="labels of the pictures"):
        conditional.discriminator_loss(batch(0.5), FAKE, GROWTH, 0)


def test_class_loss_is_computed_in_full_precision() -> None:
    logits, labels = torch.tensor([[300.0, 301.0]], dtype=torch.bfloat16), torch.tensor([0])
    assert class_loss(logits, labels).item() == pytest.approx(class_loss(logits.double(), labels).item(), rel=1e-6)


# --- noise --------------------------------------------------------------------------------------------------------


def noisy(**options: Any) -> tuple[AdversarialLoss, FakeDiscriminator]:
    network = FakeDiscriminator()
    one = adversarial(
        network, seed=5, suffix="_b", loss="lsgan", noise={"momentum": 0.5, "limit": 0.25, "gain": 2.0, **options}
    )
    return one, network


def test_noise_is_addressed_and_its_strength_is_logged() -> None:
    one, network = noisy()
    real = batch(0.75, first=40)
    assert one.noise is not None
    one.noise.mean = torch.tensor(0.5)
    _, stats = one.discriminator_loss(real, FAKE, GROWTH, 0)
    one.generator_loss(real, FAKE, GROWTH, 0)
    strength = 2.0 * 0.25**2
    assert stats["noise/strength_b"].item() == pytest.approx(strength)
    expected = {
        key: normal(5, f"noise/{key}_b", range(40, 44), 2)
        for key in ("discriminator/real", "discriminator/fake", "generator/fake")
    }
    both = torch.stack([expected["discriminator/real"], expected["discriminator/fake"]], 1).flatten(0, 1)
    assert len(network.noises) == 2
    for seen, wanted in zip(network.noises, (both, expected["generator/fake"]), strict=True):
        assert seen is not None
        assert torch.equal(seen[0], wanted)
        assert seen[1] == pytest.approx(strength)


def test_a_step_has_one_strength_and_the_next_one_the_new() -> None:
    one, network = noisy()
    strengths = []
    for step in range(3):
        for _ in range(2):  # two parts of a batch
            one.discriminator_loss(batch(0.75), FAKE, GROWTH, step)
        one.generator_loss(batch(0.75), FAKE, GROWTH, step)
        strengths.append({round(seen[1], 6) for seen in network.noises if seen is not None})
        network.noises.clear()
    # d' is 0, then 0.375, then 0.5625
    assert strengths == [{0.0}, {round(2 * 0.125**2, 6)}, {round(2 * 0.3125**2, 6)}]


@pytest.mark.parametrize(("signal", "d"), [("real", 0.75), ("fake", 1.0), ("d_loss", 0.25**2 + 0.25**2)])
def test_what_the_noise_follows(signal: str, d: float) -> None:
    one, _ = noisy(signal=signal)
    assert one.noise is not None
    one.discriminator_loss(batch(0.75), FAKE, GROWTH, 0)  # D(real) is 0.75, 1 - D(fake) is 1.25
    one.noise.strength(1)
    assert one.noise.mean.item() == pytest.approx(0.5 * d)


def test_penalties_and_a_recipe_without_noise_have_none() -> None:
    one, network = noisy()
    one.options = one.options.model_copy(update={"r1": Adversarial.model_validate({"r1": {}}).r1})
    one.discriminator_loss(batch(0.5), FAKE, GROWTH, 0)
    assert [seen is None for seen in network.noises] == [False, True]
    quiet = FakeDiscriminator()
    plain = adversarial(quiet, loss="lsgan")
    _, stats = plain.discriminator_loss(batch(0.5), FAKE, GROWTH, 0)
    plain.generator_loss(batch(0.5), FAKE, GROWTH, 0)
    assert quiet.noises == [None, None]
    assert "noise/strength" not in stats
    assert plain.memories() == {}


# --- alarms -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ADVERSARIAL)
@pytest.mark.parametrize("factor", [1.0, 0.1])
def test_what_is_watched_falls_below_the_least_loss_of_one_answer_for_all(loss: str, factor: float) -> None:
    factors = {"lsgan_fake_factor": factor, "lsgan_factor": 0.5} if loss == "lsgan" else {}
    one = adversarial(loss=loss, suffix="_a", **factors)
    if loss == "wgan":
        assert one.watched == {}
        return

    def value(answer: Tensor) -> float:
        if loss == "lsgan":
            return 0.5 * float((answer - 1).square() + factor * answer.square())
        return float(ADVERSARIAL[loss].discriminator(answer, answer))

    answers = torch.linspace(-2, 2, 4001, dtype=torch.float64)
    figure, undecided = one.watched["disc_a"]
    assert undecided == pytest.approx(min(value(answer[None]) for answer in answers), abs=1e-6)
    _, stats = one.discriminator_loss(batch(0.5), torch.zeros(4, 3, 8, 8), GROWTH, 0)
    assert figure in stats


def test_penalties_that_are_not_due_at_every_step_say_their_periods() -> None:
    assert adversarial().lazy == adversarial(r1={"every": 1}).lazy == ()
    assert adversarial(r1={"every": 16}, r2={"every": 4}).lazy == (16, 4)


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"loss": "wgan"},
            "objective: wgan needs its gradient penalty; add objective.gradient_penalty: {weight: 10}, or else "
            "objective.weight_clipping: 0.01.",
        ),
        (
            {"loss": "wgan", "weight_clipping": 0.01, "gradient_penalty": {}},
            "objective.weight_clipping: it stands for the gradient penalty; leave out one of the two.",
        ),
        (
            {"loss": "hinge", "weight_clipping": 0.01},
            "objective.weight_clipping: it belongs to wgan, not to hinge; leave it out.",
        ),
        (
            {"loss": "hinge", "label_smoothing": {}},
            "objective.label_smoothing: it belongs to non_saturating, not to hinge; leave it out.",
        ),
        (
            {"loss": "non_saturating", "feature_matching": {}, "label_smoothing": {"generator": 0.5}},
            "objective.label_smoothing.generator: with objective.feature_matching the generator has no target; leave",
        ),
        ({"loss": "hinge", "drift": 0.001}, "objective.drift: it belongs to wgan, not to hinge; set it to 0."),
        ({"loss": "hinge", "lsgan_factor": 0.5}, "objective.lsgan_factor: it belongs to lsgan, not to hinge; leave it"),
        (
            {"loss": "wgan", "gradient_penalty": {}, "lsgan_fake_factor": 0.1},
            "objective.lsgan_fake_factor: it belongs to lsgan, not to wgan; leave it at 1.",
        ),
        (
            {"loss": "wgan", "gradient_penalty": {}, "noise": {}},
            "objective.noise: it belongs to lsgan, not to wgan; leave it out.",
        ),
        ({"loss": "relativistic", "noise": {}}, "objective.noise: it belongs to lsgan, not to relativistic; leave it"),
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
        {"loss": "lsgan", "lsgan_factor": 0.5, "lsgan_fake_factor": 0.1, "noise": {}},
        {"loss": "hinge", "gradient_penalty": {}},
        {"loss": "relativistic", "r1": {}, "r2": {}},
    ):
        check_adversarial(Adversarial(**options))


def test_pick_lists_what_there_is() -> None:
    assert look_up({"b": 1, "a": 2}, "a", "network.x") == 2
    with pytest.raises(UserError, match=r"network\.x: there is no 'c'; choose one of a, b\."):
        look_up({"b": 1, "a": 2}, "c", "network.x")


class SmallOptions(NetworkOptions):
    width: int = 3


class Small(Network):
    """A network of somebody's own, with the least that it must have."""

    Options = SmallOptions
    sizes = "any"

    def __init__(self, image_channels: int, width: int) -> None:
        super().__init__()
        self.body = nn.Conv2d(image_channels, width, 1)

    def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor:
        return self.body(x).mean((1, 2, 3))


def test_a_network_of_ones_own_brings_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plain entry in the dict is enough: recipes take its name, its options, and what a wrong key is near to."""
    monkeypatch.setitem(DISCRIMINATORS, "small", Small)
    content = {"task": "pggan", "resolution": 8, "data": {"path": "nowhere"}, "objective": {"loss": "hinge"}}

    def read(**network: Any) -> Recipe:
        return validate({**content, "network": {"base_resolution": 4, **network}})

    recipe = read(discriminator={"name": "small", "width": 5}, generator={"channels": {"max": 4}})
    network, spec = make_network(recipe.network, "discriminator", task_shape(recipe, image_channels=3))
    assert spec == {"name": "small", "arguments": {"image_channels": 3, "width": 5}}
    assert network.body.weight.shape == (5, 3, 1, 1)  # type: ignore[union-attr]
    task = TASKS["pggan"](recipe)  # type: ignore[arg-type]
    for player in ("discriminator", "generator"):
        loss, _ = task.loss(player, {"real": batch(torch.rand(4, 3, 8, 8))}, GROWTH, 0)
        loss.backward()
    assert validate(recipe.model_dump()) == recipe
    assert read(discriminator="small").network.discriminator.width == 3
    with pytest.raises(RecipeError, match=r"network\.discriminator\.widht: unknown key, did you mean width\?$"):
        read(discriminator={"name": "small", "widht": 5})
    with pytest.raises(RecipeError, match=r"network\.discriminator: there is no 'smal'; did you mean small\?$"):
        read(discriminator="smal")
    with pytest.raises(
        RecipeError, match=r"network\.slope: not every network here has this option; write network\.gen"
    ):
        read(discriminator="small", slope=0.3)
    with pytest.raises(
        UserError, match=r"^data\.labels: the network 'small' of network\.discriminator knows no classes"
    ):
        make_network(recipe.network, "discriminator", task_shape(recipe, 3, image_channels=3))
