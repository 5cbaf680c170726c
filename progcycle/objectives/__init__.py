"""Objectives: tensors in, tensors out. Each term of a loss is one function here and one visible line in a task."""

from progcycle.objectives.adversarial import (
    ADVERSARIAL,
    LossPair,
    lsgan_discriminator,
    smoothed_discriminator,
    smoothed_generator,
    undecided_logit,
    undecided_loss,
)
from progcycle.objectives.balance import balanced_weights
from progcycle.objectives.classification import class_loss
from progcycle.objectives.feature_matching import feature_matching
from progcycle.objectives.latent_loss import latent_loss, prior_loss
from progcycle.objectives.palette_loss import palette_loss
from progcycle.objectives.penalties import Critic, drift, gradient_penalty, per_picture, zero_centred
from progcycle.objectives.reconstruction import cycle_loss, identity_loss, range_loss, reconstruction_loss

__all__ = [
    "ADVERSARIAL",
    "Critic",
    "LossPair",
    "balanced_weights",
    "class_loss",
    "cycle_loss",
    "drift",
    "feature_matching",
    "gradient_penalty",
    "identity_loss",
    "latent_loss",
    "lsgan_discriminator",
    "palette_loss",
    "per_picture",
    "prior_loss",
    "range_loss",
    "reconstruction_loss",
    "smoothed_discriminator",
    "smoothed_generator",
    "undecided_logit",
    "undecided_loss",
    "zero_centred",
]
