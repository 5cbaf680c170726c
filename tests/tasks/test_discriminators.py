"""Several discriminators of a domain: whose loss counts how much, what each is shown, what is refused.

Fake translators and discriminators as in ``test_cyclegan_task.py``: A is 1, B is 2, fake_b is 101, fake_a is 1002, and
a logit is the mean of a picture.
"""

from typing import Any

import pytest
import torch
from fake_networks import GROWTH, FakeDiscriminator, batch, recipe
from torch import Tensor

from progcycle.blocks import downsample2x
from progcycle.engine.build import build
from progcycle.errors import UserError
from progcycle.networks import DISCRIMINATORS
from progcycle.objectives import ADVERSARIAL
from progcycle.recipe import Adversarial
from progcycle.schedule import Growth
from progcycle.tasks.adversarial_loss import AdversarialLoss

pytestmark = pytest.mark.usefixtures("fakes")
REALS = {"a": batch(1.0), "b": batch(2.0)}
FAKE = {"name": "fake"}


def make(discriminator: Any, task: str = "cyclegan", **objective: Any) -> Any:
    """The task of a recipe with such discriminators, lsgan and without an image pool."""
    own = {} if task == "pggan" else {"pool_size": 0}
    usual = {"loss": "lsgan", **own}
    change = {"network": {"generator": "fake", "discriminator": discriminator}, "objective": {**usual, **objective}}
    built: Any = build(recipe(task, change)).task
    if task == "cyclegan":
        built.gen_ab.shift, built.gen_ba.shift = 100.0, 1000.0
    return built


def losses(task: Any, growth: Growth = GROWTH, step: int = 0) -> tuple[dict[str, float], dict[str, float]]:
    """Figures of both players, with the whole loss under ``loss``."""
    found = []
    for player in ("generator", "discriminator"):
        loss, stats = task.loss(player, REALS, growth, step)
        found.append({name: value.item() for name, value in {**stats, "loss": loss}.items()})
    return found[0], found[1]


# --- losses by hand -----------------------------------------------------------------------------------------------


def test_two_discriminators_of_a_domain_by_hand() -> None:
    """A curve from 0 to 1 in 10 kimg is at a half after 5000 pictures."""
    second = {**FAKE, "loss": "hinge", "weight": [[0, 0], [10, 1]]}
    task = make({"a": FAKE, "b": [{**FAKE, "weight": 2}, second]}, cycle={"aba": 0, "bab": 0})
    generator, discriminator = losses(task)
    del generator["cycle/aba"], generator["cycle/bab"]
    assert generator == {
        "adversarial/gen_ab": 100.0**2,
        "adversarial/gen_ab2": -101.0,
        "adversarial/gen_ba": 1001.0**2,
        # 2 (m - 1) and 1 at the mean m of 192 numbers, of 4 pictures: each times the root of 1 / (4 * 192)
        "at_fake/gen_ab": pytest.approx(200 / 768**0.5),
        "at_fake/gen_ab2": pytest.approx(1 / 768**0.5),
        "weight/gen_ab": 2.0,
        "weight/gen_ab2": 0.5,
        "loss": 2 * 100.0**2 - 0.5 * 101 + 1001.0**2,
    }
    task.gen_ab.weight.grad = None
    task.loss("generator", REALS, GROWTH, 0)[0].backward()
    assert task.gen_ab.weight.grad.item() == pytest.approx(2 * 200 - 0.5), "of real_a = 1 in fake_b"
    of_a, of_b, of_b2 = 0 + 1002.0**2, (2 - 1) ** 2 + 101.0**2, 0 + (1 + 101.0)
    assert discriminator == {
        "adversarial/disc_a": of_a,
        "adversarial/disc_b": of_b,
        "adversarial/disc_b2": of_b2,
        "score/real_a": 1.0,
        "score/fake_a": 1002.0,
        **{f"score/real_{name}": 2.0 for name in ("b", "b2")},
        **{f"score/fake_{name}": 101.0 for name in ("b", "b2")},
        "loss": of_a + of_b + of_b2,
    }, "a discriminator's own loss has no weight"


