"""Minibatch stddev in all its modes against loops in float64, and derivatives against finite differences."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from progcycle.blocks import GroupSize, minibatch_stddev, stddev_channels, stddev_group

MODES = ("all", "flat", "spatial", "none", "gpool", "group1", "group2", "group4")
FUNCTIONS = (*MODES[:5], "group2")  # group1 is all, and group4 of 4 channels is spatial
EPSILON = 1e-8


@pytest.mark.parametrize(
    ("batch", "size", "group"),
    [
        (14, 4, 7),
        (6, 4, 6),
        (7, 4, 7),
        (3, 4, 3),
        (1, 4, 1),
        (4, 4, 4),
        (16, 4, 4),
        (8, 3, 4),
        (12, 16, 12),
        (10, 4, 5),
        (10, "batch", 10),
        (1, "batch", 1),
    ],
)
def test_group_is_the_smallest_divisor_that_is_large_enough(batch: int, size: GroupSize, group: int) -> None:
    assert stddev_group(batch, size) == group


@pytest.mark.parametrize(
    ("averaging", "channels"),
    [("all", 1), ("flat", 1), ("spatial", 12), ("none", 12), ("gpool", 12), ("group3", 3), ("group12", 12)],
)
def test_number_of_channels(averaging: str, channels: int) -> None:
    assert stddev_channels(averaging, 12) == channels
    assert minibatch_stddev(torch.randn(4, 12, 2, 2), averaging=averaging).shape == (4, 12 + channels, 2, 2)


@pytest.mark.parametrize("averaging", ["group5", "group24", "group0", "group", "group-2", "group03", "All", ""])
def test_unknown_or_uneven_averaging_is_refused(averaging: str) -> None:
    with pytest.raises(ValueError, match=f"averaging.*'{averaging}'"):
        stddev_channels(averaging, 12)
    with pytest.raises(ValueError, match=f"averaging.*'{averaging}'"):
        minibatch_stddev(torch.randn(4, 12, 2, 2), averaging=averaging)


def deviation(a: np.ndarray, axis: tuple[int, ...] | None = None) -> np.ndarray:
    """Root of the biased variance plus epsilon."""
    mean = a.mean(axis, keepdims=True)
    return np.sqrt(((a - mean) ** 2).mean(axis) + EPSILON)


def appended(x: np.ndarray, group: int, averaging: str) -> np.ndarray:
    """The new channels of every picture, by the definition: picture i is grouped with i + M, i + 2M, ..."""
    n, c, h, w = x.shape
    stride = n // group
    out = []
    for i in range(n):
        members = x[[j for j in range(n) if j % stride == i % stride]]
        assert len(members) == group
        over_group = deviation(members, (0,))  # [C, H, W]
        if averaging == "none":
            channels = list(over_group)
        elif averaging == "flat":
            channels = [deviation(members)]
        elif averaging == "gpool":
            channels = [deviation(members[:, k]) for k in range(c)]
        else:
            shares = {"all": 1, "spatial": c}.get(averaging) or int(averaging.removeprefix("group"))
            size = c // shares
            channels = [over_group[k * size : (k + 1) * size].mean() for k in range(shares)]
        out.append(np.stack([np.broadcast_to(channel, (h, w)) for channel in channels]))
    return np.stack(out)


@pytest.mark.parametrize("averaging", MODES)
@settings(deadline=None, max_examples=30)
@given(
    n=st.integers(1, 9),
    fours=st.integers(1, 2),
    h=st.integers(1, 4),
    w=st.integers(1, 4),
    group_size=st.one_of(st.integers(1, 6), st.just("batch")),
    last=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_stddev_is_its_definition(
    averaging: str, n: int, fours: int, h: int, w: int, group_size: GroupSize, last: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(n, 4 * fours, h, w) * torch.arange(1, n + 1).reshape(-1, 1, 1, 1) + torch.randn(4 * fours, 1, 1)
    memory = torch.channels_last if last else torch.contiguous_format
    out = minibatch_stddev(x.contiguous(memory_format=memory), group_size, averaging)
    group = n if group_size == "batch" else next(g for g in range(min(group_size, n), n + 1) if n % g == 0)
    assert torch.equal(out[:, : 4 * fours], x)
    expected = appended(x.double().numpy(), group, averaging)
    np.testing.assert_allclose(out[:, 4 * fours :].numpy(), expected, rtol=1e-5, atol=1e-5)


def as_first_released(x: Tensor, group: int) -> Tensor:
    """The default as the first networks were trained with it."""
    n, c, h, w = x.shape
    y = x.reshape(group, n // group, c, h, w)
    variance = (y - y.mean(dim=0, keepdim=True)).square().mean(dim=0)
    statistic = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return torch.cat([x, statistic.repeat(group).reshape(n, 1, 1, 1).expand(n, 1, h, w)], dim=1)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_default_and_its_derivatives_are_the_released_ones_to_the_bit(memory: torch.memory_format) -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 37, 4, 4).contiguous(memory_format=memory).requires_grad_(True)
    weight = torch.randn(8, 38, 4, 4)
    outcomes = []
    for out in (minibatch_stddev(x), as_first_released(x, 4)):
        (first,) = torch.autograd.grad((out * weight).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        outcomes.append((out, first, second))
    assert all(torch.equal(a, b) for a, b in zip(*outcomes, strict=True))


def test_one_group_and_one_share_per_channel_are_all_and_spatial() -> None:
    x = torch.randn(8, 6, 3, 3)
    assert torch.equal(minibatch_stddev(x, averaging="group1"), minibatch_stddev(x, averaging="all"))
    assert torch.equal(minibatch_stddev(x, averaging="group6"), minibatch_stddev(x, averaging="spatial"))


@pytest.mark.parametrize("averaging", ["all", "spatial", "none", "group2"])
def test_stddev_of_one_picture_is_root_epsilon_with_finite_derivatives(averaging: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, 4, 4, requires_grad=True)
    channels = minibatch_stddev(x, averaging=averaging)[:, 4:]
    torch.testing.assert_close(channels, torch.full_like(channels, 1e-4))
    (first,) = torch.autograd.grad(channels.sum() + (x**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert first.isfinite().all()
    assert second.isfinite().all()


@pytest.mark.parametrize("averaging", FUNCTIONS)
def test_stddev_of_equal_pictures_has_finite_derivatives(averaging: str) -> None:
    x = torch.ones(4, 4, 3, 3, requires_grad=True)
    out = minibatch_stddev(x, averaging=averaging)[:, 4:]
    torch.testing.assert_close(out, torch.full_like(out, 1e-4))
    (first,) = torch.autograd.grad(out.sum() + (x**3).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert first.isfinite().all()
    assert second.isfinite().all()


@pytest.mark.parametrize("averaging", FUNCTIONS)
def test_stddev_derivatives_agree_with_finite_differences(averaging: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 4, 1, 2, dtype=torch.float64, requires_grad=True)

    def run(x: Tensor) -> Tensor:
        return minibatch_stddev(x, 2, averaging)

    assert torch.autograd.gradcheck(run, (x,))
    assert torch.autograd.gradgradcheck(run, (x,))


@pytest.mark.parametrize("averaging", FUNCTIONS)
def test_stddev_is_computed_in_float32_for_half_precision_features(averaging: str) -> None:
    # The squares of these deviations, 9e4, are beyond float16.
    x = torch.tensor([-300.0, 300.0], dtype=torch.float16).reshape(2, 1, 1, 1).expand(2, 4, 2, 2)
    with torch.autocast("cpu", dtype=torch.float16):
        out = minibatch_stddev(x, averaging=averaging)
    assert out.dtype == torch.float16
    assert torch.equal(out[:, 4:], torch.full_like(out[:, 4:], 300.0))


# --- with earlier pictures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("averaging", MODES)
@settings(deadline=None, max_examples=20)
@given(
    n=st.integers(1, 5),
    m=st.integers(1, 7),
    h=st.integers(1, 3),
    w=st.integers(1, 3),
    half=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_stddev_with_earlier_pictures_is_that_of_one_group_of_all(
    averaging: str, n: int, m: int, h: int, w: int, half: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    x, earlier = torch.randn(n, 4, h, w) + 1, 3 * torch.randn(m, 4, h, w)
    earlier = earlier.bfloat16() if half else earlier
    out = minibatch_stddev(x, "batch", averaging, earlier=earlier)
    everyone = np.concatenate([x.double().numpy(), earlier.double().numpy()])
    expected = appended(everyone, n + m, averaging)[:n]
    assert out.dtype == torch.float32
    assert torch.equal(out[:, :4], x)
    np.testing.assert_allclose(out[:, 4:].numpy(), expected, rtol=1e-5, atol=1e-5)


def test_one_picture_is_compared_with_one_earlier_one_by_hand() -> None:
    x, earlier = torch.full((1, 2, 1, 1), 3.0), torch.full((1, 2, 1, 1), 1.0)
    out = minibatch_stddev(x, "batch", earlier=earlier)
    assert out.flatten().tolist() == pytest.approx([3, 3, 1])  # deviations of 1 from a mean of 2


def test_earlier_pictures_are_for_one_group_of_one_process() -> None:
    x = torch.randn(4, 4, 2, 2)
    for options in ({"group_size": 4}, {"group_size": "batch", "gather": True}):
        with pytest.raises(ValueError, match="group_size 'batch', no gather"):
            minibatch_stddev(x, earlier=x, **options)  # type: ignore[arg-type]
