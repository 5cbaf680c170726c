"""The interface between the engine and a task, and what the tasks share. No accelerate, no files."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Protocol

from torch import Tensor, nn

from progcycle.data import Batch
from progcycle.networks import Network
from progcycle.recipe import Adversarial
from progcycle.rng import latents
from progcycle.schedule import Growth

Stats = dict[str, Tensor]
# Players updated from the same state; a round of such updates shares one batch of real pictures.
Update = tuple[str, ...]
Round = tuple[Update, ...]


class Shown(NamedTuple):
    """Pictures of one network in a sample grid, and what to compare them with; all in about [-1, 1].

    Attributes:
        made: the network's pictures.  # [n, C, H, W]
        like: real pictures of the target domain; m need not be n.  # [m, C, H, W]
        source: the input of each picture, where the network should change it; else None.  # [n, C_in, H, W]
    """

    made: Tensor
    like: Tensor
    source: Tensor | None = None


class Stateful(Protocol):
    """State that lasts from one step to the next."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """Everything that a later step depends on, as tensors by name."""

    def load_state_dict(self, state: Mapping[str, Tensor], /) -> object:
        """Restore what :meth:`state_dict` gave."""


class Memory(NamedTuple):
    """A part of a task's state that checkpoints keep besides the networks.

    Attributes:
        of: the part.
        common: whether all processes hold the same, such as a running mean over all of them; then a run resumes with it
            on another number of processes. If not, each process has its own, such as a pool of its pictures; another
            number of processes starts without, and ``load_state_dict({})`` must empty it.
    """

    of: Stateful
    common: bool = False


class Watched(NamedTuple):
    """A discriminator's loss that an alarm watches.

    Attributes:
        figure: name of the loss among the figures of :meth:`Task.loss`.
        undecided: the least loss of a discriminator that gives every picture the same logit.
    """

    figure: str
    undecided: float


def loss_name(player: str) -> str:
    """Name of a player's total loss among the figures of a run."""
    return f"loss/{player}"


