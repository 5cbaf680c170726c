"""Earlier pictures that a discriminator compares with: first in, first out; who reads and who writes; penalties."""

from typing import Any

import pytest
import torch
from fake_networks import GROWTH, batch, recipe
from torch import Tensor

from progcycle.blocks import EarlierFeatures
from progcycle.engine.build import build
from progcycle.networks import DISCRIMINATORS
from progcycle.recipe import Adversarial
from progcycle.rng import uniform
from progcycle.tasks.adversarial_loss import AdversarialLoss
from progcycle.tasks.feature_queue import FeatureQueue, FeatureQueues


def rows(*values: float) -> Tensor:
    """A picture's features for each value.  # [N, 2, 1, 3]"""
    return torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, 2, 1, 3)


def held(features: Tensor | None) -> list[float]:
    return [] if features is None else features[:, 0, 0, 0].tolist()


# --- the queue ----------------------------------------------------------------------------------------------------


def test_first_in_first_out_by_hand() -> None:
    queue, seen = FeatureQueue(3), []
    for new in ((1.0,), (2.0, 3.0), (4.0,), (5.0, 6.0, 7.0, 8.0), (9.0, 10.0)):
        queue.store(rows(*new))
        seen.append(held(queue.features))
    assert seen == [[1], [1, 2, 3], [2, 3, 4], [6, 7, 8], [8, 9, 10]]


def test_what_is_held_has_no_history_and_is_a_copy() -> None:
    queue, features = FeatureQueue(2), rows(1.0, 2.0, 3.0).clone().requires_grad_(True)
    queue.store(2 * features)
    assert queue.features is not None
    assert not queue.features.requires_grad
    queue.store(features)
    with torch.no_grad():
        features += 1
    assert held(queue.features) == [2, 3]
    assert queue.features.untyped_storage().nbytes() == 2 * 2 * 3 * 4, "nothing else is kept alive"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_features_keep_their_type_and_come_back_the_same(dtype: torch.dtype) -> None:
    one, two = FeatureQueues(3), FeatureQueues(3)
    one.store(real=torch.randn(2, 5, 4, 4).to(dtype), fake=torch.randn(4, 5, 4, 4).to(dtype))
    two.load_state_dict({name: value.contiguous() for name, value in one.state_dict().items()})
    for kind, count in (("real", 2), ("fake", 3)):
        (ours, theirs) = (queues.queues[kind].features for queues in (one, two))
        assert ours is not None
        assert theirs is not None
        assert torch.equal(ours, theirs)
        assert (len(ours), ours.dtype, ours.stride()) == (count, dtype, theirs.stride())
    two.clear()
    assert two.state_dict() == {}


def test_no_queues_no_memory() -> None:
    none = FeatureQueues(0)
    none.store(real=None, fake=None)
    assert none.earlier("real") is none.earlier("fake") is none.between(torch.ones(2)) is None
    assert none.state_dict() == {}


def test_mixtures_are_compared_with_mixtures_by_hand() -> None:
    queues = FeatureQueues(3)
    empty = queues.between(torch.tensor([0.5]))
    assert empty is not None
    assert empty.features is None
    queues.store(real=rows(0, 0, 0), fake=rows(10, 20, 30))
    for mix, expected in (([0.5], [5, 10, 15]), ([0.1, 0.5], [1, 10, 3]), ([0, 1, 0.5, 0.25], [0, 20, 15])):
        between = queues.between(torch.tensor(mix))
        assert between is not None
        assert held(between.features) == pytest.approx(expected)


# --- the judge ----------------------------------------------------------------------------------------------------


def discriminator(name: str = "progressive", **options: Any) -> Any:
    torch.manual_seed(0)
    network = DISCRIMINATORS[name]([6, 4], stddev_group="batch", **options).double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter)
    return network


def adversarial(network: Any, queue: int = 3, **options: Any) -> AdversarialLoss:
    return AdversarialLoss(network, Adversarial(**{"loss": "hinge", **options}), seed=5, queue=queue)


def pictures(n: int, scale: float, seed: int) -> Tensor:
    torch.manual_seed(seed)
    return scale * torch.randn(n, 3, 8, 8, dtype=torch.float64)


