"""The keys of a recipe, their types, ranges and defaults; its three largest sections have files of their own."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from progcycle.recipe.grid import check_grid, check_plan, check_table, with_shape
from progcycle.recipe.growth_plan import Schedule
from progcycle.recipe.networks import (
    SECTION,
    AutoencoderNetwork,
    BeganNetwork,
    CycleganNetwork,
    LapganNetwork,
    NetworkSection,
    OwnTerms,
    PgganNetwork,
    complete_network,
    options_in,
    players_of,
    with_each,
)
from progcycle.recipe.objectives import (
    BeganObjective,
    ClassWeights,
    CycleganObjective,
    LapganObjective,
    LatentLoss,
    PgganObjective,
)
from progcycle.recipe.optimizer import BeganOptimizer, Ema, Optimizer, OptimizerSection, PlayerOptimizer, keys_of_others
from progcycle.recipe.sizes import with_longer_tables, with_sizes
from progcycle.recipe.values import (
    NATIVE,
    AsTuple,
    BatchSizes,
    Compile,
    LoadLength,
    OneOrSeveral,
    Paired,
    Paths,
    Precision,
    SideLength,
    Texts,
    with_keys_from,
)
from progcycle.resolution import Resolution
from progcycle.section import Section

# --- data ---------------------------------------------------------------------------------------------------------

MAX_PIXELS = 1 << 28  # of a picture, width times height: 268 megapixels
MOST_CHANNELS = 64  # of a picture
RANDOM_CROP = "random_crop"


METRICS = "names of the figures to measure"


class Augmentation(BaseModel):
    """One albumentations transform by name; every other key is passed to its constructor."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str = Field(description="of the transform, such as RandomBrightnessContrast")


class Window(Section):
    """Which values of pictures networks tell apart: the low end is black (-1), the high end white (1).

    ``window: [0, 4095]`` is short for ``window: {range: [0, 4095]}``.
    """

    range: Annotated[tuple[float, float] | None, AsTuple] = Field(
        None, description="low and high end, in values of the files; default: measured when training begins"
    )
    percentiles: Annotated[tuple[float, float] | None, AsTuple] = Field(
        None, description="of all values of the training pictures, as the range; default: [0, 100], least and greatest"
    )

    @model_validator(mode="after")
    def _rising(self) -> "Window":
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError(f"the range must rise, got {list(self.range)}")
        if self.percentiles is not None and not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise ValueError(f"percentiles must rise within 0 and 100, got {list(self.percentiles)}")
        return self


class Volumes(Section):
    """How volumes (NIfTI) become pictures: slices across an axis."""

    axis: Literal[0, 1, 2] = Field(2, description="axis of the file that the slices are across")
    empty: float = Field(
        0.01, ge=0, lt=1, description="slices are left out of which no more than this share is above the lowest value"
    )


def _as_window(value: Any) -> Any:
    return {"range": value} if isinstance(value, list | tuple) else value


class Pictures(Section):
    """One domain of pictures and what is done to them, all at the final resolution."""

    path: Paths | None = Field(None, description="folder(s) or zip file(s) of training pictures, searched recursively")
    test_path: Paths | None = Field(None, description="held-out pictures, never trained on")
    fit: Literal["crop", "pad", "stretch", "random_crop"] = Field(
        "crop", description="how a picture gets the resolution's shape: crop is the central part, random_crop any"
    )
    background: str = Field("white", description="colour put behind transparent pictures and padding")
    load_resolution: LoadLength | None = Field(
        None,
        description="shorter side that pictures are resized to, or native: not; then the resolution is cropped",
    )
    mirror: bool = Field(False, description="flip half of the pictures left to right")
    augment: Annotated[tuple[Augmentation, ...], AsTuple] = Field((), description="albumentations transforms, in order")
    channels: int = Field(
        3, ge=1, le=MOST_CHANNELS, description="1 reads pictures as grey, 3 as RGB, 4 as RGB and opacity, n as they are"
    )
    bits: Literal[8, 16, "float"] | None = Field(
        None, description="of a channel of the files, or floating point; default: found out when training begins"
    )
    window: Annotated[
        Window | None, BeforeValidator(_as_window, json_schema_input_type=Window | tuple[float, float] | None)
    ] = Field(None, description="values that are told apart; default: of 8 bits all, else those that there are")
    volumes: Volumes = Volumes()

    @model_validator(mode="before")
    @classmethod
    def _crops_of_native(cls, values: Any) -> Any:
        """Pictures of their own size are of no common size that anything but crops could be made of."""
        if not isinstance(values, Mapping) or values.get("load_resolution") != NATIVE:
            return values
        if (fit := values.get("fit") or RANDOM_CROP) != RANDOM_CROP:
            raise ValueError(
                f"load_resolution: native takes crops from anywhere in pictures of their own size, so fit: {fit} would "
                "do nothing; leave it out"
            )
        return {**values, "fit": RANDOM_CROP}


