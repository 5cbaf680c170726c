"""The ``network`` section of a recipe."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from progcycle.recipe.section import Section
from progcycle.recipe.values import SHORT_FORMS, Averaging, GroupSize, Resolution, filled_from, flag_or

Norm = Literal["pixel", "batch", "instance", "layer", "none"]


class Channels(Section):
    """Feature maps at a resolution R: min(base / (R / 2) ** decay, max), as in the official code.

    Translators that leave out ``base`` or ``max`` get them by their resolution, see ``sizes``.
    """

    base: int = Field(8192, ge=1, le=1 << 24)
    decay: float = Field(1.0, ge=0, le=10)
    max: int = Field(512, ge=1, le=1 << 16)


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
    queue: int = Field(
        0, ge=0, le=1 << 20, description="earlier pictures that a batch is compared with too; needs group: batch"
    )

    @model_validator(mode="after")
    def _something_to_compare(self) -> "MinibatchStddev":
        if self.group == 1 and self.averaging not in ("flat", "gpool"):
            raise ValueError(
                "group: 1 compares a picture with itself alone, which always gives the same; take 2 or more, or off"
            )
        return self

    @model_validator(mode="after")
    def _nothing_idle(self) -> "MinibatchStddev":
        for key, usual in (("averaging", "all"), ("gather", False)):
            if not self.group and getattr(self, key) != usual:
                raise ValueError(f"{key} belongs to a statistic, which is off with group: 0; leave it out")
        return self

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

    kernels: int = Field(100, ge=1, le=4096)
    dimensions: int = Field(5, ge=1, le=256, description="numbers in which a kernel compares two pictures")
    init_pictures: int = Field(
        500, ge=2, le=1 << 20, description="real pictures that set its scales before the first step"
    )
    gather: bool = Field(False, description="compare the pictures of all processes, not each by itself")


class NetworkOptions(Section):
    """Base of the ``network`` sections: what the networks of all tasks share."""

    base_resolution: Resolution
    channels: Channels = Channels()
    discriminator_channels: Channels | None = Field(
        None, description="default, also of keys left out: those of the generators"
    )
    rgb: Literal["replace", "sum"] = Field("replace", description="the new to_rgb replaces the old, or is added to it")
    equalized: bool = Field(True, description="equalized learning rate; false: He initialisation, used as it is")
    slope: float = Field(0.2, ge=0, lt=1, description="of the leaky ReLU, where its input is negative")
    normalization: Normalization = Normalization()
    minibatch_stddev: Stddev = MinibatchStddev()
    minibatch_discrimination: MinibatchDiscrimination | None = None
    spectral_norm: bool = Field(False, description="discriminators: weights have a largest singular value of 1")
    initialization: Literal["he", "normal"] = Field(
        "he", description="normal: weights from N(0, 0.02^2), with equalized: false"
    )

    @model_validator(mode="before")
    @classmethod
    def _channels_of_the_generators(cls, content: Any) -> Any:
        return filled_from(content, "discriminator_channels", content, "channels")

    @model_validator(mode="after")
    def _weights_at_their_size(self) -> "NetworkOptions":
        if self.initialization == "normal" and self.equalized:
            raise ValueError("initialization: normal draws weights at their size; set equalized: false with it")
        return self

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
    latent_size: int = Field(512, ge=1, le=1 << 16)
    convs: Literal[1, 2] = Field(2, description="3x3 convolutions of a stage")
    rgb_kernel: Literal[1, 3] = Field(1, description="side of the to_rgb kernels")
    tanh: bool = Field(False, description="bound the generator's pictures by tanh; the paper's are linear")
    fused_scale: bool = Field(False, description="one strided convolution for resampling and the 3x3 beside it")


class CycleganNetwork(NetworkOptions):
    """Networks of the translation task: both translators alike, both discriminators alike.

    Some networks have defaults of their own, see :func:`with_own_defaults`.
    """

    generator: str = Field("progressive", description="progressive, or what does not grow: resnet, unet")
    discriminator: str = Field("progressive", description="progressive, pggan, or what does not grow: patchgan")
    base_resolution: Resolution = Field(8, description="default: 8; the resolution if no network grows")
    residual_blocks: int = Field(4, ge=0, le=1000, description="default: 4; of resnet 6, and 9 from 256 px")
    skips: bool = Field(True, description="hand the encoder's features to the decoder at every resolution")
    predict: Literal["picture", "change"] = Field("change", description="paint the picture, or the change to the input")
    smooth: Annotated[bool | Literal["mean_preserving"], flag_or("mean_preserving")] = Field(
        False,
        description="translators enlarge by bilinear interpolation, not by repeating pixels; mean_preserving: so that "
        "a new stage opens as the one before",
    )
    bounded: Annotated[bool | Literal["inward"], flag_or("inward")] = Field(
        False,
        description="cut pictures off at black and white, as files do; keeps plain grounds plain. inward: what is cut "
        "off still learns what leads back",
    )
    head: Literal["patch", "dense"] = Field(
        "patch", description="one logit a place, or one a picture as in PG-GAN; default: patch, dense of pggan"
    )
    discriminator_scales: int = Field(
        1, ge=1, le=16, description="resolutions that discriminators judge a picture at, each half of the one before"
    )
    filters: int = Field(64, ge=1, le=1 << 12, description="of the first layer of resnet, unet and patchgan")
    discriminator_filters: int | None = Field(None, ge=1, le=1 << 12, description="of patchgan; default: filters")
    upsampling: Literal["transposed", "resize"] = Field(
        "transposed", description="resnet: transposed convolutions, or nearest enlargement and a convolution"
    )
    patch_layers: int = Field(3, ge=1, le=8, description="patchgan: layers that halve the size; 3 see patches of 70x70")


FIXED_GENERATORS: Final = ("resnet", "unet")
FIXED_DISCRIMINATORS: Final = ("patchgan",)


def with_own_defaults(network: Mapping[Any, Any], resolution: Any) -> dict[Any, Any]:
    """A ``network`` section of the translation task in which some networks have defaults of their own.

    Those of networks that do not grow are what they have anyway, or else what Zhu et al. 2017 publish: instance norm,
    and if both are such, weights from N(0, 0.02^2) without equalized; their base resolution is the resolution. The
    discriminator of PG-GAN has its dense head. Written keys stay.

    Args:
        network: as written in the recipe.
        resolution: as written in the recipe.
    """
    generator = network.get("generator") in FIXED_GENERATORS
    discriminator = network.get("discriminator") in FIXED_DISCRIMINATORS
    defaults: dict[Any, Any] = {"head": "dense"} if network.get("discriminator") == "pggan" else {}
    norms: dict[Any, Any] = {}
    if generator and discriminator:
        defaults |= {"equalized": False, "initialization": "normal"}
        if resolution is not None:
            defaults["base_resolution"] = resolution
    if generator:
        unet = network["generator"] == "unet"
        blocks = 0 if unet else 9 if isinstance(resolution, int) and resolution >= 256 else 6
        defaults |= {"predict": "picture", "skips": unet, "residual_blocks": blocks}
        norms["generator"] = "instance"
    if discriminator:
        defaults["minibatch_stddev"] = 0
        norms["discriminator"] = "instance"
    merged = {**defaults, **network}
    written = network.get("normalization", {})
    if norms and isinstance(written, Mapping):
        merged["normalization"] = {**norms, **written}
    return merged
