"""The networks. Every one is ``forward(x, stage, alpha)`` and is found by name in one of these dicts.

A new network is one class and one line here; the continuity test picks it up by itself, unless it says that it does not
grow (``grows = False``, see :class:`progcycle.networks.fixed.FixedNetwork`).
"""

from torch import nn

from progcycle.networks.classic import PatchDiscriminator, ResnetTranslator, UnetTranslator
from progcycle.networks.cyclegan import ProgressiveDiscriminator, ProgressiveTranslator
from progcycle.networks.discriminator import GrowingDiscriminator
from progcycle.networks.fixed import FixedNetwork
from progcycle.networks.layers import Style
from progcycle.networks.pggan import PgganDiscriminator, PgganGenerator
from progcycle.networks.transfer import copy_stages
from progcycle.networks.trunks import GrowingDecoder, GrowingEncoder, feature_maps, stage_channels

GENERATORS: dict[str, type[nn.Module]] = {"pggan": PgganGenerator}
TRANSLATORS: dict[str, type[nn.Module]] = {
    "progressive": ProgressiveTranslator,
    "resnet": ResnetTranslator,
    "unet": UnetTranslator,
}
DISCRIMINATORS: dict[str, type[nn.Module]] = {
    "patchgan": PatchDiscriminator,
    "pggan": PgganDiscriminator,
    "progressive": ProgressiveDiscriminator,
}

__all__ = [
    "DISCRIMINATORS",
    "GENERATORS",
    "TRANSLATORS",
    "FixedNetwork",
    "GrowingDecoder",
    "GrowingDiscriminator",
    "GrowingEncoder",
    "PatchDiscriminator",
    "PgganDiscriminator",
    "PgganGenerator",
    "ProgressiveDiscriminator",
    "ProgressiveTranslator",
    "ResnetTranslator",
    "Style",
    "UnetTranslator",
    "copy_stages",
    "feature_maps",
    "stage_channels",
]