class DataOptions(Section):
    """Base of the ``data`` sections: how pictures are read and cached. Each task adds its own keys."""

    cache_resolution: int = Field(256, ge=0, description="stages up to here are read from arrays built once")
    cache_dir: str | None = Field(None, description="folder of those arrays; default: .cache next to the run folder")
    stage_to: str | None = Field(
        None, description="folder of a local disk, such as $SLURM_TMPDIR, for copies of what two stages are read from"
    )
    max_broken: float = Field(0.05, ge=0, le=1, description="share of unreadable pictures that stops the run")
    max_pixels: int = Field(MAX_PIXELS, ge=1, description="larger pictures are not read; one takes 10 bytes a pixel")
    workers: int | None = Field(None, ge=0, le=256, description="loader processes; default 0 on a CPU, else up to 8")

    @property
    def domains(self) -> dict[str, Pictures]:
        """The sets of pictures, by the names that the task knows them by."""
        raise NotImplementedError(f"{type(self).__name__} does not define its domains")

    @property
    def layout_root(self) -> str | None:
        """A folder that holds two domains in a usual layout; None: each domain has its path."""
        return None

    @property
    def share_held_out(self) -> float:
        """Share of the training pictures that is held out, in [0, 1)."""
        return 0.0

    @property
    def label_source(self) -> str | None:
        """Where the classes of the pictures come from, see :attr:`PgganData.labels`; None without classes."""
        return None


class GeneratorData(Pictures, DataOptions):
    """Pictures that a generator learns to paint."""

    path: Paths = Field(description="folder(s) or zip file(s) of training pictures, searched recursively")

    @property
    def domains(self) -> dict[str, Pictures]:
        """One domain, ``real``."""
        return {"real": self}

    @model_validator(mode="before")
    @classmethod
    def _nothing_held_out(cls, content: Any) -> Any:
        if isinstance(content, Mapping) and "validation" in content:
            raise ValueError("nothing of a generator is measured on held-out pictures; leave data.validation out")
        return content


class PgganData(GeneratorData):
    """Pictures of the unconditional task, with or without classes."""

    labels: str | None = Field(
        None, description="folders (the first folder below path is the class), or a JSON file of labels by picture"
    )

    @property
    def label_source(self) -> str | None:
        """The key ``labels``."""
        return self.labels


class AutoencoderData(Pictures, DataOptions):
    """Pictures that an autoencoder restores."""

    path: Paths = Field(description="folder(s) or zip file(s) of training pictures, searched recursively")
    validation: float = Field(
        0.0, ge=0, lt=1, description="share of the training pictures that is held out, chosen by their names"
    )

    @property
    def domains(self) -> dict[str, Pictures]:
        """One domain, ``real``."""
        return {"real": self}

    @property
    def share_held_out(self) -> float:
        """The key ``validation``."""
        return self.validation


class LapganData(PgganData):
    """Pictures of a Laplacian pyramid."""

    @property
    def domains(self) -> dict[str, Pictures]:
        """``real``, and ``coarse``: the same pictures in another order, whose coarse versions fakes are painted on."""
        return {"real": self, "coarse": self}


