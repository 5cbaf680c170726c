"""The keys of a recipe, their types, ranges and defaults."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from progcycle.recipe.values import (
    DEFAULT,
    AsTuple,
    BatchSizes,
    Curve,
    Lengths,
    Paths,
    Resolution,
    Scales,
    Side,
    Texts,
)


class Section(BaseModel):
    """Base of every section: unknown keys, other types and infinities are errors, values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


# --- data ---------------------------------------------------------------------------------------------------------


class Augmentation(BaseModel):
    """One albumentations transform by name; every other key is passed to its constructor."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str


class Pictures(Section):
    """One domain of pictures and what is done to them, all at the final resolution."""

    path: Paths | None = Field(None, description="folder(s) or zip file(s) of training pictures, searched recursively")
    test_path: Paths | None = Field(None, description="held-out pictures, never trained on")
    fit: Literal["crop", "pad", "stretch"] = Field("crop", description="how a picture becomes a square")
    background: str = Field("white", description="colour put behind transparent pictures and padding")
    load_resolution: Side | None = Field(None, description="resize to this, then crop the resolution at random")
    mirror: bool = Field(False, description="flip half of the pictures left to right")
    augment: Annotated[tuple[Augmentation, ...], AsTuple] = Field((), description="albumentations transforms, in order")
    channels: Literal[1, 3] = Field(3, description="1 reads pictures as grey, 3 as RGB")


class DataOptions(Section):
    """What both tasks' data sections share."""

    cache_resolution: int = Field(256, ge=0, description="stages up to here are read from uint8 arrays built once")
    cache_dir: str | None = Field(None, description="folder of those arrays; default: .cache beside the run folder")
    max_broken: float = Field(0.05, ge=0, le=1, description="share of unreadable pictures that stops the run")
    workers: int | None = Field(None, ge=0, description="loader processes; default 0 on a CPU, else up to 8")


class PgganData(Pictures, DataOptions):
    """Pictures of the unconditional task."""

    path: Paths = Field(description="folder(s) or zip file(s) of training pictures, searched recursively")


class CycleganData(DataOptions):
    """Two unpaired domains: a root folder in a usual layout, or a path for each domain."""

    root: str | None = Field(None, description="folder holding trainA trainB testA testB (or train/<domain>/ ...)")
    a: Pictures = Pictures()
    b: Pictures = Pictures()

    @model_validator(mode="after")
    def _root_or_paths(self) -> "CycleganData":
        paths = [domain.path is not None for domain in (self.a, self.b)]
        if self.root is not None and any(paths):
            raise ValueError("give either root or a.path and b.path, not both")
        if self.root is None and not all(paths):
            raise ValueError("give root (a folder with trainA and trainB), or both a.path and b.path")
        return self


# --- networks -----------------------------------------------------------------------------------------------------


class Channels(Section):
    """Feature maps at a resolution R: min(base / (R / 2) ** decay, max), as in the official code."""

    base: int = Field(8192, ge=1)
    decay: float = Field(1.0, ge=0)
    max: int = Field(512, ge=1)


class NetworkOptions(Section):
    """What the networks of both tasks share."""

    channels: Channels = Channels()
    discriminator_channels: Channels | None = Field(None, description="default: those of the generators")
    rgb: Literal["replace", "sum"] = Field("replace", description="the new to_rgb replaces the old, or is added to it")
    minibatch_stddev: int = Field(4, ge=0, description="group size of the statistic in discriminators; 0 = off")


class PgganNetwork(NetworkOptions):
    """Networks of the unconditional task (Karras et al. 2018, appendix A.1)."""

    generator: str = "pggan"
    discriminator: str = "pggan"
    base_resolution: Resolution = 4
    latent_size: int = Field(512, ge=1)


class CycleganNetwork(NetworkOptions):
    """Networks of the translation task: both translators alike, both discriminators alike."""

    generator: str = "progressive"
    discriminator: str = "progressive"
    base_resolution: Resolution = 8
    residual_blocks: int = Field(4, ge=0)
    skips: bool = Field(True, description="hand the encoder's features to the decoder at every resolution")
    predict: Literal["picture", "change"] = Field("change", description="paint the picture, or the change to the input")
    head: Literal["patch", "dense"] = Field("patch", description="one logit a place, or one a picture as in PG-GAN")


# --- schedule -----------------------------------------------------------------------------------------------------


class Schedule(Section):
    """The growth plan, in thousands of real pictures (of one domain) shown to the discriminators."""

    start_resolution: Resolution | None = Field(None, description="default: the network's base_resolution")
    stable_kimg: Lengths = {DEFAULT: 600.0}
    fade_kimg: Lengths = {DEFAULT: 600.0}
    total_kimg: float | None = Field(None, gt=0, description="default: the sum of all phases")
    batch_size: BatchSizes = Field({DEFAULT: 16}, description="pictures a step, all processes together")
    lr_scale: Scales = Field({DEFAULT: 1.0}, description="factor on every player's learning rate")
    rampup_kimg: float = Field(0.0, ge=0, description="learning rate rises from 0 at the start")
    stage_rampup_kimg: float = Field(0.0, ge=0, description="learning rate rises again when a stage opens")
    decay_kimg: float = Field(0.0, ge=0, description="learning rate falls to 0 over the last part")