def features_of(network: Any, x: Tensor) -> Tensor:
    """What the head compares pictures by."""
    return network.encoder(x, GROWTH.stage, GROWTH.alpha)[0].detach()


def among(network: Any, x: Tensor, earlier: list[Tensor]) -> Tensor:
    """Logits of x judged as part of one batch of features, from the encoder and the head alone."""
    joined = torch.cat([network.encoder(x, GROWTH.stage, GROWTH.alpha)[0], *earlier])
    logits: Tensor = network.head(joined)[: len(x)]
    return logits


@pytest.mark.parametrize("options", [{}, {"head": "dense", "hidden": 5, "base_resolution": 4}])
@pytest.mark.parametrize("n", [1, 2, 4])
@torch.no_grad()
def test_each_kind_is_compared_with_the_last_of_its_kind(n: int, options: dict[str, Any]) -> None:
    network = discriminator(**options)
    one = adversarial(network, loss="relativistic")
    before: dict[str, list[Tensor]] = {"real": [], "fake": []}
    for step in range(4):
        x = {"real": pictures(n, 1.0, step), "fake": pictures(n, 0.1, step + 50)}
        last = {kind: [torch.cat(old)[-3:]] if old else [] for kind, old in before.items()}
        expected = {kind: among(network, x[kind], last[kind]) for kind in x}
        _, stats = one.generator_loss(batch(x["real"]), x["fake"], GROWTH, step)  # writes nothing
        wanted = torch.nn.functional.softplus(expected["real"] - expected["fake"]).mean()
        torch.testing.assert_close(stats["adversarial/gen"], wanted)
        _, stats = one.discriminator_loss(batch(x["real"]), x["fake"], GROWTH, step)
        for kind in x:
            torch.testing.assert_close(stats[f"score/{kind}"], expected[kind].mean())
            before[kind].append(features_of(network, x[kind]))
    for kind, old in before.items():
        torch.testing.assert_close(one.queues.queues[kind].features, torch.cat(old)[-3:])


@torch.no_grad()
def test_a_batch_in_parts_is_compared_part_by_part() -> None:
    network = discriminator()
    one = adversarial(network, queue=2)
    real, fake = pictures(4, 1.0, 0), pictures(4, 0.1, 1)
    for i, part in enumerate(batch(real).chunk(4)):
        _, stats = one.discriminator_loss(part, fake[i : i + 1], GROWTH, 0)
        expected = among(network, real[i : i + 1], [features_of(network, real[max(i - 2, 0) : i])])
        torch.testing.assert_close(stats["score/real"], expected.mean())


def test_nothing_but_the_discriminators_loss_writes() -> None:
    network = discriminator()
    one = adversarial(network, loss="relativistic", r1={}, r2={}, gradient_penalty={})
    one.discriminator_loss(batch(pictures(2, 1.0, 0)), pictures(2, 0.1, 1), GROWTH, 0)
    state = {name: value.clone() for name, value in one.queues.state_dict().items()}
    assert [len(value) for value in state.values()] == [2, 2], "penalties leave nothing"
    one.generator_loss(batch(pictures(2, 1.0, 2)), pictures(2, 0.1, 3).requires_grad_(True), GROWTH, 1)
    assert all(torch.equal(value, state[name]) for name, value in one.queues.state_dict().items())


def test_no_gradient_flows_into_earlier_pictures() -> None:
    network = discriminator()
    one = adversarial(network)
    real, fake = pictures(1, 1.0, 0), pictures(1, 0.1, 1).requires_grad_(True)
    one.discriminator_loss(batch(real), fake, GROWTH, 0)
    again = pictures(1, 0.1, 2).requires_grad_(True)
    one.generator_loss(batch(real), again, GROWTH, 1)[0].backward()
    assert fake.grad is None
    assert again.grad is not None
    # The gradient is that of a head whose other rows are constants.
    alone = again.detach().requires_grad_(True)
    (-among(network, alone, [features_of(network, fake.detach())])).mean().backward()
    torch.testing.assert_close(again.grad, alone.grad)