class Task(ABC):
    """Networks and losses of one kind of training.

    Attributes:
        symbols: short names of the players in status lines; default: the player's name.
        terms: more figures in status lines: by label, the figures whose mean is shown.
        networks: every network by name.
        specs: registry name and constructor arguments of every network, enough to build it again.
        players: the networks that each player trains. A player is a key of the recipe's ``optimizer`` too.
        update_order: the rounds, each with its own batch. By default, step i runs round i modulo their number, see
            :meth:`round_at`.
        ema_of: names of the networks that are averaged, sampled from and exported.
        classes: names of the classes of the pictures; () without labels.
        lazy: periods, in steps, of terms that are not computed at every step.
        watched: losses that an alarm watches, by the name of the discriminator.
        keys: recipe keys of networks by name, where they are not ``network.<player>``.
        rates: learning rates by network, of those that do not have their player's.
        halvings: how often the pictures of a network are halved, by network; of the others never.
    """

    symbols: ClassVar[Mapping[str, str]] = MappingProxyType({})
    terms: ClassVar[Mapping[str, tuple[str, ...]]] = MappingProxyType({})
    networks: dict[str, Network]
    specs: dict[str, dict[str, Any]]
    players: dict[str, tuple[str, ...]]
    update_order: tuple[Round, ...]
    ema_of: tuple[str, ...]
    classes: tuple[str, ...] = ()
    lazy: tuple[int, ...] = ()
    watched: Mapping[str, Watched] = MappingProxyType({})
    keys: Mapping[str, str] = MappingProxyType({})
    rates: Mapping[str, float] = MappingProxyType({})
    halvings: Mapping[str, int] = MappingProxyType({})

    def uncompiled(self) -> frozenset[str]:
        """Networks that are never compiled: their gradients are differentiated, or their layers are looked into."""
        return frozenset()

    def round_at(self, step: int) -> Round:
        """The updates of a step."""
        return self.update_order[step % len(self.update_order)]

    def usual_step(self) -> int:
        """A step from which on :attr:`update_order` is followed from its first round on, if only for a while."""
        return 0

    def before_update(self, player: str) -> None:  # noqa: B027 - few tasks do anything
        """Called before the gradients of each update of a player, after any other player's update."""

    @abstractmethod
    def loss(self, player: str, reals: Mapping[str, Batch], growth: Growth, step: int) -> tuple[Tensor, Stats]:
        """Loss of one player, and figures to log.

        Args:
            player: only its networks require gradients.
            reals: real pictures by domain, in [-1, 1], at the stage's resolution and faded.
            growth: state of growth.
            step: number of the round, for terms that are not computed at every step.
        """

    def initialize(self, pictures: Callable[[str, int], Tensor], growth: Growth) -> None:  # noqa: B027 - as below
        """Set weights that depend on the data; called once, before the first step of a run, with all weights frozen.

        Args:
            pictures: gives up to so many real pictures of a domain as the networks see them, the same in every process.
            growth: where growth begins.
        """

    def learning_rate(self, rate: float, growth: Growth) -> float:
        """A learning rate of the recipe as it is now, before the factors of the schedule; by default it stays.

        Args:
            rate: of a player or a network, as the recipe has it.
            growth: where growth stands.
        """
        return rate

    def on_new_stage(self, growth: Growth) -> None:  # noqa: B027 - a task without memory has nothing to do
        """Called once when a stage opens, before its first step; never on resuming."""

    def draw_latents(self, seed: int, purpose: str, positions: Sequence[int]) -> Tensor:
        """Latents of generated pictures, for :meth:`sample`; of a task with a network called ``generator``, its own.

        Args:
            seed: of the series of pictures.
            purpose: address of the random numbers.
            positions: numbers of the pictures.
        """
        network = self.networks["generator"]
        return latents(seed, purpose, positions, network.latent_size, network.distribution)

    @abstractmethod
    def panel(self, count: int, pictures: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """Inputs of the sample grid. They stay the same from the first stage to the last.

        Args:
            count: columns of the grid.
            pictures: gives up to ``count`` fixed pictures of a domain as the networks see them now.
        """

    @abstractmethod
    def sample(self, networks: Mapping[str, nn.Module], panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        """Rows of a sample grid: tensors of pictures in about [-1, 1], row j of all belonging together.

        Args:
            networks: the networks of ``ema_of``.
            panel: what :meth:`panel` gave.
            growth: where growth stands.
        """

    def row_names(self) -> tuple[str, ...]:
        """Labels of the rows of :meth:`sample`; () where there is one kind of pictures only."""
        return ()

    def shown(self, rows: Sequence[Tensor], pictures: Callable[[str], Tensor]) -> dict[str, Shown]:
        """By network, its pictures in a sample grid, for the alarms; none by default.

        Args:
            rows: the output of :meth:`sample`.
            pictures: gives some fixed real pictures of a domain as the networks see them now.
        """
        return {}

    def status(self, figures: Mapping[str, float]) -> dict[str, float]:
        """The figures that a status line shows, by label: losses of the players, then :attr:`terms`.

        Args:
            figures: means since the last status line; missing ones are left out.
        """
        losses = {self.symbols.get(player, player): (loss_name(player),) for player in self.players}
        shown = {}
        for word, names in {**losses, **self.terms}.items():
            if values := [figures[name] for name in names if name in figures]:
                shown[word] = sum(values) / len(values)
        return shown

    # --- state ----------------------------------------------------------------------------------------------------

    def memories(self) -> Mapping[str, Memory]:
        """The task's state besides its networks, by names without a dot."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """The state of all :meth:`memories`, as tensors under ``<memory>.<name>``."""
        return {
            f"{name}.{key}": value
            for name, memory in self.memories().items()
            for key, value in memory.of.state_dict().items()
        }

    def common_state(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The part of the first process's :meth:`state_dict` that another number of processes can resume with."""
        common = {name for name, memory in self.memories().items() if memory.common}
        return {key: value for key, value in state.items() if key.partition(".")[0] in common}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore :meth:`state_dict`; a memory without entries becomes empty.

        Raises:
            ValueError: the state has an entry of no memory.
        """
        memories = self.memories()
        parts: dict[str, dict[str, Tensor]] = {name: {} for name in memories}
        unknown = [key for key in state if key.partition(".")[0] not in parts]
        if unknown:
            raise ValueError(f"unknown task state: {sorted(unknown)}")
        for key, value in state.items():
            name, _, inner = key.partition(".")
            parts[name][inner] = value
        for name, memory in memories.items():
            memory.of.load_state_dict(parts[name])


def to_match(values: Tensor, like: Tensor) -> Tensor:
    """CPU tensor ``values`` with the type of ``like``, on its device, without waiting for a GPU."""
    return (values.pin_memory() if like.is_cuda else values).to(like.device, like.dtype, non_blocking=True)


def rounds(options: Adversarial, order: Round) -> tuple[Round, ...]:
    """The rounds of a task, see :attr:`Task.update_order`.

    Args:
        options: says how often discriminators are updated for each generator update, and whether both are at once.
        order: the players in turn, one an update.
    """
    if options.simultaneous:
        return ((tuple(player for update in order for player in update),),)
    return ((("discriminator",),),) * (options.n_critic - 1) + (order,)