def test_figures_and_networks_of_a_pggan_by_name() -> None:
    task = make([FAKE, {**FAKE, "loss": "hinge", "r1": {"gamma": 2}}], "pggan")
    _, generator = task.loss("generator", {"real": batch(0.5)}, GROWTH, 0)
    _, stats = task.loss("discriminator", {"real": batch(0.5)}, GROWTH, 0)
    assert list(task.networks) == ["generator", "discriminator", "discriminator_2"]
    assert sorted(generator) == ["adversarial/gen", "adversarial/gen_2", "at_fake/gen", "at_fake/gen_2"]
    assert sorted(stats) == [
        "adversarial/disc", "adversarial/disc_2", "penalty/r1_2", "score/fake", "score/fake_2", "score/real",
        "score/real_2",
    ]  # fmt: skip
    assert {name: watched.figure for name, watched in task.watched.items()} == {
        "disc": "adversarial/disc",
        "disc_2": "adversarial/disc_2",
    }


def test_the_first_ones_begin_as_if_they_were_alone() -> None:
    def weights(discriminator: Any) -> dict[str, Tensor]:
        task: Any = build(recipe("cyclegan", {"network": {"discriminator": discriminator}})).task
        return {
            f"{name}.{key}": value for name, net in task.networks.items() for key, value in net.state_dict().items()
        }

    alone, several = weights("progressive"), weights({"a": ["progressive", "pggan"], "b": ["progressive", "pggan"]})
    assert {key.partition(".")[0] for key in several.keys() - alone.keys()} == {"disc_a2", "disc_b2"}
    assert all(torch.equal(several[key], value) for key, value in alone.items())


def test_a_discriminator_whose_weight_is_0_for_good_is_trained_no_more() -> None:
    """Its weight is above 0 until 5 kimg, where GROWTH is; before that it is trained even at a weight of 0."""
    fading = {**FAKE, "weight": [[0, 0], [2, 1], [5, 0]]}
    task = make({"a": FAKE, "b": [FAKE, fading]})
    begins = Growth(stage=1, resolution=8, alpha=0.25, nimg=0)
    assert "adversarial/disc_b2" in losses(task, begins)[1]
    calls = len(task.networks["disc_b2"].calls)
    generator, discriminator = losses(task)
    assert "adversarial/gen_ab2" not in generator
    assert "adversarial/disc_b2" not in discriminator
    assert len(task.networks["disc_b2"].calls) == calls


def test_each_has_its_own_augmentation_noise_and_queue() -> None:
    ada = {"policy": ["color"], "adaptive": {}}
    task = make({"a": [{**FAKE, "augment": False}, FAKE], "b": [FAKE, {**FAKE, "noise": {}}]}, augment=ada)
    assert set(task.memories()) == {"pool_a", "pool_b", "augment_a2", "augment_b", "augment_b2", "noise_b2"}
    _, discriminator = losses(task)
    assert {name for name in discriminator if name.startswith(("augment/p", "noise"))} == {
        "augment/probability_a2", "augment/probability_b", "augment/probability_b2", "noise/strength_b2",
    }  # fmt: skip
    assert task.networks["disc_a"].seen() >= {1.0, 1002.0}
    queue = {"group": "batch", "queue": 2}
    task = make({"a": FAKE, "b": [FAKE, {**FAKE, "minibatch_stddev": queue}]})
    assert set(task.memories()) == {"pool_a", "pool_b", "queue_b2"}


def test_lazy_penalties_are_those_of_all() -> None:
    task = make({"a": FAKE, "b": [FAKE, {**FAKE, "r1": {"every": 4}}]}, r1={"every": 16})
    assert task.lazy == (16, 4)
    assert {name for name in losses(task, step=4)[1] if "r1" in name} == {"penalty/r1_b2"}


