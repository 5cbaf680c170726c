"""The ``objective`` section of a recipe."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import AfterValidator, Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from progcycle.recipe.values import AsTuple, Curve, power_of_two
from progcycle.section import Section

LOSS = "wgan, lsgan, non_saturating, hinge or relativistic"
Clipping = Annotated[float, Field(gt=0)]
Operation = Literal["color", "translation", "cutout", "flip", "rotate90", "scale", "rotate", "aspect", "hue"]


class GradientPenalty(Section):
    """weight * E (|grad D(mix)| - target)^2 / target^2 (Gulrajani et al. 2017; target: Karras et al. 2018)."""

    weight: float = Field(10.0, gt=0, description="lambda: of the penalty in the loss")
    target: float = Field(1.0, gt=0, description="gamma: length that gradients are to have")


class ZeroCentred(Section):
    """gamma / 2 * E |grad D|^2, computed every k-th step and scaled by k (Mescheder et al. 2018)."""

    gamma: float = Field(10.0, gt=0, description="weight; half of it counts, as in the paper")
    every: int = Field(1, ge=1, description="only at every k-th step, times k")


class DiscriminatorNoise(Section):
    """Noise that multiplies the inputs of the discriminator's convolutions, stronger as it wins; lsgan only.

    strength = gain * max(0, d' - limit)^exponent, d' = momentum * d' + (1 - momentum) * d (Karras et al. 2018,
    appendix B).
    """

    mode: Literal["prop", "mul", "drop"] = Field(
        "prop",
        description="prop: 1 + s sqrt(C) n, the paper's; mul: (1 + s)^n; drop: 1 / (1 - s), or 0 with probability s",
    )
    signal: Literal["real", "fake", "d_loss"] = Field("real", description="d: D(real), 1 - D(fake), or D's loss")
    gain: float = Field(0.2, gt=0, description="strength where the signal is 1 above the limit")
    limit: float = Field(0.5, ge=0, lt=1, description="signal below which there is no noise")
    exponent: float = Field(2.0, gt=0, description="power of the signal above the limit")
    momentum: float = Field(0.9, ge=0, lt=1, description="of the running mean of the signal, a step")


class Adaptive(Section):
    """The probability follows how well the discriminator knows real pictures (ADA, Karras et al. 2020, section 3)."""

    target: float = Field(0.6, gt=-1, lt=1, description="r: mean sign of D(real) that is aimed at")
    kimg: float = Field(500.0, gt=0, description="pictures in which the probability can rise from 0 to 1")
    every: int = Field(4, ge=1, description="steps between adjustments")
    maximum: float = Field(0.8, gt=0, le=1, description="above 0.8 the generator may paint what the operations do")


class DiscriminatorAugment(Section):
    """Augmentation of what discriminators see, real and fake alike (DiffAugment, Zhao et al. 2020; ADA)."""

    policy: Annotated[tuple[Operation, ...], AsTuple] = Field(
        min_length=1, description="operations; the order is fixed"
    )
    probability: float | None = Field(
        None, ge=0, le=1, description="of each operation for a picture; default 1. With adaptive: at first; default 0"
    )
    adaptive: Adaptive | None = None

    @model_validator(mode="after")
    def _does_something(self) -> "DiscriminatorAugment":
        if len(set(self.policy)) < len(self.policy):
            raise ValueError("policy names an operation twice")
        if self.adaptive is None and self.probability == 0:
            raise ValueError("probability 0 augments nothing; leave augment out, or add adaptive")
        if self.adaptive is not None and self.start > self.adaptive.maximum:
            raise ValueError("probability lies above adaptive.maximum")
        return self

    @property
    def start(self) -> float:
        """The probability at the start of a run."""
        if self.probability is not None:
            return self.probability
        return 1.0 if self.adaptive is None else 0.0


class LabelSmoothing(Section):
    """Targets of the logistic loss that are not 1; fakes keep theirs of 0 (Salimans et al. 2016, section 3.4)."""

    real: float = Field(0.9, gt=0, le=1, description="target of D(real); 0.9 in the paper, 0.75 in its ImageNet code")
    generator: float = Field(1.0, gt=0, le=1, description="target of the generator's D(fake); 0.375 in that code")

    @model_validator(mode="after")
    def _smooths(self) -> "LabelSmoothing":
        if self.real == 1 and self.generator == 1:
            raise ValueError("targets of 1 smooth nothing; leave label_smoothing out, or lower one")
        return self


class FeatureMatching(Section):
    """The generator matches mean features of D's last layer but one, and its logits no more (Salimans et al. 2016)."""

    distance: Literal["l1", "l2"] = Field(
        "l1", description="mean of |difference|, as in the authors' code for CIFAR-10, or of its square, as for MNIST"
    )