class CycleganData(DataOptions):
    """Two unpaired domains: a root folder in a usual layout, or a path for each domain."""

    root: str | None = Field(None, description="folder holding trainA trainB testA testB (or train/<domain>/ ...)")
    a: Pictures = Pictures()
    b: Pictures = Pictures()
    validation: float = Field(
        0.0, ge=0, lt=1, description="share of the training pictures that is held out, chosen by their names"
    )
    paired: Paired = Field(
        "auto", description="whether pictures of one name are true pairs; auto: if they are nearer than random pairs"
    )

    @property
    def domains(self) -> dict[str, Pictures]:
        """Two domains, ``a`` and ``b``."""
        return {"a": self.a, "b": self.b}

    @property
    def layout_root(self) -> str | None:
        """The key ``root``."""
        return self.root

    @property
    def share_held_out(self) -> float:
        """The key ``validation``."""
        return self.validation

    @model_validator(mode="after")
    def _root_or_paths(self) -> "CycleganData":
        paths = [domain.path is not None for domain in (self.a, self.b)]
        if self.root is not None and any(paths):
            raise ValueError("give either root or a.path and b.path, not both")
        if self.root is None and not all(paths):
            raise ValueError("give root (a folder with trainA and trainB), or both a.path and b.path")
        return self


# --- engine -----------------------------------------------------------------------------------------------------------


class Recovery(Section):
    """Going on from the last checkpoint when a number is not finite, with other pictures and lower learning rates."""

    attempts: int = Field(3, ge=1, le=100, description="in the whole run; then it stops")
    lr_factor: float = Field(0.5, gt=0, le=1, description="on every learning rate, once more in each attempt")


class Evaluation(Section):
    """Figures of quality that are computed while a run trains, and logged with the others."""

    every_kimg: float = Field(100.0, gt=0, description="thousands of pictures from one evaluation to the next")
    metrics: Annotated[Texts, Field(min_length=1)] = Field(("swd",), description=METRICS)
    count: int = Field(2048, ge=2, description="pictures, or half as many as there are real ones if these are fewer")
    best: str | None = Field(
        "auto",
        description="the snapshot where this figure is lowest is kept; auto: swd, kid or l1, the first measured",
    )


class AutoencoderEvaluation(Evaluation):
    """What a run of autoencoders measures: errors on pictures that ``data.validation`` holds out, or on others."""

    metrics: Annotated[Texts, Field(min_length=1)] = Field(("l1", "l2", "psnr", "ssim"), description=METRICS)
    count: int = Field(256, ge=2, description="pictures, or all if there are fewer")


class TranslationEvaluation(Evaluation):
    """What a run of translators measures: figures of the pictures that ``data.validation`` holds out."""

    metrics: Annotated[Texts, Field(min_length=1)] = Field(("all",), description=METRICS)
    count: int = Field(256, ge=2, description="held-out pictures of each domain, or all if there are fewer")


class BeganEvaluation(Evaluation):
    """What a run of BEGAN measures; its own measure needs no pictures."""

    metrics: Annotated[Texts, Field(min_length=1)] = Field(("convergence",), description=METRICS)
    best: str | None = Field(
        "auto", description="the snapshot where this figure is lowest is kept; auto: convergence, or swd without it"
    )