# --- objectives ---------------------------------------------------------------------------------------------------


class GradientPenalty(Section):
    """weight * E (|grad D(mix)| - target)^2 / target^2 (Gulrajani et al. 2017; target: Karras et al. 2018)."""

    weight: float = Field(10.0, gt=0)
    target: float = Field(1.0, gt=0)


class ZeroCentred(Section):
    """gamma / 2 * E |grad D|^2, computed every k-th step and scaled by k (Mescheder et al. 2018)."""

    gamma: float = Field(10.0, gt=0)
    every: int = Field(1, ge=1)


class Adversarial(Section):
    """The game between generators and discriminators."""

    loss: str = "wgan"
    gradient_penalty: GradientPenalty | None = None
    r1: ZeroCentred | None = None
    r2: ZeroCentred | None = None
    drift: float = Field(0.0, ge=0, description="weight of E D(real)^2; wgan only")
    lsgan_factor: float = Field(1.0, gt=0, description="factor on the discriminator's lsgan loss; 0.5 in CycleGAN")


class PgganObjective(Adversarial):
    """Objective of the unconditional task."""


class CycleWeights(Section):
    """Weights of the cycle loss, one for each way round."""

    aba: Curve = ((0.0, 10.0),)
    bab: Curve = ((0.0, 10.0),)


class IdentityWeights(Section):
    """Weights of the identity loss, relative to the cycle weight of the same domain at that moment."""

    a: Curve = ((0.0, 0.0),)
    b: Curve = ((0.0, 0.0),)


class CycleganObjective(Adversarial):
    """Objective of the translation task."""

    loss: str = "lsgan"
    cycle: CycleWeights = CycleWeights()
    identity: IdentityWeights = IdentityWeights()
    pool_size: int = Field(50, ge=0, description="earlier fakes that discriminators see again; 0 = off")


# --- optimizer and engine -----------------------------------------------------------------------------------------


Beta = Annotated[float, Field(ge=0, lt=1)]


class Adam(Section):
    """Adam settings of one player."""

    lr: float = Field(1e-3, gt=0)
    betas: Annotated[tuple[Beta, Beta], AsTuple] = (0.0, 0.99)
    eps: float = Field(1e-8, gt=0)


class Optimizer(Section):
    """Adam for each player, and when its moments are cleared."""

    generator: Adam = Adam()
    discriminator: Adam = Adam()
    reset: Literal["never", "stage", "fade_edges"] = "fade_edges"


class Ema(Section):
    """Running average of each generator: a half-life in pictures, or a factor per step."""

    half_life_kimg: float | None = Field(None, gt=0)
    rampup: float = Field(0.05, gt=0, le=1, description="the half-life is at most this share of the pictures shown")
    per_step: float | None = Field(None, ge=0, lt=1)

    @model_validator(mode="after")
    def _one_kind(self) -> "Ema":
        if self.half_life_kimg is not None and self.per_step is not None:
            raise ValueError("give half_life_kimg or per_step, not both")
        return self


class Training(Section):
    """How the engine runs: precision, memory, and how often it reports and saves."""

    precision: Literal["no", "bf16", "fp16", "auto"] = "auto"
    max_batch_per_device: BatchSizes | None = Field(None, description="larger batches are accumulated in parts")
    ema: Ema = Ema(half_life_kimg=10.0)
    status_kimg: float = Field(1.0, gt=0)
    sample_kimg: float = Field(50.0, gt=0)
    checkpoint_kimg: float = Field(50.0, gt=0)
    snapshot_kimg: float = Field(200.0, gt=0)
    keep_checkpoints: int = Field(2, ge=1)
    sample_count: int = Field(16, ge=1, le=64, description="pictures in a sample grid")
    trackers: Texts = Field((), description="names for Accelerate's log_with: tensorboard, wandb, ...")


class BaseRecipe(Section):
    """Keys of every recipe."""

    seed: int = Field(0, ge=0)
    resolution: Resolution
    schedule: Schedule = Schedule()
    optimizer: Optimizer = Optimizer()
    training: Training = Training()


class PgganRecipe(BaseRecipe):
    """An unconditional progressive GAN."""

    task: Literal["pggan"]
    data: PgganData
    network: PgganNetwork = PgganNetwork()
    objective: PgganObjective = PgganObjective(gradient_penalty=GradientPenalty(), drift=1e-3)


class CycleganRecipe(BaseRecipe):
    """A progressive CycleGAN between two unpaired domains."""

    task: Literal["cyclegan"]
    data: CycleganData
    network: CycleganNetwork = CycleganNetwork()
    objective: CycleganObjective = CycleganObjective()


Recipe = PgganRecipe | CycleganRecipe
RECIPES: dict[str, type[PgganRecipe] | type[CycleganRecipe]] = {"pggan": PgganRecipe, "cyclegan": CycleganRecipe}
