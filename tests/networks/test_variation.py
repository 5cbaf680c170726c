"""What a head appends to compare pictures: counts of channels, when one pass equals two, the data-dependent start."""

from typing import Any

import pytest
import torch
from growing_networks import STAGES, Case, of_kind
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from progcycle.blocks import minibatch_stddev
from progcycle.networks import PgganDiscriminator, ProgressiveDiscriminator

CHANNELS = [8, 6, 4]
AVERAGING = {"all": 1, "flat": 1, "spatial": 8, "none": 8, "gpool": 8, "group1": 1, "group4": 4, "group8": 8}


def make(kind: str, **options: Any) -> nn.Module:
    """A small discriminator: ``pggan``, or ``progressive`` with a head."""
    torch.manual_seed(0)
    if kind == "pggan":
        return PgganDiscriminator(CHANNELS, hidden=9, **options)
    return ProgressiveDiscriminator(CHANNELS, head=kind, hidden=9, base_resolution=4, **options)  # type: ignore[arg-type]


def pictures(n: int, stage: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(n, 3, 4 << stage, 4 << stage)


@pytest.mark.parametrize("kind", ["pggan", "dense", "patch"])
@pytest.mark.parametrize(("averaging", "added"), AVERAGING.items())
@torch.no_grad()
def test_the_first_layer_of_a_head_has_a_place_for_every_channel(kind: str, averaging: str, added: int) -> None:
    network = make(kind, averaging=averaging)
    assert network.head.conv.conv.weight.shape[1] == 8 + added
    seen: list[Tensor] = []
    network.head.conv.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for stage in range(len(CHANNELS)):
        logits = network(pictures(6, stage), stage, 0.5)
        assert logits.shape == ((6, 1, 4, 4) if kind == "patch" else (6,))
    x = seen[-1]
    torch.testing.assert_close(x, minibatch_stddev(x[:, :8], 4, averaging))


@pytest.mark.parametrize(("averaging", "added"), AVERAGING.items())
@torch.no_grad()
def test_without_a_3x3_the_channels_go_into_the_dense_layer(averaging: str, added: int) -> None:
    network = make("pggan", averaging=averaging, convs=1)
    assert network.head.conv is None
    assert network.head.dense.weight.shape == (9, 8 + added, 4, 4)
    assert network(pictures(6, 2), 2, 0.5).shape == (6,)


@pytest.mark.parametrize("kind", ["pggan", "dense"])
@pytest.mark.parametrize("group", [0, 4])
@torch.no_grad()
def test_minibatch_discrimination_stands_before_the_logit(kind: str, group: int) -> None:
    network = make(kind, kernels=7, dimensions=3, stddev_group=group)
    assert network.head.conv.conv.weight.shape[1] == 8 + (group > 0)
    assert network.head.discrimination.theta.shape == (9, 7, 3)
    assert network.head.logit.weight.shape == (1, 9 + 7)
    seen: list[Tensor] = []
    network.head.logit.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    for stage in range(len(CHANNELS)):
        assert network(pictures(6, stage), stage, 0.5).shape == (6,)
    torch.testing.assert_close(seen[-1], network.head.discrimination(seen[-1][:, :9]))


@pytest.mark.parametrize("kind", ["pggan", "dense", "patch"])
@torch.no_grad()
def test_no_statistic_at_all(kind: str) -> None:
    network = make(kind, stddev_group=0, averaging="spatial", gather=True)
    assert network.head.conv.conv.weight.shape[1] == 8
    assert network.rows_are_independent(1)
    x = pictures(4, 1)
    torch.testing.assert_close(network(x, 1, 0.5)[:1], network(x[:1], 1, 0.5))


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="patch head never sees"):
        make("patch", kernels=5)
    with pytest.raises(ValueError, match="'group3' cannot share 8 channels"):
        make("pggan", averaging="group3")
    with pytest.raises(ValueError, match="not 'mean'"):
        make("patch", averaging="mean")


def judged(case: Case, network: nn.Module, real: Tensor, fake: Tensor, stage: int) -> tuple[Tensor, Tensor]:
    """Logits of alternating rows in one pass, and of two passes in the same order."""
    together = case.run(network, torch.stack([real, fake], dim=1).flatten(0, 1), stage, 0.4)
    apart = [case.run(network, x, stage, 0.4) for x in (real, fake)]
    return together, torch.stack(apart, dim=1).flatten(0, 1)