def test_one_names_the_class_and_the_other_need_not(monkeypatch: pytest.MonkeyPatch) -> None:
    class Unlabelled(FakeDiscriminator):
        has_classes = False

    monkeypatch.setitem(DISCRIMINATORS, "unlabelled", Unlabelled)
    monkeypatch.setattr("progcycle.tasks.pggan.find_classes", lambda data: ("x", "y", "z"))
    task = make([FAKE, "unlabelled"], "pggan")
    real = batch(0.5, labels=[0, 1, 2, 0])
    names = {name for player in task.players for name in task.loss(player, {"real": real}, GROWTH, 0)[1]}
    assert {name for name in names if "class" in name} == {"class/gen", "class/real", "class/fake"}
    with pytest.raises(UserError, match=r"^data\.labels: the network 'unlabelled' of network\.discriminator knows no "):
        make("unlabelled", "pggan")


# --- what each is shown -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "reduce", "side", "seen_stage"),
    [(0, 4, 4, 0), (1, 4, 4, 0), (2, 4, 4, 0), (2, 2, 8, 1), (1, 2, 4, 0), (2, 1, 16, 2)],
)
def test_a_growing_one_sees_smaller_pictures_at_the_stage_of_their_size(
    stage: int, reduce: int, side: int, seen_stage: int
) -> None:
    """Growth from 4 px; nothing smaller than that is shown."""
    task = make([FAKE, {**FAKE, "reduce": reduce}], "pggan")
    torch.manual_seed(0)
    real = batch(torch.rand(4, 3, 4 << stage, 4 << stage))
    growth = Growth(stage=stage, resolution=4 << stage, alpha=0.25)
    task.loss("discriminator", {"real": real}, growth, 0)
    network = task.networks["discriminator_2"]
    assert network.growths[-1] == (seen_stage, 0.25)
    assert network.calls[-1].shape[-1] == side
    factor = (4 << stage) // side
    means = real.images.reshape(4, 3, side, factor, side, factor).mean((3, 5))
    torch.testing.assert_close(network.calls[-1][::2], means)  # rows alternate real, fake


def test_reduced_pictures_go_on_where_a_stage_opens() -> None:
    """Stage 3 at alpha 0 of pictures in blocks is stage 2 of the smaller pictures, to the bit."""
    change = {"network": {"base_resolution": 4, "discriminator": ["progressive", {"name": "progressive", "reduce": 2}]}}
    task: Any = build(recipe("pggan", {**change, "resolution": 32, "objective": {"loss": "hinge"}})).task
    member = task.adversarial[""].members[1]
    assert len(member.network.encoder.from_rgb) == 3, "it has no stage that it never needs"
    torch.manual_seed(0)
    small = torch.rand(4, 3, 16, 16)
    large = small.repeat_interleave(2, 2).repeat_interleave(2, 3)
    opening, before = Growth(3, 32, 0.0), Growth(2, 16, 1.0)
    with torch.no_grad():
        logits = [
            member.loss.output(*_shown(member.loss, pictures, growth), 0).logits
            for pictures, growth in ((large, opening), (small, before))
        ]
    assert torch.equal(*logits)


def _shown(loss: AdversarialLoss, pictures: Tensor, growth: Growth) -> tuple[Tensor, Growth]:
    return loss._reduced(pictures, growth)


def test_one_of_any_size_sees_smaller_pictures_at_every_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    class AnySize(FakeDiscriminator):
        sizes = "any"

    monkeypatch.setitem(DISCRIMINATORS, "any", AnySize)
    task = make([FAKE, {"name": "any", "reduce": 4}], "pggan")
    for stage in (0, 2):
        size = 4 << stage
        real = batch(torch.rand(4, 3, size, size))
        task.loss("generator", {"real": real}, Growth(stage, size, 1.0), 0)
        assert task.networks["discriminator_2"].calls[-1].shape[-1] == size // 4
        assert task.networks["discriminator_2"].growths[-1] == (stage, 1.0)


