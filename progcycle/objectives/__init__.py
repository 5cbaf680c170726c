"""Objectives: tensors in, tensors out. Each term of a loss is one function here and one visible line in a task."""

from progcycle.objectives.adversarial import ADVERSARIAL, Game
from progcycle.objectives.penalties import drift, gradient_penalty, per_picture, zero_centred
from progcycle.objectives.reconstruction import cycle_loss, identity_loss

__all__ = [
    "ADVERSARIAL",
    "Game",
    "cycle_loss",
    "drift",
    "gradient_penalty",
    "identity_loss",
    "per_picture",
    "zero_centred",
]