class Training(Section):
    """How the engine runs: precision, memory, and how often it reports and saves."""

    precision: Precision = Field(
        "auto",
        description="auto: bf16 where a new run measures that convolutions of its widths are clearly faster, else no",
    )
    max_batch_per_device: BatchSizes | None = Field(None, description="larger batches are accumulated in parts")
    checkpoint_activations: SideLength | None = Field(
        None,
        description="growing networks compute layers of this many pixels or more again in the backward pass: less "
        "memory, more time, the same result; default: none",
    )
    compile: Compile = Field(
        "off",
        description="torch.compile: of generators, or all (discriminators without penalties on gradients too); auto: "
        "generators, on a GPU and in long stages",
    )
    cuda_graphs: SideLength | None = Field(
        None, description="largest pictures at which compiled networks replay CUDA graphs; default: at none"
    )
    ema: Ema = Ema()
    status_kimg: float = Field(1.0, gt=0, description="from one line of figures to the next")
    sample_kimg: float = Field(50.0, gt=0, description="from one sheet of samples to the next")
    checkpoint_kimg: float = Field(50.0, gt=0, description="from one checkpoint, from which a run resumes, to the next")
    snapshot_kimg: float = Field(200.0, gt=0, description="from one snapshot, for use, to the next")
    keep_checkpoints: int = Field(2, ge=1, description="how many of the newest ones are kept")
    permanent_kimg: float | None = Field(None, gt=0, description="one checkpoint every so many kimg is never deleted")
    fallback_dir: str | None = Field(None, description="folder for checkpoints that the run folder cannot take")
    recovery: Recovery | None = Field(None, description="what to do when numbers go bad; default: stop")
    sample_count: int = Field(16, ge=1, le=64, description="pictures in a sample grid")
    evaluation: Evaluation | None = None
    trackers: Texts = Field((), description="names for Accelerate's log_with: tensorboard, wandb, ...")

    @model_validator(mode="after")
    def _something_compiled(self) -> Self:
        if self.cuda_graphs is not None and self.compile == "off":
            raise ValueError("cuda_graphs: only compiled networks have them; leave it out, or set compile: generators")
        return self


class TranslationTraining(Training):
    """How the engine runs, of translators."""

    evaluation: TranslationEvaluation | None = None


class BeganTraining(Training):
    """How the engine runs, of BEGAN."""

    evaluation: BeganEvaluation | None = None


class AutoencoderTraining(Training):
    """How the engine runs, of autoencoders."""

    evaluation: AutoencoderEvaluation | None = None


# --- what training begins with ------------------------------------------------------------------------------------