def test_penalties_are_of_the_pictures_that_are_shown() -> None:
    """D(x) = |x|^2 / 2 has the gradient x: |x|^2 is 48 * 0.25 at 4 px, and four times that at 8 px."""

    class Square(FakeDiscriminator):
        def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
            return x.square().sum((1, 2, 3)) / 2

    options = Adversarial.model_validate({"loss": "hinge", "r1": {"gamma": 2.0}, "gradient_penalty": {}})
    penalties = {}
    for halvings in (0, 1):
        loss = AdversarialLoss(Square(), options, seed=0, halvings=halvings)
        _, stats = loss.discriminator_loss(batch(0.5), torch.full((4, 3, 8, 8), 0.5), GROWTH, 0)
        penalties[halvings] = stats["penalty/r1"].item(), stats["penalty/gradient"].item()
    assert penalties[0] == pytest.approx((192 * 0.25, (48**0.5 - 1) ** 2), rel=1e-5)
    assert penalties[1] == pytest.approx((48 * 0.25, (12**0.5 - 1) ** 2), rel=1e-5)


# --- refused ------------------------------------------------------------------------------------------------------


class OnFeatures(FakeDiscriminator):
    """As one on frozen features."""

    sizes = "any"
    on_features = True
    smallest = 4


def test_penalties_of_the_objective_are_for_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DISCRIMINATORS, "features", OnFeatures)
    _, stats = losses(make({"a": FAKE, "b": [FAKE, "features"]}, r1={}))
    assert {name for name in stats if "r1" in name} == {"penalty/r1_a", "penalty/r1_b"}
    _, stats = losses(make({"a": FAKE, "b": {"name": "features", "r1": {}}}))
    assert {name for name in stats if "r1" in name} == {"penalty/r1_b"}


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    ("features", {"r1": {}}, "objective.r1: no discriminator here takes it"),
    ([{**FAKE, "loss": "hinge"}], {"lsgan_factor": 0.5}, "objective.lsgan_factor: no discriminator here takes it"),
    ([FAKE, {**FAKE, "loss": "wgan"}], {}, "network.discriminator.1: wgan needs its gradient penalty; add network.dis"),
    ([FAKE, {**FAKE, "loss": "hnge"}], {}, "network.discriminator.1.loss: there is no 'hnge'"),
    ({"b": [FAKE, {**FAKE, "loss": "hinge", "drift": 1.0}]}, {}, "network.discriminator.b.1.drift: it belongs to wgan"),
    ({**FAKE, "loss": "hinge", "noise": {}}, {}, "network.discriminator.noise: it belongs to lsgan, not to hinge"),
    ({"b": {**FAKE, "loss": "relativistic", "augment": {"policy": ["color"], "adaptive": {}}}, "a": FAKE}, {},
     "network.discriminator.b.augment.adaptive: it follows the sign"),
    ([{"name": "patchgan", "layers": 1, "noise": {}}, FAKE], {}, "network.discriminator.0.noise: the network of "),
    ([FAKE, {"name": "features", "reduce": 2}], {}, "schedule.start_resolution: 4 px are too small for the network "),
    ([{**FAKE, "weight": [[0, 1], [1, 0]]}], {}, "network.discriminator.weight: it ends at 0"),
    ({"a": FAKE, "b": [{**FAKE, "weight": [[0, 1], [1, 0]]}] * 2}, {}, "network.discriminator.b.0.weight: it ends"),
]  # fmt: skip


@pytest.mark.parametrize(("discriminator", "objective", "sentence"), REFUSED)
def test_what_means_nothing_is_refused_where_it_stands(
    monkeypatch: pytest.MonkeyPatch, discriminator: Any, objective: dict[str, Any], sentence: str
) -> None:
    monkeypatch.setitem(DISCRIMINATORS, "features", OnFeatures)
    with pytest.raises(UserError) as error:
        make(discriminator, **objective)
    assert str(error.value).startswith(sentence)


def test_hue_may_be_for_the_one_domain_that_has_colours() -> None:
    def made(discriminator: Any, **objective: Any) -> Any:
        network = {"generator": {"predict": "picture"}, "discriminator": discriminator}
        data = {"root": "nowhere", "a": {"channels": 1}}
        return build(recipe("cyclegan", {"data": data, "network": network, "objective": objective}))

    hue = {"augment": {"policy": ["hue"]}}
    made("pggan", **hue)
    made({"a": "pggan", "b": {"name": "pggan", **hue}})
    with pytest.raises(UserError, match=r"^network\.discriminator\.a\.augment\.policy: hue changes no grey pictures"):
        made({"a": {"name": "pggan", **hue}, "b": "pggan"})