class CriticBoost(Section):
    """More discriminator updates for some generator updates (Arjovsky et al. 2017, in the authors' code)."""

    n_critic: int = Field(100, ge=2, le=1 << 20, description="discriminator updates for each of these")
    first: int = Field(25, ge=0, description="so many generator updates at the start")
    every: int | None = Field(500, ge=2, description="and every so manyth one, from number 0 on; empty: no others")

    @model_validator(mode="after")
    def _some(self) -> "CriticBoost":
        if not self.first and self.every is None:
            raise ValueError("first: 0 without every boosts nothing; leave critic_boost out, or give one")
        return self


class Balance(Section):
    """Weights of several discriminators are shares of the gradients at the fake pictures.

    Each weight is multiplied by a factor, so that the gradients' norms stand to each other as the weights do. The sum
    of the norms stays the same. Esser et al. 2021 (VQGAN, equation 7) weigh two losses of a generator so.
    """

    most: float = Field(1000.0, gt=1, le=1e6, description="largest factor on a weight")


class Adversarial(Section):
    """The game between generators and discriminators."""

    loss: str = Field("wgan", description=LOSS)
    gradient_penalty: GradientPenalty | None = None
    r1: ZeroCentred | None = None
    r2: ZeroCentred | None = None
    drift: float = Field(0.0, ge=0, description="weight of E D(real)^2; wgan only")
    weight_clipping: Clipping | None = Field(
        None,
        description="bound of every weight of the critic, before each of its updates; wgan only, instead of a penalty",
    )
    label_smoothing: LabelSmoothing | None = Field(None, description="of non_saturating only; on reals alone, and of G")
    feature_matching: FeatureMatching | None = None
    lsgan_factor: float = Field(1.0, gt=0, description="factor on the discriminator's lsgan loss; 0.5 in CycleGAN")
    lsgan_fake_factor: float = Field(1.0, gt=0, description="factor on its fake half; 0.1 in PG-GAN's experiments")
    noise: DiscriminatorNoise | None = None
    augment: DiscriminatorAugment | None = None
    balance: Balance | None = Field(
        None, description="of several discriminators of the same pictures: their weights are shares of the gradient"
    )
    n_critic: int = Field(1, ge=1, description="discriminator updates for each generator update, a batch for each")
    critic_boost: CriticBoost | None = Field(None, description="more discriminator updates at the start, and at times")
    simultaneous: bool = Field(False, description="update both players from the same state, not one after the other")

    @model_validator(mode="after")
    def _one_order(self) -> "Adversarial":
        if self.simultaneous and self.n_critic > 1:
            raise ValueError("simultaneous updates go with n_critic: 1")
        if self.critic_boost is not None and self.simultaneous:
            raise ValueError("critic_boost: simultaneous updates are as many of both players; leave one of the two out")
        if self.critic_boost is not None and self.critic_boost.n_critic <= self.n_critic:
            raise ValueError(f"critic_boost.n_critic: it must be above n_critic, which is {self.n_critic}")
        return self


# Keys of the game that a discriminator may have of its own.
TERMS: Final = (
    "loss", "gradient_penalty", "r1", "r2", "drift", "weight_clipping", "label_smoothing", "feature_matching",
    "lsgan_factor", "lsgan_fake_factor", "noise", "augment",
)  # fmt: skip
_OF_LOSS: Final = (
    "gradient_penalty", "drift", "weight_clipping", "label_smoothing", "lsgan_factor", "lsgan_fake_factor", "noise",
)  # fmt: skip
_OF_PIXELS: Final = ("gradient_penalty", "r1", "r2")


