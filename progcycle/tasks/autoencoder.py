"""The autoencoder: restore pictures from codes, a stage at a time or all stages at once."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from torch import Tensor, nn

from progcycle.blocks import full_precision
from progcycle.data import Batch
from progcycle.objectives import reconstruction_loss
from progcycle.recipe import AutoencoderRecipe
from progcycle.schedule import Growth
from progcycle.tasks.base import Shown, Stats, Task
from progcycle.tasks.specs import check_growth, make_network, task_shape

PLAYER = "autoencoder"


class AutoencoderTask(Task):
    """One network that restores the real pictures, which fade as a new stage fades in.

    Args:
        recipe: a validated recipe.

    Raises:
        UserError: a network of an unknown name, or a growth plan that it cannot follow.
    """

    symbols = MappingProxyType({PLAYER: "AE"})
    terms = MappingProxyType({"L2": ("error/l2",)})

    def __init__(self, recipe: AutoencoderRecipe) -> None:
        shape = task_shape(recipe, image_channels=recipe.data.channels)
        network, spec = make_network(recipe.network, PLAYER, shape)
        self.networks, self.specs = {PLAYER: network}, {PLAYER: spec}
        self.players, self.ema_of = {PLAYER: (PLAYER,)}, (PLAYER,)
        self.update_order = (((PLAYER,),),)
        self.loss_of = recipe.objective.loss
        check_growth(self.players, self.networks, self.specs, recipe)

    def _restored(self, network: nn.Module, pictures: Tensor, growth: Growth) -> Tensor:
        restored: Tensor = network(
            pictures, growth.stage, growth.alpha, **self.networks[PLAYER].options_at(growth.nimg)
        )
        return restored

    def loss(self, player: str, reals: Mapping[str, Batch], growth: Growth, step: int) -> tuple[Tensor, Stats]:
        """See :meth:`Task.loss`; the domain is ``real``: E |restored - real|, or E (restored - real)^2."""
        real = reals["real"].images
        restored = self._restored(self.networks[PLAYER], real, growth)
        errors = {
            "l1": reconstruction_loss(real, restored),
            "l2": (full_precision(restored) - full_precision(real)).square().mean(),
        }
        return errors[self.loss_of], {f"error/{name}": error.detach() for name, error in errors.items()}

    def panel(self, count: int, pictures: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The same pictures for the whole run."""
        return {"real": pictures("real")}

    def sample(self, networks: Mapping[str, nn.Module], panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        """Pictures, and what is restored of them."""
        real = panel["real"]
        return [real, self._restored(networks[PLAYER], real, growth)]

    def row_names(self) -> tuple[str, ...]:
        """Names of the two rows."""
        return ("real", "restored")

    def shown(self, rows: Sequence[Tensor], pictures: Callable[[str], Tensor]) -> dict[str, Shown]:
        """What is restored; being like its source is the aim, so that this is not watched."""
        return {PLAYER: Shown(rows[1], rows[0])}
