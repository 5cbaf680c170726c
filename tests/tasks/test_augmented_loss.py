"""What is augmented and what is not, in both tasks; whose probability moves; what is refused."""

from typing import Any

import pytest
import torch
from fake_networks import GROWTH, FakeDiscriminator, batch, recipe
from torch import Tensor

from progcycle.blocks import NUMBERS
from progcycle.blocks.discriminator_augment import augment
from progcycle.errors import UserError
from progcycle.networks import ProgressiveDiscriminator
from progcycle.recipe import Adversarial, ClassWeights
from progcycle.rng import uniform, uniforms
from progcycle.tasks import TASKS, CycleganTask
from progcycle.tasks.adversarial_loss import AdversarialLoss
from progcycle.tasks.specs import check_adversarial, check_augment

POLICY = ["color", "translation", "rotate", "scale"]
SEED, FIRST = 5, 40


def adversarial(
    augmentation: dict[str, Any] | None = None, classes: int = 0, **options: Any
) -> tuple[AdversarialLoss, Any]:
    network = FakeDiscriminator(classes=classes)
    content = {"loss": "hinge", "augment": {"policy": POLICY, **(augmentation or {})}, **options}
    weights = ClassWeights() if classes else None
    return AdversarialLoss(
        network, Adversarial.model_validate(content), seed=SEED, suffix="_a", classes=weights
    ), network


def pictures(seed: int, n: int = 4) -> Tensor:
    return 2 * torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) - 1


def expected(x: Tensor, purpose: str, p: float = 1.0, first: int = FIRST, suffix: str = "_a") -> Tensor:
    numbers = uniforms(SEED, f"augment/{purpose}{suffix}", range(first, first + len(x)), sum(NUMBERS.values()))
    return augment(x, numbers.double() if x.dtype == torch.float64 else numbers, p, POLICY)


REAL, FAKE = pictures(1), pictures(2)
QUICK = {"kimg": 0.02, "every": 1}  # with batches of 4, p moves by 0.2 a step


# --- what is augmented --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [1.0, 0.5])
def test_real_and_fake_are_augmented_in_the_discriminators_step(p: float) -> None:
    one, network = adversarial({"probability": p})
    one.discriminator_loss(batch(REAL, FIRST), FAKE, GROWTH, 0)
    assert len(network.calls) == 1
    shown = network.calls[0]
    assert torch.equal(shown[0::2], expected(REAL, "discriminator/real", p))
    assert torch.equal(shown[1::2], expected(FAKE, "discriminator/fake", p))
    assert not torch.equal(shown[0::2], REAL)


def test_judging_apart_is_judging_the_same_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    one, network = adversarial()
    monkeypatch.setattr(network, "rows_are_independent", lambda n: False)
    one.discriminator_loss(batch(REAL, FIRST), FAKE, GROWTH, 0)
    assert torch.equal(network.calls[0], expected(REAL, "discriminator/real"))
    assert torch.equal(network.calls[1], expected(FAKE, "discriminator/fake"))


def test_fakes_are_augmented_in_the_generators_step_and_its_gradient_passes() -> None:
    one, network = adversarial()
    fake = FAKE.clone().requires_grad_()
    loss, _ = one.generator_loss(batch(REAL, FIRST), fake, GROWTH, 0)
    assert torch.equal(network.calls[0], expected(FAKE, "generator/fake"))
    assert len(network.calls) == 1
    by_hand = FAKE.clone().requires_grad_()
    (-expected(by_hand, "generator/fake").mean((1, 2, 3)).mean()).backward()
    loss.backward()
    torch.testing.assert_close(fake.grad, by_hand.grad)


def test_paired_games_see_augmented_real_pictures_too() -> None:
    one, network = adversarial(loss="relativistic")
    one.generator_loss(batch(REAL, FIRST), FAKE, GROWTH, 0)
    assert torch.equal(network.calls[0], expected(REAL, "generator/real"))
    assert torch.equal(network.calls[1], expected(FAKE, "generator/fake"))