class Pretraining(Section):
    """Translators learn to restore real pictures before they learn to translate (Torbunov et al. 2023, UVCGAN)."""

    kind: Literal["inpainting", "autoencoding"] = Field(
        "inpainting", description="whether parts of the pictures are hidden from the networks, which restore the whole"
    )
    masked: float | None = Field(None, gt=0, lt=1, description="share of a picture that is hidden; inpainting: 0.4")
    patch: float | None = Field(None, gt=0, le=0.5, description="side of a hidden square, of the picture's; 0.125")
    share: float | None = Field(None, gt=0, le=1000, description="lengths, of those in schedule; default 0.5")
    schedule: Schedule | None = Field(None, description="a growth plan of its own, in place of share")
    optimizer: PlayerOptimizer | None = Field(
        None, description="default, also of keys left out: that of the generators"
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """The defaults that depend on other keys."""
        if not isinstance(values, dict):
            return values
        filled = {} if values.get("schedule") is not None else {"share": 0.5}
        filled |= {"masked": 0.4, "patch": 0.125} if values.get("kind", "inpainting") == "inpainting" else {}
        return {**values, **{key: value for key, value in filled.items() if values.get(key) is None}}

    @model_validator(mode="after")
    def _meaningful(self) -> "Pretraining":
        if self.kind != "inpainting" and (self.masked is not None or self.patch is not None):
            raise ValueError(f"masked and patch belong to inpainting, not to {self.kind}; leave them out")
        if self.schedule is not None and self.share is not None:
            raise ValueError("give schedule or share, not both")
        if self.patch is not None and math.frexp(self.patch)[0] != 0.5:
            raise ValueError(f"patch must be 0.5, 0.25, 0.125 and so on, got {self.patch:g}")
        return self


class WarmStart(Section):
    """PG-GANs whose stages the translators' decoders begin with: run folders, or snapshots."""

    gen_ab: str | None = Field(None, description="a PG-GAN of pictures of B")
    gen_ba: str | None = Field(None, description="a PG-GAN of pictures of A")

    @model_validator(mode="after")
    def _something(self) -> "WarmStart":
        if not self.runs:
            raise ValueError("give gen_ab, gen_ba or both the run folder of a PG-GAN")
        return self

    @property
    def runs(self) -> dict[str, str]:
        """The run folders that are given, by translator."""
        given = (("gen_ab", self.gen_ab), ("gen_ba", self.gen_ba))
        return {name: path for name, path in given if path is not None}


class StartFrom(Section):
    """A trained run whose weights the networks begin with: fine-tuning."""

    run: str = Field(description="a run folder (its newest snapshot is taken), or a snapshot")
    networks: Literal["generators", "all"] = Field(
        "generators", description="all: the discriminators too, from the newest checkpoint of the run folder"
    )


class Recipe(Section):
    """Base of the recipes: keys that every task has. A task adds its own classes of these sections, and sections.

    ``task`` is the name of the task in the dicts of recipes, tasks and models.
    """

    task: str
    seed: int = Field(0, ge=0, description="of all random numbers; 0 is a seed like any other")
    resolution: Resolution = Field(description="pixels of a side, or [height, width]: base_resolution, doubled n times")
    data: DataOptions
    network: NetworkSection
    objective: Section
    schedule: Schedule = Schedule()
    optimizer: OptimizerSection
    training: Training = Training()
    start_from: StartFrom | None = Field(None, description="fine-tune: begin with the weights of a trained run")

    @model_validator(mode="before")
    @classmethod
    def _run_alone(cls, content: Any) -> Any:
        """``start_from: runs/a`` is short for ``start_from: {run: runs/a}``."""
        if isinstance(content, Mapping) and isinstance(content.get("start_from"), str):
            return {**content, "start_from": {"run": content["start_from"]}}
        return content

    @model_validator(mode="after")
    def _one_grid(self) -> "Recipe":
        base = self.network.base_resolution
        check_grid(base, self.resolution)
        check_plan(self.schedule, self.resolution, base)
        check_table(self.training.max_batch_per_device, "training.max_batch_per_device", base)
        return self

    @model_validator(mode="after")
    def _something_left_to_see(self) -> "Recipe":
        end = self.schedule.hold_resolution or self.resolution
        start = Resolution.of(self.schedule.start_resolution or self.network.base_resolution)
        players = players_of(type(self.network))
        for (player, *place), options in options_in(self.network).items():
            name = options.name
            if not isinstance(options, OwnTerms):
                continue
            grows = players[str(player)].networks[name].sizes == "growing"
            least = self.network.base_resolution if grows else 1
            if end // options.reduce < least:
                key = ".".join(map(str, (SECTION, player, *place)))
                raise ValueError(
                    f"{key}.reduce: at most {end // least}, so that the largest pictures, of {end} px, are not smaller "
                    f"than {least} px, got {options.reduce}"
                )
            if not grows and start >= options.reduce and any(side % options.reduce for side in start.shape):
                key = ".".join(map(str, (SECTION, player, *place)))
                raise ValueError(
                    f"{key}.reduce: pictures of {start} px, where training starts, cannot be halved down to a "
                    f"{options.reduce}th of their sides; lower it"
                )
        return self

    def stretched(self, factor: float) -> Self:
        """The recipe with all lengths of its growth plan multiplied, those of learning rate ramps and decay too.

        Args:
            factor: above 0; lengths are rounded to whole pictures.
        """
        return self.model_copy(update={"schedule": self.schedule.scaled(factor, digits=3)})

    @property
    def preparation_recipe(self) -> "Recipe | None":
        """The recipe of what is trained before the task, in a folder of its own; None: nothing."""
        return None

    @property
    def first_weights(self) -> Mapping[str, str]:
        """Runs that networks begin with the weights of, by network."""
        return {}

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_follow(cls, content: Any) -> Any:
        """Defaults that follow from other keys: of the networks, then of sizes, then up to the resolution."""
        if not isinstance(content, Mapping):
            return content
        section = cls.network_section()
        network = complete_network(section, content.get("network", {}), content.get("resolution"))
        shaped = with_shape({**content, "network": network}, section.model_fields["base_resolution"].default)
        return with_longer_tables(cls._sized(shaped))

    @classmethod
    def network_section(cls) -> type[NetworkSection]:
        """The class of this kind of recipe's section ``network``."""
        section = cls.model_fields["network"].annotation
        assert isinstance(section, type)
        assert issubclass(section, NetworkSection)
        return section

    @classmethod
    def _sized(cls, content: dict[Any, Any]) -> Any:
        """``content`` with sizes for what it leaves out, if this kind of recipe has a rule for them."""
        return content


class PgganRecipe(Recipe):
    """An unconditional progressive GAN."""

    task: Literal["pggan"]
    data: PgganData
    network: PgganNetwork = Field(default_factory=PgganNetwork)
    objective: PgganObjective = PgganObjective()
    optimizer: Optimizer = Optimizer()

    @model_validator(mode="after")
    def _classes_of_labels(self) -> "PgganRecipe":
        if self.objective.classes != ClassWeights() and self.data.labels is None:
            raise ValueError(
                "objective.classes are weights of the classes of data.labels; give labels, or leave it out"
            )
        return self


class LapganRecipe(Recipe):
    """Generators and discriminators of the levels of a Laplacian pyramid (Denton et al. 2015)."""

    task: Literal["lapgan"]
    data: LapganData
    network: LapganNetwork = Field(default_factory=LapganNetwork)
    objective: LapganObjective = LapganObjective()
    optimizer: Optimizer = Optimizer()
    levels: Annotated[tuple[SideLength, ...], OneOrSeveral] = Field(
        (), description="pixels per side of the levels that this run trains; default: all"
    )

    @property
    def all_levels(self) -> tuple[int, ...]:
        """Pixels per side of the levels of the pyramid, the coarsest first."""
        sides = range((self.resolution // self.network.base_resolution).bit_length())
        return tuple(int(self.network.base_resolution) << i for i in sides)

    def stretched(self, factor: float) -> Self:
        """See :meth:`Recipe.stretched`; there are no fades, whose length stays at its default, the only one allowed."""
        plan = self.schedule.scaled(factor, digits=3).model_copy(update={"fade_kimg": self.schedule.fade_kimg})
        return self.model_copy(update={"schedule": plan})

    @model_validator(mode="before")
    @classmethod
    def _all_levels_at_once(cls, content: Any) -> Any:
        """The defaults: all levels, and a plan that shows pictures of the finest of those that are trained."""
        if not isinstance(content, Mapping):
            return content
        network, resolution = content.get("network") or {}, content.get("resolution")
        if not isinstance(network, Mapping) or not _is_side(resolution):
            return content
        base = network.get("base_resolution") or LapganNetwork.model_fields["base_resolution"].default
        filled: dict[Any, Any] = {**content, "network": {**network, "base_resolution": base}}
        every = [int(base) << i for i in range((resolution // base).bit_length())] if _is_side(base) else []
        if every and filled.get("levels") is None:
            filled["levels"] = every
        levels, schedule = filled.get("levels"), content.get("schedule") or {}
        sides = levels if isinstance(levels, list | tuple) else [levels]
        if sides and all(side in every for side in sides) and isinstance(schedule, Mapping):
            shown = {"start_resolution": max(sides)}
            if max(sides) < resolution:
                shown["hold_resolution"] = max(sides)
            given = {key: value for key, value in schedule.items() if value is not None or key not in shown}
            filled["schedule"] = {**shown, **given}
        return filled

    @field_validator("levels")
    @classmethod
    def _in_order(cls, levels: tuple[int, ...]) -> tuple[int, ...]:
        if not levels:
            raise ValueError("a run trains one level at least; leave the key out for all of them")
        if len(set(levels)) < len(levels):
            raise ValueError("a level is named twice")
        return tuple(sorted(levels))

    @field_validator("resolution")
    @classmethod
    def _squares(cls, resolution: Resolution) -> Resolution:
        if not resolution.is_square:
            raise ValueError(
                f"the levels of a pyramid are squares; give one number, such as {int(resolution)}, "
                f"not {resolution.plain}"
            )
        return resolution

    @model_validator(mode="after")
    def _levels_of_the_pyramid(self) -> "LapganRecipe":
        base, finest = self.network.base_resolution, max(self.levels)
        if base >= self.resolution:
            raise ValueError(
                f"network.base_resolution: the coarsest level lies below the resolution, {self.resolution}, got {base}"
            )
        if strange := [level for level in self.levels if level not in self.all_levels]:
            raise ValueError(
                f"levels: there is no level of {strange[0]} px; choose from {', '.join(map(str, self.all_levels))}"
            )
        plan = self.schedule
        shown = (plan.start_resolution, plan.hold_resolution or self.resolution)
        for key, value in zip(("start_resolution", "hold_resolution"), shown, strict=True):
            if value != finest:
                raise ValueError(
                    f"schedule.{key}: the levels of a pyramid do not grow, and pictures are shown at {finest} px, the "
                    f"finest level that this run trains, not at {value}; leave it out"
                )
        for key in ("growth", "fade_kimg", "fade_reals", "new_stage", "old_layers", "stage_rampup_kimg"):
            if getattr(plan, key) != Schedule.model_fields[key].default:
                raise ValueError(f"schedule.{key}: the levels of a pyramid do not grow; leave it out")
        if self.training.checkpoint_activations is not None:
            raise ValueError(
                "training.checkpoint_activations: the levels of a pyramid do not grow, and only stages can be computed "
                "again; leave it out"
            )
        if self.optimizer.reset != OptimizerSection.model_fields["reset"].default:
            raise ValueError(
                "optimizer.reset: the levels of a pyramid do not grow, so nothing is cleared; leave it out"
            )
        return self


class CycleganRecipe(Recipe):
    """A progressive CycleGAN between two unpaired domains."""

    task: Literal["cyclegan"]
    data: CycleganData
    network: CycleganNetwork = Field(default_factory=CycleganNetwork)
    objective: CycleganObjective = CycleganObjective()
    optimizer: Optimizer = Optimizer()
    training: TranslationTraining = TranslationTraining()

    @model_validator(mode="before")
    @classmethod
    def _optimizer_of_pretraining(cls, content: Any) -> Any:
        if not isinstance(content, Mapping):
            return content
        before = with_keys_from(content.get("pretraining"), "optimizer", content.get("optimizer"), "generator")
        before = _with_own_keys(before, content["pretraining"]) if isinstance(before, Mapping) else before
        return {**content, "pretraining": before} if "pretraining" in content else content

    @classmethod
    def _sized(cls, content: dict[Any, Any]) -> Any:
        return with_sizes(content, cls.network_section())

    pretraining: Pretraining | None = Field(None, description="pre-train the translators first")
    warm_start: WarmStart | None = Field(None, description="begin the decoders from PG-GANs")

    @model_validator(mode="after")
    def _latents_for_their_loss(self) -> "CycleganRecipe":
        if self.objective.latent != LatentLoss() and getattr(self.network.generator, "latents", None) is None:
            raise ValueError(
                "objective.latent weighs latents, of which the translators have none; leave it out, or add "
                "network.generator.latents, such as {ab: 8}, to progressive ones"
            )
        return self

    @model_validator(mode="after")
    def _range_to_leave(self) -> "CycleganRecipe":
        within = all(self.network.generator.within_range(direction) for direction in ("ab", "ba"))
        if any(weight for _, weight in self.objective.range_penalty) and within:
            raise ValueError(
                "objective.range_penalty acts on pictures that leave [-1, 1], which those of these translators never "
                "do; leave it out, or use network.generator: {name: progressive, bounded: false}"
            )
        return self

    @model_validator(mode="after")
    def _grid_of_pretraining(self) -> "CycleganRecipe":
        if self.pretraining is not None and self.pretraining.schedule is not None:
            plan, base = self.pretraining.schedule, self.network.base_resolution
            check_plan(plan, self.resolution, base, "pretraining.schedule")
        return self

    @model_validator(mode="after")
    def _one_beginning(self) -> "CycleganRecipe":
        for name in ("warm_start", "pretraining"):
            if self.start_from is not None and getattr(self, name) is not None:
                raise ValueError(f"start_from gives the translators all their weights; leave {name} out")
        return self

    @property
    def preparation_recipe(self) -> "CycleganRecipe | None":
        """What pre-trains: this recipe with the schedule and the optimizer of its section ``pretraining``, if any.

        There are no discriminators, so that nothing compares the pictures of a batch, and no figures of translation.
        """
        options = self.pretraining
        if options is None:
            return None
        generator = options.optimizer or self.optimizer.generator
        alone = with_each(self.network.discriminator, lambda options: options.without_comparison())
        return self.model_copy(
            update={
                "schedule": options.schedule or self.schedule.scaled(options.share or 1.0),
                "optimizer": self.optimizer.model_copy(update={"generator": generator}),
                "network": self.network.model_copy(update={"discriminator": alone}),
                "training": self.training.model_copy(update={"evaluation": None}),
            }
        )

    @property
    def first_weights(self) -> Mapping[str, str]:
        """The runs of ``warm_start``."""
        return {} if self.warm_start is None else self.warm_start.runs


def _with_own_keys(before: Mapping[Any, Any], written: Mapping[Any, Any]) -> dict[Any, Any]:
    """A section whose ``optimizer`` lost the keys that it inherited, but that its own kind does not have."""
    optimizer, own = before.get("optimizer"), written.get("optimizer")
    if not isinstance(optimizer, Mapping) or not isinstance(own, Mapping):
        return dict(before)
    foreign = keys_of_others(optimizer.get("name", "adam"))
    return {**before, "optimizer": {k: v for k, v in optimizer.items() if k in own or k not in foreign}}


class BeganRecipe(Recipe):
    """A BEGAN, whose networks grow or not."""

    task: Literal["began"]
    data: GeneratorData
    network: BeganNetwork = Field(default_factory=BeganNetwork)
    objective: BeganObjective = BeganObjective()
    optimizer: BeganOptimizer = BeganOptimizer()
    training: BeganTraining = BeganTraining()

    @model_validator(mode="after")
    def _a_stage_that_opens(self) -> "BeganRecipe":
        start = self.schedule.start_resolution or self.network.base_resolution
        opens = start < (self.schedule.hold_resolution or self.resolution)
        if self.objective.k_on_new_stage != BeganObjective().k_on_new_stage and not opens:
            raise ValueError("objective.k_on_new_stage: training has one stage, so that none opens; leave it out")
        return self


class AutoencoderObjective(Section):
    """What an autoencoder learns to make small: the error of the restored pictures, in [-1, 1]."""

    loss: Literal["l1", "l2"] = Field("l1", description="mean absolute difference, or l2: mean squared difference")


class AutoencoderOptimizer(OptimizerSection):
    """The optimizer of the one network."""

    autoencoder: PlayerOptimizer = PlayerOptimizer()


class AutoencoderRecipe(Recipe):
    """A growing autoencoder."""

    task: Literal["autoencoder"]
    data: AutoencoderData
    network: AutoencoderNetwork = Field(default_factory=AutoencoderNetwork)
    objective: AutoencoderObjective = AutoencoderObjective()
    optimizer: AutoencoderOptimizer = AutoencoderOptimizer()
    training: AutoencoderTraining = AutoencoderTraining()


def _is_side(value: Any) -> bool:
    """Whether a value is a whole number that a side of pictures may be; validation refuses others."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


# By their key ``task``. Programs may add rows.
RECIPES: dict[str, type[Recipe]] = {
    "pggan": PgganRecipe,
    "cyclegan": CycleganRecipe,
    "began": BeganRecipe,
    "autoencoder": AutoencoderRecipe,
    "lapgan": LapganRecipe,
}
