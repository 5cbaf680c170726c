from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_runs import WatchedRun, tiny, train
from torch import Tensor, nn

from progcycle.engine.ema import EmaNetworks, ema_factor
from progcycle.networks import Network
from progcycle.recipe import Ema
from progcycle.schedule import Growth


@pytest.mark.parametrize(
    ("options", "nimg", "batch", "expected"),
    [
        ({"half_life_kimg": 10}, 1_000_000, 16, 0.5 ** (16 / 10_000)),
        ({"half_life_kimg": 10}, 10_000, 16, 0.5 ** (16 / 500)),  # 5 % of the pictures shown
        ({"half_life_kimg": 10, "rampup": 0.5}, 10_000, 16, 0.5 ** (16 / 5_000)),
        ({"half_life_kimg": 10}, 200_000, 8, 0.5 ** (8 / 10_000)),  # the two halves meet here
        ({"half_life_kimg": 10}, 0, 16, 0.0),
        ({"per_step": 0.999}, 0, 16, 0.999),
        ({"per_step": 0.999}, 5, 999, 0.999),
    ],
)
def test_factor(options: dict[str, float], nimg: int, batch: int, expected: float) -> None:
    assert ema_factor(Ema.model_validate(options), nimg, batch) == pytest.approx(expected, rel=1e-12)


class Layer(Network):
    """A network of one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


@pytest.mark.parametrize("options", [{"half_life_kimg": 0.05, "rampup": 0.3}, {"per_step": 0.9}])
def test_average_against_float64(options: dict[str, float]) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(1)
    network = Layer(nn.Linear(5, 3))
    ema = EmaNetworks({"net": network}, Ema.model_validate(options))
    reference = {key: value.double().numpy().copy() for key, value in network.state_dict().items()}
    nimg = 0
    for _ in range(40):
        batch = int(rng.integers(1, 20))
        fresh = {key: rng.standard_normal(value.shape) for key, value in reference.items()}
        network.load_state_dict({key: torch.from_numpy(value) for key, value in fresh.items()})
        ema.update(nimg, batch)
        if "per_step" in options:
            keep = options["per_step"]
        else:
            half_life = min(50.0, 0.3 * nimg)
            keep = 2.0 ** -(batch / half_life) if nimg else 0.0
        reference = {
            key: keep * old + (1 - keep) * network.state_dict()[key].double().numpy() for key, old in reference.items()
        }
        nimg += batch
    for key, value in ema.networks["net"].state_dict().items():
        np.testing.assert_allclose(value.numpy(), reference[key], rtol=1e-5, atol=1e-6)
    assert not any(p.requires_grad for p in ema.networks["net"].parameters())
    assert all(p.requires_grad for p in network.parameters())


def test_running_statistics_are_averaged_like_the_weights() -> None:
    """Of a layer and a batch norm behind it, with momentum 1: averaged weights give the averaged means, by themselves.

    The mean of features is linear in the weights; those of the newest weights are other ones.
    """
    layers = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, momentum=1.0))
    network, x = Layer(layers), torch.randn(4, 2, 2, 2, generator=torch.Generator().manual_seed(9)) + 5
    ema = EmaNetworks({"net": network}, Ema(per_step=0.7))
    layers(x)
    ema.update(0, 4)  # the first average is of initial statistics
    for step in range(40):
        torch.manual_seed(step)
        nn.init.normal_(layers[0].weight)
        layers(x)
        ema.update(4 * step, 4)
    average, newest = ema.networks["net"].layer[1], layers[1]
    assert int(average.num_batches_tracked) == 41
    own = ema.networks["net"].layer[0](x).mean((0, 2, 3))
    torch.testing.assert_close(average.running_mean, own, rtol=1e-4, atol=1e-5)
    assert (newest.running_mean - own).abs().max() > 0.1
    assert (average.running_var > 0).all()


def test_a_run_keeps_the_average_of_its_generator(pictures: Path, tmp_path: Path) -> None:
    """Every step of a run against the same sum in float64: w = 0.5^(batch / min(half-life, rampup * shown))."""
    reference: dict[str, Any] = {}

    def step(training: WatchedRun, shown_before: int) -> None:
        keep = 0.5 ** (4 / min(20.0, 0.4 * shown_before)) if shown_before else 0.0
        for key, value in training.trainer.task.networks["generator"].state_dict().items():
            reference[key] = keep * reference.get(key, 0.0) + (1 - keep) * value.double().numpy()

    def on_step(training: WatchedRun, growth: Growth) -> None:
        if growth.nimg:  # what the step before left
            step(training, growth.nimg - 4)

    recipe = tiny("pggan", pictures, {"training": {"ema": {"half_life_kimg": 0.02, "rampup": 0.4}}})
    training = train(recipe, tmp_path / "run", on_step=on_step)
    step(training, training.trainer.nimg - 4)
    for key, value in training.trainer.ema.networks["generator"].state_dict().items():
        np.testing.assert_allclose(value.numpy(), reference[key], rtol=1e-5, atol=1e-6)