def test_the_only_term_of_a_loss_has_no_weight() -> None:
    with pytest.raises(UserError, match=r"^network\.discriminator\.weight: it weighs several discriminators"):
        make({**FAKE, "weight": 2}, "pggan")
    make({**FAKE, "weight": 2})  # against the cycle


def test_every_loss_can_be_that_of_one_alone() -> None:
    own = {"wgan": {"gradient_penalty": {}}}
    for loss in ADVERSARIAL:
        task = make([FAKE, {**FAKE, "loss": loss, **own.get(loss, {})}], "pggan")
        real, fake = torch.tensor([0.5]), downsample2x(torch.full((1, 1, 2, 2), 0.25)).flatten()
        stats = task.adversarial[""].discriminator_loss(batch(0.5), torch.full((4, 3, 8, 8), 0.25), GROWTH, 0)[1]
        assert stats["adversarial/disc_2"].item() == pytest.approx(ADVERSARIAL[loss].discriminator(real, fake).item())


# --- balance ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(1.0, 1.0), (3.0, 1.0)])
def test_balanced_gradients_at_the_fake_have_the_shares_of_the_weights(weights: tuple[float, float]) -> None:
    """lsgan and hinge at a fake of 101: the logit is the mean of 192 numbers, of 4 pictures.

    d/dx of (m - 1)^2 is 2 * 100 / (4 * 192) at every number, and that of -m is -1 / (4 * 192); |g| is that times the
    root of 4 * 192.
    """
    several = [{**FAKE, "weight": weights[0]}, {**FAKE, "loss": "hinge", "weight": weights[1]}]
    task = make({"a": FAKE, "b": several}, cycle={"aba": 0, "bab": 0}, balance={"most": 1e6})
    generator, _ = losses(task)
    root = (4 * 192) ** 0.5
    norms = 200 / root, 1 / root
    assert [generator[f"at_fake/gen_ab{n}"] for n in ("", "2")] == pytest.approx(norms, rel=1e-5)
    factors = [sum(w * n for w, n in zip(weights, norms, strict=True)) / sum(weights) / n for n in norms]
    balanced = [w * factor for w, factor in zip(weights, factors, strict=True)]
    assert [generator[f"weight/gen_ab{n}"] for n in ("", "2")] == pytest.approx(balanced, rel=1e-5)
    assert "weight/gen_ba" not in generator, "there is nothing to share"
    expected = balanced[0] * 100.0**2 - balanced[1] * 101 + 1001.0**2
    assert generator["loss"] == pytest.approx(expected, rel=1e-5)

    # fake_b = weight * real_a + shift: the derivative by the weight is the sum over x = 1 of the weighted gradients.
    task.gen_ab.weight.grad = None
    task.loss("generator", REALS, GROWTH, 0)[0].backward()
    slope = balanced[0] * 200 - balanced[1]
    assert task.gen_ab.weight.grad.item() == pytest.approx(slope, rel=1e-5)


def test_balanced_weights_of_equal_gradients_are_the_weights() -> None:
    """The same loss, once as a sum and once balanced."""
    several = [{**FAKE, "weight": 0.5}, {**FAKE, "weight": 2}]
    found = []
    for balance in (None, {}):
        task = make(several, "pggan", balance=balance)
        loss, _ = task.loss("generator", {"real": batch(0.5)}, GROWTH, 0)
        loss.backward()
        found.append((loss.item(), task.networks["generator"].weight.grad.item()))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_one_discriminator_has_nothing_to_balance() -> None:
    with pytest.raises(UserError, match=r"^objective\.balance: no pictures here are seen by several discriminators"):
        make({"a": FAKE, "b": {**FAKE, "lr": 0.5}}, balance={})
