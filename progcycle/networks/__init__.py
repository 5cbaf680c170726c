"""The networks. Every one is ``forward(x, stage, alpha)`` and is found by name in one of these dicts.

A new network is one class below :class:`Network`, with a class of options, and one line here; recipes then take its
name and its options. A growing one is picked up by the continuity test by itself.
"""

from progcycle.networks.base import Comparison, Network, NetworkOptions, TaskShape
from progcycle.networks.began import BeganAutoencoder, BeganGenerator
from progcycle.networks.classic import PatchDiscriminator, ResnetTranslator, UnetTranslator
from progcycle.networks.dcgan import (
    DcganDiscriminator,
    DcganGenerator,
    TheanoDcganDiscriminator,
    TheanoDcganGenerator,
    WganGpCritic,
    WganGpGenerator,
)
from progcycle.networks.discriminator import GrowingDiscriminator
from progcycle.networks.growing_autoencoder import GrowingAutoencoder, GrowingGenerator
from progcycle.networks.lapgan import (
    LapganDiscriminator,
    LapganGenerator,
    LargeLapganDiscriminator,
    LargeLapganGenerator,
    LevelGenerator,
    MlpDiscriminator,
    MlpGenerator,
)
from progcycle.networks.latent_encoder import LatentEncoder, drawn_latents
from progcycle.networks.layers import Style
from progcycle.networks.mlp import DenseDiscriminator, DenseGenerator
from progcycle.networks.pggan import PgganDiscriminator, PgganGenerator
from progcycle.networks.progressive import ProgressiveDiscriminator, ProgressiveTranslator
from progcycle.networks.projected import ProjectedDiscriminator
from progcycle.networks.residual import ResidualCritic, ResidualGenerator
from progcycle.networks.transfer import copy_stages
from progcycle.networks.trunks import Channels, GrowingDecoder, GrowingEncoder, Trunk, feature_maps, stage_channels

GENERATORS: dict[str, type[Network]] = {
    "dcgan": DcganGenerator,
    "dcgan_theano": TheanoDcganGenerator,
    "lapgan_mlp": MlpGenerator,
    "mlp": DenseGenerator,
    "pggan": PgganGenerator,
    "wgan_gp": WganGpGenerator,
    "wgan_gp_residual": ResidualGenerator,
}
# Of the levels of a LAPGAN above its coarsest: ``forward(coarse, stage, alpha, latents)``.
LEVEL_GENERATORS: dict[str, type[Network]] = {"lapgan": LapganGenerator, "lapgan_large": LargeLapganGenerator}
TRANSLATORS: dict[str, type[Network]] = {
    "progressive": ProgressiveTranslator,
    "resnet": ResnetTranslator,
    "unet": UnetTranslator,
}
ENCODERS: dict[str, type[Network]] = {"latents": LatentEncoder}  # of latents, from translated pictures
DISCRIMINATORS: dict[str, type[Network]] = {
    "dcgan": DcganDiscriminator,
    "dcgan_theano": TheanoDcganDiscriminator,
    "lapgan": LapganDiscriminator,
    "lapgan_large": LargeLapganDiscriminator,
    "lapgan_mlp": MlpDiscriminator,
    "mlp": DenseDiscriminator,
    "patchgan": PatchDiscriminator,
    "pggan": PgganDiscriminator,
    "progressive": ProgressiveDiscriminator,
    "projected": ProjectedDiscriminator,
    "wgan_gp": WganGpCritic,
    "wgan_gp_residual": ResidualCritic,
}
# From latents to pictures, and from pictures through a bottleneck to pictures: of BEGAN, and of autoencoders.
DECODERS: dict[str, type[Network]] = {"began": BeganGenerator, "progressive": GrowingGenerator}
AUTOENCODERS: dict[str, type[Network]] = {"began": BeganAutoencoder, "progressive": GrowingAutoencoder}

__all__ = [
    "AUTOENCODERS",
    "DECODERS",
    "DISCRIMINATORS",
    "ENCODERS",
    "GENERATORS",
    "LEVEL_GENERATORS",
    "TRANSLATORS",
    "BeganAutoencoder",
    "BeganGenerator",
    "Channels",
    "Comparison",
    "DcganDiscriminator",
    "DcganGenerator",
    "DenseDiscriminator",
    "DenseGenerator",
    "GrowingAutoencoder",
    "GrowingDecoder",
    "GrowingDiscriminator",
    "GrowingEncoder",
    "GrowingGenerator",
    "LapganDiscriminator",
    "LapganGenerator",
    "LargeLapganDiscriminator",
    "LargeLapganGenerator",
    "LatentEncoder",
    "LevelGenerator",
    "MlpDiscriminator",
    "MlpGenerator",
    "Network",
    "NetworkOptions",
    "PatchDiscriminator",
    "PgganDiscriminator",
    "PgganGenerator",
    "ProgressiveDiscriminator",
    "ProgressiveTranslator",
    "ProjectedDiscriminator",
    "ResidualCritic",
    "ResidualGenerator",
    "ResnetTranslator",
    "Style",
    "TaskShape",
    "TheanoDcganDiscriminator",
    "TheanoDcganGenerator",
    "Trunk",
    "UnetTranslator",
    "WganGpCritic",
    "WganGpGenerator",
    "copy_stages",
    "drawn_latents",
    "feature_maps",
    "stage_channels",
]
