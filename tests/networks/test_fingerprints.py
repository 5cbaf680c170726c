"""With default options, initial weights and outputs stay what trained runs began with, number for number."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from progcycle.networks import PgganDiscriminator, PgganGenerator, ProgressiveDiscriminator, ProgressiveTranslator

CHANNELS = [10, 8, 6, 5]
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "generator": lambda: PgganGenerator(CHANNELS, latent_size=7),
    "generator, sum": lambda: PgganGenerator(CHANNELS, latent_size=7, rgb="sum"),
    "discriminator": lambda: PgganDiscriminator(CHANNELS, hidden=9),
    "discriminator, sum, no stddev": lambda: PgganDiscriminator(CHANNELS, hidden=9, rgb="sum", stddev_group=0),
    "translator": lambda: ProgressiveTranslator(CHANNELS, residual_blocks=2),
    "translator, sum": lambda: ProgressiveTranslator(CHANNELS, residual_blocks=1, skips=False, rgb="sum"),
    "translator, change": lambda: ProgressiveTranslator(CHANNELS, residual_blocks=1, predict="change"),
    "patches": lambda: ProgressiveDiscriminator(CHANNELS),
    "patches, dense": lambda: ProgressiveDiscriminator(CHANNELS, head="dense", hidden=9, base_resolution=4),
}


def digest(*values: Tensor) -> float:
    """A number that changes with any element and with their order."""
    flat = torch.cat([value.detach().double().flatten() for value in values])
    return float((flat * torch.linspace(1, 2, len(flat), dtype=torch.float64)).mean())


def fingerprint(name: str) -> tuple[float, float]:
    """Digest of the initial weights, and of the outputs at stages 0 to 3 with all weights shaken a little."""
    torch.manual_seed(20)
    network = NETWORKS[name]()
    weights = digest(*network.state_dict().values())
    for parameter in network.parameters():  # biases that matter, and to_rgb that do not start at zero
        parameter.data.add_(0.1 * torch.randn(parameter.shape))
    outputs = []
    for stage in range(4):
        x = torch.randn(4, 7) if name.startswith("generator") else torch.rand(4, 3, 4 << stage, 4 << stage) * 2 - 1
        outputs += [network(x, stage, alpha) for alpha in (0.3, 1.0)]
    return weights, digest(*outputs)


# Computed by the version of these networks that had no options but rgb, skips, predict, head and the stddev group.
FROZEN = {
    "generator": (-0.032481022807317336, -0.10495347927584273),
    "generator, sum": (-0.032481022807317336, -1.4933304944258845),
    "discriminator": (0.029402854138456846, -0.37025302953477346),
    "discriminator, sum, no stddev": (0.01900726931274529, 0.574375476320124),
    "translator": (-0.0021317781629946356, -0.0673604709237461),
    "translator, sum": (0.008687435066008909, 1.7422684723618767),
    "translator, change": (0.012680752741515847, 0.010834727792904586),
    "patches": (0.03695984525681796, -0.14798026452955537),
    "patches, dense": (0.029402854138456846, -0.37025302953477346),
}


@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_fingerprint(name: str) -> None:
    assert fingerprint(name) == pytest.approx(FROZEN[name], abs=1e-6)


TRUNK = {"encoder.from_rgb.i.conv", "encoder.blocks.i.i.conv"}
PAINTER = {"decoder.blocks.i.i.conv", "decoder.to_rgb.i"}
NAMES = {
    "generator": {"dense", "", "conv.conv", *PAINTER},
    "discriminator": {*TRUNK, "head.conv.conv", "head.dense", "head.logit"},
    "translator": {*TRUNK, "bottleneck.i.layers.i.conv", *PAINTER},
    "patches": {*TRUNK, "head.conv.conv", "head.logit"},
}


@pytest.mark.parametrize("name", NAMES)
def test_names_of_the_weights(name: str) -> None:
    """They are the names in checkpoints and snapshots."""
    state = NETWORKS[name]().state_dict()
    assert {re.sub(r"\b\d+\b", "i", re.sub(r"\.?(weight|bias)$", "", key)) for key in state} == NAMES[name]
    assert all(key.endswith(("weight", "bias")) for key in state)