class _OrOff:
    """Lets a section be switched off by ``off``, which YAML reads as false; errors name the section's keys only."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        section = core_schema.nullable_schema(handler.generate_schema(get_args(source)[0]))
        return core_schema.no_info_wrap_validator_function(
            lambda value, validate: value if value is False else validate(value),
            section,
            serialization=core_schema.simple_ser_schema("any"),
            json_schema_input_schema=handler(source),
        )


Off = Literal[False]
OwnGradientPenalty = Annotated[GradientPenalty | Off | None, _OrOff()]
OwnZeroCentred = Annotated[ZeroCentred | Off | None, _OrOff()]
OwnClipping = Annotated[Clipping | Off | None, _OrOff()]
OwnLabelSmoothing = Annotated[LabelSmoothing | Off | None, _OrOff()]
OwnFeatureMatching = Annotated[FeatureMatching | Off | None, _OrOff()]
OwnNoise = Annotated[DiscriminatorNoise | Off | None, _OrOff()]
OwnAugment = Annotated[DiscriminatorAugment | Off | None, _OrOff()]


class DiscriminatorTerms(Section):
    """What one discriminator may have of its own. What it leaves out is that of ``objective`` and ``optimizer``."""

    loss: str | None = Field(None, description="of this discriminator; default: objective.loss")
    gradient_penalty: OwnGradientPenalty = Field(None, description="default: that of objective; off: none")
    r1: OwnZeroCentred = Field(None, description="default: that of objective; off: none")
    r2: OwnZeroCentred = Field(None, description="default: that of objective; off: none")
    drift: float | None = Field(None, ge=0, description="default: that of objective")
    weight_clipping: OwnClipping = Field(None, description="default: that of objective; off: none")
    label_smoothing: OwnLabelSmoothing = Field(None, description="default: that of objective; off: none")
    feature_matching: OwnFeatureMatching = Field(None, description="default: that of objective; off: none")
    lsgan_factor: float | None = Field(None, gt=0, description="default: that of objective")
    lsgan_fake_factor: float | None = Field(None, gt=0, description="default: that of objective")
    noise: OwnNoise = Field(None, description="default: that of objective; off: none")
    augment: OwnAugment = Field(None, description="default: that of objective; off: none")
    weight: Curve = Field(((0.0, 1.0),), description="of its term in the generator's loss")
    lr: float | None = Field(None, gt=0, description="learning rate; default: optimizer.discriminator.lr")
    reduce: Annotated[int, Field(ge=1, le=256), AfterValidator(power_of_two)] = Field(
        1, description="factor by which the sides of its pictures are reduced, by averaging: a judge of large shapes"
    )

    @model_validator(mode="after")
    def _counts(self) -> "DiscriminatorTerms":
        if not any(value for _, value in self.weight):
            raise ValueError("weight: with 0 throughout, the generator never learns from it; leave it out of the list")
        return self

    def terms(self, objective: "Adversarial", on_features: bool) -> tuple["Adversarial", frozenset[str]]:
        """The terms of this discriminator's loss.

        With a loss of its own it takes only ``r1``, ``r2``, ``augment`` and ``feature_matching`` from ``objective``,
        whose other keys belong to the loss there. Penalties of ``objective`` act on pixels, not on the pictures of a
        frozen network, which shows no features to match either.

        Args:
            objective: the keys for all discriminators.
            on_features: whether it sees pictures through a frozen network.

        Returns:
            All keys, and the names of those that are not ``objective``'s.
        """
        own = {key for key in TERMS if getattr(self, key) is not None}
        changes = {key: None if (value := getattr(self, key)) is False else value for key in own}
        other = self.loss not in (None, objective.loss)
        reset = {key for key in _OF_LOSS if other} | {key for key in (*_OF_PIXELS, "feature_matching") if on_features}
        # Clipped weights and the penalty stand for each other: one of its own replaces that of all.
        reset |= {"gradient_penalty"} if self.weight_clipping else set()
        reset |= {"weight_clipping"} if self.gradient_penalty else set()
        plain = Adversarial.model_fields
        changes |= {key: plain[key].default for key in reset - own}
        return objective.model_copy(update=changes), frozenset(own | reset)


class ClassWeights(Section):
    """Weights of the cross entropy of the discriminator's class logits, where data.labels is given (AC-GAN)."""

    real: float = Field(1.0, ge=0, description="on real pictures, for the discriminator")
    fake: float = Field(1.0, ge=0, description="on generated pictures, for the generator")