def test_class_terms_see_augmented_pictures() -> None:
    one, _ = adversarial(classes=3)
    _, stats = one.discriminator_loss(batch(REAL, FIRST, labels=[0, 2, 1, 2]), FAKE, GROWTH, 0)
    for kind, x in (("real", REAL), ("fake", FAKE)):
        logits = expected(x, f"discriminator/{kind}").mean((1, 2, 3))[:, None] * torch.arange(3)
        wanted = torch.nn.functional.cross_entropy(logits, torch.tensor([0, 2, 1, 2]))
        torch.testing.assert_close(stats[f"class/{kind}_a"], wanted)


def test_penalties_judge_what_the_discriminator_sees_and_first_weights_pictures_as_they_are() -> None:
    one, network = adversarial({"probability": 0.5}, loss="wgan", gradient_penalty={}, r1={}, r2={})
    one.discriminator_loss(batch(REAL, FIRST), FAKE, GROWTH, 0)
    both, mixed, at_real, at_fake = network.calls
    assert torch.equal(at_real, both[0::2])
    assert torch.equal(at_fake, both[1::2])
    share = uniform(SEED, "mix_a", range(FIRST, FIRST + 4))
    between = torch.lerp(REAL, FAKE, share.float().reshape(-1, 1, 1, 1))
    torch.testing.assert_close(mixed, expected(between, "discriminator/real", 0.5))
    one.initialize(REAL, GROWTH)
    assert torch.equal(network.initialized[0], REAL)


@pytest.mark.parametrize("name", ["r1", "r2", "gradient_penalty"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_penalties_are_gradients_of_d_of_t_of_x(name: str, adaptive: bool) -> None:
    """By hand, with autograd, for one picture after the other; p stays what it was at the beginning of the step."""
    torch.manual_seed(0)
    network = ProgressiveDiscriminator([6, 4], base_resolution=4, stddev_group=0).double()
    augmentation: dict[str, Any] = {"policy": POLICY, "probability": 0.6}
    options = {"loss": "lsgan", "augment": augmentation | ({"adaptive": QUICK} if adaptive else {}), name: {}}
    one = AdversarialLoss(network, Adversarial.model_validate(options), seed=SEED, suffix="_a")
    real, fake = REAL.double(), FAKE.double()
    places = {"r1": real, "r2": fake}
    kind, x = ("fake" if name == "r2" else "real"), places.get(name)
    if x is None:
        x = torch.lerp(real, fake, uniform(SEED, "mix_a", range(FIRST, FIRST + 4)).double().reshape(-1, 1, 1, 1))
    terms, at_pictures = [], []
    for i in range(4):
        one_picture = x[i : i + 1].clone().requires_grad_()
        shown = expected(one_picture, f"discriminator/{kind}", 0.6, FIRST + i)
        for terms_of, start in ((terms, one_picture), (at_pictures, shown.detach().requires_grad_())):
            through = shown if start is one_picture else start
            logit = network(through, GROWTH.stage, GROWTH.alpha).mean()
            (gradient,) = torch.autograd.grad(logit, start, create_graph=True)
            square = gradient.square().sum()
            terms_of.append((square.sqrt() - 1) ** 2 if name == "gradient_penalty" else 5 * square)
    wanted = torch.stack(terms).mean()
    weights = list(network.parameters())
    _, stats = one.discriminator_loss(batch(real, FIRST), fake, GROWTH, 0)
    found = stats["penalty/gradient_a" if name == "gradient_penalty" else f"penalty/{name}_a"]
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)
    assert not torch.isclose(found, torch.stack(at_pictures).mean(), rtol=1e-3)
    ours = torch.autograd.grad(found, weights, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close(ours, torch.autograd.grad(wanted, weights, allow_unused=True, materialize_grads=True))


def test_parts_of_a_batch_are_augmented_as_the_whole() -> None:
    one, network = adversarial({"probability": 0.5})
    for i in range(0, 4, 2):
        one.discriminator_loss(batch(REAL[i : i + 2], FIRST + i), FAKE[i : i + 2], GROWTH, 0)
    parts = torch.cat(network.calls)
    assert torch.equal(parts[0::2], expected(REAL, "discriminator/real", 0.5))
    assert torch.equal(parts[1::2], expected(FAKE, "discriminator/fake", 0.5))


def test_players_kinds_domains_and_positions_draw_for_themselves_but_alike() -> None:
    n = 2000
    x = pictures(3, 1).expand(n, 3, 8, 8)
    places = [("discriminator/real", "_a"), ("discriminator/fake", "_a"), ("generator/fake", "_a")]
    places += [("discriminator/real", "_b")]
    drawn = [expected(x, purpose, 0.5, suffix=suffix) for purpose, suffix in places]
    for i, one in enumerate(drawn):
        assert all(not torch.equal(one, other) for other in drawn[:i])
        assert (one != x).flatten(1).any(1).float().mean().item() == pytest.approx(1 - 0.5**4, abs=0.04)
        # The distribution of pictures is the same: mean and spread over the batch.
        torch.testing.assert_close(one.mean(0), drawn[0].mean(0), rtol=0, atol=0.1)
        torch.testing.assert_close(one.std(0), drawn[0].std(0), rtol=0, atol=0.1)


def test_half_precision_fakes_are_augmented_in_float32() -> None:
    one, network = adversarial()
    one.generator_loss(batch(REAL, FIRST), FAKE.bfloat16(), GROWTH, 0)
    assert network.calls[0].dtype == torch.bfloat16
    assert torch.equal(network.calls[0], expected(FAKE.bfloat16(), "generator/fake"))


# --- the probability ----------------------------------------------------------------------------------------------


def test_probability_rises_where_the_discriminator_is_sure_and_is_logged() -> None:
    one, network = adversarial({"adaptive": QUICK, "policy": ["flip"]})
    seen = []
    for step in range(6):
        one.generator_loss(batch(0.5, FIRST), FAKE, GROWTH, step)  # asks first, as in the cyclegan
        for _ in range(2):  # two parts of a batch
            _, stats = one.discriminator_loss(batch(0.5, FIRST), FAKE, GROWTH, step)
            seen.append(stats["augment/probability_a"].item())
        assert stats["augment/r_a"].item() == 1
        if step in (0, 5):
            assert torch.equal(network.calls[-1][1::2], FAKE) == (step == 0), "p is 0 at first"
    assert seen[0::2] == seen[1::2] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 0.8])