@given(
    case=st.sampled_from([parameter.values[0] for parameter in of_kind("discriminator")]),
    n=st.integers(1, 9),
    group=st.sampled_from([0, 1, 2, 3, 4, 8, "batch"]),
    stage=st.integers(0, STAGES - 1),
)
@settings(deadline=None, max_examples=150)
@torch.no_grad()
def test_one_pass_equals_two_where_the_network_says_so(case: Case, n: int, group: int | str, stage: int) -> None:
    options, network = case.options, case.build(stddev_group=group).double()
    mixing = options.get("normalize") == "batch" or options.get("kernels", 0) or (options.get("gather") and group)
    if mixing:
        assert not network.rows_are_independent(n)
    elif group == 0:
        assert network.rows_are_independent(n)
    if network.rows_are_independent(n):
        real, fake = (scale * case.inputs(stage, batch=n).double() for scale in (1.0, -0.1))
        torch.testing.assert_close(*judged(case, network, real, fake, stage), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("group", [1, 2, 4, "batch"])
@torch.no_grad()
def test_where_the_statistic_says_no_one_pass_would_be_wrong(group: int | str) -> None:
    torch.manual_seed(0)
    network = PgganDiscriminator(CHANNELS, hidden=9, stddev_group=group).double()
    for n in range(1, 15):
        real, fake = pictures(n, 1).double(), pictures(n, 1, 0.1).double()
        together = network(torch.stack([real, fake], dim=1).flatten(0, 1), 1, 0.5)
        apart = torch.stack([network(real, 1, 0.5), network(fake, 1, 0.5)], dim=1).flatten()
        assert torch.allclose(together, apart, rtol=1e-7) == network.rows_are_independent(n), n


@pytest.mark.parametrize(
    "options", [{"normalize": "batch"}, {"kernels": 5}, {"kernels": 5, "stddev_group": 0}, {"gather": True}], ids=str
)
def test_what_mixes_all_rows_never_says_yes(options: dict[str, Any]) -> None:
    assert not any(make("pggan", **options).rows_are_independent(n) for n in range(1, 17))


@torch.no_grad()
def test_gathering_changes_nothing_in_one_process() -> None:
    for options in ({"averaging": "group2"}, {"kernels": 5, "stddev_group": 0}):
        network, x = make("pggan", **options), pictures(6, 1)
        other = make("pggan", gather=True, **options)
        other.load_state_dict(network.state_dict())
        assert torch.equal(other(x, 1, 0.5), network(x, 1, 0.5))


@pytest.mark.parametrize("kind", ["pggan", "dense"])
@pytest.mark.parametrize(("stage", "alpha"), [(0, 1.0), (2, 0.4)])
@torch.no_grad()
def test_initialize_scales_minibatch_discrimination_to_pictures(kind: str, stage: int, alpha: float) -> None:
    network, x = make(kind, kernels=7, stddev_group=0).double(), pictures(37, stage).double()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.initialize(x, stage, alpha)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.discrimination.log_scale", "head.discrimination.bias"}
    # What it promises: features of mean zero, and a distance of 2 to the nearest other picture on average.
    features = network.head.features(network.encoder(x, stage, alpha)[0])
    head = network.head.discrimination
    torch.testing.assert_close(head(features)[:, 9:].mean(0), torch.zeros(7).double(), rtol=0, atol=1e-9)
    w = head.theta / head.theta.norm(dim=0) * head.log_scale.exp()
    m = torch.einsum("nf,fbd->nbd", features, w)
    distance = (m[:, None] - m[None]).abs().sum(3) + 1e9 * torch.eye(37)[:, :, None]
    torch.testing.assert_close(distance.amin(1).mean(0), torch.full((7,), 2.0).double())


@pytest.mark.parametrize("case", of_kind("discriminator", reads=["head", "kernels"]))
def test_initialize_does_nothing_where_there_is_nothing_to_do(case: Case) -> None:
    network = case.build()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    if not case.options.get("kernels", 0):
        network.initialize(case.inputs(1), 1, 0.5)
        assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("n", [1, 16, 17, 33])
def test_initialize_never_leaves_a_picture_alone_with_batch_norm(n: int) -> None:
    """It reads 16 at a time; batch norm of the dense layer has nothing to go by with one."""
    network = make("pggan", stddev_group=0, kernels=4, normalize="batch")
    if n == 1:
        with pytest.raises(ValueError, match="more than 1 value"):
            network.initialize(pictures(n, 1), 1, 1.0)
        return
    network.initialize(pictures(n, 1), 1, 1.0)


def test_initialize_leaves_no_history() -> None:
    network = make("pggan", kernels=5)
    network.initialize(pictures(20, 1), 1, 0.5)
    assert all(parameter.grad_fn is None and parameter.requires_grad for parameter in network.parameters())
