"""The base classes of networks and of their options: everything that other packages use of a network.

A network of your own is one class below :class:`Network`, its options one class below :class:`NetworkOptions`, and one
entry in a dict of ``progcycle.networks``; recipes then take its name and its options::

    class BlurOptions(NetworkOptions):
        radius: int = Field(2, ge=1, description="pixels on each side")

    class Blur(Network):
        Options = BlurOptions
        sizes = "any"

        def __init__(self, in_channels: int, out_channels: int, radius: int) -> None: ...
        def forward(self, x: Tensor, stage: int, alpha: float) -> Tensor: ...

    TRANSLATORS["blur"] = Blur  # network: {generator: {name: blur, radius: 3}}
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from itertools import chain
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import Field
from torch import Tensor, nn

from progcycle.networks.receptive_field import measure_reach
from progcycle.rng import Distribution
from progcycle.section import Section

Sizes = Literal["growing", "one", "any"]


@dataclass(frozen=True)
class TaskShape:
    """What a task determines for a network, in addition to the network's own options.

    Attributes:
        resolution: of the pictures at last, see :class:`progcycle.resolution.Resolution`.
        base_resolution: at stage 0.
        end_resolution: where growth ends; below ``resolution`` where it holds.
        channels: channels of the pictures, by constructor argument: ``in_channels`` and ``out_channels`` of a
            translator, ``image_channels`` of the others.
        classes: classes of the pictures, 0 for none.
        seed: for what a network draws and never trains; each of a run has another one.
        grows: whether training goes through more than one stage.
        direction: of a translator, ``ab`` or ``ba``; else "".
    """

    resolution: int
    base_resolution: int
    end_resolution: int
    channels: Mapping[str, int] = field(default_factory=dict)
    classes: int = 0
    seed: int = 0
    grows: bool = True
    direction: str = ""


class Comparison(NamedTuple):
    """How a network compares the pictures of a batch, of which it needs two or more.

    Attributes:
        key: the option that switches it on.
        gather: whether the pictures of all processes are compared together.
        alone: whether the statistic is defined for a single picture too.
        queue: whether an option lets it keep earlier pictures, with which a single one is compared.
    """

    key: str
    gather: bool
    single_picture: bool
    queue: bool


class NetworkOptions(Section):
    """Options of one network, as a recipe has them under ``network.generator`` or ``network.discriminator``.

    A class of options for a network of yours adds fields, with a default each. An option that has no
    effect in combination with another is refused by a validator, whose message users see.
    """

    name: str = Field(description="of the network, in the dicts of progcycle.networks")

    @classmethod
    def defaults(cls, resolution: int) -> dict[str, Any]:
        """Defaults that follow from the final resolution, by its shorter side; they stand in for keys left out."""
        return {}

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """Keywords of the network's constructor; by default the options themselves, the channels and the classes.

        They are kept in snapshots as JSON, to build the network again.

        Args:
            shape: what the task fixes.

        Raises:
            ValueError: an option does not fit the task. The sentence begins with the option, ``head: ...``.
        """
        classes = {"classes": shape.classes} if shape.classes else {}
        return {**self.model_dump(exclude={"name"}), **shape.channels, **classes}

    def latent_encoder(self, shape: TaskShape) -> tuple[str, dict[str, Any]] | None:
        """What estimates a translator's latents from its pictures: a name in ``ENCODERS``, and constructor arguments.

        None where there are no latents: a translator that says so takes ``forward(x, stage, alpha)``, others
        ``forward(x, stage, alpha, latents)``, and have :attr:`Network.latent_size`.

        Args:
            shape: what the task fixes for the translator.
        """
        return None

    @property
    def comparison(self) -> Comparison | None:
        """How the network compares the pictures of a batch; None if a single picture is enough."""
        return None

    @property
    def queue(self) -> int:
        """Earlier pictures that a batch is compared with too."""
        return 0

    @property
    def init_pictures(self) -> int:
        """Number of real pictures that :meth:`Network.initialize` gets before the first step; 0 for none."""
        return 0

    def within_range(self, direction: str = "") -> bool:
        """Whether pictures never leave [-1, 1].

        Args:
            direction: of a translator, ``ab`` or ``ba``; "" of a generator.
        """
        return False

    def without_comparison(self) -> Self:
        """The same options, but for a network that compares no pictures with each other."""
        return self


def _then_settled(constructor: Callable[..., None]) -> Callable[..., None]:
    """A constructor, which asks the network what is frozen where no constructor of a subclass goes on."""

    @wraps(constructor)
    def settling(self: "Network", *arguments: Any, **options: Any) -> None:
        constructor(self, *arguments, **options)
        if type(self).__init__ is settling:
            self._settle()

    return settling


class Network(nn.Module):
    """A network of a generator, translators or discriminators: ``forward(x, stage, alpha)``, pictures in [-1, 1].

    A subclass must have ``forward`` and :attr:`Options`; all else has a default.

    A network may have parts that training never changes, such as a pre-trained feature extractor. They are what
    :meth:`trainable_parameters` leaves out: by default, all that the constructor freezes (``requires_grad = False``),
    and the buffers of :meth:`frozen_modules`. They are in no optimizer, no average and no checkpoint, so that the
    constructor must give them again, to the bit; a checkpoint holds their hash, and a run does not go on with others.
    What is only to rest for a while is not frozen in this sense.

    Attributes:
        Options: class of its options.
        sizes: ``growing``: it has stages, begins stage s at alpha 0 as stage s - 1 ended, and uses ``stage`` and
            ``alpha``; ``one``: it works at the final resolution only; ``any``: it takes every size from ``smallest``
            on, in a growing plan too, and needs neither stage nor alpha.
        has_classes: whether its constructor takes ``classes``, above 0 where pictures have labels.
        told_classes: of a discriminator: whether ``forward`` takes ``labels``, one-hot rows, where there are classes
            (Mirza and Osindero 2014); others name the class of a picture beside their logit.
        smallest: least pixels of a side that it can work on.
        squares: whether it works on squares only.
        on_features: of a discriminator: whether it sees pictures through a frozen network, so that the penalties of a
            recipe's ``objective`` on gradients at pixels are not for it.
        needs_two_pictures: whether training takes two pictures or more at a time.
        predicts_change: of a translator: whether it paints a change, which is added to its input.
        latent_size: numbers of a latent of a generator, which a generator must define; of a translator 0 for none.
        distribution: what the latents of a generator are drawn from, see :func:`progcycle.rng.latents`.
        frozen: names of the parameters and buffers that training never changes.
    """

    Options: ClassVar[type[NetworkOptions]] = NetworkOptions
    sizes: ClassVar[Sizes] = "growing"
    has_classes: ClassVar[bool] = False
    told_classes: ClassVar[bool] = False
    on_features: ClassVar[bool] = False
    squares: ClassVar[bool] = False
    smallest: int = 1
    needs_two_pictures: bool = False
    predicts_change: bool = False
    latent_size: int = 0
    distribution: Distribution = "normal"
    frozen: frozenset[str] = frozenset()
    _still: tuple[nn.Module, ...] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__init__ = _then_settled(cls.__init__)  # type: ignore[method-assign]

    def multiple(self, stage: int) -> int:
        """What the sides of a translator's pictures are multiples of at a stage."""
        return 1 << stage if self.sizes == "growing" else 1

    @property
    def any_size(self) -> bool:
        """Whether, at its last stage, it takes pictures of other sizes too; growth by size needs that."""
        return self.sizes == "any"

    def least(self, stage: int) -> int:
        """Least pixels of a side that it can be trained on at a stage, if it takes any size.

        A growing network keeps 2x2 places at its base: one alone has no neighbours, and norms make it 0.
        """
        return max(self.smallest, 2 << stage if self.sizes == "growing" else 1)

    def reach(self, forward: Callable[[Tensor], Tensor], like: Tensor, stage: int) -> int | None:
        """How many pixels away a translator's picture can change what it makes of a pixel: its receptive field.

        By default it is measured: see :func:`progcycle.networks.receptive_field.measure_reach`.

        Args:
            forward: the network at the stage, in the precision and with the latents that it is used with.
            like: a pixel of its pictures, for their channels, type and device.  # [1, C, 1, 1]
            stage: growth step.

        Returns:
            Pixels, a multiple of :meth:`multiple`; None where it depends on the whole picture, or takes one size only.
        """
        try:
            return measure_reach(forward, like, self.multiple(stage), self.smallest)
        except (RuntimeError, ValueError):
            if self.sizes != "one":
                raise
            return None

    def rows_are_independent(self, n: int) -> bool:
        """Whether one pass over 2n rows that alternate real, fake gives the logits of two passes over n rows each."""
        return False

    def noise_size(self, stage: int) -> int | None:
        """Random numbers for a picture that ``forward`` takes as ``noise`` at a stage; None: it takes no noise."""
        return None

    def options_at(self, nimg: int) -> dict[str, Any]:
        """More keywords of ``forward``: what of it follows from the number of pictures shown; by default nothing."""
        return {}

    def logit_layer(self) -> nn.Module | None:
        """The layer of a discriminator that makes the logits, and is called once a pass; None: it shows no features."""
        return None

    def dropout_size(self, stage: int) -> int:
        """Uniform numbers in [0, 1) for a picture that a discriminator's ``forward`` takes as ``dropout`` in training.

        They are looked up by the picture's position, as all that is random, so that torch's own stream is not used.
        """
        return 0

    def initialize(self, pictures: Tensor, stage: int, alpha: float) -> None:
        """Set weights that depend on the data, before the first step.

        Args:
            pictures: real ones, in [-1, 1], as many as :attr:`NetworkOptions.init_pictures`.  # [N, C, H, W]
            stage: growth step.
            alpha: weight of the newest stage, in [0, 1].

        Raises:
            ValueError: the pictures are too few or all alike.
        """

    def newest(self, stage: int) -> dict[str, nn.Module]:
        """By name, what only counts from a stage on; a network that does not grow has none."""
        return {}

    def unlike(self, stage: int) -> str:
        """Why the layers of a stage cannot begin as a copy of the stage before, in words; "" if they can."""
        ours, theirs = self.newest(stage), self.newest(stage - 1)
        for name in (name for name in ours if name in theirs):
            shapes = [{k: list(v.shape) for k, v in m[name].state_dict().items()} for m in (theirs, ours)]
            if shapes[0] != shapes[1]:
                key = next(key for key in shapes[1] if shapes[0].get(key) != shapes[1][key])
                return f"{name}.{key} has the shape {shapes[1][key]}, and {shapes[0].get(key)} in the stage before"
        return ""

    def copy_stage(self, stage: int) -> None:
        """Give the layers of a stage the weights of the stage before, as far as it has the same layers.

        Stage 0 has no block that stage 1 could copy. What the network makes stays the same while alpha is 0.

        Raises:
            RuntimeError: they have other shapes, see :meth:`unlike`.
        """
        ours, theirs = self.newest(stage), self.newest(stage - 1)
        for name in (name for name in ours if name in theirs):
            ours[name].load_state_dict(theirs[name].state_dict())

    def on_new_stage(self, stage: int) -> None:
        """Called once when a stage opens, before its first step, in every process alike; never on resuming."""

    def growing_decoder(self) -> nn.Module | None:
        """Its decoder trunk, whose stages can be copied; None if it has none."""
        return None

    def trainable_parameters(self) -> list[nn.Parameter]:
        """What training may change; asked once, after the constructor. By default, what that has not frozen.

        Whatever is left out is frozen then, whether it needed a gradient or not.
        """
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def frozen_modules(self) -> Sequence[nn.Module]:
        """The parts that stay in eval mode, and whose buffers training never changes either; asked once, likewise.

        By default, the largest ones that have parameters of which none is trainable. Parts that have buffers only, such
        as fixed random projections, an override adds to them.
        """
        trained = {id(parameter) for parameter in self.trainable_parameters()}
        found, left = list[nn.Module](), list[nn.Module]([self])
        while left:
            module = left.pop()
            own = {id(parameter) for parameter in module.parameters()}
            if own and not own & trained:
                found.append(module)
            elif not own <= trained:
                left += module.children()
        return found

    def frozen_tensors(self) -> dict[str, Tensor]:
        """The parameters and buffers of :attr:`frozen`, by name; not copies."""
        return {name: tensor for name, tensor in _named_tensors(self) if name in self.frozen}

    def running_statistics(self) -> dict[str, Tensor]:
        """The running means and variances of batch norm that training changes, by name; not copies."""
        found: dict[str, Tensor] = {}
        for prefix, module in self.named_modules():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                own = {f"{prefix}.{key}": getattr(module, key) for key in ("running_mean", "running_var")}
                found |= {key: value for key, value in own.items() if value is not None and key not in self.frozen}
        return found

    def changing_tensors(self) -> list[Tensor]:
        """The parameters, and then the buffers, that are not of :attr:`frozen`; not copies."""
        named = chain(self.named_parameters(), self.named_buffers())
        return [tensor for name, tensor in named if name not in self.frozen]

    def train(self, mode: bool = True) -> Self:
        """Set the mode of all parts but the frozen ones, which stay in eval mode."""
        super().train(mode)
        self._hold_still()
        return self

    def _hold_still(self) -> None:
        for module in self._still:
            for part in module.modules():
                part.training = False

    def _settle(self) -> None:
        """Ask what is frozen, and freeze it: as soon as it is made, since training freezes players in turn."""
        trained = {id(parameter) for parameter in self.trainable_parameters()}
        self._still = tuple(self.frozen_modules())
        still = {id(p) for p in self.parameters()} - trained
        for module in self._still:
            if any(id(parameter) in trained for parameter in module.parameters()):
                raise ValueError(f"{type(self).__name__}: frozen_modules() has trainable parameters")
            still |= {id(buffer) for buffer in module.buffers()}
        for parameter in self.parameters():
            parameter.requires_grad_(id(parameter) in trained)
        self.frozen = frozenset(name for name, tensor in _named_tensors(self) if id(tensor) in still)
        self._hold_still()


def _named_tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers; those that are shared by several names, by each."""
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)