@pytest.mark.parametrize("head", [{}, {"head": "dense", "hidden": 5, "base_resolution": 4}])
def test_penalties_are_taken_of_the_function_that_is_used(head: dict[str, Any]) -> None:
    network = discriminator(**head)
    one = adversarial(network, r1={"gamma": 2.0}, r2={"gamma": 2.0}, gradient_penalty={"weight": 1.0, "target": 1.0})
    old = {"real": pictures(3, 1.0, 0), "fake": pictures(3, 0.1, 1)}
    one.discriminator_loss(batch(old["real"], 0), old["fake"], GROWTH, 0)
    queued = {kind: features_of(network, x) for kind, x in old.items()}
    real, fake = pictures(2, 1.0, 2), pictures(2, 0.1, 3)
    _, stats = one.discriminator_loss(batch(real, 3), fake, GROWTH, 1)

    def squared(x: Tensor, earlier: Tensor) -> Tensor:
        x = x.clone().requires_grad_(True)
        total = (
            among(network, x, [earlier]).flatten(1).mean(1).sum() if not head else among(network, x, [earlier]).sum()
        )
        (gradient,) = torch.autograd.grad(total, x)
        return gradient.square().sum((1, 2, 3))

    torch.testing.assert_close(stats["penalty/r1"].detach(), squared(real, queued["real"]).mean())
    torch.testing.assert_close(stats["penalty/r2"].detach(), squared(fake, queued["fake"]).mean())
    mix = uniform(5, "mix", range(3, 5)).double()
    share = mix[[0, 1, 0]].reshape(3, 1, 1, 1)
    between = queued["real"] + share * (queued["fake"] - queued["real"])
    at = real + mix.reshape(2, 1, 1, 1) * (fake - real)
    expected = (squared(at, between).sqrt() - 1).square().mean()
    torch.testing.assert_close(stats["penalty/gradient"].detach(), expected, rtol=1e-6, atol=0)


def test_class_logits_come_with_a_queue_too() -> None:
    network = discriminator("pggan", hidden=5, classes=3)
    output, _ = adversarial(network).outputs(batch(pictures(2, 1.0, 0)), pictures(2, 1.0, 1), GROWTH, 0)
    assert output.class_logits is not None
    assert output.class_logits.shape == (2, 3)
    assert output.features is not None
    assert output.features.shape == (2, 6, 4, 4)


def test_a_network_without_statistic_cannot_compare() -> None:
    network = DISCRIMINATORS["progressive"]([6, 4], stddev_group=0)
    with pytest.raises(ValueError, match="without minibatch statistic"):
        network(torch.zeros(1, 3, 8, 8), 1, 0.5, earlier=EarlierFeatures())


# --- the tasks ----------------------------------------------------------------------------------------------------

QUEUE = {"network": {"discriminator": {"minibatch_stddev": {"group": "batch", "queue": 5}}}}


@pytest.mark.parametrize("name", ["cyclegan", "pggan"])
def test_a_new_stage_empties_the_queues_and_the_state_holds_them(name: str) -> None:
    torch.manual_seed(0)
    task, other = (build(recipe(name, QUEUE)).task for _ in range(2))
    reals = {d: batch(torch.randn(2, 3, 8, 8)) for d in (("a", "b") if name == "cyclegan" else ("real",))}
    for player in ("generator", "discriminator", "generator"):
        task.loss(player, reals, GROWTH, 0)
    state = task.state_dict()
    suffixes = ("_a", "_b") if name == "cyclegan" else ("",)
    keys = {f"queue{suffix}.{kind}" for suffix in suffixes for kind in ("real", "fake")}
    assert {key for key in state if key.startswith("queue")} == keys
    assert {state[key].shape[:1] for key in keys} == {(2,)}
    assert not keys & task.common_state(state).keys(), "each process has its own"
    other.load_state_dict(state)
    assert all(torch.equal(other.state_dict()[key], state[key]) for key in keys)
    other.load_state_dict({})
    task.on_new_stage(GROWTH)
    assert other.state_dict() == task.state_dict() == {}
    with pytest.raises(ValueError, match="queue"):
        build(recipe(name)).task.load_state_dict(state)