def test_a_fixed_probability_has_no_memory_and_no_figures() -> None:
    one, _ = adversarial({"probability": 0.5})
    _, stats = one.discriminator_loss(batch(REAL, FIRST), FAKE, GROWTH, 0)
    assert not [name for name in stats if name.startswith("augment")]
    assert one.memories() == {}


@pytest.mark.parametrize(("loss", "r"), [("hinge", 1.0), ("non_saturating", 1.0), ("lsgan", -1.0)])
def test_signs_are_of_the_distance_from_the_middle_of_the_targets(loss: str, r: float) -> None:
    one, _ = adversarial({"adaptive": {}}, loss=loss)
    _, stats = one.discriminator_loss(batch(0.25, FIRST), FAKE, GROWTH, 0)
    assert stats["augment/r_a"].item() == r


def test_memory_comes_back_with_that_of_the_noise() -> None:
    one, _ = adversarial({"adaptive": QUICK}, loss="lsgan", noise={})
    one.discriminator_loss(batch(0.75, FIRST), FAKE, GROWTH, 0)
    one.generator_loss(batch(0.75, FIRST), FAKE, GROWTH, 1)
    states = {name: memory.of.state_dict() for name, memory in one.memories().items()}
    assert states.keys() == {"noise_a", "augment_a"}
    assert states["augment_a"]["p"].item() == pytest.approx(0.2)
    other, _ = adversarial({"adaptive": QUICK}, loss="lsgan", noise={})
    for name, memory in other.memories().items():
        memory.of.load_state_dict(states[name])
        found = {key: value.tolist() for key, value in memory.of.state_dict().items()}
        assert found == {key: value.tolist() for key, value in states[name].items()}
        assert memory.common


# --- the tasks ----------------------------------------------------------------------------------------------------


def task(name: str, **change: Any) -> Any:
    networks = {"discriminator": "fake", "generator": "fake"}
    objective = {"loss": "hinge", "gradient_penalty": None, "drift": 0, **change.pop("objective", {})}
    return TASKS[name](recipe(name, {"network": networks, "objective": objective, **change}))


