"""The ``network`` section of a recipe."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from progcycle.recipe.section import Section
from progcycle.recipe.values import SHORT_FORMS, Averaging, GroupSize, Resolution

Norm = Literal["pixel", "batch", "instance", "layer", "none"]


class Channels(Section):
    """Feature maps at a resolution R: min(base / (R / 2) ** decay, max), as in the official code."""

    base: int = Field(8192, ge=1)
    decay: float = Field(1.0, ge=0)
    max: int = Field(512, ge=1)


class Normalization(Section):
    """What follows the convolutions; the paper's networks have pixel norm in generators only (section 4.2)."""

    generator: Norm = "pixel"
    discriminator: Norm = "none"
    epsilon: float = Field(1e-8, gt=0, description="added to the mean square in pixel norm; 1e-4 suits fp16")


class MinibatchStddev(Section):
    """Statistic of a group of pictures, appended to the features at the discriminator's base resolution (section 3)."""

    group: GroupSize = Field(4, description="pictures in a group; batch = all of them, 0 = off")
    averaging: Averaging = Field("all", description="all, flat, spatial, none, gpool, or groupK with a number K")
    gather: bool = Field(False, description="group the pictures of all processes together, not each by itself")
    queue: int = Field(0, ge=0, description="earlier pictures that a batch is compared with too; needs group: batch")

    @model_validator(mode="after")
    def _one_group(self) -> "MinibatchStddev":
        if self.queue and self.group != "batch":
            raise ValueError(
                "queue compares the whole batch with earlier pictures, as one group; set group: batch, or queue: 0"
            )
        if self.queue and self.gather:
            raise ValueError("queue holds earlier pictures of its own process, and gather joins all; choose one")
        return self


def _as_stddev(value: object) -> object:
    """A lone value is short for the group size."""
    lone = isinstance(value, int | float | str)
    return {SHORT_FORMS["minibatch_stddev"]: value} if lone else value


Stddev = Annotated[MinibatchStddev, BeforeValidator(_as_stddev, json_schema_input_type=GroupSize | MinibatchStddev)]


class MinibatchDiscrimination(Section):
    """The alternative of Salimans et al. 2016, section 3.2, before the last layer of a dense head."""

    kernels: int = Field(100, ge=1)
    dimensions: int = Field(5, ge=1, description="numbers in which a kernel compares two pictures")
    init_pictures: int = Field(500, ge=2, description="real pictures that set its scales before the first step")
    gather: bool = Field(False, description="compare the pictures of all processes, not each by itself")


class NetworkOptions(Section):
    """What the networks of both tasks share."""

    channels: Channels = Channels()
    discriminator_channels: Channels | None = Field(None, description="default: those of the generators")
    rgb: Literal["replace", "sum"] = Field("replace", description="the new to_rgb replaces the old, or is added to it")
    equalized: bool = Field(True, description="equalized learning rate; false: He initialisation, used as it is")
    slope: float = Field(0.2, ge=0, lt=1, description="of the leaky ReLU, where its input is negative")
    normalization: Normalization = Normalization()
    minibatch_stddev: Stddev = MinibatchStddev()
    minibatch_discrimination: MinibatchDiscrimination | None = None

    @model_validator(mode="after")
    def _one_statistic(self) -> "NetworkOptions":
        if self.minibatch_discrimination is not None and self.minibatch_stddev.group:
            raise ValueError("minibatch_discrimination takes the place of minibatch_stddev; set minibatch_stddev: 0")
        return self


class PgganNetwork(NetworkOptions):
    """Networks of the unconditional task (Karras et al. 2018, appendix A.1)."""

    generator: str = "pggan"
    discriminator: str = "pggan"
    base_resolution: Resolution = 4
    latent_size: int = Field(512, ge=1)
    convs: Literal[1, 2] = Field(2, description="3x3 convolutions of a stage")
    rgb_kernel: Literal[1, 3] = Field(1, description="side of the to_rgb kernels")
    tanh: bool = Field(False, description="bound the generator's pictures by tanh; the paper's are linear")
    fused_scale: bool = Field(False, description="one strided convolution for resampling and the 3x3 beside it")


class CycleganNetwork(NetworkOptions):
    """Networks of the translation task: both translators alike, both discriminators alike."""

    generator: str = "progressive"
    discriminator: str = "progressive"
    base_resolution: Resolution = 8
    residual_blocks: int = Field(4, ge=0)
    skips: bool = Field(True, description="hand the encoder's features to the decoder at every resolution")
    predict: Literal["picture", "change"] = Field("change", description="paint the picture, or the change to the input")
    head: Literal["patch", "dense"] = Field("patch", description="one logit a place, or one a picture as in PG-GAN")
