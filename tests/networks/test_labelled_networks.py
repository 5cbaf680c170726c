"""Classes: one-hot labels at the generator's door, logits of classes beside the discriminator's (Odena et al. 2017)."""

import pytest
import torch
from torch import Tensor

from progcycle.networks import PgganDiscriminator, PgganGenerator

CHANNELS = [8, 6, 4]
K = 5


def one_hot(*classes: int) -> Tensor:
    return torch.eye(K)[list(classes)]


@torch.no_grad()
def test_labels_change_the_picture() -> None:
    torch.manual_seed(0)
    network, z = PgganGenerator(CHANNELS, latent_size=7, classes=K), torch.randn(1, 7).expand(3, -1)
    assert (network.latent_size, network.classes) == (7, K)
    assert network.dense.weight.shape[1] == 7 + K
    for stage in range(3):
        first, second, third = network(z, stage, 0.5, one_hot(0, 3, 0))
        assert first.shape == (3, 4 << stage, 4 << stage)
        torch.testing.assert_close(first, third)
        assert not torch.allclose(first, second, atol=1e-3)


@pytest.mark.parametrize(
    ("classes", "labels", "sentence"),
    [
        (K, None, "a generator of 5 classes got 2 latents and labels None"),
        (0, one_hot(1, 2), r"a generator of 0 classes got 2 latents and labels \[2, 5\]"),
        (K, one_hot(1), r"got 2 latents and labels \[1, 5\]"),
        (K, torch.tensor([1, 2]), r"got 2 latents and labels \[2\]"),
        (3, one_hot(1, 2), r"a generator of 3 classes got 2 latents and labels \[2, 5\]"),
    ],
)
def test_labels_that_do_not_fit_are_refused(classes: int, labels: Tensor | None, sentence: str) -> None:
    network = PgganGenerator(CHANNELS, latent_size=7, classes=classes)
    with pytest.raises(ValueError, match=sentence):
        network(torch.randn(2, 7), 1, 0.5, labels)


@torch.no_grad()
def test_fan_in_counts_the_labels() -> None:
    network = PgganGenerator(CHANNELS, latent_size=7, classes=K)
    assert network.dense.scale == pytest.approx(2**0.5 / 4 / 12**0.5)


@pytest.mark.parametrize("stage", [0, 1, 2])
@torch.no_grad()
def test_discriminator_gives_two_kinds_of_logits(stage: int) -> None:
    torch.manual_seed(0)
    network = PgganDiscriminator(CHANNELS, hidden=9, classes=K)
    assert network.head.logit.weight.shape == (1 + K, 9)
    assert network.head.logit.scale == pytest.approx(1 / 3), "a gain of 1"
    logits, classes = network(torch.randn(4, 3, 4 << stage, 4 << stage), stage, 0.5)
    assert logits.shape == (4,)
    assert classes.shape == (4, K)
    assert not torch.allclose(logits[:, None], classes, atol=1e-3)


@torch.no_grad()
def test_first_logit_is_that_of_a_discriminator_without_classes() -> None:
    torch.manual_seed(0)
    network, plain = PgganDiscriminator(CHANNELS, hidden=9, classes=K), PgganDiscriminator(CHANNELS, hidden=9)
    state = network.state_dict()
    for name in ("head.logit.weight", "head.logit.bias"):
        state[name] = state[name][:1]
    plain.load_state_dict(state)
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(network(x, 1, 0.5)[0], plain(x, 1, 0.5))


@torch.no_grad()
def test_classes_stay_in_float32_under_autocast() -> None:
    network = PgganDiscriminator(CHANNELS, hidden=9, classes=K)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, classes = network(torch.randn(4, 3, 8, 8), 1, 0.5)
    assert (logits.dtype, classes.dtype) == (torch.float32, torch.float32)