class PgganObjective(Adversarial):
    """Objective of the unconditional task; what is left out of wgan is as in the paper (appendix A.1)."""

    gradient_penalty: GradientPenalty | None = Field(
        None, description="default: weight 10 with wgan that is not clipped, else none"
    )
    drift: float = Field(0.0, ge=0, description="weight of E D(real)^2; wgan only, default with its penalty: 0.001")
    classes: ClassWeights = ClassWeights()

    @model_validator(mode="before")
    @classmethod
    def _terms_of_wgan(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or content.get("loss", "wgan") != "wgan":
            return content
        if content.get("weight_clipping") is not None:
            return content
        return {"gradient_penalty": {}, "drift": 1e-3, **content}


class LapganObjective(Adversarial):
    """Objective of every level of a Laplacian pyramid."""

    loss: str = Field("non_saturating", description=LOSS)


NOISE_STD = 0.02  # two and a half of 256 levels


class Cycle(Section):
    """The cycle loss: its weights, one for each way round, and what it compares."""

    aba: Curve = Field(((0.0, 10.0),), description="weight of A to B and back; a number, or points of (kimg, value)")
    bab: Curve = Field(((0.0, 10.0),), description="weight of B to A and back; a number, or points of (kimg, value)")
    scales: int = Field(1, ge=1, le=10, description="resolutions compared, each half of the one before")
    through: Literal["picture", "rounded", "blurred", "noisy"] = Field(
        "picture", description="what the second translator gets: the first one's picture, or a worse copy of it"
    )
    detach: Annotated[tuple[Literal["aba", "bab"], ...], AsTuple] = Field(
        (),
        description="ways round from which the first translator does not learn, and hides nothing for the second",
    )
    noise_std: float = Field(NOISE_STD, gt=0, description="of through: noisy; pictures are in [-1, 1]")

    @model_validator(mode="after")
    def _no_idle_noise(self) -> "Cycle":
        if self.through != "noisy" and self.noise_std != NOISE_STD:
            raise ValueError(f"noise_std belongs to through: noisy, not to {self.through}; leave it out")
        return self

    @model_validator(mode="after")
    def _ways_that_count(self) -> "Cycle":
        if len(set(self.detach)) < len(self.detach):
            raise ValueError("detach names a way round twice")
        for way in self.detach:
            if not any(weight for _, weight in getattr(self, way)):
                raise ValueError(f"detach names {way}, whose weight is 0, so that nobody learns from it; leave it out")
        return self


class IdentityWeights(Section):
    """Weights of the identity loss, relative to the cycle weight of the same domain at that moment."""

    a: Curve = Field(((0.0, 0.0),), description="of pictures of A, times the weight of their cycle at that moment")
    b: Curve = Field(((0.0, 0.0),), description="of pictures of B, times the weight of their cycle at that moment")


PALETTE_QUEUE = 64


class Palette(Section):
    """The palette loss: the colours of translations as a set are to be those of real pictures."""

    a: Curve = Field(((0.0, 0.0),), description="weight for pictures translated to A")
    b: Curve = Field(((0.0, 0.0),), description="weight for pictures translated to B")
    queue: int = Field(
        PALETTE_QUEUE, ge=0, le=4096, description="earlier pictures of each kind that a batch is ranked with"
    )

    @model_validator(mode="after")
    def _queue_that_counts(self) -> "Palette":
        if self.queue != PALETTE_QUEUE and not any(weight for curve in (self.a, self.b) for _, weight in curve):
            raise ValueError("queue is of a loss without weight; give a or b one, or leave it out")
        return self


LATENT_QUEUE = 64


class LatentLoss(Section):
    """The losses of latents: 1 - the cosine of a latent and of its estimate from the translation, and their prior."""

    weight: Curve = Field(
        ((0.0, 1.0),), description="of the loss that keeps latents used; a number, or points of (kimg, value)"
    )
    prior: Curve = Field(
        ((0.0, 0.0),),
        description="weight of the distance from the latents of real pictures to random ones; 0: none, or a curve",
    )
    queue: int = Field(LATENT_QUEUE, ge=0, le=4096, description="earlier latents that prior ranks a batch with")

    @model_validator(mode="after")
    def _queue_that_counts(self) -> "LatentLoss":
        if self.queue != LATENT_QUEUE and not any(weight for _, weight in self.prior):
            raise ValueError("queue is of prior, which has no weight; give it one, or leave queue out")
        return self


class CycleganObjective(Adversarial):
    """Objective of the translation task."""

    loss: str = Field("lsgan", description=LOSS)
    cycle: Cycle = Cycle()
    identity: IdentityWeights = IdentityWeights()
    latent: LatentLoss = LatentLoss()
    palette: Palette = Palette()
    range_penalty: Curve = Field(
        ((0.0, 0.0),), description="weight of E max(0, |fake| - 1)^2, for translators that do not cut pictures off"
    )
    pool_size: int = Field(50, ge=0, description="earlier fakes that discriminators see again; 0 = off")

    @model_validator(mode="after")
    def _always_at_once(self) -> "CycleganObjective":
        if self.simultaneous:
            raise ValueError(
                "simultaneous changes nothing here, since discriminators judge the very fakes of the translators' "
                "update anyway; leave it out"
            )
        return self


class BeganObjective(Section):
    """Objective of BEGAN (Berthelot et al. 2017, section 3.4): L(v) = E |v - D(v)|, and what balances its two halves.

    L_D = L(x) - k L(G(z)), L_G = L(G(z)), k <- clip(k + lambda_k (gamma L(x) - L(G(z))), 0, 1), from k = 0 on.
    """

    gamma: float = Field(0.5, gt=0, le=1, description="L(G(z)) / L(x) that is aimed at; less gives less variety")
    lambda_k: float = Field(1e-3, gt=0, le=1, description="gain of k")
    k_rule: Literal["published", "article"] = Field(
        "published", description="article: L(G(z)) in the place of L(x), by mistake, which keeps k at 0"
    )
    k_on_new_stage: Literal["keep", "reset"] = Field("keep", description="k when a stage opens: as it is, or 0")
