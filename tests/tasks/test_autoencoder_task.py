"""The loss of the autoencoder by hand, and that its network restores through a code of one length."""

from typing import Any

import numpy as np
import pytest
import torch

from progcycle.data import Batch
from progcycle.errors import UserError
from progcycle.recipe import RecipeError, override, validate
from progcycle.schedule import Growth
from progcycle.tasks import AutoencoderTask

STAGE = Growth(1, 8, 0.5)


def recipe(*changes: str) -> Any:
    content = {
        "task": "autoencoder",
        "resolution": 8,
        "data": {"path": "nowhere"},
        "network": {"autoencoder": {"latent_size": 5, "channels": {"base": 32, "max": 6}}},
    }
    return validate(override(content, changes))


def batch(count: int = 3) -> Batch:
    images = torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Batch(images, tuple(range(count)), ("",) * count)


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_the_loss_is_the_error_of_what_is_restored(loss: str) -> None:
    torch.manual_seed(0)
    task, real = AutoencoderTask(recipe(f"objective.loss={loss}")), batch()
    found, figures = task.loss("autoencoder", {"real": real}, STAGE, 0)
    with torch.no_grad():
        restored = task.networks["autoencoder"](real.images, 1, 0.5)
    apart = restored.double().numpy() - real.images.double().numpy()
    expected = {"l1": np.abs(apart).mean(), "l2": (apart**2).mean()}
    assert found.item() == pytest.approx(expected[loss], rel=1e-5)
    for name, value in expected.items():
        assert figures[f"error/{name}"].item() == pytest.approx(value, rel=1e-5)
    found.backward()  # type: ignore[no-untyped-call]
    network = task.networks["autoencoder"]
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_all_of_a_picture_goes_through_a_code_of_one_length() -> None:
    network: Any = AutoencoderTask(recipe("resolution=16")).networks["autoencoder"]
    for stage in range(3):
        x = torch.rand(2, 3, 4 << stage, 4 << stage)
        codes = network.encode(x, stage, 0.3)
        assert codes.shape == (2, 5)
        assert torch.equal(network(x, stage, 0.3), network.painter(codes, stage, 0.3))


def test_a_stack_whose_residuals_vanish_is_told_how_far_training_is() -> None:
    """BEGAN's own network: after half of the kimg, the residuals count half."""
    stack = ["network.autoencoder=began", "network.autoencoder.filters=4"]
    task = AutoencoderTask(recipe(*stack, "network.autoencoder.vanishing_kimg=0.1"))
    real, network = batch(), task.networks["autoencoder"]
    at = Growth(0, 8, 1.0, nimg=50)
    found, _ = task.loss("autoencoder", {"real": real}, at, 0)
    expected = (network(real.images, 0, 1.0, carry=0.5) - real.images).abs().mean()
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    assert found.item() != pytest.approx((network(real.images, 0, 1.0) - real.images).abs().mean().item(), rel=1e-3)


def test_its_sheet_shows_pictures_above_what_is_restored() -> None:
    task, real = AutoencoderTask(recipe()), batch(4).images
    panel = task.panel(4, lambda domain: real)
    rows = task.sample(task.networks, panel, STAGE)
    assert task.row_names() == ("real", "restored")
    assert torch.equal(rows[0], real)
    assert torch.equal(rows[1], task.networks["autoencoder"](real, 1, 0.5))
    assert task.shown(rows, lambda domain: real)["autoencoder"].source is None, "a copy is no alarm"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["network.autoencoder=unet"], "network.autoencoder: there is no 'unet'"),
        (["network.autoencoder.latent_size=0"], "network.autoencoder.latent_size: input should be greater than"),
        (["network.generator.latent_size=3"], "network.generator: unknown key"),
        (["objective.loss=l3"], "objective.loss: input should be 'l1' or 'l2'"),
        (["data.labels=folders"], "data.labels: unknown key"),
        (["network.autoencoder.initialization=normal"], "set equalized: false with it"),
    ],
)
def test_wrong_keys_are_refused(changes: list[str], words: str) -> None:
    with pytest.raises(RecipeError) as error:
        recipe(*changes)
    assert words in str(error.value)


def test_growth_by_size_is_refused() -> None:
    with pytest.raises(UserError, match=r"'progressive' of network\.autoencoder cannot take.*use growth: layers"):
        AutoencoderTask(recipe("schedule.growth=size", "schedule.start_resolution=4"))
