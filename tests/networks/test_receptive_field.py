"""The receptive field that NaN tells, against sums by hand and against gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from progcycle.networks import ProgressiveTranslator, ResnetTranslator, UnetTranslator
from progcycle.networks.base import Network
from progcycle.networks.receptive_field import measure_reach

LIKE = torch.zeros(1, 2, 1, 1)


def conv(kernel: int, channels: int = 2, **options: int) -> nn.Conv2d:
    return nn.Conv2d(2, channels, kernel, padding=kernel // 2, **options)


def test_sums_by_hand() -> None:
    assert measure_reach(conv(1), LIKE) == 0
    assert measure_reach(nn.Sequential(conv(3), nn.LeakyReLU(0.2), conv(3), conv(5)), LIKE) == 1 + 1 + 2
    assert measure_reach(conv(3, dilation=1), LIKE) == 1
    wide = nn.Conv2d(2, 2, 3, padding=100, dilation=100)  # beyond the first strip that is tried
    assert measure_reach(wide, LIKE) == 100
    with torch.no_grad():
        wide.weight.zero_()
    assert measure_reach(wide, LIKE) == 100, "weights of zero reach as far"
    one_way = nn.Sequential(nn.ReflectionPad2d((5, 0, 0, 0)), nn.Conv2d(2, 2, (1, 6)))  # looks to the left only
    assert measure_reach(one_way, LIKE, smallest=8) == 5
    downwards = nn.Sequential(nn.ReflectionPad2d((0, 0, 0, 7)), nn.Conv2d(2, 2, (8, 1)))
    assert measure_reach(downwards, LIKE, smallest=8) == 7
    half = nn.Sequential(nn.AvgPool2d(2), conv(3), nn.Upsample(scale_factor=2))
    assert measure_reach(half, LIKE, multiple=2) == 2  # a pixel of the half on each side
    far = nn.Sequential(*(conv(21) for _ in range(10)))
    assert measure_reach(far, LIKE, most=101) == 100
    assert measure_reach(far, LIKE, most=100) is None
    assert measure_reach(nn.InstanceNorm2d(2), LIKE) is None
    assert measure_reach(nn.GroupNorm(1, 2), LIKE) is None


def by_gradient(network: Network, stage: int, alpha: float, size: int) -> int:
    """How far, in double precision, the pixels of the block in the middle depend on others; by their gradients."""
    network = network.double().eval()
    multiple = network.multiple(stage)
    middle = size // 2 // multiple * multiple
    x = torch.rand(1, 3, size, size, dtype=torch.float64, requires_grad=True)
    block = network(x, stage, alpha)[:, :, middle : middle + multiple, middle : middle + multiple]
    weights = torch.rand(block.shape, dtype=torch.float64) + 0.5
    (gradient,) = torch.autograd.grad((block * weights).sum(), x)
    touched = gradient[0].abs().sum(dim=0) > 0
    far = 0
    for axis in (0, 1):
        where = touched.any(dim=1 - axis).nonzero()
        far = max(far, middle - int(where[0]), int(where[-1]) - (middle + multiple - 1))
    return -(-far // multiple) * multiple


Make = Callable[[], Network]
LOCAL: dict[str, tuple[Make, int, float, int]] = {
    "growing": (lambda: ProgressiveTranslator([6, 5, 4], residual_blocks=1), 2, 1.0, 128),
    "growing, in mid-fade": (lambda: ProgressiveTranslator([6, 5, 4], residual_blocks=1), 2, 0.5, 128),
    "growing, earlier": (lambda: ProgressiveTranslator([6, 5, 4], residual_blocks=2), 1, 1.0, 128),
    "growing, by sums": (
        lambda: ProgressiveTranslator([6, 5, 4], residual_blocks=0, rgb="sum", skips=False),
        2,
        0.5,
        128,
    ),
    "smooth": (lambda: ProgressiveTranslator([6, 5, 4], residual_blocks=1, smooth=True), 2, 0.5, 128),
    "mean_preserving": (
        lambda: ProgressiveTranslator([6, 5, 4], residual_blocks=1, smooth="mean_preserving", rgb="sum"),
        2,
        1.0,
        128,
    ),
    "batch norm": (lambda: ProgressiveTranslator([6, 5], residual_blocks=1, normalize="batch"), 1, 1.0, 64),
    "resnet": (lambda: ResnetTranslator(4, residual_blocks=2, normalize="pixel"), 0, 1.0, 128),
    "resnet, resized": (
        lambda: ResnetTranslator(4, residual_blocks=1, normalize="none", upsampling="resize"),
        0,
        1.0,
        128,
    ),
    "unet": (lambda: UnetTranslator(3, 4, normalize="pixel"), 0, 1.0, 96),
}


@pytest.mark.parametrize("name", LOCAL)
def test_translators_reach_as_far_as_their_gradients(name: str) -> None:
    make, stage, alpha, size = LOCAL[name]
    torch.manual_seed(0)
    network = make().eval()
    like = torch.zeros(1, 3, 1, 1)
    found = network.reach(lambda x: network(x, stage, alpha), like, stage)
    expected = by_gradient(network, stage, alpha, size)
    assert found is not None
    # Gradients of a few places may vanish, as behind a ReLU; they never tell more than there is.
    assert expected <= found <= expected + network.multiple(stage)
    assert 0 < 2 * found < size


@pytest.mark.parametrize(
    "make",
    [
        lambda: ProgressiveTranslator([6, 5], residual_blocks=1, normalize="instance"),
        lambda: ProgressiveTranslator([6, 5], residual_blocks=1, normalize="layer"),
        lambda: ResnetTranslator(4, residual_blocks=1),
        lambda: UnetTranslator(3, 4),
    ],
)
def test_norms_of_the_whole_picture_reach_everywhere(make: Make) -> None:
    network = make().eval()
    assert network.reach(lambda x: network(x, 1, 1.0), torch.zeros(1, 3, 1, 1), 1) is None


def test_a_network_of_one_size_sees_the_whole_picture_and_faults_of_others_are_told() -> None:
    class Dense(Network):
        sizes = "one"

        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, 64)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.flatten(2)).reshape(x.shape)

    dense = Dense()
    assert dense.reach(dense, LIKE, 0) is None
    dense.sizes = "any"  # type: ignore[misc]
    with pytest.raises(RuntimeError):
        dense.reach(dense, LIKE, 0)