@pytest.mark.usefixtures("fakes")
def test_the_cycle_the_identity_and_the_pools_see_pictures_as_they_are() -> None:
    objective = {"augment": {"policy": POLICY}, "pool_size": 8, "identity": {"a": 1.0, "b": 1.0}}
    augmented: CycleganTask = task("cyclegan", objective=objective)
    plain: CycleganTask = task("cyclegan", objective={**objective, "augment": None})
    reals = {"a": batch(pictures(1)), "b": batch(pictures(2))}
    figures = []
    for one in (augmented, plain):
        _, stats = one.loss("generator", reals, GROWTH, 0)
        one.loss("discriminator", reals, GROWTH, 0)
        figures.append(stats)
    for name in ("cycle/aba", "cycle/bab", "identity/a", "identity/b"):
        assert torch.equal(figures[0][name], figures[1][name])
    for domain, net in (("a", "gen_ba"), ("b", "gen_ab")):
        ours, theirs = augmented.networks[net], plain.networks[net]
        assert len(ours.calls) == len(theirs.calls) == 3
        assert all(torch.equal(x, y) for x, y in zip(ours.calls, theirs.calls, strict=True))
        stored = augmented.pools[domain].pictures
        assert len(stored) == 4
        assert all(torch.equal(x, y) for x, y in zip(stored, plain.pools[domain].pictures, strict=True))
        seen = augmented.networks[f"disc_{domain}"].calls, plain.networks[f"disc_{domain}"].calls
        assert all(not torch.equal(x, y) for x, y in zip(*seen, strict=True))


@pytest.mark.usefixtures("fakes")
def test_each_domain_has_its_own_probability() -> None:
    quick = {"augment": {"policy": ["flip"], "adaptive": QUICK, "probability": 0.4}}
    one: CycleganTask = task("cyclegan", objective=quick)
    reals = {"a": batch(0.5), "b": batch(-0.5)}
    for step in range(2):
        one.loss("generator", reals, GROWTH, step)
        _, stats = one.loss("discriminator", reals, GROWTH, step)
    assert stats["augment/probability_a"].item() == pytest.approx(0.6)
    assert stats["augment/probability_b"].item() == pytest.approx(0.2)
    assert [stats[f"augment/r_{domain}"].item() for domain in "ab"] == [1, -1]
    state = one.state_dict()
    assert {key for key in one.common_state(state) if key.endswith(".p")} == {"augment_a.p", "augment_b.p"}
    other: CycleganTask = task("cyclegan", objective=quick)
    other.load_state_dict(one.common_state(state))
    assert other.state_dict()["augment_a.p"] == state["augment_a.p"]


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("loss", ["wgan", "relativistic"])
@pytest.mark.parametrize("name", ["pggan", "cyclegan"])
def test_adaptive_needs_logits_with_a_sign(name: str, loss: str) -> None:
    objective = {"loss": loss, "gradient_penalty": {}, "augment": {"policy": ["color"], "adaptive": {}}}
    with pytest.raises(UserError, match=rf"^objective\.augment\.adaptive: .* with {loss}; use non_saturating, hinge"):
        task(name, objective=objective)
    task(name, objective={**objective, "augment": {"policy": ["color"]}})


@pytest.mark.usefixtures("fakes")
def test_hue_of_grey_pictures_is_refused() -> None:
    hue = {"augment": {"policy": ["hue", "flip"]}}
    with pytest.raises(UserError, match=r"^objective\.augment\.policy: hue changes no grey pictures"):
        task("pggan", objective=hue, data={"path": "nowhere", "channels": 1})
    grey = {"channels": 1}
    with pytest.raises(UserError, match="hue changes no grey pictures"):
        task("cyclegan", objective=hue, data={"root": "nowhere", "a": grey, "b": grey})
    check_augment(Adversarial.model_validate(hue), (1, 3))


def test_every_loss_takes_a_fixed_probability() -> None:
    for loss, more in (("wgan", {"gradient_penalty": {}}), ("relativistic", {}), ("lsgan", {}), ("hinge", {})):
        check_adversarial(Adversarial.model_validate({"loss": loss, "augment": {"policy": ["cutout"]}, **more}))
